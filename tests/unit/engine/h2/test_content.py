import pytest
from tests.unit.engine.h2.pair import GET, POST, Pair, data

from headgate.engine.events import Data, EndOfMessage, Request
from headgate.engine.h2 import frames
from headgate.engine.h2.errors import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    H2ConnectionError,
)
from headgate.engine.h2.frames import encode_frame
from headgate.engine.message.events import StreamFailed


def shown(events):
    return [
        (event.stream, event.data) if isinstance(event, Data) else type(event).__name__ for event in events
    ]


def posted(*, length=None, **table):
    pair = Pair(**table)
    more = () if length is None else ((b"content-length", b"%d" % length),)
    pair.put(pair.headers(1, (*POST, *more)))
    return pair


def fails(pair, code, *octets):
    (event,) = pair.put(*octets)
    assert isinstance(event, StreamFailed)
    assert (event.code, event.by_peer) == (code, False)
    (written,) = [frame for frame in pair.sent() if frame.kind == frames.RST_STREAM]
    assert int.from_bytes(written.payload, "big") == code
    assert pair.engine.streams == {}


def test_consecutive_content_of_one_stream_is_one_event():
    pair = posted()
    events = pair.put(data(1, b"ab"), data(1, b"cd"), data(1), data(1, b"ef", end=True))
    assert shown(events) == [(1, b"abcdef"), "EndOfMessage"]


def test_what_stands_between_parts_content():
    pair = posted()
    pair.put(pair.headers(3, POST))
    events = pair.put(data(1, b"ab"), data(3, b"x"), data(1, b"cd"), pair.headers(5, GET, end=True))
    assert shown(events) == [(1, b"ab"), (3, b"x"), (1, b"cd"), "Request"]


def test_content_is_handed_out_before_its_frame_is_whole():
    pair = posted()
    frame = data(1, b"abcdef", end=True, padding=3)
    found = []
    for octet in frame:
        found += pair.put(bytes((octet,)))
    assert b"".join(event.data for event in found[:-1]) == b"abcdef"
    assert isinstance(found[-1], EndOfMessage)
    assert pair.engine.buffered == 0


def test_rfc9113_6_1_padding_is_given_back_at_once():
    pair = posted()
    before = pair.engine.window.unread
    assert shown(pair.put(data(1, b"ab", padding=10), data(1, b"", padding=0))) == [(1, b"ab")]
    assert pair.engine.window.unread - before == 2


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (data(0, b"x"), PROTOCOL_ERROR),
        (data(3, b"x"), PROTOCOL_ERROR),
        (data(2, b"x"), PROTOCOL_ERROR),
        (encode_frame(frames.DATA, frames.FLAG_PADDED, 1, b""), FRAME_SIZE_ERROR),
        (encode_frame(frames.DATA, frames.FLAG_PADDED, 1, b"\1"), PROTOCOL_ERROR),
        (encode_frame(frames.DATA, 0, 1, bytes(16385)), FRAME_SIZE_ERROR),
    ],
)
def test_rfc9113_6_1_frames_that_end_the_connection(frame, code):
    pair = posted()
    with pytest.raises(H2ConnectionError) as caught:
        pair.put(frame)
    assert caught.value.code == code


@pytest.mark.parametrize("frame", [data(1, b"x"), data(1, end=True)])
def test_rfc9113_5_1_content_behind_the_end(frame):
    pair = posted()
    pair.put(data(1, b"a", end=True))
    fails(pair, STREAM_CLOSED, frame)


def test_rfc9113_8_1_1_content_and_content_length():
    fails(posted(length=3), PROTOCOL_ERROR, data(1, b"abcd"))
    fails(posted(length=3), PROTOCOL_ERROR, data(1, b"ab", end=True))
    assert shown(posted(length=3).put(data(1, b"abc", end=True))) == [(1, b"abc"), "EndOfMessage"]


def test_what_nobody_has_seen_of_a_broken_message_is_taken_back():
    pair = posted(length=3)
    pair.put(pair.headers(3, POST))
    events = pair.put(data(1, b"ab"), data(3, b"x"), data(1, b"cd"), data(3, b"y"))
    assert shown(events) == ["StreamFailed", (3, b"xy")]
    assert pair.engine.window.unread == 2


def test_rfc9113_6_9_1_more_than_the_window_of_a_stream():
    pair = posted(initial_window=65536)
    content = [data(1, bytes(16384)) for _ in range(4)]
    pair.put(*content)
    (event,) = pair.put(data(1, b"x"))
    assert event.code == FLOW_CONTROL_ERROR
    # All of it is the connection's again.
    assert pair.engine.window.unread == 0


def test_rfc9113_5_1_content_of_a_stream_that_we_have_reset():
    pair = posted()
    pair.engine.abort(1)
    assert pair.put(data(1, b"abc"), data(1, b"d", end=True)) == []
    assert [frame.kind for frame in pair.sent()] == [frames.RST_STREAM]
    assert pair.engine.window.unread == 0


def test_a_stream_that_is_given_up_in_the_middle_of_a_frame():
    pair = posted()
    frame = data(1, b"abcdef", end=True)
    assert shown(pair.put(frame[:12])) == [(1, b"abc")]
    pair.engine.abort(1)
    assert pair.put(frame[12:], pair.headers(3, GET, end=True))[0].stream == 3
    assert pair.engine.window.unread == 0


def test_rfc9113_5_1_1_content_of_a_stream_that_was_left_out():
    pair = Pair()
    pair.put(pair.headers(5, GET))
    with pytest.raises(H2ConnectionError) as caught:
        pair.put(data(3, b"x"))
    assert caught.value.code == PROTOCOL_ERROR


def test_content_of_a_stream_that_has_ended_well():
    pair = posted()
    pair.put(data(1, b"a", end=True))
    pair.engine.streams[1].sending = 1
    pair.engine._sent_end(pair.engine.streams[1])
    assert pair.engine.streams == {}
    assert pair.put(data(1, b"x")) == []
    (written,) = pair.sent()
    assert (written.kind, written.payload[3]) == (frames.RST_STREAM, STREAM_CLOSED)
    assert isinstance(pair.put(pair.headers(3, GET, end=True))[0], Request)
