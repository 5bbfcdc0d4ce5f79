"""RFC 9113 sections 5.2 and 6.9: flow control, as who sends content and as who takes it.

All rules and the tests that hold them stand in docs/conformance-h2.md.
"""

import pytest
from tests.conformance.h2_playbook import Play, both, half_closed, opened, started
from tests.conformance.h2_wire import (
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    INITIAL_WINDOW_SIZE,
    OK,
    PADDED,
    PING,
    POST,
    PROTOCOL_ERROR,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    data,
    frame,
    headers,
    padded,
    reset,
    settings,
    window_update,
)

from headgate.engine.events import UNKNOWN_LENGTH, Data, Request

MOST = 2**31 - 1
ANNOUNCED = 64 * 1024
CONNECTION = 1024 * 1024
"""What H2Settings says by itself: of a stream, and of the connection."""


def speaking(role, *said, **table):
    """Stream 1 is open, and the head of our message is sent."""
    play = opened(role, *said, **table)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
        play.sent()
    return play


def hearing(role, **table):
    """Stream 1 is open, and the head of the peer's message has come."""
    play = opened(role, **table)
    if role == "client":
        play.put(headers(1, *OK))
    return play


def octets(frames, stream=1):
    return sum(len(found.payload) for found in frames if found.type == DATA and found.stream == stream)


# -- 5.2 as a sender: windows of the peer


@both
def test_rfc9113_5_2_1_no_more_than_the_first_window_is_sent(role):
    play = speaking(role)
    play.write_content(1, bytes(100_000))
    assert octets(play.sent()) == 65_535
    assert play.engine.queued(1) == 100_000 - 65_535
    play.put(window_update(1, 100_000))
    assert octets(play.sent()) == 0, "the connection has a window of its own"
    play.put(window_update(0, 1000))
    assert octets(play.sent()) == 1000
    play.put(window_update(0, 1 << 20))
    sent = play.sent()
    assert octets(sent) == 100_000 - 66_535
    assert sent[-1].flags == END_STREAM


@both
def test_rfc9113_6_9_1_the_window_of_the_connection_is_shared(role):
    play = started(role)
    streams = (1, 3, 5)
    for stream in streams:
        if role == "client":
            play.ask(method=b"POST", body=UNKNOWN_LENGTH)
        else:
            play.put(headers(stream, *POST))
            play.answer(stream, 200, UNKNOWN_LENGTH)
        play.write_content(stream, bytes(30_000))
    sent = play.sent()
    assert sum(octets(sent, stream) for stream in streams) == 65_535


@both
def test_rfc9113_6_9_1_an_end_without_content_needs_no_window(role):
    play = speaking(role)
    play.write_content(1, bytes(65_535), end=False)
    assert octets(play.sent()) == 65_535
    play.write_content(1, b"")
    (found,) = play.sent()
    assert (found.type, found.flags, found.payload) == (DATA, END_STREAM, b"")


@both
def test_rfc9113_6_9_1_the_end_comes_with_or_behind_the_last_content(role):
    play = speaking(role)
    play.write_content(1, b"abc")
    sent = play.sent(DATA)
    assert b"".join(found.payload for found in sent) == b"abc"
    assert [found.flags for found in sent] == [0] * (len(sent) - 1) + [END_STREAM]


@both
def test_rfc9113_6_9_2_the_first_window_is_what_the_peer_says(role):
    play = speaking(role, (INITIAL_WINDOW_SIZE, 10))
    play.write_content(1, bytes(100))
    assert octets(play.sent()) == 10
    play.put(window_update(1, 5))
    assert octets(play.sent()) == 5


@both
def test_rfc9113_6_9_2_no_window_at_all(role):
    play = speaking(role, (INITIAL_WINDOW_SIZE, 0))
    play.write_content(1, b"content")
    assert octets(play.sent()) == 0
    play.put(window_update(1, 1))
    assert octets(play.sent()) == 1


@both
def test_rfc9113_6_9_2_a_larger_first_window_reaches_open_streams(role):
    play = speaking(role, (INITIAL_WINDOW_SIZE, 10))
    play.write_content(1, bytes(100))
    play.sent()
    play.put(settings((INITIAL_WINDOW_SIZE, 40)))
    assert octets(play.sent()) == 30
    play.put(settings((INITIAL_WINDOW_SIZE, 90)), settings((INITIAL_WINDOW_SIZE, 70)))
    assert octets(play.sent()) == 30


@both
def test_rfc9113_6_9_2_a_window_may_be_negative(role):
    play = speaking(role, (INITIAL_WINDOW_SIZE, 1000))
    play.write_content(1, bytes(5000))
    assert octets(play.sent()) == 1000
    play.put(settings((INITIAL_WINDOW_SIZE, 100)))
    assert octets(play.sent()) == 0
    play.put(window_update(1, 900))
    assert octets(play.sent()) == 0
    play.put(window_update(1, 1))
    assert octets(play.sent()) == 1


