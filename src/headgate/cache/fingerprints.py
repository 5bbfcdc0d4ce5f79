"""Keys of which one number is to be remembered, and no more: tables of fingerprints, 8 octets a key.

Two keys in one place: the later one stays. A table is made when something is to be put into it: until then a look-up
touches nothing, where each is a line of memory that no cache of the processor has.
"""

from __future__ import annotations

from array import array
from typing import Final, final

from mypy_extensions import i64

_LEAST_PLACES: Final = 1024
_MOST_PLACES: Final = 1 << 20


def _places(wanted: int) -> int:
    """Return a power of two."""
    size = _LEAST_PLACES
    while size < wanted and size < _MOST_PLACES:
        size *= 2
    return size


def _table(mask: int) -> array[int]:
    return array("q", bytes(8 * (mask + 1)))


@final
class Ghosts:
    """Keys that left a queue lately, each with the moment of leaving. A wrong answer is one in 2**31."""

    __slots__ = ("_mask", "_moment", "_table")

    def __init__(self, places: int) -> None:
        self._mask: i64 = _places(places) - 1
        self._moment: i64 = 0
        self._table: array[int] | None = None

    def add(self, key: bytes) -> None:
        if self._table is None:
            self._table = _table(self._mask)
        self._moment = (self._moment + 1) & 0x7FFFFFFF
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        self._table[mixed & self._mask] = ((mixed >> 31) << 31) | self._moment

    def take(self, key: bytes, span: int) -> bool:
        """Tell whether `key` left within the last `span` departures, and forget it."""
        if self._table is None:
            return False
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        place = mixed & self._mask
        found = i64(self._table[place])
        if found == 0 or found >> 31 != mixed >> 31:
            return False
        self._table[place] = 0
        return ((self._moment - found) & 0x7FFFFFFF) < span


@final
class Marks:
    """Keys, each with the second until which something is so. A wrong answer is one in 2**30."""

    __slots__ = ("_mask", "_table")

    def __init__(self, places: int) -> None:
        self._mask: i64 = _places(places) - 1
        self._table: array[int] | None = None

    def set(self, key: bytes, until: float) -> None:
        if self._table is None:
            self._table = _table(self._mask)
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        self._table[mixed & self._mask] = ((mixed >> 32) << 32) | min(int(until), 0xFFFFFFFF)

    def until(self, key: bytes) -> int:
        """Return the second, 0 for none."""
        if self._table is None:
            return 0
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        found = i64(self._table[mixed & self._mask])
        return int(found & 0xFFFFFFFF) if found >> 32 == mixed >> 32 else 0

    def clear(self, key: bytes) -> None:
        if self._table is not None and self.until(key):
            self._table[hash(key) & self._mask] = 0
