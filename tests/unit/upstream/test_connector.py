"""From an endpoint to a transport: what is said first, and whose address is in what went wrong."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from headgate.counters import UPSTREAM_TLS_FAILED, Counters
from headgate.errors import TransportError
from headgate.net.dialer import Dialer
from headgate.net.resolver import Resolver
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.upstream.connector import DialingConnector


class Never:
    """TCP Fast Open where it has no business."""

    async def connect(self, endpoint, wrap, deadline):
        raise AssertionError("not here")

    connect_plainly = connect


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def endpoint_at(listener, scheme="http", timeout=5.0):
    host, port = listener.getsockname()
    return SimpleNamespace(host=host, name=host, port=port, scheme=scheme, connect_timeout=timeout)


def connector(tls=None, fast_open=None, counters=None):
    values = (counters or Counters()).values
    return DialingConnector(Dialer(Resolver()), tls, print, values, fast_open)


def test_a_proxy_header_goes_in_front_of_everything_and_never_in_a_syn(listener):
    async def run():
        return await connector(fast_open=Never()).saying(b"PROXY x\r\n").connect(endpoint_at(listener))

    transport = asyncio.run(run())
    transport.write(b"GET /")
    peer, _ = listener.accept()
    with peer:
        assert peer.recv(100) == b"PROXY x\r\nGET /"
    transport.close()


def test_a_handshake_that_fails_is_counted_and_names_the_address(listener):
    counters = Counters()
    tls = ClientTls(ClientTlsSettings(verify=False))

    async def run():
        dialing = asyncio.create_task(
            connector(tls, counters=counters).connect(endpoint_at(listener, "https"))
        )
        peer, _ = await asyncio.to_thread(listener.accept)
        with peer:
            await asyncio.to_thread(peer.recv, 100)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await dialing

    with pytest.raises(TransportError, match=r"^not-tls: 127") as caught:
        asyncio.run(run())
    assert f"127.0.0.1:{listener.getsockname()[1]}: TLS handshake" in caught.value.detail
    assert counters.values[UPSTREAM_TLS_FAILED] == 1


def test_a_handshake_has_the_dials_deadline(listener):
    tls = ClientTls(ClientTlsSettings(verify=False))

    async def run():
        await connector(tls).connect(endpoint_at(listener, "https", timeout=0.2))

    with pytest.raises(TransportError, match=r"^timeout: TLS handshake with 127.*took too long"):
        asyncio.run(run())


def test_without_fast_open_no_early_connector():
    assert connector().early is None
    assert connector(fast_open=Never()).early is not None
