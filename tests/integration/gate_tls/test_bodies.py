"""Large bodies over TLS, readers that do not read, and handshakes that do not go on."""

import hashlib
import os
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SIZE = 64 * 1024 * 1024
CHUNK = hashlib.sha256(b"a piece that compresses badly").digest() * 8192  # 256 KiB


def pieces():
    """The body, in pieces that all differ, so that none can be lost or swapped unseen."""
    for number in range(SIZE // len(CHUNK)):
        yield number.to_bytes(8, "big") + CHUNK[8:]


DIGEST = hashlib.sha256()
for piece in pieces():
    DIGEST.update(piece)


class Origin(BaseHTTPRequestHandler):
    """Sends the body, and tells what it got."""

    protocol_version = "HTTP/1.1"
    sent = 0

    def do_GET(self):
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        try:
            for piece in pieces():
                self.wfile.write(piece if self.path != "/chunked" else b"%x\r\n%b\r\n" % (len(piece), piece))
                Origin.sent += len(piece)
            if self.path == "/chunked":
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def do_PUT(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            if not data:
                break
            digest.update(data)
            left -= len(data)
        text = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        return


@pytest.fixture(scope="module")
def origin():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def site(shared_site):
    shared_site.certificate("a", "a.test")
    return shared_site


@pytest.fixture(scope="module")
def gate(site, tools, origin):
    site.short, short = tools.listener(more='[listener.timeouts]\nhandshake = "1s"')
    text = '[[route]]\nupstream = "origin"\n[upstream.origin]\n'
    text += f'endpoints = ["http://127.0.0.1:{origin}"]\n'
    with site.gate(text + short) as made:
        yield made


def resident(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("version", [("--tls-max", "1.2"), ("--tlsv1.3",)])
@pytest.mark.parametrize("path", ["/big", "/chunked"])
def test_64_mib_down_byte_for_byte(site, gate, tmp_path, version, path):
    target = tmp_path / "got"
    done = site.curl(gate.https_ports[0], *version, "-o", str(target), path=path)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size == SIZE
    assert hashlib.sha256(target.read_bytes()).hexdigest() == DIGEST.hexdigest()


@pytest.mark.parametrize("version", [("--tls-max", "1.2"), ("--tlsv1.3",)])
def test_64_mib_up_byte_for_byte(site, gate, tmp_path, version):
    source = tmp_path / "body"
    with source.open("wb") as file:
        file.writelines(pieces())
    done = site.curl(gate.https_ports[0], *version, "-T", str(source), path="/up")
    assert done.stdout == DIGEST.hexdigest(), done.stderr


def test_readers_that_do_not_read_hold_little(site, gate, tools):
    port, pid = gate.https_ports[0], gate.worker_pids()[0]
    site.curl(port, "-o", "/dev/null", path="/big")  # warm
    before, sent = resident(pid), Origin.sent
    clients = []
    try:
        for _ in range(8):
            sock = site.connect(port)
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            clients.append(sock)
        # All of them have an answer that has begun; then wait until nothing moves any more.
        for sock in clients:
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
        still = [0, -1]

        def stands():
            time.sleep(0.3)
            still.append(Origin.sent)
            return still[-1] == still[-2]

        tools.wait_for("the origin to be held back", stands)
        # What the sockets of the system take, on three hops, is some 10 MiB each: 8 bodies would be 512 MiB.
        assert Origin.sent - sent < 8 * SIZE // 2
        assert resident(pid) - before < 16 * 1024 * 1024
        # Held back, not lost: one of them reads on and has it all.
        first, digest = clients[0], hashlib.sha256()
        rest = b""
        while b"\r\n\r\n" not in rest:
            rest += first.recv(65536)
        digest.update(rest.partition(b"\r\n\r\n")[2])
        while data := first.recv(65536):
            digest.update(data)
        assert digest.hexdigest() == DIGEST.hexdigest()
        # And others are served meanwhile.
        assert site.curl(port, "-o", "/dev/null", "-w", "%{size_download}", path="/big").stdout == str(SIZE)
    finally:
        for sock in clients:
            sock.close()


def test_a_stalled_handshake_is_closed_and_counted(site, gate, tools, client_hello):
    name = 'headgate_refused_total{limit="handshake-timeout"}'
    before = gate.metrics()[name]
    silent, half, whole = (socket.create_connection(("127.0.0.1", site.short), 10) for _ in range(3))
    begun = time.monotonic()
    with silent, half, whole:
        half.sendall(client_hello[:50])
        whole.sendall(client_hello)
        assert whole.recv(5)[:1] == b"\x16", "the server's turn was to answer"
        for sock in (silent, half, whole):
            sock.settimeout(10)
            try:
                while sock.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        took = time.monotonic() - begun
    assert 0.9 < took < 5.0
    tools.counted(gate, name, before + 3)
    # The clock is of the handshake: who has made it may take longer.
    with site.connect(site.short) as sock:
        time.sleep(2.2)
        assert tools.request(sock, path="/big").startswith(b"HTTP/1.1 200")


def test_a_client_hello_in_single_bytes_is_served(site, gate, tools):
    """A slow client of the handshake is no attacker as long as it is in time."""
    context = site.client()
    ours, theirs = socket.socketpair()
    port = gate.https_ports[0]
    with ours, theirs, socket.create_connection(("127.0.0.1", port), 10) as out:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        relay = threading.Thread(target=_drip, args=(theirs, out), daemon=True)
        relay.start()
        back = threading.Thread(target=_pour, args=(out, theirs), daemon=True)
        back.start()
        ours.settimeout(20)
        with context.wrap_socket(ours, server_hostname="a.test") as sock:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            assert sock.recv(8) == b"HTTP/1.1"


def _drip(source, target):
    """Carry the first flight byte by byte, the rest as it comes."""
    size = 1
    try:
        while data := source.recv(65536):
            for at in range(0, len(data), size):
                target.sendall(data[at : at + size])
            size = 65536
    except OSError:
        return


def _pour(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return


@pytest.fixture(scope="module")
def client_hello(site):
    """The bytes that a client begins with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = site.client().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
