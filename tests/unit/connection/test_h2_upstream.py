"""An exchange over HTTP/2 with an origin, all in memory: the engine is the real one on both sides."""

import select

import pytest
from tests.unit.proxy.h2_path import H2Path, fields

from headgate.connection.h2_upstream import LINGER, MAX_CONTROL_QUEUED, PIECE
from headgate.counters import (
    GATEWAY_HEAD_TIMEOUT,
    RETRIED_FIRST,
    UPSTREAM_H2_CLOSED,
    UPSTREAM_H2_CONNECTIONS,
    UPSTREAM_H2_MALFORMED,
    UPSTREAM_H2_OPEN,
    UPSTREAM_H2_REFUSED,
    UPSTREAM_H2_REQUESTS,
    UPSTREAM_H2_RESET,
    UPSTREAM_OPEN,
)
from headgate.engine.h2.errors import CANCEL, HTTP_1_1_REQUIRED, INTERNAL_ERROR, PROTOCOL_ERROR
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway
from headgate.errors import TransportError
from headgate.upstream.retries import CLOSED, REUSED, UNTOUCHED

GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def path():
    made = H2Path()
    yield made
    made.close()
    made.run()
    assert made.seen.crashes == []
    assert made.active == [0]
    assert made.endpoint.dialling == 0
    assert made.values[UPSTREAM_OPEN] == made.values[UPSTREAM_H2_OPEN] == 0


def test_a_request_and_its_answer(path):
    client, origin = path.ask(GET)
    request = origin.requests[0]
    assert (request.method, request.target, request.host, request.version) == (b"GET", b"/a?b", b"x", 20)
    assert request.fields.get(b"cookie") == b"a=b"
    origin.respond(200, 5, server=b"me")
    origin.send(b"hello", end=True)
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.transport.outgoing.endswith(b"\r\n\r\nhello")
    assert path.seen.exchanges[-1].upstream_protocol == "HTTP/2.0"
    assert path.values[UPSTREAM_H2_CONNECTIONS] == path.values[UPSTREAM_H2_REQUESTS] == 1


def test_many_exchanges_share_one_connection(path):
    clients = [path.ask(GET)[0] for _ in range(50)]
    assert len(path.origins) == 1
    origin = path.origins[0]
    assert [request.stream for request in origin.requests] == list(range(1, 101, 2))
    for request in reversed(origin.requests):
        origin.respond(204, stream=request.stream)
    path.run()
    assert all(b"204 No Content" in client.transport.outgoing for client in clients)


