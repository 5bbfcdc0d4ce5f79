"""One heap for the deadlines of thousands of QUIC connections, and one timer of the event loop for all of them.

A connection's deadline moves with nearly every packet, mostly further away, and now and then nearer (an
acknowledgement is due in 25 ms). Therefore it is pushed only where it is nearer than what stands in the heap already;
when an entry comes up, the connection is asked for its deadline of now, and is woken or pushed anew. A connection has
one entry for each time that it came nearer: in practice two, the idle timeout and what is near.
An entry holds a `Wake` and no connection, so that one that has ended is let go of at once.
"""

import heapq
from typing import Final, final

from headgate.connection.quic_driver import NEVER, QuicDriver, Wake

# What is due within so many seconds is done now: the loop's timer is no finer (RFC 9002 section 6.1.2).
GRANULARITY: Final = 0.001


@final
class TimerHeap:
    """Deadlines by loop time."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Wake]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __repr__(self) -> str:
        return f"<TimerHeap {len(self._heap)} entries>"

    def set(self, driver: QuicDriver) -> None:
        """Wake a driver at its connection's deadline."""
        when = driver.quic.deadline()
        times = driver.wake.times
        if when < (times[-1] if times else NEVER):
            times.append(when)
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, driver.wake))

    def next(self) -> float:
        """Return when `take_due` is to be called, `NEVER` where nobody waits."""
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now: float) -> list[QuicDriver]:
        """Return those whose deadline has come; each is to be set again."""
        due: dict[QuicDriver, None] = {}
        heap = self._heap
        until = now + GRANULARITY
        while heap and heap[0][0] <= until:
            wake = heapq.heappop(heap)[2]
            wake.times.pop()  # the nearest is the last
            driver = wake.driver
            if driver is None:
                continue
            if driver.quic.deadline() <= until:
                due[driver] = None  # once, however many entries it has
            else:
                self.set(driver)
        return list(due)
