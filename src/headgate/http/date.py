"""Date (RFC 9110 section 6.6.1): when a response was made, or received when its origin did not say.

Whoever has a clock puts it into every final response of its own, and into one that it forwards without. The line has
a resolution of one second and is made once a second: it is remembered by the second that it tells, so that a clock
that jumps is followed at once.
"""

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


@final
class _Memo:
    """The last line that was made, and the second that it tells."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.second: int = -1
        self.line: bytes = b""


_memo: Final = _Memo()


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
