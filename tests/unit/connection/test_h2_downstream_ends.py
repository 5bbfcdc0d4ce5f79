"""A client's HTTP/2 connection where something else happens than was asked for: it breaks while it is answered, is
full, slow, silent or leaving. On a transport in memory, as in test_h2_downstream."""

import pytest
from tests.unit.connection.test_h2_downstream import WINDOW, Visitor, fields

from headgate.connection.h2_downstream import LINGER_SECONDS, MAX_CONTROL_QUEUED, OUTPUT_STEP, OUTPUT_TURN
from headgate.counters import TIMEOUT_WRITE
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, Response
from headgate.engine.h2.errors import CANCEL
from headgate.engine.h2.frames import GOAWAY
from headgate.engine.h2.settings import H2Settings
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.testing import h2_raw as raw

LARGE = H2Settings(initial_window=1 << 24, connection_window=1 << 26)
WRITE_IDLE = 10.0


@pytest.fixture
def make():
    made = []

    def visitor(**options):
        made.append(Visitor(**options))
        return made[-1]

    yield visitor
    for one in made:
        one.close()


def head(stream, method=b"GET", *, end=True):
    return raw.headers(stream, raw.request_block(b"/", method, scheme=b"http", authority=b"a.test"), end=end)


def respond(exchange, size=UNKNOWN_LENGTH, lines=None):
    lines = Fields([], []) if lines is None else lines
    exchange.downstream.respond(Response(200, b"OK", 11, lines, size))


# -- a connection that breaks while it is answered


def test_what_came_with_a_request_whose_answer_found_the_connection_broken_goes_nowhere(make):
    visitor = make()
    handle = visitor.handler.handle

    def answer(exchange):
        handle(exchange)
        visitor.transport.broken = TransportError("econnreset", 104, "")
        respond(exchange)
        exchange.downstream.write(bytes(3 * OUTPUT_STEP))
        exchange.downstream.flush()

    visitor.handler.handle = answer
    visitor.raw(head(1) + head(3, b"POST", end=False) + head(5))
    assert visitor.driver.closed
    assert len(visitor.handler.exchanges) == 1
    assert visitor.driver.lanes == {}


# -- what is not read for a while


def full(visitor, count):
    """Let a client ask for more than the socket takes, until it is not read from any more."""
    handle = visitor.handler.handle

    def answer(exchange):
        handle(exchange)
        respond(exchange, NO_BODY, fields(*[(b"x-%d" % number, b"y" * 1000) for number in range(20)]))
        exchange.handler = None
        exchange.downstream.flush()

    visitor.handler.handle = answer
    visitor.transport.pending = lambda: bool(
        visitor.transport.incoming
    )  # as over TLS: no readiness tells of these
    visitor.transport.incoming += [b"".join(head(1 + 2 * number) for number in range(count)), head(101)]
    visitor.driver.on_readable()
    visitor.end_round()


def test_a_client_that_is_read_from_again_is_asked_for_what_tls_has_decrypted_already(make):
    visitor = make()
    visitor.transport.take = 0
    full(visitor, 15)
    assert not visitor.driver.reading
    assert len(visitor.handler.exchanges) == 15
    visitor.transport.take = 1 << 40
    visitor.driver.on_writable()
    visitor.end_round()
    assert visitor.driver.reading
    assert visitor.transport.incoming == []
    assert len(visitor.handler.exchanges) == 16


def test_a_client_that_took_all_at_the_end_of_the_round_is_read_from_again(make):
    visitor = make()
    full(visitor, 20)  # more than goes out in the turn that follows the read
    assert len(visitor.transport.outgoing) > OUTPUT_TURN + MAX_CONTROL_QUEUED
    assert visitor.driver.reading
    assert len(visitor.handler.exchanges) == 21


# -- the last word


def goaways(octets):
    found, at = [], 0
    while at + 9 <= len(octets):
        size = int.from_bytes(octets[at : at + 3], "big")
        if octets[at + 3] == GOAWAY:
            found.append(int.from_bytes(octets[at + 13 : at + 17], "big"))
        at += 9 + size
    return found


def test_the_last_word_goes_out_behind_all_heads_that_wait(make):
    visitor = make()
    seen = len(visitor.transport.outgoing)
    requests = [visitor.ask() for _ in range(30)]
    visitor.settle()
    for exchange in visitor.handler.exchanges:
        respond(exchange, NO_BODY, fields(*[(b"x-%d" % number, b"y" * 1000) for number in range(20)]))
    assert visitor.driver.h2.control_queued > 4 * OUTPUT_STEP
    assert len(requests) == 30
    visitor.raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE of nothing
    assert visitor.transport.ended
    assert goaways(visitor.transport.outgoing[seen:]) == [1]


# -- leaving


