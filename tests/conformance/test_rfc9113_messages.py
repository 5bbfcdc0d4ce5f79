"""RFC 9113 sections 8.1 and 8.2: messages and fields. What a malformed message is, and what is none.

All rules and the tests that hold them stand in docs/conformance-h2.md. That none of these becomes a request of
HTTP/1.1 is tried through a gate in tests/integration/h2_desync.
"""

import pytest
from tests.conformance.h2_playbook import (
    FIRST,
    both,
    content,
    fields,
    message,
    opened,
    pull,
    request,
    started,
)
from tests.conformance.h2_wire import (
    DATA,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    NUL_AND_CO,
    OK,
    POST,
    PROTOCOL_ERROR,
    RST_STREAM,
    WINDOW_UPDATE,
    data,
    headers,
    reset,
    settings,
    window_update,
)

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.message.events import StreamFailed
from headgate.errors import LocalProtocolError

# -- 8.1 framing


@both
def test_rfc9113_8_1_head_content_and_trailers(role):
    play = message(role)
    events = play.takes(
        headers(1, *FIRST[role]), data(1, b"con"), data(1, b"tent"), headers(1, (b"digest", b"x"), end=True)
    )
    assert content(events) == b"content"
    assert isinstance(events[0], Request | Response)
    assert isinstance(events[-1], EndOfMessage)
    assert list(events[-1].trailers.items()) == [(b"digest", b"x")]


@both
def test_rfc9113_8_1_trailers_without_content(role):
    play = message(role)
    events = play.takes(headers(1, *FIRST[role]), headers(1, (b"digest", b"x"), end=True))
    assert list(events[-1].trailers.items()) == [(b"digest", b"x")]


@both
def test_rfc9113_8_1_an_empty_frame_ends_content(role):
    play = message(role)
    events = play.takes(headers(1, *FIRST[role]), data(1, b"content"), data(1, b"", end=True))
    assert content(events) == b"content"
    assert isinstance(events[-1], EndOfMessage)
    assert events[-1].trailers is None


@both
@pytest.mark.parametrize("lines", [((b"a", b"b"),), GET, OK, ()])
def test_rfc9113_8_1_a_second_head_without_the_end_is_malformed(role, lines):
    play = message(role)
    play.takes(headers(1, *FIRST[role]))
    play.malforms(1, headers(1, *lines))


@both
@pytest.mark.parametrize(
    "pseudo", [(b":path", b"/"), (b":status", b"200"), (b":method", b"GET"), (b":x", b"")]
)
@pytest.mark.parametrize("first", [True, False])
def test_rfc9113_8_1_trailers_hold_no_pseudo_header_fields(role, pseudo, first):
    play = message(role)
    play.takes(headers(1, *FIRST[role]), data(1, b"x"))
    lines = (pseudo, (b"a", b"b")) if first else ((b"a", b"b"), pseudo)
    play.malforms(1, headers(1, *lines, end=True))


@both
@pytest.mark.parametrize(
    "line", [(b"Upper", b"x"), (b"x y", b"z"), (b"a", b"b\r\nc: d"), (b"a", b" b"), (b"connection", b"close")]
)
def test_rfc9113_8_1_trailers_are_held_to_the_rules_of_fields(role, line):
    play = message(role)
    play.takes(headers(1, *FIRST[role]), data(1, b"x"))
    play.malforms(1, headers(1, line, end=True))


@both
def test_rfc9113_8_1_content_before_a_head(role):
    """The stream of a server is idle then (5.1), the one of a client is not."""
    play = message(role)
    if role == "server":
        play.refuses(PROTOCOL_ERROR, data(1, b"x"))
    else:
        play.malforms(1, data(1, b"x"))


def test_rfc9113_8_1_content_between_interim_and_final():
    play = message("client")
    play.put(headers(1, (b":status", b"103")))
    play.malforms(1, data(1, b"x"))


def test_rfc9113_8_1_interim_responses_come_before_the_final_one():
    play = message("client")
    events = play.takes(
        headers(1, (b":status", b"100")),
        headers(1, (b":status", b"103"), (b"link", b"</a>")),
        headers(1, *OK),
        data(1, b"x", end=True),
    )
    assert [event.status for event in events if isinstance(event, Response)] == [100, 103, 200]
    assert content(events) == b"x"


@pytest.mark.parametrize("status", [b"100", b"103", b"199"])
def test_rfc9113_8_1_an_interim_response_does_not_end_the_stream(status):
    message("client").malforms(1, headers(1, (b":status", status), end=True))


