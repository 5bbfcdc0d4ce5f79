"""Bad input: each refusal has a clear status or close and its counter, and a good client is served meanwhile."""

import contextlib
import socket
import threading

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin, ask, connect
from headgate.testing.pki import Authority

TIMEOUTS = """
[listener.timeouts]
handshake = "1s"
head = "1s"
body_idle = "1s"
write_idle = "1s"
keep_alive = "1s"
[listener.limits]
head = "4KiB"
body = "10KB"
"""
HEAD = 4096
BODY = 10_000


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    leaf = Authority.root("Limits Root").leaf("a.test")
    (folder / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)

    def script(wire):
        while head := wire.read_head():
            content = wire.read_content(head)
            if head.target == "/big":
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                with contextlib.suppress(OSError):
                    for _ in range(1000):
                        wire.send(b"x" * 100_000)
                return
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))

    with Origin(script) as origin:
        text = f"""
[[certificate]]
files = "{folder}/a.pem"
[certificate.ocsp]
stapling = "off"
[[route]]
upstream = "a"
[upstream.a]
endpoints = ["{origin.url}"]
"""
        with Gate(folder, text, https=1, listener_extra=TIMEOUTS) as gate:
            yield gate
            assert gate.events("defect") == []


class Refused:
    """Counts one kind of refusal around a block, with a good client served inside it and after."""

    def __init__(self, gate, limit, count=1):
        self.gate = gate
        self.key = f'headgate_refused_total{{limit="{limit}"}}'
        self.count = count

    def __enter__(self):
        self.before = self.gate.metrics()[self.key]
        return self

    def __exit__(self, kind, error, trace):
        assert good(self.gate)
        if kind is None:
            expected = self.before + self.count
            wait_for(f"{self.key} = {expected}", lambda: self.gate.metrics()[self.key] == expected)


def good(gate):
    return ask(gate.http_ports[0])[0].status == 200


MALFORMED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/2.7\r\nHost: x\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    (b"GET http://a b/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"\x00\x00\x00\x00garbage", 400),
]


@pytest.mark.parametrize(("data", "status"), MALFORMED)
def test_malformed_requests_are_answered_and_closed(gate, data, status):
    with Refused(gate, "malformed"), connect(gate.http_ports[0]) as wire:
        wire.send(data)
        head, _ = wire.read_response()
        assert (head.status, head.get("connection")) == (status, "close")
        assert wire.ended()


def test_a_refused_head_request_has_no_content(gate):
    """RFC 9110 section 9.3.2."""
    with Refused(gate, "malformed"), connect(gate.http_ports[0]) as wire:
        wire.send(b"HEAD /a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_head().status == 400
        assert wire.read_to_end() == b""


def head_of(size):
    start = b"GET / HTTP/1.1\r\nHost: x\r\nA: "
    return start + b"a" * (size - len(start)) + b"\r\n\r\n"


def test_a_head_at_the_limit_and_one_more(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(head_of(HEAD))
        assert wire.read_response()[0].status == 200
    with Refused(gate, "head"), connect(gate.http_ports[0]) as wire:
        wire.send(head_of(HEAD + 1))
        assert wire.read_response()[0].status == 431
        assert wire.ended()
    with Refused(gate, "head"), connect(gate.http_ports[0]) as wire:
        wire.send(b"GET /" + b"a" * HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_response()[0].status == 414


@pytest.mark.parametrize("chunked", [False, True])
def test_content_at_the_limit_and_one_more(gate, chunked):
    for size, status in ((BODY, 200), (BODY + 1, 413)):
        counted = Refused(gate, "body") if status == 413 else contextlib.nullcontext()
        with counted, connect(gate.http_ports[0]) as wire:
            if chunked:
                wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
            else:
                wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
            assert wire.read_response()[0].status == status


def test_an_oversize_upload_gets_its_answer_before_the_close(gate):
    """RFC 9112 section 9.6: closing with content under way would destroy the answer."""
    with Refused(gate, "body"), connect(gate.http_ports[0]) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(50):
            wire.send(b"x" * 100_000)
        assert wire.read_response()[0].status == 413


def test_a_slow_head(gate):
    with Refused(gate, "head-timeout"), connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHos")
        assert wire.read_response()[0].status == 408
        assert wire.ended()


def test_a_trickling_head_does_not_wind_its_clock(gate):
    """One octet at a time: the bound is on the whole head (slowloris)."""
    with Refused(gate, "head-timeout"), connect(gate.http_ports[0]) as wire:
        stop = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    wire.send(b"a")

        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert wire.read_response()[0].status == 408
        finally:
            stop.set()
            thread.join()


def test_a_connection_without_a_byte(gate):
    with Refused(gate, "head-timeout"), connect(gate.http_ports[0]) as wire:
        assert wire.ended()


def test_slow_content(gate):
    with Refused(gate, "body-timeout"), connect(gate.http_ports[0]) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert wire.read_response()[0].status == 408
        assert wire.ended()


def test_an_idle_connection(gate):
    with Refused(gate, "keep-alive-timeout"), connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read_response()[0].status == 200
        assert wire.ended()


def test_a_reader_that_stopped(gate):
    with Refused(gate, "write-timeout"), connect(gate.http_ports[0]) as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        wire.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        line = wait_for(
            "the log line",
            lambda: [x for x in gate.access_lines() if x["target"] == "/big" and "reason" in x],
        )
        assert line[0]["reason"] == "write-timeout"
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.read_response()


def test_plain_http_to_the_tls_port(gate):
    with Refused(gate, "plain-http-to-tls"), connect(gate.https_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        head, body = wire.read_response()
        assert head.status == 400
        assert b"https://" in body
        assert wire.ended()


def test_garbage_to_the_tls_port(gate):
    key = 'headgate_handshakes_total{kind="failed"}'
    before = gate.metrics()[key]
    garbage = [
        b"\x00" * 100,
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"a" * 70_000,
    ]
    for data in garbage:
        with connect(gate.https_ports[0]) as wire, contextlib.suppress(ConnectionError):
            wire.send(data)
            wire.read_to_end()
    wait_for("the counter", lambda: gate.metrics()[key] == before + len(garbage))
    assert good(gate)


def test_a_slow_handshake(gate):
    with (
        Refused(gate, "handshake-timeout", 2),
        connect(gate.https_ports[0]) as silent,
        connect(gate.https_ports[0]) as begun,
    ):
        begun.send(b"\x16\x03\x01\x02\x00\x01")
        assert silent.ended()
        assert begun.ended()
    told = [event for event in gate.events("connection-failed") if event["reason"] == "handshake-timeout"]
    assert [event["peer"] for event in told] == ["127.0.0.1"] * 2
