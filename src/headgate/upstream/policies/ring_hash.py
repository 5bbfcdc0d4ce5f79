"""Consistent hashing with bounded loads: the same key goes to the same endpoint, whoever comes and goes.

Each endpoint has points on a ring, made from its URL and as many as its weight says, so that every worker, every run
and every gate makes the same ring; a key belongs to the next point at or after it (Karger 1997). Who leaves gives up
its own keys and nobody else's move. All of the group are on the ring, ready or not: who is not is passed over, which
comes to the same and costs no sorting. So the ring follows from the group and its weights alone.

No endpoint gets more than 1.25 times its share of what is under way, by weight; what would be more goes on along the
ring (Mirrokni, Thorup and Zadimoghaddam 2016, "consistent hashing with bounded loads"). Below `SLACK` requests
nobody is turned away: among a handful affinity is worth more than balance.
"""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left
from typing import Final, final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy

# Points of an endpoint of mean weight: its share of the ring is then within 20 % of what its weight says, for all but
# one in a thousand. nginx has 160 for each unit of weight, Envoy 1024 in all at least.
POINTS: Final = 256
MAX_POINTS: Final = 65536  # of one endpoint, however much heavier than the others
# How much more than its share an endpoint may have; Vimeo's HAProxy ran with 1.25.
BOUND: Final = 1.25
SLACK: Final = 8.0
# Points that are looked at before the rest of the ring is no longer walked but jumped over.
_WALK: Final = 64
KEY_BITS: Final = 60
# A point: 44 bits of hash, then the number of its endpoint.
_OWNER_BITS: Final = 18
_OWNER: Final = (1 << _OWNER_BITS) - 1
_DROPPED: Final = KEY_BITS - 44


@final
class RingHash(Policy):
    """One ring. Keys have 60 bits, evenly spread."""

    def __init__(self) -> None:
        self._group: list[Endpoint] = []  # all there are
        self._endpoints: list[Endpoint] = []  # those that are ready
        self._shares: list[float] = []  # by slot: of the whole weight, times BOUND
        self._under_way = 0  # at those
        self._free = 0  # how many of them have room
        self._members: list[Endpoint] = []  # whose points are on the ring, some of them out
        self._weights: list[int] = []  # theirs, as the ring has them
        self._unit = 0.0  # the weight of an endpoint with `POINTS`
        self._ring: list[int] = []

    def set_group(self, endpoints: list[Endpoint]) -> None:
        self._group = endpoints

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        self._endpoints = endpoints
        total = sum(weights)
        self._shares = [BOUND * weight / total for weight in weights]
        self._under_way = sum(endpoint.active for endpoint in endpoints)
        self._free = len([1 for endpoint in endpoints if endpoint.active < endpoint.max_requests])
        members = self._group or endpoints
        if members and not self._take_places(members):
            self._build(members)

    def _take_places(self, members: list[Endpoint]) -> bool:
        """Tell whether the ring has the right place for everybody; who came back under the same URL takes its old
        one."""
        if len(self._members) > 2 * len(members) + 16:
            return False  # too many of them are gone for good
        if _unit([endpoint.weight for endpoint in members]) != self._unit:
            return False
        places = {endpoint.url: number for number, endpoint in enumerate(self._members)}
        for endpoint in members:
            number = places.get(endpoint.url, -1)
            if number < 0 or self._weights[number] != endpoint.weight:
                return False
            self._members[number] = endpoint
        return True

    def _build(self, members: list[Endpoint]) -> None:
        weights = [endpoint.weight for endpoint in members]
        unit = _unit(weights)
        ring: list[int] = []
        for number, endpoint in enumerate(members):
            count = min(max(round(POINTS * endpoint.weight / unit), 1), MAX_POINTS)
            ring.extend([point << _OWNER_BITS | number for point in points_of(endpoint.url, count)])
        ring.sort()
        self._members = list(members)
        self._weights = weights
        self._unit = unit
        self._ring = ring

    def pick(self, key: int) -> Endpoint | None:
        if not self._free:
            return None
        ring = self._ring
        count = len(ring)
        place = bisect_left(ring, (key >> _DROPPED) << _OWNER_BITS)
        mean = float(self._under_way + 1)
        for _ in range(_WALK):
            if place >= count:
                place = 0
            endpoint = self._members[ring[place] & _OWNER]
            slot = endpoint.slot
            if slot >= 0:
                active = endpoint.active
                if active < endpoint.max_requests and (active < SLACK or active < self._shares[slot] * mean):
                    return endpoint
            place += 1
        return self._any(key, mean)

    def _any(self, key: int, mean: float) -> Endpoint | None:
        """Return somebody with room: within the bound if one is, and for the same key the same."""
        endpoints = self._endpoints
        count = len(endpoints)
        found: Endpoint | None = None
        for step in range(count):
            slot = (key + step) % count
            endpoint = endpoints[slot]
            if endpoint.active < endpoint.max_requests:
                if endpoint.active < max(SLACK, self._shares[slot] * mean):
                    return endpoint
                if found is None:
                    found = endpoint
        return found

    def began(self, endpoint: Endpoint) -> None:
        if endpoint.slot >= 0:
            self._under_way += 1
            if endpoint.active == endpoint.max_requests:
                self._free -= 1

    def ended(self, endpoint: Endpoint) -> None:
        if endpoint.slot >= 0:
            self._under_way -= 1
            if endpoint.active == endpoint.max_requests - 1:
                self._free += 1


def _unit(weights: list[int]) -> float:
    """Return the mean weight, rounded to a power of two: it hardly ever changes when somebody comes or goes."""
    mean = sum(weights) / len(weights)
    return math.pow(2.0, round(math.log2(mean)))


def points_of(url: str, count: int) -> list[int]:
    """Return points of 44 bits: the first `count` that this URL makes."""
    found: list[int] = []
    number = 0
    while len(found) < count:
        digest = hashlib.blake2b(f"{url} {number}".encode()).digest()
        found.extend([word >> 20 for word in struct.unpack("<8Q", digest)])
        number += 1
    return found[:count]