def test_content_both_ways_and_trailers(path):
    client, origin = path.ask(
        b"POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    request = origin.requests[0]
    assert request.fields.get(b"te") == b"trailers", "gRPC cannot do without"
    assert request.fields.get(b"connection") is None
    assert origin.content(request.stream) == b"hello"
    assert origin.log[-1].trailers.get(b"x-sum") == b"1"
    origin.respond(200, -1)
    origin.send(b"world", trailers=fields(grpc_status=b"0"))
    path.run()
    assert b"5\r\nworld\r\n0\r\n" in client.transport.outgoing
    assert b"grpc-status: 0" in client.transport.outgoing.lower()


def test_100_continue_and_other_interim_answers_are_passed_on(path):
    client, origin = path.ask(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    assert origin.requests[0].fields.get(b"expect") == b"100-continue"
    origin.respond(100)
    origin.respond(103, link=b"</a>")
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert b"103 Early Hints" in client.transport.outgoing
    path.send(client, b"hello")
    path.run()
    assert origin.content(1) == b"hello"
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_a_client_that_leaves_resets_its_stream_alone(path):
    client, origin = path.ask(GET)
    other, _ = path.ask(GET)
    client.close()
    path.run()
    assert origin.resets == [(1, CANCEL)]
    origin.respond(204, stream=3)
    path.run()
    assert b"204 No Content" in other.transport.outgoing


def test_rfc9113_8_1_1_a_malformed_answer_is_a_502_and_resets_its_stream(path):
    client, origin = path.ask(GET)
    other, _ = path.ask(GET)
    origin.h2._write(b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x84")  # :path in a response
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert origin.resets == [(1, PROTOCOL_ERROR)]
    assert path.values[UPSTREAM_H2_MALFORMED] == 1
    origin.respond(204, stream=3)
    path.run()
    assert b"204 No Content" in other.transport.outgoing


def test_a_reset_is_a_502_for_a_method_that_is_not_idempotent(path):
    client, origin = path.ask(POST)
    origin.refuse(code=INTERNAL_ERROR)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert path.values[UPSTREAM_H2_RESET] == 1
    assert len(path.origins) == 1


def test_rfc9113_8_7_a_refused_request_of_any_method_is_sent_again_on_a_fresh_connection(path):
    client, first = path.ask(POST)
    first.refuse()
    path.run()
    assert len(path.origins) == 2
    second = path.origins[1]
    assert second.requests[0].method == b"POST"
    assert second.content(1) == b"hello"
    second.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.values[UPSTREAM_H2_REFUSED] == path.values[RETRIED_FIRST + UNTOUCHED] == 1


def test_what_an_origin_refuses_beside_others_is_learned(path):
    path.ask(GET)
    path.ask(GET)
    _, origin = path.ask(GET)
    origin.refuse(5)
    path.run()
    assert len(path.origins) == 2, "two at a time are what the first takes"
    assert path.driver_of(path.origins[0]).room_left() == 0
    path.origins[0].respond(204, stream=1)
    path.origins[1].respond(204)
    path.run()
    assert path.driver_of(path.origins[0]).room_left() == 1
    path.origins[0].respond(204, stream=3)
    path.run()


def test_rfc9113_6_8_goaway_finishes_what_was_looked_at_and_repeats_the_rest(path):
    first, origin = path.ask(GET)
    second, _ = path.ask(POST)
    origin.h2._write_goaway(1, 0, b"")
    path.run()
    assert len(path.origins) == 2
    assert path.origins[1].requests[0].method == b"POST"
    path.origins[1].respond(204)
    origin.respond(200, 2, stream=1)
    origin.send(b"ok", stream=1, end=True)
    path.run()
    assert first.transport.outgoing.endswith(b"ok")
    assert b"204 No Content" in second.transport.outgoing
    assert origin.transport.closed, "its last lane ended it"


def test_a_graceful_goaway_in_two_steps(path):
    client, origin = path.ask(GET)
    origin.h2.go_away(path.poller.now)
    path.run()
    other, _ = path.ask(GET)
    assert len(path.origins) == 2
    for one in path.origins:
        one.respond(204)
    path.run()
    assert b"204" in client.transport.outgoing
    assert b"204" in other.transport.outgoing


@pytest.mark.parametrize(("request_", "repeats"), [(GET, 1), (POST, 0)])
def test_rfc9113_8_7_a_connection_that_lay_idle_and_ends_proves_nothing(path, request_, repeats):
    client, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    path.poller.now += 1.0
    path.send(client, request_)
    end(path, origin)
    assert path.values[RETRIED_FIRST + REUSED] == repeats
    if repeats:
        path.origins[1].respond(201)
        path.run()
    assert (b"201 Created" if repeats else b"502 Bad Gateway") in client.transport.outgoing


def pour(path, client, data, pieces):
    """Let a client send as much as is taken, and the rest when it is; return once nothing moves."""
    client.transport.incoming += [data] * pieces
    go_on(path, client)


def go_on(path, client):
    while client.reading and client.transport.incoming:
        client.on_readable()
        path.run()


def end(path, origin):
    """Let the origin's process die."""
    driver = path.driver_of(origin)
    origin.speaks = False
    origin.transport.incoming.append(b"")
    driver.on_readable()
    path.run()


def test_a_busy_connection_that_ends_repeats_safe_methods_only():
    path = H2Path()
    path.endpoints.append(path.make("b.test", True))
    path.upstream.set_endpoints(path.endpoints)
    unsafe, origin = path.ask(POST)
    safe, other = path.ask(GET)
    for one in [driver for pool in path.pools for driver in pool.connections]:
        assert one.lanes
    end(path, origin)
    end(path, other)
    path.run()
    assert b"502 Bad Gateway" in unsafe.transport.outgoing
    assert path.values[UPSTREAM_H2_CLOSED] == 2
    assert path.values[RETRIED_FIRST + CLOSED] == 1
    path.origins[-1].respond(204)
    path.run()
    assert b"204 No Content" in safe.transport.outgoing
    path.close()
    assert path.seen.crashes == []


def test_more_connections_only_when_there_is_no_room():
    path = H2Path(server_settings=H2Settings(max_streams=2))
    clients = [path.ask(GET)[0] for _ in range(5)]
    assert [len(origin.requests) for origin in path.origins] == [2, 2, 1]
    for origin in path.origins:
        for request in origin.requests:
            origin.respond(204, stream=request.stream)
    path.run()
    assert all(b"204" in client.transport.outgoing for client in clients)
    path.ask(GET)
    assert len(path.origins) == 3
    path.close()


def test_an_idle_connection_ends_after_its_time(path):
    _, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    path.pass_time(59.0)
    assert not origin.transport.closed
    path.pass_time(2.0)
    assert origin.transport.closed
    assert any(isinstance(event, GoingAway) for event in origin.log)


def test_silence_is_asked_about_and_the_answer_keeps_the_connection(path):
    path.upstream.head_timeout = 1000.0
    client, origin = path.ask(GET)
    path.pass_time(100.0)
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_pings_are_rare_enough_for_grpc(path):
    path.upstream.head_timeout = 1000.0
    _, origin = path.ask(GET)
    began = path.poller.now
    pinged = []
    for _ in range(70):
        path.pass_time(10.0)
        count = origin.transport.outgoing.count(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00")
        pinged += [path.poller.now - began] * (count - len(pinged))
    assert pinged == [30.0, 330.0, 630.0]


def test_a_dead_origin_is_found_out_by_a_ping(path):
    path.upstream.head_timeout = 1000.0
    client, origin = path.ask(GET)
    origin.speaks = False
    path.pass_time(60.0)
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "nor after a PING" in path.seen.exchanges[-1].detail
    assert origin.transport.closed


def test_a_stalled_socket_stalls_the_sender_and_goes_on(path):
    client, origin = path.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    origin.transport.take = 10_000
    pour(path, client, b"x" * 10_000, 20)
    assert not client.reading, "nobody takes more from the client"
    driver = path.driver_of(origin)
    assert driver.unsent + driver.h2.queued_total < 120_000
    origin.transport.take = 1 << 40
    driver.on_writable()
    go_on(path, client)
    path.run()
    assert len(origin.content(1)) == 200_000
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_a_stalled_window_stalls_the_sender_and_goes_on(path):
    client, origin = path.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    origin.reads = False
    pour(path, client, b"x" * 10_000, 30)
    assert not client.reading
    got = len(origin.content(1))
    assert got < 100_000
    origin.reads = True
    origin.h2.consumed(1, got)
    path.run()
    go_on(path, client)
    assert len(origin.content(1)) == 300_000
    origin.respond(204)
    path.run()
    assert b"204" in client.transport.outgoing


def test_a_slow_client_holds_its_own_answer_alone(path):
    slow, origin = path.ask(GET)
    slow.transport.take = 1000
    origin.respond(200, 1 << 20, stream=1)
    origin.send(b"x" * (1 << 20), stream=1, end=True)
    path.run()
    assert origin.h2.queued(1) > 0, "its window is closed"
    other, _ = path.ask(GET)
    origin.respond(204, stream=3)
    path.run()
    assert b"204 No Content" in other.transport.outgoing
    slow.transport.take = 1 << 40
    slow.on_writable()
    path.run()
    assert slow.transport.outgoing.endswith(b"x" * 1000)
    assert len(slow.transport.outgoing) > 1 << 20


def test_an_answer_before_the_request_is_complete(path):
    client, origin = path.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
    origin.respond(413)
    origin.h2.end_reading(1)
    path.run()
    assert b"413" in client.transport.outgoing
    assert path.endpoint.connections == []
    other, _ = path.ask(GET)
    origin.respond(204)
    path.run()
    assert b"204" in other.transport.outgoing


def test_a_field_section_that_the_origin_does_not_take_is_refused_in_words():
    path = H2Path(server_settings=H2Settings(max_section=1000))
    client, origin = path.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n")
    assert b"431 Request Header Fields Too Large" in client.transport.outgoing
    assert "takes 1000 octets of fields" in path.seen.exchanges[-1].detail
    assert origin.requests == []
    path.ask(GET)
    assert len(origin.requests) == 1
    path.close()


def test_a_breach_ends_the_connection_with_its_code_and_all_are_told(path):
    first, origin = path.ask(POST)
    second, _ = path.ask(POST)
    origin.h2._write(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # DATA of stream 0
    path.run()
    assert b"502 Bad Gateway" in first.transport.outgoing
    assert b"502 Bad Gateway" in second.transport.outgoing
    assert origin.h2.goaway_code == PROTOCOL_ERROR
    assert origin.transport.closed


def test_a_broken_transport_is_told_with_its_reason(path):
    client, origin = path.ask(POST)
    origin.transport.broken = TransportError("econnreset", 104, "reset by peer")
    path.driver_of(origin).on_readable()
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "reset by peer" in path.seen.exchanges[-1].detail


def test_control_frames_that_wait_at_the_limit_and_one_more(path):
    client, origin = path.ask(GET)
    driver = path.driver_of(origin)
    origin.transport.take = 0
    driver.h2.ping(path.poller.now)
    driver.flush_soon()
    path.run()
    assert driver.unsent > 0, "the socket is full"
    filler = b"\x00\x3f\xf7\xff\x00\x00\x00\x00\x00" + bytes(0x3FF7)
    for _ in range(MAX_CONTROL_QUEUED // len(filler)):
        driver.h2._write(filler)
    assert driver.h2.control_queued == MAX_CONTROL_QUEUED
    path.send(driver, b"\x00\x00\x00\xff\x00\x00\x00\x00\x00")
    assert driver.reading
    path.send(driver, b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678")
    assert not driver.reading
    origin.transport.pending = lambda: bool(
        origin.transport.incoming
    )  # decrypted by TLS: no readiness tells of it
    origin.respond(204)
    origin.transport.incoming.append(origin.output())
    origin.transport.take = 1 << 40
    driver.on_writable()
    assert driver.reading
    assert origin.transport.incoming == []
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_the_last_word_to_an_origin_goes_out_behind_all_that_waits(path):
    _client, origin = path.ask(GET)
    driver = path.driver_of(origin)
    filler = b"\x00\x3f\xf7\xff\x00\x00\x00\x00\x00" + bytes(0x3FF7)
    for _ in range(3 * PIECE // len(filler)):
        driver.h2._write(filler)
    path.send(driver, b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE of nothing
    assert driver.closed
    assert origin.transport.outgoing.endswith(b"protocol-error")
    path.run()


# -- conversations


def test_an_origin_may_listen_in_silence_while_its_client_speaks(path):
    client, origin = path.ask(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    origin.respond(200, -1)
    path.run()
    for _ in range(10):
        path.pass_time(20.0)
        path.send(client, b"1\r\nx\r\n")
        path.run()
    assert origin.resets == []
    assert origin.content(1) == b"abc" + b"x" * 10
    path.pass_time(121.0)
    assert origin.resets == [(1, CANCEL)]
    assert path.values[GATEWAY_HEAD_TIMEOUT] == 1


# -- what a dial's task asks, out of a round


def is_awake(poller):
    """Tell whether uvloop would begin a round."""
    return select.select([poller], [], [], 0)[0] == [poller]


def test_a_request_that_cannot_be_asked_out_of_a_round_begins_one(path):
    path.ask(GET)
    path.origins[0].h2._write(
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x64"
    )  # MAX_HEADER_LIST_SIZE
    path.run()
    client = path.client()
    assert not path.poller.in_round
    path.send(client, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000 + b"\r\n\r\n")
    assert is_awake(path.poller)
    path.poller.dispatch()
    path.run()
    assert b"431 Request Header Fields Too Large" in client.transport.outgoing


def test_a_request_on_a_connection_that_has_ended_meanwhile_is_told_in_a_round(path):
    _, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    driver = path.driver_of(origin)
    lane = driver.reserve(path.pool)
    driver.close()
    path.run()
    path.poller.dispatch()
    assert not is_awake(path.poller)
    lane.send_request(path.seen.exchanges[0].request, path.proxy, None)
    assert not lane.closed, "never inside of the call"
    assert is_awake(path.poller)
    path.poller.dispatch()
    assert lane.closed


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


def test_trailers_that_the_origin_does_not_take_are_told_at_once():
    """Of a stream that is not heard of from the origin: what tells it is the sending."""
    path = H2Path(server_settings=H2Settings(max_section=1000))
    client, origin = path.ask(CHUNKED)
    path.send(client, b"0\r\nX-T: " + b"y" * 2000 + b"\r\n\r\n")
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 431")
    assert len(origin.resets) == 1
    assert path.active == [0]
    path.close()


def test_a_connection_that_takes_nothing_more_gets_no_further_request(path):
    _, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    driver = path.driver_of(origin)

    def write(data):
        raise TransportError("epipe", 32, "broken pipe")

    origin.transport.write = write
    first, _ = path.ask(GET)
    assert not driver.closed, "what it said before may still be read"
    assert driver.room_left() == 0
    second, _ = path.ask(GET)
    path.origins[1].respond(204)
    path.run()
    assert b"204 No Content" in second.transport.outgoing
    path.send(driver, b"")
    path.run()
    assert driver.closed
    path.origins[1].respond(204)
    path.run()
    assert b"204 No Content" in first.transport.outgoing


def test_what_was_learned_of_room_is_tried_again_with_answers_and_forgotten_with_settings(path):
    for _ in range(3):
        path.ask(GET)
    origin = path.origins[0]
    driver = path.driver_of(origin)
    origin.refuse(5)
    path.run()
    assert driver.room_left() == 0
    for stream in (1, 3):
        origin.respond(204, stream=stream)
    path.run()
    assert driver.room_left() == 3
    origin.h2._write(
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x0a"
    )  # MAX_CONCURRENT_STREAMS
    path.run()
    assert driver.room_left() == 10
    path.origins[1].respond(204)
    path.run()


def test_a_request_that_must_come_by_http1_says_nothing_of_room(path):
    path.ask(GET)
    path.ask(GET)
    origin = path.origins[0]
    before = path.driver_of(origin).room_left()
    origin.refuse(3, HTTP_1_1_REQUIRED)
    path.run()
    assert len(path.origins) == 1
    assert path.driver_of(origin).room_left() == before
    for request in origin.requests:
        if request.stream != 3:
            origin.respond(204, stream=request.stream)
    path.run()


HEAD_LATE_END = b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88"  # :status 200, the stream goes on


@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_without_content_whose_stream_ends_later_is_not_reset(path, ends):
    client, origin = path.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    origin.h2._write(HEAD_LATE_END)
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 200 OK\r\n"), "the client need not wait"
    assert origin.resets == []
    if ends:
        origin.h2._write(b"\x00\x00\x00\x00\x01\x00\x00\x00\x01")
        path.run()
    driver = path.driver_of(origin)
    assert len(driver.h2.streams) == (0 if ends else 1)
    path.pass_time(LINGER + 0.5)
    assert origin.resets == ([] if ends else [(1, CANCEL)])
    assert (driver.h2.streams, driver._lingering) == ({}, {})
