"""Time as a parameter: everything that asks for the time is handed a `Clock`.

`now()` is monotonic seconds and the only thing that deadlines are made of; `wall()` is seconds since the epoch
and the only thing that certificates and staples are compared with.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def wall(self) -> float:
        """Return seconds since the epoch (may jump)."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()
