"""Lifetimes and ages: the arithmetic of RFC 9111 section 4.2."""

import pytest

from headgate.cache import freshness as f
from headgate.cache.directives import FOREVER, parse_cache_control
from headgate.cache.freshness import date_of, initial_age, last_modified_of, lifetime_of, parse_age
from headgate.cache.policy import Policy
from headgate.cache.storing import response_directives
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_800_000_000.0


def date(offset):
    return format_date(int(NOW) + offset)


def fields(*lines):
    made = Fields([], [])
    for name, value in lines:
        made.add(
            name.encode(),
            value if isinstance(value, bytes) else date(value) if isinstance(value, int) else value.encode(),
        )
    return made


def lifetime(*lines, status=200, policy=None):
    policy = policy or Policy()
    made = fields(*lines)
    return lifetime_of(status, made, response_directives(made, policy), policy, NOW)


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ([], 0),
        ([b"0"], 0),
        ([b"30"], 30),
        ([b"0030"], 30),
        ([b"2147483648"], FOREVER),
        ([b"9" * 400], FOREVER),
        ([b""], f.DOUBTFUL),
        ([b"abc"], f.DOUBTFUL),
        ([b"-7200"], f.DOUBTFUL),
        ([b"7200.0"], f.DOUBTFUL),
        ([b"0,7200"], 0),
        ([b"7200 , 0"], 7200),
        ([b"30,,60"], f.DOUBTFUL),
        ([b"30, abc"], f.DOUBTFUL),
        ([b",".join(b"%d" % age for age in range(5, 5 + f.MAX_AGES))], 5),
        ([b",".join(b"%d" % age for age in range(5, 6 + f.MAX_AGES))], f.DOUBTFUL),
        ([b"0, 0"], f.DOUBTFUL),
        ([b"7200;foo=bar"], f.DOUBTFUL),
        ([b"0", b"0"], f.DOUBTFUL),
    ],
)
def test_age(values, age):
    assert parse_age(values) == age


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("date", -30)], int(NOW) - 30),
        ([("date", 30)], int(NOW) + 30),
        ([], int(NOW)),
        ([("date", "foo")], int(NOW)),
        ([("date", -30), ("date", -30)], int(NOW) - 30),
        ([("date", -30), ("date", -20)], int(NOW)),
    ],
)
def test_the_date_of_a_response(lines, expected):
    assert date_of(fields(*lines), NOW + 0.9) == expected


def test_last_modified():
    assert last_modified_of(fields(("last-modified", -30)), NOW) == int(NOW) - 30
    assert last_modified_of(fields(), NOW) == -1
    assert last_modified_of(fields(("last-modified", "yesterday")), NOW) == -1
    assert last_modified_of(fields(("last-modified", -30), ("last-modified", -40)), NOW) == -1


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([("cache-control", "max-age=60")], 60),
        ([("cache-control", "max-age=60, s-maxage=5")], 5),
        ([("cache-control", "max-age=5"), ("cache-control", "s-maxage=60")], 60),
        ([("cache-control", "max-age=60"), ("expires", -7200), ("date", 0)], 60),
        ([("cache-control", "max-age=60"), ("expires", "0")], 60),
        ([("cache-control", "max-age=0"), ("expires", 3600), ("date", 0)], 0),
        ([("cache-control", "max-age=oops"), ("expires", 3600), ("date", 0)], 0),
        ([("expires", 3600), ("date", 0)], 3600),
        ([("expires", 0), ("date", 0)], 0),
        ([("expires", -60), ("date", 0)], 0),
        ([("expires", 300), ("date", 400)], 0),
        ([("expires", 20), ("date", 10)], 10),
        ([("expires", 10), ("date", -10)], 20),
        ([("expires", 10), ("date", "foo")], 10),
        ([("expires", 10)], 10),
        ([("expires", "0"), ("date", 0)], 0),
        ([("expires", ""), ("date", 0)], 0),
        ([("expires", 100), ("expires", 50), ("date", 0)], 50),
        ([("expires", 100), ("expires", "never"), ("date", 0)], 0),
        ([("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", 0)], FOREVER),
        ([("cache-control", "max-age=60"), ("age", "abc")], 0),
        ([("cache-control", "max-age=60"), ("age", "1, 2")], 60),
        ([("cache-control", "max-age=60"), ("age", "1, 1")], 0),
        ([("cache-control", "max-age=60"), ("age", "61")], 60),
        ([("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=5"), ("expires", -5)], 60),
        ([("cdn-cache-control", "max-age=5"), ("cache-control", "max-age=60")], 5),
        ([("cdn-cache-control", "max-age =60"), ("cache-control", "max-age=5")], 5),
    ],
)
def test_an_explicit_lifetime(lines, seconds):
    assert lifetime(*lines) == (seconds, f.EXPLICIT)


