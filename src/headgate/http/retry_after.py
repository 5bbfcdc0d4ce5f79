"""Retry-After (RFC 9110 section 10.2.3): how long a server wants to be left alone, as a number of seconds or a date.

All three forms of a date are read, as section 5.6.7 asks of every recipient. A peer wrote this: whatever is neither
is no wish at all, and how much of a wish is granted is for the caller to bound.
"""

import calendar
import re
from typing import Final

from headgate.http.date import MONTHS

_CLOCK: Final = rb"(\d\d):(\d\d):(\d\d)"
# Day, month and year in the order of each form; what day of the week it was is nobody's question.
_IMF_FIXDATE: Final = re.compile(rb"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) " + _CLOCK + rb" GMT")
_RFC850: Final = re.compile(rb"[A-Z][a-z]{5,8}, (\d\d)-([A-Z][a-z]{2})-(\d\d) " + _CLOCK + rb" GMT")
_ASCTIME: Final = re.compile(rb"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) " + _CLOCK + rb" (\d{4})")
# Longer than any date; a number of so many digits is a wish for ever, which callers bound anyway.
_LONGEST: Final = 40
_FOR_EVER: Final = 1e9


def parse_retry_after(value: bytes, wall: float) -> float:
    """Return how many seconds from `wall` (seconds since the epoch) it asks for; 0.0: none, or not understood."""
    if len(value) > _LONGEST:
        return 0.0
    if value.isdigit():
        return float(int(value)) if len(value) <= 9 else _FOR_EVER
    return max(parse_date(value, wall) - wall, 0.0)


def parse_date(value: bytes, wall: float) -> float:
    """Return an HTTP-date in seconds since the epoch; 0.0 when it is none. `wall` tells which century it is."""
    found = _IMF_FIXDATE.fullmatch(value)
    if found is not None:
        day, month, year, hour, minute, second = found.groups()
        return _seconds(year, month, day, hour, minute, second)
    found = _ASCTIME.fullmatch(value)
    if found is not None:
        month, day, hour, minute, second, year = found.groups()
        return _seconds(year, month, day, hour, minute, second)
    found = _RFC850.fullmatch(value)
    if found is None:
        return 0.0
    day, month, year, hour, minute, second = found.groups()
    now = 1970 + int(wall / 31_556_952)
    full = now // 100 * 100 + int(year)
    if full > now + 50:  # RFC 9110 section 5.6.7: more than 50 years ahead means the past
        full -= 100
    return _seconds(b"%d" % full, month, day, hour, minute, second)


def _seconds(year: bytes, month: bytes, day: bytes, hour: bytes, minute: bytes, second: bytes) -> float:
    if month not in MONTHS:
        return 0.0
    parts = (int(day), int(hour), int(minute), int(second))
    if not 1 <= parts[0] <= 31 or parts[1] > 23 or parts[2] > 59 or parts[3] > 60 or int(year) < 1970:
        return 0.0
    return float(calendar.timegm((int(year), MONTHS.index(month) + 1, *parts)))
