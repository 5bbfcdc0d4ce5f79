import pytest
from tests.unit.engine.h2.pair import ACK, GET, OK, POST, SETTINGS, Pair, data, reset

from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h2 import frames
from headgate.engine.h2.base import MAX_RESETS_KEPT
from headgate.engine.h2.connection import MAX_CONTINUATIONS, MAX_INTERIM_RESPONSES, H2Connection
from headgate.engine.h2.errors import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    H2ConnectionError,
)
from headgate.engine.h2.frames import FLAG_END_STREAM, PREFACE, encode_frame
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.http.fields import Fields

CONNECT = ((b":method", b"CONNECT"), (b":authority", b"a.test:443"))
WEBSOCKET = (CONNECT[0], (b":protocol", b"websocket"), *GET[1:])


def breaks(pair, code, *octets):
    with pytest.raises(H2ConnectionError) as caught:
        pair.put(*octets)
    assert caught.value.code == code
    assert pair.engine.failed
    return caught.value.reason


def resets(pair):
    return [
        (frame.stream, int.from_bytes(frame.payload, "big"))
        for frame in pair.sent()
        if frame.kind == frames.RST_STREAM
    ]


def answer(pair, stream, body=0, status=200):
    pair.engine.send(Response(status, b"", 11, Fields([], []), body, stream))


def ask(pair, method=b"GET", body=0):
    request = Request(method, b"/", 11, Fields([b"host"], [b"host: a.test"]), body)
    pair.engine.send(request)
    return request.stream


# -- the preface


def test_rfc9113_3_4_a_preface_that_is_another():
    engine = H2Connection(False, 0.0)
    with pytest.raises(H2ConnectionError) as caught:
        engine.receive(b"GET / HTTP/1.1\r\n\r\n", 0.0)
    assert (caught.value.code, caught.value.reason) == (PROTOCOL_ERROR, "preface")


def test_rfc9113_3_4_a_preface_in_pieces():
    engine = H2Connection(False, 0.0)
    for octet in PREFACE:
        engine.receive(bytes((octet,)), 0.0)
    with pytest.raises(H2ConnectionError) as caught:
        engine.receive(encode_frame(frames.PING, 0, 0, bytes(8)), 0.0)
    assert caught.value.reason == "preface"


@pytest.mark.parametrize("is_client", [False, True])
def test_rfc9113_3_4_settings_come_first(is_client):
    engine = H2Connection(is_client, 0.0)
    start = b"" if is_client else PREFACE
    with pytest.raises(H2ConnectionError) as caught:
        engine.receive(start + ACK, 0.0)
    assert caught.value.reason == "preface"


# -- frames


def test_octets_one_by_one_are_the_same():
    pair = Pair()
    octets = (
        pair.headers(1, POST)
        + encode_frame(0x77, 0xFF, 1, b"nobody knows")
        + data(1, b"abc")
        + pair.headers(1, ((b"a", b"b"),), end=True)
    )
    found = []
    for octet in octets:
        found += pair.put(bytes((octet,)))
    assert [type(event) for event in found] == [Request, Data, Data, Data, EndOfMessage]
    assert found[-1].trailers.get(b"a") == b"b"
    assert pair.engine.frames == 6  # with SETTINGS and its acknowledgment


def test_an_incomplete_frame_is_held_and_nothing_else():
    pair = Pair()
    frame = pair.headers(1, GET, end=True)
    pair.put(SETTINGS + frame[:-1])
    assert pair.engine.buffered == len(frame) - 1
    assert len(pair.put(frame[-1:])) == 1
    assert pair.engine.buffered == 0
    pair.put(encode_frame(0x77, 0, 0, bytes(100))[:-1])
    assert pair.engine.buffered == 0


