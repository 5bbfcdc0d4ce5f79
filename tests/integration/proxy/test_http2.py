"""HTTP/2 with clients on a whole gate: how a connection comes to it, what is logged and shown, and how it ends."""

import json
import signal
import socket
import subprocess
import time

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.h2_client import H2Client
from headgate.testing.origin import Origin

PAGE = b"page " * 60_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes(3) + b"\x04\x00" + bytes(4)
# HEADERS with END_STREAM and END_HEADERS on stream 1, of lines of the static table: GET / of http, and an authority.
BLOCK = b"\x82\x86\x84\x41\x06a.test"
GET = len(BLOCK).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + BLOCK


def pages(wire):
    while head := wire.read_head():
        content = wire.read_content(head)
        body = content or PAGE
        wire.send(
            b"HTTP/1.1 200 OK\r\nX-Via: %b\r\nContent-Length: %d\r\n\r\n"
            % ((head.get("via") or "").encode(), len(body))
            + body
        )


@pytest.fixture(scope="module")
def origin():
    with Origin(pages) as one:
        yield one


@pytest.fixture
def make(tmp_path, origin, certificate):
    """Start a gate in front of `origin`, with an http and an https listener."""
    text = f'[[route]]\nupstream = "o"\n[upstream.o]\nendpoints = ["{origin.url}"]\n'

    def gate(**options):
        return Gate(tmp_path, f'{text}[[certificate]]\nfiles = "{certificate}"\n', https=1, **options)

    return gate


def curl(port, *options, scheme="http", stdin=b""):
    """Return (version of HTTP, status, body) of what curl was told."""
    command = ["curl", "-sSk", "--max-time", "20", "-w", "\n%{http_version} %{http_code}", *options]
    resolve = ["--resolve", f"a.test:{port}:127.0.0.1"]
    done = subprocess.run(
        [*command, *resolve, f"{scheme}://a.test:{port}/"],
        input=stdin,
        capture_output=True,
        timeout=30,
        check=True,
    )
    body, _, end = done.stdout.rpartition(b"\n")
    version, status = end.split()
    return version.decode(), int(status), body


def test_curl_comes_by_alpn_and_by_prior_knowledge(make):
    with make() as gate:
        http, https = gate.http_ports[0], gate.https_ports[0]
        assert curl(https, scheme="https") == ("2", 200, PAGE)
        assert curl(https, "--http1.1", scheme="https") == ("1.1", 200, PAGE)
        assert curl(http, "--http2-prior-knowledge") == ("2", 200, PAGE)
        assert curl(http) == ("1.1", 200, PAGE)
        # There is no Upgrade to h2c (RFC 9113 section 3.1): it is not taken.
        assert curl(http, "--http2") == ("1.1", 200, PAGE)
        content = PAGE[:200_000]
        assert curl(https, "--data-binary", "@-", scheme="https", stdin=content) == ("2", 200, content)
        wait_for("the log", lambda: len(gate.access_lines()) == 6)
        protocols = [line["protocol"] for line in gate.access_lines()]
        assert protocols == ["HTTP/2.0", "HTTP/1.1", "HTTP/2.0", "HTTP/1.1", "HTTP/1.1", "HTTP/2.0"]
        assert gate.access_lines()[0]["tls"] == "TLSv1.3"


def test_the_origin_is_told_which_version_it_was(make):
    with make() as gate:
        head = curl(gate.http_ports[0], "--http2-prior-knowledge", "-I")[2].lower()
        assert b"x-via: 2 headgate" in head


def test_only_what_is_offered_is_spoken(make):
    with make(listener_extra='protocols = ["h1"]\n') as gate:
        assert curl(gate.https_ports[0], scheme="https")[0] == "1.1"
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
            sock.sendall(PREFACE + SETTINGS)
            assert sock.recv(100).startswith(b"HTTP/1.1 ")
    with make(listener_extra='protocols = ["h2"]\n') as gate:
        assert curl(gate.https_ports[0], scheme="https")[0] == "2"
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            said = b""
            while piece := sock.recv(1000):
                said += piece
            assert b"HTTP/1.1" not in said
            assert said[3] == 4  # SETTINGS, then GOAWAY


