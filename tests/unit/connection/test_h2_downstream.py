"""The driver of a client's HTTP/2 connection on a transport in memory, with an engine of ours as the client."""

import pytest
from tests.unit.connection.test_downstream import Recorder, Script

from headgate.connection.context import ConnectionContext
from headgate.connection.downstream_lane import LEAST_RATE, RATE_SECONDS
from headgate.connection.h2_downstream import (
    LINGER_SECONDS,
    MAX_CONTROL_QUEUED,
    MAX_TURN_FRAMES,
    OUTPUT_TURN,
    H2Downstream,
)
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import DEFER_MAX, NEVER, READ_MIN
from headgate.counters import (
    ABORTED_DOWNSTREAM,
    ABORTED_UPSTREAM,
    H2_ACCEPTED,
    H2_CLOSED_FIRST,
    H2_GIVEN_UP,
    H2_OPEN,
    H2_REASONS,
    H2_REQUESTS,
    REFUSED_BODY,
    REFUSED_HEAD,
    REFUSED_MALFORMED,
    SIZE,
    TIMEOUT_BODY,
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
)
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import CANCEL, INTERNAL_ERROR, PROTOCOL_ERROR
from headgate.engine.h2.sender import LOW_WATER
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import RemoteProtocolError, TransportError
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.testing.memory import MemoryTransport

# What the client lets a stream send at first.
WINDOW = 64 * 1024
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678"


def fields(*pairs):
    return Fields([name for name, _ in pairs], [name + b": " + value for name, value in pairs])


class Visitor:
    """A client and its connection. Nothing moves but in `settle`, which ends a round each time."""

    def __init__(self, *, take=1 << 40, client=None, server=None, begin=True, peer=None, **settings):
        self.poller = Poller()
        self.poller.now = 1000.0
        self.transport = MemoryTransport(take=take)
        self.handler = Script()
        self.seen = Recorder()
        self.values = [0] * SIZE
        peer = peer or Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80)
        self.driver = H2Downstream(
            self.transport,
            self.poller,
            self.handler,
            self.seen,
            ConnectionSettings(**settings),
            self.values,
            ConnectionContext("test", "192.0.2.1", 4000, b"http", peer),
            server or H2Settings(connect_protocol=True),
        )
        self.h2 = H2Connection(True, 1000.0, client, b"http")
        self.events = {}
        self.hoards = ()  # the streams for which the client opens no window again
        self.left = []
        self.seen_octets = 0
        self.is_silent = not begin
        self.poller.in_round = True
        self.driver.start(secure=False)
        self.end_round()
        if begin:
            self.settle()

    def end_round(self):
        self.poller.in_round = False
        self.poller._end_round()
        self.poller.in_round = True

    def settle(self):
        """Carry octets both ways until nothing moves."""
        while True:
            self.end_round()
            came = self.transport.outgoing[self.seen_octets :]
            self.seen_octets = len(self.transport.outgoing)
            if came:
                self.h2.receive(came, self.poller.now)
                event = self.h2.next_event()
                while event is not None:
                    self._keep(event)
                    event = self.h2.next_event()
            out = self.h2.take_output(1 << 20)
            if out and not self.driver.closed:
                self.raw(out)
            elif not came:
                return

    def _keep(self, event):
        if isinstance(event, GoingAway):
            self.left.append(event)
            return
        self.events.setdefault(event.stream, []).append(event)
        if isinstance(event, Data) and event.stream not in self.hoards:
            self.h2.consumed(event.stream, len(event.data))

    def raw(self, data):
        self.transport.incoming.append(data)
        while self.transport.incoming and self.driver.reading and not self.driver.closed:
            self.driver.on_readable()

    def writable(self):
        """The socket takes everything from here on."""
        self.transport.take = 1 << 40
        self.driver.on_writable()
        self.settle()

    def ask(self, method=b"GET", target=b"/", body=NO_BODY, *pairs, host=b"a.test"):
        request = Request(method, target, 11, fields((b"host", host), *pairs), body)
        self.h2.send(request)
        return request.stream

    def get(self, target=b"/"):
        stream = self.ask(target=target)
        self.settle()
        return stream, self.handler.exchanges[-1]

    def send(self, event):
        self.h2.send(event)
        self.settle()

    def answer(self, exchange, body=b"ok", size=None, *, finish=True):
        size = len(body) if size is None else size
        lane = exchange.downstream
        lane.respond(Response(200, b"OK", 11, Fields([], []), size))
        if body:
            lane.write(body)
        if finish and size != NO_BODY:
            lane.finish(None)
        exchange.handler = None if finish else exchange.handler
        return lane.flush()

    def pass_time(self, seconds):
        """Let time pass in steps of the sweep, as far as nothing ends before."""
        until = self.poller.now + seconds
        while self.poller.now < until and not self.driver.closed:
            self.poller.now = min(until, self.poller.now + 0.5)
            if self.poller.now >= self.driver.deadline:
                self.driver.on_deadline(self.poller.now)
            else:
                self.driver.sweep(self.poller.now)
            self.end_round()
        if not self.is_silent:
            self.settle()

    def status(self, stream):
        return [event.status for event in self.events.get(stream, []) if isinstance(event, Response)]

    def content(self, stream):
        return b"".join(event.data for event in self.events.get(stream, []) if isinstance(event, Data))

    def failure(self, stream):
        return [event.code for event in self.events.get(stream, []) if isinstance(event, StreamFailed)]

    def close(self):
        self.driver.close()
        self.poller.close()
        assert self.values[H2_OPEN] == 0
        assert self.seen.closed == 1
        assert self.seen.crashes == []


