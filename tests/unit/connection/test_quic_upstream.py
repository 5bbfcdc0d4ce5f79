"""The driver of HTTP/3 towards an origin, through the reverse proxy: what an origin may do, one step at a time."""

import pytest
from tests.unit.engine.quic.peers import SETTINGS
from tests.unit.proxy.h3_path import H3Path, fields

from headgate.connection.stream_driver import GLUE
from headgate.counters import (
    GATEWAY_CLOSED,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_PROTOCOL,
    RETRIED_FIRST,
    UPSTREAM_H3_CLOSED,
    UPSTREAM_H3_CONNECTIONS,
    UPSTREAM_H3_INTERIM,
    UPSTREAM_H3_MALFORMED,
    UPSTREAM_H3_OPEN,
    UPSTREAM_H3_REFUSED,
    UPSTREAM_H3_REQUESTS,
    UPSTREAM_H3_RESET,
    UPSTREAM_OPEN,
)
from headgate.engine.events import Data, EndOfMessage
from headgate.engine.h3.connection import MAX_INTERIM_RESPONSES
from headgate.engine.h3.errors import (
    H3_INTERNAL_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_REJECTED,
)
from headgate.engine.quic.closing import State
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.stream import StreamSettings
from headgate.upstream.retries import UNTOUCHED

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(size, body=b""):
    return b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body


@pytest.fixture
def path():
    made = H3Path()
    yield made
    finish(made)


def finish(path):
    path.close()
    path.run()
    assert path.seen.crashes == []
    assert [name for name, _ in path.told if name == "defect"] == []
    for driver in path.drivers:
        assert driver.closed
        assert driver.reserved == 0
        assert driver.lanes == {}
    assert path.active == [0]
    assert path.endpoint.dialling == 0
    assert path.values[UPSTREAM_OPEN] == path.values[UPSTREAM_H3_OPEN] == 0


def test_a_request_and_its_answer(path):
    client, origin = path.ask(
        b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTE: gzip\r\nX-A: 1\r\n\r\n"
    )
    request = origin.requests[0]
    assert (request.method, request.target, request.host, request.body) == (b"GET", b"/a?b", b"x", 0)
    assert request.fields.get(b"x-a") == b"1"
    origin.respond(200, 5, x_b=b"2")
    origin.send(b"hello", end=True)
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 200 OK\r\nx-b: 2\r\ncontent-length: 5\r\n")
    assert client.transport.outgoing.endswith(b"\r\n\r\nhello")
    assert path.values[UPSTREAM_H3_REQUESTS] == path.values[UPSTREAM_H3_CONNECTIONS] == 1
    assert path.seen.exchanges[0].upstream_protocol == "HTTP/3.0"


def test_many_exchanges_at_a_time_on_one_connection_in_any_order(path):
    clients = [path.ask(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)[0] for number in range(20)]
    assert len(path.origins) == 1
    origin = path.origins[0]
    for request in reversed(origin.requests):
        origin.respond(200, 3, stream=request.stream)
        origin.send(request.target.rjust(3), stream=request.stream, end=True)
    path.run()
    for number, client in enumerate(clients):
        assert client.transport.outgoing.endswith((b"/%d" % number).rjust(3))
    assert path.drivers[0].quic.streams.table.keys() <= {2, 6, 10, 3, 7, 11}, "their streams are let go"


def test_content_goes_up_while_the_answer_comes_down(path):
    client, origin = path.ask(post(6, b"abc"))
    origin.respond(200, 4)
    origin.send(b"so")
    path.run()
    assert client.transport.outgoing.endswith(b"so")
    path.ask(b"def", client)
    assert origin.content(origin.requests[0].stream) == b"abcdef"
    origin.send(b"on", end=True)
    path.run()
    assert client.transport.outgoing.endswith(b"soon")


def test_trailers_of_both(path):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client, origin = path.ask(head + b"3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n")
    assert origin.log[-1].trailers.get(b"x-sum") == b"6"
    origin.respond(200, -1)
    origin.send(b"ok", trailers=fields(x_end=b"1"))
    path.run()
    assert client.transport.outgoing.endswith(b"2\r\nok\r\n0\r\nx-end: 1\r\n\r\n")


