"""Limits of HTTP/2 that need a socket: each is met over TLS on a whole gate, counted, and a good client is served."""

import threading
import time

import pytest
from tests.integration.gate import Gate, wait_for
from tests.integration.limits.test_flood_memory import resident

from headgate.testing import h2_raw as h2
from headgate.testing.h2_raw import RawH2
from headgate.testing.origin import Origin
from headgate.testing.pki import Authority

TIMEOUTS = """
[listener.timeouts]
handshake = "1s"
head = "1s"
body_idle = "1s"
write_idle = "1s"
keep_alive = "1s"
"""
BIG = bytes(1 << 20)


class Script:
    """An origin of a MiB. `/held…` it answers only when `go` is set, `/sink` never."""

    def __init__(self):
        self.go = threading.Event()
        self.held = 0

    def __call__(self, wire):
        while head := wire.read_head():
            if head.target.startswith("/held"):
                self.held += 1
                self.go.wait(20)
            body = BIG if head.target == "/big" else b"ok"
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture(scope="module")
def script():
    return Script()


@pytest.fixture(scope="module")
def gate(tmp_path_factory, script):
    folder = tmp_path_factory.mktemp("gate")
    leaf = Authority.root("Limits Root").leaf("localhost")
    (folder / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    with Origin(script) as origin:
        text = f'[[certificate]]\nfiles = "{folder / "a.pem"}"\n[[route]]\nupstream = "o"\n'
        text += f'[upstream.o]\nendpoints = ["{origin.url}"]\n'
        with Gate(folder, text, http=0, https=1, listener_extra=TIMEOUTS) as gate:
            yield gate
            assert gate.events("defect") == []


class Watch:
    """How far a counter has moved since the test began."""

    def __init__(self, gate, name):
        self.gate = gate
        self.name = f"headgate_{name}"
        self.before = self.read()

    def read(self):
        return self.gate.metrics().get(self.name, 0.0)

    def moves(self, by=1.0):
        wait_for(self.name, lambda: self.read() == self.before + by)


def connect(gate, **options):
    return RawH2.connect("127.0.0.1", gate.https_ports[0], tls=True, **options)


@pytest.fixture
def good(gate):
    """A client beside it, which must be served all the time."""
    with connect(gate) as raw:
        raw.start()
        yield raw
        if not raw.closed and raw.goaway is None:
            assert is_served(raw)


def is_served(raw):
    stream = 2 * len(raw.over) + 1
    raw.send(h2.headers(stream, h2.request_block()))
    return raw.wait(lambda raw: raw.ended(stream))


def until_closed(raw):
    assert raw.wait(lambda raw: raw.closed) or raw.closed
    return raw.goaway and raw.goaway[0]


def test_a_flood_is_told_why_and_counted(gate):
    calm = Watch(gate, 'h2_closed_total{reason="ping-flood"}')
    with connect(gate) as raw, connect(gate) as other:
        other.start()
        assert is_served(other)
        raw.start()
        raw.send(h2.ping() * 1000)
        assert raw.wait(lambda raw: raw.acks == 1001)  # of SETTINGS, too
        assert raw.goaway is None
        raw.send(h2.ping() * 200)
        assert until_closed(raw) == 0xB
        assert raw.goaway[2] == b"ping-flood"
        assert is_served(other)
    calm.moves()


def test_rapid_reset_reaches_no_origin_and_is_counted(gate, script):
    calm = Watch(gate, 'h2_closed_total{reason="rapid-reset"}')
    given_up = Watch(gate, "h2_streams_given_up_total")
    before = script.held
    with connect(gate) as raw:
        raw.start()
        pairs = [h2.headers(at, h2.request_block(b"/held")) + h2.rst_stream(at) for at in range(1, 1400, 2)]
        raw.send(b"".join(pairs))
        assert until_closed(raw) == 0xB
    calm.moves()
    given_up.moves(501)
    assert script.held - before <= 501


def test_one_stream_too_many_is_refused_and_one_that_is_free_again_is_not(gate, script):
    refused = Watch(gate, 'h2_streams_reset_total{code="refused-stream"}')
    script.go.clear()
    with connect(gate) as raw:
        raw.start()
        raw.send(*(h2.headers(at, h2.request_block(b"/held")) for at in range(1, 203, 2)))
        assert raw.wait(lambda raw: raw.resets)
        assert raw.resets == {201: 7}
        script.go.set()
        assert raw.wait(lambda raw: len(raw.over) == 100)
        raw.send(h2.headers(203, h2.request_block()))
        assert raw.wait(lambda raw: raw.ended(203))
    refused.moves()


@pytest.mark.parametrize("octets", [b"", h2.PREFACE[:20], h2.PREFACE, h2.PREFACE + h2.settings()[:5]])
def test_a_preface_that_does_not_come_in_time(gate, octets):
    late = Watch(gate, 'refused_total{limit="head-timeout"}')
    with connect(gate, answers=False) as raw:
        raw.send(octets)
        began = time.monotonic()
        until_closed(raw)
        assert time.monotonic() - began >= 0.9
    late.moves()


@pytest.mark.parametrize(
    "octets",
    [
        h2.headers(1, h2.request_block(), last=False),
        h2.headers(1, h2.request_block(), last=False) + h2.continuation(1, h2.literal(b"x", b"y")),
        h2.headers(1, h2.request_block())[:20],
        h2.ping()[:12],
    ],
    ids=["no-continuation", "no-end", "half-frame", "half-ping"],
)
def test_a_head_or_frame_that_does_not_come_to_its_end(gate, octets):
    late = Watch(gate, 'refused_total{limit="head-timeout"}')
    with connect(gate, answers=False) as raw:
        raw.start()
        raw.send(h2.settings_ack() + octets)
        until_closed(raw)
    late.moves()


def test_an_answer_that_no_window_opens_for_loses_its_stream(gate, good):
    late = Watch(gate, 'refused_total{limit="write-timeout"}')
    with connect(gate) as raw:
        raw.start((h2.INITIAL_WINDOW_SIZE, 0))
        raw.send(h2.headers(1, h2.request_block(b"/big")))
        assert raw.wait(lambda raw: raw.resets or raw.closed)
        late.moves()
    assert is_served(good)


def test_an_answer_taken_an_octet_at_a_time_loses_its_stream(gate, good):
    with connect(gate) as raw:
        raw.start((h2.INITIAL_WINDOW_SIZE, 0))
        raw.send(h2.headers(1, h2.request_block(b"/big")))
        for taken in range(200):
            raw.send(h2.window_update(1, 1))
            assert raw.wait(lambda raw, most=taken: raw.octets > most or raw.resets or raw.closed)
            if raw.resets or raw.closed:
                break
            raw.wait(lambda raw: raw.resets or raw.closed, 0.05)  # twenty octets a second
        assert raw.resets == {1: 8}
    assert is_served(good)


def test_a_client_that_reads_nothing_is_closed(gate, good):
    gate.settle()
    late = Watch(gate, 'refused_total{limit="write-timeout"}')
    with connect(gate, receive_buffer=4096) as raw:
        raw.start((h2.INITIAL_WINDOW_SIZE, (1 << 31) - 1))
        raw.send(h2.window_update(0, (1 << 30)))
        raw.send(*(h2.headers(at, h2.request_block(b"/big")) for at in range(1, 41, 2)))
        wait_for("the timeout", lambda: late.read() > late.before)
    assert is_served(good)


def test_an_idle_connection_ends_with_goaway(gate):
    with connect(gate) as raw:
        raw.start()
        assert is_served(raw)
        assert until_closed(raw) == 0


def test_a_client_that_asks_and_does_not_read_is_not_read_from(gate, good):
    """What it is owed is bounded: its own requests stay in its socket."""
    worker = gate.worker_pids()[-1]
    before = resident(worker)
    with connect(gate, receive_buffer=4096) as raw:
        raw.start()
        for turn in range(200):
            one = 2 * turn + 1
            raw.send(h2.headers(one, h2.request_block(b"/nowhere", b"GET", (b"x", b"y" * 1000))))
        assert is_served(good)
        assert resident(worker) - before < 16 << 20
