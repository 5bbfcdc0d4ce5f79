"""Requests of HTTP/2 that would be something else in HTTP/1.1: through a gate, to an origin that keeps every octet.

Each is a stream error PROTOCOL_ERROR or gets a 4xx of the gate itself, and the origin sees nothing of it: what it has
afterwards is the next request, and no octet beside it. Of a message whose content goes wrong the origin may have seen
the beginning (RFC 9113 section 8.1.1); it never sees the end of it, nor anything behind it on that connection. The
well-formed neighbours of these requests pass, and arrive as they were meant.
"""

import socket

import pytest
from tests.integration.h2_desync.conftest import ask_h1, status, verdict

from headgate.testing.h2_raw import (
    DATA,
    END_STREAM,
    continuation,
    data,
    frame,
    headers,
    literal,
    remembered,
    rst_stream,
)

GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/bad"))
POST = ((b":method", b"POST"), *GET[1:])
SMUGGLED = b"x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LINES = b"/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a"


def block(*lines):
    return b"".join(literal(name, value) for name, value in lines)


def put(name, value, lines=GET):
    return tuple((found, value if found == name else old) for found, old in lines)


def without(name, lines=GET):
    return tuple(line for line in lines if line[0] != name)


def head(*lines, end=True):
    return headers(1, block(*lines), end=end)


CONNECT = ((b":method", b"CONNECT"), (b":authority", b"a.test:443"))
OPTIONS = put(b":method", b"OPTIONS")

