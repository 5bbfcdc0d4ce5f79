"""Total timeouts: until when the head of an answer must have come, whatever was tried for it.

All exchanges of one upstream have the same time, so the order in which they come is the order in which they are late:
a dict keeps it, the sweep looks at its front, and who is answered is taken out. Nobody who sets no `total_timeout`
has any of this.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import trait

from headgate.connection.exchange import Exchange


@trait
class DeadlineOwner:
    """Who answers an exchange that is late."""

    def total_timeout(self, exchange: Exchange) -> None:
        """Its time is over; it is taken out already."""
        raise NotImplementedError


@final
class Deadlines:
    """Those of one upstream, `seconds` after each began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Exchange, tuple[float, DeadlineOwner]] = {}

    def __repr__(self) -> str:
        return f"<Deadlines {len(self._waiting)} exchanges, {self.seconds:g} s each>"

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, exchange: Exchange, owner: DeadlineOwner, now: float) -> None:
        """Its time begins."""
        self._waiting[exchange] = (now + self.seconds, owner)

    def end(self, exchange: Exchange) -> bool:
        """It is answered, or nobody waits any more; tell whether its time was still running."""
        return self._waiting.pop(exchange, None) is not None

    def sweep(self, now: float) -> None:
        """Tell the owners of all that are late."""
        late = []
        for exchange, (until, _) in self._waiting.items():
            if now < until:
                break
            late.append(exchange)
        for exchange in late:
            found = self._waiting.pop(exchange, None)
            if found is not None:  # else it ended with one before it
                found[1].total_timeout(exchange)
