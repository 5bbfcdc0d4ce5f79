"""Packets that open with no key and come from addresses that a connection does not use.

On the path in use forged packets cost the time of one decryption each, up to the limit of the AEAD (RFC 9001 section
6.6): to ignore that path would let anybody who sees its IDs silence it. From anywhere else too many of them have only
one purpose, and whoever sends them may have any number of addresses: all are ignored for a while.
"""

from typing import Final, final

MAX_STRAYS: Final = 10_000  # 15 ms of decryption
STRAY_SECONDS: Final = 10.0


@final
class Strays:
    """Counts them for one connection."""

    __slots__ = ("_count", "_since", "until")

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self.until = 0.0

    def __repr__(self) -> str:
        return f"<Strays {self._count}, ignored until {self.until:.3f}>"

    def count(self, now: float) -> None:
        """One more did not open."""
        if now >= self._since + STRAY_SECONDS:
            self._since = now
            self._count = 0
        self._count += 1
        if self._count > MAX_STRAYS:
            self.until = now + STRAY_SECONDS
            self._since = self.until
            self._count = 0
