"""The arithmetic of freshness with fields that nobody would send: extreme, missing, malformed, several, in any order.

What must hold whatever comes: no exception; ages and lifetimes in their bounds; nothing that is malformed makes a
response fresher; and the numbers are those of a reference that follows the text of RFC 9111 section 4.2 word by word
where every field is well formed.
"""

from hypothesis import given
from hypothesis import strategies as st

from headgate.cache import entry as e
from headgate.cache.directives import FOREVER
from headgate.cache.outcome import HIT, STALE
from headgate.cache.policy import Policy
from headgate.cache.reuse import current_age, decide
from headgate.cache.storing import may_store
from headgate.http.date import format_date
from headgate.testing.cache import NOW, entry_of, request_of, response_of, stored_of

NUMBERS = st.one_of(
    st.integers(0, 10_000).map(str),
    st.sampled_from(
        ["0", "-1", "2147483647", "2147483648", "9" * 30, "9" * 5000, "1.5", "abc", "", "00060", "+5"]
    ),
)
OFFSETS = st.integers(-100_000, 100_000) | st.integers(-int(NOW) + 1, 200_000_000_000)
DATES = st.one_of(
    OFFSETS.map(lambda offset: format_date(int(NOW) + offset).decode()),
    st.sampled_from(
        ["0", "", "now", "Thu, 31 Feb 2050 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "x" * 60]
    ),
    st.sampled_from(
        ["Thursday, 18-Aug-50 02:01:18 GMT", "Thu Aug 18 02:01:18 2050", "Thu, 01 Jan 1970 00:00:00 GMT"]
    ),
)
DIRECTIVES = st.lists(
    st.one_of(
        NUMBERS.map(lambda n: f"max-age={n}"),
        NUMBERS.map(lambda n: f"s-maxage={n}"),
        NUMBERS.map(lambda n: f'max-age="{n}"'),
        st.sampled_from(
            ["public", "no-cache", "must-revalidate", "x=1", 'y="max-age=9', "stale-if-error=60", ""]
        ),
    ),
    max_size=3,
).map(", ".join)
LINES = st.lists(
    st.one_of(
        st.tuples(st.just("Age"), NUMBERS),
        st.tuples(st.just("Date"), DATES),
        st.tuples(st.just("Expires"), DATES),
        st.tuples(st.just("Last-Modified"), DATES),
        st.tuples(st.just("Cache-Control"), DIRECTIVES),
        st.tuples(st.just("CDN-Cache-Control"), DIRECTIVES),
        st.tuples(
            st.sampled_from(["Age", "Date", "Expires", "Cache-Control"]), st.text("0,;=\"a-' ", max_size=12)
        ),
    ),
    max_size=6,
)
STATUSES = st.sampled_from([200, 203, 206, 299, 404, 410, 503, 599])
MOMENTS = st.floats(-1e6, 1e10) | st.floats(0, 10_000)


@given(LINES, STATUSES, st.floats(-10, 1e6), MOMENTS)
def test_bounds(lines, status, took, later):
    stored = stored_of(*lines, status=status, took=took)
    now = NOW + later
    assert 0.0 <= stored.lifetime <= FOREVER
    assert 0 <= stored.age_value <= FOREVER
    assert stored.born <= stored.response_time
    assert stored.fresh_until == stored.born + stored.lifetime
    assert 0 <= current_age(stored, now) <= FOREVER
    assert min(stored.stale_if_error, stored.stale_while_revalidate, stored.stale_if_unreachable) >= 0.0
    decision = decide(request_of(), entry_of(stored), Policy(), now)
    if decision.outcome == HIT:
        assert now < stored.fresh_until
        assert not stored.flags & e.NO_CACHE
    if decision.outcome == STALE:
        assert not stored.flags & e.MUST_REVALIDATE
    may_store(request_of(), response_of(*lines, status=status), Policy(), NOW)


@given(LINES, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_response_only_grows_older(lines, one, other):
    stored = stored_of(*lines)
    first, last = sorted((one, other))
    assert current_age(stored, NOW + first) <= current_age(stored, NOW + last)
    if decide(request_of(), entry_of(stored), Policy(), NOW + last).outcome == HIT:
        assert decide(request_of(), entry_of(stored), Policy(), NOW + first).outcome == HIT


@given(LINES, st.integers(0, 5), st.sampled_from(["abc", "-1", "1.5", "", "2, 2", "1, x", "5;x", "'5'"]))
def test_a_malformed_age_makes_nothing_fresh(lines, at, age):
    stored = stored_of(*lines[:at], ("Age", age), *lines[at:])
    assert stored.fresh_until <= NOW


@given(LINES, st.integers(0, 5), st.sampled_from(["abc", "-1", "1.5", "", "5;x", "'5'", " 5"]))
def test_a_malformed_lifetime_makes_nothing_fresh(lines, at, number):
    without = [line for line in lines if "s-maxage" not in line[1] and line[0] != "CDN-Cache-Control"]
    stored = stored_of(*without[:at], ("Cache-Control", f"max-age={number}"), *without[at:])
    assert stored.fresh_until <= NOW


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_one_lifetime_more_never_lasts_longer(one, other):
    alone = stored_of(("Cache-Control", f"max-age={one}"))
    both = stored_of(("Cache-Control", f"max-age={one}"), ("Cache-Control", f"max-age={other}"))
    assert both.lifetime <= alone.lifetime


@given(
    st.integers(-100_000, 100_000),
    st.none() | st.integers(-100_000, 100_000),
    st.none() | st.integers(0, 100_000),
    st.none() | st.integers(0, 100_000),
    st.none() | st.integers(0, 100_000),
    st.integers(0, 1000),
    st.integers(0, 200_000),
)
def test_well_formed_fields_against_the_text(date, expires, max_age, s_maxage, age, took, later):
    lines = [("Date", date)]
    directives = []
    if expires is not None:
        lines.append(("Expires", expires))
    if max_age is not None:
        directives.append(f"max-age={max_age}")
    if s_maxage is not None:
        directives.append(f"s-maxage={s_maxage}")
    if directives:
        lines.append(("Cache-Control", ", ".join(directives)))
    if age is not None:
        lines.append(("Age", str(age)))
    stored = stored_of(*lines, took=float(took))

    # RFC 9111 section 4.2.1
    if s_maxage is not None:
        lifetime = s_maxage
    elif max_age is not None:
        lifetime = max_age
    elif expires is not None:
        lifetime = max(expires - date, 0)
    else:
        lifetime = 0
    # RFC 9111 section 4.2.3, its variables by name
    date_value = int(NOW) + date
    response_time = int(NOW)
    request_time = response_time - took
    now = response_time + later
    apparent_age = max(0, response_time - date_value)
    response_delay = response_time - request_time
    corrected_age_value = (age or 0) + response_delay
    corrected_initial_age = max(apparent_age, corrected_age_value)
    resident_time = now - response_time
    assert current_age(stored, float(now)) == corrected_initial_age + resident_time
    assert stored.lifetime == lifetime
    is_fresh = lifetime > corrected_initial_age + resident_time
    assert (decide(request_of(), entry_of(stored), Policy(), float(now)).outcome == HIT) == is_fresh
