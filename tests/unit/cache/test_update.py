"""304 and HEAD; the rules by section are in docs/conformance-cache.md."""

import pytest

from headgate.cache import entry as e
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.policy import Policy
from headgate.cache.storing import build
from headgate.cache.update import (
    MADE_STALE,
    NOTHING,
    UPDATED,
    is_named_strongly,
    merge_304,
    merge_head,
    names_variant,
    still_storable,
)
from headgate.cache.vary import matches
from headgate.engine.events import Request, Response
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_700_000_000
LATER = NOW + 1000
DAY = 86400


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def asked(*pairs, method=b"GET"):
    return Request(method, b"/", 11, fields(*pairs))


def stored(*pairs, request=None):
    response = Response(
        200, b"OK", 11, fields((b"date", format_date(NOW)), (b"cache-control", b"max-age=60"), *pairs)
    )
    made = build(b"k", request or asked(), response, Policy(), NOW, NOW)
    made.body = MemoryBody([b"content"])
    made.length = 7
    made.is_complete = True
    return made


def plain(etag=b"", modified=-1, date=0):
    made = StoredResponse(b"k", 200, b"OK", fields(), MemoryBody())
    made.etag = etag
    made.last_modified = modified
    made.date = date
    return made


def validated(variant, *pairs, status=304, request=None):
    response = Response(status, b"", 11, fields(*pairs))
    return merge_304(variant, request or asked(), response, Policy(), LATER, LATER)


@pytest.mark.parametrize(
    ("pairs", "variant", "expected"),
    [
        ([(b"etag", b'"a"')], plain(b'"a"'), True),
        ([(b"etag", b'"b"')], plain(b'"a"'), False),
        ([(b"etag", b'"a"')], plain(b'W/"a"'), False),
        ([(b"etag", b'W/"a"')], plain(b'W/"a"'), True),
        ([(b"etag", b'W/"a"')], plain(b'"a"'), True),
        ([(b"etag", b'W/"b"')], plain(b'"a"'), False),
        ([(b"etag", b'"a"')], plain(modified=NOW), False),
        ([(b"etag", b'"a"'), (b"last-modified", format_date(9))], plain(modified=9, date=69), True),
        ([(b"etag", b'"a"'), (b"last-modified", format_date(9))], plain(modified=9, date=68), False),
        ([(b"etag", b'W/"a"'), (b"last-modified", format_date(9))], plain(modified=9, date=68), True),
        ([(b"etag", b'"a"'), (b"last-modified", format_date(1))], plain(b'"a"', NOW), True),
        ([(b"etag", b'"a"'), (b"last-modified", format_date(9))], plain(b'W/"a"', 9, 9 + 60), True),
        ([(b"etag", b'"a"'), (b"last-modified", format_date(9))], plain(b'W/"a"', 9, 9 + 59), False),
        ([(b"etag", b'"b"'), (b"last-modified", format_date(9))], plain(b'W/"a"', 9, 9 + 60), False),
        ([(b"last-modified", format_date(NOW))], plain(modified=NOW), True),
        ([(b"last-modified", format_date(NOW))], plain(b'"a"', NOW), True),
        ([(b"last-modified", format_date(NOW))], plain(modified=NOW - 1), False),
        ([(b"last-modified", format_date(NOW))], plain(b'"a"'), False),
        ([(b"last-modified", b"nonsense")], plain(modified=NOW), False),
        ([], plain(b'"a"', NOW), True),
        ([], plain(), True),
        ([(b"etag", b"unquoted")], plain(b'"a"'), True),
    ],
)
def test_what_a_304_is_about(pairs, variant, expected):
    assert names_variant(fields(*pairs), variant, NOW) is expected


@pytest.mark.parametrize(
    ("pairs", "variant", "expected"),
    [
        ([(b"etag", b'"a"')], plain(b'"a"'), True),
        ([(b"etag", b'"a"')], plain(b'"b"'), False),
        ([(b"etag", b'W/"a"')], plain(b'W/"a"'), False),
        ([(b"etag", b'W/"a"'), (b"last-modified", format_date(9))], plain(b'W/"a"', 9, 69), True),
        ([(b"last-modified", format_date(9))], plain(modified=9, date=69), True),
        ([(b"last-modified", format_date(9))], plain(modified=9, date=68), False),
        ([(b"last-modified", format_date(8))], plain(modified=9, date=69), False),
        ([(b"etag", b'"b"'), (b"last-modified", format_date(9))], plain(b'"a"', 9, 69), False),
        ([], plain(), False),
    ],
)
def test_a_strong_validator_names_all_that_have_it(pairs, variant, expected):
    assert is_named_strongly(fields(*pairs), variant, NOW) is expected