@both
def test_rfc9113_6_9_2_settings_do_not_change_the_window_of_the_connection(role):
    play = speaking(role)
    play.write_content(1, bytes(100_000))
    assert octets(play.sent()) == 65_535
    play.put(settings((INITIAL_WINDOW_SIZE, 1 << 20)))
    assert octets(play.sent()) == 0
    play.put(window_update(0, 100_000))
    assert octets(play.sent()) == 100_000 - 65_535


@both
def test_rfc9113_6_9_2_before_settings_the_default_holds(role):
    """A client sends before it has seen SETTINGS; then they count, for what was sent too."""
    if role == "server":
        play = speaking("server")
    else:
        play = Play("client")
        play.ask(method=b"POST", body=UNKNOWN_LENGTH)
    play.write_content(1, bytes(65_535 + 10))
    assert octets(play.sent()) == 65_535
    play.put(settings((INITIAL_WINDOW_SIZE, 1000)), window_update(0, 1 << 20))
    assert octets(play.sent()) == 0
    play.put(window_update(1, 64_535))
    assert octets(play.sent()) == 0
    play.put(window_update(1, 10))
    assert octets(play.sent()) == 10


@both
def test_rfc9113_6_9_2_a_first_window_that_makes_one_too_large_ends_the_connection(role):
    play = speaking(role)
    play.put(window_update(1, MOST - 65_535))
    play.refuses(FLOW_CONTROL_ERROR, settings((INITIAL_WINDOW_SIZE, 65_536)))


@both
def test_rfc9113_6_9_1_a_window_may_be_as_large_as_it_can(role):
    play = speaking(role)
    play.takes(window_update(1, MOST - 65_535), window_update(0, MOST - 65_535))
    play.still_works()


@both
def test_rfc9113_6_9_1_a_stream_window_beyond_the_maximum(role):
    speaking(role).resets(1, FLOW_CONTROL_ERROR, window_update(1, MOST - 65_534))


@both
def test_rfc9113_6_9_1_a_connection_window_beyond_the_maximum(role):
    speaking(role).refuses(FLOW_CONTROL_ERROR, window_update(0, MOST - 65_534))


# -- 6.9 WINDOW_UPDATE


@both
def test_rfc9113_6_9_an_increment_of_0_on_a_stream(role):
    opened(role).resets(1, PROTOCOL_ERROR, window_update(1, 0))


@both
@pytest.mark.parametrize("increment", [0, 1 << 31])
def test_rfc9113_6_9_an_increment_of_0_on_the_connection(role, increment):
    opened(role).refuses(PROTOCOL_ERROR, window_update(0, increment))


@both
@pytest.mark.parametrize("size", [0, 3, 5])
@pytest.mark.parametrize("stream", [0, 1])
def test_rfc9113_6_9_window_update_of_another_length(role, stream, size):
    opened(role).refuses(FRAME_SIZE_ERROR, frame(WINDOW_UPDATE, 0, stream, bytes(size)))


@both
def test_rfc9113_6_9_window_updates_come_after_the_end_too(role):
    play = half_closed(role)
    play.takes(window_update(1, 1))
    if role == "client":
        play.write_content(1, b"")
    else:
        play.answer(1, 204)
    play.sent()
    play.takes(window_update(1, 1))
    play.still_works()


@both
def test_rfc9113_6_9_frames_without_flow_control_are_read_when_windows_are_closed(role):
    play = hearing(role)
    total = 0
    while total < ANNOUNCED:
        play.put(data(1, bytes(16384)))
        total += 16384
    assert play.takes(frame(PING, 0, 0, b"12345678")) == []
    play.takes(window_update(1, 7), settings())
    other = play.ask() if role == "client" else 3
    play.sent()
    assert len(play.takes(headers(other, *(OK if role == "client" else GET), end=True))) == 1


# -- as who takes content


@both
def test_rfc9113_5_2_1_our_windows_are_what_we_announced(role):
    play = Play(role)
    sent = play.sent()
    assert dict(sent[0].settings)[INITIAL_WINDOW_SIZE] == ANNOUNCED
    assert sum(found.number for found in sent if found.type == WINDOW_UPDATE and found.stream == 0) == (
        CONNECTION - 65_535
    )


@both
def test_rfc9113_6_9_1_content_up_to_the_window_is_taken(role):
    play = hearing(role)
    events = play.takes(*[data(1, bytes(16384))] * 4)
    assert sum(len(event.data) for event in events if isinstance(event, Data)) == ANNOUNCED
    assert [found for found in play.sent(WINDOW_UPDATE) if found.stream == 1] == [], "nothing was consumed"


@both
def test_rfc9113_6_9_1_content_beyond_the_window_of_its_stream(role):
    play = hearing(role)
    play.takes(*[data(1, bytes(16384))] * 4)
    play.breaks(1, (FLOW_CONTROL_ERROR,), data(1, b"x"))


