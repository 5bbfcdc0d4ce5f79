"""The reading half, as a server mostly; test_client has the other role, test_sender the writing half."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.h3.peers import GET, POST, Peer, data, headers, settings

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h3.base import MAX_AGE_SECONDS, MAX_REQUESTS
from headgate.engine.h3.budget import ENCODER_SECONDS, MAX_ENCODER_OCTETS, MAX_GLITCHES
from headgate.engine.h3.connection import MAX_HEADERS_FRAME
from headgate.engine.h3.errors import (
    H3_CLOSED_CRITICAL_STREAM,
    H3_EXCESSIVE_LOAD,
    H3_FRAME_ERROR,
    H3_FRAME_UNEXPECTED,
    H3_ID_ERROR,
    H3_MESSAGE_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_INCOMPLETE,
    H3_REQUEST_REJECTED,
    H3_STREAM_CREATION_ERROR,
    QPACK_DECOMPRESSION_FAILED,
    H3ConnectionError,
)
from headgate.engine.h3.frames import (
    CANCEL_PUSH,
    FRAME_MAX_PUSH_ID,
    GOAWAY,
    HEADERS,
    PRIORITY_UPDATE_REQUEST,
    PUSH_PROMISE,
    SETTINGS,
    encode_frame,
    encode_head,
)
from headgate.engine.h3.settings import H3Settings
from headgate.engine.message.events import GoingAway, RequestRefused, StreamFailed
from headgate.engine.message.integers import encode_integer, encode_string
from headgate.engine.message.lines import MAX_FIELD_SECTION, MAX_SECTION_LINES
from headgate.engine.message.priority import MAX_PENDING_PRIORITIES
from headgate.engine.varint import encode_varint
from headgate.http.fields import Fields


def fails(code, call, *arguments):
    with pytest.raises(H3ConnectionError) as caught:
        call(*arguments)
    assert caught.value.code == code


def shown(events):
    """Return events as text, with content as it is."""
    return [event.data if isinstance(event, Data) else repr(event) for event in events]


def answer(stream, status=200, body=0):
    return Response(status, b"", 11, Fields([], []), body, stream)


# -- messages


def test_a_request_without_content():
    peer = Peer()
    events = peer.ask(*GET)
    assert shown(events) == ["<Request GET / body=0>"]
    assert events[0].host == b"a.test"
    assert repr(peer.engine) == "<H3Connection server requests=1 open=1>"


def test_a_request_whose_end_comes_later():
    peer = Peer()
    assert peer.ask(*GET, fin=False)[0].body == UNKNOWN_LENGTH
    peer.feed(0, b"", fin=True)
    assert shown(peer.events()) == ["<EndOfMessage>"]


def test_content_and_trailers():
    peer = Peer()
    peer.feed(0, headers(*POST) + data(b"ab") + encode_frame(0x21, b"x") + data(b"cd"))
    peer.feed(0, data(b"ef") + headers((b"digest", b"x")), fin=True)
    events = peer.events()
    assert shown(events)[:3] == ["<Request POST / body=-1>", b"abcd", b"ef"]
    assert events[3].trailers.lines == [b"digest: x"]
    assert [event.stream for event in events] == [0, 0, 0, 0]


def test_content_of_a_known_length():
    peer = Peer()
    assert shown(peer.ask(*POST, (b"content-length", b"4"), content=b"abcd")) == [
        "<Request POST / body=4>",
        b"abcd",
        "<EndOfMessage>",
    ]


def test_an_empty_content_has_no_end():
    peer = Peer()
    assert shown(peer.ask(*POST, (b"content-length", b"0"), fin=False)) == ["<Request POST / body=0>"]
    peer.feed(0, b"", fin=True)
    assert peer.events() == []


@pytest.mark.parametrize(
    ("length", "contents"),
    [(b"3", [b"abcd"]), (b"5", [b"abcd"]), (b"0", [b"a"]), (b"4", [b"abcd", b"e"]), (b"4", [])],
)
def test_rfc9114_4_1_2_content_that_does_not_fit_its_length(length, contents):
    """The request was not taken yet: it is taken back, so that nobody begins to forward it."""
    peer = Peer()
    peer.feed(0, headers(*POST, (b"content-length", length)) + b"".join(map(data, contents)), fin=True)
    assert shown(peer.events()) == [f"<StreamFailed 0 {H3_MESSAGE_ERROR:#x} malformed>"]
    assert peer.engine.take_resets() == [(0, H3_MESSAGE_ERROR)]
    assert peer.engine.take_stops() == []
    assert peer.engine.streams == {}


def test_rfc9114_4_1_2_a_malformed_request_ends_its_stream_alone():
    peer = Peer()
    peer.feed(0, headers(*GET, (b"connection", b"close")) + data(b"x"))
    assert shown(peer.events()) == [f"<StreamFailed 0 {H3_MESSAGE_ERROR:#x} malformed>"]
    assert (peer.engine.take_resets(), peer.engine.take_stops()) == (
        [(0, H3_MESSAGE_ERROR)],
        [(0, H3_MESSAGE_ERROR)],
    )
    peer.feed(0, b"whatever comes")
    assert peer.events() == []
    peer.feed(0, b"", fin=True)
    assert peer.engine.streams == {}
    assert shown(peer.ask(*GET, stream=4)) == ["<Request GET / body=0>"]


def test_rfc9114_4_3_pseudo_fields_in_trailers():
    peer = Peer()
    peer.feed(0, headers(*POST) + data(b"x") + headers((b":path", b"/")), fin=True)
    assert shown(peer.events()) == [f"<StreamFailed 0 {H3_MESSAGE_ERROR:#x} malformed>"]


@pytest.mark.parametrize("octets", [b"", encode_frame(0x21, b"")])
def test_rfc9114_4_1_a_stream_without_a_whole_request(octets):
    peer = Peer()
    peer.feed(0, octets, fin=True)
    assert shown(peer.events()) == [f"<StreamFailed 0 {H3_REQUEST_INCOMPLETE:#x} incomplete>"]
    assert peer.engine.take_resets() == [(0, H3_REQUEST_INCOMPLETE)]


@given(st.lists(st.integers(0, 90), max_size=6))
def test_a_stream_means_the_same_in_any_pieces(cuts):
    octets = (
        headers(*POST)
        + data(b"hello")
        + encode_frame(0x40, b"skip")
        + data(b"x" * 20)
        + headers((b"a", b"b"))
    )
    cuts = sorted(min(cut, len(octets)) for cut in cuts)
    peer = Peer()
    for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        peer.feed(0, octets[a:b])
    peer.feed(0, b"", fin=True)
    events = peer.events()
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"hello" + b"x" * 20
    assert isinstance(events[0], Request)
    assert isinstance(events[-1], EndOfMessage)
    assert events[-1].trailers.lines == [b"a: b"]


# -- frames in the wrong place


@pytest.mark.parametrize(
    "octets",
    [
        data(b"x"),
        headers(*GET) + headers((b"a", b"b")) + headers((b"a", b"b")),
        headers(*GET) + headers((b"a", b"b")) + data(b"x"),
        headers((b":method", b"CONNECT"), (b":authority", b"a:1")) + headers((b"a", b"b")),
    ],
)
def test_rfc9114_4_1_an_invalid_sequence_of_frames(octets):
    peer = Peer()
    fails(H3_FRAME_UNEXPECTED, peer.feed, 0, octets)
    assert peer.engine.failed
    peer.feed(0, octets)  # nothing is read any more
    peer.engine.receive_reset(2, 0, 0.0)


@pytest.mark.parametrize(
    "kind",
    [CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, FRAME_MAX_PUSH_ID, PRIORITY_UPDATE_REQUEST, 2, 6, 8, 9],
)
def test_rfc9114_7_2_frames_that_may_not_be_on_a_request_stream(kind):
    fails(H3_FRAME_UNEXPECTED, Peer().feed, 0, headers(*GET) + encode_frame(kind, b"\0"))


@pytest.mark.parametrize("cut", [1, 3])
def test_rfc9114_7_1_a_stream_that_ends_inside_a_frame(cut):
    fails(H3_FRAME_ERROR, Peer().feed, 0, headers(*GET)[:-cut], True)
    fails(H3_FRAME_ERROR, Peer().feed, 0, headers(*GET) + data(b"abcdef")[:-cut], True)


def test_rfc9204_2_2_3_a_section_that_cannot_be_decoded_ends_the_connection():
    fails(QPACK_DECOMPRESSION_FAILED, Peer().feed, 0, encode_frame(HEADERS, b"\0\0\x80"))


# -- limits of messages


def test_an_encoded_section_at_the_limit_and_one_more():
    peer = Peer()
    peer.feed(0, encode_head(HEADERS, MAX_HEADERS_FRAME))
    assert peer.events() == []
    peer.feed(4, encode_head(HEADERS, MAX_HEADERS_FRAME + 1))
    assert shown(peer.events()) == [f"<StreamFailed 4 {H3_EXCESSIVE_LOAD:#x} head-too-large>"]
    assert peer.engine.take_stops() == [(4, H3_EXCESSIVE_LOAD)]
    peer.feed(4, b"x" * 5000)
    assert sum(octets for stream, octets in peer.engine.take_consumed() if stream == 4) == 5005


def test_a_section_beyond_the_limit_is_refused_and_can_be_answered():
    size = MAX_FIELD_SECTION - sum(len(a) + len(b) + 32 for a, b in GET) - 33
    peer = Peer()
    assert isinstance(peer.ask(*GET, (b"x", b"y" * size))[0], Request)
    peer.feed(4, headers(*GET, (b"x", b"y" * (size + 1))) + b"more")
    assert shown(peer.events()) == ["<RequestRefused 4 431 head-too-large>"]
    assert (peer.engine.take_stops(), peer.engine.take_resets()) == ([(4, H3_NO_ERROR)], [])
    peer.take()
    peer.engine.send(answer(4, 431))
    assert list(peer.take()) == [4]
    assert peer.ended == {4}


def test_lines_beyond_the_limit_are_refused_and_so_are_trailers():
    peer = Peer()
    many = [(b"a%d" % i, b"") for i in range(MAX_SECTION_LINES + 1)]
    assert isinstance(peer.ask(*GET, *many[: MAX_SECTION_LINES - 4])[0], Request)
    assert shown(peer.ask(*GET, *many, stream=4)) == ["<RequestRefused 4 431 head-too-large>"]
    peer.feed(8, headers(*POST))
    peer.events()
    peer.feed(8, headers(*many), fin=True)
    assert shown(peer.events()) == [f"<StreamFailed 8 {H3_EXCESSIVE_LOAD:#x} head-too-large>"]


def test_empty_frames_at_the_limit_and_one_more():
    peer = Peer()
    peer.feed(0, headers(*POST) + data(b"") * MAX_GLITCHES)
    fails(H3_EXCESSIVE_LOAD, peer.feed, 0, data(b""))


def test_what_carries_content_earns_what_does_not():
    peer = Peer()
    peer.feed(0, headers(*POST) + (data(b"x") + data(b"")) * (MAX_GLITCHES * 2))
    assert len(peer.events()[1].data) == MAX_GLITCHES * 2


# -- flow control


def test_what_is_used_up_here_is_told_and_content_is_not():
    peer = Peer()
    head = headers(*POST)
    peer.engine.take_consumed()
    peer.feed(0, head[:10])
    assert peer.engine.take_consumed() == [(0, 2)]  # the frame's head; its payload is still held
    peer.feed(0, head[10:] + data(b"abc") + data(b"de")[:-1])
    assert peer.engine.take_consumed() == [(0, len(head) - 2 + 4)]
    peer.feed(0, b"e" + encode_frame(0x21, b"xyz"))
    assert peer.engine.take_consumed() == [(0, 5)]


def test_all_of_a_stream_that_failed_is_used_up():
    peer = Peer()
    peer.engine.take_consumed()
    octets = headers(*POST, (b"content-length", b"9")) + data(b"abc") + data(b"x" * 7)
    peer.feed(0, octets)
    peer.feed(0, b"more")
    assert sum(octets for _, octets in peer.engine.take_consumed()) == len(octets) + 4


# -- resets


def test_a_client_that_resets_its_request():
    peer = Peer()
    peer.ask(*POST, fin=False)
    peer.engine.receive_reset(0, H3_REQUEST_CANCELLED, 0.0)
    (event,) = peer.events()
    assert (event.code, event.reason, event.by_peer) == (H3_REQUEST_CANCELLED, "reset", True)
    assert (peer.engine.take_resets(), peer.engine.take_stops()) == ([(0, H3_REQUEST_CANCELLED)], [])
    assert peer.engine.streams == {}
    peer.engine.send(answer(0))  # too late: dropped
    assert 0 not in peer.take()


def test_a_client_that_wants_no_answer():
    peer = Peer()
    peer.ask(*GET)
    peer.engine.receive_stop(0, H3_REQUEST_CANCELLED)
    assert shown(peer.events()) == [f"<StreamFailed 0 {H3_REQUEST_CANCELLED:#x} stopped>"]
    assert peer.engine.take_resets() == []
    assert peer.engine.streams == {}


def test_a_reset_of_a_stream_that_nobody_knows():
    peer = Peer()
    peer.engine.receive_reset(400, 0, 0.0)
    peer.engine.receive_stop(400, 0)
    assert peer.events() == []


def test_a_stream_that_quic_forgot():
    peer = Peer()
    peer.ask(*GET)
    peer.engine.forget(0)
    assert peer.engine.streams == {}


def test_an_exchange_that_is_given_up():
    peer = Peer()
    peer.ask(*POST, fin=False)
    peer.feed(0, data(b"abc"))
    peer.engine.abort(0)
    assert peer.events() == []
    assert (len(peer.engine.take_resets()), len(peer.engine.take_stops())) == (1, 1)
    peer.engine.abort(0)
    assert peer.engine.take_resets() == []
    peer.engine.receive_reset(0, 0, 0.0)
    assert peer.engine.streams == {}
    assert peer.events() == []


# -- unidirectional streams


def test_rfc9114_6_2_unknown_streams_are_stopped_not_read():
    peer = Peer()
    peer.feed(6, b"\x40")
    peer.feed(6, b"\x54" + b"x" * 5000)
    assert peer.engine.take_stops() == [(6, H3_STREAM_CREATION_ERROR)]
    peer.feed(6, b"more", fin=True)
    assert peer.engine._uni.keys() == {2}


@pytest.mark.parametrize("begin", [b"\x21", b"", b"\x40"], ids=["unknown", "nothing", "half a type"])
def test_unknown_streams_at_the_limit_and_one_more(begin):
    peer = Peer()
    for i in range(MAX_GLITCHES):
        peer.feed(6 + 4 * i, begin, fin=True)
    with pytest.raises(H3ConnectionError) as caught:
        peer.feed(6, begin, fin=True)
    assert caught.value.code == H3_EXCESSIVE_LOAD


def test_resets_of_unknown_streams_at_the_limit_and_one_more():
    peer = Peer()
    for i in range(MAX_GLITCHES):
        peer.engine.receive_reset(6 + 4 * i, 0, 0.0)
    fails(H3_EXCESSIVE_LOAD, peer.engine.receive_reset, 6, 0, 0.0)
    assert peer.engine.failed


def test_rfc9114_6_2_a_stream_that_ends_before_its_type():
    peer = Peer()
    peer.feed(6, b"", fin=True)
    peer.feed(10, b"\x40", fin=True)
    peer.feed(14, b"\x40")
    peer.engine.receive_reset(14, 0, 0.0)
    assert peer.engine._uni.keys() == {2}


@pytest.mark.parametrize("kind", [b"\x00", b"\x02", b"\x03"])
def test_rfc9114_6_2_1_a_second_critical_stream(kind):
    peer = Peer()
    peer.feed(6, b"\x02")
    peer.feed(10, b"\x03")
    fails(H3_STREAM_CREATION_ERROR, peer.feed, 14, kind)


@pytest.mark.parametrize("kind", [b"\x00" + settings(), b"\x02", b"\x03"])
def test_rfc9114_6_2_1_a_critical_stream_that_is_closed(kind):
    for end in ("fin", "late fin", "reset"):
        peer = Peer(hello=False)
        if end == "fin":
            fails(H3_CLOSED_CRITICAL_STREAM, peer.feed, 6, kind, True)
            continue
        peer.feed(6, kind)
        if end == "reset":
            fails(H3_CLOSED_CRITICAL_STREAM, peer.engine.receive_reset, 6, 0, 0.0)
        else:
            fails(H3_CLOSED_CRITICAL_STREAM, peer.feed, 6, b"", True)
        assert peer.engine.failed


def test_rfc9114_6_2_1_our_critical_streams_may_not_be_stopped():
    fails(H3_CLOSED_CRITICAL_STREAM, Peer().engine.receive_stop, 3, 0)


def test_rfc9114_6_2_2_push_streams():
    fails(H3_STREAM_CREATION_ERROR, Peer().feed, 6, b"\x01\x00")
    fails(H3_ID_ERROR, Peer(is_client=True).feed, 7, b"\x01\x00")


def test_rfc9114_6_1_bidirectional_streams_of_a_server():
    fails(H3_STREAM_CREATION_ERROR, Peer(is_client=True).feed, 1, b"")


# -- QPACK's streams


def insertion(name, value):
    return encode_string(name, 6, 0x40) + encode_string(value, 8)


def test_a_section_that_waits_for_the_encoder_stream():
    peer = Peer(settings=H3Settings(table_capacity=4096, blocked_streams=1))
    pseudo = b"\xd1\xd7\x50\x06a.test\xc1"
    octets = encode_frame(HEADERS, b"\x02\x00" + pseudo + b"\x80") + data(b"abc")
    peer.engine.take_consumed()
    peer.feed(0, octets, fin=True)
    assert peer.events() == []
    assert peer.engine.take_consumed() == [(0, 2)]
    peer.feed(6, b"\x02\x3f\xe1\x1f" + insertion(b"x-a", b"b"))
    events = peer.events()
    assert shown(events) == ["<Request GET / body=-1>", b"abc", "<EndOfMessage>"]
    assert events[0].fields.get(b"x-a") == b"b"
    assert sum(octets for stream, octets in peer.engine.take_consumed() if stream == 0) == len(octets) - 5
    # our decoder stream: its type, the increment that came first, the acknowledgment
    assert peer.take()[11] == b"\x03\x01\x80"


def test_a_stream_that_waits_is_reset():
    peer = Peer(settings=H3Settings(table_capacity=4096, blocked_streams=1))
    peer.feed(0, encode_frame(HEADERS, b"\x02\x00\x80"))
    peer.engine.receive_reset(0, H3_REQUEST_CANCELLED, 0.0)
    assert peer.take()[11] == b"\x03\x40"
    peer.feed(4, encode_frame(HEADERS, b"\x02\x00\x80"))  # there is room for another one to wait
    peer.feed(6, b"\x02\x3f\xe1\x1f" + insertion(b"x-a", b"b"))
    assert [event.stream for event in peer.events()] == [0, 4]


def test_instructions_at_the_limit_and_one_more():
    peer = Peer(settings=H3Settings(table_capacity=4096))
    peer.feed(6, b"\x02")
    capacity = encode_integer(64, 5, 0x20)
    count = MAX_ENCODER_OCTETS // len(capacity)
    peer.feed(6, capacity * count)
    peer.now = ENCODER_SECONDS
    peer.feed(6, capacity * count)
    fails(H3_EXCESSIVE_LOAD, peer.feed, 6, capacity)


# -- priorities


def update(stream, value):
    return encode_frame(PRIORITY_UPDATE_REQUEST, encode_varint(stream) + value)


def test_rfc9218_the_field_and_the_frame():
    peer = Peer()
    peer.ask(*GET, (b"priority", b"u=1"))
    assert peer.engine.take_priorities() == [(0, 2)]
    peer.feed(2, update(0, b"u=5"))
    assert peer.engine.take_priorities() == [(0, 10)]
    peer.feed(2, update(4, b"u=0"))
    assert peer.engine.take_priorities() == []
    peer.ask(*GET, (b"priority", b"u=7"), stream=4)
    assert peer.engine.take_priorities() == [(4, 0)]  # section 7: the frame overrides the field


def test_priorities_of_streams_to_come_at_the_limit_and_one_more():
    peer = Peer()
    for i in range(MAX_PENDING_PRIORITIES + 1):
        peer.feed(2, update(4 * i, b"u=0"))
    assert len(peer.engine._pending) == MAX_PENDING_PRIORITIES
    peer.ask(*GET, stream=0)
    assert peer.engine.take_priorities() == []  # the oldest was dropped
    peer.ask(*GET, stream=4)
    assert peer.engine.take_priorities() == [(4, 0)]


# -- leaving


def test_rfc9114_5_2_after_goaway_requests_are_rejected_unread():
    peer = Peer()
    peer.ask(*GET, stream=4)
    peer.take()
    peer.engine.go_away()
    assert peer.take() == {3: encode_frame(GOAWAY, b"\x08")}
    peer.engine.go_away()
    assert peer.take() == {}
    assert shown(peer.ask(*GET, stream=0)) == ["<Request GET / body=0>"]
    assert peer.ask(*GET, stream=8) == []
    assert (peer.engine.take_resets(), peer.engine.take_stops()) == (
        [(8, H3_REQUEST_REJECTED)],
        [(8, H3_REQUEST_REJECTED)],
    )
    assert peer.engine.streams.keys() == {0, 4}


def test_requests_at_the_limit_and_one_more():
    peer = Peer(max_requests=3)
    for stream in (0, 4, 8):
        assert len(peer.ask(*GET, stream=stream)) == 1
    assert peer.take()[3].endswith(encode_frame(GOAWAY, b"\x0c"))
    assert peer.ask(*GET, stream=12) == []
    assert (MAX_REQUESTS, MAX_AGE_SECONDS) == (10_000, 3600.0)


def test_the_age_of_a_connection_at_the_limit_and_later():
    peer = Peer()
    peer.now = MAX_AGE_SECONDS - 1
    peer.ask(*GET)
    assert not peer.take()[3].endswith(encode_frame(GOAWAY, b"\x04"))
    peer.now = MAX_AGE_SECONDS
    assert len(peer.ask(*GET, stream=4)) == 1
    assert peer.take()[3] == encode_frame(GOAWAY, b"\x08")


def test_a_client_that_leaves():
    peer = Peer()
    peer.feed(2, encode_frame(GOAWAY, b"\x00"))
    assert [type(event) for event in peer.events()] == [GoingAway]


def test_events_of_other_streams_survive_a_failure():
    peer = Peer()
    peer.feed(0, headers(*GET), fin=True)
    peer.feed(4, headers(*POST) + data(b"x"))
    peer.feed(8, headers(*GET), fin=True)
    assert isinstance(peer.engine.next_event(), Request)
    peer.engine.receive_reset(4, 0, 0.0)
    events = peer.events()
    assert [event.stream for event in events] == [8, 4]
    assert isinstance(events[1], StreamFailed)
    assert not any(isinstance(event, RequestRefused) for event in events)
