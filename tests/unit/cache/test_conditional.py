"""Preconditions; the rules by section are in conformance/test_rfc9110_conditional.py."""

import pytest

from headgate.cache.conditional import (
    FORWARD,
    MAX_TAGS,
    add_validators,
    drop_conditions,
    evaluate,
    has_strong_date,
    is_strong,
    is_tag,
    match_strongly,
    match_weakly,
    not_modified_fields,
    parse_tags,
    strong_validator,
)
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.engine.events import Request
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_700_000_000


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def stored(etag=b"", modified=-1, status=200, date=NOW, complete=True):
    made = StoredResponse(b"k", status, b"OK", fields(), MemoryBody())
    made.etag = etag
    made.last_modified = modified
    made.date = date
    made.is_complete = complete
    if etag:
        made.fields.add(b"etag", etag)
    if modified >= 0:
        made.fields.add(b"last-modified", format_date(modified))
    return made


def asked(*pairs, method=b"GET"):
    return Request(method, b"/", 11, fields(*pairs))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([b"*"], [b"*"]),
        ([b'"a"'], [b'"a"']),
        ([b'"a", W/"b",,"c,d" ,"\\"'], [b'"a"', b'W/"b"', b'"c,d"', b'"\\"']),
        ([b'"a"', b'"b"'], [b'"a"', b'"b"']),
        ([b'"\xfc"'], [b'"\xfc"']),
        ([b'""'], [b'""']),
        ([b"a"], None),
        ([b'"a'], None),
        ([b'w/"a"'], None),
        ([b'W/"a" "b"'], None),
        ([b'"a b"'], None),
        ([b'"a\x7f"'], None),
        ([b'*, "a"'], None),
        ([b"W/"], None),
    ],
)
def test_tags_are_read(values, expected):
    assert parse_tags(values) == expected


def test_tags_at_the_limit_and_one_more():
    tags = [b'"%d"' % i for i in range(MAX_TAGS + 1)]
    assert parse_tags([b",".join(tags[:MAX_TAGS])]) == tags[:MAX_TAGS]
    assert parse_tags([b",".join(tags)]) is None


def test_what_is_a_tag():
    assert is_tag(b'"a"')
    assert is_tag(b'W/"a"')
    assert not is_tag(b"*")
    assert not is_tag(b"")
    assert not is_tag(b'"a" ')
    assert is_strong(b'"a"')
    assert not is_strong(b'W/"a"')
    assert not is_strong(b"a")


def test_comparisons():
    """The table of RFC 9110 section 8.8.3.2."""
    for one, other, strongly, weakly in (
        (b'W/"1"', b'W/"1"', False, True),
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'"1"', True, True),
        (b"1", b"1", False, False),
    ):
        assert match_strongly(one, other) is strongly
        assert match_weakly(one, other) is weakly


@pytest.mark.parametrize("value", [b'"a"', b'W/"a"', b'"x", "a"', b'"x","a","y"', b"*"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_matching_tag_is_304(value, method):
    assert evaluate(asked((b"if-none-match", value), method=method), stored(b'"a"'), NOW) == 304


@pytest.mark.parametrize("value", [b'"b"', b"a", b'"a', b'"A"', b'W/"b"', b""])
def test_another_tag_is_not(value):
    assert evaluate(asked((b"if-none-match", value)), stored(b'"a"'), NOW) == 200


def test_a_stored_response_without_a_tag_matches_the_star_alone():
    assert evaluate(asked((b"if-none-match", b'"a"')), stored(), NOW) == 200
    assert evaluate(asked((b"if-none-match", b"*")), stored(), NOW) == 304


@pytest.mark.parametrize(
    ("since", "expected"),
    [(NOW - 3000, 304), (NOW - 2000, 304), (NOW - 3001, 200)],
)
def test_dates(since, expected):
    variant = stored(modified=NOW - 3000)
    assert evaluate(asked((b"if-modified-since", format_date(since))), variant, NOW) == expected


def test_without_a_last_modified_the_date_counts():
    variant = stored(date=NOW - 10)
    assert evaluate(asked((b"if-modified-since", format_date(NOW - 10))), variant, NOW) == 304
    assert evaluate(asked((b"if-modified-since", format_date(NOW - 11))), variant, NOW) == 200


@pytest.mark.parametrize("value", [b"", b"yesterday", b"0", b"-1"])
def test_a_malformed_date_is_ignored(value):
    assert evaluate(asked((b"if-modified-since", value)), stored(modified=1), NOW) == 200


def test_two_dates_are_ignored():
    date = format_date(NOW)
    request = asked((b"if-modified-since", date), (b"if-modified-since", date))
    assert evaluate(request, stored(modified=1), NOW) == 200


def test_a_tag_outranks_a_date():
    variant = stored(b'"a"', NOW - 5000)
    both = asked((b"if-none-match", b'"a"'), (b"if-modified-since", format_date(1)))
    assert evaluate(both, variant, NOW) == 304
    both = asked((b"if-none-match", b'"b"'), (b"if-modified-since", format_date(NOW)))
    assert evaluate(both, variant, NOW) == 200


@pytest.mark.parametrize("name", [b"if-match", b"if-unmodified-since"])
def test_what_is_for_the_origin_is_forwarded(name):
    assert evaluate(asked((name, b'"a"'), (b"if-none-match", b'"a"')), stored(b'"a"'), NOW) == FORWARD


@pytest.mark.parametrize("status", [404, 301, 410, 500])
def test_other_statuses_have_no_preconditions(status):
    variant = stored(b'"a"', status=status)
    assert evaluate(asked((b"if-none-match", b'"a"'), (b"range", b"bytes=0-1")), variant, NOW) == 200


def test_a_range_applies_to_get_alone():
    assert evaluate(asked((b"range", b"bytes=0-1")), stored(), NOW) == 206
    assert evaluate(asked((b"range", b"bytes=0-1"), method=b"HEAD"), stored(), NOW) == 200
    assert evaluate(asked(), stored(), NOW) == 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'"a"', 206),
        (b'"b"', 200),
        (b'W/"a"', 200),
        (format_date(NOW - 3000), 206),
        (format_date(NOW - 2999), 200),
        (b"a", 200),
        (b"", 200),
    ],
)
def test_if_range(value, expected):
    variant = stored(b'"a"', NOW - 3000)
    assert evaluate(asked((b"range", b"bytes=0-1"), (b"if-range", value)), variant, NOW) == expected


