"""RFC 9113 sections 5.1, 5.4, 5.5, 7 and 8.7: states of streams, their numbers and how many, errors, extensions.

All rules and the tests that hold them stand in docs/conformance-h2.md.
"""

import pytest
from tests.conformance.h2_playbook import FIRST, both, half_closed, opened, pull, started
from tests.conformance.h2_wire import (
    ACK,
    CANCEL,
    CONNECT_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    OK,
    POST,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    UNKNOWN,
    WINDOW_UPDATE,
    data,
    frame,
    goaway,
    headers,
    integer,
    reset,
    section,
    settings,
    window_update,
)

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h2.errors import H2ConnectionError
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import LocalProtocolError


def closed(role):
    """Stream 1 ended in both directions."""
    play = half_closed(role)
    if role == "client":
        play.write_content(1, b"")
    else:
        play.answer(1, 204)
    play.sent()
    assert 1 not in play.engine.streams, "nothing is kept of a stream that is over"
    return play


# -- 5.1 idle


@both
@pytest.mark.parametrize("stream", [5, 6])
@pytest.mark.parametrize(
    "make", [lambda s: data(s, b"x"), lambda s: data(s, b"", end=True), reset, lambda s: window_update(s, 1)]
)
def test_rfc9113_5_1_idle_takes_headers_and_priority_only(role, make, stream):
    opened(role).refuses(PROTOCOL_ERROR, make(stream))


@both
def test_rfc9113_5_1_idle_takes_no_continuation(role):
    opened(role).refuses(PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 5, b""))


def test_rfc9113_5_1_headers_on_an_idle_stream_of_a_server():
    """Seen by the server: a client cannot open an even one. Seen by the client: nothing was promised."""
    started("server").refuses(PROTOCOL_ERROR, headers(2, *GET, end=True))
    opened("client").refuses(PROTOCOL_ERROR, headers(2, *OK, end=True))


def test_rfc9113_5_1_an_answer_on_a_stream_that_was_never_asked():
    opened("client").refuses(PROTOCOL_ERROR, headers(3, *OK, end=True))


# -- 5.1 half-closed (remote) and closed


@both
@pytest.mark.parametrize("more", [data(1, b"x"), data(1, b"", end=True), headers(1, (b"a", b"b"), end=True)])
def test_rfc9113_5_1_half_closed_takes_no_more_of_the_message(role, more):
    half_closed(role).resets(1, STREAM_CLOSED, more)


@both
def test_rfc9113_5_1_half_closed_takes_window_updates_priority_and_reset(role):
    play = half_closed(role)
    play.takes(window_update(1, 5), frame(PRIORITY, 0, 1, bytes(5)))
    failed = [(event.stream, event.by_peer) for event in play.put(reset(1))]
    assert failed == ([(1, True)] if role == "server" else []), "an answer that is whole is kept"
    play.still_works()


@both
def test_rfc9113_5_1_half_closed_goes_on_in_the_other_direction(role):
    play = half_closed(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, b"content")
    sent = play.sent(DATA, RST_STREAM)
    assert b"".join(found.payload for found in sent) == b"content"
    assert sent[-1].flags == END_STREAM


@both
def test_rfc9113_5_1_half_closed_by_us_sends_nothing_more_of_the_message(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, b"content")
    play.sent()
    for event in (Data(b"x", 1), EndOfMessage(None, 1)):
        with pytest.raises(LocalProtocolError):
            play.engine.send(event)
    assert play.sent() == []
    if role == "client":
        play.put(headers(1, *OK))
    assert [event.data for event in play.put(data(1, b"still")) if isinstance(event, Data)] == [b"still"]


@both
def test_rfc9113_5_1_window_updates_and_resets_of_a_closed_stream_are_no_error(role):
    play = closed(role)
    assert play.takes(window_update(1, 5), reset(1), frame(PRIORITY, 0, 1, bytes(5))) == []
    play.still_works()


