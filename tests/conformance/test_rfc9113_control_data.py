"""RFC 9113 sections 8.3 to 8.6 and RFC 8441 section 4: control data, CONNECT, and extended CONNECT.

All rules and the tests that hold them stand in docs/conformance-h2.md.
"""

import pytest
from tests.conformance.h2_playbook import FIRST, both, content, fields, message, opened, request, started
from tests.conformance.h2_wire import (
    CONNECT,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_STREAM,
    GET,
    HEADERS,
    NUL_AND_CO,
    OK,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    UNKNOWN,
    data,
    frame,
    headers,
    window_update,
)

from headgate.engine.events import UNKNOWN_LENGTH, EndOfMessage, Request
from headgate.engine.message.events import RequestRefused
from headgate.errors import LocalProtocolError


def without(name, lines=GET):
    return tuple(line for line in lines if line[0] != name)


def with_line(name, value, lines=GET):
    return tuple((found, value if found == name else old) for found, old in lines)


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


@pytest.mark.parametrize("value", [*NUL_AND_CO, b" /", b"/ ", b"/a b", b"/\t", b"/\x7f", b"/\x80"])
@pytest.mark.parametrize("name", [b":method", b":scheme", b":authority", b":path"])
def test_rfc9113_8_2_1_cr_lf_nul_and_space_in_the_control_data(name, value):
    play = started("server")
    events = play.put(headers(1, *with_line(name, value), end=True))
    assert not any(isinstance(event, Request) for event in events)


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
def test_rfc9113_8_5_we_send_nothing_but_data_in_a_tunnel(role):
    play = tunnel(role)
    play.sent()
    with pytest.raises(LocalProtocolError):
        play.write_content(1, b"", trailers=fields((b"a", b"b")))
    assert play.sent(HEADERS) == []


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