def test_if_range_with_a_date_that_is_weak():
    variant = stored(modified=NOW - 59)
    request = asked((b"range", b"bytes=0-1"), (b"if-range", format_date(NOW - 59)))
    assert evaluate(request, variant, NOW) == 200
    assert not has_strong_date(variant)
    variant.date = NOW + 1
    assert evaluate(request, variant, NOW) == 206


def test_two_if_ranges_do_not_hold():
    request = asked((b"range", b"bytes=0-1"), (b"if-range", b'"a"'), (b"if-range", b'"a"'))
    assert evaluate(request, stored(b'"a"'), NOW) == 200


def test_strong_validators():
    assert strong_validator(stored(b'"a"', NOW - 100)) == b'"a"'
    assert strong_validator(stored(modified=NOW - 100)) == format_date(NOW - 100)
    assert strong_validator(stored(b'W/"a"', NOW - 100)) == b""
    assert strong_validator(stored(modified=NOW)) == b""
    assert strong_validator(stored()) == b""


def test_validators_are_added():
    request = fields((b"host", b"a"), (b"if-none-match", b'"theirs"'), (b"abc", b"1"))
    assert add_validators(request, stored(b'W/"a"', NOW))
    assert request.items() == [
        (b"host", b"a"),
        (b"abc", b"1"),
        (b"if-none-match", b'W/"a"'),
        (b"if-modified-since", format_date(NOW)),
    ]


def test_the_date_goes_as_it_came():
    variant = stored(modified=NOW)
    variant.fields.set(b"last-modified", b"Tue, 14-Nov-23 22:13:20 GMT")
    request = fields()
    assert add_validators(request, variant)
    assert request.get(b"if-modified-since") == b"Tue, 14-Nov-23 22:13:20 GMT"


def test_without_validators_nothing_is_added():
    request = fields((b"if-match", b"*"), (b"if-unmodified-since", format_date(NOW)))
    assert not add_validators(request, stored())
    assert len(request) == 0
    assert not add_validators(request, stored(b"unquoted"))


def test_conditions_are_dropped():
    request = fields((b"if-range", b'"a"'), (b"range", b"bytes=0-"), (b"if-match", b"*"))
    drop_conditions(request)
    assert request.items() == [(b"range", b"bytes=0-")]


def test_the_fields_of_a_304():
    made = fields(
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
        (b"last-modified", format_date(NOW)),
        (b"etag", b'"a"'),
        (b"cache-control", b"max-age=5"),
        (b"content-location", b"/x"),
        (b"date", format_date(NOW)),
        (b"expires", format_date(NOW)),
        (b"vary", b"foo"),
    )
    kept = [name for name, _ in not_modified_fields(made).items()]
    assert kept == [b"etag", b"cache-control", b"content-location", b"date", b"expires", b"vary"]
    made.remove(b"etag")
    assert b"last-modified" in not_modified_fields(made).names
