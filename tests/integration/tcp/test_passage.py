"""Mode "tcp" with real peers: TLS that nginx terminates, protocols in which the server speaks first,
much data, and what ends."""

import contextlib
import hashlib
import socket
import ssl
import threading

import pytest
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.tcp.peers import answers, nginx

from headgate.testing.origin import Origin, connect

NGINX = """http {{
  ssl_certificate {pki}/wild.pem; ssl_certificate_key {pki}/wild.pem;
  server {{ listen 127.0.0.1:{one} ssl; server_name a.test; ssl_certificate {pki}/a.pem;
    ssl_certificate_key {pki}/a.pem; location / {{ return 200 "one $ssl_server_name"; }} }}
  server {{ listen 127.0.0.1:{other} ssl; location / {{ return 200 "other $ssl_server_name"; }} }}
}}"""
NAMES = """
[[listener]]
name = "names"
addresses = ["127.0.0.1:{port}"]
mode = "tcp"
[listener.timeouts]
handshake = "1s"
[[route]]
hosts = ["a.test"]
listeners = ["names"]
upstream = "one"
[[route]]
hosts = ["*.wild.test"]
listeners = ["names"]
upstream = "other"
[upstream.one]
endpoints = ["tcp://127.0.0.1:{one}"]
[upstream.other]
endpoints = ["tcp://127.0.0.1:{other}"]
"""
PLAIN = """
[[listener]]
addresses = ["127.0.0.1:{port}"]
mode = "tcp"
upstream = "db"
[listener.limits]
per_client = 6
[upstream.db]
endpoints = ["tcp://127.0.0.1:{dead}", "tcp://{origin}"]
balance = "round-robin"
"""


class World:
    """A gate in front of nginx, by name; `port` is the listener's."""

    def __init__(self, gate, port, pki):
        self.gate = gate
        self.port = port
        self.pki = pki

    def ask(self, name, **options):
        """Return the content that a TLS client gets, who verifies the certificate by itself."""
        context = ssl.create_default_context(cafile=self.pki / "root.pem")
        for key, value in options.items():
            setattr(context, key, value)
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as sock,
        ):
            sock.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory, pki):
    one, other, port = free_port(), free_port(), free_port()
    folder = tmp_path_factory.mktemp("world")
    text = NGINX.format(pki=pki, one=one, other=other)
    names = NAMES.format(port=port, one=one, other=other)
    with nginx(folder, text, one, other), Gate(folder, names, http=0) as gate:
        yield World(gate, port, pki)


def test_the_name_leads_and_tls_is_between_client_and_origin(world):
    assert world.ask("a.test") == b"one a.test"
    assert world.ask("x.wild.test") == b"other x.wild.test"
    lines = wait_for("the log", lambda: len(world.gate.access_lines()) >= 2 and world.gate.access_lines())
    line = next(one for one in lines if one.get("sni") == "a.test")
    assert line["protocol"] == "TCP"
    assert (line["route"], line["upstream"]) == ("a.test", "one")
    assert line["bytes_in"] > 200
    assert line["bytes_out"] > 1000
    assert line["duration_ms"] > 0
    assert "status" not in line
    assert "method" not in line


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls(world, version):
    assert world.ask("a.test", maximum_version=version) == b"one a.test"


def test_a_name_without_a_route_is_told_so(world):
    with pytest.raises(ssl.SSLError, match="unrecognized name"):
        world.ask("nobody.test")


def test_no_tls_and_no_whole_hello_are_refused_and_counted(world):
    before = world.gate.settled_metrics()
    with connect(world.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert wire.ended()
    with connect(world.port) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01")
        assert wire.ended()
    for limit in ("client-hello", "handshake-timeout"):
        key = f'headgate_refused_total{{limit="{limit}"}}'
        wait_for(limit, lambda key=key: world.gate.metrics()[key] == before.get(key, 0) + 1)


def speaks_first(wire):
    """A protocol in which the server begins, and answers with what it got, and its hash at the end."""
    wire.send(b"220 ready\r\n")
    digest = hashlib.sha256()
    while data := wire.sock.recv(1 << 18):
        digest.update(data)
        wire.sock.sendall(data)
    wire.send(digest.digest())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    port = free_port()
    with Origin(speaks_first) as origin:
        text = PLAIN.format(port=port, dead=free_port(), origin=origin.address)
        with Gate(tmp_path_factory.mktemp("plain"), text, http=0) as gate:
            gate.port = port
            gate.origin = origin
            yield gate


def test_the_server_speaks_first_and_a_dead_endpoint_is_passed_over(plain):
    for _ in range(4):
        with connect(plain.port) as wire:
            assert wire.read_line() == b"220 ready"
    lines = wait_for("the log", lambda: len(plain.access_lines()) >= 4 and plain.access_lines())
    assert {line["endpoint"] for line in lines} == {f"tcp://{plain.origin.address}"}
    assert sum(line.get("retries", 0) for line in lines) >= 1
    assert "another endpoint was asked" in plain.events("upstream-failed")[0]["detail"]


def test_much_data_goes_both_ways_through_the_kernel_and_an_end_is_passed_on(plain):
    block = bytes(range(256)) * 1024
    count = 96
    received = hashlib.sha256()
    with connect(plain.port) as wire:
        assert wire.read_line() == b"220 ready"
        assert wire.buffer == b""

        def send():
            for _ in range(count):
                wire.sock.sendall(block)
            wire.sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        left = count * len(block)
        while left > 0:
            data = wire.sock.recv(min(1 << 18, left))
            assert data
            received.update(data)
            left -= len(data)
        sender.join()
        assert wire.read_exactly(32) == received.digest() == hashlib.sha256(block * count).digest()
        assert wire.ended()
    key = "headgate_relay_spliced_bytes_total"
    wait_for("splices", lambda: plain.metrics()[key] > 1 << 20)
    size = count * len(block)
    wait_for("the log", lambda: any(line["bytes_in"] == size for line in plain.access_lines()))


def all_ended(gate):
    wait_for("all to end", lambda: gate.metrics()["headgate_connections_open"] == 0)


def test_one_connection_more_than_a_client_may_is_refused(plain):
    all_ended(plain)
    with contextlib.ExitStack() as held:
        for _ in range(6):
            wire = held.enter_context(connect(plain.port))
            assert wire.read_line() == b"220 ready"
        with contextlib.suppress(ConnectionResetError), connect(plain.port) as wire:
            assert wire.ended()
    key = 'headgate_refused_total{limit="per_client"}'
    wait_for("the counter", lambda: plain.metrics()[key] == 1)
    all_ended(plain)
    with connect(plain.port) as wire:
        assert wire.read_line() == b"220 ready"


def test_a_reset_is_passed_on(plain):
    with connect(plain.port) as wire:
        assert wire.read_line() == b"220 ready"
        wire.reset()
    wait_for("the log", lambda: "econnreset" in [line.get("reason") for line in plain.access_lines()])
    wait_for("the origin to see it", lambda: plain.origin.open == 0)


def test_a_drain_waits_for_what_is_passed_on(tmp_path):
    port = free_port()
    with Origin(speaks_first) as origin:
        text = PLAIN.format(port=port, dead=free_port(), origin=origin.address)
        with Gate(tmp_path, text, http=0) as gate, connect(port) as wire:
            assert wire.read_line() == b"220 ready"
            gate.process.terminate()
            wait_for("the drain", lambda: not answers(port))
            wire.send(b"still here")
            assert wire.read_exactly(10) == b"still here"
            wire.sock.shutdown(socket.SHUT_WR)
            wire.read_exactly(32)
            assert wire.ended()
            assert gate.stop() == 0
