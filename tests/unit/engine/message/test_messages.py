import pytest
from tests.unit.engine.h3.peers import GET, POST, fields

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Request, Response
from headgate.engine.message.errors import MalformedError, RefusedError
from headgate.engine.message.lines import Line
from headgate.engine.message.messages import (
    read_request,
    read_response,
    read_trailers,
    section_size,
    write_request,
    write_response,
)
from headgate.engine.message.priority import DEFAULT_PRIORITY
from headgate.http.fields import CONTENT_LENGTH, FORWARDED, HOST


def request(*pairs, ended=False, version=30, scheme=b"https", **options):
    lines = [Line(name, value) for name, value in pairs]
    options.setdefault("connect_protocol", False)
    return read_request(lines, 4, version, scheme, ended=ended, **options)[0]


def response(*pairs, method=b"GET", ended=False):
    return read_response([Line(name, value) for name, value in pairs], 4, method, ended=ended)


def without(name, pairs=GET):
    return tuple(pair for pair in pairs if pair[0] != name)


def malformed(call, *pairs, **options):
    with pytest.raises(MalformedError) as caught:
        call(*pairs, **options)
    return caught.value.detail


# -- requests


def test_a_request_is_what_http_1_1_gives():
    read = request(*GET, (b"accept", b"*/*"), (b"x-forwarded-for", b"::1"), ended=True)
    assert (read.method, read.target, read.version, read.stream) == (b"GET", b"/", 30, 4)
    assert read.host == b"a.test"
    assert read.fields.names == [b"host", b"accept", b"x-forwarded-for"]
    assert read.fields.lines == [b"host: a.test", b"accept: */*", b"x-forwarded-for: ::1"]
    assert read.fields.flags == HOST | FORWARDED
    assert (read.body, read.expect_continue, read.upgrade) == (NO_BODY, False, b"")


@pytest.mark.parametrize(
    ("pairs", "ended", "body"),
    [
        ((), True, NO_BODY),
        ((), False, UNKNOWN_LENGTH),
        (((b"content-length", b"0"),), False, NO_BODY),
        (((b"content-length", b"17"),), False, 17),
    ],
)
def test_how_much_content_is_announced(pairs, ended, body):
    assert request(*POST, *pairs, ended=ended).body == body


@pytest.mark.parametrize("value", [b"x", b"-1", b"", b"1,1", b"+1", b"1" * 19])
def test_rfc9114_4_1_2_a_content_length_that_is_no_number(value):
    malformed(request, *POST, (b"content-length", value))


def test_rfc9114_4_1_2_content_length_twice_or_without_content():
    malformed(request, *POST, (b"content-length", b"1"), (b"content-length", b"1"))
    malformed(request, *POST, (b"content-length", b"1"), ended=True)


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path", b":authority"])
def test_rfc9114_4_3_1_a_pseudo_field_is_missing_or_stands_twice(name):
    malformed(request, *without(name))
    malformed(request, *GET, (name, dict(GET)[name]))


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path", b":authority"])
def test_rfc9114_4_3_a_pseudo_field_behind_a_field(name):
    malformed(request, *without(name), (b"accept", b"*/*"), (name, dict(GET)[name]))


@pytest.mark.parametrize(
    "pair", [(b":status", b"200"), (b":protocol", b"websocket"), (b":x", b"1"), (b":Path", b"/"), (b":", b"")]
)
def test_rfc9114_4_3_pseudo_fields_that_are_not_a_request_s(pair):
    malformed(request, *GET, pair)
    malformed(request, pair, *GET)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Accept", b"*/*"),
        (b"connection", b"close"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, deflate"),
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"x\r\ny", b"a"),
        (b"x: y", b"a"),
        (b"x", b" a"),
    ],
)
def test_rfc9114_4_2_and_10_3_fields_that_may_not_be(name, value):
    malformed(request, *GET, (name, value))


def test_rfc9114_4_2_te_may_say_trailers():
    assert request(*GET, (b"te", b"trailers"), ended=True).fields.get(b"te") == b"trailers"


def test_rfc9114_4_3_1_authority_and_host():
    assert request(*without(b":authority"), (b"host", b"b.test")).host == b"b.test"
    read = request(*GET, (b"accept", b"*/*"), (b"host", b"A.TEST"))
    assert read.fields.get_all(b"host") == [b"a.test"]
    assert read.fields.names[0] == b"host"
    malformed(request, *GET, (b"host", b"b.test"))
    malformed(request, *GET, (b"host", b""))
    malformed(request, *without(b":authority"), (b"host", b""))
    malformed(request, *without(b":authority"), (b"host", b"a.test"), (b"host", b"a.test"))


@pytest.mark.parametrize(
    "authority",
    [b"", b"me@a.test", b"me:pw@a.test", b"a.test/", b"a.test?x", b"a.test#x", b"a test", b"a\\b", b"\xff"],
)
def test_rfc9114_4_3_1_what_is_no_authority(authority):
    malformed(request, *without(b":authority"), (b":authority", authority))


