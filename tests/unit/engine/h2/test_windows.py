"""Windows: what may be sent, what may be received, and what gives it back."""

import pytest
from tests.unit.engine.h2.side import LARGEST, Side, fields
from tests.unit.engine.h2.wire import (
    DATA,
    END_STREAM,
    HEADERS,
    WINDOW_UPDATE,
    Frame,
)

from headgate.engine.events import EndOfMessage, Request
from headgate.engine.h2 import errors
from headgate.engine.h2.errors import H2ConnectionError, H2StreamError
from headgate.engine.h2.machine import DONE as HEARD
from headgate.engine.h2.machine import HALF_CLOSED_REMOTE

# -- windows for sending


def test_rfc9113_6_9_the_window_of_a_stream_is_never_exceeded():
    side = Side()
    stream = side.opened(1, window=10)
    side.respond(1, bytes(25))
    assert [len(frame.payload) for frame in side.take()[1:]] == [10]
    assert not side.h2.has_output()
    side.h2._widen(stream, 10)
    assert [len(frame.payload) for frame in side.take()] == [10]
    side.h2._widen(stream, 10)
    assert side.take() == [Frame(DATA, END_STREAM, 1, bytes(5))]


def test_rfc9113_6_9_the_window_of_the_connection_is_never_exceeded():
    side = Side(window=30)
    for number in (1, 3):
        side.opened(number)
        side.respond(number, bytes(20))
    assert [(frame.stream, len(frame.payload)) for frame in side.take() if frame.kind == DATA] == [
        (1, 20),
        (3, 10),
    ]
    assert not side.h2.has_output()
    side.h2._widen_connection(100)
    assert [(frame.stream, len(frame.payload)) for frame in side.take()] == [(3, 10)]
    assert side.h2.send_window == 90


def test_rfc9113_6_9_1_an_end_without_content_needs_no_window():
    side = Side(window=0)
    side.opened(1, window=0)
    side.respond(1, b"", ends=False)
    side.take()
    side.h2.send(EndOfMessage(None, 1))
    assert side.take() == [Frame(DATA, END_STREAM, 1, b"")]


def test_rfc9113_6_9_1_a_window_at_the_limit_and_one_more():
    side = Side(window=1)
    stream = side.opened(1, window=1)
    side.h2._widen(stream, LARGEST - 1)
    with pytest.raises(H2StreamError) as of_stream:
        side.h2._widen(stream, 1)
    side.h2._widen_connection(LARGEST - 1)
    with pytest.raises(H2ConnectionError) as of_connection:
        side.h2._widen_connection(1)
    assert of_stream.value.code == of_connection.value.code == errors.FLOW_CONTROL_ERROR


def test_rfc9113_6_9_2_another_initial_window_changes_all_windows():
    side = Side()
    first, second = side.opened(1, window=100), side.opened(3, window=50)
    side.h2._shift_windows(30)
    assert (first.send_window, second.send_window, side.h2.send_window) == (130, 80, 1 << 20)


def test_rfc9113_6_9_2_a_window_that_became_negative_sends_nothing_before_it_is_positive():
    side = Side()
    stream = side.opened(1, window=100)
    side.respond(1, bytes(130))
    side.take()
    side.h2._shift_windows(-60)
    assert stream.send_window == -60
    side.h2._widen(stream, 60)
    assert not side.h2.has_output()
    side.h2._widen(stream, 1)
    assert [len(frame.payload) for frame in side.take()] == [1]


def test_rfc9113_6_9_2_a_ready_stream_whose_window_shrinks_waits_again():
    side = Side()
    side.opened(1, window=100)
    side.respond(1, bytes(130))
    side.h2._shift_windows(-100)
    assert [frame.kind for frame in side.take()] == [HEADERS]
    assert not side.h2.has_output()
    side.h2._shift_windows(200)
    assert [len(frame.payload) for frame in side.take()] == [130]


def test_rfc9113_6_9_2_an_initial_window_that_makes_one_too_large():
    side = Side()
    side.opened(1, window=LARGEST - 10)
    side.h2._shift_windows(10)
    with pytest.raises(H2ConnectionError) as caught:
        side.h2._shift_windows(1)
    assert caught.value.code == errors.FLOW_CONTROL_ERROR


# -- windows for receiving


def updates(frames):
    return [
        (frame.stream, int.from_bytes(frame.payload, "big"))
        for frame in frames
        if frame.kind == WINDOW_UPDATE
    ]


def test_consumption_opens_both_windows_by_halves():
    side = Side(initial_window=65_535, connection_window=100_000, connection_window_limit=100_000)
    stream = side.opened(1, ended=False)
    side.h2._count_in(stream, 60_000)
    assert side.take() == []
    side.h2.consumed(1, 32_766)
    assert side.take() == []
    side.h2.consumed(1, 1)
    assert updates(side.take()) == [(1, 32_767)]
    side.h2.consumed(1, 27_233)
    assert updates(side.take()) == [(0, 60_000)]


