"""The budget of retries: a share of the traffic, a floor, and nothing that is saved up for ever."""

import pytest

from headgate.upstream.retries import (
    CLOSED,
    CONNECT,
    IDEMPOTENT,
    INVALID,
    REUSED,
    STATUS,
    TIMEOUT,
    UNTOUCHED,
    WINDOW,
    Retries,
    RetryBudget,
)


def stream(budget, rate, seconds, start=0.0, wanted=1.0):
    """Let `rate` requests a second come for a while, of which `wanted` ask for a token; return how many got one."""
    got, asked = 0, 0.0
    for index in range(int(rate * seconds)):
        budget.requests += 1
        asked += wanted
        if asked >= 1.0:
            asked -= 1.0
            got += budget.take(start + (index + 1) / rate)
    return got


@pytest.mark.parametrize(("share", "rate"), [(0.05, 1000), (0.2, 100), (0.2, 1000), (1.0, 10)])
def test_no_more_than_its_share_of_a_steady_stream(share, rate):
    budget = RetryBudget(share, 0.0, 0.0)
    seconds = 100.0
    got = stream(budget, rate, seconds)
    assert 0.95 * share * rate * seconds <= got <= share * rate * seconds


def test_what_is_saved_up_is_bounded_by_the_window():
    """An hour without a failure, then all fail: the bucket holds ten seconds' worth of its share, and no hour's."""
    budget = RetryBudget(0.2, 0.0, 0.0)
    budget.requests = 3600 * 1000
    assert budget.available(3600.0) == pytest.approx(0.2 * 1000 * WINDOW, rel=0.001)
    got = stream(budget, 1000, 10.0, start=3600.0)
    assert 0.9 * 0.2 * 1000 * (WINDOW + 10.0) <= got <= 0.2 * 1000 * (WINDOW + 10.0)


def test_the_sums_do_not_depend_on_how_often_they_are_done():
    often, seldom = RetryBudget(0.2, 3.0, 0.0), RetryBudget(0.2, 3.0, 0.0)
    for index in range(10_000):
        often.requests += 1
        seldom.requests += 1
        often.available((index + 1) / 100)
    assert often.available(100.0) == pytest.approx(seldom.available(100.0), rel=0.001)


def test_with_little_traffic_the_floor_is_what_there_is():
    budget = RetryBudget(0.2, 3.0, 0.0)
    first = sum(budget.take(0.0) for _ in range(100))
    assert first == 3 * WINDOW
    assert sum(budget.take(100.0 + second) for second in range(100) for _ in range(10)) <= 3 * (100 + WINDOW)


def test_without_share_and_floor_there_is_none():
    budget = RetryBudget(0.0, 0.0, 0.0)
    budget.requests = 1000
    assert not budget.take(1.0)


def test_a_clock_that_stands_still_or_goes_back_makes_no_tokens():
    budget = RetryBudget(0.0, 1.0, 100.0)
    before = budget.available(100.0)
    assert budget.available(100.0) == before
    assert budget.available(50.0) == before
    assert budget.available(1e9) == pytest.approx(WINDOW)


def test_which_failures_are_followed_by_another_try():
    retries = Retries()
    assert [kind for kind in range(STATUS + 1) if retries.is_wanted(kind)] == [
        REUSED,
        UNTOUCHED,
        CONNECT,
        CLOSED,
        STATUS,
    ]
    retries = Retries(on=frozenset((TIMEOUT, INVALID)))
    assert not retries.is_wanted(CONNECT)
    assert retries.is_wanted(TIMEOUT)


def test_rfc9110_9_2_2_idempotent_methods():
    assert sorted(IDEMPOTENT) == [b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"TRACE"]


def test_one_attempt_looks_at_no_status():
    assert not Retries(attempts=1, statuses=frozenset((503,))).looks_at_status
    assert Retries(statuses=frozenset((503,))).looks_at_status
    assert not Retries().looks_at_status


def test_repr():
    assert repr(Retries()) == "<Retries 3 attempts, <RetryBudget 30.0 tokens>>"
