"""Partial content; the rules by section are in conformance/test_rfc9111_partial.py, any order in property/."""

import pytest

from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.partial import (
    Piece,
    answer,
    combine,
    holds,
    is_single,
    is_storable,
    may_combine,
    piece_of,
    replaces,
    set_broken_off,
    set_partial,
)
from headgate.cache.pieces import (
    MAX_PIECES,
)
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields

WHOLE = bytes(i * 7 % 251 for i in range(1000))


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def head(*pairs, status=206, body=-1):
    return Response(status, b"", 11, fields(*pairs), body)


def part(start, end, length=1000, etag=b'"v1"', content=None, whole=True, asked=b""):
    made = StoredResponse(b"k", 206, b"Partial Content", fields((b"content-range", b"x")), MemoryBody())
    made.etag = etag
    if etag:
        made.fields.add(b"etag", etag)
    body = MemoryBody([WHOLE[start:end] if content is None else content])
    assert set_partial(made, Piece(start, end, length), body, whole, asked)
    return made


def octets(variant, start, end):
    found = b""
    while start < end:
        chunk = variant.body.read(start, end - start)
        if not chunk:
            break
        found += chunk
        start += len(chunk)
    return found


# -- heads


def test_what_a_206_holds():
    piece = piece_of(head((b"content-range", b"bytes 4-9/10"), body=6))
    assert (piece.start, piece.end, piece.length) == (4, 10, 10)
    assert repr(piece) == "<Piece 4-9/10>"
    assert repr(piece_of(head((b"content-range", b"bytes 4-9/*")))) == "<Piece 4-9/*>"


@pytest.mark.parametrize(
    "response",
    [
        head((b"content-range", b"bytes 4-9/10"), status=200),
        head(),
        head((b"content-range", b"bytes 4-9/10"), (b"content-range", b"bytes 4-9/10")),
        head((b"content-range", b"bytes 9-4/10")),
        head((b"content-range", b"bytes */10")),
        head((b"content-range", b"lines 4-9/10")),
        head((b"content-range", b"bytes 4-9/10"), body=7),
        head((b"content-range", b"bytes 4-9/10"), body=0),
        head((b"content-type", b"multipart/byteranges; boundary=x"), body=7),
        head((b"content-type", b"Multipart/ByteRanges; b=x"), (b"content-range", b"bytes 0-1/9")),
    ],
)
def test_what_is_not_stored_of_a_206(response):
    assert piece_of(response) is None


# -- storing


def test_a_206_becomes_an_incomplete_200():
    made = part(4, 10)
    assert (made.status, made.reason) == (200, b"OK")
    assert made.ranges == [(4, 10)]
    assert made.length == 1000
    assert not made.is_complete
    assert made.fields.names == [b"etag"]


def test_a_206_of_everything_is_complete():
    made = part(0, 1000)
    assert made.is_complete
    assert made.ranges is None
    assert made.fields.get(b"content-length") == b"1000"
    assert octets(made, 0, 1000) == WHOLE


def test_a_206_that_broke_off_is_stored_as_far_as_it_came():
    made = part(4, 10, content=WHOLE[4:7], whole=False, asked=b"bytes=4-9")
    assert made.ranges == [(4, 7)]
    assert made.asked_range == b""


def test_a_206_that_is_longer_than_it_says_is_not_stored():
    made = StoredResponse(b"k", 206, b"", fields(), MemoryBody())
    assert not set_partial(made, Piece(4, 10, 10), MemoryBody([b"x" * 7]), True, b"")
    assert not set_partial(made, Piece(4, 10, 10), MemoryBody(), True, b"")


def test_a_206_that_is_shorter_than_it_says_stands_alone():
    made = part(4, 10, 10, content=b"01234", asked=b"bytes=-5")
    assert made.ranges == [(4, 9)]
    assert answer([b"bytes=-5"], made, True).ranges == [(4, 9)]
    assert answer([b"bytes=6-8"], made, True).ranges == [(6, 9)]
    assert octets(made, 6, 9) == b"234"
    assert answer([b"bytes=6-"], made, True) is None
    assert answer([b"bytes=-1"], made, True) is None
    assert not combine(made, part(9, 10, 10, content=b"x"))
    assert not combine(part(9, 10, 10, content=b"x"), made)