def filled(side):
    """Let a stream send and be consumed until its window grows no more; return its window."""
    stream = side.opened(1, ended=False)
    while True:
        window = stream.window.window if stream.window is not None else 0
        for _ in range(4):
            half = max(window // 2, 1)
            side.h2._count_in(stream, half)
            side.h2.consumed(1, half)
        if stream.window.window == window:
            return stream.window


ROOM = {"stream_window": 1_000_000, "connection_window": 1_000_000, "connection_window_limit": 1_000_000}


def test_a_stream_that_stands_leaves_others_half_of_the_connection():
    side = Side(**ROOM)
    window = filled(side)
    assert window.window == 500_000
    side.h2._count_in(side.h2.streams[1], window.left)  # and nobody reads it
    assert side.h2.window.left > 1_000_000 - 500_000 - 250_001  # what was consumed is given back by halves
    side.h2._count_in(side.opened(3, ended=False), 65_535)


def test_a_client_gives_streams_all_that_they_may_have():
    assert filled(Side(is_client=True, **ROOM)).window == 1_000_000


def test_rfc9113_6_9_1_more_content_than_a_stream_may_send():
    side = Side()
    stream = side.opened(1, ended=False)
    side.h2._count_in(stream, 65_535)
    with pytest.raises(H2StreamError) as caught:
        side.h2._count_in(stream, 1)
    assert caught.value.code == errors.FLOW_CONTROL_ERROR
    assert side.h2.window.unread == 65_535


def test_rfc9113_6_9_1_more_content_than_a_connection_may_send():
    side = Side(connection_window=65_535, connection_window_limit=65_535)
    side.h2._count_in(side.opened(1, ended=False), 65_000)
    second = side.opened(3, ended=False)
    side.h2._count_in(second, 535)
    with pytest.raises(H2ConnectionError) as caught:
        side.h2._count_in(second, 1)
    assert caught.value.code == errors.FLOW_CONTROL_ERROR
    with pytest.raises(H2ConnectionError):
        side.h2._count_ignored(1)


def test_content_that_nobody_reads_gives_the_window_of_the_connection_back():
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    for _ in range(10):
        side.h2._count_ignored(32_768)
        assert updates(side.take()) == [(0, 32_768)]


def test_a_stream_that_is_given_up_gives_the_window_of_the_connection_back():
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    side.h2._count_in(side.opened(1, ended=False), 40_000)
    side.h2.abort(1)
    assert updates(side.take()) == [(0, 40_000)]
    side.h2.consumed(1, 40_000)  # by a driver that has not heard of it
    assert side.h2.window.left == 65_536
    assert side.h2.window.unread == 0


def test_content_of_a_stream_that_ended_well_is_given_back_as_it_is_consumed():
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    stream = side.opened(1, ended=False)
    side.h2._count_in(stream, 40_000)
    stream.state = HALF_CLOSED_REMOTE
    stream.receiving = HEARD
    side.respond(1)
    side.take()
    assert side.h2.streams == {}
    side.h2.consumed(1, 32_000)
    assert (side.take(), side.h2.window.unread) == ([], 8000)
    side.h2.consumed(1, 9000)
    assert updates(side.take()) == [(0, 40_000)]
    assert side.h2.window.unread == 0
    side.h2.consumed(1, 9000)
    assert side.h2.window.unread == 0


def test_a_stream_that_has_ended_gets_no_more_window():
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    stream = side.opened(1, ended=False)
    side.h2._count_in(stream, 60_000)
    stream.receiving = HEARD
    side.h2.consumed(1, 60_000)
    assert updates(side.take()) == [(0, 60_000)]


def test_consuming_what_never_came_changes_nothing():
    side = Side()
    side.opened(1)
    side.h2.consumed(1, 100)
    side.h2.consumed(99, 100)
    assert (side.h2.window.unread, side.take()) == (0, [])


@pytest.mark.parametrize("end", ["abort", "end_reading"])
def test_whoever_wants_no_more_of_a_stream_gives_the_window_of_the_connection_back(end):
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    for number in (1, 3):
        stream = side.opened(number, ended=False)
        side.h2._count_in(stream, 20_000)
    side.h2.streams[3].state = HALF_CLOSED_REMOTE
    side.h2.streams[3].receiving = HEARD
    side.respond(3)  # over in both directions, and what came is not consumed
    side.take()
    for number in (1, 3):
        getattr(side.h2, end)(number)
    assert updates(side.take()) == [(0, 40_000)]
    assert side.h2.window.unread == 0


def test_a_client_gives_the_window_of_its_connection_back_as_content_comes():
    """What one exchange does not read is not to stop the others that share the connection."""
    side = Side(is_client=True, connection_window=65_535, connection_window_limit=65_535)
    for number in range(1, 41, 2):
        side.h2._count_in(side.opened(number, ended=False), 33_000)
    opened = [frame for frame in side.take() if frame.kind == WINDOW_UPDATE]
    assert {(frame.stream, int.from_bytes(frame.payload, "big")) for frame in opened} == {(0, 33_000)}
    assert len(opened) == 20
    # Consumption opens the stream's window then, and no octet is given back twice.
    side.h2.consumed(1, 33_000)
    side.h2.abort(3)
    updates = [frame for frame in side.take() if frame.kind == WINDOW_UPDATE]
    assert [(frame.stream, int.from_bytes(frame.payload, "big")) for frame in updates] == [(1, 33_000)]


def test_a_client_keeps_nothing_of_streams_that_are_gone():
    side = Side(is_client=True)
    request = Request(b"GET", b"/", 20, fields(host=b"a.test"), 0)
    side.h2.send(request)
    stream = side.h2.streams[request.stream]
    side.h2._count_in(stream, 33_000)
    side.h2._forget(stream)
    side.h2.consumed(request.stream, 33_000)
    assert (side.h2._kept, side.h2.window.unread) == ({}, 0)


def test_whoever_wants_no_more_of_a_request_that_has_come_in_full_loses_no_window():
    """The lane ends when its answer is given to us; that goes out later, and the stream with it."""
    side = Side(connection_window=65_536, connection_window_limit=65_536)
    stream = side.opened(1, ended=False)
    side.h2._count_in(stream, 40_000)
    stream.state = HALF_CLOSED_REMOTE
    stream.receiving = HEARD
    side.respond(1, b"content that waits")
    side.h2.end_reading(1)
    frames = side.take()
    assert updates(frames) == [(0, 40_000)]
    assert (side.h2.window.unread, side.h2._kept, side.h2.streams) == (0, {}, {})