def test_rfc9113_6_9_1_content_beyond_the_window_of_the_connection():
    """A client opens that window as content comes: it is never exceeded, those of the streams are the bound."""
    play = started("server", connection_window=100_000, connection_window_limit=100_000)
    for stream in (1, 3):
        play.put(headers(stream, *POST))
        play.takes(*[data(stream, bytes(10_000))] * 5)
    play.sent()
    play.refuses(FLOW_CONTROL_ERROR, data(1, b"x"))


@both
def test_rfc9113_6_9_1_padding_counts(role):
    play = hearing(role)
    padding = frame(DATA, PADDED, 1, padded(b"", 255))
    play.takes(*[padding] * 20)
    given = sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 1)
    room = ANNOUNCED - 20 * 256 + given
    play.takes(*[data(1, bytes(min(16384, room - at))) for at in range(0, room, 16384)])
    play.breaks(1, (FLOW_CONTROL_ERROR,), data(1, bytes(2 * 256)))


@both
def test_rfc9113_5_2_what_is_consumed_may_be_sent_again(role):
    play = hearing(role)
    window, connection = ANNOUNCED, CONNECTION
    total = 0
    for _ in range(2000):
        size = min(16384, window, connection)
        assert size > 0, f"stalled after {total} octets"
        events = play.put(data(1, bytes(size)))
        window -= size
        connection -= size
        total += size
        for event in events:
            if isinstance(event, Data):
                play.engine.consumed(1, len(event.data))
        for found in play.sent(WINDOW_UPDATE):
            if found.stream:
                window += found.number
            else:
                connection += found.number
        assert window <= 1 << 20
        assert connection <= 16 << 20
    assert total > 10_000_000


@both
def test_rfc9113_6_9_content_that_nobody_reads_opens_no_window(role):
    play = hearing(role)
    play.takes(*[data(1, bytes(16384))] * 4)
    assert play.sent(WINDOW_UPDATE) == []


@both
def test_rfc9113_6_9_content_in_error_counts_for_the_connection(role):
    """Here of a stream that has ended; its credit comes back, or the connection would run dry."""
    play = half_closed(role, connection_window=100_000, connection_window_limit=200_000)
    play.resets(1, STREAM_CLOSED, data(1, bytes(10_000)))
    window = 90_000
    for _ in range(100):
        assert play.takes() == []
        play.put(data(1, bytes(10_000)))
        window -= 10_000
        window += sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 0)
        assert window >= 10_000


@both
def test_rfc9113_6_9_content_of_a_stream_that_we_gave_up_is_credited(role):
    """What was taken but not consumed when a stream is aborted must not be missing for ever."""
    play = started(role, connection_window=100_000, connection_window_limit=200_000)
    window = 100_000
    for number in range(50):
        stream = 1 + 2 * number
        if role == "client":
            play.ask()
            play.put(headers(stream, *OK))
        else:
            play.put(headers(stream, *POST))
        play.put(data(stream, bytes(10_000)))
        window -= 10_000
        play.engine.abort(stream)
        window += sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 0)
        assert window >= 10_000, f"the window ran dry at stream {stream}"


@both
def test_rfc9113_6_9_content_of_a_stream_that_the_peer_reset_is_credited(role):
    play = started(role, connection_window=100_000, connection_window_limit=200_000)
    window = 100_000
    for number in range(40):
        stream = 1 + 2 * number
        if role == "client":
            play.ask()
            play.put(headers(stream, *OK))
        else:
            play.put(headers(stream, *POST))
        play.now += 60.0
        events = play.put(data(stream, bytes(10_000)), reset(stream))
        window -= 10_000
        for event in events:
            if isinstance(event, Data):
                play.engine.consumed(stream, len(event.data))
        window += sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 0)
        assert window >= 10_000, f"the window ran dry at stream {stream}"


def test_rfc9113_5_2_2_window_updates_are_read_when_nothing_else_can_move():
    """Both sides have filled their windows: only reading on ends that."""
    play = hearing("server")
    play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, bytes(80_000))
    play.takes(*[data(1, bytes(16384))] * 4)
    play.sent()
    play.put(window_update(1, 20_000), window_update(0, 20_000))
    assert octets(play.sent()) == 80_000 - 65_535


def test_rfc9113_6_9_2_a_request_is_served_while_its_window_is_zero():
    play = started("server", (INITIAL_WINDOW_SIZE, 0))
    assert [type(event) for event in play.takes(headers(1, *GET, end=True))] == [Request]
    play.answer(1, 204)
    (found,) = play.sent()
    assert found.flags & END_STREAM


@both
def test_rfc9113_6_9_3_settings_that_shrink_the_first_window_are_acknowledged(role):
    play = opened(role)
    play.put(settings((INITIAL_WINDOW_SIZE, 1)))
    assert [found.flags for found in play.sent(SETTINGS)] == [1]
