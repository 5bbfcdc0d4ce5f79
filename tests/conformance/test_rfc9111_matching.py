"""RFC 9111 sections 2, 3.2 to 3.4, 4.1, 4.3, 4.4, RFC 9110 section 13: which stored response, and what changes it.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import itertools

import pytest

from headgate.cache.conditional import FORWARD, add_validators, evaluate
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.partial import Piece, answer, set_partial
from headgate.cache.ranges import PARTIAL
from headgate.engine.events import Request
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_700_000_000


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def stored():
    made = StoredResponse(b"k", 200, b"OK", fields(), MemoryBody([b"0123456789"]))
    made.etag = b'"a"'
    made.last_modified = NOW - 5000
    made.date = NOW
    made.length = 10
    return made


def test_rfc9111_3_3_wholly_within():
    made = StoredResponse(b"k", 206, b"Partial Content", fields(), MemoryBody())
    assert set_partial(made, Piece(2, 6, 10), MemoryBody([b"2345"]), True, b"")
    for value, ranges in ((b"bytes=2-5", [(2, 6)]), (b"bytes=3-3", [(3, 4)])):
        selection = answer([value], made, True)
        assert (selection.status, selection.ranges) == (PARTIAL, ranges)
    for value in (b"bytes=1-2", b"bytes=5-6", b"bytes=2-", b"bytes=-4", b"bytes=0-9", b"bytes=10-", b""):
        assert answer([value], made, True) is None
    assert answer([], made, False) is None
    assert answer([b"bytes=2-5"], made, False) is None


def test_rfc9111_4_3_1_selecting_fields_stay():
    request = fields((b"host", b"a"), (b"abc", b"123"), (b"accept-language", b"de"), (b"if-match", b"*"))
    variant = stored()
    variant.vary = ((b"abc", b"123"),)
    add_validators(request, variant)
    assert request.items() == [
        (b"host", b"a"),
        (b"abc", b"123"),
        (b"accept-language", b"de"),
        (b"if-none-match", b'"a"'),
    ]


@pytest.mark.parametrize(("status", "expected"), [(200, 304), (206, 304), (404, 200), (301, 200)])
def test_rfc9111_4_3_2_evaluated(status, expected):
    variant = stored()
    variant.status = status
    assert evaluate(Request(b"GET", b"/", 11, fields((b"if-none-match", b'"a"'))), variant, NOW) == expected


# What each precondition may be: absent, true, false.
MATCH = (None, b'"a"', b'"b"')
NONE_MATCH = (None, b'"b"', b'"a"')
MODIFIED = (None, format_date(NOW - 6000), format_date(NOW - 5000))
IF_RANGE = (None, b'"a"', b'"b"')


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_rfc9110_13_2_2_precedence(method):
    """All combinations, against the steps of the section for a cache, read one after the other."""
    for match, none_match, modified, with_range, if_range in itertools.product(
        range(3), range(3), range(3), (False, True), range(3)
    ):
        pairs = [
            (b"if-match", MATCH[match]),
            (b"if-none-match", NONE_MATCH[none_match]),
            (b"if-modified-since", MODIFIED[modified]),
            (b"range", b"bytes=0-1" if with_range else None),
            (b"if-range", IF_RANGE[if_range]),
        ]
        request = Request(method, b"/", 11, fields(*[pair for pair in pairs if pair[1] is not None]))
        if match:
            expected = FORWARD  # for the origin
        elif none_match == 2 or (none_match == 0 and modified == 2):
            expected = 304
        else:
            expected = 206 if method == b"GET" and with_range and if_range != 2 else 200
        assert evaluate(request, stored(), NOW) == expected