@both
@pytest.mark.parametrize("more", [data(1, b"x"), headers(1, (b"a", b"b"), end=True)])
def test_rfc9113_5_1_closed_by_both_ends_takes_no_more_of_the_message(role, more):
    """Of DATA section 6.1 asks for a stream error; any stream error may be one of the connection (5.4.1)."""
    closed(role).breaks(1, (STREAM_CLOSED,), more)


@both
def test_rfc9113_5_1_what_comes_behind_our_reset_is_read_away(role):
    """It was under way: sections stay in step, and DATA counts for the window of the connection."""
    play = opened(role)
    before = 0
    play.engine.abort(1, CANCEL)
    (found,) = play.sent(RST_STREAM)
    assert found.code == CANCEL
    if role == "client":
        assert play.takes(headers(1, *OK)) == []
    for _ in range(200):
        assert play.takes(data(1, bytes(16000))) == []
        before += sum(found.number for found in play.sent(WINDOW_UPDATE) if found.stream == 0)
    assert before > 200 * 16000 - (4 << 20), "the window of the connection was not opened again"
    assert play.takes(headers(1, (b"a", b"b"), end=True)) == []
    assert play.takes(window_update(1, 1), reset(1)) == []
    play.still_works()


@both
@pytest.mark.parametrize("end", [True, False])
def test_rfc9113_5_1_the_rest_of_a_frame_comes_behind_our_reset(role, end):
    play = opened(role)
    if role == "client":
        play.put(headers(1, *OK))
    whole = data(1, b"content", end=end)
    play.put(whole[:12])
    play.engine.abort(1)
    play.sent()
    assert play.takes(whole[12:]) == []
    play.still_works()


@both
def test_rfc9113_5_1_nothing_is_sent_on_a_closed_stream(role):
    play = closed(role)
    play.engine.abort(1)
    play.engine.consumed(1, 0)
    assert [found for found in play.sent() if found.stream == 1] == []
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
        play.write_content(1, b"x")
        assert play.sent() == []


# -- 5.1.1 identifiers


def test_rfc9113_5_1_1_a_client_takes_odd_numbers_that_grow():
    play = started("client")
    assert [play.ask() for _ in range(4)] == [1, 3, 5, 7]
    assert [stream for stream, _ in play.sections()] == [1, 3, 5, 7]


def test_rfc9113_5_1_1_a_number_may_not_come_again_or_fall():
    play = started("server")
    play.put(headers(5, *GET, end=True))
    play.refuses(PROTOCOL_ERROR, headers(3, *GET, end=True))


def test_rfc9113_5_1_1_numbers_that_were_left_out_are_closed():
    play = started("server")
    play.put(headers(9, *GET, end=True))
    play.breaks(7, (PROTOCOL_ERROR, STREAM_CLOSED), data(7, b"x"))


def test_rfc9113_5_1_1_an_unknown_odd_number_may_be_any():
    play = started("server")
    (event,) = play.put(headers(2**31 - 1, *GET, end=True))
    assert event.stream == 2**31 - 1


@pytest.mark.parametrize("stream", [0, 2, 2**31 - 2])
def test_rfc9113_5_1_1_a_client_opens_no_even_number(stream):
    started("server").refuses(PROTOCOL_ERROR, headers(stream, *GET, end=True))


# -- 5.1.2 concurrency


def test_rfc9113_5_1_2_a_stream_too_many_is_refused():
    play = started("server", max_streams=3)
    for stream in (1, 3, 5):
        play.takes(headers(stream, *POST))
    assert play.put(headers(7, *POST)) == []
    (found,) = play.sent(RST_STREAM, GOAWAY)
    assert (found.type, found.stream, found.code) == (RST_STREAM, 7, REFUSED_STREAM)
    assert play.takes(data(7, b"x", end=True)) == []
    play.put(data(1, b"", end=True))
    play.answer(1, 204)
    play.sent()
    assert [type(event) for event in play.takes(headers(9, *GET, end=True))] == [Request]