def test_interim_answers_at_the_limit_and_one_more(path):
    client, origin = path.ask(GET)
    for _ in range(MAX_INTERIM_RESPONSES):
        origin.respond(103)
    origin.respond(204)
    path.run()
    assert client.transport.outgoing.count(b"103 Early Hints") == MAX_INTERIM_RESPONSES
    assert b"204 No Content" in client.transport.outgoing
    client, origin = path.ask(GET)
    for _ in range(MAX_INTERIM_RESPONSES + 1):
        origin.respond(103)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert b"upstream-too-many-interim" in client.transport.outgoing
    assert path.values[UPSTREAM_H3_INTERIM] == 1
    assert path.drivers[0].quic.state is State.OPEN, "one exchange's fault is nobody else's"


@pytest.mark.parametrize(
    ("lines", "size", "status"),
    [(127, 10, b"200"), (129, 10, b"502"), (1, 60_000, b"200"), (1, 66_000, b"502")],
)
def test_heads_at_the_limit_and_one_more(path, lines, size, status):
    client, origin = path.ask(GET)
    origin.h3.control.settings.max_section = 1 << 20  # an origin that does not care what we take
    origin.respond(200, 0, **{f"x_{number}": b"a" * size for number in range(lines)})
    path.pass_time(0.5)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 " + status)
    assert (b"upstream-head-too-large" in client.transport.outgoing) == (status == b"502")


def test_rfc9114_4_1_2_a_malformed_answer_ends_its_exchange_alone(path):
    client, origin = path.ask(GET)
    other, _ = path.ask(GET)
    first, second = (request.stream for request in origin.requests)
    origin.respond(200, 3, stream=first)
    origin.h3.streams[first].send_left = 9  # content beyond what was announced
    origin.send(b"four", stream=first)
    origin.respond(204, stream=second)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert b"204 No Content" in other.transport.outgoing
    assert path.values[UPSTREAM_H3_MALFORMED] == 1


def test_a_reset_is_502_and_within_content_a_cut(path):
    client, origin = path.ask(GET)
    origin.h3.abort(origin.requests[-1].stream, H3_INTERNAL_ERROR)
    path.run()
    assert b"upstream-reset" in client.transport.outgoing
    client, origin = path.ask(GET)
    origin.respond(200, 100)
    origin.send(b"begin")
    path.run()
    origin.h3.abort(origin.requests[-1].stream, H3_INTERNAL_ERROR)
    path.run()
    assert client.transport.outgoing.endswith(b"begin")
    assert client.closed
    assert path.values[UPSTREAM_H3_RESET] == 2


def test_rfc9114_4_1_1_a_rejected_request_is_sent_again_once(path):
    client, origin = path.ask(GET)
    origin.h3.abort(origin.requests[-1].stream, H3_REQUEST_REJECTED)
    path.run()
    assert len(origin.requests) == 2
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.values[RETRIED_FIRST + UNTOUCHED] == path.values[UPSTREAM_H3_REFUSED] == 1
    client, origin = path.ask(GET)
    for _ in range(2):
        origin.h3.abort(origin.requests[-1].stream, H3_REQUEST_REJECTED)
        path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert b"upstream-refused" in client.transport.outgoing


def test_a_rejected_request_with_content_is_sent_again_while_all_of_it_is_held(path):
    path.ask(GET)  # the connection is there: what follows may meet its end
    client, origin = path.ask(post(6, b"abc"))
    origin.h3.abort(origin.requests[-1].stream, H3_REQUEST_REJECTED)
    path.run()
    path.ask(b"def", client)
    assert origin.content(origin.requests[-1].stream) == b"abcdef"
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_rfc9114_5_2_goaway_moves_what_was_not_looked_at_to_another_connection(path):
    clients = [path.ask(GET)[0] for _ in range(2)]
    origin = path.origins[0]
    looked_at, ignored = (request.stream for request in origin.requests)
    origin.h3._next = ignored
    origin.h3.go_away()
    path.run()
    assert len(path.origins) == 2
    path.origins[1].respond(204)
    origin.respond(200, 2, stream=looked_at)
    origin.send(b"ok", stream=looked_at, end=True)
    path.run()
    assert clients[0].transport.outgoing.endswith(b"ok")
    assert b"204 No Content" in clients[1].transport.outgoing
    assert path.drivers[0].closed, "it carries nothing any more"
    client, _ = path.ask(GET)
    path.origins[1].respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert len(path.origins) == 2


