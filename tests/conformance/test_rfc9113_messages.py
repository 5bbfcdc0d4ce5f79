"""RFC 9113 section 8 and RFC 8441 section 4: HTTP in HTTP/2. What a malformed message is, and what is none.

All rules and the tests that hold them stand in docs/conformance-h2.md. That none of these becomes a request of
HTTP/1.1 is tried through a gate in tests/integration/h2_desync.
"""

import pytest
from tests.conformance.h2_playbook import both, fields, opened, pull, started
from tests.conformance.h2_wire import (
    CONNECT,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    OK,
    POST,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    UNKNOWN,
    WINDOW_UPDATE,
    data,
    frame,
    headers,
    reset,
    settings,
    window_update,
)

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.errors import LocalProtocolError

FIRST = {"server": GET, "client": OK}
NUL_AND_CO = [b"a\0b", b"a\rb", b"a\nb", b"a\r\nb: c", b"\0", b"\r", b"\n", b"a\r\n b"]


def message(role, method=b"GET"):
    play = started(role)
    if role == "client":
        play.ask(method=method)
        play.sent()
    return play


def content(events):
    return b"".join(event.data for event in events if isinstance(event, Data))


def request(*lines, end=True):
    """What a server makes of these lines: (Play, event)."""
    play = started("server")
    (event,) = play.takes(headers(1, *lines, end=end))
    assert isinstance(event, Request)
    return event


def without(name, lines=GET):
    return tuple(line for line in lines if line[0] != name)


def with_line(name, value, lines=GET):
    return tuple((found, value if found == name else old) for found, old in lines)


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


@pytest.mark.parametrize("value", [*NUL_AND_CO, b" /", b"/ ", b"/a b", b"/\t", b"/\x7f", b"/\x80"])
@pytest.mark.parametrize("name", [b":method", b":scheme", b":authority", b":path"])
def test_rfc9113_8_2_1_cr_lf_nul_and_space_in_the_control_data(name, value):
    play = started("server")
    events = play.put(headers(1, *with_line(name, value), end=True))
    assert not any(isinstance(event, Request) for event in events)


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


# -- 8.3 pseudo-header fields


@both
@pytest.mark.parametrize("name", [b":foo", b":", b":Path", b":host", b"::path", b":protocol", b":version"])
def test_rfc9113_8_3_undefined_pseudo_header_fields(role, name):
    message(role).malforms(1, headers(1, *FIRST[role], (name, b"x"), end=True))


@pytest.mark.parametrize("value", [b"200", b""])
def test_rfc9113_8_3_status_in_a_request(value):
    started("server").malforms(1, headers(1, *GET, (b":status", value), end=True))


@pytest.mark.parametrize("line", GET)
def test_rfc9113_8_3_control_data_of_requests_in_a_response(line):
    message("client").malforms(1, headers(1, *OK, line, end=True))


@pytest.mark.parametrize("at", range(4))
def test_rfc9113_8_3_a_pseudo_header_field_behind_a_field(at):
    lines = [*GET[:at], *GET[at + 1 :], (b"x", b"y"), GET[at]]
    started("server").malforms(1, headers(1, *lines, end=True))


def test_rfc9113_8_3_status_behind_a_field():
    message("client").malforms(1, headers(1, (b"x", b"y"), *OK, end=True))


@pytest.mark.parametrize("line", GET)
@pytest.mark.parametrize("same", [True, False])
def test_rfc9113_8_3_a_pseudo_header_field_twice(line, same):
    again = line if same else (line[0], line[1] + b"x")
    started("server").malforms(1, headers(1, *GET, again, end=True))


def test_rfc9113_8_3_status_twice():
    message("client").malforms(1, headers(1, *OK, *OK, end=True))


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)])
def test_rfc9113_8_3_control_data_comes_in_any_order(order):
    event = request(*[GET[at] for at in order], (b"x", b"y"))
    assert (event.method, event.target, event.host, event.version) == (b"GET", b"/", b"a.test", 20)


