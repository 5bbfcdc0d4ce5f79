"""How commands speak: JSON for programs, one line on stderr for what went wrong, times and sizes in words, and the
exit code. Tables for people are in `tables`."""

import sys
import time
from typing import Final

import orjson

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_GATE: Final = 3
NO_STAPLE: Final = 4


def print_json(value: object) -> None:
    """Print a value as JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def complain(message: str) -> None:
    """Say on stderr what went wrong."""
    sys.stderr.write(f"headgate: {message}\n")


def moment(seconds: object, now: float) -> str:
    """Return a time (seconds since the epoch) with its distance from now: "12:30:00 (in 2 h 5 min)"."""
    if not isinstance(seconds, (int, float)):
        return "-"
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    return f"{stamp} ({distance(seconds - now)})"


def distance(seconds: float) -> str:
    """Return "in 2 h 5 min" or "3 d 1 h ago": the two largest units."""
    left = round(abs(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    words = " ".join(parts[:2])
    return f"in {words}" if seconds >= 0 else f"{words} ago"


def size(count: object) -> str:
    """Return a number of bytes as "12.3 MiB"."""
    if not isinstance(count, (int, float)) or not count:
        return "-"
    return f"{count / 1_048_576:.1f} MiB"
