"""How much of what costs us and serves nobody a peer may do (RFC 9114 section 10.5)."""

from typing import Final, final

# Frames that nobody knows, empty DATA, priorities, settled within one window; each frame that means something earns
# one more. HAProxy counts such "glitches" too.
MAX_GLITCHES: Final = 1000
GLITCH_SECONDS: Final = 10.0
# Instructions of the peer's QPACK encoder, for about a round trip: sixteen times the whole table.
MAX_ENCODER_OCTETS: Final = 64 * 1024
ENCODER_SECONDS: Final = 0.1


@final
class Budget:
    """So much within so many seconds; the window begins with the first that is spent in it."""

    __slots__ = ("_left", "_until", "amount", "seconds")

    def __init__(self, amount: int, seconds: float) -> None:
        self.amount = amount
        self.seconds = seconds
        self._left = amount
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Budget {self._left}/{self.amount}>"

    def spend(self, now: float, amount: int = 1) -> bool:
        """Take from the budget; False when it is used up."""
        if now >= self._until:
            self._until = now + self.seconds
            self._left = self.amount
        self._left -= amount
        return self._left >= 0

    def earn(self, amount: int = 1) -> None:
        """Give something back until the window ends."""
        self._left += amount
