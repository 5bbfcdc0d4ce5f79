"""What a Range field asks for and gets; the rules by section are in conformance/test_rfc9110_ranges.py."""

import pytest

from headgate.cache import ranges
from headgate.cache.ranges import (
    MAX_RANGE_FIELD,
    MAX_RANGES,
    PARTIAL,
    UNSATISFIABLE,
    WHOLE,
    coalesce,
    content_range,
    parse_content_range,
    parse_range,
    plan_parts,
    select,
)


def chosen(value, length):
    selection = select([value], length)
    return selection.status, selection.ranges


@pytest.mark.parametrize(
    ("value", "length", "expected"),
    [
        (b"bytes=0-1", 11, [(0, 2)]),
        (b"bytes=1-", 11, [(1, 11)]),
        (b"bytes=-1", 11, [(10, 11)]),
        (b"bytes=-99", 11, [(0, 11)]),
        (b"bytes=5-99", 11, [(5, 11)]),
        (b"bytes=10-10", 11, [(10, 11)]),
        (b"BYTES=0-0", 11, [(0, 1)]),
        (b"bytes=, 0-0 ,,\t", 11, [(0, 1)]),
        (b"bytes=0-0,99-", 11, [(0, 1)]),
        (b"bytes=0-99999999999999999999999999", 11, [(0, 11)]),
        (b"bytes=0-0,1000-1001", 2000, [(0, 1), (1000, 1002)]),
        (b"bytes=1000-1001,0-0", 2000, [(1000, 1002), (0, 1)]),
    ],
)
def test_what_is_satisfied(value, length, expected):
    assert chosen(value, length) == (PARTIAL, expected)


@pytest.mark.parametrize("value", [b"bytes=11-", b"bytes=11-12", b"bytes=-0", b"bytes=99999999999999999999-"])
def test_what_cannot_be(value):
    assert chosen(value, 11) == (UNSATISFIABLE, [])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes=-",
        b"bytes=5-4",
        b"bytes=a-b",
        b"bytes=0-1,x",
        b"bytes=0-1;2-3",
        b"bytes=0- 1",
        b"bytes =0-1",
        b"bytes=+0-1",
        b"bytes=0--1",
        b"bytes=--1",
        b"bytes=1-2-3",
        b"bytes=\xb2-\xb3",
        b"lines=0-1",
        b"0-1",
    ],
)
def test_what_is_ignored(value):
    assert chosen(value, 11) == (WHOLE, [])


def test_two_lines_are_ignored():
    assert select([b"bytes=0-1", b"bytes=2-3"], 11).status == WHOLE
    assert select([], 11).status == WHOLE


def test_nothing_is_a_range_of_an_empty_representation():
    assert chosen(b"bytes=0-", 0) == (WHOLE, [])
    assert chosen(b"bytes=-5", 0) == (WHOLE, [])


def test_a_length_that_is_not_known():
    assert chosen(b"bytes=3-4", -1) == (PARTIAL, [(3, 5)])
    assert chosen(b"bytes=3-", -1) == (WHOLE, [])
    assert chosen(b"bytes=-3", -1) == (WHOLE, [])
    assert chosen(b"bytes=1000-1001,-3", -1) == (WHOLE, [])


def test_ranges_at_the_limit_and_one_more():
    def asked(n):
        return b"bytes=" + b",".join(b"%d-%d" % (i * 1000, i * 1000 + 99) for i in range(n))

    assert len(select([asked(MAX_RANGES)], 1 << 20).ranges) == MAX_RANGES
    assert chosen(asked(MAX_RANGES + 1), 1 << 20) == (WHOLE, [])


def test_a_field_at_the_limit_and_one_more():
    def asked(size):
        return b"bytes=0-1" + b"," * (size - 9)

    assert parse_range([asked(MAX_RANGE_FIELD)]) is not None
    assert parse_range([asked(MAX_RANGE_FIELD + 1)]) is None


def test_scattered_ranges_get_the_whole():
    overlapping = b"bytes=0-,1-,2-,3-"
    assert chosen(overlapping, 1 << 20) == (WHOLE, [])
    backwards = b"bytes=4000-4000,3000-3000,2000-2000,1000-1000"
    assert chosen(backwards, 1 << 20) == (WHOLE, [])
    assert chosen(b"bytes=5000-8000,0-99", 1 << 20)[0] == PARTIAL  # the end of an index, then its beginning


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(0, 5)], [(0, 5)]),
        ([(0, 5), (5, 9)], [(0, 9)]),
        ([(0, 5), (3, 9)], [(0, 9)]),
        ([(0, 9), (2, 3)], [(0, 9)]),
        ([(0, 5), (84, 90)], [(0, 90)]),
        ([(0, 5), (85, 90)], [(0, 5), (85, 90)]),
        ([(500, 510), (0, 5), (505, 520)], [(500, 520), (0, 5)]),
        ([(0, 5), (500, 510), (2, 501)], [(0, 510)]),
    ],
)
def test_coalescing(given, expected):
    assert coalesce(given) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes 0-4/10", (0, 5, 10)),
        (b"bytes 0-4/*", (0, 5, -1)),
        (b"Bytes 4-9/10", (4, 10, 10)),
        (b"bytes */10", (0, 0, 10)),
    ],
)
def test_content_range_is_read(value, expected):
    assert parse_content_range(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes 0-4",
        b"bytes 4-0/10",
        b"bytes 0-10/10",
        b"bytes */*",
        b"bytes -4/10",
        b"bytes 0-/10",
        b"bytes=0-4/10",
        b"bytes 0-99999999999999999999/*",
        b"lines 0-4/10",
        b"bytes 0-4/10, bytes 5-6/10",
    ],
)
def test_invalid_content_ranges(value):
    assert parse_content_range(value) is None


def test_content_range_is_written():
    assert content_range(0, 5, 10) == b"bytes 0-4/10"
    assert content_range(0, 5, -1) == b"bytes 0-4/*"
    assert ranges.unsatisfied_range(10) == b"bytes */10"


def test_parts_add_up():
    content = bytes(range(256)) * 8
    asked = [(0, 10), (1000, 1003)]
    parts, tail, total = plan_parts(asked, len(content), b"text/plain", b"token")
    written = b"".join(part.head + content[part.start : part.end] for part in parts) + tail
    assert len(written) == total
    assert written == (
        b"--token\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-9/2048\r\n\r\n"
        + content[:10]
        + b"\r\n--token\r\nContent-Type: text/plain\r\nContent-Range: bytes 1000-1002/2048\r\n\r\n"
        + content[1000:1003]
        + b"\r\n--token--\r\n"
    )
    assert ranges.multipart_type(b"token") == b"multipart/byteranges; boundary=token"


def test_parts_without_a_type():
    parts, _, _ = plan_parts([(0, 1), (500, 501)], 1000, b"", b"t")
    assert parts[0].head == b"--t\r\nContent-Range: bytes 0-0/1000\r\n\r\n"


def test_what_they_look_like():
    assert repr(parse_range([b"bytes=1-2,-3,4-"])) == "[<Spec 1-2>, <Spec -3>, <Spec 4->]"
    assert repr(select([b"bytes=1-2"], 9)) == "<Selection 206 [(1, 3)]>"
    assert repr(plan_parts([(0, 1)], 9, b"", b"t")[0][0]) == "<Part 0-0>"