@both
def test_rfc9113_8_3_we_write_control_data_first_and_none_that_is_not_defined(role):
    play = started(role)
    if role == "client":
        play.ask((b"x", b"y"))
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 0, (b"x", b"y"))
    ((_, lines),) = play.sections()
    pseudo = [name for name, _ in lines if name.startswith(b":")]
    assert [name for name, _ in lines][: len(pseudo)] == pseudo
    assert sorted(pseudo) == (
        [b":authority", b":method", b":path", b":scheme"] if role == "client" else [b":status"]
    )


# -- 8.3.1 requests


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path"])
def test_rfc9113_8_3_1_control_data_that_is_missing(name):
    started("server").malforms(1, headers(1, *without(name), end=True))


def test_rfc9113_8_3_1_no_control_data_at_all():
    started("server").malforms(1, headers(1, (b"host", b"a"), end=True))
    started("server").malforms(1, headers(1, end=True))


def test_rfc9113_8_3_1_host_stands_in_for_authority():
    event = request(*without(b":authority"), (b"host", b"b.test"))
    assert event.host == b"b.test"
    assert event.fields.get(b"host") == b"b.test"


def test_rfc9113_8_3_1_neither_authority_nor_host():
    """An http or https URI always has one (RFC 9110 section 4.2)."""
    started("server").malforms(1, headers(1, *without(b":authority"), end=True))


def test_rfc9113_8_3_1_authority_becomes_host():
    event = request(*GET, (b"host", b"a.test"))
    assert [value for name, value in event.fields.items() if name == b"host"] == [b"a.test"]
    assert event.host == b"a.test"


@pytest.mark.parametrize("host", [b"b.test", b"a.test.", b"a.test:1", b"", b"a.test, a.test", b"a.test:444"])
def test_rfc9113_8_3_1_host_that_differs_from_authority(host):
    started("server").malforms(1, headers(1, *GET, (b"host", host), end=True))


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"a.test", b"A.Test"),
        (b"a.test:443", b"a.test"),
        (b"a.test", b"a.test:443"),
        (b"A.test:443", b"a.TEST"),
        (b"a.test:", b"a.test"),
    ],
)
def test_rfc9113_8_3_1_hosts_are_compared_as_the_scheme_says(authority, host):
    """Section 6.2.3 of RFC 3986: case does not count, nor does the port that https has anyhow."""
    event = request(*with_line(b":authority", authority), (b"host", host))
    assert event.host == authority


def test_rfc9113_8_3_1_host_twice():
    started("server").malforms(1, headers(1, *GET, (b"host", b"a.test"), (b"host", b"a.test"), end=True))


@pytest.mark.parametrize(
    "authority",
    [b"", b"user@a.test", b"u:p@a.test", b"@a.test", b"a.test/", b"a test", b"a.test?x", b"a.test#"],
)
def test_rfc9113_8_3_1_an_authority_that_is_none_or_has_userinfo(authority):
    started("server").malforms(1, headers(1, *with_line(b":authority", authority), end=True))
    lines = (*without(b":authority"), (b"host", authority))
    started("server").malforms(1, headers(1, *lines, end=True))


PATHS = [
    b"",
    b"a",
    b"a/b",
    b"?x",
    b"http://a.test/",
    b"https://a.test/",
    b"*x",
    b"//\0",
    b"/#x",
    b"/a#",
    b"/a b",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"POST"])
def test_rfc9113_8_3_1_a_path_that_is_none(path, method):
    lines = with_line(b":method", method, with_line(b":path", path))
    started("server").malforms(1, headers(1, *lines, end=True))


@pytest.mark.parametrize(
    "path", [b"/", b"/?", b"/a?b=c/d", b"//", b"//a", b"/%00", b"/*", b"/a:b@c", b"/'()"]
)
def test_rfc9113_8_3_1_paths_are_handed_on_as_they_are(path):
    assert request(*with_line(b":path", path)).target == path


