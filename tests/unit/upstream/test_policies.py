"""Which endpoint is picked, by every policy: by weight, by load, by room, and the same for the same seed."""

import random
from collections import Counter

import pytest

from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.first import First
from headgate.upstream.policies.least_requests import LeastRequests
from headgate.upstream.policies.ring_hash import KEY_BITS, RingHash
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.policies.two_choices import TwoChoices

PICKS = 100_000


class NoConnector:
    def connect(self, endpoint):
        raise AssertionError("nobody dials here")

    def begin(self, name, work):
        raise AssertionError("nobody dials here")


def endpoints(*weights):
    poller = Poller()
    made = [
        Endpoint(
            f"http://10.0.{index // 256}.{index % 256}",
            "http",
            f"10.0.{index // 256}.{index % 256}",
            80,
            poller=poller,
            connector=NoConnector(),
            values=[0] * SIZE,
            defect=lambda where, error: None,
            weight=weight,
        )
        for index, weight in enumerate(weights)
    ]
    poller.close()
    return made


def built(policy, group):
    for slot, endpoint in enumerate(group):
        endpoint.slot = slot
    policy.rebuild(group, [float(endpoint.weight) for endpoint in group])
    return policy


def keys(seed=1):
    draw = random.Random(seed)
    while True:
        yield draw.getrandbits(KEY_BITS)


def picks(policy, group, count):
    found = Counter(policy.pick(key).slot for _, key in zip(range(count), keys(), strict=False))
    assert all(group[slot].slot == slot for slot in found)
    return dict(found)


def give(policy, endpoint):
    endpoint.active += 1
    policy.began(endpoint)


def take_back(policy, endpoint):
    endpoint.active -= 1
    policy.ended(endpoint)


def chi_square(found, shares):
    """Return Pearson's statistic over what chance exceeds in one of a thousand (Wilson and Hilferty's formula)."""
    total, whole = sum(found.values()), sum(shares)
    statistic = sum(
        (found.get(slot, 0) - total * share / whole) ** 2 / (total * share / whole)
        for slot, share in enumerate(shares)
    )
    freedom = len(shares) - 1
    spread = 2 / (9 * freedom)
    return statistic / (freedom * (1 - spread + 3.09 * spread**0.5) ** 3)


def ring_shares(policy, group):
    """Return how much of the ring belongs to each."""
    ring = sorted(policy._ring)
    shares = [0] * len(group)
    before = ring[-1] - (1 << 62)
    for point in ring:
        shares[policy._members[point & ((1 << 18) - 1)].slot] += point - before
        before = point
    return shares


WEIGHTS = {"even": [1] * 10, "uneven": [1, 2, 3, 4, 5, 10, 20], "many": [1 + i % 3 for i in range(200)]}
SHARING = {
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
    "two-choices": lambda: TwoChoices(random.Random(11).random),
    "ring-hash": RingHash,
}
ALL = {**SHARING, "first": First}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("make", SHARING.values(), ids=SHARING)
def test_a_hundred_thousand_picks_are_shared_by_weight(make, weights):
    group = endpoints(*weights)
    policy = built(make(), group)
    shares = weights
    if isinstance(policy, RingHash):
        # Keys fall evenly on the ring; how even the ring itself is, is another test.
        shares = ring_shares(policy, group)
    assert chi_square(picks(policy, group, PICKS), shares) < 1


@pytest.mark.parametrize("make", [RoundRobin, LeastRequests])
def test_turns_are_exact(make):
    group = endpoints(5, 1, 2)
    assert picks(built(make(), group), group, 80) == {0: 50, 1: 10, 2: 20}


def test_first_takes_the_first_that_has_room():
    group = endpoints(1, 9, 9)
    policy = built(First(), group)
    assert picks(policy, group, PICKS) == {0: PICKS}
    for endpoint in group:
        endpoint.max_requests = 2
    order = []
    for _ in range(6):
        order.append(policy.pick(0).slot)
        give(policy, group[order[-1]])
    assert order == [0, 0, 1, 1, 2, 2]
    assert policy.pick(0) is None
    take_back(policy, group[2])
    take_back(policy, group[1])
    assert policy.pick(0) is group[1]


def test_the_chi_square_of_a_skewed_policy_is_seen():
    assert chi_square({0: 51_000, 1: 49_000}, [1, 1]) > 1