def test_rfc9113_8_1_an_end_of_the_stream_before_any_head():
    message("client").malforms(1, data(1, b"", end=True))


def test_rfc9113_8_1_the_answer_may_end_before_the_request():
    """The server answers in full, then asks to stop without an error (NO_ERROR)."""
    play = opened("server")
    play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, b"no")
    play.engine.end_reading(1)
    sent = play.sent(HEADERS, DATA, RST_STREAM)
    assert sent[-1].type == RST_STREAM
    assert sent[-1].code == NO_ERROR
    assert sent[-2].flags & END_STREAM
    assert play.takes(data(1, b"more"), data(1, b"", end=True)) == []
    play.still_works()


def test_rfc9113_8_1_a_client_keeps_an_answer_that_came_whole_before_no_error():
    play = opened("client")
    events = play.put(headers(1, *OK), data(1, b"content", end=True), reset(1, NO_ERROR))
    assert content(events) == b"content"
    assert any(isinstance(event, EndOfMessage) for event in events)
    assert not any(isinstance(event, StreamFailed) for event in events[: events.index(events[-1])])
    play.still_works()


def test_rfc9113_8_1_no_error_before_the_end_of_the_answer_is_no_whole_answer():
    play = opened("client")
    events = play.put(headers(1, *OK), data(1, b"cont"), reset(1, NO_ERROR))
    assert not any(isinstance(event, EndOfMessage) for event in events)
    assert isinstance(events[-1], StreamFailed)


# -- 8.1.1 content-length


@both
@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (b"5", (4,)),
        (b"5", (6,)),
        (b"5", (5, 1)),
        (b"5", ()),
        (b"0", (1,)),
        (b"5", (2, 2)),
        (b"999999999999999999", (5,)),
    ],
)
def test_rfc9113_8_1_1_content_of_another_length_is_malformed(role, length, sizes):
    play = message(role)
    frames = [data(1, bytes(size)) for size in sizes]
    lines = (POST if role == "server" else OK) + ((b"content-length", length),)
    play.malforms(1, headers(1, *lines), *frames, data(1, b"", end=True))


@both
def test_rfc9113_8_1_1_content_too_long_fails_before_its_end(role):
    play = message(role)
    lines = (POST if role == "server" else OK) + ((b"content-length", b"5"),)
    play.malforms(1, headers(1, *lines), data(1, b"123456"))


@both
def test_rfc9113_8_1_1_a_head_that_ends_the_stream_and_promises_content(role):
    play = message(role)
    lines = (POST if role == "server" else OK) + ((b"content-length", b"5"),)
    play.malforms(1, headers(1, *lines, end=True))


@both
def test_rfc9113_8_1_1_trailers_come_too_early_for_content_length(role):
    play = message(role)
    lines = (POST if role == "server" else OK) + ((b"content-length", b"5"),)
    play.malforms(1, headers(1, *lines), data(1, b"1234"), headers(1, (b"a", b"b"), end=True))


@both
@pytest.mark.parametrize(
    "lines",
    [
        ((b"content-length", b"5"), (b"content-length", b"6")),
        ((b"content-length", b"5"), (b"content-length", b"5")),
        ((b"content-length", b"5, 5"),),
        ((b"content-length", b"+5"),),
        ((b"content-length", b"-1"),),
        ((b"content-length", b"0x5"),),
        ((b"content-length", b"5 5"),),
        ((b"content-length", b""),),
        ((b"content-length", b"5.0"),),
        ((b"content-length", b"\xb2"),),
        ((b"content-length", b"1" * 30),),
    ],
)
def test_rfc9113_8_1_1_a_content_length_that_is_no_number_or_comes_twice(role, lines):
    play = message(role)
    play.malforms(1, headers(1, *(POST if role == "server" else OK), *lines), data(1, b"12345", end=True))


@both
@pytest.mark.parametrize("sizes", [(5,), (2, 3), (0, 5, 0), (1,) * 5])
def test_rfc9113_8_1_1_content_of_that_length(role, sizes):
    play = message(role)
    lines = (POST if role == "server" else OK) + ((b"content-length", b"5"),)
    events = play.takes(headers(1, *lines), *[data(1, bytes(size)) for size in sizes], data(1, b"", end=True))
    assert events[0].body == 5
    assert len(content(events)) == 5


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"HEAD", b"404")])
def test_rfc9113_8_1_1_answers_without_content_may_say_a_length(method, status):
    play = message("client", method)
    (event,) = play.takes(headers(1, (b":status", status), (b"content-length", b"5"), end=True))
    assert event.body == NO_BODY
    assert event.fields.get(b"content-length") == b"5"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"GET", b"204")])
