"""A gate that speaks HTTP/3, and clients over both transports."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from tests.integration.gate import wait_for
from tests.integration.gate_tls.conftest import Site, by_process, counted, make_site

from headgate.testing.h3_client import H3Client

QUIC = 'protocols = ["h1", "h3"]\n'
PATIENCE = 20.0


class QuicSite(Site):
    """A site whose gates offer h3 on their https listeners."""

    def gate(self, text: str = '[[route]]\nrespond = { body = "let in" }\n', **options):
        options["listener_extra"] = QUIC + options.get("listener_extra", "")
        return super().gate(text, **options)

    def h3(self, gate, name="a.test", **options) -> H3Client:
        """A client of ours, whose handshake has not begun to wait for anything."""
        return H3Client(("127.0.0.1", gate.https_ports[0]), name, **options)

    def aioquic(self, gate, *paths, name="a.test"):
        """Return (status, headers, body) of each path, all asked at once by aioquic, which verifies the chain."""
        return asyncio.run(_ask(gate.https_ports[0], name, self.ca, paths))

    def over_tcp(self, gate, name="a.test"):
        """Return the leaf and the staple, in DER, that a client over TCP is shown."""
        return tcp_certificate(gate.https_ports[0], name)

    def over_quic(self, gate, name="a.test"):
        """Return the same over QUIC."""
        with self.h3(gate, name) as client:
            client.shake()
            return client.chain[0], client.staple


class _Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting = {}

    async def get(self, name, path):
        stream = self._quic.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", name), (":path", path)]
        encoded = [(key.encode(), value.encode()) for key, value in fields]
        done = asyncio.get_running_loop().create_future()
        self.waiting[stream] = [done, {}, b""]
        self.http.send_headers(stream, encoded, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(done, PATIENCE)

    def quic_event_received(self, event):
        for one in self.http.handle_event(event):
            entry = self.waiting.get(getattr(one, "stream_id", None))
            if entry is None:
                continue
            if isinstance(one, HeadersReceived):
                entry[1] = {key.decode(): value.decode() for key, value in one.headers}
            elif isinstance(one, DataReceived):
                entry[2] += one.data
            if one.stream_ended and not entry[0].done():
                entry[0].set_result((int(entry[1].pop(":status")), entry[1], entry[2]))


async def _ask(port, name, ca, paths):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    configuration.load_verify_locations(ca)
    configuration.verify_mode = ssl.CERT_REQUIRED
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client:
        return await asyncio.gather(*(client.get(name, path) for path in paths))


def tcp_certificate(port: int, name: str) -> tuple[bytes, bytes]:
    """Return (leaf, staple) of a handshake over TCP in which a staple was asked for."""
    seen = []

    def staple(_conn, response, _data):
        seen.append(response)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_ocsp_client_callback(staple)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.settimeout(None)
        conn = SSL.Connection(context, sock)
        conn.set_tlsext_host_name(name.encode())
        conn.request_ocsp()
        conn.set_connect_state()
        conn.do_handshake()
        certificate = conn.get_peer_certificate(as_cryptography=True)
        conn.shutdown()
    assert certificate is not None
    return certificate.public_bytes(Encoding.DER), seen[0] if seen else b""


def common_name(der: bytes) -> str:
    """Return the first name of a certificate."""
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.DNSName)[0]


class Helpers:
    """The helpers above, for tests: their modules cannot import this one."""

    wait_for: Callable = staticmethod(wait_for)
    counted: Callable = staticmethod(counted)
    by_process: Callable = staticmethod(by_process)
    common_name: Callable = staticmethod(common_name)


@pytest.fixture
def helpers():
    return Helpers()


@pytest.fixture
def site(tmp_path: Path) -> QuicSite:
    """A site for one test."""
    return make_site(tmp_path, QuicSite)
