"""Timers as a parameter, so that tests turn time by hand."""

import asyncio
from collections.abc import Callable
from typing import Protocol, final

from headgate.clock import Clock


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
