"""Events to frames: order, ends, windows, fairness, and what is held."""

import itertools

import pytest
from tests.unit.engine.h2.side import ALL, Side, fields, kinds
from tests.unit.engine.h2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    Frame,
    content_of,
    frames_of,
)

from headgate.engine.events import Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h2 import errors
from headgate.engine.h2.budgets import EARNED
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.sender import FRAME, LOW_WATER
from headgate.engine.message.events import StreamFailed
from headgate.errors import LocalProtocolError

# -- messages


def test_an_answer_is_two_frames_and_one_piece():
    side = Side()
    side.opened(1)
    side.h2.send(Response(200, b"", 11, fields(server=b"a"), 5, 1))
    side.h2.send(Data(b"hello", 1))
    side.h2.send(EndOfMessage(None, 1))
    frames = side.take()
    assert kinds(frames) == [(HEADERS, 1, END_HEADERS), (DATA, 1, END_STREAM)]
    assert side.lines(frames[0]) == [b":status: 200", b"server: a", b"content-length: 5"]
    assert frames[1].payload == b"hello"
    assert side.h2.streams == {}
    assert not side.h2.has_output()
    assert side.h2.take_output(ALL) == b""


def test_an_answer_without_content_ends_with_its_head():
    side = Side()
    side.opened(1)
    side.respond(1)
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS | END_STREAM)]
    assert side.h2.streams == {}


def test_an_end_without_content_goes_into_the_head_that_still_waits():
    side = Side()
    for number in (1, 3):
        side.opened(number)
    side.h2.send(Response(200, b"", 11, fields(), -1, 1))
    side.h2.send(Response(204, b"", 11, fields(), 0, 3))
    side.h2.send(EndOfMessage(None, 1))
    frames = side.take()
    assert kinds(frames) == [
        (HEADERS, 1, END_HEADERS | END_STREAM),
        (HEADERS, 3, END_HEADERS | END_STREAM),
    ]


def test_an_end_whose_head_has_gone_out_is_an_empty_frame():
    side = Side()
    side.opened(1)
    side.respond(1, b"", ends=False)
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS)]
    side.h2.send(EndOfMessage(None, 1))
    assert side.take() == [Frame(DATA, END_STREAM, 1, b"")]


def test_an_end_whose_head_is_no_longer_the_last_one_is_an_empty_frame():
    side = Side()
    for number in (1, 3):
        side.opened(number)
    side.respond(1, b"", ends=False)
    side.respond(3, b"", ends=False)
    side.h2.send(EndOfMessage(None, 1))
    side.h2.send(EndOfMessage(None, 3))
    assert kinds(side.take()) == [
        (HEADERS, 1, END_HEADERS),
        (HEADERS, 3, END_HEADERS | END_STREAM),
        (DATA, 1, END_STREAM),
    ]


def test_the_end_is_not_put_into_a_head_that_a_small_limit_left_behind():
    side = Side()
    for number in (1, 3):
        side.opened(number)
    side.respond(3)
    side.respond(1, b"", ends=False)
    first = side.take(1)
    side.h2.send(EndOfMessage(None, 1))
    assert kinds(first + side.take()) == [
        (HEADERS, 3, END_HEADERS | END_STREAM),
        (HEADERS, 1, END_HEADERS),
        (DATA, 1, END_STREAM),
    ]


def test_rfc9113_8_1_interim_responses_before_the_final_one():
    side = Side()
    side.opened(1)
    side.h2.send(Response(103, b"", 11, fields(link=b"</a>"), 0, 1))
    side.h2.send(Response(100, b"", 11, fields(), 0, 1))
    side.respond(1)
    frames = side.take()
    assert [side.lines(frame)[0] for frame in frames] == [b":status: 103", b":status: 100", b":status: 200"]
    assert [frame.flags for frame in frames] == [END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM]