@pytest.mark.parametrize("make", [RoundRobin, LeastRequests])
def test_a_heavy_endpoint_is_spread_over_its_turn(make):
    group = endpoints(3, 1, 1)
    policy = built(make(), group)
    order = [policy.pick(0).slot for _ in range(5)]
    assert sorted(order) == [0, 0, 0, 1, 2]
    assert order != [0, 0, 0, 1, 2]


@pytest.mark.parametrize("make", [RoundRobin, LeastRequests])
def test_workers_begin_with_different_endpoints(make):
    group = endpoints(1, 1, 1, 1)
    assert {built(make(start), group).pick(0).slot for start in (0.0, 0.25, 0.5, 0.75)} == {0, 1, 2, 3}


@pytest.mark.parametrize("make", [RoundRobin, LeastRequests])
def test_a_rebuild_does_not_begin_the_turn_anew(make):
    """Health that changes often must not send everything to whoever stands first."""
    group = endpoints(1, 1, 1)
    policy = built(make(), group)
    found = Counter()
    for _ in range(300):
        found[policy.pick(0).slot] += 1
        built(policy, group)
    assert found == {0: 100, 1: 100, 2: 100}


def test_turns_go_on_when_one_is_left_out():
    group = endpoints(1, 1, 1)
    policy = built(RoundRobin(), group)
    policy.pick(0)
    assert picks(built(policy, group[:2]), group, 30) == {0: 15, 1: 15}
    assert picks(built(policy, group), group, 30) == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("make", [LeastRequests, SHARING["two-choices"]])
def test_the_less_loaded_is_taken(make):
    group = endpoints(1, 1)
    group[0].active = 3
    assert picks(built(make(), group), group, 50) == {1: 50}


@pytest.mark.parametrize("make", [LeastRequests, SHARING["two-choices"]])
def test_load_is_compared_for_each_unit_of_weight(make):
    group = endpoints(4, 1)
    group[0].active = 3
    group[1].active = 1
    assert picks(built(make(), group), group, 50) == {0: 50}


def test_least_requests_knows_every_load():
    group = endpoints(*[1 + index % 4 for index in range(50)])
    policy = built(LeastRequests(), group)
    draw = random.Random(4)
    busy = []
    for _ in range(5000):
        if busy and draw.random() < 0.48:
            take_back(policy, busy.pop(draw.randrange(len(busy))))
            continue
        found = policy.pick(0)
        assert found.active / found.weight == min(each.active / each.weight for each in group)
        give(policy, found)
        busy.append(found)


def test_two_choices_keeps_loads_even():
    group = endpoints(1, 1, 1, 1)
    policy = built(TwoChoices(random.Random(3).random), group)
    for _ in range(400):
        policy.pick(0).active += 1
    loads = [endpoint.active for endpoint in group]
    assert max(loads) - min(loads) < 12


def test_the_same_seed_picks_the_same():
    group = endpoints(1, 2, 3)
    one = built(TwoChoices(random.Random(5).random), group)
    other = built(TwoChoices(random.Random(5).random), group)
    assert [one.pick(0) for _ in range(50)] == [other.pick(0) for _ in range(50)]


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_one_and_none(make):
    group = endpoints(1)
    policy = built(make(), group)
    assert policy.pick(12345) is group[0]
    group[0].slot = -1
    assert built(policy, []).pick(12345) is None
    assert built(policy, group).pick(12345) is group[0]


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_who_has_no_room_is_left_out_until_a_request_ends(make):
    group = endpoints(*[1] * 20)
    policy = built(make(), group)
    for endpoint in group:
        endpoint.max_requests = 2
    built(policy, group)
    for _, key in zip(range(40), keys(), strict=False):
        found = policy.pick(key)
        assert found.active < 2
        give(policy, found)
    assert policy.pick(7) is None
    take_back(policy, group[7])
    assert policy.pick(7) is group[7]


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_what_ends_after_its_endpoint_left_is_nobodys_load(make):
    group = endpoints(1, 1, 1)
    policy = built(make(), group)
    give(policy, group[2])
    group[2].slot = -1
    built(policy, group[:2])
    take_back(policy, group[2])
    assert picks(policy, group, 20).keys() <= {0, 1}
