"""Who may be written to the disk: keys that were asked for more than once of late.

Two of three URLs that a cache sees are asked for once (S3-FIFO's authors counted 26 to 84 % in their traces), and
writing those wears disks for nothing; Traffic Server's cache_promote admits at the second request too. Counts are
kept in a count-min sketch (Cormode and Muthukrishnan, 2005) of four rows of small counters, updated conservatively:
it never counts too little, and too much only where four others collide. After ten times as many requests as it has
places all counts are halved, as TinyLFU does, so that yesterday's favourites do not stay for ever. It costs the same
memory whatever is asked for, and Python's hash of bytes is keyed: nobody can aim at another's counters.
"""

from typing import Final, final

_ROWS: Final = 4
_MOST: Final = 15
_AGE: Final = 10  # requests for each place until counts are halved


@final
class Admission:
    """Counts requests by key; `threshold` of them let a key in."""

    __slots__ = ("_asked", "_mask", "_rows", "_shift", "_until", "refused", "threshold")

    def __init__(self, places: int = 1 << 16, threshold: int = 2) -> None:
        """Count about `places` keys, a power of two of them, four octets each. A threshold up to 1 admits all."""
        bits = 10
        while 1 << bits < places and bits < 22:
            bits += 1
        self._mask = (1 << bits) - 1
        self._shift = bits
        self._rows = [bytearray(1 << bits) for _ in range(_ROWS)]
        self._asked = 0
        self._until = _AGE << bits
        self.threshold = threshold
        self.refused = 0

    def ask(self, key: bytes) -> bool:
        """Count a request for `key`, and tell whether it may be written now."""
        count = self._count(key)
        self._asked += 1
        if self._asked >= self._until:
            self._halve()
        if count < self.threshold:
            self.refused += 1
            return False
        return True

    def estimate(self, key: bytes) -> int:
        """Return how often `key` was asked for lately: never less than the truth, up to 15."""
        mixed = hash(key)
        return min(self._rows[row][self._place(mixed, row)] for row in range(_ROWS))

    def _place(self, mixed: int, row: int) -> int:
        # Double hashing (Kirsch and Mitzenmacher): two halves of one hash make all rows' places.
        return ((mixed & 0xFFFFFFFF) + row * ((mixed >> 32) | 1)) & self._mask

    def _count(self, key: bytes) -> int:
        least = self.estimate(key)
        if least >= _MOST:
            return least
        mixed = hash(key)
        for row in range(_ROWS):
            place = self._place(mixed, row)
            if self._rows[row][place] == least:
                self._rows[row][place] = least + 1
        return least + 1

    def _halve(self) -> None:
        self._asked = 0
        halves = bytes([count >> 1 for count in range(256)])
        self._rows = [row.translate(halves) for row in self._rows]