def test_rfc9113_8_3_1_an_asterisk_is_for_options():
    options = with_line(b":method", b"OPTIONS", with_line(b":path", b"*"))
    assert request(*options).target == b"*"
    started("server").malforms(1, headers(1, *with_line(b":path", b"*"), end=True))


@pytest.mark.parametrize(
    "method", [b"", b"G T", b"GET ", b"GET\t/", b"G\0T", b"GET / HTTP/1.1\r\nx: y", b"(", b":"]
)
def test_rfc9113_8_3_1_a_method_that_is_no_token(method):
    started("server").malforms(1, headers(1, *with_line(b":method", method), end=True))


@pytest.mark.parametrize("method", [b"get", b"X", b"M-SEARCH", b"PROPFIND"])
def test_rfc9113_8_3_1_methods_are_tokens_of_any_case(method):
    assert request(*with_line(b":method", method)).method == method


@pytest.mark.parametrize("scheme", [b"ftp", b"http2", b"htt ps", b"", b"https:", b"https://evil/"])
def test_rfc9113_8_3_1_a_scheme_that_is_not_served(scheme):
    play = started("server")
    events = play.put(headers(1, *with_line(b":scheme", scheme), end=True))
    assert not any(isinstance(event, Request) for event in events)
    refused = [event for event in events if isinstance(event, RequestRefused)]
    assert [event.status for event in refused] == [421] or [
        found.code for found in play.sent(RST_STREAM)
    ] == [PROTOCOL_ERROR]


def test_rfc9113_8_3_1_a_client_writes_host_as_authority():
    play = started("client")
    play.ask()
    ((_, lines),) = play.sections()
    values = dict(lines)
    assert values[b":authority"] == b"a.test"
    assert values.get(b"host", b"a.test") == b"a.test"
    assert values[b":scheme"] == b"https"


def test_rfc9113_8_3_1_a_client_writes_the_asterisk():
    play = started("client")
    play.ask(method=b"OPTIONS", target=b"*")
    ((_, lines),) = play.sections()
    assert dict(lines)[b":path"] == b"*"


# -- 8.3.2 responses


@pytest.mark.parametrize("lines", [(), ((b"x", b"y"),)])
def test_rfc9113_8_3_2_a_response_without_status(lines):
    message("client").malforms(1, headers(1, *lines, end=True))


@pytest.mark.parametrize(
    "status", [b"", b"20", b"2000", b"abc", b"2 0", b"+20", b"099", b"600", b"200 OK", b"20\xb2"]
)
def test_rfc9113_8_3_2_a_status_that_is_none(status):
    message("client").malforms(1, headers(1, (b":status", status), end=True))


def test_rfc9113_8_3_2_status_is_in_interim_responses_too():
    play = opened("server")
    play.answer(1, 103, 0, (b"Link", b"</a>"))
    play.answer(1, 204)
    assert [lines[0] for _, lines in play.sections()] == [(b":status", b"103"), (b":status", b"204")]


# -- 8.5 CONNECT


def test_rfc9113_8_5_connect_has_an_authority_alone():
    event = request(*CONNECT, end=False)
    assert (event.method, event.target, event.host) == (b"CONNECT", b"a.test:443", b"a.test:443")


@pytest.mark.parametrize(
    "lines",
    [
        (CONNECT[0],),
        (*CONNECT, (b":scheme", b"https")),
        (*CONNECT, (b":path", b"/")),
        (*CONNECT, (b":scheme", b"https"), (b":path", b"/")),
        (CONNECT[0], (b"host", b"a.test:443")),
        (CONNECT[0], (b":authority", b"")),
        (CONNECT[0], (b":authority", b"u@a.test:443")),
    ],
)
def test_rfc9113_8_5_connect_that_is_malformed(lines):
    started("server").malforms(1, headers(1, *lines))


def tunnel(role):
    play = started(role)
    if role == "client":
        asked = Request(b"CONNECT", b"a.test:443", 11, fields((b"Host", b"a.test:443")), UNKNOWN_LENGTH)
        play.engine.send(asked)
        play.put(headers(1, *OK))
    else:
        play.put(headers(1, *CONNECT))
        play.answer(1, 200, UNKNOWN_LENGTH)
    return play


