"""RFC 9110 sections 14, 15.3.7 and 15.5.17: ranges, as a cache asks and answers.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import pytest

from headgate.cache.conditional import evaluate
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.partial import Piece, combine, piece_of, set_partial
from headgate.cache.ranges import PARTIAL, UNSATISFIABLE, WHOLE, select, unsatisfied_range
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields

NOW = 1_700_000_000


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def got(value, length=100):
    selection = select([value], length)
    return selection.status, selection.ranges


def stored():
    made = StoredResponse(b"k", 200, b"OK", fields(), MemoryBody())
    made.etag = b'"a"'
    return made


def test_rfc9110_14_1_2_open_ends():
    assert got(b"bytes=90-") == (PARTIAL, [(90, 100)])
    assert got(b"bytes=90-100") == (PARTIAL, [(90, 100)])
    assert got(b"bytes=90-99") == (PARTIAL, [(90, 100)])


def test_rfc9110_14_1_2_long_suffix():
    assert got(b"bytes=-100") == got(b"bytes=-101") == (PARTIAL, [(0, 100)])


def test_rfc9110_14_1_2_large_numerals():
    assert got(b"bytes=5-" + b"9" * 400) == (PARTIAL, [(5, 100)])
    assert got(b"bytes=" + b"9" * 400 + b"-") == (UNSATISFIABLE, [])
    assert got(b"bytes=-" + b"9" * 400) == (PARTIAL, [(0, 100)])
    assert got(b"bytes=" + b"0" * 400 + b"-4") == (PARTIAL, [(0, 5)])


@pytest.mark.parametrize(
    ("method", "status"), [(b"GET", 206), (b"HEAD", 200), (b"OPTIONS", 200), (b"X", 200)]
)
def test_rfc9110_14_2_only_get(method, status):
    request = Request(method, b"/", 11, fields((b"range", b"bytes=0-1")))
    assert evaluate(request, stored(), NOW) == status


def test_rfc9110_14_2_preconditions_first():
    request = Request(
        b"GET", b"/", 11, fields((b"range", b"bytes=0-1"), (b"if-none-match", b'"a"'), (b"if-range", b'"a"'))
    )
    assert evaluate(request, stored(), NOW) == 304


@pytest.mark.parametrize(
    "value", [b"bytes 9-4/10", b"bytes 0-10/10", b"bytes 4-9/9", b"bytes 4-9", b"x 4-9/10"]
)
def test_rfc9110_14_4_invalid(value):
    assert piece_of(Response(206, b"", 11, fields((b"content-range", value)), -1)) is None


def test_rfc9110_15_3_7_2_single():
    """Ranges that are not satisfiable, and those that became one, leave a plain 206: one range has no parts."""
    assert got(b"bytes=0-9") == (PARTIAL, [(0, 10)])
    assert got(b"bytes=0-9,200-") == (PARTIAL, [(0, 10)])
    assert got(b"bytes=0-9,10-19") == (PARTIAL, [(0, 20)])


def test_rfc9110_15_3_7_2_order():
    assert got(b"bytes=5000-5099,0-99,2000-2099", 9999)[1] == [(5000, 5100), (0, 100), (2000, 2100)]


def test_rfc9110_15_3_7_3_complete():
    def part(start, content):
        made = StoredResponse(b"k", 206, b"Partial Content", fields((b"etag", b'"a"')), MemoryBody())
        made.etag = b'"a"'
        assert set_partial(made, Piece(start, start + len(content), 6), MemoryBody([content]), True, b"")
        return made

    made = part(3, b"def")
    assert combine(made, part(0, b"abc"))
    assert (made.status, made.is_complete, made.ranges) == (200, True, None)
    assert made.fields.get(b"content-length") == b"6"
    assert made.body.read(0, 3) + made.body.read(3, 3) == b"abcdef"


def test_rfc9110_15_5_17_unsatisfiable():
    assert got(b"bytes=100-") == (UNSATISFIABLE, [])
    assert got(b"bytes=-0") == (UNSATISFIABLE, [])
    assert got(b"bytes=100-,200-") == (UNSATISFIABLE, [])
    assert got(b"bytes=100-,0-") == (PARTIAL, [(0, 100)])
    assert got(b"bytes=0-", 0) == (WHOLE, [])
    assert unsatisfied_range(100) == b"bytes */100"