def test_a_client_that_gives_up_the_last_answer_of_a_draining_connection_ends_it(make):
    visitor = make()
    visitor.hoards = (1,)
    stream, exchange = visitor.get()
    assert visitor.answer(exchange, bytes(WINDOW + 100))
    visitor.settle()
    assert visitor.driver.lanes == {}
    assert list(visitor.driver.h2.streams) == [stream]
    visitor.driver.drain()
    visitor.settle()
    assert not visitor.driver.is_lingering
    visitor.h2.abort(stream, CANCEL)
    visitor.settle()
    assert visitor.driver.is_lingering
    visitor.pass_time(LINGER_SECONDS)
    assert visitor.transport.closed


# -- slow clients


def downloads(visitor, count):
    """Begin so many downloads; each writes 32 KiB whenever there is room."""
    streams = [visitor.ask() for _ in range(count)]
    visitor.settle()

    def more(exchange):
        while exchange.downstream.exchange is not None:
            exchange.downstream.write(bytes(32 * 1024))
            if not exchange.downstream.flush():
                return

    visitor.handler.downstream_drained = more
    visitor.transport.take = 0
    for exchange in visitor.handler.exchanges:
        respond(exchange)
        more(exchange)
    return streams


def take(visitor, octets, seconds):
    """Let the socket take so many octets in each second."""
    for _ in range(int(seconds)):
        if visitor.driver.closed:
            return
        visitor.transport.take = octets
        visitor.driver.on_writable()
        visitor.settle()
        visitor.transport.take = 0
        visitor.pass_time(1.0)


def test_downloads_that_wait_for_their_turn_on_a_slow_connection_are_not_late(make):
    visitor = make(client=LARGE, write_idle=WRITE_IDLE)
    downloads(visitor, 20)
    take(visitor, 20_000, 8 * WRITE_IDLE)
    assert len(visitor.driver.lanes) == 20
    assert visitor.values[TIMEOUT_WRITE] == 0


def test_a_connection_that_is_taken_by_octets_has_late_streams(make):
    visitor = make(client=LARGE, write_idle=WRITE_IDLE)
    downloads(visitor, 20)
    take(visitor, 100, 4 * WRITE_IDLE)
    assert visitor.driver.lanes == {}
    assert visitor.values[TIMEOUT_WRITE] == 20


def test_a_download_whose_own_window_is_shut_is_late_however_fast_the_others_are(make):
    visitor = make(client=H2Settings(connection_window=1 << 26), write_idle=WRITE_IDLE)
    visitor.hoards = (1,)
    downloads(visitor, 3)
    take(visitor, 1 << 20, 1.5 * WRITE_IDLE)
    assert visitor.failure(1) == [CANCEL]
    assert sorted(visitor.driver.lanes) == [3, 5]
    assert visitor.values[TIMEOUT_WRITE] == 1


# -- conversations


def converse(visitor, **answers):
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH, (b"content-type", b"application/grpc"))
    visitor.send(Data(b"hello", stream))
    exchange = visitor.handler.exchanges[-1]
    for name, value in answers.items():
        setattr(exchange, name, value)
    respond(exchange)
    exchange.downstream.flush()
    visitor.settle()
    return stream, exchange


def test_once_the_answer_has_begun_both_may_be_silent_for_as_long_as_the_origin(make):
    visitor = make(body_idle=30.0)
    stream, exchange = converse(visitor, idle=60.0)
    visitor.pass_time(59.0)
    assert visitor.failure(stream) == []
    exchange.downstream.write(b"x")
    exchange.downstream.flush()
    visitor.pass_time(59.0)
    assert visitor.failure(stream) == []
    visitor.pass_time(2.0)
    assert visitor.failure(stream) == [CANCEL]


def test_the_head_of_an_answer_is_a_word_too(make):
    visitor = make(body_idle=30.0)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH, (b"content-type", b"application/grpc"))
    visitor.settle()
    visitor.pass_time(29.0)
    respond(visitor.handler.exchanges[-1])
    visitor.handler.exchanges[-1].downstream.flush()
    visitor.pass_time(29.0)
    assert visitor.failure(stream) == []
    visitor.pass_time(2.0)
    assert visitor.failure(stream) == [CANCEL]


# -- gateways in front


@pytest.mark.parametrize(("trusted", "status"), [((), 421), (("192.0.2.0/24",), 200)])
def test_rfc9110_7_4_a_gateway_that_is_trusted_may_have_been_asked_over_tls(make, trusted, status):
    visitor = make(peer=Forwarder(Networks(trusted)).connection(b"192.0.2.1", b"http", 80))
    visitor.h2.scheme = b"https"
    stream = visitor.ask()
    visitor.settle()
    for exchange in visitor.handler.exchanges:
        visitor.answer(exchange)
    visitor.settle()
    assert visitor.status(stream) == [status]
    assert (status == 421) == (b"trusted_proxies" in visitor.content(stream))
