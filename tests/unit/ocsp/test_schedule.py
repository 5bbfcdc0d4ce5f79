"""When to ask next: the bounds of design section 7, for all lifetimes and all random numbers."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.ocsp.schedule import BOOT_TRIES, boot_delay, refresh_delay, retry_delay

DAY = 86_400.0
units = st.floats(0.0, 1.0, exclude_max=True)
lifetimes = st.floats(1.0, 400 * DAY)


def delay(lifetime, left, u=0.5, max_age=0.0, min_interval=300.0, max_interval=43_200.0):
    return refresh_delay(
        lifetime=lifetime,
        left=left,
        u=u,
        min_interval=min_interval,
        max_interval=max_interval,
        max_age=max_age,
    )


@given(lifetimes, st.floats(0.0, 1.0), units, st.floats(0.0, 30 * DAY))
def test_refresh_stays_within_its_bounds(lifetime, share, u, max_age):
    left = lifetime * share
    result = delay(lifetime, left, u, max_age)
    assert result >= 30.0
    assert result <= max(30.0, left * 0.75)
    assert result <= max(43_200.0, max_age)
    if left * 0.75 >= 300.0:
        assert result >= 300.0


@given(units, st.floats(10 * 60.0, 20 * 3600.0))
def test_refresh_lies_around_the_middle_of_what_is_left(u, left):
    result = delay(left, left, u, min_interval=0.0)
    usable = left - min(300.0, left / 10.0)
    assert 0.4 * usable <= result + 1e-6
    assert result <= 0.6 * usable + 1e-6


def test_long_answers_are_refreshed_at_the_maximum_interval():
    assert delay(7 * DAY, 7 * DAY) == 43_200.0


def test_short_answers_are_never_left_without_a_staple():
    """A five-minute answer: HAProxy never staples it. Here the next fetch comes while half of it is left."""
    result = delay(300.0, 300.0, u=0.999)
    assert 30.0 <= result <= 225.0


def test_max_age_delays_but_not_beyond_three_quarters():
    assert delay(7 * DAY, 7 * DAY, max_age=DAY) == DAY
    assert delay(7 * DAY, DAY, max_age=6 * DAY) == 0.75 * DAY


def test_nothing_left_is_asked_at_the_floor():
    assert delay(3600.0, 0.0) == 30.0
    assert delay(3600.0, -100.0) == 30.0


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0.0, 400 * DAY)), units)
def test_retry_stays_within_its_bounds(failures, left, u):
    result = retry_delay(failures=failures, left=left, u=u)
    assert 10.0 <= result <= 3_600.0
    if left is not None:
        assert result <= max(10.0, left / 4.0)
    else:
        assert result >= 30.0


@given(st.integers(1, 60))
def test_retry_grows_and_spreads(failures):
    assert retry_delay(failures=failures + 1, left=None, u=0.0) >= retry_delay(
        failures=failures, left=None, u=0.0
    )
    assert retry_delay(failures=failures, left=None, u=0.9) > retry_delay(failures=failures, left=None, u=0.1)


def test_retry_doubles_from_thirty_seconds_to_an_hour():
    assert [retry_delay(failures=n, left=None, u=0.0) for n in (1, 2, 3, 4, 100)] == [30, 60, 120, 240, 2400]
    assert retry_delay(failures=100, left=None, u=0.9999) > 3_590


@given(st.integers(1, BOOT_TRIES), units)
def test_boot_retries_come_within_seconds(failures, u):
    assert 1.0 <= boot_delay(failures=failures, u=u) <= 30.0


def test_a_name_that_resolves_five_seconds_after_boot_is_asked_within_ten():
    assert sum(boot_delay(failures=n, u=0.99) for n in (1, 2, 3)) < 11.0
