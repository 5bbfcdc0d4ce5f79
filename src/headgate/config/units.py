"""Durations, sizes, rates and shares, as they stand in the configuration.

A bare number says nothing about its unit, and "10" has been read as seconds, milliseconds and minutes by three
proxies that our users come from: a number without a unit is refused. What is parsed is kept in one unit (seconds,
bytes) and `format_…` gives the shortest text that parses to the same value, so that a configuration survives its
way through JSON to a child process unchanged.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES: Final = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
_PERIODS: Final = {"s": 1, "m": 60, "h": 3600}
# Ten years and 2^53 bytes: beyond them lies a typing error, and floats stop being exact.
_MAX_MILLISECONDS: Final = 3650 * _MILLISECONDS["d"]
_MAX_BYTES: Final = 2**53
_MAX_RATE: Final = 10**9

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
SIZE_PATTERN: Final = r"^(0|[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB))$"
RATE_PATTERN: Final = r"^(0|[0-9]+/(s|m|h))$"
SHARE_PATTERN: Final = r"^[0-9]+%$"

_DURATION: Final = re.compile(DURATION_PATTERN)
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(SIZE_PATTERN)

_WANT_DURATION: Final = 'a duration with its unit, such as "10s" (ms, s, m, h, d; "1h30m")'
_WANT_SIZE: Final = 'a size with its unit, such as "64KiB" (B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB)'
_WANT_RATE: Final = 'a rate such as "500/s" or "30/m" (s, m, h), or "0" for none'
_WANT_SHARE: Final = 'a share from "1%" to "100%"'
_WANT_SHARE_OR_ZERO: Final = 'a share from "0%" to "100%"'


def fault(expected: str, hint: str = "") -> PydanticCustomError:
    """Return the error (a `ValueError`) of a value that is not `expected`; `hint` says what to do instead."""
    return PydanticCustomError("headgate", "expected {expected}", {"expected": expected, "hint": hint})


def parse_duration(text: str) -> float:
    """Return seconds, exact to the millisecond. Raises `ValueError` when `text` is no duration."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        hint = f'write "{text}s" for seconds' if _is_number(text) and not str(text).startswith("-") else ""
        raise fault(_WANT_DURATION, hint)
    parts = _DURATION_PART.findall(text)
    sizes = [_MILLISECONDS[unit] for _, unit in parts]
    if sizes != sorted(set(sizes), reverse=True):
        raise fault(_WANT_DURATION, "units go from large to small, each once")
    total = sum((Decimal(number) * _MILLISECONDS[unit] for number, unit in parts), Decimal(0))
    if total != int(total):
        raise fault(_WANT_DURATION, "nothing below a millisecond is kept")
    if total > _MAX_MILLISECONDS:
        raise fault("a duration of at most 3650d")
    return int(total) / 1000


def format_duration(seconds: float) -> str:
    """Return the duration with the largest unit that divides it: 5400.0 gives "90m". One minute stays "60s"."""
    total = round(seconds * 1000)
    if total in (0, 60_000):
        return f"{total // 1000}s"
    unit = max((u for u, size in _MILLISECONDS.items() if total % size == 0), key=_MILLISECONDS.__getitem__)
    return f"{total // _MILLISECONDS[unit]}{unit}"


def parse_size(text: str) -> int:
    """Return bytes; "0" (which means unlimited where it is allowed) is 0. Raises `ValueError`."""
    if not isinstance(text, str) or not _SIZE.fullmatch(text):
        if not _is_number(text):
            hint = (
                "k, M and G alone are read as 1000 by some and 1024 by others" if _looks_short(text) else ""
            )
        else:
            hint = 'write "0" in quotes' if text in (0, "0") else f'write "{text}B" for bytes'
        raise fault(_WANT_SIZE, hint)
    if text == "0":
        return 0
    number, unit = re.split(r"(?<=[0-9])(?=[A-Za-z])", text)
    total = Decimal(number) * _BYTES[unit]
    if total != int(total):
        raise fault("a whole number of bytes")
    if total > _MAX_BYTES:
        raise fault("a size of at most 8192TiB")
    return int(total)


def format_size(size: int) -> str:
    """Return the size with the largest binary unit that divides it: 65536 gives "64KiB", 0 gives "0"."""
    if size == 0:
        return "0"
    unit = max(
        (u for u in ("B", "KiB", "MiB", "GiB", "TiB") if size % _BYTES[u] == 0), key=_BYTES.__getitem__
    )
    return f"{size // _BYTES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` things in `period` seconds (1, 60 or 3600); a count of 0 means that nothing is limited."""

    count: int
    period: int = 1

    @property
    def per_second(self) -> float:
        """Return the mean rate; 0.0 when nothing is limited."""
        return self.count / self.period

    @property
    def limited(self) -> bool:
        """Tell whether this rate limits anything."""
        return self.count > 0

    def __str__(self) -> str:
        return format_rate(self)