def test_rfc9113_8_1_trailers_end_the_stream():
    side = Side()
    side.opened(1)
    side.respond(1, b"hello", trailers=fields(check=b"sum"))
    frames = side.take()
    assert kinds(frames) == [(HEADERS, 1, END_HEADERS), (DATA, 1, 0), (HEADERS, 1, END_HEADERS | END_STREAM)]
    assert [side.lines(frame) for frame in frames[::2]] == [[b":status: 200"], [b"check: sum"]]


def test_trailers_without_content_do_not_wait():
    side = Side(window=0)
    side.opened(1, window=0)
    side.respond(1, b"", trailers=fields(check=b"sum"))
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS), (HEADERS, 1, END_HEADERS | END_STREAM)]


def test_trailers_are_encoded_when_their_turn_comes():
    """HPACK has an order: a head that goes out before them is encoded before them."""
    side = Side()
    for number in (1, 3):
        side.opened(number, window=3)
    side.respond(1, b"hello", trailers=fields(check=b"sum", kept=b"1"))
    side.take()
    side.h2.send(Response(200, b"", 11, fields(other=b"1", kept=b"1"), 0, 3))
    side.h2._widen(side.h2.streams[1], 10)
    frames = side.take()
    decoder = HpackDecoder(4096, 1 << 20, 100)
    decoder.decode(b"\x88")
    assert kinds(frames) == [
        (HEADERS, 3, END_HEADERS | END_STREAM),
        (DATA, 1, 0),
        (HEADERS, 1, END_HEADERS | END_STREAM),
    ]
    assert [[line.line for line in decoder.decode(frame.payload)] for frame in frames[::2]] == [
        [b":status: 200", b"other: 1", b"kept: 1"],
        [b"check: sum", b"kept: 1"],
    ]


def test_rfc9113_4_3_a_large_head_is_continued_with_nothing_between():
    side = Side()
    side.opened(1)
    side.opened(3)
    value = bytes(itertools.islice(itertools.cycle(range(0x80, 0xFF)), 3 * FRAME))
    side.h2.send(Response(200, b"", 11, fields(large=value), 0, 1))
    side.respond(3)
    frames = side.take(FRAME)
    assert [frame.kind for frame in frames][:2] == [HEADERS, CONTINUATION]
    assert {frame.stream for frame in frames} == {1}
    assert [frame.flags for frame in frames] == [END_STREAM, *[0] * (len(frames) - 2), END_HEADERS]
    assert all(len(frame.payload) == FRAME for frame in frames[:-1])
    block = b"".join(frame.payload for frame in frames)
    assert side.lines(Frame(HEADERS, 0, 1, block)) == [b":status: 200", b"large: " + value]
    assert kinds(side.take()) == [(HEADERS, 3, END_HEADERS | END_STREAM)]


def test_a_client_opens_streams_in_order():
    side = Side(is_client=True)
    request = Request(b"POST", b"/a", 20, fields(host=b"a.test"), -1)
    side.h2.send(request)
    side.h2.send(Data(b"x", request.stream))
    second = Request(b"GET", b"/b", 20, fields(host=b"a.test"), 0)
    side.h2.send(second)
    assert (request.stream, second.stream) == (1, 3)
    frames = side.take()
    assert kinds(frames) == [
        (HEADERS, 1, END_HEADERS),
        (HEADERS, 3, END_HEADERS | END_STREAM),
        (DATA, 1, 0),
    ]
    assert side.lines(frames[0]) == [
        b":method: POST",
        b":scheme: https",
        b":authority: a.test",
        b":path: /a",
    ]


def test_rfc8441_4_a_tunnel_has_no_end_that_means_anything_but_an_end():
    side = Side()
    side.opened(1, method=b"CONNECT", ended=False)
    side.h2.send(Response(200, b"", 11, fields(), 0, 1))
    side.h2.send(Data(b"ping", 1))
    side.h2.send(EndOfMessage(None, 1))
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS), (DATA, 1, END_STREAM)]


