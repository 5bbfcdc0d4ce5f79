"""Date: its format, and that the line that is remembered is never that of another second."""

import calendar
import locale
from email.utils import formatdate

import pytest

from headgate.http import date
from headgate.http.date import add_date, format_date, parse_http_date
from headgate.http.fields import DATE, Fields


def dated(wall):
    fields = Fields([], [])
    add_date(fields, wall)
    return fields


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ((1994, 11, 6, 8, 49, 37), b"Sun, 06 Nov 1994 08:49:37 GMT"),  # the example of the RFC
        ((2000, 2, 29, 0, 0, 0), b"Tue, 29 Feb 2000 00:00:00 GMT"),
        ((2026, 12, 31, 23, 59, 59), b"Thu, 31 Dec 2026 23:59:59 GMT"),
    ],
)
def test_rfc9110_5_6_7_an_imf_fixdate(when, text):
    assert format_date(calendar.timegm(when)) == text


def test_rfc9110_5_6_7_every_month_and_day_as_another_library_has_it():
    for day in range(400):
        second = 1_700_000_000 + day * 86_401
        assert format_date(second) == formatdate(second, usegmt=True).encode()


def test_rfc9110_5_6_7_no_locale_changes_the_names():
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, "")
        assert format_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    finally:
        locale.setlocale(locale.LC_TIME, before)


def test_rfc9110_6_6_1_one_line_that_says_so():
    fields = dated(784_111_777.9)
    assert fields.items() == [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")]
    assert fields.flags & DATE


def test_the_line_is_made_once_a_second_and_follows_a_clock_that_jumps_back():
    first, again, later, back = (dated(wall).lines[0] for wall in (100.0, 100.99, 101.0, 100.5))
    assert again is first
    assert later == b"Date: Thu, 01 Jan 1970 00:01:41 GMT"
    assert back == first


NOW = float(calendar.timegm((2026, 3, 1, 12, 0, 0)))
AUGUST = calendar.timegm((2050, 8, 18, 2, 1, 18))


@pytest.mark.parametrize(
    "value",
    [
        b"Thu, 18 Aug 2050 02:01:18 GMT",
        b"THU, 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18 AUG 2050 02:01:18 GMT",
        b"Thu, 18 aug 2050 02:01:18 gMT",
        b"Mon, 18 Aug 2050 02:01:18 GMT",
        b"Thursday, 18-Aug-50 02:01:18 GMT",
        b"thursday, 18-aug-50 02:01:18 gmt",
        b"Thu Aug 18 02:01:18 2050",
    ],
)
def test_rfc9111_4_2_dates_are_matched_case_insensitively(value):
    assert parse_http_date(value, NOW) == AUGUST


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"Thu, 18 Aug 2050 02:01:18 UTC",
        b"Thu, 18 Aug 2050 02:01:18 AEST",
        b"Thu, 18 Aug 2050 02:01:18 +0000",
        b"Thu, 18 Aug 50 02:01:18 GMT",
        b"Thu 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18  Aug  2050 02:01:18 GMT",
        b"Thu, 18-Aug-2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02.01.18 GMT",
        b"Thu, 18 Aug 2050 2:01:18 GMT",
        b"Thu, 8 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 24:01:18 GMT",
        b"Thu, 18 Aug 2050 02:01:61 GMT",
        b"Thu, 31 Feb 2050 02:01:18 GMT",
        b"Thu, 00 Feb 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02:01:18 GMT ",
        b"Thu, 18 Aug 2050 02:01:18 GMT, x",
        b"Xyz, 18 Aug 2050 02:01:18 GMT",
        b"Thur, 18-Aug-50 02:01:18 GMT",
        b"Thu Aug 8 02:01:18 2050",
        "Thu, ١٨ Aug 2050 02:01:18 GMT".encode(),
    ],
)
def test_what_is_no_date(value):
    assert parse_http_date(value, NOW) == -1


def test_dates_before_the_epoch_are_the_epoch():
    assert parse_http_date(b"Thu, 18 Aug 1950 02:01:18 GMT", NOW) == 0
    assert parse_http_date(b"Thu, 18 Aug 0000 02:01:18 GMT", NOW) == 0


def test_rfc9110_5_6_7_two_digits_near_the_turn_of_a_century():
    late = float(calendar.timegm((2099, 3, 1, 0, 0, 0)))
    assert parse_http_date(b"Thursday, 18-Aug-01 02:01:18 GMT", late) == calendar.timegm(
        (2101, 8, 18, 2, 1, 18)
    )
    assert parse_http_date(b"Thursday, 18-Aug-49 02:01:18 GMT", late) == calendar.timegm(
        (2149, 8, 18, 2, 1, 18)
    )
    assert parse_http_date(b"Thursday, 18-Aug-50 02:01:18 GMT", late) == calendar.timegm(
        (2050, 8, 18, 2, 1, 18)
    )
    leap = calendar.timegm((2016, 12, 31, 23, 59, 60))
    assert parse_http_date(b"Sat, 31 Dec 2016 23:59:60 GMT", NOW) == leap


def test_dates_that_were_read_before_are_known_and_few_are_kept():
    for second in [*range(0, 86400 * 600, 86400), 0]:
        for _ in range(2):
            assert parse_http_date(format_date(second), 0.0) == second
        assert len(date._READ) <= date._MAX_READ
    # No century is remembered: it depends on the clock.
    value = b"Sunday, 06-Nov-94 08:49:37 GMT"
    assert parse_http_date(value, 784111777.0) == 784111777
    assert parse_http_date(value, 784111777.0 + 100 * 31_556_952) > 784111777