def test_a_200_that_broke_off():
    made = StoredResponse(b"k", 200, b"OK", fields((b"content-length", b"1000")), MemoryBody())
    made.etag = b'"v1"'
    assert set_broken_off(made, MemoryBody([WHOLE[:300]]), 1000)
    assert made.ranges == [(0, 300)]
    assert answer([b"bytes=0-299"], made, True).ranges == [(0, 300)]
    assert answer([b"bytes=0-300"], made, True) is None
    assert combine(made, part(300, 1000))
    assert made.is_complete
    assert octets(made, 0, 1000) == WHOLE


@pytest.mark.parametrize(
    ("etag", "status", "size", "length"),
    [(b'W/"v1"', 200, 9, 99), (b'"v1"', 404, 9, 99), (b'"v1"', 200, 0, 99), (b'"v1"', 200, 99, 99)],
)
def test_what_broke_off_and_is_not_worth_it(etag, status, size, length):
    made = StoredResponse(b"k", status, b"", fields(), MemoryBody())
    made.etag = etag
    body = MemoryBody([b"x" * size] if size else [])
    assert not set_broken_off(made, body, length)


# -- combining


def test_parts_are_combined():
    made = part(100, 200)
    for start, end in ((0, 150), (500, 1000), (190, 510)):
        assert combine(made, part(start, end))
    assert made.is_complete
    assert made.ranges is None
    assert made.fields.get(b"content-length") == b"1000"
    assert octets(made, 0, 1000) == WHOLE


def test_a_length_is_learned():
    made = part(0, 100, -1)
    assert made.length == -1
    assert combine(made, part(100, 200))
    assert made.length == 1000
    assert combine(made, part(300, 400, -1))
    assert made.length == 1000


def test_parts_beyond_the_length_are_not_combined():
    made = part(500, 600, -1)
    assert not combine(made, part(0, 100, 550))
    assert made.ranges == [(500, 600)]
    assert not combine(part(0, 100, 550), part(500, 600, -1))


@pytest.mark.parametrize(
    ("stored", "newer"),
    [
        (part(0, 10), part(10, 20, etag=b'"v2"')),
        (part(0, 10, etag=b'W/"v1"'), part(10, 20, etag=b'W/"v1"')),
        (part(0, 10), part(10, 20, etag=b'W/"v1"')),
        (part(0, 10, etag=b""), part(10, 20, etag=b"")),
        (part(0, 10), part(10, 20, etag=b"")),
        (part(0, 10), part(10, 20, 999)),
    ],
)
def test_what_is_not_combined(stored, newer):
    assert not may_combine(stored, newer)
    assert not combine(stored, newer)
    assert stored.ranges == [(0, 10)]


def test_other_selecting_fields_and_codings_are_not_combined():
    stored, newer = part(0, 10), part(10, 20)
    newer.vary = ((b"foo", b"1"),)
    assert not combine(stored, newer)
    newer = part(10, 20)
    newer.fields.add(b"content-encoding", b"gzip")
    assert not combine(stored, newer)


def test_dates_combine_when_they_are_strong():
    stored, newer = part(0, 10, etag=b""), part(10, 20, etag=b"")
    for made in (stored, newer):
        made.last_modified = 1000
        made.date = 2000
    assert combine(stored, newer)
    newer.last_modified = 1001
    assert not may_combine(stored, newer)


def test_a_combined_response_takes_the_newer_metadata():
    stored, newer = part(0, 10), part(10, 20)
    stored.fields.add(b"a", b"1")
    stored.fields.add(b"b", b"1")
    newer.fields.add(b"a", b"2")
    newer.fresh_until = 99.0
    newer.response_time = 9.0
    assert combine(stored, newer)
    assert stored.fields.get_all(b"a") == [b"2"]
    assert stored.fields.get_all(b"b") == [b"1"]
    assert (stored.fresh_until, stored.response_time) == (99.0, 9.0)