def test_a_connection_that_ends_before_an_answer_is_replaced_and_within_one_cuts_it(path):
    path.ask(GET)
    path.origins[0].respond(204)
    path.run()
    client, origin = path.ask(GET)
    assert len(path.origins) == 1
    origin.quic.close(H3_NO_ERROR, "restart", path.poller.now)
    path.run()
    assert len(path.origins) == 2, "it lay idle before: asked again on a fresh one"
    path.origins[1].respond(200, 100)
    path.origins[1].send(b"begin")
    path.run()
    path.origins[1].quic.close(H3_INTERNAL_ERROR, "", path.poller.now)
    path.run()
    assert client.transport.outgoing.endswith(b"begin")
    assert client.closed
    assert path.values[UPSTREAM_H3_CLOSED] == 2


def test_the_end_of_a_fresh_connection_is_502(path):
    client, origin = path.ask(GET)
    origin.quic.close(H3_INTERNAL_ERROR, "so it is", path.poller.now)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert path.values[GATEWAY_CLOSED] == 1
    assert "so it is" in path.seen.exchanges[-1].detail
    assert "0x102" in path.seen.exchanges[-1].detail


def test_a_breach_of_http3_ends_the_connection_with_its_code(path):
    client, origin = path.ask(GET)
    origin.h3._writes.append((3, b"\x00\x00", False))  # DATA on the control stream
    path.run()
    assert b"upstream-quic-protocol" in client.transport.outgoing
    assert origin.quic.end.code == 0x105
    assert path.values[GATEWAY_PROTOCOL] == 1


def test_a_slow_client_closes_the_window_and_nothing_is_lost(path):
    client, origin = path.ask(GET)
    client.transport.take = 1000
    content = bytes(range(250)) * 4000
    sent = 0
    streams, stream = origin.quic.streams, origin.requests[0].stream
    origin.respond(200, len(content))

    def send_more():
        nonlocal sent
        while sent < len(content) and streams.sender._room(streams.table[stream]) >= 20_000:
            origin.send(content[sent : sent + 10_000], end=sent + 10_000 == len(content))
            sent += 10_000
            path.pass_time(0.02)

    send_more()
    path.pass_time(2.0)
    send_more()
    assert sent < len(content), "the window stops the origin"
    lane = path.drivers[0].lanes[stream]
    assert lane.is_paused
    assert SETTINGS.streams.stream_window // 2 < lane.held() <= SETTINGS.streams.stream_window
    for _ in range(200):
        client.transport.take += 20_000
        client.on_writable()
        path.pass_time(0.02)
        send_more()
    assert client.transport.outgoing.endswith(content)


def test_small_pieces_for_a_slow_client_weigh_what_is_counted(path):
    client, origin = path.ask(GET)
    lane = path.drivers[0].lanes[origin.requests[0].stream]
    lane.pause_reading()
    count = 3 * GLUE // 2
    origin.respond(200, 2 * count)
    for n in range(count):
        origin.send(b"%02d" % (n % 100), end=n == count - 1)
        path.run()
        if n % 50 == 0:
            path.pass_time(0.002)
    pieces = [event for event in lane._held if isinstance(event, Data)]
    assert [len(piece.data) for piece in pieces] == [GLUE] * 3
    assert lane.held() == 3 * GLUE
    assert len(lane._held) == 5, "the head and the end are not counted, and there is one of each"
    lane.resume()
    path.run()
    assert client.transport.outgoing.endswith(b"".join(b"%02d" % (n % 100) for n in range(count)))


def test_a_slow_origin_stops_the_client():
    few = StreamSettings(stream_window=16_384, max_stream_window=16_384)
    path = H3Path(server_settings=ConnectionSettings(streams=few))
    client, origin = path.ask(post(200_000))
    origin.reads = False
    for _ in range(20):
        client.transport.incoming.append(bytes(10_000))
        if client.reading:
            client.on_readable()
        path.run()
    assert not client.reading
    waiting = path.drivers[0].unwritten() + path.drivers[0].quic.streams.sender.held
    assert waiting < 100_000
    origin.reads = True
    stream = origin.requests[0].stream
    held = len(origin.content(stream))
    origin.quic.streams.consumed(stream, held)
    for _ in range(40):
        path.run()
        path.pass_time(0.05)
        while client.transport.incoming and client.reading:
            client.on_readable()
    assert len(origin.content(stream)) == 200_000
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    finish(path)


