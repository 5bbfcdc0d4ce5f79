"""Every limit of the HTTP/1.1 engine: what is just inside is read, one more is refused, however it is split.

| limit | default | refusal |
|---|---|---|
| request line | `MAX_HEAD` 64 KiB (RFC 9112 section 3 asks for 8000 octets) | 414 target-too-long |
| head | `MAX_HEAD` | 431 head-too-large |
| field lines | `MAX_FIELDS` 128, trailers too | 431 too-many-fields |
| method | `MAX_METHOD` 64 | 501 method-too-long |
| empty lines before a request | `MAX_EMPTY_LINES` 8 | 400 bad-request-line |
| chunk size line | `MAX_SIZE_LINE` 1024 | 400 bad-chunk |
| chunk extensions of a message | `MAX_EXTENSIONS` 16 KiB | 400 bad-chunk |
| trailer section | `MAX_HEAD` | 431 trailers-too-large |
| interim responses | `MAX_INTERIM` 16 | 502 too-many-interim |

In the client role each of these refusals is 502.
"""

import pytest

from headgate.engine.events import Request
from headgate.engine.h1.chunked import MAX_EXTENSIONS, MAX_SIZE_LINE
from headgate.engine.h1.client import MAX_INTERIM, ClientEngine
from headgate.engine.h1.grammar import MAX_FIELDS, MAX_HEAD, MAX_METHOD
from headgate.engine.h1.machine import FAILED
from headgate.engine.h1.server import MAX_EMPTY_LINES, ServerEngine
from headgate.errors import RemoteProtocolError
from headgate.http.fields import Fields

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SMALL = 512


def _feed(engine, data, size):
    """Feed `data` in pieces of `size`; return the refusal's (code, reason) or None."""
    try:
        for at in range(0, len(data), size):
            engine.receive(data[at : at + size])
            while engine.next_event() is not None:
                pass
            assert engine.buffered <= max(MAX_HEAD, SMALL) + 3 + size
    except RemoteProtocolError as error:
        assert engine.receiving == FAILED
        assert engine.must_close
        return error.code, error.reason
    return None


def serve(data, size, max_head=MAX_HEAD):
    return _feed(ServerEngine(max_head), data, size)


def ask(data, size, max_head=MAX_HEAD):
    engine = ClientEngine(max_head)
    engine.send(Request(b"GET", b"/", 11, Fields([], [])))
    return _feed(engine, data, size)


@pytest.fixture(params=[1, 7, 1 << 20], ids=["octets", "sevens", "whole"])
def size(request):
    return request.param


def test_a_request_line_that_is_too_long_is_414(size):
    def head(n):
        line = b"GET / HTTP/1.1"
        return b"GET /" + b"x" * (n - len(line)) + b" HTTP/1.1\r\nHost: a\r\n\r\n"

    assert serve(head(SMALL - 9), size, SMALL) is None
    assert serve(head(SMALL), size, SMALL) == (414, "target-too-long")
    assert serve(b"GET /" + b"x" * (SMALL - 1), size, SMALL) == (414, "target-too-long")


def test_rfc9112_3_a_request_line_of_8000_octets_is_read(size):
    assert serve(b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", max(size, 7)) is None


def test_a_head_that_is_too_large_is_431(size):
    def head(start, n):
        return start + b"X: " + b"x" * (n - len(start) - 3) + b"\r\n\r\n"

    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    assert len(head(start, SMALL)) == SMALL + 4
    assert serve(head(start, SMALL), size, SMALL) is None
    assert serve(head(start, SMALL + 1), size, SMALL) == (431, "head-too-large")
    start = b"HTTP/1.1 200 OK\r\n"
    assert ask(head(start, SMALL), size, SMALL) is None
    assert ask(head(start, SMALL + 1), size, SMALL) == (502, "head-too-large")


def test_the_default_limit_of_a_head():
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    for size in (4096, 1 << 20):
        assert serve(start + b"x" * (MAX_HEAD - len(start)) + b"\r\n\r\n", size) is None
        assert serve(start + b"x" * (MAX_HEAD - len(start) + 1) + b"\r\n\r\n", size) == (
            431,
            "head-too-large",
        )


def test_a_head_without_an_end_is_431(size):
    assert serve(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * SMALL, size, SMALL) == (431, "head-too-large")


def test_too_many_field_lines_are_431(size):
    def lines(n):
        return b"".join(b"X%d: y\r\n" % i for i in range(n))

    assert serve(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines(MAX_FIELDS - 1) + b"\r\n", size) is None
    assert serve(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines(MAX_FIELDS) + b"\r\n", size) == (
        431,
        "too-many-fields",
    )
    assert ask(b"HTTP/1.1 200 OK\r\n" + lines(MAX_FIELDS) + b"\r\n", size) is None
    assert ask(b"HTTP/1.1 200 OK\r\n" + lines(MAX_FIELDS + 1) + b"\r\n", size) == (502, "too-many-fields")
    assert serve(POST + b"0\r\n" + lines(MAX_FIELDS) + b"\r\n", size) is None
    assert serve(POST + b"0\r\n" + lines(MAX_FIELDS + 1) + b"\r\n", size) == (431, "too-many-fields")


def test_rfc9112_3_a_method_that_is_too_long_is_501(size):
    assert serve(b"M" * MAX_METHOD + b" / HTTP/1.1\r\nHost: a\r\n\r\n", size) is None
    assert serve(b"M" * (MAX_METHOD + 1) + b" / HTTP/1.1\r\nHost: a\r\n\r\n", size) == (
        501,
        "method-too-long",
    )


def test_too_many_empty_lines_are_400(size):
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert serve(b"\r\n" * MAX_EMPTY_LINES + get, size) is None
    assert serve(b"\r\n" * (MAX_EMPTY_LINES + 1), size) == (400, "bad-request-line")


def test_a_size_line_that_is_too_long_is_400(size):
    def line(n):
        return b"1;" + b"x" * (n - 2) + b"\r\n"

    for feed, head, code in ((serve, POST, 400), (ask, OK, 502)):
        assert feed(head + line(MAX_SIZE_LINE), size) is None
        assert feed(head + line(MAX_SIZE_LINE + 1), size) == (code, "bad-chunk")
        assert feed(head + line(MAX_SIZE_LINE + 1)[:-2], size) == (code, "bad-chunk")


def test_too_many_extensions_are_400(size):
    one = b"1;" + b"x" * 511 + b"\r\n.\r\n"  # 512 octets of extension
    many = one * (MAX_EXTENSIONS // 512)
    assert serve(POST + many + b"0\r\n\r\n", size) is None
    assert serve(POST + many + b"0;\r\n\r\n", size) == (400, "bad-chunk")


def test_a_trailer_section_that_is_too_large_is_431(size):
    def trailers(n):
        return b"0\r\nX: " + b"x" * (n - 3) + b"\r\n\r\n"

    for feed, head, code in ((serve, POST, 431), (ask, OK, 502)):
        assert feed(head + trailers(SMALL), size, SMALL) is None
        assert feed(head + trailers(SMALL + 1), size, SMALL) == (code, "trailers-too-large")
        assert feed(head + trailers(SMALL + 8)[:-4], size, SMALL) == (code, "trailers-too-large")


def test_too_many_interim_responses_are_502(size):
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert ask(interim * MAX_INTERIM + final, size) is None
    assert ask(interim * (MAX_INTERIM + 1), size) == (502, "too-many-interim")
