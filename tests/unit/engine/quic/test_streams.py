"""The streams of a connection: tables, limits, endings, and two sides whose frames get lost, late and repeated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.quic import errors
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.frames import (
    FRAME_DATA_BLOCKED,
    FRAME_MAX_DATA,
    FRAME_MAX_STREAM_DATA,
    FRAME_MAX_STREAMS_BIDI,
    FRAME_MAX_STREAMS_UNI,
    FRAME_RESET_STREAM,
    FRAME_STOP_SENDING,
    FRAME_STREAM_DATA_BLOCKED,
    FRAME_STREAMS_BLOCKED_BIDI,
    FRAME_STREAMS_BLOCKED_UNI,
)
from headgate.engine.quic.receive_buffer import MAX_STREAM_GAPS, TooManyGapsError
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.stream import MAX_BIDI_STREAMS, MAX_UNI_STREAMS, StreamSettings
from headgate.engine.quic.stream_states import ReceiveState, SendState
from headgate.engine.quic.streams import (
    EARLY_RESET_WINDOW,
    EXCESSIVE_LOAD,
    MAX_EARLY_RESETS,
    MAX_EARLY_RESETS_CLOSE,
    Streams,
)
from headgate.errors import LocalProtocolError, RemoteProtocolError

MUCH = 1 << 40
RTT = 0.02


def side(*, is_client=False, peer=None, **kwargs):
    """Return one side whose peer grants it much, or what `peer` says."""
    streams = Streams(is_client=is_client, settings=StreamSettings(**kwargs))
    granted = {"max_data": MUCH, "bidi_local": MUCH, "bidi_remote": MUCH, "uni": MUCH}
    granted |= {"bidi_streams": 100, "uni_streams": 8}
    streams.set_peer_limits(**(granted | (peer or {})))
    return streams


def controls(streams, now=0.0):
    """Take all control frames."""
    frames = []
    while (frame := streams.next_control(now, RTT))[0] >= 0:
        frames.append(frame)
    assert not streams.has_control()
    return frames


def pieces(streams, room=1200):
    """Take all data."""
    found = []
    while (piece := streams.next_piece(room)) is not None:
        found.append(piece)
    return found


def answered(streams, stream_id, data=b"reply"):
    """Write a whole reply and have it acknowledged."""
    assert streams.write(stream_id, data, fin=True) == len(data)
    for name, offset, sent, fin in pieces(streams):
        streams.on_ack(name, offset, len(sent), fin=fin)


def states(streams, stream_id):
    stream = streams.table[stream_id]
    return SendState(stream.send_state).name, ReceiveState(stream.receive_state).name


def finished(streams, stream_id):
    """Let a request come, be answered, and be over."""
    streams.receive_stream(stream_id, 0, b"request", fin=True)
    answered(streams, stream_id)
    streams.release(stream_id)


# Which streams there are


@pytest.mark.parametrize("is_client", [False, True])
def test_rfc9000_2_1_ids_say_who_opened_them_and_which_way_they_go(is_client):
    streams = side(is_client=is_client)
    own = 0 if is_client else 1
    assert [streams.open(is_uni=False) for _ in range(3)] == [own, 4 + own, 8 + own]
    assert [streams.open(is_uni=True) for _ in range(2)] == [2 + own, 6 + own]


def test_rfc9000_2_1_lower_streams_are_open_too_and_cost_nothing():
    streams = side()
    streams.receive_stream(99 * 4, 0, b"x", fin=False)
    assert len(streams.table) == 1
    assert streams._opened[0] == 100
    streams.receive_stream(0, 0, b"y", fin=False)
    assert len(streams.table) == 2
    assert (streams._opened[0], streams._closed_count[0]) == (100, 0)


@pytest.mark.parametrize(
    ("kind", "limit"), [(0, MAX_BIDI_STREAMS), (2, MAX_UNI_STREAMS)], ids=["requests", "one-way"]
)
def test_rfc9000_4_6_streams_at_the_limit_and_one_more(kind, limit):
    streams = side()
    streams.receive_stream((limit - 1) * 4 + kind, 0, b"x", fin=False)
    for break_it in (
        lambda name: streams.receive_stream(name, 0, b"x", fin=False),
        lambda name: streams.receive_reset(name, 0, 0, 0.0),
        streams.check_stream_data_blocked,
    ):
        with pytest.raises(QuicError) as caught:
            break_it(limit * 4 + kind)
        assert caught.value.code == errors.STREAM_LIMIT_ERROR
    assert len(streams.table) == 1


def test_rfc9000_19_8_frames_where_they_cannot_be():
    streams = side()
    streams.open(is_uni=True)
    for break_it in (
        lambda: streams.receive_stream(3, 0, b"x", fin=False),  # ours to send only
        lambda: streams.receive_stream(7, 0, b"x", fin=False),
        lambda: streams.receive_reset(3, 0, 0, 0.0),
        lambda: streams.check_stream_data_blocked(3),
        lambda: streams.receive_stop_sending(2, 0, 0.0),  # theirs to send only
        lambda: streams.receive_max_stream_data(2, 10),
        lambda: streams.receive_stream(1, 0, b"x", fin=False),  # ours, and not open
        lambda: streams.receive_stop_sending(1, 0, 0.0),
        lambda: streams.receive_stop_sending(7, 0, 0.0),
        lambda: streams.receive_max_stream_data(1, 10),
        lambda: streams.check_stream_data_blocked(1),
    ):
        with pytest.raises(QuicError) as caught:
            break_it()
        assert caught.value.code == errors.STREAM_STATE_ERROR
    streams.receive_stop_sending(3, 0, 0.0)
    streams.open(is_uni=False)
    streams.check_stream_data_blocked(1)
    streams.check_stream_data_blocked(40)
    assert streams._opened[0] == 11


def test_rfc9000_3_2_frames_about_sending_open_a_stream_too():
    streams = side(peer={"bidi_local": 0})
    streams.receive_max_stream_data(0, 5)
    assert streams.receive_stop_sending(4, 7, 0.0)
    assert states(streams, 0) == ("READY", "RECV")
    assert states(streams, 4) == ("RESET_SENT", "RECV")


def test_our_own_streams_wait_for_the_peers_limit():
    streams = side(is_client=True, peer={"bidi_streams": 1, "uni_streams": 0})
    assert streams.open(is_uni=False) == 0
    assert [streams.open(is_uni=False), streams.open(is_uni=False)] == [NOBODY, NOBODY]
    assert streams.open(is_uni=True) == NOBODY
    assert controls(streams) == [(FRAME_STREAMS_BLOCKED_BIDI, 0, 1, 0), (FRAME_STREAMS_BLOCKED_UNI, 0, 0, 0)]
    assert not streams.receive_max_streams(is_uni=False, count=1)
    assert streams.receive_max_streams(is_uni=False, count=2)
    assert streams.open(is_uni=False) == 4
    assert streams.open(is_uni=False) == NOBODY
    streams.receive_max_streams(is_uni=False, count=3)
    assert controls(streams) == []  # it waited, and says nothing any more


# What arrives


def test_the_next_piece_goes_up_as_it_came_and_several_in_a_row_as_one():
    streams = side()
    first, second, last = b"x" * 1200, memoryview(b"y" * 100), b"z"
    streams.receive_stream(0, 0, first, fin=False)
    ((name, one, fin),) = streams.take_arrived()
    assert one is first
    assert (name, fin) == (0, False)
    streams.receive_stream(0, 1200, second, fin=False)
    streams.receive_stream(0, 1300, last, fin=True)
    streams.receive_stream(4, 0, b"other", fin=False)
    streams.receive_stream(8, 0, b"a", fin=False)
    streams.receive_stream(4, 5, b"again", fin=False)
    assert streams.take_arrived() == [
        (0, b"y" * 100 + b"z", True),
        (4, b"other", False),
        (8, b"a", False),
        (4, b"again", False),
    ]
    assert streams.take_arrived() == []


def test_rfc9000_3_2_the_receiving_part_to_its_end():
    streams = side()
    streams.receive_stream(0, 5, b"world", fin=True)
    assert states(streams, 0)[1] == "SIZE_KNOWN"
    assert streams.take_arrived() == []
    streams.receive_stream(0, 0, b"hello", fin=False)
    assert states(streams, 0)[1] == "DATA_READ"
    assert streams.take_arrived() == [(0, b"helloworld", True)]
    for offset, data, fin in ((0, b"hello", False), (5, b"world", True), (10, b"", True)):
        streams.receive_stream(0, offset, data, fin=fin)
    assert not streams.receive_reset(0, 1, 10, 0.0)
    assert streams.take_arrived() == []


def test_a_bare_fin_goes_up():
    streams = side()
    streams.receive_stream(0, 0, b"", fin=False)
    assert streams.take_arrived() == []
    streams.receive_stream(0, 0, b"ab", fin=False)
    streams.receive_stream(0, 2, b"", fin=True)
    assert streams.take_arrived() == [(0, b"ab", True)]
    streams.receive_stream(4, 0, b"ab", fin=False)
    assert streams.take_arrived() == [(4, b"ab", False)]
    streams.receive_stream(4, 2, b"", fin=True)
    assert streams.take_arrived() == [(4, b"", True)]


def test_rfc9000_4_5_the_final_size_holds_for_every_frame():
    for break_it in (
        lambda streams: streams.receive_stream(0, 9, b"xx", fin=False),
        lambda streams: streams.receive_stream(0, 8, b"x", fin=True),
        lambda streams: streams.receive_reset(0, 0, 9, 0.0),
        lambda streams: streams.receive_reset(0, 0, 11, 0.0),
    ):
        for is_reset in (False, True):
            streams = side()
            if is_reset:
                assert streams.receive_reset(0, 3, 10, 0.0)
            else:
                streams.receive_stream(0, 10, b"", fin=True)
            with pytest.raises(QuicError) as caught:
                break_it(streams)
            assert caught.value.code == errors.FINAL_SIZE_ERROR
    streams = side()
    streams.receive_stream(0, 0, b"0123456789", fin=False)
    with pytest.raises(QuicError) as caught:
        streams.receive_reset(0, 0, 9, 0.0)
    assert caught.value.code == errors.FINAL_SIZE_ERROR


@pytest.mark.parametrize("how", ["stream", "empty", "reset"])
def test_rfc9000_4_1_more_than_the_window_of_a_stream(how):
    streams = side(stream_window=1000, connection_window=5000)
    streams.receive_stream(0, 999, b"x", fin=False)
    break_it = {
        "stream": lambda: streams.receive_stream(0, 1000, b"x", fin=False),
        "empty": lambda: streams.receive_stream(0, 1001, b"", fin=True),
        "reset": lambda: streams.receive_reset(0, 0, 1001, 0.0),
    }[how]
    with pytest.raises(QuicError) as caught:
        break_it()
    assert caught.value.code == errors.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("how", ["stream", "reset"])
def test_rfc9000_4_1_more_than_the_window_of_the_connection(how):
    streams = side(stream_window=1000, connection_window=2500)
    streams.receive_stream(0, 999, b"x", fin=False)
    streams.receive_stream(4, 999, b"x", fin=False)
    streams.receive_stream(8, 499, b"x", fin=False)
    break_it = {
        "stream": lambda: streams.receive_stream(8, 500, b"x", fin=False),
        "reset": lambda: streams.receive_reset(12, 0, 1, 0.0),
    }[how]
    with pytest.raises(QuicError) as caught:
        break_it()
    assert caught.value.code == errors.FLOW_CONTROL_ERROR


def test_a_piece_that_cannot_wait_changes_nothing_and_comes_again():
    streams = side()
    for n in range(MAX_STREAM_GAPS):
        streams.receive_stream(0, 2 * n + 1, b"x", fin=False)
    before = repr(streams.receive_credit)
    with pytest.raises(TooManyGapsError):
        streams.receive_stream(0, 1001, b"z", fin=True)
    assert repr(streams.receive_credit) == before
    assert states(streams, 0)[1] == "RECV"
    streams.receive_stream(0, 0, b"x" * 1001, fin=False)
    streams.receive_stream(0, 1001, b"z", fin=True)
    assert b"".join(piece for _, piece, _ in streams.take_arrived()) == b"x" * 1001 + b"z"
    assert states(streams, 0)[1] == "DATA_READ"


# Credit that we give


def test_rfc9000_4_2_windows_open_by_consumption_only():
    streams = side(stream_window=1000, connection_window=1500)
    streams.receive_stream(0, 0, b"x" * 1000, fin=False)
    assert controls(streams) == []
    streams.consumed(0, 499)
    assert controls(streams) == []
    streams.consumed(0, 1)
    assert controls(streams) == [(FRAME_MAX_STREAM_DATA, 0, 1500, 0)]
    streams.consumed(0, 250)
    assert controls(streams) == [(FRAME_MAX_DATA, 0, 2250, 0)]
    with pytest.raises(LocalProtocolError):
        streams.consumed(0, 251)


def test_rfc9000_13_3_lost_limits_go_again_with_the_newest_number():
    streams = side(stream_window=1000, connection_window=1000)
    streams.receive_stream(0, 0, b"x" * 1000, fin=False)
    streams.consumed(0, 500)
    assert controls(streams) == [(FRAME_MAX_STREAM_DATA, 0, 1500, 0), (FRAME_MAX_DATA, 0, 1500, 0)][::-1]
    streams.on_control_loss(FRAME_MAX_DATA, 0, 1500)
    streams.consumed(0, 500)
    assert (FRAME_MAX_DATA, 0, 3000, 0) in controls(streams)  # fast: the window doubled
    streams.on_control_loss(FRAME_MAX_DATA, 0, 1500)
    streams.on_control_loss(FRAME_MAX_STREAM_DATA, 0, 1500)
    streams.on_control_loss(FRAME_MAX_STREAM_DATA, 44, 1500)
    assert controls(streams) == []
    streams.on_control_loss(FRAME_MAX_STREAM_DATA, 0, 3000)
    assert controls(streams) == [(FRAME_MAX_STREAM_DATA, 0, 3000, 0)]


def test_rfc9000_3_2_no_more_credit_once_the_size_is_known():
    streams = side(stream_window=1000)
    streams.receive_stream(0, 0, b"x" * 500, fin=False)
    streams.receive_stream(0, 600, b"x", fin=True)
    streams.consumed(0, 500)
    assert controls(streams) == []


def test_windows_are_bounded_when_memory_is_short():
    streams = side(stream_window=1000, connection_window=1000)
    streams.receive_stream(0, 0, b"x" * 1000, fin=False)
    streams.bound_windows(100, 100)
    streams.consumed(0, 1000)
    assert controls(streams) == [(FRAME_MAX_DATA, 0, 1100, 0), (FRAME_MAX_STREAM_DATA, 0, 1100, 0)]


# How streams end


def test_a_stream_counts_until_both_parts_are_over_and_the_work_for_it_has_stopped():
    streams = side(bidi_streams=1)
    streams.receive_stream(0, 0, b"x", fin=True)
    answered(streams, 0)
    assert states(streams, 0) == ("DATA_RECVD", "DATA_READ")
    assert controls(streams) == []
    with pytest.raises(QuicError):
        streams.receive_stream(4, 0, b"x", fin=False)
    streams.release(0)
    assert streams.table == {}
    assert controls(streams) == [(FRAME_MAX_STREAMS_BIDI, 0, 2, 0)]
    streams.receive_stream(4, 0, b"x", fin=False)
    streams.receive_stream(0, 0, b"x", fin=True)  # a late copy
    streams.on_ack(0, 0, 5, fin=True)
    streams.on_loss(0, 0, 5, fin=True)
    streams.consumed(0, 1)
    streams.release(0)
    assert list(streams.table) == [4]


@pytest.mark.parametrize("missing", ["release", "answer", "request"])
def test_each_of_the_three_is_needed(missing):
    streams = side(bidi_streams=1)
    streams.receive_stream(0, 0, b"x", fin=missing != "request")
    if missing != "answer":
        answered(streams, 0)
    if missing != "release":
        streams.release(0)
    assert list(streams.table) == [0]
    assert (FRAME_MAX_STREAMS_BIDI, 0, 2, 0) not in controls(streams)


def test_credit_for_streams_is_told_when_half_of_it_is_used():
    streams = side(bidi_streams=10)
    told = []
    for n in range(20):
        finished(streams, 4 * n)
        told.append([frame[2] for frame in controls(streams) if frame[0] == FRAME_MAX_STREAMS_BIDI])
    assert [n for n, limits in enumerate(told) if limits] == [4, 9, 14, 19]
    assert told[4] == [15]
    streams.on_control_loss(FRAME_MAX_STREAMS_BIDI, 0, 15)
    assert controls(streams) == [(FRAME_MAX_STREAMS_BIDI, 0, 30, 0)]


def test_a_single_place_that_gets_free_is_told_when_none_else_is():
    streams = side(bidi_streams=10)
    for n in range(10):
        streams.receive_stream(4 * n, 0, b"x", fin=True)
    controls(streams)
    answered(streams, 12)
    streams.release(12)
    assert controls(streams) == [(FRAME_MAX_STREAMS_BIDI, 0, 11, 0)]


def test_closed_streams_are_remembered_in_few_ranges():
    """Every other stream stays open: as ragged as it can get, and as many ranges as streams at a time, and one."""
    streams = side()
    for n in range(2 * MAX_BIDI_STREAMS - 1):
        if n % 2:
            streams.receive_stream(4 * n, 0, b"x", fin=False)
        else:
            finished(streams, 4 * n)
        controls(streams)
    assert len(streams.table) == MAX_BIDI_STREAMS - 1
    assert len(streams._closed[0]) == MAX_BIDI_STREAMS
    for n in range(1, 2 * MAX_BIDI_STREAMS, 2):
        streams.receive_stream(4 * n, 1, b"", fin=True)
        if n < 2 * MAX_BIDI_STREAMS - 1:
            answered(streams, 4 * n)
            streams.release(4 * n)
    assert len(streams._closed[0]) == 1


def test_rfc9000_3_5_stop_sending_is_answered_by_a_reset():
    streams = side(peer={"max_data": 4})
    streams.receive_stream(0, 0, b"x", fin=True)
    streams.write(0, b"reply", fin=True)
    assert pieces(streams) == [(0, 0, b"repl", False)]
    assert streams.receive_stop_sending(0, 0x10C, 0.0)
    assert not streams.receive_stop_sending(0, 0x10C, 0.0)
    assert controls(streams) == [(FRAME_RESET_STREAM, 0, 0x10C, 4)]
    assert streams.sender.held == 0
    streams.on_control_loss(FRAME_RESET_STREAM, 0, 0x10C)
    assert controls(streams) == [(FRAME_RESET_STREAM, 0, 0x10C, 4)]
    streams.on_ack(0, 0, 4, fin=False)
    streams.on_loss(0, 0, 4, fin=False)
    assert streams.write(0, b"more", fin=True) == 4  # whoever writes has not heard of it yet
    assert pieces(streams) == []
    assert states(streams, 0)[0] == "RESET_SENT"
    streams.release(0)
    streams.on_control_ack(FRAME_RESET_STREAM, 0)
    streams.on_control_ack(FRAME_RESET_STREAM, 0)
    assert streams.table == {}


def test_rfc9000_3_1_a_reset_behind_the_end_says_nothing():
    streams = side()
    streams.receive_stream(0, 0, b"x", fin=True)
    answered(streams, 0)
    streams.reset(0, 9)
    assert not streams.receive_stop_sending(0, 1, 0.0)
    assert not streams.has_control()
    with pytest.raises(LocalProtocolError):
        streams.reset(4, 9)
    streams.receive_stream(2, 0, b"x", fin=False)
    with pytest.raises(LocalProtocolError):
        streams.reset(2, 9)


def test_rfc9000_3_2_a_reset_gives_back_what_never_goes_up():
    streams = side()
    streams.receive_stream(0, 0, b"0123", fin=False)
    streams.receive_stream(0, 6, b"6789", fin=False)
    assert streams.waiting.gaps == 1
    assert streams.receive_reset(0, 7, 20, 0.0)
    assert not streams.receive_reset(0, 7, 20, 0.0)
    assert states(streams, 0)[1] == "RESET_READ"
    assert streams.waiting.gaps == streams.waiting.charge == 0
    assert (streams.receive_credit.received, streams.receive_credit.consumed) == (20, 16)
    streams.consumed(0, 1)
    assert streams.receive_credit.consumed == 17
    streams.release(0)
    assert streams.receive_credit.consumed == 20


@pytest.mark.parametrize("end", ["fin", "reset", "known", "early"])
def test_rfc9000_3_5_who_stops_takes_no_more_and_keeps_no_credit(end):
    streams = side()
    streams.receive_stream(0, 0, b"0123", fin=False)
    streams.receive_stream(0, 6, b"67", fin=end == "known")
    streams.take_arrived()
    streams.consumed(0, 1)
    streams.stop(0, 0x10C)
    streams.stop(0, 0x10C)
    assert streams.waiting.gaps == 0
    if end == "known":
        assert controls(streams) == []
    else:
        assert controls(streams) == [(FRAME_STOP_SENDING, 0, 0x10C, 0)]
        streams.on_control_loss(FRAME_STOP_SENDING, 0, 0x10C)
        assert controls(streams) == [(FRAME_STOP_SENDING, 0, 0x10C, 0)]
        streams.receive_stream(0, 4, b"45678", fin=False)
    if end == "reset":
        assert not streams.receive_reset(0, 1, 30, 0.0)
    elif end == "fin":
        streams.receive_stream(0, 29, b"x", fin=True)
    assert streams.take_arrived() == []
    credit = streams.receive_credit
    assert credit.received - credit.consumed == 3  # what went up and is not consumed yet
    streams.consumed(0, 3)
    assert credit.received == credit.consumed == {"known": 8, "early": 9}.get(end, 30)
    is_over = states(streams, 0)[1] in ("DATA_READ", "RESET_READ")
    assert is_over == (end != "early")
    if is_over:
        streams.on_control_loss(FRAME_STOP_SENDING, 0, 0x10C)
        assert controls(streams) == []
    own = streams.open(is_uni=True)
    with pytest.raises(LocalProtocolError):
        streams.stop(own, 0)


# Requests given up


def test_requests_given_up_at_the_limit_and_one_more():
    streams = side()
    now = 5.0
    for n in range(MAX_EARLY_RESETS):
        assert streams.receive_reset(4 * n, 0x10C, 0, now)
        streams.receive_stop_sending(4 * n, 0x10C, now)  # the same request: counted once
        streams.release(4 * n)
        for frame in controls(streams):
            streams.on_control_ack(frame[0], frame[1])
        now += 0.01
    assert streams.deadline() == NEVER
    assert streams._opened[0] == streams._closed_count[0]
    granted = streams._limits[0]
    streams.receive_reset(4 * MAX_EARLY_RESETS, 0x10C, 0, now)
    assert streams.deadline() == now + EARLY_RESET_WINDOW
    streams.reset(4 * MAX_EARLY_RESETS, 0x10C)
    streams.release(4 * MAX_EARLY_RESETS)
    for frame in controls(streams):
        streams.on_control_ack(frame[0], frame[1])
    for n in range(MAX_EARLY_RESETS + 1, granted):
        finished(streams, 4 * n)
    streams.on_control_loss(FRAME_MAX_STREAMS_BIDI, 0, granted)
    assert controls(streams) == [(FRAME_MAX_STREAMS_BIDI, 0, granted, 0)]  # no more than before
    with pytest.raises(QuicError):
        streams.receive_stream(4 * granted, 0, b"x", fin=False)
    streams.on_deadline(now + EARLY_RESET_WINDOW - 0.001)
    assert controls(streams) == []
    streams.on_deadline(now + EARLY_RESET_WINDOW)
    assert controls(streams) == [(FRAME_MAX_STREAMS_BIDI, 0, granted + MAX_BIDI_STREAMS, 0)]
    assert streams.deadline() == NEVER


def test_far_too_many_requests_given_up_end_the_connection():
    streams = side(bidi_streams=1000)
    for n in range(MAX_EARLY_RESETS_CLOSE):
        streams.receive_stream(4 * n, 0, b"x", fin=True)
        streams.receive_stop_sending(4 * n, 0, 1.0)
    streams.receive_stream(4 * n + 4, 0, b"x", fin=True)
    with pytest.raises(RemoteProtocolError) as caught:
        streams.receive_stop_sending(4 * n + 4, 0, 1.0)
    assert caught.value.code == EXCESSIVE_LOAD
    assert not isinstance(caught.value, QuicError)  # closed as the application closes


def test_requests_given_up_slowly_or_behind_a_reply_are_no_attack():
    streams = side(bidi_streams=1000)
    now = 0.0
    for n in range(300):
        streams.receive_stream(4 * n, 0, b"x", fin=False)
        if n % 2:
            streams.write(4 * n, b"reply", fin=False)
            pieces(streams)
        streams.receive_reset(4 * n, 0, 1, now)
        now += EARLY_RESET_WINDOW / 199
    assert streams.deadline() == NEVER


def test_requests_that_we_must_give_up_because_of_what_came_count_too():
    streams = side(bidi_streams=1000)
    for n in range(MAX_EARLY_RESETS + 1):
        assert streams.deadline() == NEVER
        streams.receive_stream(4 * n, 0, b"x", fin=False)
        streams.blame(4 * n, 1.0)
        streams.blame(4 * n, 1.0)
        streams.reset(4 * n, 0x10E)
    assert streams.deadline() == 1.0 + EARLY_RESET_WINDOW
    streams.blame(4000, 1.0)


def test_our_own_requests_are_given_up_as_the_origin_likes():
    streams = side(is_client=True, peer={"bidi_streams": 1000})
    for _ in range(MAX_EARLY_RESETS + 1):
        streams.receive_stop_sending(streams.open(is_uni=False), 0, 1.0)
    assert streams.deadline() == NEVER


# Two sides


class Wire:
    """Frames between two sides, in any order; each is delivered, perhaps twice, or lost."""

    def __init__(self, sides):
        self.sides = sides
        self.flying = []
        self.now = 0.0

    def flush(self, room):
        for index, streams in enumerate(self.sides):
            while (frame := streams.next_control(self.now, RTT))[0] >= 0:
                self.flying.append((index, frame, None))
            while (piece := streams.next_piece(room)) is not None:
                self.flying.append((index, None, piece))

    def settle(self, at, fate):
        """Let one frame arrive (0), arrive and its acknowledgement get lost (1), or get lost (2)."""
        index, frame, piece = self.flying.pop(at % len(self.flying))
        self.now += 0.001
        sender, receiver = self.sides[index], self.sides[1 - index]
        if fate != 2:
            try:
                self.deliver(receiver, frame, piece)
            except TooManyGapsError:
                fate = 2
        if frame is not None:
            kind, name, value, _ = frame
            sender.on_control_loss(kind, name, value) if fate else sender.on_control_ack(kind, name)
        else:
            name, offset, data, fin = piece
            (sender.on_loss if fate else sender.on_ack)(name, offset, len(data), fin=fin)

    def deliver(self, receiver, frame, piece):
        if piece is not None:
            name, offset, data, fin = piece
            receiver.receive_stream(name, offset, data, fin=fin)
            return
        kind, name, value, final_size = frame
        if kind == FRAME_RESET_STREAM:
            receiver.receive_reset(name, value, final_size, self.now)
        elif kind == FRAME_STOP_SENDING:
            receiver.receive_stop_sending(name, value, self.now)
        elif kind == FRAME_MAX_DATA:
            receiver.receive_max_data(value)
        elif kind == FRAME_MAX_STREAM_DATA:
            receiver.receive_max_stream_data(name, value)
        elif kind in (FRAME_MAX_STREAMS_BIDI, FRAME_MAX_STREAMS_UNI):
            receiver.receive_max_streams(is_uni=kind == FRAME_MAX_STREAMS_UNI, count=value)
        elif kind == FRAME_STREAM_DATA_BLOCKED:
            receiver.check_stream_data_blocked(name)
        else:
            assert kind in (FRAME_DATA_BLOCKED, FRAME_STREAMS_BLOCKED_BIDI, FRAME_STREAMS_BLOCKED_UNI)


class User:
    """Whoever stands above one side: writes what it has, consumes what comes, releases what is over."""

    def __init__(self, streams):
        self.streams = streams
        self.left = {}
        self.got = {}
        self.ended = set()

    def begin(self, name, data):
        self.left[name] = data

    def turn(self):
        streams = self.streams
        for name, piece, fin in streams.take_arrived():
            self.got[name] = self.got.get(name, b"") + bytes(piece)
            streams.consumed(name, len(piece))
            if fin:
                self.ended.add(name)
        streams.take_writable()
        for name, data in list(self.left.items()):
            taken = streams.write(name, data, fin=True)
            if taken < len(data):
                self.left[name] = data[taken:]
            else:
                del self.left[name]
        for name in self.ended:
            if name not in self.left:
                streams.release(name)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000)), max_size=300),
    st.integers(40, 1200),
    st.integers(1, 2),
)
def test_whatever_the_wire_does_both_sides_get_everything_and_no_limit_is_passed(
    exchanges, fates, room, concurrent
):
    """A limit that one side passed would be an exception of the other; at the end nothing is owed or held."""
    window = {"stream_window": 700, "connection_window": 1000, "max_stream_window": 1400}
    granted = {"max_data": 1000, "bidi_local": 700, "bidi_remote": 700, "uni": 700, "uni_streams": 0}
    client = side(is_client=True, peer=granted | {"bidi_streams": concurrent}, **window)
    server = side(peer=granted | {"bidi_streams": 0}, bidi_streams=concurrent, **window)
    wire, users = Wire((client, server)), (User(client), User(server))
    waiting = [(bytes([n]) * up, bytes([255 - n]) * down) for n, (up, down) in enumerate(exchanges)]
    replies, wanted, fates = {}, {}, iter(fates)
    for _ in range(20_000):
        if waiting and (name := client.open(is_uni=False)) != NOBODY:
            request, replies[name] = waiting.pop(0)
            wanted[name] = request, replies[name]
            users[0].begin(name, request)
        for user in users:
            user.turn()
        for name in users[1].ended & replies.keys():
            users[1].begin(name, replies.pop(name))
            users[1].turn()
        wire.flush(room)
        if not wire.flying:
            break
        fate, at = next(fates, (0, 0))
        wire.settle(at, fate)
    assert not wire.flying
    assert not waiting
    assert not replies
    for name, (request, reply) in wanted.items():
        assert users[1].got.get(name, b"") == request
        assert users[0].got.get(name, b"") == reply
    for streams in (client, server):
        assert streams.table == {}
        assert streams.receive_credit.received == streams.receive_credit.consumed
        assert (streams.waiting.gaps, streams.waiting.charge, streams.sender.held) == (0, 0, 0)
        assert len(streams.sender.scheduler) == 0


def test_they_print():
    streams = side()
    streams.receive_stream(0, 0, b"x", fin=False)
    own = streams.open(is_uni=True)
    assert repr(streams.table[0]) == "<Stream 0 sending READY receiving RECV>"
    assert repr(streams.table[own]) == "<Stream 3 sending READY receiving ->"
    assert repr(streams).startswith(
        "<Streams 2 open, <StreamSender 0 ready, 0 octets held, <SendCredit 0 of "
    )


def test_a_client_asks_how_many_streams_it_may_open():
    streams = side(is_client=True, peer={"bidi_streams": 2, "uni_streams": 3})
    assert streams.openable(is_uni=False) == 2
    assert streams.openable(is_uni=True) == 3
    streams.open(is_uni=False)
    assert streams.openable(is_uni=False) == 1
    streams.receive_max_streams(is_uni=False, count=5)
    assert streams.openable(is_uni=False) == 4


def test_small_requests_that_are_over_count_as_content_too():
    streams = side()
    for stream_id in (0, 4, 8):
        streams.receive_stream(stream_id, 0, b"ask", fin=True)
        streams.take_arrived()
        answered(streams, stream_id)
        streams.release(stream_id)
    assert streams.moved() == 3 * (len(b"ask") + len(b"reply") + 2048)