def test_rfc9113_8_5_a_client_writes_connect_with_an_authority_alone():
    play = tunnel("client")
    ((_, lines),) = play.sections()
    assert lines == [(b":method", b"CONNECT"), (b":authority", b"a.test:443")]


@both
def test_rfc9113_8_5_a_tunnel_carries_data_both_ways(role):
    play = tunnel(role)
    play.sent()
    events = play.takes(data(1, b"ping"), window_update(1, 5), frame(PRIORITY, 0, 1, bytes(5)))
    assert content(events) == b"ping"
    play.write_content(1, b"pong", end=False)
    assert b"".join(found.payload for found in play.sent(DATA)) == b"pong"
    events = play.takes(data(1, b"", end=True))
    assert isinstance(events[-1], EndOfMessage)
    play.write_content(1, b"more")
    sent = play.sent(DATA)
    assert b"".join(found.payload for found in sent) == b"more"
    assert sent[-1].flags & END_STREAM


@both
@pytest.mark.parametrize("end", [True, False])
def test_rfc9113_8_5_nothing_but_data_in_a_tunnel(role, end):
    play = tunnel(role)
    play.sent()
    play.resets(1, PROTOCOL_ERROR, headers(1, (b"a", b"b"), end=end))


@both
def test_rfc9113_8_5_unknown_frames_in_a_tunnel_are_ignored(role):
    play = tunnel(role)
    play.takes(frame(UNKNOWN, 0, 1, b"x"))
    assert content(play.takes(data(1, b"ping"))) == b"ping"


# -- RFC 8441 section 4


EXTENDED = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:])


def extended(*lines):
    play = started("server", connect_protocol=True)
    return play, headers(1, *lines)


def test_rfc8441_4_extended_connect_has_it_all():
    play, octets = extended(*EXTENDED, (b"origin", b"https://a.test"))
    (event,) = play.takes(octets)
    assert (event.method, event.upgrade, event.target, event.host) == (
        b"CONNECT",
        b"websocket",
        b"/",
        b"a.test",
    )


@pytest.mark.parametrize("name", [b":scheme", b":path", b":authority"])
def test_rfc8441_4_scheme_and_path_and_authority_are_there(name):
    play, octets = extended(*without(name, EXTENDED))
    play.malforms(1, octets)


def test_rfc8441_4_protocol_is_for_connect():
    play, octets = extended(*GET, (b":protocol", b"websocket"))
    play.malforms(1, octets)


@pytest.mark.parametrize("line", [(b"connection", b"upgrade"), (b"upgrade", b"websocket")])
def test_rfc8441_5_connection_and_upgrade_are_not_there(line):
    play, octets = extended(*EXTENDED, line)
    play.malforms(1, octets)


def test_rfc8441_4_without_an_announcement_it_is_malformed():
    started("server").malforms(1, headers(1, *EXTENDED))


def test_rfc8441_3_a_client_waits_for_the_announcement():
    for said in ((), ((ENABLE_CONNECT_PROTOCOL, 1),)):
        play = started("client", *said)
        asked = Request(b"CONNECT", b"/chat", 11, fields((b"Host", b"a.test")), UNKNOWN_LENGTH)
        asked.upgrade = b"websocket"
        if not said:
            with pytest.raises(LocalProtocolError):
                play.engine.send(asked)
            assert play.sent(HEADERS) == []
            continue
        play.engine.send(asked)
        ((_, lines),) = play.sections()
        assert dict(lines) == {
            b":method": b"CONNECT",
            b":protocol": b"websocket",
            b":scheme": b"https",
            b":authority": b"a.test",
            b":path": b"/chat",
        }


# -- 8.6 upgrade


def test_rfc9113_8_6_there_is_no_101():
    message("client").malforms(1, headers(1, (b":status", b"101")))
    play = opened("server")
    with pytest.raises(LocalProtocolError):
        play.answer(1, 101)
    assert play.sent(HEADERS) == []


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