def test_continuations_at_the_limit_and_one_more():
    for count, fine in ((MAX_CONTINUATIONS, True), (MAX_CONTINUATIONS + 1, False)):
        pair = Pair()
        frame = pair.headers(1, GET, end=True)
        pair.put(encode_frame(frames.HEADERS, FLAG_END_STREAM, 1, frame[9:10]))
        for at in range(count - 1):
            assert pair.engine.buffered > 0
            pair.put(encode_frame(frames.CONTINUATION, 0, 1, frame[10 + at : 11 + at]))
        last = encode_frame(frames.CONTINUATION, frames.FLAG_END_HEADERS, 1, frame[9 + count :])
        if fine:
            assert len(pair.put(last)) == 1
            assert pair.engine.buffered == 0
        else:
            assert breaks(pair, ENHANCE_YOUR_CALM, last) == "continuation-flood"


def test_a_field_block_at_the_limit_and_one_more():
    pair = Pair()
    pair.put(encode_frame(frames.HEADERS, 0, 1, bytes(16384)))
    for _ in range(3):
        pair.put(encode_frame(frames.CONTINUATION, 0, 1, bytes(16384)))
    assert pair.engine.buffered == 65536
    more = encode_frame(frames.CONTINUATION, 0, 1, b"\0")
    assert breaks(pair, ENHANCE_YOUR_CALM, more) == "continuation-flood"


def test_rfc9113_5_5_unknown_frames_in_a_field_block():
    pair = Pair()
    pair.put(encode_frame(frames.HEADERS, 0, 1, b"\x82"))
    breaks(pair, PROTOCOL_ERROR, encode_frame(0x77, 0, 1, b""))


# -- requests


