import pytest
from tests.unit.engine.h2.pair import ACK, GET, OK, Pair

from headgate.engine.events import Request, Response
from headgate.engine.h2 import frames
from headgate.engine.h2.base import NEVER
from headgate.engine.h2.control import DRAIN_SECONDS, LAST_STREAM, MAX_SETTINGS, PING_SECONDS
from headgate.engine.h2.errors import NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, H2ConnectionError
from headgate.engine.h2.frames import encode_frame
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.http.fields import Fields


def goaways(found):
    return [
        (int.from_bytes(frame.payload[:4], "big"), int.from_bytes(frame.payload[4:8], "big"))
        for frame in found
        if frame.kind == frames.GOAWAY
    ]


def goaway(last, code=NO_ERROR):
    return encode_frame(frames.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def priority_update(stream, value):
    return encode_frame(frames.PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + value)


def asked(pair, count):
    for _ in range(count):
        pair.engine.send(Request(b"GET", b"/", 11, Fields([b"host"], [b"host: a.test"])))


def test_nothing_is_due_at_first():
    assert Pair().engine.deadline() == NEVER


def test_rfc9113_6_8_a_server_leaves_in_two_steps():
    pair = Pair()
    pair.put(pair.headers(1, GET, end=True))
    pair.engine.go_away(5.0)
    pair.engine.go_away(6.0)
    first, ping = pair.sent()
    assert goaways([first]) == [(LAST_STREAM, NO_ERROR)]
    assert pair.engine.is_going_away
    assert pair.engine.deadline() == 5.0 + DRAIN_SECONDS
    # What was on its way is served; after the round trip nothing is.
    assert len(pair.put(pair.headers(3, GET, end=True))) == 1
    pair.put(encode_frame(frames.PING, frames.FLAG_ACK, 0, ping.payload))
    assert goaways(pair.sent()) == [(3, NO_ERROR)]
    assert pair.put(pair.headers(5, GET, end=True)) == []
    (refused,) = pair.sent()
    assert (refused.kind, refused.stream, refused.payload[3]) == (frames.RST_STREAM, 5, REFUSED_STREAM)
    assert not pair.engine.is_finished
    for stream in (1, 3):
        pair.engine.send(Response(204, b"", 11, Fields([], []), 0, stream))
    assert pair.engine.is_finished
    assert pair.engine.deadline() == NEVER


def test_the_second_step_comes_without_an_answer_to_the_ping():
    pair = Pair()
    pair.engine.go_away(5.0)
    pair.sent()
    pair.engine.on_deadline(5.0 + DRAIN_SECONDS / 2)
    assert pair.sent() == []
    pair.engine.on_deadline(5.0 + DRAIN_SECONDS)
    assert goaways(pair.sent()) == [(0, NO_ERROR)]
    assert pair.engine.is_finished


def test_a_client_leaves_in_one_step():
    pair = Pair(is_client=True)
    asked(pair, 1)
    pair.sent()
    pair.engine.go_away(0.0)
    assert goaways(pair.sent()) == [(0, NO_ERROR)]
    assert pair.engine.room == 0
    assert not pair.engine.is_finished
    pair.put(pair.headers(1, OK, end=True))
    assert pair.engine.is_finished


def test_rfc9113_6_8_a_client_gives_up_what_the_server_will_not_look_at():
    pair = Pair(is_client=True)
    asked(pair, 3)
    assert pair.engine.room > 0
    first, *failed = pair.put(goaway(1))
    assert isinstance(first, GoingAway)
    assert first.first == 2
    assert [(event.stream, event.code, event.by_peer) for event in failed] == [
        (3, REFUSED_STREAM, True),
        (5, REFUSED_STREAM, True),
    ]
    assert pair.engine.room == 0
    assert pair.put(goaway(1)) == []
    assert len(pair.put(pair.headers(1, OK, end=True))) == 1
    assert pair.engine.streams == {}
    with pytest.raises(H2ConnectionError):
        pair.put(goaway(5))


def test_a_ping_that_is_answered():
    pair = Pair()
    pair.engine.ping(1.0)
    pair.engine.ping(2.0)
    (ping,) = pair.sent()
    assert pair.engine.deadline() == 1.0 + PING_SECONDS
    pair.put(encode_frame(frames.PING, frames.FLAG_ACK, 0, ping.payload))
    assert pair.engine.deadline() == NEVER


def test_a_ping_that_is_not():
    pair = Pair()
    pair.engine.ping(1.0)
    pair.sent()
    pair.put(encode_frame(frames.PING, frames.FLAG_ACK, 0, b"anything"))
    with pytest.raises(H2ConnectionError) as caught:
        pair.engine.on_deadline(1.0 + PING_SECONDS)
    assert caught.value.reason == "ping-timeout"
    assert goaways(pair.sent()) == [(0, NO_ERROR)]
    pair.engine.on_deadline(100.0)


def test_rfc9113_6_5_3_our_settings_hold_from_their_acknowledgment():
    pair = Pair(initial_window=100_000, max_frame=20_000)
    assert pair.engine.receive_initial == 100_000
    assert pair.engine.max_frame == 20_000
    pair.put(ACK)  # one too many: counted, else ignored
    assert pair.engine.receive_initial == 100_000


def test_rfc9218_7_1_a_priority_that_comes_first():
    pair = Pair()
    pair.put(priority_update(3, b"u=1, i"), priority_update(5, b"u=7"), priority_update(5, b"@"))
    pair.put(pair.headers(3, GET, end=True), pair.headers(9, GET, end=True))
    assert pair.engine.streams[3].urgency == 1
    assert pair.engine.streams[3].incremental
    assert pair.engine.streams[9].urgency == 3
    pair.put(priority_update(3, b"u=6"))
    assert (pair.engine.streams[3].urgency, pair.engine.streams[3].incremental) == (6, False)
    assert pair.engine._pending == {}


def test_priorities_of_idle_streams_at_the_limit_and_one_more():
    pair = Pair(max_streams=3)
    pair.put(pair.headers(1, GET, end=True), priority_update(3, b"u=1"), priority_update(5, b"u=1"))
    pair.put(priority_update(5, b"u=2"), priority_update(1, b"u=2"))
    with pytest.raises(H2ConnectionError) as caught:
        pair.put(priority_update(7, b"u=1"))
    assert caught.value.code == PROTOCOL_ERROR


def test_settings_at_the_limit_and_one_more():
    pair = Pair()
    pair.put(encode_frame(frames.SETTINGS, 0, 0, MAX_SETTINGS * b"\x10\0\0\0\0\0"))
    with pytest.raises(H2ConnectionError) as caught:
        pair.put(encode_frame(frames.SETTINGS, 0, 0, (MAX_SETTINGS + 1) * b"\x10\0\0\0\0\0"))
    assert caught.value.reason == "settings-flood"


def test_rfc9113_5_4_1_the_end_of_a_connection_is_the_last_that_is_written():
    pair = Pair()
    pair.put(pair.headers(1, GET, end=True))
    with pytest.raises(H2ConnectionError):
        pair.put(encode_frame(frames.PING, 0, 1, bytes(8)))
    pair.engine.send(Response(200, b"", 11, Fields([], []), 5, 1))
    pair.engine.ping(0.0)
    pair.engine.go_away(0.0)
    assert goaways(pair.sent()) == [(1, PROTOCOL_ERROR)]
    assert pair.put(pair.headers(3, GET, end=True)) == []
    assert not [event for event in pair.events() if isinstance(event, StreamFailed)]