@pytest.mark.parametrize("path", [b"", b"a", b"*", b"/a b", b"/\xff", b"/a\tb", b"http://a/", b"?x"])
def test_rfc9114_4_3_1_what_is_no_path(path):
    malformed(request, *without(b":path"), (b":path", path))


def test_rfc9114_4_3_1_the_asterisk_is_for_options():
    pairs = without(b":method", without(b":path"))
    assert request((b":method", b"OPTIONS"), *pairs, (b":path", b"*")).target == b"*"


@pytest.mark.parametrize("method", [b"", b"G T", b"GET\x7f", b"G:T"])
def test_what_is_no_method(method):
    malformed(request, (b":method", method), *without(b":method"))


def test_methods_of_any_kind_up_to_a_length():
    assert request((b":method", b"M" * 64), *without(b":method")).method == b"M" * 64
    with pytest.raises(RefusedError) as caught:
        request((b":method", b"M" * 65), *without(b":method"))
    assert caught.value.code == 501


def test_a_scheme_that_is_not_served_here():
    assert request(*without(b":scheme"), (b":scheme", b"HTTPS")).target == b"/"
    with pytest.raises(RefusedError) as caught:
        request(*without(b":scheme"), (b":scheme", b"http"))
    assert caught.value.code == 421


def test_rfc9114_4_4_connect():
    read = request((b":method", b"CONNECT"), (b":authority", b"a.test:443"))
    assert (read.target, read.host, read.body) == (b"a.test:443", b"a.test:443", UNKNOWN_LENGTH)
    malformed(request, (b":method", b"CONNECT"), *GET[1:])
    malformed(request, (b":method", b"CONNECT"), (b"host", b"a.test:443"))
    malformed(request, (b":method", b"CONNECT"), (b":authority", b"a.test:443"), (b":path", b"/"))