def test_a_complete_response_takes_the_metadata_alone():
    stored, newer = part(0, 1000), part(10, 20, content=b"?" * 10)
    newer.fresh_until = 99.0
    assert combine(stored, newer)
    assert octets(stored, 0, 1000) == WHOLE
    assert stored.fresh_until == 99.0
    assert stored.is_complete


def test_too_many_pieces_are_not_combined():
    made = part(0, 1, 10_000, content=b"x")
    for i in range(1, MAX_PIECES):
        assert combine(made, part(i * 10, i * 10 + 1, 10_000, content=b"x"))
    assert not combine(made, part(9000, 9001, 10_000, content=b"x"))


def test_what_takes_the_place_of_what():
    assert replaces(part(0, 10), part(10, 20, etag=b""))
    assert not replaces(part(0, 1000), part(10, 20, etag=b""))
    assert replaces(part(0, 1000), part(10, 20, etag=b'"v2"'))
    assert not replaces(part(0, 1000), part(10, 20, etag=b'W/"v1"'))


# -- serving


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=100-199", [(100, 200)]),
        (b"bytes=150-150", [(150, 151)]),
        (b"bytes=990-", [(990, 1000)]),
        (b"bytes=-10", [(990, 1000)]),
        (b"bytes=-5,100-110", [(995, 1000), (100, 111)]),
    ],
)
def test_what_a_part_answers(value, expected):
    made = part(100, 200)
    assert combine(made, part(990, 1000))
    assert answer([value], made, True).ranges == expected


@pytest.mark.parametrize(
    "value",
    [b"bytes=99-100", b"bytes=150-", b"bytes=-11", b"bytes=0-", b"bytes=100-199,300-", b"bytes=2000-", b"x"],
)
def test_what_it_does_not(value):
    made = part(100, 200)
    assert combine(made, part(990, 1000))
    assert answer([value], made, True) is None
    assert answer([value], made, False) is None
    assert answer([], made, True) is None


def test_what_a_part_of_no_known_length_answers():
    made = part(100, 200, -1)
    assert answer([b"bytes=100-199"], made, True).ranges == [(100, 200)]
    assert answer([b"bytes=100-"], made, True) is None
    assert answer([b"bytes=-1"], made, True) is None


def test_what_a_whole_answers():
    made = part(0, 1000)
    assert answer([b"bytes=0-1"], made, True).ranges == [(0, 2)]
    assert answer([b"bytes=0-1"], made, False).status == 200
    assert answer([b"bytes=1000-"], made, True).status == 416


def test_single_ranges():
    assert is_single([b"bytes=0-1"])
    assert not is_single([b"bytes=0-1,3-4"])
    assert not is_single([b"x"])
    assert not is_single([])


def test_what_is_held():
    def asked(*pairs, method=b"GET"):
        return Request(method, b"/", 11, fields(*pairs))

    made = part(100, 200)
    assert holds(asked((b"range", b"bytes=100-199")), made, 0.0)
    assert holds(asked((b"range", b"bytes=100-199"), (b"if-range", b'"v1"')), made, 0.0)
    assert not holds(asked((b"range", b"bytes=100-199"), (b"if-range", b'"v2"')), made, 0.0)
    assert not holds(asked((b"range", b"bytes=100-200")), made, 0.0)
    assert not holds(asked((b"range", b"bytes=100-199"), method=b"HEAD"), made, 0.0)
    assert not holds(asked(), made, 0.0)
    assert holds(asked(), part(0, 1000), 0.0)


def test_which_206_can_be_kept():
    good = head((b"content-range", b"bytes 4-9/10"))
    one = Request(b"GET", b"/", 11, fields((b"range", b"bytes=4-9")))
    assert is_storable(one, good)
    assert not is_storable(one, head())
    assert not is_storable(Request(b"POST", b"/", 11, one.fields), good)
    assert not is_storable(Request(b"GET", b"/", 11, fields()), good)
    assert not is_storable(Request(b"GET", b"/", 11, fields((b"range", b"bytes=4-5,7-9"))), good)
