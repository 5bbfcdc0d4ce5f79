"""Weighted round-robin: the order is spread evenly, so that a heavy endpoint is not hit in bursts.

Earliest deadline first: an endpoint of weight w is due every 1/w of virtual time, and the one that is due first is
picked. Over one full turn each is picked exactly as often as its weight says, and a pick costs O(log n). An endpoint
without room leaves the heap when it is met there, and comes back when one of its requests ends. Who stays over a
rebuild keeps its place in the turn.
"""

from __future__ import annotations

import heapq
from typing import final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Turns


@final
class RoundRobin(Turns):
    """One turn after the other, by weight. `start` in [0, 1) says with whom to begin: workers that begin with
    different ones do not all send their first request to the same endpoint."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__(start)
        self._out: list[bool] = []  # by slot: met without room, and not in the heap
        self._heap: list[tuple[float, int, int]] = []  # due, order among equals, slot

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        self._begin(endpoints, weights)
        count = len(endpoints)
        first = int(self._start * count)
        self._out = [False] * count
        self._heap = [(due, (slot - first) % count, slot) for slot, due in enumerate(self._due)]
        heapq.heapify(self._heap)

    def pick(self, key: int) -> Endpoint | None:
        heap = self._heap
        while heap:
            due, order, slot = heap[0]
            endpoint = self._endpoints[slot]
            if endpoint.active < endpoint.max_requests:
                self._now = due
                due += 1.0 / self._weights[slot]
                self._due[slot] = due
                heapq.heapreplace(heap, (due, order, slot))
                return endpoint
            self._out[slot] = True
            heapq.heappop(heap)
        return None

    def ended(self, endpoint: Endpoint) -> None:
        slot = endpoint.slot
        if slot >= 0 and self._out[slot]:
            self._out[slot] = False
            due = max(self._due[slot], self._now)
            self._due[slot] = due
            count = len(self._endpoints)
            heapq.heappush(self._heap, (due, (slot - int(self._start * count)) % count, slot))
