"""A clock that tests turn by hand, and the timers that hang on it.

`FakeClock` is a `Clock` and a source of timers in one: code under test that was handed both never sleeps for
real. `advance` walks from timer to timer in order, and lets the event loop come to rest after each, so that a
test reads like a timetable: advance, look, advance. The wall clock can be made to jump by itself.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import final

# How often the loop is yielded to before it is taken to be at rest. A chain of awaits needs one round per link;
# the longest chain in the stapler has about a dozen.
_SETTLE_ROUNDS = 30


async def settle(rounds: int = _SETTLE_ROUNDS) -> None:
    """Let every task that can run do so, until (in practice) all of them wait for a timer or for the test."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@final
class FakeTimer:
    """One armed timer; `cancel()` disarms it and may be called at any time."""

    __slots__ = ("callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __repr__(self) -> str:
        return f"<FakeTimer at {self.when:.3f}{' cancelled' if self.cancelled else ''}>"


@final
class FakeClock:
    """Monotonic time and wall time that stand still until `advance` or `jump` is called.

    Starts at 1,000 s monotonic (so that a deadline of 0 is in the past) and 2026-01-01T00:00:00Z wall.
    """

    def __init__(self, wall: float = 1_767_225_600.0, now: float = 1_000.0) -> None:
        self._now = now
        self._wall = wall
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<FakeClock now={self._now:.3f} wall={self._wall:.3f} timers={len(self._timers)}>"

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        """Call `callback` when monotonic time reaches `when`; only `advance` makes that happen."""
        timer = FakeTimer(when, callback)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait for this clock (not for the machine's) to move on by `seconds`."""
        await self.sleep_until(self._now + seconds)

    async def sleep_until(self, when: float) -> None:
        """Wait until monotonic time reaches `when`."""
        reached = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not reached.done():
                reached.set_result(None)

        timer = self.call_at(when, wake)
        try:
            await reached
        finally:
            timer.cancel()

    def jump(self, seconds: float) -> None:
        """Make wall time jump, backwards when negative; monotonic time knows nothing of it and no timer fires."""
        self._wall += seconds

    async def advance(self, seconds: float) -> None:
        """Move both times on by `seconds`, firing each timer at its own moment and settling after each."""
        target = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= target:
            when, _, timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            self._move_to(when)
            timer.callback()
            await settle()
        self._move_to(target)
        await settle()

    def _move_to(self, when: float) -> None:
        if when > self._now:
            self._wall += when - self._now
            self._now = when
