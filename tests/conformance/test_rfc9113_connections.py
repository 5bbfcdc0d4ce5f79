"""RFC 9113 sections 6.5, 6.7 and 6.8, RFC 8441 section 3, RFC 9218 sections 2.1 and 7.1: what is of the connection.

All rules and the tests that hold them stand in docs/conformance-h2.md.
"""

import pytest
from tests.conformance.h2_playbook import Play, both, opened, pull, started
from tests.conformance.h2_wire import (
    ACK,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NO_RFC7540_PRIORITIES,
    OK,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    data,
    frame,
    goaway,
    headers,
    integer,
    priority_update,
    section,
    settings,
    window_update,
)

from headgate.engine.events import UNKNOWN_LENGTH, Request, Response
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import LocalProtocolError

MOST = 2**31 - 1


def ours(role, **table):
    return Play(role, **table).sent(SETTINGS)[0].settings


# -- 6.5 SETTINGS


@both
def test_rfc9113_6_5_acknowledged_settings_hold_nothing(role):
    opened(role).refuses(FRAME_SIZE_ERROR, settings((MAX_FRAME_SIZE, 16384), flags=ACK))


@both
@pytest.mark.parametrize("flags", [0, ACK])
def test_rfc9113_6_5_settings_on_a_stream(role, flags):
    opened(role).refuses(PROTOCOL_ERROR, settings(flags=flags, stream=1))


@both
@pytest.mark.parametrize("size", [1, 5, 7, 17])
def test_rfc9113_6_5_settings_of_a_length_that_is_no_multiple_of_6(role, size):
    opened(role).refuses(FRAME_SIZE_ERROR, frame(SETTINGS, 0, 0, bytes(size)))


@both
@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_rfc9113_6_5_2_enable_push_is_0_or_1(role, value):
    opened(role).refuses(PROTOCOL_ERROR, settings((ENABLE_PUSH, value)))


def test_rfc9113_6_5_2_a_server_never_allows_push():
    opened("client").refuses(PROTOCOL_ERROR, settings((ENABLE_PUSH, 1)))
    opened("client").takes(settings((ENABLE_PUSH, 0)))
    opened("server").takes(settings((ENABLE_PUSH, 1)), settings((ENABLE_PUSH, 0)))


def test_rfc9113_6_5_2_we_forbid_push_as_a_client_and_never_allow_it_as_a_server():
    assert (ENABLE_PUSH, 0) in ours("client")
    assert (ENABLE_PUSH, 1) not in ours("server")


@both
@pytest.mark.parametrize("value", [2**31, 2**32 - 1])
def test_rfc9113_6_5_2_an_initial_window_beyond_the_maximum(role, value):
    opened(role).refuses(FLOW_CONTROL_ERROR, settings((INITIAL_WINDOW_SIZE, value)))


@both
@pytest.mark.parametrize("value", [0, 16383, 2**24, 2**32 - 1])
def test_rfc9113_6_5_2_a_frame_size_out_of_range(role, value):
    opened(role).refuses(PROTOCOL_ERROR, settings((MAX_FRAME_SIZE, value)))


@both
@pytest.mark.parametrize(
    "pair",
    [
        (MAX_FRAME_SIZE, 16384),
        (MAX_FRAME_SIZE, 2**24 - 1),
        (INITIAL_WINDOW_SIZE, 0),
        (INITIAL_WINDOW_SIZE, 2**31 - 1),
        (HEADER_TABLE_SIZE, 0),
        (HEADER_TABLE_SIZE, 2**32 - 1),
        (MAX_CONCURRENT_STREAMS, 0),
        (MAX_CONCURRENT_STREAMS, 2**32 - 1),
        (MAX_HEADER_LIST_SIZE, 2**32 - 1),
        (0xBABA, 7),
    ],
)
def test_rfc9113_6_5_2_all_defined_settings_are_taken_over_their_range(role, pair):
    play = started(role)
    assert play.put(settings(pair)) == []
    assert [(found.type, found.flags) for found in play.sent() if found.type != WINDOW_UPDATE] == [
        (SETTINGS, ACK)
    ]


@both
def test_rfc9113_6_5_2_what_we_announce_is_in_range(role):
    said = ours(role)
    numbers = [number for number, _ in said]
    assert len(set(numbers)) == len(numbers)
    values = dict(said)
    assert 16384 <= values.get(MAX_FRAME_SIZE, 16384) < 2**24
    assert values.get(INITIAL_WINDOW_SIZE, 65535) < 2**31
    if role == "server":
        assert values[MAX_CONCURRENT_STREAMS] >= 100
        assert values[MAX_HEADER_LIST_SIZE] == 64 * 1024