def test_a_targeted_field_without_a_lifetime_takes_expires_away():
    assert lifetime(("cdn-cache-control", "none"), ("expires", 60), ("date", 0)) == (0.0, f.NOTHING)


HOUR = ("last-modified", -3600)


@pytest.mark.parametrize("status", sorted(f.HEURISTICALLY_CACHEABLE))
def test_a_guess_is_a_tenth_of_the_time_without_change(status):
    assert lifetime(HOUR, ("date", 0), status=status) == (360.0, f.HEURISTIC)


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599])
def test_other_statuses_need_public(status):
    assert lifetime(HOUR, status=status) == (0.0, f.NOTHING)
    assert lifetime(HOUR, ("cache-control", "public"), status=status) == (360.0, f.HEURISTIC)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("last-modified", -864_000)], (86400.0, f.HEURISTIC)),
        ([("last-modified", 60)], (0.0, f.HEURISTIC)),
        ([HOUR, ("date", -1800)], (180.0, f.HEURISTIC)),
        ([("last-modified", "x")], (0.0, f.NOTHING)),
        ([HOUR, ("age", "x")], (0.0, f.NOTHING)),
        ([HOUR, ("pragma", "No-Cache")], (0.0, f.NOTHING)),
        ([HOUR, ("pragma", "other")], (360.0, f.HEURISTIC)),
        ([("etag", '"a"')], (0.0, f.NOTHING)),
        ([], (0.0, f.NOTHING)),
    ],
)
def test_what_is_guessed(lines, expected):
    assert lifetime(*lines) == expected


def test_what_a_route_says():
    policy = Policy()
    policy.default_ttl = 30.0
    policy.negative_ttl = {404: 5.0, 503: 1.0}
    assert lifetime(policy=policy) == (30.0, f.CONFIGURED)
    assert lifetime(HOUR, policy=policy) == (30.0, f.CONFIGURED)
    assert lifetime(status=404, policy=policy) == (5.0, f.CONFIGURED)
    assert lifetime(status=503, policy=policy) == (1.0, f.CONFIGURED)
    assert lifetime(status=500, policy=policy) == (0.0, f.NOTHING)
    assert lifetime(("cache-control", "max-age=60"), status=404, policy=policy) == (60.0, f.EXPLICIT)
    policy.min_ttl, policy.max_ttl = 10.0, 100.0
    assert lifetime(("cache-control", "max-age=0"), policy=policy) == (10.0, f.EXPLICIT)
    assert lifetime(("cache-control", "max-age=1000"), policy=policy) == (100.0, f.EXPLICIT)
    policy.ttl = 7.0
    assert lifetime(("cache-control", "max-age=1000"), policy=policy) == (7.0, f.CONFIGURED)
    assert lifetime(status=404, policy=policy) == (7.0, f.CONFIGURED)
    assert lifetime(status=500, policy=policy) == (0.0, f.NOTHING)
    assert lifetime(status=503, policy=policy) == (1.0, f.CONFIGURED)
    assert lifetime(("cache-control", "max-age=60"), status=500, policy=policy) == (60.0, f.EXPLICIT)


@pytest.mark.parametrize(
    ("date", "age", "asked", "came", "expected"),
    [
        (100, 0, 100.0, 100.5, 0.5),
        (100, 0, 100.9, 100.95, pytest.approx(0.05)),
        (90, 0, 100.0, 100.0, 10.0),
        (90, 30, 100.0, 102.0, 32.0),
        (200, 15, 100.0, 100.0, 15.0),
        (200, 0, 100.0, 100.0, 0.0),
        (100, -1, 100.0, 100.0, 0.0),
        (100, 0, 200.0, 100.0, 0.0),
        (0, FOREVER, 100.0, 100.0, float(FOREVER)),
    ],
)
def test_rfc9111_4_2_3_the_age_of_a_response_that_comes_in(date, age, asked, came, expected):
    assert initial_age(date, age, asked, came) == expected


def test_directives_of_nothing():
    assert response_directives(fields(), Policy()).flags == 0
    assert parse_cache_control([]).max_age == -1