def test_an_answer_before_the_request_is_complete_cancels_the_rest(path):
    client, origin = path.ask(post(100, b"abc"))
    origin.says_stop = False
    origin.respond(413, 2)
    origin.send(b"no", end=True)
    path.run()
    assert client.transport.outgoing.endswith(b"no")
    assert (origin.requests[0].stream, H3_REQUEST_CANCELLED) in origin.resets


def test_a_client_that_leaves_cancels_its_stream_alone(path):
    client, origin = path.ask(GET)
    other, _ = path.ask(GET)
    client.close()
    path.run()
    first, second = (request.stream for request in origin.requests)
    assert (first, H3_REQUEST_CANCELLED) in origin.resets
    origin.respond(204, stream=second)
    path.run()
    assert b"204 No Content" in other.transport.outgoing


def test_a_silent_origin_is_given_up_and_its_connection_is_kept_alive(path):
    client, origin = path.ask(GET)
    path.pass_time(50.0)
    assert path.drivers[0].quic.state is State.OPEN, "PINGs keep it from its idle timeout of 30 s"
    assert client.transport.outgoing == b""
    path.pass_time(11.0)
    assert b"504 Gateway Timeout" in client.transport.outgoing
    assert path.values[GATEWAY_HEAD_TIMEOUT] == 1
    assert (origin.requests[0].stream, H3_REQUEST_CANCELLED) in origin.resets
    assert path.drivers[0].quic.state is State.OPEN


def test_an_idle_connection_ends_after_its_time(path):
    path.ask(GET)
    path.origins[0].respond(204)
    path.run()
    path.pass_time(20.0)
    assert not path.drivers[0].closed
    path.pass_time(20.0)
    assert path.drivers[0].closed


def test_a_head_beyond_what_the_origin_takes_is_an_answer_of_ours(path):
    client, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    path.drivers[0].h3.control.settings.max_section = 100
    client, _ = path.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: %b\r\n\r\n" % (b"a" * 200))
    path.drivers[0].advance()
    assert b"431 Request Header Fields Too Large" in client.transport.outgoing
    assert b"upstream-peer-field-limit" in client.transport.outgoing


def test_rfc9114_6_2_an_origin_that_allows_no_control_stream_is_refused():
    path = H3Path(server_settings=ConnectionSettings(streams=StreamSettings(uni_streams=0)))
    client = path.client()
    path.send(client, GET)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    path.close()


def test_no_more_requests_than_the_origin_allows_at_a_time():
    path = H3Path(server_settings=ConnectionSettings(streams=StreamSettings(bidi_streams=3)))
    clients = [path.ask(GET)[0] for _ in range(4)]
    assert [len(origin.requests) for origin in path.origins] == [3, 1]
    for origin in path.origins:
        for request in origin.requests:
            origin.respond(204, stream=request.stream)
    path.run()
    assert all(b"204 No Content" in client.transport.outgoing for client in clients)
    path.pass_time(0.1)
    clients = [path.ask(GET)[0] for _ in range(3)]
    assert len(path.origins) == 2, "places that are free again are used"
    finish(path)


def test_a_connection_carries_so_many_requests_and_the_next_has_another(path):
    client, origin = path.ask(GET)
    path.drivers[0].h3.max_requests = 2
    path.ask(GET)
    path.ask(GET)
    assert [len(one.requests) for one in path.origins] == [2, 1]
    for request in origin.requests:
        origin.respond(204, stream=request.stream)
    path.run()
    assert path.drivers[0].closed
    path.origins[1].respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_an_end_without_content_is_told_once(path):
    client, origin = path.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    origin.respond(200, 0, content_length=b"10")
    path.run()
    assert client.transport.outgoing.count(b"HTTP/1.1 200") == 1
    assert not any(isinstance(event, EndOfMessage) for event in path.drivers[0].h3._events)