def test_a_request():
    pair = Pair()
    (request,) = pair.put(pair.headers(1, (*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")), end=True))
    assert (request.method, request.target, request.version, request.host) == (b"GET", b"/", 20, b"a.test")
    assert request.fields.get(b"cookie") == b"a=1; b=2"
    assert (request.body, request.stream) == (0, 1)
    answer(pair, 1)
    assert pair.engine.streams == {}


def test_rfc8441_extended_connect():
    pair = Pair(connect_protocol=True)
    (request,) = pair.put(pair.headers(1, WEBSOCKET))
    assert (request.method, request.upgrade, request.target) == (b"CONNECT", b"websocket", b"/")
    answer(pair, 1, body=-1)
    assert [event.data for event in pair.put(data(1, b"ab"))] == [b"ab"]
    assert len(pair.put(data(1, end=True))) == 1
    pair = Pair()
    (failed,) = pair.put(pair.headers(1, WEBSOCKET))
    assert failed.code == PROTOCOL_ERROR


def test_a_request_that_is_refused_is_answered_and_read_no_further():
    pair = Pair(max_section=300)
    (refused,) = pair.put(pair.headers(1, (*POST, (b"x", bytes(300)))))
    assert isinstance(refused, RequestRefused)
    assert refused.status == 431
    assert pair.put(data(1, b"abc")) == []
    answer(pair, 1, status=431)
    assert resets(pair) == [(1, NO_ERROR)]
    assert pair.put(data(1, b"abc", end=True), pair.headers(3, GET, end=True))[0].stream == 3


def test_rfc9113_5_1_2_streams_at_the_limit_and_one_more():
    pair = Pair(max_streams=2)
    assert len(pair.put(pair.headers(1, GET, end=True), pair.headers(3, GET, end=True))) == 2
    pair.sent()
    assert pair.put(pair.headers(5, (*GET, (b"a", b"b")), end=True)) == []
    assert resets(pair) == [(5, REFUSED_STREAM)]
    answer(pair, 1)
    # HPACK has seen the refused one.
    assert len(pair.put(pair.headers(7, (*GET, (b"a", b"b")), end=True))) == 1
    pair.engine.abort(3)
    pair.sent()
    assert len(pair.put(pair.headers(9, GET, end=True))) == 1


def test_requests_at_the_limit_and_one_more():
    pair = Pair(max_requests=2)
    pair.put(pair.headers(1, GET, end=True))
    assert not pair.engine.is_going_away
    pair.put(pair.headers(3, GET, end=True))
    assert pair.engine.is_going_away
    assert len(pair.put(pair.headers(5, GET, end=True))) == 1
    pair.engine.on_deadline(10.0)
    pair.sent()
    assert pair.put(pair.headers(7, GET, end=True)) == []
    assert resets(pair) == [(7, REFUSED_STREAM)]


def test_the_age_of_a_connection_at_the_limit_and_later():
    pair = Pair(max_age=10.0)
    pair.put(pair.headers(1, GET, end=True), now=9.0)
    assert not pair.engine.is_going_away
    pair.put(pair.headers(3, GET, end=True), now=10.0)
    assert pair.engine.is_going_away


def test_rfc9113_5_1_1_a_number_that_is_too_low():
    pair = Pair()
    pair.put(pair.headers(5, GET, end=True))
    breaks(pair, PROTOCOL_ERROR, pair.headers(3, GET, end=True))
    pair = Pair()
    pair.put(pair.headers(1, GET, end=True))
    answer(pair, 1)
    breaks(pair, STREAM_CLOSED, pair.headers(1, GET, end=True))


def test_rfc9113_8_1_trailers_that_end_nothing():
    pair = Pair()
    pair.put(pair.headers(1, POST))
    (failed,) = pair.put(pair.headers(1, ((b"a", b"b"),)))
    assert (failed.code, failed.reason) == (PROTOCOL_ERROR, "malformed")
    assert resets(pair) == [(1, PROTOCOL_ERROR)]


# -- ends


def test_a_client_that_gives_up():
    pair = Pair()
    pair.put(pair.headers(1, POST), data(1, b"abc"))
    (failed,) = pair.put(reset(1))
    assert (failed.code, failed.reason, failed.by_peer) == (CANCEL, "reset", True)
    assert pair.engine.resets_received == 1
    assert resets(pair) == []
    answer(pair, 1)
    assert pair.sent() == []
    # At once with its request: nobody shall begin to forward it.
    assert [type(event) for event in pair.put(pair.headers(3, GET, end=True), reset(3))] == [StreamFailed]


def test_rfc9113_8_1_an_answer_before_the_request_has_ended():
    pair = Pair()
    pair.put(pair.headers(1, POST))
    answer(pair, 1)
    assert resets(pair) == []
    pair.engine.end_reading(1)
    assert resets(pair) == [(1, NO_ERROR)]
    pair.put(pair.headers(3, POST), data(3, b"abc"))
    pair.engine.end_reading(3)
    answer(pair, 3)
    assert resets(pair) == [(3, NO_ERROR)]
    pair.put(pair.headers(5, GET, end=True))
    pair.engine.end_reading(5)
    pair.engine.end_reading(7)
    answer(pair, 5)
    assert resets(pair) == []
    assert pair.engine.streams == {}


def test_events_of_a_stream_that_we_give_up_are_taken_back():
    pair = Pair()
    pair.engine.receive(pair.headers(1, POST) + data(1, b"abc") + pair.headers(3, GET, end=True), 0.0)
    pair.engine.abort(1, CANCEL)
    assert [event.stream for event in pair.events()] == [3]
    assert resets(pair) == [(1, CANCEL)]
    pair.engine.abort(1)
    assert resets(pair) == []


def test_resets_that_are_remembered_at_the_limit_and_one_more():
    pair = Pair()
    pair.put(pair.headers(1, GET, end=True))
    answer(pair, 1)
    for stream in range(3, 2 * MAX_RESETS_KEPT + 3, 2):
        pair.put(pair.headers(stream, POST))
        pair.engine.abort(stream, CANCEL)
    pair.sent()
    assert pair.put(data(3, b"x"), pair.headers(3, GET, end=True)) == []
    assert resets(pair) == []
    pair.put(data(1, b"x"))
    assert resets(pair) == [(1, STREAM_CLOSED)]  # which takes the place of the oldest
    assert len(pair.engine._reset) == MAX_RESETS_KEPT
    # Nobody knows any more what 3 was: what might be right is taken for that, and counted.
    assert pair.put(data(3, b"x"), pair.headers(3, GET, end=True)) == []
    assert resets(pair) == []
    assert not pair.engine.failed


def test_what_is_on_its_way_of_answers_that_we_give_up_is_no_flood():
    """Many clients that go away at once must not end the connection to the origin for all others."""
    pair = Pair(is_client=True, initial_window=65536)
    streams = [ask(pair) for _ in range(50)]
    pair.put(*[pair.headers(stream, OK) for stream in streams])
    for stream in streams:
        pair.engine.abort(stream, CANCEL)
    for stream in streams:
        assert pair.put(data(stream, bytes(1000)) * 60) == []
    pair.sent()


def test_the_end_of_the_connection():
    pair = Pair()
    pair.put(pair.headers(1, GET, end=True), pair.headers(3, POST))
    pair.engine.receive_eof(1.0)
    assert [(event.stream, event.reason) for event in pair.events()] == [
        (1, "connection-closed"),
        (3, "connection-closed"),
    ]
    pair.engine.receive_eof(1.0)
    assert pair.events() == []
    client = Pair(is_client=True)
    ask(client, b"POST", 5)
    ask(client)
    client.put(client.headers(1, OK, end=True))
    client.engine.receive_eof(1.0)
    assert [event.stream for event in client.events()] == [3]


# -- answers


def test_answers():
    pair = Pair(is_client=True)
    assert (ask(pair), ask(pair, b"HEAD")) == (1, 3)
    interim, response = pair.put(
        pair.headers(1, ((b":status", b"103"),)), pair.headers(3, (*OK, (b"content-length", b"9")), end=True)
    )
    assert (interim.status, response.status, response.body) == (103, 200, 0)
    head, content, end = pair.put(pair.headers(1, OK), data(1, b"ab"), data(1, b"c", end=True))
    assert (head.status, head.body, content.data, end.trailers) == (200, -1, b"abc", None)
    assert pair.engine.streams == {}


def test_interim_responses_at_the_limit_and_one_more():
    pair = Pair(is_client=True)
    ask(pair)
    interim = pair.headers(1, ((b":status", b"103"),))
    assert len(pair.put(*[interim] * MAX_INTERIM_RESPONSES)) == MAX_INTERIM_RESPONSES
    (failed,) = pair.put(interim)
    assert failed.reason == "too-many-interim"


def test_rfc9113_8_1_an_interim_response_ends_nothing():
    pair = Pair(is_client=True)
    ask(pair)
    (failed,) = pair.put(pair.headers(1, ((b":status", b"103"),), end=True))
    assert failed.reason == "malformed"


def test_rfc9113_8_1_a_whole_answer_survives_a_reset():
    pair = Pair(is_client=True)
    ask(pair, b"POST", 100)
    events = pair.put(pair.headers(1, OK), data(1, b"no", end=True), reset(1, NO_ERROR))
    assert [type(event) for event in events] == [Response, Data, EndOfMessage]
    assert pair.engine.streams == {}


def test_rfc9113_6_6_push_is_never_allowed():
    pair = Pair(is_client=True)
    ask(pair)
    breaks(pair, PROTOCOL_ERROR, encode_frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x88"))


def test_how_many_streams_a_client_may_open():
    pair = Pair(is_client=True, max_requests=3)
    assert pair.engine.room == 3
    pair.put(encode_frame(frames.SETTINGS, 0, 0, b"\0\3\0\0\0\2"))
    assert pair.engine.room == 2
    ask(pair)
    ask(pair)
    assert pair.engine.room == 0
    pair.put(pair.headers(1, OK, end=True), pair.headers(3, OK, end=True))
    assert pair.engine.room == 1
    assert Pair(is_client=True, max_age=0.0).engine.room == 0
    assert H2Connection(True, 0.0).room == 100