def test_rfc9113_5_1_2_a_section_of_a_refused_stream_is_decoded():
    play = started("server", max_streams=1)
    play.takes(headers(1, *POST))
    kept = b"\x40" + integer(6, 7) + b"x-kept" + integer(3, 7) + b"yes"
    play.put(frame(HEADERS, END_HEADERS | END_STREAM, 3, section(*GET) + kept))
    play.put(data(1, b"", end=True))
    play.answer(1, 204)
    play.sent()
    (event,) = play.takes(frame(HEADERS, END_HEADERS | END_STREAM, 5, section(*GET) + b"\xbe"))
    assert event.fields.get(b"x-kept") == b"yes"


def test_rfc9113_5_1_2_half_closed_streams_count():
    play = started("server", max_streams=1)
    play.takes(headers(1, *GET, end=True))
    play.put(headers(3, *GET, end=True))
    assert [(found.stream, found.code) for found in play.sent(RST_STREAM)] == [(3, REFUSED_STREAM)]


def test_rfc9113_5_1_2_a_client_opens_no_more_than_the_server_takes():
    play = started("client", (MAX_CONCURRENT_STREAMS, 2))
    assert play.engine.room == 2
    play.ask()
    play.ask()
    assert play.engine.room == 0
    with pytest.raises(LocalProtocolError):
        play.ask()
    play.sent()
    play.put(headers(1, *OK, end=True))
    assert play.engine.room == 1
    play.ask()
    play.put(settings((MAX_CONCURRENT_STREAMS, 1)))
    assert play.engine.room <= 0
    play.put(headers(3, *OK, end=True))
    assert play.engine.room <= 0


def test_rfc9113_5_1_2_none_at_all_is_a_limit_like_others():
    play = started("client", (MAX_CONCURRENT_STREAMS, 0))
    assert play.engine.room == 0
    play.put(settings((MAX_CONCURRENT_STREAMS, 1)))
    assert play.engine.room == 1


# -- 5.4 errors


@both
def test_rfc9113_5_4_1_a_connection_error_tells_the_last_stream(role):
    play = started(role)
    if role == "client":
        play.ask()
        play.sent()
        assert play.refuses(PROTOCOL_ERROR, data(0)).last == 0
    else:
        play.put(headers(7, *GET, end=True))
        assert play.refuses(PROTOCOL_ERROR, data(0)).last == 7


@both
def test_rfc9113_5_4_a_connection_error_behind_a_stream_error_is_told(role):
    play = opened(role)
    found = play.refuses(PROTOCOL_ERROR, frame(PRIORITY, 0, 1, bytes(4)), data(0))
    assert found.type == GOAWAY


@both
def test_rfc9113_5_4_events_before_a_connection_error_are_not_lost(role):
    play = opened(role)
    if role == "client":
        play.put(headers(1, *OK))
    with pytest.raises(H2ConnectionError):
        play.engine.receive(data(1, b"content") + data(0), 0.0)
    found = pull(play.engine)
    assert [event.data for event in found if isinstance(event, Data)] in ([], [b"content"])
    assert not any(isinstance(event, EndOfMessage) for event in found)


@both
def test_rfc9113_5_4_2_a_stream_error_is_told_once(role):
    play = opened(role)
    if role == "client":
        play.put(headers(1, *OK))
    play.resets(1, PROTOCOL_ERROR, headers(1, (b"Upper", b"case"), end=True))
    assert play.takes(headers(1, (b"Upper", b"case"), end=True), data(1, b"x")) == []


@both
def test_rfc9113_5_4_2_a_reset_is_not_answered_with_a_reset(role):
    play = opened(role)
    (event,) = play.put(reset(1, INTERNAL_ERROR))
    assert (event.stream, event.code, event.by_peer) == (1, INTERNAL_ERROR, True)
    assert play.sent(RST_STREAM, GOAWAY) == []
    assert play.takes(reset(1)) == []


