"""Dictionaries of RFC 9651, strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache import structured as s
from headgate.cache.structured import parse_dictionary


def shape(*lines):
    found = parse_dictionary([line.encode() for line in lines])
    return (
        None if found is None else {name.decode(): (m.kind, m.number, m.octets) for name, m in found.items()}
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("   ", {}),
        ("a", {"a": (s.TRUE, 0, b"")}),
        ("  a  ", {"a": (s.TRUE, 0, b"")}),
        ("a=1", {"a": (s.INTEGER, 1, b"")}),
        ("a=-1", {"a": (s.INTEGER, -1, b"")}),
        ("a=007", {"a": (s.INTEGER, 7, b"")}),
        ("a=999999999999999", {"a": (s.INTEGER, 999999999999999, b"")}),
        ("a=1.5", {"a": (s.DECIMAL, 1, b"")}),
        ("a=tok/en:*", {"a": (s.TOKEN, 0, b"tok/en:*")}),
        ('a="q\\"u\\\\o"', {"a": (s.STRING, 0, b'q"u\\o')}),
        ("a=:aGk=:", {"a": (s.BYTES, 0, b"aGk=")}),
        ("a=?1", {"a": (s.TRUE, 0, b"")}),
        ("a=?0", {"a": (s.FALSE, 0, b"")}),
        ("a=@1659578233", {"a": (s.DATE, 1659578233, b"")}),
        ('a=%"f%c3%bc"', {"a": (s.DISPLAY, 0, "fü".encode())}),
        ("a=(1 x;p  y )", {"a": (s.INNER_LIST, 0, b"")}),
        ("a=();p=1", {"a": (s.INNER_LIST, 0, b"")}),
        ("a;p;q=2; r=?0 , b", {"a": (s.TRUE, 0, b""), "b": (s.TRUE, 0, b"")}),
        ("a=1\t,\tb=2", {"a": (s.INTEGER, 1, b""), "b": (s.INTEGER, 2, b"")}),
        ("*a_-.9=1", {"*a_-.9": (s.INTEGER, 1, b"")}),
    ],
)
def test_what_parses(line, expected):
    assert shape(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "A=1",
        "9=1",
        "=1",
        "a=",
        "a =1",
        "a= 1",
        "a=1,",
        ",a=1",
        "a=1,,b=2",
        "a=1 b=2",
        "\ta=1",
        "a=1000000000000000",
        "a=1.",
        "a=.5",
        "a=1.2345",
        "a=1234567890123.1",
        "a=--1",
        "a=-",
        'a="open',
        'a="\\x"',
        'a="\\',
        'a="\x01"',
        'a="\xe9"',
        "a=:a*:",
        "a=:open",
        "a=?2",
        "a=?",
        "a=@1.5",
        "a=@",
        'a=%"%C3"',
        'a=%"%ff"',
        'a=%"%f',
        'a=%"open',
        "a=%x",
        "a=(1",
        "a=(1,2)",
        "a=(1;)",
        "a;",
        "a;P",
        "a;p=",
        "a=1;p=\x00",
        "a=&",
        "a" + "=1" * 5000,
    ],
)
def test_what_does_not(line):
    assert shape(line) is None


def test_lines_are_one_list_and_the_last_of_a_name_counts():
    assert shape("a=1, b", "", "c=3", "a=2") == {
        "b": (s.TRUE, 0, b""),
        "c": (s.INTEGER, 3, b""),
        "a": (s.INTEGER, 2, b""),
    }
    assert shape("a=1", "b=") is None


@given(st.lists(st.binary(max_size=30) | st.text('ab=1;,"()? .%:@-').map(str.encode), max_size=3))
def test_it_parses_or_it_does_not(lines):
    found = parse_dictionary(lines)
    assert found is None or all(found)