def test_rfc9113_8_1_1_answers_without_content_have_none(method, status):
    play = message("client", method)
    play.malforms(1, headers(1, (b":status", status)), data(1, b"x", end=True))


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"GET", b"204")])
def test_rfc9113_8_1_1_answers_without_content_may_end_behind_their_head(method, status):
    play = message("client", method)
    events = play.takes(headers(1, (b":status", status)), data(1, b"", end=True))
    assert isinstance(events[0], Response)
    assert content(events) == b""


def test_rfc9113_8_1_1_what_was_not_taken_of_a_malformed_message_is_taken_back():
    play = started("server")
    events = play.put(headers(1, *POST), data(1, b"x"), headers(1, (b"Upper", b"x"), end=True))
    assert not any(isinstance(event, Request | Data | EndOfMessage) for event in events)
    assert [(found.stream, found.code) for found in play.sent(RST_STREAM)] == [(1, PROTOCOL_ERROR)]


def test_rfc9113_8_1_1_whoever_took_the_head_hears_that_it_failed():
    play = started("server")
    (event,) = play.put(headers(1, *POST))
    assert isinstance(event, Request)
    (event,) = play.put(data(1, b"x"), headers(1, (b"Upper", b"x"), end=True))
    assert isinstance(event, StreamFailed)
    assert not event.by_peer


# -- 8.2 fields


@both
def test_rfc9113_8_2_names_are_written_in_lower_case(role):
    play = started(role)
    if role == "client":
        play.ask((b"X-Upper", b"Value"), (b"Accept", b"*/*"))
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 0, (b"X-Upper", b"Value"), (b"Server", b"x"))
    ((_, lines),) = play.sections()
    assert (b"x-upper", b"Value") in lines
    assert [name for name, _ in lines] == [name.lower() for name, _ in lines]


BAD_NAMES = [
    bytes((octet,)) for octet in (*range(0x21), *range(0x41, 0x5B), 0x3A, *range(0x7F, 0x100, 7), 0xFF)
]


@both
@pytest.mark.parametrize("octet", BAD_NAMES, ids=lambda octet: f"{octet[0]:02x}")
def test_rfc9113_8_2_1_octets_that_no_name_holds(role, octet):
    for name in (b"x" + octet + b"y", octet + b"x", b"x" + octet):
        message(role).malforms(1, headers(1, *FIRST[role], (name, b"value"), end=True))


@both
@pytest.mark.parametrize("name", [b"", b"a b", b"(", b"a,b", b"a@b", b"a/b", b"a=b", b"{x}", b'"x"', b"a;b"])
def test_rfc9113_8_2_1_names_are_tokens(role, name):
    message(role).malforms(1, headers(1, *FIRST[role], (name, b"value"), end=True))


@both
@pytest.mark.parametrize("name", [b"!#$%&'*+-.^_`|~09az", b"x", b"_", b"1"])
def test_rfc9113_8_2_1_all_tokens_are_names(role, name):
    (event,) = message(role).takes(headers(1, *FIRST[role], (name, b"value"), end=True))
    assert event.fields.get(name) == b"value"


@both
@pytest.mark.parametrize("value", NUL_AND_CO)
@pytest.mark.parametrize("name", [b"x", b"cookie", b"host", b"te", b"content-length", b"priority", b"expect"])
def test_rfc9113_8_2_1_cr_lf_and_nul_in_values(role, name, value):
    if role == "client" and name in (b"host", b"te", b"expect"):
        name = b"server"
    message(role).malforms(1, headers(1, *FIRST[role], (name, value), end=True))


@both
@pytest.mark.parametrize("value", [b" x", b"x ", b"\tx", b"x\t", b" ", b"\t", b" x ", b"x \t"])
def test_rfc9113_8_2_1_white_space_at_the_ends_of_values(role, value):
    message(role).malforms(1, headers(1, *FIRST[role], (b"x", value), end=True))


@both
@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"\x80\xff", b"x" * 1000, b"a:b", b'"'])
def test_rfc9113_8_2_1_values_that_may_be(role, value):
    (event,) = message(role).takes(headers(1, *FIRST[role], (b"x", value), end=True))
    assert event.fields.get(b"x") == value


