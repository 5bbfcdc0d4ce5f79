"""Retry-After: seconds, three kinds of dates, and whatever else a peer may write there."""

import calendar
import random

import pytest

from headgate.http.date import format_date
from headgate.http.date import parse_http_date as parse_date
from headgate.http.retry_after import parse_retry_after

NOW = float(calendar.timegm((2026, 3, 1, 12, 0, 0)))
EXAMPLE = calendar.timegm((1994, 11, 6, 8, 49, 37))


@pytest.mark.parametrize(("value", "seconds"), [(b"0", 0), (b"120", 120), (b"999999999", 999999999)])
def test_rfc9110_10_2_3_a_number_of_seconds(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_rfc9110_5_6_7_all_three_forms_of_a_date(value):
    assert parse_date(value, NOW) == EXAMPLE
    assert parse_retry_after(value, NOW) == 0.0, "it is long over"
    assert parse_retry_after(value, EXAMPLE - 90.5) == 90.5


def test_rfc9110_5_6_7_two_digits_of_a_year_are_at_most_fifty_years_ahead():
    assert parse_date(b"Sunday, 06-Nov-76 08:49:37 GMT", NOW) == calendar.timegm((2076, 11, 6, 8, 49, 37))
    assert parse_date(b"Sunday, 06-Nov-77 08:49:37 GMT", NOW) == calendar.timegm((1977, 11, 6, 8, 49, 37))


def test_what_is_written_here_is_read_there():
    drawn = random.Random(7)
    for _ in range(500):
        second = drawn.randrange(0, 1 << 33)
        assert parse_date(format_date(second), NOW) == second


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-1",
        b"1.5",
        b"+3",
        "١".encode(),
        b"soon",
        b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nix 2094 08:49:37 GMT",
        b"Sun, 06 Nov 2094 24:49:37 GMT",
        b"Sun, 06 Nov 2094 08:60:37 GMT",
        b"Sun, 06 Nov 2094 08:49:61 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"9" * 41,
        b"Sun, 06 Nov 2094 08:49:37 GMT, 5",
    ],
)
def test_what_is_neither_is_no_wish(value):
    assert parse_retry_after(value, NOW) == 0.0


def test_a_long_number_is_a_long_time_and_no_work():
    assert parse_retry_after(b"9" * 40, NOW) == 1e9