@pytest.fixture
def make():
    made = []

    def visitor(**options):
        made.append(Visitor(**options))
        return made[-1]

    yield visitor
    for one in made:
        one.close()


# -- answers


def test_a_request_is_answered(make):
    visitor = make()
    stream, exchange = visitor.get(b"/x")
    assert (exchange.request.method, exchange.request.target, exchange.request.version) == (b"GET", b"/x", 20)
    assert exchange.request.host == b"a.test"
    assert visitor.answer(exchange)
    visitor.settle()
    assert visitor.status(stream) == [200]
    assert visitor.content(stream) == b"ok"
    assert visitor.seen.exchanges == [(b"/x", 200, "")]
    assert visitor.seen.sizes == [2]
    assert visitor.driver.lanes == {}
    assert visitor.driver.h2.streams == {}
    assert (visitor.values[H2_REQUESTS], visitor.values[H2_ACCEPTED]) == (1, 1)


def test_rfc9110_6_6_1_an_answer_has_a_date_and_no_line_of_its_connection(make):
    visitor = make()
    stream, exchange = visitor.get()
    answer = fields((b"connection", b"close"), (b"x", b"y"))
    exchange.downstream.respond(Response(200, b"OK", 11, answer, NO_BODY))
    exchange.downstream.flush()
    visitor.settle()
    (head,) = visitor.events[stream]
    assert head.fields.get(b"date") is not None
    assert head.fields.get(b"connection") is None
    assert head.fields.get(b"x") == b"y"


def test_many_answers_of_a_round_are_one_write(make):
    visitor = make()
    streams = [visitor.ask() for _ in range(20)]
    visitor.settle()
    written = []
    write = visitor.transport.write
    visitor.transport.write = lambda data: written.append(len(data)) or write(data)
    for exchange in visitor.handler.exchanges:
        visitor.answer(exchange)
    assert written == []
    visitor.settle()
    assert [visitor.content(stream) for stream in streams] == [b"ok"] * 20
    assert len(written) == 1


def test_outside_of_a_round_answers_wait_for_the_next_one(make):
    visitor = make()
    first, second = visitor.ask(), visitor.ask()
    visitor.settle()
    visitor.poller.in_round = False
    before = len(visitor.transport.outgoing)
    for exchange in visitor.handler.exchanges:
        visitor.answer(exchange)
    assert len(visitor.transport.outgoing) == before
    visitor.poller.dispatch()  # the descriptor is writable
    assert len(visitor.transport.outgoing) > before
    visitor.settle()
    assert [visitor.content(stream) for stream in (first, second)] == [b"ok", b"ok"]


