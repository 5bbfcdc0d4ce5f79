"""Least requests: the endpoint with the fewest requests under way for its weight, in turn where several have as few.

A heap by load that is kept in order whenever a request begins or ends, so a pick looks at its top alone. Among equals
the one that is due first is picked, as in round-robin: idle endpoints share the requests by weight. Who has no room
sinks to the bottom.

With one worker this is the best there is. Several workers that do not see each other's counts may all find the same
endpoint idle; `two-choices` does not.
"""

from __future__ import annotations

from typing import Final, final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Turns

# The load of who has no room: more than anybody's.
_FULL: Final = 1e300


@final
class LeastRequests(Turns):
    """By load, then by turn. `start` in [0, 1) says with whom of equals to begin."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__(start)
        self._load: list[float] = []  # by slot: requests for each unit of weight
        self._heap: list[int] = []  # slots
        self._place: list[int] = []  # by slot: where in the heap

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        self._begin(endpoints, weights)
        count = len(endpoints)
        self._load = [_load(endpoint, weights[slot]) for slot, endpoint in enumerate(endpoints)]
        first = int(self._start * count)
        self._heap = [*range(first, count), *range(first)]
        self._place = [0] * count
        for place, slot in enumerate(self._heap):
            self._place[slot] = place
        for place in range(count // 2 - 1, -1, -1):
            self._sink(place)

    def pick(self, key: int) -> Endpoint | None:
        if not self._heap:
            return None
        slot = self._heap[0]
        endpoint = self._endpoints[slot]
        if endpoint.active >= endpoint.max_requests:
            return None
        due = self._due[slot]
        self._now = max(self._now, due)
        self._due[slot] = self._now + 1.0 / self._weights[slot]
        self._sink(0)
        return endpoint

    def began(self, endpoint: Endpoint) -> None:
        slot = endpoint.slot
        if slot >= 0:
            self._load[slot] = _load(endpoint, self._weights[slot])
            self._sink(self._place[slot])

    def ended(self, endpoint: Endpoint) -> None:
        slot = endpoint.slot
        if slot >= 0:
            self._load[slot] = _load(endpoint, self._weights[slot])
            self._rise(self._place[slot])

    # -- the heap

    def _sink(self, place: int) -> None:
        heap = self._heap
        load = self._load
        due = self._due
        count = len(heap)
        slot = heap[place]
        own_load = load[slot]
        own_due = due[slot]
        while True:
            child = 2 * place + 1
            if child >= count:
                break
            least = heap[child]
            if child + 1 < count:
                other = heap[child + 1]
                if load[other] < load[least] or (load[other] == load[least] and due[other] < due[least]):
                    child += 1
                    least = other
            if own_load < load[least] or (own_load == load[least] and own_due <= due[least]):
                break
            heap[place] = least
            self._place[least] = place
            place = child
        heap[place] = slot
        self._place[slot] = place

    def _rise(self, place: int) -> None:
        heap = self._heap
        load = self._load
        due = self._due
        slot = heap[place]
        while place > 0:
            above = (place - 1) // 2
            other = heap[above]
            if load[other] < load[slot] or (load[other] == load[slot] and due[other] <= due[slot]):
                break
            heap[place] = other
            self._place[other] = place
            place = above
        heap[place] = slot
        self._place[slot] = place


def _load(endpoint: Endpoint, weight: float) -> float:
    return endpoint.active / weight if endpoint.active < endpoint.max_requests else _FULL