def parse_rate(text: str) -> Rate:
    """Return the rate; "0" limits nothing. Raises `ValueError`."""
    if not isinstance(text, str) or not re.fullmatch(RATE_PATTERN, text):
        raise fault(_WANT_RATE, f'write "{text}/s" for so many a second' if _is_number(text) else "")
    if text == "0":
        return Rate(0)
    count, period = text.split("/")
    if len(count) > 10 or not 0 < int(count) <= _MAX_RATE:
        raise fault(f"a rate from 1 to {_MAX_RATE}", 'write "0" to limit nothing')
    return Rate(int(count), _PERIODS[period])


def format_rate(rate: Rate) -> str:
    """Return "500/s"; "0" for a rate that limits nothing."""
    if not rate.limited:
        return "0"
    return f"{rate.count}/{ {size: unit for unit, size in _PERIODS.items()}[rate.period] }"


def parse_share(text: str) -> float:
    """Return a share of one: "80%" gives 0.8. Raises `ValueError`."""
    return _percents(text, 1, _WANT_SHARE)


def parse_share_or_zero(text: str) -> float:
    """Return a share of one that may be nothing: "0%" gives 0.0. Raises `ValueError`."""
    return _percents(text, 0, _WANT_SHARE_OR_ZERO)


def _percents(text: str, least: int, want: str) -> float:
    if not isinstance(text, str) or not re.fullmatch(SHARE_PATTERN, text) or len(text) > 4:
        raise fault(want)
    if not least <= int(text[:-1]) <= 100:
        raise fault(want)
    return int(text[:-1]) / 100


def format_share(share: float) -> str:
    """Return whole percents: 0.8 gives "80%"."""
    return f"{round(share * 100)}%"


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int | float) or (isinstance(value, str) and value.isdecimal())
    )


def _looks_short(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9.]+[kKmMgGtT]", value) is not None


def _some_duration(value: str) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise fault("a duration above zero")
    return seconds


def _some_size(value: str) -> int:
    size = parse_size(value)
    if size <= 0:
        raise fault("a size above zero", "this limit cannot be lifted")
    return size


def _as_rate(value: object) -> Rate:
    return value if isinstance(value, Rate) else parse_rate(value)  # type: ignore[arg-type]  # parse_rate checks


def _schema(pattern: str, what: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "title": what, "examples": list(examples)})


_FROM_DURATION: Final = PlainSerializer(format_duration, return_type=str)
_FROM_SIZE: Final = PlainSerializer(format_size, return_type=str)
_DURATION_SCHEMA: Final = _schema(DURATION_PATTERN, "duration", "10s", "250ms", "1h30m")
_SIZE_SCHEMA: Final = _schema(SIZE_PATTERN, "size", "64KiB", "10MiB")

Duration = Annotated[float, BeforeValidator(_some_duration), _FROM_DURATION, _DURATION_SCHEMA]
"""Seconds, above zero."""
DurationOrZero = Annotated[float, BeforeValidator(parse_duration), _FROM_DURATION, _DURATION_SCHEMA]
"""Seconds; "0s" is allowed."""
Size = Annotated[int, BeforeValidator(_some_size), _FROM_SIZE, _SIZE_SCHEMA]
"""Bytes, above zero."""
SizeOrUnlimited = Annotated[int, BeforeValidator(parse_size), _FROM_SIZE, _SIZE_SCHEMA]
"""Bytes; 0 is unlimited."""
SizeOrZero = Annotated[int, BeforeValidator(parse_size), _FROM_SIZE, _SIZE_SCHEMA]
"""Bytes; 0 is none."""
RateLimit = Annotated[
    Rate,
    BeforeValidator(_as_rate),
    PlainSerializer(format_rate, return_type=str),
    _schema(RATE_PATTERN, "rate", "500/s", "30/m", "0"),
]
"""A `Rate`; "0" limits nothing."""
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    PlainSerializer(format_share, return_type=str),
    _schema(SHARE_PATTERN, "share", "80%"),
]
"""A share of one, 0.01 to 1.0, in whole percents."""
ShareOrZero = Annotated[
    float,
    BeforeValidator(parse_share_or_zero),
    PlainSerializer(format_share, return_type=str),
    _schema(SHARE_PATTERN, "share", "0%", "80%"),
]
"""A share of one, 0.0 to 1.0, in whole percents."""
