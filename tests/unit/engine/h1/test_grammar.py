"""The memos of the grammar are bounded, hold only what passed, and change nothing."""

import pytest

from headgate.engine.h1 import grammar
from headgate.engine.h1.grammar import (
    MAX_LINE_REMEMBERED,
    MAX_LINES,
    PATIENCE,
    check_method,
    check_target,
    is_token,
    list_tokens,
    parse_content_length,
    parse_fields,
    parse_request_line,
)
from headgate.errors import RemoteProtocolError
from headgate.http.fields import CONTENT_LENGTH, HOST


@pytest.fixture(autouse=True)
def _empty_memos():
    grammar._lines.clear()
    grammar._request_lines.clear()
    grammar._unknown[0] = 0


def test_field_lines_are_remembered_up_to_a_bound():
    for i in range(MAX_LINES):
        parse_fields([b"X: %d" % i], 0)
    assert len(grammar._lines) == MAX_LINES
    parse_fields([b"X: 0"], 0)
    assert len(grammar._lines) == MAX_LINES
    parse_fields([b"X: one more"], 0)
    assert list(grammar._lines) == [b"X: one more"]


def test_request_lines_are_remembered_up_to_a_bound():
    for i in range(MAX_LINES):
        parse_request_line(b"GET /%d HTTP/1.1" % i)
    assert len(grammar._request_lines) == MAX_LINES
    parse_request_line(b"GET /more HTTP/1.1")
    assert b"GET /more HTTP/1.1" not in grammar._request_lines
    assert len(grammar._request_lines) == MAX_LINES


def test_request_lines_that_are_remembered_make_room_in_the_end():
    for i in range(MAX_LINES + PATIENCE - 1):
        parse_request_line(b"GET /%d HTTP/1.1" % i)
    assert b"GET /0 HTTP/1.1" in grammar._request_lines
    parse_request_line(b"GET /last HTTP/1.1")
    parse_request_line(b"GET /after HTTP/1.1")
    assert list(grammar._request_lines) == [b"GET /after HTTP/1.1"]


@pytest.mark.parametrize("over", [0, 1])
def test_long_lines_are_read_and_not_remembered(over):
    line = b"X: ".ljust(MAX_LINE_REMEMBERED + over, b"x")
    assert parse_fields([line], 0).fields.lines == [line]
    assert (line in grammar._lines) is (over == 0)
    line = b"GET /".ljust(MAX_LINE_REMEMBERED + over - 9, b"x") + b" HTTP/1.1"
    assert len(line) == MAX_LINE_REMEMBERED + over
    assert parse_request_line(line).method == b"GET"
    assert (line in grammar._request_lines) is (over == 0)


@pytest.mark.parametrize("line", [b"X : a", b"X: \0", b"no colon", b" folded: x", b"Content-Length: x"])
def test_what_was_refused_is_refused_again(line):
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            parse_fields([line], 0)
    assert not grammar._lines


def test_a_refused_request_line_is_refused_again():
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            parse_request_line(b"GET /\x7f HTTP/1.1")
    assert not grammar._request_lines


def test_a_remembered_line_says_the_same():
    lines = [b"hOST:  a.test ", b"Content-Length: 5", b"Connection: close, Upgrade", b"X:"]
    first, second = parse_fields(lines, 0), parse_fields(lines, 0)
    for section in (first, second):
        assert section.host == b"a.test"
        assert section.length == 5
        assert section.flags & (HOST | CONTENT_LENGTH | grammar.CLOSE | grammar.OPTION_UPGRADE)
        assert section.fields.items() == [
            (b"host", b"a.test"),
            (b"content-length", b"5"),
            (b"connection", b"close, Upgrade"),
            (b"x", b""),
        ]
    assert first.flags == second.flags


def test_one_section_does_not_change_another():
    one = parse_fields([b"X: a"], 0).fields
    one.set(b"x", b"b")
    assert parse_fields([b"X: a"], 0).fields.items() == [(b"x", b"a")]


def test_duplicates_are_seen_in_remembered_lines():
    for _ in range(2):
        assert parse_fields([b"Host: a", b"Host: b"], 0).flags & grammar.DUPLICATE
        assert not parse_fields([b"Host: a", b"X: b", b"X: b"], 0).flags & grammar.DUPLICATE


def test_list_tokens():
    assert list_tokens([b"a, B ,,\tc\t", b"", b"d"]) == [b"a", b"b", b"c", b"d"]


def test_tokens():
    assert is_token(b"!#$%&'*+-.^_`|~azAZ09")
    for octet in (*range(33), *b'"(),/:;<=>?@[\\]{}', *range(127, 256)):
        assert not is_token(b"a" + bytes([octet]))
    assert not is_token(b"")


@pytest.mark.parametrize(("value", "number"), [(b"0", 0), (b"007", 7), (b"9" * 18, 10**18 - 1)])
def test_content_lengths(value, number):
    assert parse_content_length(value) == number


@pytest.mark.parametrize("check", [check_method, check_target])
@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"a\0", b"\x7f", b"\xe4"])
def test_methods_and_targets_refused(check, value):
    with pytest.raises(RemoteProtocolError):
        check(value)