def test_rfc9220_extended_connect():
    pairs = ((b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket"))
    read = request(*pairs, connect_protocol=True)
    assert (read.method, read.target, read.upgrade) == (b"CONNECT", b"/", b"websocket")
    malformed(request, *pairs)  # it was not announced
    malformed(request, *GET, (b":protocol", b"websocket"), connect_protocol=True)
    malformed(request, *without(b":path", pairs), connect_protocol=True)
    malformed(request, *without(b":authority", pairs), (b"host", b"a.test"), connect_protocol=True)


def test_rfc9114_4_2_1_cookies_become_one_line():
    read = request(
        *GET, (b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"), (b"cookie", b"c=3; d=4")
    )
    assert read.fields.lines[1:] == [b"accept: */*", b"cookie: a=1; b=2; c=3; d=4"]


def test_an_expectation():
    assert request(*POST, (b"expect", b"100-Continue")).expect_continue
    assert not request(*POST, (b"expect", b"100-continue"), ended=True).expect_continue
    with pytest.raises(RefusedError) as caught:
        request(*POST, (b"expect", b"tea"))
    assert caught.value.code == 417


@pytest.mark.parametrize(("value", "priority"), [(b"u=1, i", 3), (b"?", DEFAULT_PRIORITY)])
def test_rfc9218_5_the_priority_field(value, priority):
    lines = [Line(*pair) for pair in (*GET, (b"priority", value))]
    read, found = read_request(lines, 0, 30, b"https", ended=True, connect_protocol=False)
    assert found == priority
    assert read.fields.get(b"priority") == value


# -- responses


def test_a_response():
    read = response((b":status", b"404"), (b"server", b"x"), (b"content-length", b"3"))
    assert (read.status, read.reason, read.version, read.stream, read.body) == (404, b"Not Found", 11, 4, 3)
    assert read.fields.lines == [b"server: x", b"content-length: 3"]
    assert read.fields.flags == CONTENT_LENGTH


@pytest.mark.parametrize(
    ("status", "method", "ended", "length", "body"),
    [
        (b"200", b"GET", False, None, UNKNOWN_LENGTH),
        (b"200", b"GET", True, None, NO_BODY),
        (b"200", b"GET", False, b"0", NO_BODY),
        (b"200", b"HEAD", True, b"17", NO_BODY),
        (b"304", b"GET", True, b"17", NO_BODY),
        (b"204", b"GET", False, b"17", NO_BODY),
        (b"200", b"CONNECT", False, b"17", UNKNOWN_LENGTH),
        (b"407", b"CONNECT", False, b"17", 17),
    ],
)
def test_how_much_content_a_response_has(status, method, ended, length, body):
    pairs = [(b":status", status)] + ([(b"content-length", length)] if length else [])
    assert response(*pairs, method=method, ended=ended).body == body


def test_rfc9110_8_6_no_content_length_in_204_and_1xx():
    for status in (b"204", b"103"):
        assert response((b":status", status), (b"content-length", b"0")).fields.names == []


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"abc", b"099", b"600", b"101", b"\xb2\xb2\xb2"])
def test_rfc9114_4_3_2_what_is_no_status(status):
    malformed(response, (b":status", status))


def test_rfc9114_4_3_2_status_and_nothing_else():
    malformed(response)
    malformed(response, (b"server", b"x"), (b":status", b"200"))
    malformed(response, (b":status", b"200"), (b":status", b"200"))
    malformed(response, (b":status", b"200"), (b":path", b"/"))
    malformed(response, (b":status", b"200"), (b"te", b"trailers"))
    malformed(response, (b":status", b"200"), (b"connection", b"close"))
    malformed(response, (b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"1"))
    malformed(response, (b":status", b"200"), (b"content-length", b"1"), ended=True)


# -- trailers


def test_trailers():
    assert read_trailers([Line(b"digest", b"x")]).lines == [b"digest: x"]


@pytest.mark.parametrize(
    ("name", "value"),
    [(b":status", b"200"), (b":path", b"/"), (b"te", b"trailers"), (b"upgrade", b"x"), (b"X", b"y")],
)
def test_rfc9114_4_3_what_trailers_may_not_hold(name, value):
    malformed(lambda: read_trailers([Line(b"digest", b"x"), Line(name, value)]))


# -- writing


def test_a_response_is_written_without_what_is_for_one_connection():
    answer = Response(
        200,
        b"OK",
        11,
        fields(
            (b"connection", b"close"),
            (b"server", b"x"),
            (b"upgrade", b"h2c"),
            (b"transfer-encoding", b"chunked"),
        ),
        UNKNOWN_LENGTH,
    )
    assert write_response(answer).lines == [b":status: 200", b"server: x"]


@pytest.mark.parametrize(
    ("status", "body", "pairs", "lines"),
    [
        (200, 5, (), [b":status: 200", b"content-length: 5"]),
        (200, 5, ((b"content-length", b"5"),), [b":status: 200", b"content-length: 5"]),
        (200, -1, ((b"content-length", b"5"),), [b":status: 200"]),
        (204, 0, ((b"content-length", b"0"),), [b":status: 204"]),
        (304, 0, ((b"content-length", b"5"),), [b":status: 304", b"content-length: 5"]),
    ],
)
def test_the_content_length_of_a_response(status, body, pairs, lines):
    assert write_response(Response(status, b"", 11, fields(*pairs), body)).lines == lines


def test_a_request_is_written_with_its_host_as_authority():
    asked = Request(
        b"POST",
        b"/x?y",
        11,
        fields((b"host", b"origin.test"), (b"te", b"trailers"), (b"connection", b"te"), (b"x", b"1")),
        7,
    )
    asked.host = b"client.test"
    assert write_request(asked, b"https").lines == [
        b":method: POST",
        b":scheme: https",
        b":authority: origin.test",
        b":path: /x?y",
        b"te: trailers",
        b"x: 1",
        b"content-length: 7",
    ]


def test_the_scheme_of_a_request_is_written_as_told():
    asked = Request(b"GET", b"/", 11, fields((b"host", b"a.test")))
    assert write_request(asked, b"http").lines[1] == b":scheme: http"


def test_connect_is_written_without_scheme_and_path():
    asked = Request(b"CONNECT", b"a.test:443", 11, fields((b"host", b"a.test:443")), UNKNOWN_LENGTH)
    assert write_request(asked, b"https").lines == [b":method: CONNECT", b":authority: a.test:443"]
    asked.upgrade = b"websocket"
    asked.target = b"/chat"
    assert b":protocol: websocket" in write_request(asked, b"https").lines
    assert b":path: /chat" in write_request(asked, b"https").lines


def test_the_version_and_the_scheme_are_those_of_the_connection():
    pairs = ((b":scheme", b"http"), *without(b":scheme"))
    assert (
        request((b":method", b"GET"), (b":scheme", b"http"), *GET[2:], version=20, scheme=b"http").version
        == 20
    )
    with pytest.raises(RefusedError) as caught:
        request(*pairs, scheme=b"https")
    assert (caught.value.code, caught.value.reason) == (421, "bad-scheme")


@pytest.mark.parametrize("scheme", [b"http", b"https", b"HTTPS"])
def test_rfc9110_7_4_a_gateway_may_have_been_asked_by_the_other_scheme(scheme):
    pairs = ((b":scheme", scheme), *without(b":scheme"))
    for served in (b"http", b"https"):
        assert request(*pairs, scheme=served, from_gateway=True).method == b"GET"


def test_a_gateway_may_not_have_been_asked_by_just_any_scheme():
    with pytest.raises(RefusedError) as caught:
        request((b":scheme", b"ftp"), *without(b":scheme"), from_gateway=True)
    assert (caught.value.code, caught.value.reason) == (421, "bad-scheme")


def test_the_size_of_a_section_is_that_of_rfc9114_4_2_2():
    assert section_size(fields((b"a", b"b"), (b"cd", b""))) == 2 * 32 + 1 + 1 + 2
