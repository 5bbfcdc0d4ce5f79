"""What a pick costs among a thousand endpoints: `python -m bench.micro.balance`. The goal is 1 µs at most.

A round is what a request costs its upstream: pick, `began`, `ended`, with the requests of a busy worker under way.
Making the key of a hash (a header, BLAKE2b) is not in it.
"""

import random
from collections.abc import Callable
from itertools import cycle

from bench.micro.clock import nanoseconds, show
from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.upstream import upstream as module
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.first import First
from headgate.upstream.policies.least_requests import LeastRequests
from headgate.upstream.policies.policy import Policy
from headgate.upstream.policies.ring_hash import KEY_BITS, RingHash
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.policies.two_choices import TwoChoices
from headgate.upstream.upstream import Upstream

GOAL = 1000.0
ENDPOINTS = 1000
UNDER_WAY = 5000
POLICIES: dict[str, Callable[[], Policy]] = {
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
    "two-choices": lambda: TwoChoices(random.Random(1).random),
    "ring-hash": RingHash,
    "first": First,
}


class NoConnector:
    """Nobody dials here."""

    def connect(self, endpoint: object) -> object:
        raise NotImplementedError

    def begin(self, name: str, work: object) -> None:
        raise NotImplementedError


def upstream(policy: Policy, poller: Poller) -> Upstream:
    """Return a group of endpoints with weights from 1 to 4, and as many requests under way as `UNDER_WAY`."""
    values = [0] * SIZE
    endpoints = [
        Endpoint(
            f"http://10.0.{number // 256}.{number % 256}:8080",
            "http",
            "",
            8080,
            poller=poller,
            connector=NoConnector(),  # type: ignore[arg-type]  # never asked
            values=values,
            defect=lambda where, error: None,
            weight=1 + number % 4,
            max_requests=64,
        )
        for number in range(ENDPOINTS)
    ]
    group = Upstream("u", endpoints, policy, poller=poller)
    draw = random.Random(2)
    for _ in range(UNDER_WAY):
        endpoint = policy.pick(draw.getrandbits(KEY_BITS))
        if endpoint is not None:
            group.began(endpoint)
    return group


def pick_of(group: Upstream, keys: Callable[[], int]) -> Callable[[], object]:
    policy = group.policy
    return lambda: policy.pick(keys())


def round_of(group: Upstream, keys: Callable[[], int]) -> Callable[[], object]:
    policy = group.policy

    def once() -> None:
        endpoint = policy.pick(keys())
        if endpoint is not None:
            group.began(endpoint)
            group.ended(endpoint)

    return once


def main() -> None:
    print(f"{module.__file__}\n")
    draw = random.Random(3)
    keys = cycle([draw.getrandbits(KEY_BITS) for _ in range(9973)]).__next__
    idle = nanoseconds(keys)
    poller = Poller()
    worst = 0.0
    for name, make in POLICIES.items():
        group = upstream(make(), poller)
        cost = nanoseconds(pick_of(group, keys)) - idle
        show(f"{name}: a pick", cost)
        show(f"{name}: a pick, began and ended", nanoseconds(round_of(group, keys)) - idle)
        worst = max(worst, cost)
    poller.close()
    print(f"\nworst pick: {worst:.0f} ns (goal {GOAL:.0f}: {'met' if worst <= GOAL else 'MISSED'})")


if __name__ == "__main__":
    main()