def test_connect_that_is_refused_is_a_message():
    side = Side()
    side.opened(1, method=b"CONNECT", ended=False)
    side.h2.send(Response(403, b"", 11, fields(), 0, 1))
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS | END_STREAM)]


# -- our own faults


@pytest.mark.parametrize(
    "events",
    [
        [Closed()],
        [Data(b"x", 1)],
        [EndOfMessage(None, 1)],
        [Response(101, b"", 11, fields(), 0, 1)],
        [Response(204, b"", 11, fields(), -1, 1)],
        [Response(304, b"", 11, fields(), 4, 1)],
        [Response(100, b"", 11, fields(), -1, 1)],
        [Response(200, b"", 11, fields(), -1, 1), Response(200, b"", 11, fields(), -1, 1)],
        [Response(200, b"", 11, fields(), 3, 1), Data(b"four", 1)],
        [Response(200, b"", 11, fields(), 3, 1), Data(b"no", 1), EndOfMessage(None, 1)],
        [Response(200, b"", 11, fields(), -1, 1), Data(b"x", 1), EndOfMessage(None, 1), Data(b"x", 1)],
        [
            Response(200, b"", 11, fields(), -1, 1),
            Data(b"x", 1),
            EndOfMessage(None, 1),
            EndOfMessage(None, 1),
        ],
        [Request(b"GET", b"/", 20, fields(host=b"a"), 0)],
    ],
    ids=lambda events: " ".join(type(event).__name__ for event in events),
)
def test_what_is_out_of_turn_is_our_fault(events):
    side = Side()
    side.opened(1)
    for event in events[:-1]:
        side.h2.send(event)
    with pytest.raises(LocalProtocolError):
        side.h2.send(events[-1])


def test_rfc8441_3_no_extended_connect_to_a_server_that_takes_none():
    side = Side(is_client=True)
    request = Request(b"CONNECT", b"/chat", 20, fields(host=b"a.test"), 0)
    request.upgrade = b"websocket"
    with pytest.raises(LocalProtocolError):
        side.h2.send(request)
    assert side.h2.streams == {}
    side.h2.remote.connect_protocol = True
    side.h2.send(request)
    assert b":protocol: websocket" in side.lines(side.take()[0])


def test_what_comes_for_a_stream_that_is_gone_is_dropped():
    side = Side()
    for event in (Response(200, b"", 11, fields(), 0, 1), Data(b"x", 1), EndOfMessage(None, 1)):
        side.h2.send(event)
    assert side.take() == []


# -- what the peer would not take


def test_rfc9113_10_5_1_a_head_that_the_peer_would_not_take_fails_the_stream():
    side = Side()
    side.opened(1)
    side.h2.remote.max_section = 100
    side.h2.send(Response(200, b"", 11, fields(large=bytes(100).replace(b"\0", b"x")), 0, 1))
    assert [(frame.kind, frame.payload[-1]) for frame in side.take()] == [(RST_STREAM, errors.INTERNAL_ERROR)]
    event = side.h2.next_event()
    assert isinstance(event, StreamFailed)
    assert (event.stream, event.reason, event.by_peer) == (1, "peer-field-limit", False)
    assert side.h2.streams == {}


def test_a_head_at_the_limit_of_the_peer_is_sent():
    side = Side()
    side.opened(1)
    side.h2.remote.max_section = 42 + 33
    side.h2.send(Response(200, b"", 11, fields(a=b""), 0, 1))
    assert kinds(side.take()) == [(HEADERS, 1, END_HEADERS | END_STREAM)]


def test_trailers_that_the_peer_would_not_take_fail_the_stream_and_drop_what_waits():
    side = Side()
    side.opened(1)
    side.h2.remote.max_section = 100
    side.respond(1, b"hello", trailers=fields(large=b"x" * 100))
    assert [frame.kind for frame in side.take()] == [HEADERS, RST_STREAM]
    assert side.h2.queued_total == 0


