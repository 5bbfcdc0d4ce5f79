"""Leaky counts: the burst and one more, what leaks out, what is earned."""

import pytest

from headgate.engine.h2 import budgets as b
from headgate.engine.h2.budgets import FIRST_PAID, KINDS, MAX_EARNED, Budgets
from headgate.engine.h2.errors import ENHANCE_YOUR_CALM, H2ConnectionError

NOW = 1234.5
ALL = range(len(KINDS))
WORDS = [kind[0] for kind in KINDS]


def fill(budgets, kind, now=NOW):
    for _ in range(min(KINDS[kind][1], 1000)):
        budgets.spend(kind, now, max(KINDS[kind][1] // 1000, 1))


def refused(budgets, kind, now=NOW):
    with pytest.raises(H2ConnectionError) as caught:
        budgets.spend(kind, now)
    return caught.value


@pytest.mark.parametrize("kind", ALL, ids=WORDS)
def test_each_kind_at_its_burst_and_one_more(kind):
    budgets = Budgets()
    for _ in range(KINDS[kind][1] if kind != b.PADDING else 0):
        budgets.spend(kind, NOW)
    if kind == b.PADDING:
        budgets.spend(kind, NOW, KINDS[kind][1])
    error = refused(budgets, kind)
    assert (error.code, error.reason) == (ENHANCE_YOUR_CALM, KINDS[kind][0])
    assert str(KINDS[kind][1]) in error.detail


@pytest.mark.parametrize("kind", ALL, ids=WORDS)
def test_a_count_leaks(kind):
    budgets = Budgets()
    _, burst, rate = KINDS[kind]
    budgets.spend(kind, NOW, burst)
    later = NOW + 1.0001
    for _ in range(min(rate, 50)):
        budgets.spend(kind, later, max(rate // 50, 1))
    refused(budgets, kind, NOW)
    budgets.spend(kind, NOW + burst / rate + 2.01, burst)  # empty again


@pytest.mark.parametrize("kind", ALL, ids=WORDS)
def test_no_kind_counts_for_another(kind):
    budgets = Budgets()
    budgets.spend(kind, NOW, KINDS[kind][1])
    for other in ALL:
        if other != kind:
            budgets.spend(other, NOW, KINDS[other][1])


@pytest.mark.parametrize("kind", ALL, ids=WORDS)
def test_what_is_earned_pays_for_some_kinds(kind):
    budgets = Budgets()
    budgets.spend(kind, NOW, KINDS[kind][1])
    budgets.earn(2)
    if kind >= FIRST_PAID:
        budgets.spend(kind, NOW)
        budgets.spend(kind, NOW)
    refused(budgets, kind)


def test_what_is_saved_up_is_bounded():
    budgets = Budgets()
    budgets.earn(MAX_EARNED)
    budgets.earn(1)
    assert budgets.earned == MAX_EARNED
    budgets.spend(b.PINGS, NOW, b.MAX_PINGS)
    budgets.spend(b.PINGS, NOW, MAX_EARNED)
    refused(budgets, b.PINGS)


def test_requests_that_were_answered_make_good_for_one_that_was_given_up():
    budgets = Budgets()
    budgets.answered()  # nothing to make good for, and nothing is saved up
    budgets.spend(b.RAPID_RESET, NOW, b.MAX_RAPID_RESETS)
    for _ in range(b.ANSWERS_FOR_A_RESET - 1):
        budgets.answered()
    refused(budgets, b.RAPID_RESET)
    budgets.answered()
    budgets.answered()  # a quarter of an interval is no whole number of nanoseconds
    budgets.spend(b.RAPID_RESET, NOW)
    refused(budgets, b.RAPID_RESET)


def test_answers_of_long_ago_are_no_credit():
    budgets = Budgets()
    budgets.spend(b.RAPID_RESET, NOW)
    for _ in range(1000):
        budgets.answered()
    budgets.spend(b.RAPID_RESET, NOW + 1, b.MAX_RAPID_RESETS)
    refused(budgets, b.RAPID_RESET, NOW + 1)


def test_padding_counts_beyond_the_content_it_comes_with():
    budgets = Budgets()
    budgets.pad(255, 16_000, NOW)
    budgets.pad(200, 200, NOW)
    budgets.spend(b.PADDING, NOW, b.MAX_PADDING - 1)
    budgets.pad(11, 10, NOW)
    with pytest.raises(H2ConnectionError, match="padding"):
        budgets.pad(11, 10, NOW)
