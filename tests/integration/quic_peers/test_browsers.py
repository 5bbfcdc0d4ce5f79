"""What people have at hand: Chromium, which is led to HTTP/3 by Alt-Svc and nothing else, curl, and qh3."""

import asyncio
import base64
import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from curl_cffi import CurlHttpVersion, CurlOpt, requests
from qh3.asyncio.client import connect
from qh3.asyncio.protocol import QuicConnectionProtocol
from qh3.asyncio.server import serve
from qh3.h3.connection import H3Connection
from qh3.h3.events import DataReceived, HeadersReceived
from qh3.quic.configuration import QuicConfiguration
from tests.integration.gate import wait_for
from tests.integration.quic_peers.ours import content, content_of, digest
from tests.integration.quic_peers.peers import NAME, Files, GateServer, OurFetch
from tests.unit.engine.tls13.peers import identity, root

from headgate.testing.loop_thread import LoopThread
from headgate.testing.relay import free_port

pytestmark = pytest.mark.slow

KIB, MIB = 1024, 1 << 20

# It asks, and waits, until an answer came over HTTP/3; then it loads itself again and says how that came.
PAGE = b"""<!doctype html><title>page</title><body><script>
function last(kind) { const all = performance.getEntriesByType(kind); return all[all.length - 1].nextHopProtocol }
if (location.search == '?again') document.write('<p>' + last('navigation') + '</p>')
else {
  let how = last('navigation');
  for (let n = 0; n < 100 && how != 'h3'; n++) {
    const ask = new XMLHttpRequest(); ask.open('GET', '/b10-' + n, false); ask.send(); how = last('resource')
  }
  location.replace('/page?again')
}
</script></body>"""


class Site(Files):
    """The files, and a page."""

    def do_GET(self):
        if not self.path.startswith("/b"):
            body = PAGE if self.path.startswith("/page") else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        super().do_GET()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateServer(tmp_path_factory.mktemp("gate"), files=Site) as gate:
        (gate.folder / "root.pem").write_bytes(root().pem)
        yield gate


def logged(gate, target):
    """Wait for a request in the access log; return how it came."""

    def found():
        return [line["protocol"] for line in gate.gate.access_lines() if line["target"] == target]

    return wait_for(f"{target} in the log", found)


def pin():
    """Return the hash of the key, as Chromium wants it of a site whose authority it does not know."""
    leaf = load_pem_x509_certificates(identity().chain_pem)[0]
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(hashlib.sha256(leaf.public_key().public_bytes(encoding, form)).digest()).decode()


def test_chromium_is_led_to_http3_by_alt_svc(gate, tmp_path):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}", "--enable-quic", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    # Port 1 is nobody's: the switch is here because with it Chromium takes QUIC from unknown authorities, too.
    command += [f"--ignore-certificate-errors-spki-list={pin()}", f"--origin-to-force-quic-on={NAME}:1"]
    command += ["--dump-dom", f"https://{NAME}:{gate.port}/page"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert "<p>h3</p>" in done.stdout, done.stdout + done.stderr
    assert logged(gate, "/page") == ["HTTP/1.1"]
    assert logged(gate, "/page?again") == ["HTTP/3.0"]


def test_curl(gate):
    with requests.Session(
        http_version=CurlHttpVersion.V3ONLY,
        verify=str(gate.folder / "root.pem"),
        curl_options={CurlOpt.RESOLVE: [f"{NAME}:{gate.port}:127.0.0.1"]},
        timeout=20,
    ) as session:
        base = f"https://{NAME}:{gate.port}"
        for size in (0, KIB, MIB):
            assert session.get(f"{base}/b{size}-curl").content == content(size)
        assert session.post(f"{base}/curl", data=content(300 * KIB)).text == digest(content(300 * KIB))
    assert logged(gate, "/b0-curl") == logged(gate, "/curl") == ["HTTP/3.0"]


class Qh3(QuicConnectionProtocol):
    """A request at a time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.body = bytearray()
        self.done = None

    def quic_event_received(self, event):
        for each in self.http.handle_event(event):
            if isinstance(each, DataReceived):
                self.body += each.data
            if isinstance(each, (DataReceived, HeadersReceived)) and each.stream_ended:
                self.done.set_result(bytes(self.body))

    async def get(self, path):
        self.body.clear()
        self.done = asyncio.get_running_loop().create_future()
        fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", NAME.encode())]
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, [*fields, (b":path", path)], end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self.done, 20)


def test_qh3(gate):
    async def run():
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=NAME)
        configuration.load_verify_locations(cafile=str(gate.folder / "root.pem"))
        async with connect(
            "127.0.0.1", gate.port, configuration=configuration, create_protocol=Qh3
        ) as client:
            for size in (KIB, MIB):
                assert await client.get(b"/b%d-qh3" % size) == content(size)

    asyncio.run(run())
    assert logged(gate, f"/b{KIB}-qh3") == ["HTTP/3.0"]


class Qh3Server(QuicConnectionProtocol):
    """Answers each GET with the content that its path names."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event):
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived) and each.stream_ended:
                body = content_of(dict(each.headers)[b":path"][1:].decode())
                self.http.send_headers(each.stream_id, [(b":status", b"200")])
                self.http.send_data(each.stream_id, body, end_stream=True)
        self.transmit()


@pytest.fixture
def qh3_server(tmp_path):
    (tmp_path / "chain.pem").write_bytes(identity().chain_pem)
    (tmp_path / "key.pem").write_bytes(identity().key_pem)
    # Without a size of datagrams its HTTP/3 closes by a setting of its own.
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], max_datagram_frame_size=65_536)
    configuration.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    port = free_port("127.0.0.1")

    async def start():
        return await serve("127.0.0.1", port, configuration=configuration, create_protocol=Qh3Server)

    async def stop():
        server.close()

    thread = LoopThread("qh3 server")
    try:
        server = thread.call(start())
        yield "127.0.0.1", port
        thread.call(stop())
    finally:
        thread.stop()


def test_qh3_as_server(qh3_server):
    names = [f"b{KIB}", f"b{MIB}"]
    bodies = OurFetch().fetch(qh3_server, names)
    assert bodies == [content_of(name) for name in names]
