"""Smooth weighted round-robin: the order is spread evenly, so that a heavy endpoint is not hit in bursts.

Each pick raises every endpoint's credit by its weight, takes the one with most credit, and lowers that one by the
sum of all weights. Over one full turn each endpoint is picked exactly `weight` times.
"""

from typing import final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy


@final
class RoundRobin(Policy):
    """One turn after the other, by weight."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def pick(self, endpoints: list[Endpoint]) -> Endpoint:
        credit = self._credit
        total = 0
        best = endpoints[0]
        most = -1 << 60
        for endpoint in endpoints:
            total += endpoint.weight
            have = credit.get(endpoint.url, 0) + endpoint.weight
            credit[endpoint.url] = have
            if have > most:
                most = have
                best = endpoint
        credit[best.url] = most - total
        return best