class Frames:
    """Reads frames from a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def read(self, size):
        while len(self.data) < size:
            piece = self.sock.recv(65536)
            assert piece, "the connection ended before"
            self.data += piece
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def next(self, kind):
        """Return the payload of the next frame of a kind."""
        while True:
            head = self.read(9)
            payload = self.read(int.from_bytes(head[:3], "big"))
            if head[3] == kind:
                return payload


@pytest.mark.parametrize("piece", [1, 3, 24, 1000])
def test_the_preface_may_come_in_pieces_and_behind_a_proxy_header(make, piece):
    accept = 'proxy_protocol = "accept"\nproxy_protocol_from = ["127.0.0.1"]\n'
    with (
        make(listener_extra=accept) as gate,
        socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
        data = PREFACE + SETTINGS + GET
        for at in range(0, len(data), piece):
            sock.sendall(data[at : at + piece])
        frames = Frames(sock)
        assert frames.next(1)[0] == 0x88  # HEADERS: 200
        frames.next(0)
        sock.close()
        (line,) = wait_for("the log", gate.access_lines)
        assert line["client"] == "192.0.2.7:4711"


def test_a_gate_that_stops_lets_its_streams_end(tmp_path, certificate):
    asked, go_on = [], []

    def slow(wire):
        while wire.read_head():
            asked.append(1)
            wait_for("the gate to drain", lambda: go_on)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with Origin(slow) as origin:
        text = f'[[route]]\nupstream = "o"\n[upstream.o]\nendpoints = ["{origin.url}"]\n'
        with (
            Gate(tmp_path, text) as gate,
            socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock,
        ):
            sock.sendall(PREFACE + SETTINGS + GET)
            wait_for("the request", lambda: asked)
            gate.process.send_signal(signal.SIGTERM)
            frames = Frames(sock)
            first = frames.next(7)
            assert first[:8] == b"\x7f\xff\xff\xff" + bytes(4)
            go_on.append(1)
            assert frames.next(0) == b"ok"
            began = time.monotonic()
            rest = frames.data
            while piece := sock.recv(1000):
                rest += piece
            # No PING came back, so the second word took its time.
            assert b"\x07\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x01" + bytes(4) in rest
            assert time.monotonic() - began < 10.0


def test_status_has_a_line(make):
    with make() as gate:
        assert "HTTP/2" not in gate.run("status").stdout
        curl(gate.http_ports[0], "--http2-prior-knowledge")
        said = wait_for(
            "the counters", lambda: "0 connections open of 1" in (text := gate.run("status").stdout) and text
        )
        assert "HTTP/2: 0 connections open of 1 accepted, 1 requests, 0 streams reset by clients" in said
        told = json.loads(gate.run("status", "--json").stdout)["http2"]
        assert told["requests"] == 1


def test_what_clients_are_told(make):
    with (
        make(listener_extra="[listener.http2]\nrequests = 7\n[listener.limits]\nhead = '8KiB'\n") as gate,
        H2Client(("127.0.0.1", gate.https_ports[0])) as client,
    ):
        reply = client.get()
        assert (reply.status, reply.body) == (200, PAGE)
        remote = client.h2.remote
        assert (remote.max_streams, remote.max_section, remote.connect_protocol) == (7, 8192, True)
        # HTTP/3 is found from HTTP/2 as from HTTP/1.1 (RFC 7838).
        assert reply.get("alt-svc") == f'h3=":{gate.https_ports[0]}"; ma=86400'
        asked = [client.begin(body=0) for _ in range(7)]
        for _, one in asked:
            client.run_until(lambda one=one: one.is_over, "an answer")
            assert one.body == PAGE


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(make):
    with make() as gate:
        for _ in range(3):
            with H2Client(("127.0.0.1", gate.https_ports[0])) as client:
                client.reads = False
                replies = [client.begin(body=0)[1] for _ in range(5)]
                client.run_until(lambda replies=replies: all(reply.status for reply in replies), "the heads")
        wait_for("the end of them", lambda: gate.metrics()["headgate_h2_connections_open"] == 0)
        wait_for("the log", lambda: len(gate.access_lines()) == 15)
        assert gate.events("defect") == []
        assert curl(gate.https_ports[0], scheme="https") == ("2", 200, PAGE)
