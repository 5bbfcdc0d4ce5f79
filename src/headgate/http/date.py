"""Date (RFC 9110 section 6.6.1): when a response was made, or received when its origin did not say.

Whoever has a clock puts it into every final response of its own, and into one that it forwards without. The line has
a resolution of one second and is made once a second: it is remembered by the second that it tells, so that a clock
that jumps is followed at once.

HTTP-dates are read here too (section 5.6.7): all three forms, case-insensitively, as RFC 9111 section 4.2 asks of
caches, and otherwise strictly. Only GMT is a zone. What day of the week it was is not checked against the date.
"""

import calendar
import re
import time
from typing import Final, final

from headgate.http.fields import DATE, Fields

# Not strftime's: those follow the locale, and RFC 9110 section 5.6.7 has these.
_DAYS: Final[list[bytes]] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"]
MONTHS: Final[list[bytes]] = [
    b"Jan",
    b"Feb",
    b"Mar",
    b"Apr",
    b"May",
    b"Jun",
    b"Jul",
    b"Aug",
    b"Sep",
    b"Oct",
    b"Nov",
    b"Dec",
]

_WEEKDAY: Final = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_WEEKDAY: Final = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH: Final = rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
# Day, month and year in the order of each form.
_IMF_FIXDATE: Final = re.compile(
    _WEEKDAY + rb", ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _CLOCK + rb" GMT", re.IGNORECASE
)
_RFC850: Final = re.compile(
    _LONG_WEEKDAY + rb", ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _CLOCK + rb" GMT", re.IGNORECASE
)
_ASCTIME: Final = re.compile(
    _WEEKDAY + rb" " + _MONTH + rb" ([ 0-9][0-9]) " + _CLOCK + rb" ([0-9]{4})", re.IGNORECASE
)


@final
class _Memo:
    """The last line that was made, and the second that it tells."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.second: int = -1
        self.line: bytes = b""


_memo: Final = _Memo()

# Dates that were read before: those of one second are the same, and those of one object too. Forgotten all at once.
_READ: Final[dict[bytes, int]] = {}
_MAX_READ: Final = 256


def format_date(second: int) -> bytes:
    """Return a time, in seconds since the epoch, as an IMF-fixdate (RFC 9110 section 5.6.7)."""
    at = time.gmtime(second)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[at.tm_wday],
        at.tm_mday,
        MONTHS[at.tm_mon - 1],
        at.tm_year,
        at.tm_hour,
        at.tm_min,
        at.tm_sec,
    )


def add_date(fields: Fields, wall: float) -> None:
    """Append Date to a section that has none; `wall` is now, in seconds since the epoch."""
    second = int(wall)
    memo = _memo
    if second != memo.second:
        memo.line = b"Date: " + format_date(second)
        memo.second = second
    fields.names.append(b"date")
    fields.lines.append(memo.line)
    fields.flags |= DATE


def parse_http_date(value: bytes, wall: float) -> int:
    """Return an HTTP-date in whole seconds since the epoch, 0 for all before it; -1 when it is none.

    `wall` tells which century two digits of a year are of: at most 50 years ahead, else the past.
    """
    known = _READ.get(value, -1)
    if known >= 0:
        return known
    found = _IMF_FIXDATE.fullmatch(value)
    if found is not None:
        day, month, year, hour, minute, second = found.groups()
        moment = _seconds(int(year), month, day, hour, minute, second)
        if len(_READ) >= _MAX_READ:
            _READ.clear()
        _READ[value] = moment
        return moment
    found = _ASCTIME.fullmatch(value)
    if found is not None:
        month, day, hour, minute, second, year = found.groups()
        return _seconds(int(year), month, day, hour, minute, second)
    found = _RFC850.fullmatch(value)
    if found is None:
        return -1
    day, month, year, hour, minute, second = found.groups()
    now = 1970 + int(wall / 31_556_952)
    full = now // 100 * 100 + int(year)
    if full > now + 50:
        full -= 100
    elif full + 100 <= now + 50:
        full += 100
    return _seconds(full, month, day, hour, minute, second)


def _seconds(year: int, month: bytes, day: bytes, hour: bytes, minute: bytes, second: bytes) -> int:
    number = MONTHS.index(month.title()) + 1
    parts = (int(day), int(hour), int(minute), int(second))
    if parts[1] > 23 or parts[2] > 59 or parts[3] > 60 or not 1 <= parts[0] <= 31:
        return -1
    if year < 1970:
        return 0
    if parts[0] > calendar.monthrange(year, number)[1]:
        return -1
    return calendar.timegm((year, number, *parts))
