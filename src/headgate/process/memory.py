"""A worker that grows towards its share of the memory is reported before the kernel's killer finds it."""

from collections.abc import Callable, Mapping
from typing import Final

from headgate.process.parts import Events
from headgate.telemetry.process_stats import memory_limit, resident_bytes

# A worker is reported again only after it had fallen clearly below the mark: one line for each climb.
_REARM_AT: Final = 0.9


class MemoryWatch:
    """Watches the workers. Each may hold an equal part of what the machine or the cgroup has."""

    def __init__(
        self,
        share: float,
        workers: int,
        events: Events,
        limit: Callable[[], int] = memory_limit,
        resident: Callable[[int], int] = resident_bytes,
    ) -> None:
        self._share = share
        self._workers = max(1, workers)
        self._events = events
        self._limit = limit
        self._resident = resident
        self._reported: set[int] = set()

    def look(self, pids: Mapping[int, int]) -> None:
        """Look at the workers: slot → process id."""
        part = self._limit() // self._workers
        mark = self._share * part
        self._reported.intersection_update(pids)
        for slot, pid in pids.items():
            held = self._resident(pid)
            if held > mark and slot not in self._reported:
                self._reported.add(slot)
                self._events.event(
                    "memory-high",
                    "warning",
                    limit_key=str(slot),
                    child=f"worker {slot}",
                    pid=pid,
                    resident_bytes=held,
                    part_bytes=part,
                    share=round(held / part, 3),
                    next="it goes on; see headgate_held_bytes for what it holds",
                )
            elif held < mark * _REARM_AT:
                self._reported.discard(slot)
