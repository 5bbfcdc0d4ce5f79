"""A token bucket: so many for each second, and no more than one second's worth at once."""

from typing import final


@final
class Bucket:
    """`take` says whether one more may be had now; times are loop times."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate
        self._at = now

    def __repr__(self) -> str:
        return f"<Bucket {self._tokens:.0f} of {self.rate:.0f}/s>"

    def take(self, now: float, reserve: int = 0) -> bool:
        """Take one, or say that there is none beyond those that are reserved for others."""
        if now > self._at:
            self._tokens = min(self.rate, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if self._tokens < reserve + 1.0:
            return False
        self._tokens -= 1.0
        return True
