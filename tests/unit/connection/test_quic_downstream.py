"""Requests of HTTP/3 as exchanges: content both ways, backpressure, timeouts, and every way a stream can end."""

import sys

import pytest
from tests.unit.engine.tls13.peers import credential, keys
from tests.unit.proxy.h3_path import fields
from tests.unit.server.quic_gate import Script, Visitor, gates, is_over

from headgate.connection.downstream_lane import LEAST_RATE, RATE_SECONDS
from headgate.connection.stream_driver import GLUE
from headgate.counters import (
    ABORTED_DOWNSTREAM,
    ABORTED_UPSTREAM,
    REFUSED_BODY,
    REFUSED_HEAD,
    REFUSED_MALFORMED,
    REQUESTS_1XX,
    TIMEOUT_BODY,
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
)
from headgate.engine.events import Data, EndOfMessage, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import (
    H3_EXCESSIVE_LOAD,
    H3_INTERNAL_ERROR,
    H3_MESSAGE_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_REJECTED,
    H3_STREAM_CREATION_ERROR,
)
from headgate.engine.h3.streams import RequestStream
from headgate.engine.quic.early import early_context
from headgate.engine.quic.flow import STREAM_WINDOW
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.streams import EARLY_RESET_WINDOW, MAX_EARLY_RESETS
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.settings import ServerSettings


@pytest.fixture
def gate():
    yield from gates()


def driver_of(door):
    return next(iter(door.endpoint.connections))


def send(visitor, event):
    visitor.http.send(event)
    visitor.carry()


def status(visitor, stream):
    return [event.status for event in visitor.answers.get(stream, []) if isinstance(event, Response)]


def content(visitor, stream):
    return b"".join(event.data for event in visitor.answers.get(stream, []) if isinstance(event, Data))


# -- answers