def test_outside_of_a_round_too_big_output_goes_out_at_once(make):
    visitor = make()
    stream, exchange = visitor.get()
    visitor.poller.in_round = False
    before = len(visitor.transport.outgoing)
    visitor.answer(exchange, bytes(DEFER_MAX + 1))
    assert len(visitor.transport.outgoing) > before + DEFER_MAX
    visitor.settle()
    assert len(visitor.content(stream)) == DEFER_MAX + 1


def test_interim_answers_and_trailers(make):
    visitor = make()
    stream, exchange = visitor.get()
    lane = exchange.downstream
    lane.respond(Response(103, b"", 11, fields((b"link", b"</x>"))))
    lane.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    lane.write(b"abc")
    lane.finish(fields((b"digest", b"x")))
    lane.flush()
    visitor.settle()
    assert visitor.status(stream) == [103, 200]
    end = visitor.events[stream][-1]
    assert isinstance(end, EndOfMessage)
    assert end.trailers.get(b"digest") == b"x"


def test_a_big_answer_goes_out_in_steps_while_the_socket_takes_it(make):
    visitor = make(client=H2Settings(initial_window=1 << 24, connection_window=1 << 24))
    stream, exchange = visitor.get()
    body = bytes(range(256)) * 8192
    lane = exchange.downstream
    lane.respond(Response(200, b"OK", 11, Fields([], []), len(body)))
    for at in range(0, len(body), 262144):
        lane.write(body[at : at + 262144])
        lane.flush()
    lane.finish(None)
    lane.flush()
    for _ in range(len(body) // OUTPUT_TURN + 2):
        visitor.driver.on_writable()
        visitor.settle()
    assert visitor.content(stream) == body


def test_a_turn_of_a_connection_has_an_end(make):
    visitor = make(client=H2Settings(initial_window=1 << 24, connection_window=1 << 24))
    _, exchange = visitor.get()
    before = len(visitor.transport.outgoing)
    visitor.answer(exchange, bytes(4 * OUTPUT_TURN))
    visitor.end_round()
    assert OUTPUT_TURN <= len(visitor.transport.outgoing) - before <= 3 * OUTPUT_TURN
    for _ in range(4):
        visitor.driver.on_writable()
    assert len(visitor.transport.outgoing) - before > 4 * OUTPUT_TURN


# -- content of requests


def test_content_comes_to_the_handler(make):
    visitor = make()
    stream = visitor.ask(b"POST", b"/", 5)
    visitor.send(Data(b"hello", stream))
    visitor.send(EndOfMessage(None, stream))
    assert (visitor.handler.content, visitor.handler.ends) == (b"hello", 1)
    visitor.answer(visitor.handler.exchanges[0])
    visitor.settle()
    assert visitor.content(stream) == b"ok"


def test_only_content_that_was_taken_opens_the_window_again(make):
    visitor = make()
    visitor.handler.accepting = False
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.send(Data(bytes(1 << 20), stream))
    exchange = visitor.handler.exchanges[0]
    assert visitor.handler.content == b""
    held = visitor.driver.held_received()
    assert held == WINDOW
    visitor.settle()
    assert visitor.driver.held_received() == held
    exchange.accepting = True
    exchange.downstream.resume()
    visitor.settle()
    assert len(visitor.handler.content) == 1 << 20
    assert visitor.driver.held_received() == 0


def test_content_over_the_limit_is_413(make):
    visitor = make(max_body=10)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.send(Data(b"x" * 11, stream))
    assert visitor.status(stream) == [413]
    assert visitor.values[REFUSED_BODY] == 1
    stream = visitor.ask(b"POST", b"/", 11)
    visitor.settle()
    assert visitor.status(stream) == [413]
    assert visitor.seen.exchanges == [(b"/", 413, "body-too-large")] * 2


def test_rfc9113_8_1_an_answer_that_needs_no_content_resets_the_rest_with_no_error(make):
    visitor = make()
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.settle()
    visitor.answer(visitor.handler.exchanges[0])
    visitor.settle()
    assert visitor.content(stream) == b"ok"
    assert visitor.driver.h2.streams == {}
    assert visitor.driver.lanes == {}
    _, exchange = visitor.get()
    visitor.answer(exchange)


def test_a_client_that_gives_up_ends_the_exchange(make):
    visitor = make()
    stream, _exchange = visitor.get()
    visitor.h2.abort(stream, CANCEL)
    visitor.settle()
    assert visitor.handler.closed == 1
    assert visitor.values[ABORTED_DOWNSTREAM] == 1
    assert visitor.seen.exchanges == [(b"/", 0, "reset")]
    visitor.driver.sweep(visitor.poller.now)
    assert visitor.values[H2_GIVEN_UP] == 1


# -- backpressure


def test_closed_windows_stop_the_handler_until_they_open(make):
    visitor = make()
    stream, exchange = visitor.get()
    lane = exchange.downstream
    lane.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    lane.write(bytes(WINDOW + LOW_WATER + 1))
    assert not lane.flush()
    visitor.end_round()
    assert visitor.handler.drained == 0
    visitor.settle()  # the client takes it, and opens its windows
    visitor.settle()
    assert visitor.handler.drained == 1
    lane.finish(None)
    lane.flush()
    visitor.settle()
    assert len(visitor.content(stream)) == WINDOW + LOW_WATER + 1


def test_a_full_socket_stops_the_handler_until_it_takes_more(make):
    visitor = make(client=H2Settings(initial_window=1 << 22, connection_window=1 << 22))
    stream, exchange = visitor.get()
    visitor.transport.take = 1000
    assert not visitor.answer(exchange, bytes(300_000), finish=False)
    visitor.end_round()
    assert visitor.driver.unsent > 0
    assert visitor.driver.held_sent() > 299_000
    assert visitor.handler.drained == 0
    visitor.writable()
    assert visitor.handler.drained == 1
    exchange.downstream.finish(None)
    exchange.downstream.flush()
    visitor.settle()
    assert len(visitor.content(stream)) == 300_000


def test_a_client_that_asks_and_does_not_read_is_not_read_from(make):
    visitor = make(take=0, begin=False)
    visitor.raw(visitor.h2.take_output(1 << 20))
    for _ in range(MAX_CONTROL_QUEUED // len(PING) + 2):
        if not visitor.driver.reading:
            break
        visitor.raw(PING * 8)
        visitor.end_round()
    held = visitor.driver.held_sent()
    assert not visitor.driver.reading or visitor.driver.closed or visitor.driver.is_lingering
    assert held < 4 * MAX_CONTROL_QUEUED


# -- refusals and ends


def test_a_malformed_request_resets_its_stream_and_nothing_else(make):
    visitor = make()
    good, exchange = visitor.get()
    bad = visitor.ask(b"GET", b"no path")
    visitor.settle()
    assert visitor.failure(bad) == [PROTOCOL_ERROR]
    assert visitor.values[REFUSED_MALFORMED] == 1
    visitor.answer(exchange)
    visitor.settle()
    assert visitor.content(good) == b"ok"


def test_a_head_that_is_too_large_is_431_in_words(make):
    visitor = make(server=H2Settings(max_section=1000))
    visitor.h2.remote.max_section = 1 << 20
    stream = visitor.ask(b"GET", b"/", NO_BODY, (b"x", b"y" * 2000))
    visitor.settle()
    assert visitor.status(stream) == [431]
    assert visitor.content(stream).startswith(b"head-too-large: ")
    assert visitor.values[REFUSED_HEAD] == 1
    assert visitor.seen.exchanges == [(b"-", 431, "head-too-large")]
    _, exchange = visitor.get()
    visitor.answer(exchange)


def test_a_handler_that_refuses_is_heard(make):
    visitor = make()

    def refuse(exchange):
        raise RemoteProtocolError(405, "connect-refused", "not here")

    visitor.handler.handle = refuse
    stream = visitor.ask()
    visitor.settle()
    assert visitor.status(stream) == [405]
    assert visitor.content(stream) == b"connect-refused: not here\n"


def test_a_defect_of_one_exchange_leaves_the_others_alone(make):
    visitor = make()
    good, exchange = visitor.get()

    def crash(exchange):
        raise KeyError("defect")

    handle, visitor.handler.handle = visitor.handler.handle, crash
    bad = visitor.ask()
    visitor.settle()
    assert visitor.failure(bad) == [INTERNAL_ERROR]
    assert [type(error) for error in visitor.seen.crashes] == [KeyError]
    visitor.seen.crashes.clear()
    visitor.handler.handle = handle
    visitor.answer(exchange)
    visitor.settle()
    assert visitor.content(good) == b"ok"


def test_an_answer_that_breaks_off_is_a_reset(make):
    visitor = make()
    stream, exchange = visitor.get()
    visitor.answer(exchange, b"some", 100, finish=False)
    exchange.downstream.abort("closed")
    visitor.settle()
    assert visitor.failure(stream) == [INTERNAL_ERROR]
    assert visitor.values[ABORTED_UPSTREAM] == 1
    assert visitor.seen.exchanges == [(b"/", 200, "closed")]


def test_a_broken_connection_is_told_in_goaway_and_closes(make):
    visitor = make()
    visitor.get()
    visitor.raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE of nothing
    assert visitor.handler.closed == 1
    assert visitor.transport.ended
    assert visitor.values[H2_CLOSED_FIRST + H2_REASONS.index("protocol-error")] == 1
    visitor.settle()
    assert [event.first for event in visitor.left] != []
    visitor.pass_time(LINGER_SECONDS)
    assert visitor.transport.closed


def test_what_is_no_http_2_is_told_so(make):
    visitor = make(begin=False)
    visitor.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert visitor.values[H2_CLOSED_FIRST + H2_REASONS.index("preface")] == 1
    assert visitor.transport.ended


def test_the_end_of_a_client_ends_its_exchanges(make):
    visitor = make()
    visitor.get()
    visitor.raw(b"")
    assert visitor.transport.closed
    assert visitor.handler.closed == 1
    assert visitor.seen.exchanges == [(b"/", 0, "closed-by-peer")]


def test_a_client_that_breaks_off_without_anything_under_way_is_no_failure(make):
    visitor = make()
    visitor.transport.broken = TransportError("econnreset", 104, "")
    visitor.driver.on_readable()
    assert visitor.transport.closed
    assert visitor.seen.failures == []


def test_a_client_that_breaks_off_with_something_under_way_is_told_of(make):
    visitor = make()
    visitor.get()
    visitor.transport.broken = TransportError("econnreset", 104, "")
    visitor.driver.on_readable()
    assert visitor.seen.failures == ["econnreset"]
    assert visitor.seen.exchanges == [(b"/", 0, "econnreset")]


# -- time


def test_a_client_that_says_nothing_has_the_time_of_a_head(make):
    visitor = make(begin=False, head=10.0)
    visitor.pass_time(9.5)
    assert not visitor.driver.is_lingering
    visitor.pass_time(1.0)
    assert visitor.transport.ended
    assert visitor.values[TIMEOUT_HEAD] == 1


def test_a_frame_that_does_not_come_to_its_end_has_it_too(make):
    visitor = make(head=10.0)
    visitor.raw(b"\x00\x00\x10\x01\x04\x00\x00\x00\x01\x82")
    visitor.pass_time(9.5)
    assert not visitor.driver.is_lingering
    visitor.pass_time(2.0)
    assert visitor.transport.ended
    assert visitor.values[TIMEOUT_HEAD] == 1


def test_an_idle_connection_ends_after_its_time(make):
    visitor = make(keep_alive=60.0)
    _, exchange = visitor.get()
    visitor.answer(exchange)
    visitor.settle()
    visitor.pass_time(59.0)
    assert visitor.left == []
    visitor.pass_time(2.0)
    assert [event.first > 1 << 30 for event in visitor.left] == [True, False]
    assert visitor.values[TIMEOUT_KEEP_ALIVE] == 1
    assert visitor.transport.ended
    visitor.pass_time(LINGER_SECONDS)
    assert visitor.transport.closed


def test_a_connection_with_a_request_under_way_is_not_idle(make):
    visitor = make(keep_alive=5.0)
    visitor.get()
    visitor.pass_time(100.0)
    assert visitor.left == []


def test_content_that_does_not_come_is_408(make):
    visitor = make(body_idle=30.0)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.settle()
    visitor.pass_time(31.0)
    assert visitor.status(stream) == [408]
    assert visitor.values[TIMEOUT_BODY] == 1


def test_content_that_trickles_is_408(make):
    visitor = make(body_idle=30.0)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.settle()
    for _ in range(int(RATE_SECONDS) + 2):
        visitor.send(Data(b"x" * (LEAST_RATE // 2), stream))
        visitor.pass_time(1.0)
    assert visitor.status(stream) == [408]


def trickle(visitor, stream, seconds):
    for _ in range(int(seconds)):
        visitor.send(Data(b"x", stream))
        visitor.pass_time(1.0)


def test_a_call_of_grpc_may_say_little(make):
    visitor = make(body_idle=30.0)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH, (b"content-type", b"application/grpc+proto"))
    visitor.settle()
    trickle(visitor, stream, 4 * RATE_SECONDS)
    assert visitor.status(stream) == []
    visitor.pass_time(31.0)
    assert visitor.status(stream) == [408]


def test_a_conversation_has_no_rate_and_either_side_keeps_it_going(make):
    visitor = make(body_idle=30.0)
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.settle()
    lane = visitor.handler.exchanges[0].downstream
    lane.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    lane.flush()
    trickle(visitor, stream, 3 * RATE_SECONDS)
    for _ in range(5):
        visitor.pass_time(25.0)
        lane.write(b"y")
        lane.flush()
        visitor.settle()
    assert visitor.failure(stream) == []
    visitor.pass_time(31.0)
    assert visitor.failure(stream) == [CANCEL]
    assert visitor.content(stream) == b"y" * 5


def test_a_reader_that_stopped_loses_its_stream(make):
    visitor = make(write_idle=60.0)
    stream, exchange = visitor.get()
    lane = exchange.downstream
    lane.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    lane.write(bytes(WINDOW + LOW_WATER + 1))
    assert not lane.flush()
    visitor.end_round()
    visitor.poller.now += 61.0
    visitor.driver.sweep(visitor.poller.now)
    assert visitor.values[TIMEOUT_WRITE] == 1
    assert visitor.seen.exchanges == [(b"/", 200, "write-timeout")]
    assert visitor.driver.h2.streams == {}
    assert stream == 1


def test_an_answer_that_is_complete_and_not_taken_loses_its_stream_too(make):
    visitor = make(write_idle=60.0)
    _, exchange = visitor.get()
    assert visitor.answer(exchange, bytes(WINDOW + 100))
    visitor.end_round()
    assert visitor.driver.lanes == {}
    assert len(visitor.driver.h2.streams) == 1
    for _ in range(3):
        visitor.poller.now += 31.0
        visitor.driver.sweep(visitor.poller.now)
        visitor.end_round()
    assert visitor.values[TIMEOUT_WRITE] >= 1
    assert visitor.driver.h2.streams == {} or visitor.driver.is_lingering


def test_a_socket_that_takes_nothing_is_reset(make):
    visitor = make(write_idle=60.0)
    _, exchange = visitor.get()
    visitor.transport.take = 0
    visitor.answer(exchange)
    visitor.end_round()
    assert visitor.driver.unsent > 0
    visitor.pass_time(62.0)
    assert visitor.transport.reset
    assert visitor.transport.closed
    assert visitor.values[TIMEOUT_WRITE] == 1


# -- leaving


def test_a_drain_is_goaway_in_two_steps_and_ends_with_the_last_stream(make):
    visitor = make()
    stream, exchange = visitor.get()
    visitor.driver.drain()
    visitor.settle()
    assert [event.first > 1 << 30 for event in visitor.left] == [True, False]
    assert visitor.left[1].first == stream + 1
    assert not visitor.transport.ended
    visitor.answer(exchange)
    visitor.settle()
    assert visitor.content(stream) == b"ok"
    assert visitor.transport.ended
    visitor.raw(b"")
    assert visitor.transport.closed


def test_a_drain_of_an_idle_connection_ends_it(make):
    visitor = make()
    visitor.driver.drain()
    visitor.settle()
    assert visitor.transport.ended
    assert visitor.driver.deadline != NEVER
    visitor.pass_time(LINGER_SECONDS)
    assert visitor.transport.closed


def test_a_drain_waits_for_a_silent_client_for_a_moment_only(make):
    visitor = make()
    visitor.driver.drain()
    visitor.end_round()
    assert not visitor.transport.ended
    for _ in range(6):
        visitor.poller.now += 0.5
        visitor.driver.sweep(visitor.poller.now)
    assert visitor.transport.ended


def test_small_output_waits_for_the_end_of_the_round_and_big_output_does_not(make):
    visitor = make()
    _, exchange = visitor.get()
    before = len(visitor.transport.outgoing)
    visitor.answer(exchange, bytes(DEFER_MAX), finish=False, size=DEFER_MAX + 1)
    assert len(visitor.transport.outgoing) == before
    exchange.downstream.write(b"x")
    exchange.downstream.flush()
    assert len(visitor.transport.outgoing) > before


def test_a_defect_of_a_lane_that_is_woken_leaves_the_others_alone(make):
    visitor = make()
    bad, exchange = visitor.get()
    good, other = visitor.get()

    def crash(exchange):
        raise KeyError("defect")

    visitor.handler.downstream_drained = crash
    lane = exchange.downstream
    lane.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    lane.write(bytes(WINDOW + LOW_WATER + 1))
    assert not lane.flush()
    visitor.settle()
    visitor.settle()
    assert visitor.failure(bad) == [INTERNAL_ERROR]
    assert [type(error) for error in visitor.seen.crashes] == [KeyError]
    visitor.seen.crashes.clear()
    visitor.answer(other)
    visitor.settle()
    assert visitor.content(good) == b"ok"


def test_the_last_word_goes_out_behind_what_the_socket_did_not_take(make):
    visitor = make()
    _, exchange = visitor.get()
    visitor.transport.take = 10
    visitor.answer(exchange, bytes(1000))
    visitor.end_round()
    assert visitor.driver.unsent > 0
    visitor.raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE of nothing
    assert not visitor.transport.ended
    visitor.transport.take = 1 << 40
    visitor.driver.on_writable()
    assert visitor.transport.ended
    visitor.settle()
    assert visitor.left != []


def test_a_long_answer_that_ends_before_its_request_resets_the_rest(make):
    visitor = make()
    stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
    visitor.settle()
    exchange = visitor.handler.exchanges[0]
    body = bytes(3 * WINDOW)
    exchange.downstream.respond(Response(200, b"OK", 11, Fields([], []), len(body)))
    exchange.downstream.write(body)
    exchange.downstream.finish(None)
    exchange.handler = None
    exchange.downstream.flush()
    visitor.settle()
    assert visitor.content(stream) == body
    visitor.end_round()
    assert visitor.driver.h2.streams == {}
    assert not visitor.driver.h2.has_output()


@pytest.mark.parametrize(("count", "is_small"), [(MAX_TURN_FRAMES, False), (MAX_TURN_FRAMES + 1, True)])
def test_a_read_full_of_small_frames_is_followed_by_small_ones(make, count, is_small):
    visitor = make()
    visitor.driver._read_size = 4 * READ_MIN
    visitor.raw(PING * count + bytes(0))
    assert (visitor.driver._read_size <= READ_MIN) == is_small
