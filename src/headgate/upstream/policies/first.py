"""The first endpoint that has room, in the order of the file: fill one before the next is used.

For origins that cost by the hour, and for a main one with spares behind it; it is `max_requests` that makes it go on
to the next. Who is full leaves the heap when it is met there, and comes back when one of its requests ends.
"""

from __future__ import annotations

import heapq
from typing import final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy


@final
class First(Policy):
    """By place in the list; weights say nothing here."""

    def __init__(self) -> None:
        self._endpoints: list[Endpoint] = []
        self._heap: list[int] = []  # slots
        self._out: list[bool] = []  # by slot

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        self._endpoints = endpoints
        self._heap = list(range(len(endpoints)))
        self._out = [False] * len(endpoints)

    def pick(self, key: int) -> Endpoint | None:
        heap = self._heap
        while heap:
            slot = heap[0]
            endpoint = self._endpoints[slot]
            if endpoint.active < endpoint.max_requests:
                return endpoint
            self._out[slot] = True
            heapq.heappop(heap)
        return None

    def ended(self, endpoint: Endpoint) -> None:
        slot = endpoint.slot
        if slot >= 0 and self._out[slot]:
            self._out[slot] = False
            heapq.heappush(self._heap, slot)
