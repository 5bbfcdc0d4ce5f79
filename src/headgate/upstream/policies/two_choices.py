"""The power of two random choices: draw two endpoints by weight, take the one with fewer active requests.

Nearly as even as knowing all loads, and it cannot herd: workers that do not see each other's counts still do not
agree on one victim (Mitzenmacher 2001). A draw is O(1) by the alias method (Walker 1977; Vose 1991): each of n equal
columns holds one endpoint up to a level and another above it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy

# Pairs that are drawn before everybody is looked at for room: with half of all full, 1 in 256 gets there.
_DRAWS: Final = 4


@final
class TwoChoices(Policy):
    """`random` gives floats in [0, 1); it is a parameter so that tests can seed it."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._endpoints: list[Endpoint] = []
        self._weights: list[float] = []
        self._level: list[float] = []
        self._above: list[int] = []

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        self._endpoints = endpoints
        self._weights = weights
        count = len(endpoints)
        total = sum(weights)
        level = [weight * count / total for weight in weights]
        above = list(range(count))
        low = [slot for slot in range(count) if level[slot] < 1.0]
        high = [slot for slot in range(count) if level[slot] >= 1.0]
        while low and high:
            short = low.pop()
            tall = high[-1]
            above[short] = tall
            level[tall] -= 1.0 - level[short]
            if level[tall] < 1.0:
                low.append(high.pop())
        for slot in low:
            level[slot] = 1.0  # what rounding has left
        for slot in high:
            level[slot] = 1.0
        self._level = level
        self._above = above

    def _draw(self) -> int:
        point = self._random() * len(self._endpoints)
        column = int(point)
        return column if point - column < self._level[column] else self._above[column]

    def pick(self, key: int) -> Endpoint | None:
        endpoints = self._endpoints
        if not endpoints:
            return None
        for _ in range(_DRAWS):
            one = self._draw()
            other = self._draw()
            if other == one:
                other = (one + 1 + int(self._random() * (len(endpoints) - 1))) % len(endpoints)
            first = endpoints[one]
            second = endpoints[other]
            # Compared by load for each unit of weight, without dividing.
            if second.active * self._weights[one] < first.active * self._weights[other]:
                first, second = second, first
            if first.active < first.max_requests:
                return first
            if second.active < second.max_requests:
                return second
        return self._any()

    def _any(self) -> Endpoint | None:
        """Return the first with room, from a random place on."""
        endpoints = self._endpoints
        count = len(endpoints)
        start = int(self._random() * count)
        for step in range(count):
            endpoint = endpoints[(start + step) % count]
            if endpoint.active < endpoint.max_requests:
                return endpoint
        return None