def test_rfc9113_6_5_2_a_section_larger_than_the_peer_takes_is_not_sent():
    """Advisory, but we know it would be refused: the stream fails here, and the connection goes on."""
    play = started("client", (MAX_HEADER_LIST_SIZE, 1000))
    stream = play.ask((b"x-long", bytes(2000).replace(b"\0", b"a")))
    found = [event for event in pull(play.engine) if isinstance(event, StreamFailed)]
    assert [event.stream for event in found] == [stream]
    assert play.sent(HEADERS) == []


@both
def test_rfc9113_6_5_the_last_value_of_a_frame_counts(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.put(settings((INITIAL_WINDOW_SIZE, 5), (INITIAL_WINDOW_SIZE, 1000), (INITIAL_WINDOW_SIZE, 7)))
    play.sent()
    play.write_content(1, bytes(100))
    assert sum(len(found.payload) for found in play.sent(DATA)) == 7


@both
def test_rfc9113_6_5_3_settings_hold_at_once_and_are_acknowledged(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.put(settings((INITIAL_WINDOW_SIZE, 3)))
    play.write_content(1, bytes(100))
    sent = play.sent()
    acked = [found.type for found in sent].index(SETTINGS)
    assert sent[acked].flags == ACK
    assert sum(len(found.payload) for found in sent if found.type == DATA) == 3


@both
def test_rfc9113_6_5_3_each_frame_is_acknowledged(role):
    play = opened(role)
    play.put(settings(), settings((INITIAL_WINDOW_SIZE, 70_000)), settings())
    assert [(found.flags, found.payload) for found in play.sent(SETTINGS)] == [(ACK, b"")] * 3


@both
def test_rfc9113_6_5_3_an_acknowledgement_is_not_acknowledged(role):
    play = Play(role)
    play.put(play.start)
    play.sent()
    assert play.put(settings(flags=ACK)) == []
    assert play.sent() == []


# -- RFC 8441 section 3, RFC 9218 section 2.1


@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_rfc8441_3_enable_connect_protocol_is_0_or_1(value):
    opened("client").refuses(PROTOCOL_ERROR, settings((ENABLE_CONNECT_PROTOCOL, value)))


def test_rfc8441_3_what_was_enabled_stays_enabled():
    opened("client").takes(settings((ENABLE_CONNECT_PROTOCOL, 0)), settings((ENABLE_CONNECT_PROTOCOL, 1)))
    play = opened("client", (ENABLE_CONNECT_PROTOCOL, 1))
    play.refuses(PROTOCOL_ERROR, settings((ENABLE_CONNECT_PROTOCOL, 0)))


def test_rfc8441_3_a_server_does_not_care_what_a_client_says():
    opened("server").takes(settings((ENABLE_CONNECT_PROTOCOL, 1)))


def test_rfc8441_3_a_server_announces_it_when_it_serves_it():
    assert (ENABLE_CONNECT_PROTOCOL, 1) in ours("server", connect_protocol=True)
    assert ENABLE_CONNECT_PROTOCOL not in dict(ours("server", connect_protocol=False))


@both
@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_rfc9218_2_1_no_rfc7540_priorities_is_0_or_1(role, value):
    opened(role).refuses(PROTOCOL_ERROR, settings((NO_RFC7540_PRIORITIES, value)))


@both
def test_rfc9218_2_1_it_does_not_change_after_the_first_settings(role):
    """Ours does not. That a peer's does may be an error; priorities of RFC 7540 are never read, so it is none."""
    play = Play(role)
    said = [found.settings for found in play.sent(SETTINGS)]
    play.put(play.start, settings((NO_RFC7540_PRIORITIES, 1)), settings((NO_RFC7540_PRIORITIES, 0)))
    said += [found.settings for found in play.sent(SETTINGS)]
    assert [pairs for pairs in said[1:] if pairs] == []
    play.still_works()


def test_rfc9218_2_1_a_server_says_that_it_reads_no_priority_frames():
    assert (NO_RFC7540_PRIORITIES, 1) in ours("server")


# -- RFC 9218 section 7.1


def test_rfc9218_7_1_priority_update_on_a_stream():
    opened("server").refuses(PROTOCOL_ERROR, priority_update(1, b"u=1", on=1))


def test_rfc9218_7_1_priority_update_of_stream_0():
    opened("server").refuses(PROTOCOL_ERROR, priority_update(0, b"u=1"))


def test_rfc9218_7_1_priority_update_of_a_pushed_stream_that_is_idle():
    opened("server").refuses(PROTOCOL_ERROR, priority_update(2, b"u=1"))


def test_rfc9218_7_1_a_client_gets_no_priority_update():
    opened("client").refuses(PROTOCOL_ERROR, priority_update(1, b"u=1"))


@pytest.mark.parametrize("size", [0, 3])
def test_rfc9218_7_1_priority_update_too_short(size):
    opened("server").refuses(FRAME_SIZE_ERROR, frame(PRIORITY_UPDATE, 0, 0, bytes(size)))


def test_rfc9218_7_1_no_more_idle_streams_are_prioritised_than_may_be_open():
    play = opened("server", max_streams=4)
    for stream in (3, 5, 7):
        play.takes(priority_update(stream, b"u=1"))
    play.takes(priority_update(5, b"u=2"), priority_update(1, b"u=2"))
    play.refuses(PROTOCOL_ERROR, priority_update(9, b"u=1"))


def test_rfc9218_7_1_a_prioritised_stream_that_opens_counts_once():
    play = started("server", max_streams=2)
    for stream in range(1, 41, 2):
        play.takes(priority_update(stream, b"u=1"))
        play.takes(headers(stream, *GET, end=True))
        play.answer(stream, 204)
        play.sent()


@pytest.mark.parametrize("stream", [1, 3])
def test_rfc9218_7_1_a_priority_update_orders_what_is_sent(stream):
    """The later and urgent answer goes first; the frame may come before its stream."""
    play = started("server")
    play.put(priority_update(stream, b"u=0"))
    for number in (1, 3):
        play.put(headers(number, *GET, (b"priority", b"u=5"), end=True))
        play.answer(number, 200, UNKNOWN_LENGTH)
    play.sent()
    for number in (1, 3):
        play.write_content(number, bytes(40_000))
    order = [found.stream for found in play.sent(DATA)]
    assert order[0] == stream
    assert order[: order.count(stream)] == [stream] * order.count(stream)


# -- 6.7 PING


@both
def test_rfc9113_6_7_a_ping_is_answered_with_what_it_holds(role):
    play = opened(role)
    assert play.put(frame(PING, 0, 0, b"12345678"), frame(PING, 0, 0, b"abcdefgh")) == []
    assert [(found.flags, found.stream, found.payload) for found in play.sent(PING)] == [
        (ACK, 0, b"12345678"),
        (ACK, 0, b"abcdefgh"),
    ]


@both
def test_rfc9113_6_7_an_answer_is_not_answered(role):
    play = opened(role)
    assert play.put(frame(PING, ACK, 0, b"12345678")) == []
    assert play.sent(PING) == []


@both
@pytest.mark.parametrize("flags", [0, ACK])
def test_rfc9113_6_7_ping_on_a_stream(role, flags):
    opened(role).refuses(PROTOCOL_ERROR, frame(PING, flags, 1, bytes(8)))


@both
@pytest.mark.parametrize("size", [0, 7, 9])
@pytest.mark.parametrize("flags", [0, ACK])
def test_rfc9113_6_7_ping_of_another_length(role, flags, size):
    opened(role).refuses(FRAME_SIZE_ERROR, frame(PING, flags, 0, bytes(size)))


@both
def test_rfc9113_6_7_an_answer_goes_before_content(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.sent()
    play.write_content(1, bytes(60_000))
    play.put(frame(PING, 0, 0, b"12345678"))
    assert play.sent()[0].type == PING


@both
def test_rfc9113_6_7_a_ping_of_ours_is_not_marked_as_an_answer(role):
    play = opened(role)
    play.engine.ping(0.0)
    (found,) = play.sent(PING)
    assert (found.flags, found.stream, len(found.payload)) == (0, 0, 8)
    assert play.takes(frame(PING, ACK, 0, found.payload)) == []


# -- 6.8 GOAWAY


@both
@pytest.mark.parametrize("stream", [1, 3])
def test_rfc9113_6_8_goaway_on_a_stream(role, stream):
    opened(role).refuses(PROTOCOL_ERROR, frame(GOAWAY, 0, stream, bytes(8)))


@both
def test_rfc9113_6_8_debug_data_is_allowed(role):
    play = opened(role)
    events = play.put(goaway(1 if role == "client" else 0, NO_ERROR, b"bye"))
    assert [type(event) for event in events] == [GoingAway]


def test_rfc9113_6_8_a_client_opens_nothing_behind_goaway():
    play = started("client")
    play.ask()
    play.sent()
    (event,) = play.put(goaway(MOST))
    assert isinstance(event, GoingAway)
    assert play.engine.room == 0
    with pytest.raises(LocalProtocolError):
        play.ask()
    assert [type(event) for event in play.put(headers(1, *OK, end=True))] == [Response]


def test_rfc9113_6_8_a_last_stream_that_rises_again():
    """Requests above the first one were repeated elsewhere: they stay given up."""
    play = started("client")
    for _ in range(3):
        play.ask()
    play.sent()
    play.put(goaway(1))
    play.refuses(PROTOCOL_ERROR, goaway(5))


def going(play):
    """Ask a server to leave; answer its PING, as it may wait for the round trip. Return its GOAWAYs."""
    play.engine.go_away(play.now)
    found = play.sent()
    for ping in found:
        if ping.type == PING and not ping.flags & ACK:
            play.put(frame(PING, ACK, 0, ping.payload))
    found += play.sent()
    for _ in range(3):
        if len([one for one in found if one.type == GOAWAY]) < 2:
            play.now = max(play.now, play.engine.deadline())
            play.engine.on_deadline(play.now)
            found += play.sent()
    return [one for one in found if one.type == GOAWAY]


def test_rfc9113_6_8_a_server_leaves_in_two_steps():
    play = started("server")
    play.put(headers(1, *POST))
    first, second = going(play)
    assert (first.last, first.code) == (MOST, NO_ERROR)
    assert (second.last, second.code) == (1, NO_ERROR)
    assert play.engine.is_going_away


def test_rfc9113_6_8_requests_between_the_steps_are_served():
    play = started("server")
    play.engine.go_away(0.0)
    (first,) = play.sent(GOAWAY)
    assert first.last == MOST
    assert [type(event) for event in play.put(headers(1, *GET, end=True))] == [Request]
    play.answer(1, 204)
    assert [found.stream for found in play.sent(HEADERS)] == [1]


def test_rfc9113_6_8_the_last_stream_never_rises():
    play = started("server")
    play.put(headers(3, *POST))
    lasts = [found.last for found in going(play)]
    play.put(headers(5, *GET, end=True))
    lasts += [found.last for found in play.sent(GOAWAY)]
    lasts.append(play.refuses(PROTOCOL_ERROR, data(0)).last)
    assert lasts == sorted(lasts, reverse=True)
    assert lasts[-1] == 3


def test_rfc9113_6_8_what_comes_behind_goaway_is_not_served_but_decoded():
    play = started("server", connection_window=100_000, connection_window_limit=200_000)
    play.put(headers(1, *POST))
    going(play)
    kept = b"\x40" + integer(6, 7) + b"x-kept" + integer(3, 7) + b"yes"
    assert play.put(frame(HEADERS, END_HEADERS, 3, section(*POST) + kept)) == []
    window = 100_000
    for _ in range(50):
        assert play.put(data(3, bytes(10_000))) == []
        window -= 10_000
        window += sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 0)
        assert window >= 10_000, "DATA of such streams counts for the window of the connection"
    (event,) = play.put(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"))
    assert event.trailers.get(b"x-kept") == b"yes"
    play.answer(1, 204)
    assert [found.stream for found in play.sent(HEADERS)] == [1]


def test_rfc9113_6_8_open_streams_end_as_usual_behind_goaway():
    play = started("server")
    play.put(headers(1, *POST))
    going(play)
    play.put(data(1, b"content", end=True))
    play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, b"content")
    sent = play.sent(HEADERS, DATA, RST_STREAM)
    assert sent[0].type == HEADERS
    assert sent[-1].flags & END_STREAM


def test_rfc9113_6_8_a_client_says_goaway_before_it_leaves():
    play = started("client")
    play.engine.go_away(0.0)
    found = play.sent(GOAWAY)
    assert found
    assert {one.code for one in found} == {NO_ERROR}
    assert {one.last for one in found} <= {0, MOST}


@both
def test_rfc9113_5_4_1_nothing_is_written_behind_a_goaway_of_an_error(role):
    play = opened(role)
    play.refuses(PROTOCOL_ERROR, data(0))
    play.engine.ping(0.0)
    play.write_content(1, b"x") if role == "client" else play.answer(1, 204)
    assert play.sent() == []


@both
def test_rfc9113_5_4_1_content_that_waits_is_not_sent_behind_it_either(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.sent()
    play.write_content(1, b"content")
    play.refuses(PROTOCOL_ERROR, data(0))


# -- octet by octet


def test_rfc9113_4_1_a_connection_read_octet_by_octet():
    play = Play("server")
    events = []
    octets = PREFACE + settings() + headers(1, *POST) + data(1, b"abc") + data(1, b"def", end=True)
    octets += window_update(0, 5) + frame(PRIORITY, 0, 1, bytes(5)) + headers(3, *GET, end=True)
    for at in range(len(octets)):
        events += play.put(octets[at : at + 1])
    assert [type(event).__name__ for event in events if type(event).__name__ != "Data"] == [
        "Request",
        "EndOfMessage",
        "Request",
    ]