@both
def test_rfc9113_5_4_2_all_other_streams_go_on(role):
    play = opened(role)
    other = play.ask() if role == "client" else 3
    play.sent()
    if role == "client":
        play.put(headers(1, *OK))
    play.put(headers(other, *FIRST[role]), headers(1, (b"Upper", b"case"), end=True))
    (event, *_) = play.put(data(other, b"content"))
    assert (event.stream, event.data) == (other, b"content")


@both
def test_rfc9113_5_4_3_the_end_of_the_connection_fails_what_was_open(role):
    play = opened(role)
    play.engine.receive_eof(0.0)
    found = pull(play.engine)
    assert [(event.stream, event.by_peer) for event in found if isinstance(event, StreamFailed)] == [
        (1, True)
    ]
    assert all(event.code != REFUSED_STREAM for event in found if isinstance(event, StreamFailed))


# -- 5.5 extensions, 7 error codes


@both
def test_rfc9113_5_5_unknown_settings_are_ignored(role):
    play = opened(role)
    assert play.put(settings((0, 1), (0x0A, 7), (0xFFFF, 2**32 - 1))) == []
    assert [(found.type, found.flags) for found in play.sent()] == [(SETTINGS, ACK)]


@both
@pytest.mark.parametrize("code", [0x0E, 0xDEAD, 2**32 - 1])
def test_rfc9113_7_unknown_error_codes_are_nothing_special(role, code):
    play = opened(role)
    (event,) = play.put(reset(1, code))
    assert isinstance(event, StreamFailed)
    assert event.code == code
    (event,) = play.put(goaway(2**31 - 1 if role == "client" else 0, code))
    assert isinstance(event, GoingAway)
    assert not play.engine.failed


@both
@pytest.mark.parametrize("code", range(14))
def test_rfc9113_7_every_code_ends_a_stream(role, code):
    play = opened(role)
    (event,) = play.put(reset(1, code))
    assert (event.code, event.by_peer) == (code, True)
    play.still_works()


# -- 8.7 request reliability


def test_rfc9113_8_7_what_was_handed_out_is_never_called_refused():
    play = started("server")
    play.put(headers(1, *POST))
    play.engine.abort(1, CONNECT_ERROR)
    (found,) = play.sent(RST_STREAM)
    assert found.code == CONNECT_ERROR
    play.put(headers(3, *POST))
    play.malforms(3, headers(3, (b"Upper", b"case"), end=True))


def test_rfc9113_8_7_goaway_names_all_that_was_handed_out():
    play = started("server")
    for stream in (1, 3, 11):
        play.put(headers(stream, *POST))
    assert play.refuses(PROTOCOL_ERROR, data(0)).last >= 11


def test_rfc9113_8_7_what_goaway_does_not_reach_may_be_asked_again():
    play = started("client")
    for _ in range(3):
        play.ask()
    play.sent()
    events = play.put(goaway(1, NO_ERROR))
    failed = {event.stream: event for event in events if isinstance(event, StreamFailed)}
    assert set(failed) == {3, 5}
    assert {event.code for event in failed.values()} == {REFUSED_STREAM}
    assert [type(event) for event in play.put(headers(1, *OK, end=True))] == [Response]


def test_rfc9113_8_7_a_refused_stream_is_told_as_such():
    play = started("client")
    play.ask()
    play.sent()
    (event,) = play.put(reset(1, REFUSED_STREAM))
    assert (event.code, event.by_peer) == (REFUSED_STREAM, True)


@both
@pytest.mark.parametrize("stream", [0, 1, 5])
def test_rfc9113_5_5_unknown_frames_change_no_state(role, stream):
    play = started(role)
    assert play.takes(frame(UNKNOWN, 0, stream, b"x")) == []
    if role == "server":
        assert [type(event) for event in play.takes(headers(1, *GET, end=True))] == [Request]