HEADS = {
    # order and number of the control data
    "method twice": (*GET, GET[0]),
    "path twice": (*GET, (b":path", b"/other")),
    "path twice, in front": ((b":path", b"/other"), *GET),
    "authority twice": (*GET, (b":authority", b"b.test")),
    "scheme twice": (*GET, GET[1]),
    "method behind a field": (*GET[1:], (b"a", b"b"), GET[0]),
    "path behind a field": (*GET[:3], (b"a", b"b"), GET[3]),
    "authority behind a field": (*without(b":authority"), (b"a", b"b"), GET[2]),
    "no method": without(b":method"),
    "no path": without(b":path"),
    "no scheme": without(b":scheme"),
    "nothing": (),
    "only fields": ((b"host", b"a.test"),),
    "status": (*GET, (b":status", b"200")),
    "unknown control data": (*GET, (b":foo", b"bar")),
    "control data without a name": (*GET, (b":", b"bar")),
    "protocol": (*GET, (b":protocol", b"websocket")),
    # names
    "upper case": (*GET, (b"X-Upper", b"x")),
    "one upper letter": (*GET, (b"xY", b"x")),
    "upper case transfer-encoding": (*POST, (b"Transfer-Encoding", b"chunked")),
    "upper case content-length": (*POST, (b"Content-Length", b"5")),
    "empty name": (*GET, (b"", b"x")),
    "space in a name": (*GET, (b"x y", b"x")),
    "space behind a name": (*GET, (b"transfer-encoding ", b"chunked")),
    "space before a name": (*GET, (b" transfer-encoding", b"chunked")),
    "tab behind a name": (*GET, (b"transfer-encoding\t", b"chunked")),
    "colon in a name": (*GET, (b"x:y", b"x")),
    "colon behind a name": (*GET, (b"transfer-encoding:", b"chunked")),
    "CR LF in a name": (*GET, (b"x\r\ntransfer-encoding: chunked\r\ny", b"x")),
    "LF in a name": (*GET, (b"x\ny", b"x")),
    "CR in a name": (*GET, (b"x\ry", b"x")),
    "NUL in a name": (*GET, (b"x\0y", b"x")),
    "NUL before a name": (*GET, (b"\0transfer-encoding", b"chunked")),
    "VT behind a name": (*GET, (b"transfer-encoding\x0b", b"chunked")),
    "octet 0x80 in a name": (*GET, (b"x\x80", b"x")),
    "a name that is a request line": (*GET, (b"get / http/1.1", b"x")),
    # values
    "CR LF in a value": (*GET, (b"x", SMUGGLED)),
    "LF in a value": (*GET, (b"x", b"a\nb: c")),
    "CR in a value": (*GET, (b"x", b"a\rb: c")),
    "NUL in a value": (*GET, (b"x", b"a\0b")),
    "CR at the end": (*GET, (b"x", b"a\r")),
    "LF at the end": (*GET, (b"x", b"a\n")),
    "LF at the beginning": (*GET, (b"x", b"\na")),
    "a fold": (*GET, (b"x", b"a\r\n b")),
    "space before a value": (*GET, (b"x", b" a")),
    "space behind a value": (*GET, (b"x", b"a ")),
    "tab before a value": (*GET, (b"x", b"\ta")),
    "only space": (*GET, (b"x", b" ")),
    "CR LF in a cookie": (*GET, (b"cookie", b"a=1\r\nx: y")),
    "CR in the second cookie": (*GET, (b"cookie", b"a=1"), (b"cookie", b"b=\r2")),
    "LF in te": (*GET, (b"te", b"trailers\nx: y")),
    "CR LF in referer": (*GET, (b"referer", b"http://a/\r\n\r\n")),
    "DEL in a value": (*GET, (b"x", b"a\x7fb")),
    # fields of a connection
    "connection": (*GET, (b"connection", b"close")),
    "connection names a field": (*GET, (b"connection", b"x-secret"), (b"x-secret", b"1")),
    "connection names content-length": (*POST, (b"connection", b"content-length"), (b"content-length", b"5")),
    "keep-alive": (*GET, (b"keep-alive", b"timeout=5")),
    "proxy-connection": (*GET, (b"proxy-connection", b"keep-alive")),
    "upgrade": (*GET, (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA")),
    "transfer-encoding": (*POST, (b"transfer-encoding", b"chunked")),
    "transfer-encoding of nothing": (*POST, (b"transfer-encoding", b"")),
    "transfer-encoding beside content-length": (
        *POST, (b"transfer-encoding", b"chunked"), (b"content-length", b"5"),
    ),
    "te of more": (*GET, (b"te", b"trailers, chunked")),
    "te of something else": (*GET, (b"te", b"gzip")),
    # content-length where the stream ends with its head
    "content-length of nothing": (*POST, (b"content-length", b"5")),
    "content-length of a GET": (*GET, (b"content-length", b"35")),
    "content-length twice": (*POST, (b"content-length", b"0"), (b"content-length", b"5")),
    "content-length twice the same": (*POST, (b"content-length", b"0"), (b"content-length", b"0")),
    "content-length of two": (*POST, (b"content-length", b"0, 0")),
    "content-length with a sign": (*POST, (b"content-length", b"+0")),
    "content-length below zero": (*POST, (b"content-length", b"-1")),
    "content-length in hex": (*POST, (b"content-length", b"0x0")),
    "content-length of nothing at all": (*POST, (b"content-length", b"")),
    "content-length with CR LF": (*POST, (b"content-length", b"0\r\nx: y")),
    "content-length with a space": (*POST, (b"content-length", b" 0")),
    "content-length beyond 64 bits": (*POST, (b"content-length", b"18446744073709551617")),
    # who is asked
    "another host": (*GET, (b"host", b"b.test")),
    "another port": (*GET, (b"host", b"a.test:81")),
    "an empty host": (*GET, (b"host", b"")),
    "host twice": (*GET, (b"host", b"a.test"), (b"host", b"a.test")),
    "host twice without authority": (*without(b":authority"), (b"host", b"a.test"), (b"host", b"b.test")),
    "neither": without(b":authority"),
    "an empty authority": put(b":authority", b""),
    "userinfo": put(b":authority", b"user:pass@a.test"),
    "userinfo in host": (*without(b":authority"), (b"host", b"user@a.test")),
    "CR LF in authority": put(b":authority", b"a.test\r\nx: y"),
    "LF in authority": put(b":authority", b"a.test\nx"),
    "NUL in authority": put(b":authority", b"a.test\0b"),
    "space in authority": put(b":authority", b"a.test b"),
    "space before authority": put(b":authority", b" a.test"),
    "slash in authority": put(b":authority", b"a.test/x"),
    "path in authority": put(b":authority", b"a.test/../b"),
    "question mark in authority": put(b":authority", b"a.test?x"),
    "fragment in authority": put(b":authority", b"a.test#x"),
    "backslash in authority": put(b":authority", b"a.test\\@b"),
    "comma in authority": put(b":authority", b"a.test, b.test"),
    "a port that is none": put(b":authority", b"a.test:x"),
    "CR LF in host": (*without(b":authority"), (b"host", b"a.test\r\nx: y")),
    # what is asked
    "an empty path": put(b":path", b""),
    "an asterisk of GET": put(b":path", b"*"),
    "an asterisk with more": put(b":path", b"*x", OPTIONS),
    "an absolute path": put(b":path", b"http://b.test/"),
    "a path without a slash": put(b":path", b"bad"),
    "only a query": put(b":path", b"?bad"),
    "a path of a whole request": put(b":path", LINES),
    "CR LF in a path": put(b":path", b"/bad\r\nx: y"),
    "LF in a path": put(b":path", b"/bad\nx"),
    "CR in a path": put(b":path", b"/bad\rx"),
    "NUL in a path": put(b":path", b"/bad\0x"),
    "space in a path": put(b":path", b"/bad HTTP/1.1"),
    "space before a path": put(b":path", b" /bad"),
    "space behind a path": put(b":path", b"/bad "),
    "tab in a path": put(b":path", b"/bad\tx"),
    "fragment in a path": put(b":path", b"/bad#x"),
    "fragment alone": put(b":path", b"#"),
    "DEL in a path": put(b":path", b"/bad\x7f"),
    "octet 0x80 in a path": put(b":path", b"/bad\x80"),
    # how it is asked
    "an empty method": put(b":method", b""),
    "a method of two words": put(b":method", b"GET /smuggled HTTP/1.1\r\nx:"),
    "space in a method": put(b":method", b"GET /"),
    "space before a method": put(b":method", b" GET"),
    "CR LF in a method": put(b":method", b"GET\r\n"),
    "NUL in a method": put(b":method", b"G\0ET"),
    "colon in a method": put(b":method", b"GET:"),
    "a method that is too long": put(b":method", b"A" * 65),
    # scheme
    "an empty scheme": put(b":scheme", b""),
    "another scheme": put(b":scheme", b"ftp"),
    "the other scheme": put(b":scheme", b"https"),
    "a scheme with a host": put(b":scheme", b"http://b.test/"),
    "CR LF in a scheme": put(b":scheme", b"http\r\nx: y"),
    "space in a scheme": put(b":scheme", b"http "),
    # CONNECT
    "connect": CONNECT,
    "connect with a path": (*CONNECT, (b":path", b"/bad")),
    "connect with a scheme": (*CONNECT, (b":scheme", b"http")),
    "connect with all": (*CONNECT, (b":path", b"/bad"), (b":scheme", b"http")),
    "connect without authority": (CONNECT[0], (b"host", b"a.test:443")),
    "connect to userinfo": (CONNECT[0], (b":authority", b"u@a.test:443")),
    "connect with CR LF": (CONNECT[0], (b":authority", b"a.test:443 HTTP/1.1\r\nx: y")),
    "extended connect without a path": (CONNECT[0], (b":protocol", b"websocket"), *GET[1:3]),
    "extended connect with CR LF": (CONNECT[0], (b":protocol", b"websocket\r\nx: y"), *GET[1:]),
    "extended connect with a space": (CONNECT[0], (b":protocol", b"web socket"), *GET[1:]),
    "extended connect to h2c": (CONNECT[0], (b":protocol", b"h2c"), *GET[1:]),
    "extended connect to HTTP": (CONNECT[0], (b":protocol", b"HTTP/2.0"), *GET[1:]),
    "extended connect to TLS": (CONNECT[0], (b":protocol", b"TLS/1.2"), *GET[1:]),
    "extended connect to a list": (CONNECT[0], (b":protocol", b"websocket, h2c"), *GET[1:]),
    "extended connect to nothing": (CONNECT[0], (b":protocol", b""), *GET[1:]),
    "a limit: lines": (*GET, *((b"x", b"y"),) * 130),
    "an expectation": (*GET, (b"expect", b"200-ok")),
}  # fmt: skip
STATUSES = {400, 403, 404, 405, 411, 417, 421, 431, 501}


def nothing_but(site, mark, target):
    """The origin got this request since `mark`, and not one octet beside it."""
    requests, octets = site.recorder.since(mark)
    assert [(request.target, request.is_complete) for request in requests] == [(target, True)]
    assert octets.startswith(b"GET " + target + b" HTTP/1.1\r\n")
    assert octets.count(b"\r\n\r\n") == 1
    assert octets.endswith(b"\r\n\r\n")
    assert site.recorder.refused == []


@pytest.mark.parametrize("name", HEADS)
def test_nothing_of_it_reaches_an_origin(site, name):
    mark = site.recorder.mark()
    end = HEADS[name][:1] != CONNECT[:1]
    with site.connect() as raw:
        raw.send(head(*HEADS[name], end=end))
        what, code = verdict(raw)
        assert (what, code) == ("reset", 1) or (what == "status" and code in STATUSES), (what, code)
        target = site.good(raw, 3)  # the connection goes on
    nothing_but(site, mark, target)


@pytest.mark.parametrize(
    "name", ["CR LF in a value", "a path of a whole request", "transfer-encoding", "userinfo"]
)
def test_nor_over_tls(site, name):
    mark = site.recorder.mark()
    lines = put(b":scheme", b"https", HEADS[name])
    with site.connect(tls=True) as raw:
        raw.send(head(*lines))
        assert verdict(raw) == ("reset", 1)
    nothing_but(site, mark, site.good())


@pytest.mark.parametrize("name", ["CR LF in a value", "upper case", "path twice"])
def test_nor_from_a_table_or_in_pieces(site, name):
    """A bad line is bad each time: remembered by HPACK, cut into frames, and referred to again."""
    mark = site.recorder.mark()
    lines = HEADS[name]
    whole = b"".join(remembered(*line) for line in lines)
    with site.connect() as raw:
        raw.send(headers(1, whole[:7], last=False), continuation(1, whole[7:], last=True))
        assert verdict(raw) == ("reset", 1)
        raw.send(headers(3, bytes(0x80 | 62 + len(lines) - 1 - at for at in range(len(lines)))))
        assert raw.wait(lambda raw: 3 in raw.resets)
        target = site.good(raw, 5)
    nothing_but(site, mark, target)


# -- content

LENGTH = (b"content-length", b"5")
BODIES = {
    "too long": ((LENGTH,), [data(1, b"123456", end=True)]),
    "too long in two": ((LENGTH,), [data(1, b"12345"), data(1, b"6", end=True)]),
    "another request behind it": (
        (LENGTH,), [data(1, b"12345GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", end=True)],
    ),
    "too short": ((LENGTH,), [data(1, b"1234", end=True)]),
    "none": ((LENGTH,), [data(1, b"", end=True)]),
    "too short before trailers": ((LENGTH,), [data(1, b"1234"), headers(1, block((b"a", b"b")))]),
    "too long in padding": (
        (LENGTH,), [data(1, b"123456", end=True, padding=10)],
    ),
    "trailers with control data": ((), [data(1, b"x"), headers(1, block((b":path", b"/smuggled")))]),
    "trailers with a status": ((LENGTH,), [data(1, b"12345"), headers(1, block((b":status", b"200")))]),
    "trailers in upper case": ((), [data(1, b"x"), headers(1, block((b"A", b"b")))]),
    "trailers with CR LF": ((), [data(1, b"x"), headers(1, block((b"a", SMUGGLED)))]),
    "trailers with LF in a name": ((), [data(1, b"x"), headers(1, block((b"a\nb", b"c")))]),
    "trailers of a connection": ((), [data(1, b"x"), headers(1, block((b"transfer-encoding", b"chunked")))]),
    "trailers that end nothing": ((), [data(1, b"x"), headers(1, block((b"a", b"b")), end=False)]),
    "a second head": ((), [data(1, b"x"), headers(1, block(*GET))]),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("together", [True, False])
def test_a_message_that_goes_wrong_never_ends_well(site, name, together):
    mark = site.recorder.mark()
    closed = site.recorder.closed
    extra, frames = BODIES[name]
    with site.connect() as raw:
        first = head(*POST, *extra, end=False)
        if together:
            raw.send(first, *frames)
        else:
            raw.send(first)
            site.recorder.wait(lambda: b"POST /bad" in site.recorder.since(mark)[1])
            raw.send(*frames)
        assert verdict(raw) == ("reset", 1)
        if site.recorder.since(mark)[0]:
            site.recorder.wait(lambda: site.recorder.closed > closed)
        target = site.good(raw, 3)
    requests, octets = site.recorder.since(mark)
    assert [request.target for request in requests if request.is_complete] == [target]
    assert len(requests) <= 2
    assert b"smuggled" not in octets
    assert b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" not in octets
    assert site.recorder.refused == []


def test_a_length_of_0_is_the_end_whatever_comes_behind(site):
    """The request is whole with its head; what comes behind it is a fault of its stream, and stays here."""
    mark = site.recorder.mark()
    with site.connect() as raw:
        raw.send(head(*POST, (b"content-length", b"0"), end=False))
        site.recorder.wait(lambda: any(one.is_complete for one in site.recorder.since(mark)[0]))
        raw.send(data(1, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", end=True))
        raw.wait(lambda raw: 1 in raw.resets or raw.ended(1))
        target = site.good(raw, 3)
    requests, octets = site.recorder.since(mark)
    assert [request.target for request in requests] == [b"/bad", target]
    assert requests[0].content == b""
    assert b"smuggled" not in octets


# -- neighbours that are right


def arrived(site, octets, *, stream=1):
    """Send a request that is right; return what the origin got."""
    mark = site.recorder.mark()
    with site.connect() as raw:
        raw.send(*octets)
        assert raw.wait(lambda raw: raw.ended(stream)), raw.frames
        assert status(raw, stream) == 200
    requests, _ = site.recorder.since(mark)
    (request,) = requests
    assert request.is_complete
    assert site.recorder.refused == []
    return request


RIGHT = {
    "any order": ((GET[3], GET[2], GET[1], GET[0]), b"/bad", b"a.test"),
    "a query": (put(b":path", b"/a?b=c&d=%2F?"), b"/a?b=c&d=%2F?", b"a.test"),
    "two slashes": (put(b":path", b"/a//b"), b"/a//b", b"a.test"),
    "the same host": ((*GET, (b"host", b"a.test")), b"/bad", b"a.test"),
    "the same host in capitals": ((*GET, (b"host", b"A.TEST")), b"/bad", b"a.test"),
    "the same host with its port": ((*GET, (b"host", b"a.test:80")), b"/bad", b"a.test"),
    "host alone": ((*without(b":authority"), (b"host", b"b.test")), b"/bad", b"b.test"),
    "a port": (put(b":authority", b"a.test:8080"), b"/bad", b"a.test:8080"),
    "an address": (put(b":authority", b"[::1]:80"), b"/bad", b"[::1]:80"),
    "options": (put(b":path", b"*", OPTIONS), b"*", b"a.test"),
    "an unknown method": (put(b":method", b"M-SEARCH"), b"/bad", b"a.test"),
    "te": ((*GET, (b"te", b"trailers")), b"/bad", b"a.test"),
    "an empty value": ((*GET, (b"x-empty", b"")), b"/bad", b"a.test"),
    "octets above 0x7f": ((*GET, (b"x", b"\xc3\xa4")), b"/bad", b"a.test"),
    "content-length 0": ((*POST, (b"content-length", b"0")), b"/bad", b"a.test"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(site, name):
    lines, target, host = RIGHT[name]
    request = arrived(site, [head(*lines)])
    assert request.method == dict(lines)[b":method"]
    assert request.target == target
    assert request.get(b"host") == [host]
    assert request.get(b"transfer-encoding") == []
    assert request.content == b""


def test_crumbs_arrive_as_one_line(site):
    request = arrived(site, [head(*GET, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2; c=3"))])
    assert request.get(b"cookie") == [b"a=1; b=2; c=3"]


@pytest.mark.parametrize("extra", [(), ((b"content-length", b"10"),)])
def test_content_arrives_whole(site, extra):
    octets = [
        head(*POST, *extra, end=False),
        data(1, b"12345", padding=7),
        data(1, b"67890"),
        data(1, b"", end=True),
    ]
    request = arrived(site, octets)
    assert request.content == b"1234567890"
    assert bool(request.get(b"content-length")) == bool(extra)
    assert request.get(b"transfer-encoding") == ([] if extra else [b"chunked"])


def test_content_that_looks_like_framing_is_content(site):
    text = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    request = arrived(site, [head(*POST, end=False), frame(DATA, END_STREAM, 1, text)])
    assert request.content == text


def test_trailers_arrive_and_frame_nothing(site):
    octets = [head(*POST, end=False), data(1, b"x"), headers(1, block((b"x-digest", b"y")))]
    assert arrived(site, octets).content == b"x"


# -- answers of an origin of HTTP/2, for a client of HTTP/1.1

OK = ((b":status", b"200"),)
ANSWERS = {
    "CR LF in a value": (*OK, (b"x", b"a\r\nset-cookie: evil=1")),
    "LF in a value": (*OK, (b"x", b"a\nset-cookie: evil=1")),
    "CR in a value": (*OK, (b"x", b"a\rset-cookie: evil=1")),
    "NUL in a value": (*OK, (b"x", b"evil\0")),
    "CR LF in a name": (*OK, (b"x: a\r\nset-cookie", b"evil=1")),
    "upper case": (*OK, (b"Set-Cookie", b"evil=1")),
    "no status": ((b"set-cookie", b"evil=1"),),
    "a status that is none": ((b":status", b"200 evil\r\nx: y"),),
    "a status of four": ((b":status", b"2000"), (b"x", b"evil")),
    "status twice": (*OK, *OK, (b"x", b"evil")),
    "a path": (*OK, (b":path", b"/evil")),
    "status behind a field": ((b"x", b"evil"), *OK),
    "101": ((b":status", b"101"), (b"x", b"evil")),
    "transfer-encoding": (*OK, (b"transfer-encoding", b"chunked"), (b"x", b"evil")),
    "connection": (*OK, (b"connection", b"x"), (b"x", b"evil")),
    "content-length of nothing": (*OK, (b"content-length", b"5"), (b"x", b"evil")),
    "content-length twice": (*OK, (b"content-length", b"0"), (b"content-length", b"5"), (b"x", b"evil")),
    "space before a value": (*OK, (b"x", b" evil")),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_malformed_is_a_502(site, name):
    site.scripted.answer = lambda stream: headers(stream, block(*ANSWERS[name]))
    octets = ask_h1(site)
    assert octets.startswith(b"HTTP/1.1 502 ")
    assert b"evil" not in octets


def test_an_answer_that_is_right(site):
    lines = block(*OK, (b"content-length", b"2"), (b"x", b"y"))
    site.scripted.answer = lambda stream: headers(stream, lines, end=False) + data(stream, b"ok", end=True)
    octets = ask_h1(site)
    assert octets.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx: y\r\n" in octets.lower()
    assert octets.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("content", [b"12345evil", b"123"])
def test_an_answer_of_another_length_does_not_end_well(site, content):
    """Its head may be on its way already; then the connection breaks, and what is too much is not sent."""
    lines = block(*OK, (b"content-length", b"5"))
    site.scripted.answer = lambda stream: headers(stream, lines, end=False) + data(stream, content, end=True)
    try:
        octets = ask_h1(site)
    except ConnectionResetError:
        return
    assert b"evil" not in octets
    assert not octets.startswith(b"HTTP/1.1 200") or len(octets.partition(b"\r\n\r\n")[2]) < 5


# -- requests of HTTP/1.1, for an origin of HTTP/2


def written(site, start, *fields, content=b""):
    """Return (lines, content, trailers) that an origin of HTTP/2 gets of a request."""
    site.scripted.answer = lambda stream: headers(stream, block((b":status", b"204")))
    before, at = len(site.scripted.asked), len(site.scripted.content)
    lines = b"".join(field + b"\r\n" for field in fields)
    octets = ask_h1(site, start + b"\r\n" + lines + b"\r\n" + content)
    assert octets.startswith(b"HTTP/1.1 204 ")
    head, *trailers = site.scripted.asked[before:]
    names = [name for name, _ in head]
    pseudo = [name for name in names if name.startswith(b":")]
    assert sorted(pseudo) == [b":authority", b":method", b":path", b":scheme"]
    assert names[:4] == pseudo
    assert names == [name.lower() for name in names]
    never = {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
    assert not never & set(names)
    assert dict(head).get(b"te", b"trailers") == b"trailers"
    assert dict(head).get(b"host", dict(head)[b":authority"]) == dict(head)[b":authority"]
    return dict(head), site.scripted.content[at:], trailers


HOST = b"Host: scripted.test"
CLOSE = b"Connection: close"


def test_fields_of_a_connection_stay_here(site):
    lines, _, _ = written(
        site, b"GET /x HTTP/1.1", HOST, b"Connection: close, X-Secret, upgrade", b"X-Secret: 1", b"X-Open: 2",
        b"Keep-Alive: timeout=5", b"Proxy-Connection: close",
    )  # fmt: skip
    assert b"x-secret" not in lines
    assert lines[b"x-open"] == b"2"


@pytest.mark.parametrize("value", [b"trailers", b"trailers, deflate;q=0.5", b"gzip"])
def test_te_says_trailers_or_nothing(site, value):
    written(site, b"GET /x HTTP/1.1", HOST, b"Connection: close, TE", b"TE: " + value)


def test_chunks_become_data(site):
    content = b"5\r\n12345\r\n2;x=y\r\n67\r\n0\r\n\r\n"
    lines, got, _ = written(
        site, b"POST /x HTTP/1.1", HOST, CLOSE, b"Transfer-Encoding: chunked", content=content
    )
    assert got == b"1234567"
    assert b"content-length" not in lines


def test_a_length_stays_one(site):
    lines, got, _ = written(site, b"POST /x HTTP/1.1", HOST, CLOSE, b"Content-Length: 5", content=b"12345")
    assert (lines[b"content-length"], got) == (b"5", b"12345")


def test_who_is_asked_stands_in_the_target(site):
    """RFC 9112 section 3.2.2: an absolute target counts, and what Host says does not."""
    lines, _, _ = written(site, b"GET http://scripted.test/abs?q HTTP/1.1", b"Host: other.test", CLOSE)
    assert (lines[b":authority"], lines[b":path"]) == (b"scripted.test", b"/abs?q")


def test_an_asterisk_stays_one(site):
    lines, _, _ = written(site, b"OPTIONS * HTTP/1.1", HOST, CLOSE)
    assert (lines[b":method"], lines[b":path"]) == (b"OPTIONS", b"*")


@pytest.mark.parametrize("resets", [True, False])
def test_an_answer_before_the_end_of_its_request(site, resets):
    """Section 8.1: the origin has answered in full and wants no more (RST_STREAM, NO_ERROR); the answer counts."""
    lines = block(*OK, (b"content-length", b"2"))
    site.scripted.answer = lambda stream: (
        headers(stream, lines, end=False)
        + data(stream, b"no", end=True)
        + (rst_stream(stream, 0) if resets else b"")
    )
    site.scripted.is_hasty = True
    try:
        with socket.create_connection(("127.0.0.1", site.gate.http_ports[0]), 10) as sock:
            sock.sendall(
                b"POST /x HTTP/1.1\r\nHost: scripted.test\r\nContent-Length: 3000000\r\n\r\n" + bytes(200_000)
            )
            octets = b""
            while b"\r\n\r\nno" not in octets:
                got = sock.recv(65536)
                assert got, octets
                octets += got
            assert octets.startswith(b"HTTP/1.1 200 ")
    finally:
        site.scripted.is_hasty = False


def test_an_answer_of_our_own_before_the_end_of_its_request(site):
    """The gate itself answers here, and is not asked to read the rest: END_STREAM, then RST_STREAM with NO_ERROR."""
    with site.connect() as raw:
        raw.send(headers(1, block(*put(b":path", b"/a%00b", POST)), end=False), data(1, bytes(1000)))
        assert raw.wait(lambda raw: 1 in raw.resets), raw.frames
        assert status(raw, 1) == 400
        assert raw.ended(1)
        assert raw.resets[1] == 0
        raw.send(data(1, b"more", end=True))
        site.good(raw, 3)
