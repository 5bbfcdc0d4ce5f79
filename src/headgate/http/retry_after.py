"""Retry-After (RFC 9110 section 10.2.3): how long a server wants to be left alone, as a number of seconds or a date.

All three forms of a date are read, as section 5.6.7 asks of every recipient. A peer wrote this: whatever is neither
is no wish at all, and how much of a wish is granted is for the caller to bound.
"""

from typing import Final

from headgate.http.date import parse_http_date

# Longer than any date; a number of so many digits is a wish for ever, which callers bound anyway.
_LONGEST: Final = 40
_FOR_EVER: Final = 1e9


def parse_retry_after(value: bytes, wall: float) -> float:
    """Return how many seconds from `wall` (seconds since the epoch) it asks for; 0.0: none, or not understood."""
    if len(value) > _LONGEST:
        return 0.0
    if value.isdigit():
        return float(int(value)) if len(value) <= 9 else _FOR_EVER
    return max(parse_http_date(value, wall) - wall, 0.0)