def test_a_304_updates_what_is_stored():
    variant = stored((b"etag", b'"a"'), (b"x", b"1"), (b"y", b"1"), (b"content-length", b"7"))
    variant.flags |= e.SOFT_PURGED
    before = variant.fields
    merged = validated(
        variant,
        (b"date", format_date(LATER)),
        (b"etag", b'"a"'),
        (b"x", b"2"),
        (b"content-length", b"0"),
        (b"cache-control", b"max-age=3600"),
        (b"connection", b"z"),
        (b"z", b"1"),
    )
    assert merged is variant
    assert variant.fields is not before
    assert variant.fields.get_all(b"x") == [b"2"]
    assert variant.fields.get_all(b"y") == [b"1"]
    assert variant.fields.get_all(b"content-length") == [b"7"]
    assert b"z" not in variant.fields.names
    assert b"connection" not in variant.fields.names
    assert variant.lifetime == 3600
    assert variant.fresh_until == LATER + 3600
    assert variant.flags & e.SOFT_PURGED == 0
    assert (variant.request_time, variant.status) == (LATER, 200)
    assert variant.body.read(0, 9) == b"content"


def test_a_304_without_a_date_was_made_when_it_came():
    variant = stored((b"etag", b'"a"'))
    assert validated(variant, (b"etag", b'"a"')) is variant
    assert variant.date == LATER
    assert variant.fresh_until == LATER + 60
    assert variant.fields.get(b"date") == format_date(LATER)


def test_the_age_of_a_304_counts():
    variant = stored((b"etag", b'"a"'))
    validated(variant, (b"etag", b'"a"'), (b"date", format_date(LATER)), (b"age", b"50"))
    assert variant.fresh_until == LATER + 10
    assert b"age" not in variant.fields.names


def test_a_304_about_something_else_changes_nothing():
    variant = stored((b"etag", b'"a"'))
    before = variant.fields.items()
    assert validated(variant, (b"etag", b'"b"'), (b"x", b"1")) is None
    assert validated(variant, (b"etag", b'"a"'), status=200) is None
    assert variant.fields.items() == before
    assert variant.fresh_until == NOW + 60


def test_a_vary_that_is_new():
    variant = stored((b"etag", b'"a"'))
    validated(variant, (b"etag", b'"a"'), (b"vary", b"foo"), request=asked((b"foo", b"1")))
    assert variant.vary == ((b"foo", b"1"),)
    validated(variant, (b"etag", b'"a"'), (b"vary", b"Foo"), request=asked((b"foo", b"2")))
    assert variant.vary == ((b"foo", b"1"),)  # the same names: it is still the response to that request
    validated(variant, (b"etag", b'"a"'), (b"vary", b"*"), request=asked((b"foo", b"2")))
    assert not matches(variant, fields((b"foo", b"1")))
    assert not matches(variant, fields((b"foo", b"2")))
    assert not still_storable(variant, Policy(), LATER)


@pytest.mark.parametrize("value", [b"no-store", b"private", b"private, max-age=60"])
def test_a_304_may_forbid_to_keep_it(value):
    variant = stored((b"etag", b'"a"'))
    assert still_storable(variant, Policy(), NOW)
    assert validated(variant, (b"etag", b'"a"'), (b"cache-control", value)) is variant
    assert not still_storable(variant, Policy(), LATER)


def headed(variant, *pairs, status=200):
    response = Response(status, b"", 11, fields(*pairs))
    return merge_head(variant, asked(method=b"HEAD"), response, Policy(), LATER, LATER)


def test_head_updates_what_has_the_same_validators_and_length():
    variant = stored((b"etag", b'"a"'), (b"last-modified", format_date(NOW - DAY)), (b"x", b"1"))
    assert (
        headed(
            variant,
            (b"etag", b'"a"'),
            (b"last-modified", format_date(NOW - DAY)),
            (b"content-length", b"7"),
            (b"x", b"2"),
            (b"cache-control", b"max-age=99"),
        )
        == UPDATED
    )
    assert variant.fields.get_all(b"x") == [b"2"]
    assert variant.fresh_until == LATER + 99
    assert headed(stored(), (b"x", b"2")) == UPDATED


@pytest.mark.parametrize(
    "pair",
    [
        (b"etag", b'"b"'),
        (b"etag", b'W/"a"'),
        (b"last-modified", format_date(NOW)),
        (b"content-length", b"8"),
    ],
)
def test_head_makes_stale_what_has_not(pair):
    variant = stored((b"etag", b'"a"'), (b"last-modified", format_date(NOW - DAY)), (b"x", b"1"))
    assert headed(variant, pair, (b"x", b"2")) == MADE_STALE
    assert variant.flags & e.SOFT_PURGED
    assert variant.fields.get(b"x") == b"1"


@pytest.mark.parametrize(("status", "expected"), [(404, MADE_STALE), (410, MADE_STALE), (301, MADE_STALE)])
def test_head_of_what_is_gone(status, expected):
    assert headed(stored(), status=status) == expected


@pytest.mark.parametrize("status", [500, 503, 401, 403, 429, 304])
def test_other_answers_to_head_say_nothing(status):
    variant = stored((b"x", b"1"))
    assert headed(variant, (b"x", b"2"), status=status) == NOTHING
    assert variant.flags & e.SOFT_PURGED == 0


def test_head_leaves_alone_what_is_not_there_yet():
    variant = stored()
    variant.length = -1
    assert headed(variant, (b"content-length", b"7")) == NOTHING
    variant = stored()
    variant.status = 404
    assert headed(variant) == NOTHING
