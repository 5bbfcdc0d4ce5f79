"""Date: its format, and that the line that is remembered is never that of another second."""

import calendar
import locale
from email.utils import formatdate

import pytest

from headgate.http.date import add_date, format_date
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
