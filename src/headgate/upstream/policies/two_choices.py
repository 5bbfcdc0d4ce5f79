"""The power of two random choices: draw two endpoints by weight, take the one with fewer active exchanges.

Nearly as even as knowing all loads, and it cannot herd: workers that do not see each other's counts still do not
agree on one victim (Mitzenmacher 2001).
"""

from collections.abc import Callable
from typing import final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy


@final
class TwoChoices(Policy):
    """`random` gives floats in [0, 1); it is a parameter so that tests can seed it."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def pick(self, endpoints: list[Endpoint]) -> Endpoint:
        total = 0
        for endpoint in endpoints:
            total += endpoint.weight
        first = _draw(endpoints, self._random() * total)
        rest = [endpoint for endpoint in endpoints if endpoint is not first]
        if not rest:
            return first
        second = _draw(rest, self._random() * (total - first.weight))
        # Compared by load for each unit of weight, without dividing.
        if second.active * first.weight < first.active * second.weight:
            return second
        return first


def _draw(endpoints: list[Endpoint], point: float) -> Endpoint:
    """Return the endpoint at `point` of the line that the weights make."""
    for endpoint in endpoints:
        point -= endpoint.weight
        if point < 0:
            return endpoint
    return endpoints[-1]