@both
@pytest.mark.parametrize("octet", [1, 8, 11, 12, 27, 31, 127])
def test_rfc9113_8_2_1_other_control_octets_in_values(role, octet):
    """Section 5.5 of RFC 9110 lets one choose; HTTP/1.1 is held to the same here."""
    message(role).malforms(1, headers(1, *FIRST[role], (b"x", b"a" + bytes((octet,)) + b"b"), end=True))


# -- 8.2.2 connection-specific fields


CONNECTION = [
    (b"connection", b"close"),
    (b"connection", b"x-foo"),
    (b"connection", b""),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-connection", b"keep-alive"),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"),
    (b"upgrade", b"h2c"),
]


@both
@pytest.mark.parametrize("line", CONNECTION)
@pytest.mark.parametrize("end", [True, False])
def test_rfc9113_8_2_2_connection_specific_fields_are_malformed(role, line, end):
    message(role).malforms(1, headers(1, *FIRST[role], line, end=end))


@pytest.mark.parametrize(
    "value", [b"gzip", b"trailers, gzip", b"trailers;q=0.5", b"", b"chunked", b"trailer"]
)
def test_rfc9113_8_2_2_te_says_trailers_and_nothing_else(value):
    started("server").malforms(1, headers(1, *GET, (b"te", value), end=True))


def test_rfc9113_8_2_2_te_trailers():
    assert request(*GET, (b"te", b"trailers")).fields.get(b"te") == b"trailers"


def test_rfc9113_8_2_2_te_is_of_requests():
    message("client").malforms(1, headers(1, *OK, (b"te", b"trailers"), end=True))


@both
def test_rfc9113_8_2_2_connection_specific_fields_are_not_written(role):
    pairs = [(name.title(), value) for name, value in CONNECTION] + [
        (b"X-Stays", b"yes"),
        (b"Host", b"a.test"),
    ]
    play = started(role)
    if role == "client":
        play.ask(*pairs[:-1], (b"TE", b"gzip"))
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 0, *pairs[:-1])
    ((_, lines),) = play.sections()
    names = {name for name, _ in lines}
    assert b"x-stays" in names
    assert not names & {b"te", *(name for name, _ in CONNECTION)}


def test_rfc9113_8_2_2_te_trailers_is_written():
    play = started("client")
    play.ask((b"TE", b"trailers"))
    ((_, lines),) = play.sections()
    assert (b"te", b"trailers") in lines


# -- 8.2.3 cookies


def test_rfc9113_8_2_3_crumbs_are_one_line_again():
    event = request(*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2; c=3"), (b"cookie", b"d=4"))
    assert [value for name, value in event.fields.items() if name == b"cookie"] == [b"a=1; b=2; c=3; d=4"]


# -- what a sender promises


@both
def test_rfc9113_8_1_1_we_keep_our_own_content_length(role):
    play = started(role)
    if role == "client":
        play.ask(method=b"POST", body=5)
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 5)
    play.sent()
    with pytest.raises(LocalProtocolError):
        play.write_content(1, b"123456")
    assert pull(play.engine) == [] or play.sent(GOAWAY) == []


@both
def test_rfc9113_8_1_1_we_write_a_content_length_that_we_know(role):
    play = started(role)
    if role == "client":
        play.ask(method=b"POST", body=5)
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 5)
    play.write_content(1, b"12345")
    sent = play.sent()
    ((_, lines),) = play.heads
    assert (b"content-length", b"5") in lines
    assert sum(len(found.payload) for found in sent if found.type == DATA) == 5


@both
def test_rfc9113_8_1_trailers_of_ours_end_the_stream(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.sent()
    play.write_content(1, b"content", trailers=fields((b"Digest", b"x")))
    sent = play.sent(HEADERS, DATA)
    assert [found.type for found in sent][-1] == HEADERS
    assert sent[-1].flags & END_STREAM
    assert not any(found.flags & END_STREAM for found in sent[:-1])
    assert play.heads == [(1, [(b"digest", b"x")])]


def test_rfc9113_8_1_trailers_wait_for_their_content():
    play = opened("server")
    play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, bytes(70_000), trailers=fields((b"digest", b"x")))
    assert [found.type for found in play.sent(HEADERS, DATA)].count(HEADERS) == 1
    play.put(window_update(0, 1 << 20), window_update(1, 1 << 20), settings())
    assert [found.type for found in play.sent(HEADERS, DATA)][-1] == HEADERS


def test_rfc9113_8_1_a_reset_stream_frees_its_window_updates():
    play = opened("server")
    play.put(data(1, bytes(1000)))
    play.engine.abort(1)
    assert [found for found in play.sent(WINDOW_UPDATE) if found.stream == 1] == []