def test_rfc9110_6_6_1_an_answer_has_a_date_and_no_line_of_its_connection(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    exchange.downstream.respond(Response(200, b"OK", 11, fields(connection=b"close", x=b"y"), 0))
    exchange.downstream.flush()
    door.settle()
    (answer,) = visitor.answers[stream]
    assert answer.fields.get(b"date")
    assert answer.fields.get(b"x") == b"y"
    assert answer.fields.get(b"connection") is None


@pytest.mark.parametrize(("method", "code"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_rfc9110_6_4_1_answers_without_content(gate, method, code):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask(method)
    door.settle()
    (exchange,) = door.handler.exchanges
    length = {} if code == 204 else {"content_length": b"7"}
    exchange.downstream.respond(Response(code, b"", 11, fields(**length), 0))
    exchange.downstream.finish(None)  # as the reverse proxy does, whether there was content or not
    exchange.downstream.flush()
    door.settle()
    (answer,) = visitor.answers[stream]
    assert (answer.status, answer.body) == (code, 0)
    assert answer.fields.get(b"content-length") == (None if code == 204 else b"7")
    assert not driver_of(door).lanes


def test_interim_answers_and_trailers(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    lane = exchange.downstream
    lane.respond(Response(103, b"", 11, fields(link=b"</a>"), 0))
    lane.flush()
    door.settle()
    assert status(visitor, stream) == [103]
    lane.respond(Response(200, b"", 11, fields(), -1))
    lane.write(b"abc")
    lane.finish(fields(digest=b"x"))
    lane.flush()
    door.settle()
    assert status(visitor, stream) == [103, 200]
    assert content(visitor, stream) == b"abc"
    assert visitor.answers[stream][-1].trailers.get(b"digest") == b"x"
    assert [done.status for done in door.seen.exchanges] == [200]
    assert (door.values[REQUESTS_1XX], door.values[REQUESTS_1XX + 1]) == (0, 1)


def test_an_answer_that_the_client_does_not_take_stops_its_producer(gate):
    door = gate(Script())
    visitor = door.visit(settings=QuicSettings(streams=StreamSettings(stream_window=8192)))
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    lane = exchange.downstream
    exchange.handler = door.handler
    lane.respond(Response(200, b"", 11, fields(), -1))
    lane.write(b"x" * 100_000)
    assert not lane.flush()
    assert door.handler.drained == 0
    held = driver_of(door).held_sent()
    assert 90_000 < held <= 100_100
    for _ in range(30):
        door.settle()
        door.pass_time(0.02, sweep=False)
    assert door.handler.drained == 1
    assert content(visitor, stream) == b"x" * 100_000
    lane.finish(None)
    assert lane.flush()
    door.settle()
    assert [done.bytes_out for done in door.seen.exchanges] == [100_000]


def test_rfc9114_4_1_an_early_answer_stops_the_request(gate):
    door = gate()
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    assert status(visitor, stream) == [200]
    assert visitor.quic.streams.table[stream].reset_code == H3_NO_ERROR
    assert not driver_of(door).lanes
    door.settle()
    assert stream not in driver_of(door).quic.streams.table


# -- content


def test_content_arrives_piece_by_piece_with_its_trailers(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    for piece in (b"one", b"two"):
        send(visitor, Data(piece, stream))
        door.settle()
    send(visitor, EndOfMessage(fields(digest=b"x"), stream))
    door.settle()
    assert door.handler.data == [b"one", b"two"]
    assert [trailers.get(b"digest") for trailers in door.handler.ends] == [b"x"]


def test_only_content_that_was_taken_opens_the_window_again(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler)
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    (exchange,) = handler.exchanges
    exchange.handler = handler
    whole = 2 * STREAM_WINDOW
    left = whole
    taken = 1027
    while taken == 1027:
        taken = visitor.quic.streams.write(stream, b"\0\x44\x00" + b"x" * 1024, fin=False)
        assert left > 0
        left -= 1024
        door.settle()
        door.pass_time(0.02, sweep=False)
    assert handler.data == []
    lane = driver_of(door).lanes[stream]
    assert lane.held_size <= STREAM_WINDOW
    credit = visitor.quic.streams.table[stream].send_credit
    before = credit.limit
    assert before == STREAM_WINDOW
    exchange.accepting = True
    lane.resume()
    door.settle()
    assert sum(map(len, handler.data)) > STREAM_WINDOW * 0.9
    assert credit.limit > before
    assert lane.held_size == 0


def test_small_pieces_that_wait_weigh_what_is_counted(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler)
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    handler.exchanges[0].handler = handler
    visitor.quic.streams.write(stream, b"\0\x80\x03\x00\x00", fin=False)
    for n in range(3 * GLUE // 2):
        visitor.quic.streams.write(stream, b"%02d" % (n % 100), fin=False)
        door.settle()
        if n % 50 == 0:
            door.pass_time(0.002, sweep=False)
    lane = driver_of(door).lanes[stream]
    assert lane.held_size == 3 * GLUE
    assert [len(piece) for piece in lane._held] == [GLUE] * 3
    assert sum(map(sys.getsizeof, lane._held)) < 1.1 * lane.held_size
    handler.exchanges[0].accepting = True
    lane.resume()
    assert b"".join(handler.data) == b"".join(b"%02d" % (n % 100) for n in range(3 * GLUE // 2))


@pytest.mark.parametrize("announced", [True, False])
def test_content_at_the_limit_and_one_more(gate, announced):
    door = gate(Script(), max_body=100)
    visitor = door.visit()
    good = visitor.ask(b"POST", body=100 if announced else -1)
    send(visitor, Data(b"x" * 100, good))
    send(visitor, EndOfMessage(None, good))
    door.settle()
    assert len(door.handler.ends) == 1
    bad = visitor.ask(b"POST", body=101 if announced else -1)
    if not announced:
        send(visitor, Data(b"x" * 101, bad))
    door.settle()
    assert status(visitor, bad) == [413]
    assert door.values[REFUSED_BODY] == 1
    assert [done.reason for done in door.seen.exchanges] == ["body-too-large"]


def test_a_head_at_the_limit_and_one_more(gate):
    door = gate(max_head=2000)
    visitor = door.visit()
    visitor.http.control.settings.max_section = 1 << 20
    good, bad = visitor.ask(x=b"y" * 1500), visitor.ask(x=b"y" * 2000)
    door.settle()
    assert (status(visitor, good), status(visitor, bad)) == ([200], [431])
    assert door.values[REFUSED_HEAD] == 1
    assert not driver_of(door).lanes


# -- ends


def test_rfc9114_4_1_1_a_client_that_gives_up_ends_the_work_for_it(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    exchange.handler = door.handler
    visitor.reset(stream)
    door.settle()
    assert door.handler.closed == [exchange]
    assert door.values[ABORTED_DOWNSTREAM] == 1
    assert [done.reason for done in door.seen.exchanges] == ["stopped"]
    assert not driver_of(door).lanes
    exchange.downstream.respond(Response(200, b"", 11, fields(), 0))  # a late answer finds nobody
    assert exchange.downstream.flush()
    door.settle()
    assert not is_over(visitor)


def test_rfc9000_4_6_a_stream_is_given_back_only_when_the_work_has_stopped(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    streams = driver_of(door).quic.streams
    assert not streams.table[stream].is_released
    door.handler.answer(door.handler.exchanges[0], 200)
    assert stream not in streams.table or streams.table[stream].is_released


def test_an_answer_that_breaks_off_is_reset(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    exchange.downstream.respond(Response(200, b"", 11, fields(), -1))
    exchange.downstream.write(b"half")
    exchange.downstream.flush()
    exchange.downstream.abort("upstream-closed")
    door.settle()
    assert visitor.resets == {stream: H3_INTERNAL_ERROR}
    assert door.values[ABORTED_UPSTREAM] == 1
    assert [done.reason for done in door.seen.exchanges] == ["upstream-closed"]


def test_rfc9114_4_1_2_a_malformed_request_is_reset_and_told(gate):
    door = gate()
    visitor = door.visit()
    stream = visitor.ask(connection=b"close")
    visitor.http.take_writes()
    section = visitor.http.encoder.encode(
        4, [b":method", b"connection"], [b":method: GET", b"connection: close"]
    )
    visitor.quic.streams.open(is_uni=False)
    visitor.quic.streams.write(4, b"\x01%c" % len(section) + section, fin=True)
    door.settle()
    assert visitor.resets == {4: H3_MESSAGE_ERROR}
    assert status(visitor, stream) == [200]
    assert door.values[REFUSED_MALFORMED] == 1
    assert door.seen.failures == ["malformed"]


def test_rapid_resets_get_no_new_streams_for_a_while(gate):
    door = gate(Script())
    visitor = door.visit()
    streams = driver_of(door).quic.streams
    for _ in range(MAX_EARLY_RESETS + 1):
        stream = visitor.quic.streams.open(is_uni=False)
        assert stream != NOBODY
        visitor.quic.streams.write(stream, b"\x01\x20", fin=False)
        visitor.quic.streams.reset(stream, H3_REQUEST_CANCELLED)
        door.pass_time(0.03, sweep=False)
    assert 0 < streams.no_grants_until - door.clock.now() <= EARLY_RESET_WINDOW
    assert not driver_of(door).lanes
    assert not is_over(visitor)


def test_exchanges_end_with_their_connection(gate):
    door = gate(Script())
    visitor = door.visit()
    visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    exchange.handler = door.handler
    visitor.quic.close(0x10C, "gone", door.clock.now())
    door.settle()
    assert door.handler.closed == [exchange]
    assert [done.reason for done in door.seen.exchanges] == ["closed-by-peer"]


# -- time


def test_a_head_that_does_not_come_is_408(gate):
    door = gate(head=10.0)
    visitor = door.visit()
    visitor.quic.streams.open(is_uni=False)
    visitor.http._next = 4
    visitor.quic.streams.write(0, b"\x01\x20half", fin=False)
    visitor.http.streams[0] = RequestStream(0)
    door.settle()
    door.pass_time(0.5)
    assert door.endpoint.held_heads == 4
    door.pass_time(9.9)
    assert door.values[TIMEOUT_HEAD] == 0
    door.pass_time(0.2)
    assert door.values[TIMEOUT_HEAD] == 1
    assert status(visitor, 0) == [408]


def open_stray(visitor, data, *, is_uni=False, missing=1):
    """Open a stream, and send all but the first octets of `data`; return its number."""
    streams = visitor.quic.streams
    stream = streams.open(is_uni=is_uni)
    visitor.strays.add(stream)
    streams.write(stream, data, fin=False)
    leave_out(visitor, stream, missing)
    return stream


def leave_out(visitor, number, count):
    stream = visitor.quic.streams.table[number]
    stream.send.sent += count
    stream.send_credit.used += count
    visitor.quic.streams.sender.credit.used += count


def test_a_request_whose_first_octet_does_not_come_is_reset(gate):
    door = gate(head=10.0, keep_alive=300.0)
    visitor = door.visit()
    stream = open_stray(visitor, b"y" * 10_000)
    visitor.http._next = 4
    door.settle()
    driver = driver_of(door)
    door.pass_time(0.5)
    assert driver.held_received() >= 9_999
    assert not driver.lanes
    assert not driver.h3.streams
    for _ in range(3):
        visitor.quic.ping()
        door.pass_time(3.3)
    assert door.values[TIMEOUT_HEAD] == 0
    door.pass_time(0.2)
    assert door.values[TIMEOUT_HEAD] == 1
    assert visitor.resets == {stream: H3_REQUEST_CANCELLED}
    assert visitor.stops == {stream: H3_REQUEST_CANCELLED}
    assert driver.held_received() == 0
    door.pass_time(0.1)
    assert stream not in driver.quic.streams.table, "the place is free again"
    assert status(visitor, visitor.ask()) == []
    door.settle()
    assert [done.status for done in door.seen.exchanges] == [200]


@pytest.mark.parametrize("frame", ["stop", "empty"])
def test_a_request_that_was_only_spoken_of_is_let_go(gate, frame):
    door = gate(head=10.0)
    visitor = door.visit()
    driver = driver_of(door)
    assert visitor.quic.streams.open(is_uni=False) == 0
    if frame == "stop":
        driver.quic.streams.receive_stop_sending(0, 0, 0.0)
    else:
        driver.quic.streams.receive_stream(0, 0, b"", fin=False)
    for _ in range(3):
        door.pass_time(0.1)
        visitor.quic.ping()
        door.pass_time(5.0)
    assert door.values[TIMEOUT_HEAD] == 1
    assert 0 not in driver.quic.streams.table


def test_an_octet_that_comes_late_winds_no_clock(gate):
    door = gate(head=10.0)
    visitor = door.visit()
    stream = open_stray(visitor, b"y" * 10_000)
    visitor.http._next = 4
    visitor.http.streams[0] = RequestStream(0)
    visitor.strays.clear()
    door.settle()
    door.pass_time(0.5)
    door.pass_time(9.0)
    visitor.quic.streams.on_loss(stream, 0, 1, fin=False)
    door.settle()
    driver = driver_of(door)
    assert stream in driver.h3.streams
    door.pass_time(0.5)
    assert door.values[TIMEOUT_HEAD] == 0
    door.pass_time(0.6)
    assert door.values[TIMEOUT_HEAD] == 1
    assert status(visitor, stream) == [408]


@pytest.mark.parametrize(("data", "missing"), [(b"\x40\x21" * 5000, 1), (b"\x40", 0)])
def test_a_stream_that_does_not_say_what_it_is_is_stopped(gate, data, missing):
    door = gate(head=10.0, keep_alive=300.0)
    visitor = door.visit()
    stream = open_stray(visitor, data, is_uni=True, missing=missing)
    door.settle()
    door.pass_time(0.5)
    door.pass_time(9.9)
    assert visitor.stops == {}
    door.pass_time(0.2)
    assert visitor.stops == {stream: H3_STREAM_CREATION_ERROR}
    driver = driver_of(door)
    assert driver.held_received() == 0
    assert not driver.h3.has_begun(stream)
    assert stream not in driver.h3._uni
    assert door.values[TIMEOUT_HEAD] == 1
    door.pass_time(0.1)
    assert stream not in driver.quic.streams.table
    assert not is_over(visitor)


def test_a_gap_in_a_critical_stream_ends_the_connection(gate):
    door = gate(head=10.0, keep_alive=300.0)
    visitor = door.visit()
    visitor.quic.streams.write(2, b"\x21\x40\x00" + b"\x21\x00" * 200, fin=False)
    leave_out(visitor, 2, 1)
    door.settle()
    door.pass_time(0.5)
    door.pass_time(9.9)
    assert not is_over(visitor)
    door.pass_time(0.2)
    assert visitor.quic.end.code == H3_EXCESSIVE_LOAD
    assert door.values[TIMEOUT_HEAD] == 1


def test_gaps_that_are_filled_cost_nothing(gate):
    door = gate(Script(200, b"x"), head=10.0, keep_alive=300.0)
    visitor = door.visit()
    for _ in range(40):
        visitor.quic.streams.write(2, b"\x21\x00", fin=False)
        at = visitor.quic.streams.table[2].send.sent
        leave_out(visitor, 2, 1)
        door.settle()
        door.pass_time(0.5)
        visitor.quic.streams.on_loss(2, at, 1, fin=False)
        door.settle()
        door.pass_time(0.5)
    assert door.values[TIMEOUT_HEAD] == 0
    assert not is_over(visitor)
    assert driver_of(door)._unread == {}


def test_content_that_stops_is_408(gate):
    door = gate(Script(), body_idle=5.0)
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    send(visitor, Data(b"x" * 2000, stream))
    door.settle()
    door.pass_time(4.9)
    assert status(visitor, stream) == []
    door.pass_time(0.2)
    assert status(visitor, stream) == [408]
    assert door.values[TIMEOUT_BODY] == 1


def test_rfc9000_21_6_content_that_trickles_is_408(gate):
    door = gate(Script(), body_idle=30.0)
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    seconds = 0
    while not status(visitor, stream):
        send(visitor, Data(b"x" * (LEAST_RATE // 2), stream))
        door.pass_time(1.0)
        seconds += 1
        assert seconds < RATE_SECONDS + 3
    assert status(visitor, stream) == [408]
    assert door.values[TIMEOUT_BODY] == 1


def test_who_may_not_send_is_not_late(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler, body_idle=5.0)
    visitor = door.visit()
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    handler.exchanges[0].handler = handler
    send(visitor, Data(b"x", stream))
    door.settle()
    for _ in range(30):
        door.pass_time(1.0)
    assert status(visitor, stream) == []
    assert door.values[TIMEOUT_BODY] == 0


def test_a_reader_that_stopped_loses_its_stream(gate):
    door = gate(Script(), write_idle=5.0)
    visitor = door.visit(settings=QuicSettings(streams=StreamSettings(stream_window=8192)))
    visitor.quic.streams.settings.stream_window = 8192
    stream = visitor.ask()
    door.settle()
    (exchange,) = door.handler.exchanges
    exchange.handler = door.handler
    exchange.downstream.respond(Response(200, b"", 11, fields(), -1))
    visitor.takes = False  # it acknowledges, and opens no window
    exchange.downstream.write(b"x" * 100_000)
    assert not exchange.downstream.flush()
    for _ in range(7):
        door.pass_time(1.0)
    assert visitor.resets == {stream: H3_REQUEST_CANCELLED}
    assert door.values[TIMEOUT_WRITE] == 1
    assert [done.reason for done in door.seen.exchanges] == ["write-timeout"]
    assert door.handler.closed == [exchange]


def test_a_connection_without_requests_ends(gate):
    door = gate(keep_alive=20.0)
    visitor = door.visit()
    visitor.ask()
    door.settle()
    for _ in range(21):
        visitor.quic.streams.receive_max_data(1)
        door.pass_time(1.0)
    assert is_over(visitor)
    assert visitor.quic.end.code == H3_NO_ERROR
    assert door.values[TIMEOUT_KEEP_ALIVE] == 1


def test_rfc9114_5_2_an_old_connection_says_that_it_goes(gate):
    door = gate()
    visitor = door.visit()
    driver_of(door).h3.max_requests = 2
    first = visitor.ask()
    door.settle()
    second = visitor.ask()
    door.settle()
    assert (status(visitor, first), status(visitor, second)) == ([200], [200])
    assert visitor.http.control.goaway == 8
    door.pass_time(0.5)
    door.pass_time(0.5)
    assert visitor.quic.end.code == H3_NO_ERROR


def test_rfc9114_5_2_a_request_behind_goaway_gives_its_place_back(gate):
    door = gate(Script(), head=10.0)
    visitor = door.visit()
    visitor.ask()
    door.settle()
    driver = driver_of(door)
    driver.drain()
    late = visitor.ask()
    door.settle()
    assert driver.quic.streams.table[late].reset_code == H3_REQUEST_REJECTED
    assert late not in driver.h3.streams
    door.pass_time(0.5)
    door.pass_time(0.5)
    assert late not in driver.quic.streams.table
    door.pass_time(10.0)
    assert door.values[TIMEOUT_HEAD] == 0


def test_too_much_of_what_serves_nobody_closes(gate):
    door = gate()
    visitor = door.visit()
    visitor.quic.streams.write(2, b"\x21\x00" * 1001, fin=False)
    door.settle()
    assert visitor.quic.end.code == H3_EXCESSIVE_LOAD


# -- early data (RFC 8470)


def early_pair(door, **changes):
    """Return a client that has a session, and comes with it again."""
    early = EarlyData(early_context(QuicSettings(), b""), 3, door.clock.wall() - 100)
    door.tls.settings = ServerSettings(select=lambda name: [credential()], tickets=keys(), early=early)
    first = door.visit()
    door.pass_time(0.1)
    (session, *_) = first.quic.tls.take_sessions()
    second = Visitor(door, 9, session=session, early=True, **changes)
    second.http = H3Connection(True, 0.0)
    return second


def test_rfc8470_5_1_a_request_in_early_data_says_so_to_the_origin(gate):
    door = gate()
    visitor = early_pair(door)
    stream = visitor.ask()
    visitor.send()
    door.read()
    assert not any(driver.quic.is_complete for driver in door.endpoint.connections if driver.requests)
    (exchange,) = [done.request for done in door.seen.exchanges]
    assert exchange.fields.get(b"early-data") == b"1"
    door.settle()
    assert status(visitor, stream) == [200]
    again = visitor.ask()
    door.settle()
    assert status(visitor, again) == [200]
    assert door.seen.exchanges[-1].request.fields.get(b"early-data") is None
    assert len(door.tls.done) == 2


def test_rfc8470_5_2_what_changes_something_is_too_early(gate):
    door = gate()
    visitor = early_pair(door)
    stream = visitor.ask(b"POST", body=0)
    visitor.send()
    door.read()
    door.settle()
    assert status(visitor, stream) == [425]
    assert [done.reason for done in door.seen.exchanges] == ["too-early"]
    assert not door.handler.exchanges
