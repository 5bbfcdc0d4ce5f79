"""A gate in front of an origin that keeps every octet, and how a client of HTTP/2 asks it by hand."""

import itertools
import socket

import hpack
import pytest
from tests.integration.gate import Gate
from tests.integration.h2_desync.recorder import Recorder, Scripted

from headgate.testing.h2_raw import RawH2, headers, ping, request_block
from headgate.testing.pki import Authority

# The limits of a client that opens connections in a loop are tried elsewhere.
RATES = """[listener.limits]
connection_rate = "1000000/s"
all_connection_rate = "1000000/s"
"""
_numbers = itertools.count(1)


class Site:
    """The gate, and both origins behind it."""

    def __init__(self, gate, recorder, scripted):
        self.gate = gate
        self.recorder = recorder
        self.scripted = scripted

    def connect(self, *, tls=False):
        port = self.gate.https_ports[0] if tls else self.gate.http_ports[0]
        raw = RawH2.connect("127.0.0.1", port, tls=tls)
        raw.start()
        return raw

    def good(self, raw=None, stream=1):
        """Ask for something that nobody else asks for, and wait for the answer; return its target."""
        target = b"/good-%d" % next(_numbers)
        own = raw is None
        raw = self.connect() if own else raw
        raw.send(headers(stream, request_block(target, scheme=b"http")))
        assert raw.wait(lambda raw: raw.ended(stream)), (raw, raw.frames)
        assert status(raw, stream) == 200
        if own:
            raw.close()
        return target


def status(raw, stream):
    """Return the status that came on a stream, 0 for none; all sections are decoded, in their order."""
    decoder = hpack.Decoder()
    found = 0
    for one in raw.of(1):
        lines = dict(decoder.decode(one.payload, raw=True))
        if one.stream == stream and not found:
            found = int(lines[b":status"])
    return found


def verdict(raw, stream=1):
    """Wait for what becomes of a stream: ("reset", code), ("goaway", code) or ("status", number)."""
    assert raw.wait(lambda raw: stream in raw.resets or raw.ended(stream) or raw.goaway is not None), (
        raw.frames
    )
    raw.send(ping(b"and then"))
    raw.wait(lambda raw: raw.acks >= 2 or raw.goaway is not None, 20)
    if raw.goaway is not None:
        return ("goaway", raw.goaway[0])
    found = status(raw, stream)
    return ("status", found) if found else ("reset", raw.resets[stream])


ASK = b"GET /x HTTP/1.1\r\nHost: scripted.test\r\nConnection: close\r\n\r\n"


def ask_h1(site, request=ASK):
    """Ask the scripted origin through the gate, in HTTP/1.1; return all octets of the answer."""
    with socket.create_connection(("127.0.0.1", site.gate.http_ports[0]), 10) as sock:
        sock.sendall(request)
        octets = b""
        while got := sock.recv(65536):
            octets += got
        return octets


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("h2-desync")
    leaf = Authority.root("Desync Root").leaf("localhost", "a.test")
    (folder / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    with Recorder() as recorder, Scripted() as scripted:
        text = f"""
[[certificate]]
files = "{folder}/a.pem"
[certificate.ocsp]
stapling = "off"
[[route]]
hosts = ["scripted.test"]
upstream = "b"
[[route]]
upstream = "a"
[upstream.a]
endpoints = ["http://127.0.0.1:{recorder.port}"]
[upstream.b]
endpoints = ["http://127.0.0.1:{scripted.port}"]
protocols = ["h2"]
"""
        with Gate(folder, text, https=1, listener_extra=RATES) as gate:
            yield Site(gate, recorder, scripted)
            assert gate.events("defect") == []