def test_rfc9113_5_1_a_request_that_is_never_sent_is_not_reset():
    """RST_STREAM of an idle stream would be an error of the connection."""
    side = Side(is_client=True)
    side.h2.remote.max_section = 100
    side.h2.send(Request(b"GET", b"/" + b"x" * 100, 20, fields(host=b"a.test"), 0))
    assert side.take() == []
    assert isinstance(side.h2.next_event(), StreamFailed)
    assert side.h2.streams == {}
    side.h2.send(Request(b"GET", b"/", 20, fields(host=b"a"), 0))
    assert kinds(side.take()) == []
    side.h2.remote.max_section = 1000
    side.h2.send(Request(b"GET", b"/", 20, fields(host=b"a"), 0))
    assert kinds(side.take()) == [(HEADERS, 5, END_HEADERS | END_STREAM)]


# -- content


@pytest.mark.parametrize("size", [1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 5 * FRAME + 7])
@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_rfc9113_6_1_content_is_cut_into_frames(size, pieces):
    side = Side()
    side.opened(1)
    content = bytes(itertools.islice(itertools.cycle(range(251)), size))
    side.respond(1, b"", ends=False)
    step = -(-size // pieces)
    for at in range(0, size, step):
        side.h2.send(Data(content[at : at + step], 1))
    side.h2.send(EndOfMessage(None, 1))
    frames = side.take()[1:]
    assert content_of(frames, 1) == content
    assert [len(frame.payload) for frame in frames[:-1]] == [FRAME] * ((size - 1) // FRAME)
    assert [frame.flags for frame in frames] == [*[0] * (len(frames) - 1), END_STREAM]
    assert side.h2.queued_total == 0


def test_small_pieces_that_wait_are_one_frame():
    side = Side()
    side.opened(1)
    side.respond(1, b"", ends=False)
    for _ in range(5000):
        side.h2.send(Data(b"abc", 1))
    assert len(side.h2.streams[1].queue) <= 15_000 // 1024 + 1
    frames = side.take()[1:]
    assert content_of(frames, 1) == b"abc" * 5000
    assert len(frames) == 1


def test_whole_pieces_are_not_copied_before_they_go_out():
    side = Side()
    side.opened(1)
    side.respond(1, b"", ends=False)
    content = bytes(FRAME)
    side.h2.send(Data(content, 1))
    assert side.h2.streams[1].queue[0] is content


@pytest.mark.parametrize("limit", [1, 100, FRAME, 4 * FRAME])
def test_the_limit_of_one_take_is_kept_but_for_a_frame(limit):
    side = Side()
    side.opened(1)
    content = bytes(10 * FRAME)
    side.respond(1, content)
    side.take()
    side.opened(3)
    side.respond(3, content)
    taken = []
    while side.h2.has_output():
        octets = side.h2.take_output(limit)
        assert 0 < len(octets) <= limit + FRAME + 9
        taken.append(octets)
    assert content_of(frames_of(b"".join(taken)), 3) == content


def test_control_frames_go_before_content_even_when_the_limit_is_small():
    side = Side()
    side.opened(1)
    side.respond(1, bytes(FRAME))
    side.h2._write_reset(7, errors.CANCEL)
    assert [frame.kind for frame in side.take(1)] == [HEADERS]
    assert [frame.kind for frame in side.take(1)] == [RST_STREAM]
    assert [frame.kind for frame in side.take(1)] == [DATA]


def test_what_is_held_counts_whole_pieces():
    """A piece that is partly out is held whole."""
    side = Side(window=FRAME)
    side.opened(1)
    side.respond(1, bytes(2 * FRAME))
    side.take()
    assert (side.h2.queued_total, side.h2.queued(1)) == (2 * FRAME, FRAME)
    side.h2._widen_connection(FRAME)
    side.take()
    assert (side.h2.queued_total, side.h2.queued(1)) == (0, 0)


def test_content_of_a_stream_that_is_given_up_is_dropped():
    side = Side(window=10)
    for number in (1, 3):
        side.opened(number)
        side.respond(number, bytes(20))
    side.take()
    side.h2.abort(1, errors.CANCEL)
    assert (side.h2.queued_total, side.h2.scheduler.size) == (20, 1)
    side.h2._widen_connection(100)
    assert kinds(side.take()) == [(RST_STREAM, 1, 0), (DATA, 3, END_STREAM)]


# -- fairness


def test_rfc9218_10_incremental_streams_share_and_others_do_not():
    side = Side()
    for number in (1, 3):
        side.opened(number, incremental=True)
    for number in (5, 7):
        side.opened(number, urgency=1)
    for number in (1, 3, 5, 7):
        side.respond(number, bytes(2 * FRAME))
    order = [frame.stream for frame in side.take() if frame.kind == DATA]
    assert order == [5, 5, 7, 7, 1, 3, 1, 3]


def test_rfc9218_another_priority_on_the_way():
    side = Side()
    for number in (1, 3):
        side.opened(number)
        side.respond(number, bytes(2 * FRAME))
    first = side.take(1000)
    side.h2._prioritise(side.h2.streams[3], 0)
    assert [frame.stream for frame in first + side.take() if frame.kind == DATA] == [1, 3, 3, 1]


def test_a_take_costs_by_the_ready_streams_not_by_the_open_ones():
    costs = []
    for blocked in (0, 2000):
        side = Side()
        for number in range(3, 3 + 2 * blocked, 2):
            side.opened(number, window=0)
            side.respond(number, b"content that waits")
        side.take()
        side.opened(1)
        before = side.h2.scheduler.touched
        side.respond(1, bytes(4 * FRAME))
        side.take()
        costs.append(side.h2.scheduler.touched - before)
    assert costs[0] == costs[1] < 20


def test_where_the_window_of_the_connection_is_closed_nobody_is_looked_at():
    side = Side(window=0)
    for number in range(1, 201, 2):
        side.opened(number)
        side.respond(number, bytes(10))
    side.take()
    before = side.h2.scheduler.touched
    assert not side.h2.has_output()
    assert side.h2.take_output(ALL) == b""
    assert side.h2.scheduler.touched == before


# -- low water


def test_a_stream_is_told_of_once_when_its_queue_has_run_low():
    side = Side(window=0)
    side.opened(1)
    side.respond(1, bytes(LOW_WATER + 1), ends=False)
    side.take()
    assert side.h2.take_drained() == []
    side.h2._widen_connection(1)
    side.take()
    assert side.h2.take_drained() == [1]
    side.h2._widen_connection(LOW_WATER)
    side.take()
    assert side.h2.take_drained() == []


def test_a_stream_that_never_stood_over_the_low_water_is_not_told_of():
    side = Side(window=0)
    side.opened(1)
    side.respond(1, bytes(LOW_WATER), ends=False)
    side.h2._widen_connection(LOW_WATER)
    side.take()
    assert side.h2.take_drained() == []


def test_frames_earn_by_what_is_sent_and_not_by_what_a_window_cuts():
    """The messages of gRPC are small; so are frames of a client that opens its window octet by octet."""
    side = Side()
    stream = side.opened(1, window=100)
    side.respond(1, bytes(5), ends=False)
    side.take()
    assert side.h2.budgets.earned == EARNED
    side.h2.send(Data(bytes(200), 1))
    stream.send_window = 1
    side.take()
    assert side.h2.budgets.earned == EARNED
    side.h2._widen(stream, 1 << 16)
    side.take()
    side.h2.send(EndOfMessage(None, 1))
    side.take()
    # The rest of the content, and a stream that is over.
    assert side.h2.budgets.earned == 3 * EARNED
