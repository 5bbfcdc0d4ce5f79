"""Time as a parameter: everything that asks for the time is handed a `Clock`, and whoever waits `Timers`.

`now()` is monotonic seconds and the only thing that deadlines are made of; `wall()` is seconds since the epoch
and the only thing that certificates and staples are compared with.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, final


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


class Timer(Protocol):
    """An armed timer."""

    def cancel(self) -> None:
        """Disarm it; may be called at any time."""
        ...


class Timers(Protocol):
    """Where timers come from."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when the clock's `now()` reaches `when`."""
        ...


@final
class LoopTimers:
    """The timers of the running event loop, reckoned by `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        delay = max(0.0, when - self._clock.now())
        return asyncio.get_running_loop().call_later(delay, callback)
