"""Which endpoint is picked: turns by weight, two choices by load, and the same choices for the same seed."""

import random
from collections import Counter

import pytest

from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.policies.two_choices import TwoChoices


class NoConnector:
    def connect(self, endpoint):
        raise AssertionError("nobody dials here")

    def begin(self, name, work):
        raise AssertionError("nobody dials here")


def endpoints(*weights):
    poller = Poller()
    made = [
        Endpoint(
            f"http://10.0.0.{index}",
            "http",
            f"10.0.0.{index}",
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


def picks(policy, group, count):
    return Counter(group.index(policy.pick(0)) for _ in range(count))


def test_round_robin_picks_each_by_its_weight():
    group = endpoints(5, 1, 2)
    assert picks(built(RoundRobin(), group), group, 80) == {0: 50, 1: 10, 2: 20}


def test_round_robin_spreads_a_heavy_endpoint_over_its_turn():
    group = endpoints(3, 1, 1)
    policy = built(RoundRobin(), group)
    order = [group.index(policy.pick(0)) for _ in range(5)]
    assert sorted(order) == [0, 0, 0, 1, 2]
    assert order != [0, 0, 0, 1, 2]


def test_round_robin_goes_on_when_one_is_left_out():
    group = endpoints(1, 1, 1)
    policy = built(RoundRobin(), group)
    policy.pick(0)
    assert picks(built(policy, group[:2]), group, 30) == {0: 15, 1: 15}
    assert picks(built(policy, group), group, 30) == {0: 10, 1: 10, 2: 10}


def test_two_choices_takes_the_less_loaded():
    group = endpoints(1, 1)
    group[0].active = 3
    assert picks(built(TwoChoices(random.Random(1).random), group), group, 50) == {1: 50}


def test_two_choices_compares_load_for_each_unit_of_weight():
    group = endpoints(4, 1)
    group[0].active = 3
    group[1].active = 1
    assert picks(built(TwoChoices(random.Random(1).random), group), group, 50) == {0: 50}


def test_two_choices_draws_by_weight_when_idle():
    group = endpoints(8, 1, 1)
    found = picks(built(TwoChoices(random.Random(7).random), group), group, 2000)
    assert 0.74 < found[0] / 2000 < 0.86
    assert found[1] > 120
    assert found[2] > 120


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


def test_two_choices_among_one_and_among_none():
    group = endpoints(1)
    assert built(TwoChoices(random.Random(1).random), group).pick(0) is group[0]
    assert built(TwoChoices(random.Random(1).random), []).pick(0) is None


@pytest.mark.parametrize("make", [RoundRobin, lambda: TwoChoices(random.Random(2).random)])
def test_who_has_no_room_is_left_out_until_a_request_ends(make):
    group = endpoints(*[1] * 20)
    policy = built(make(), group)
    for endpoint in group:
        endpoint.max_requests = 2
    for _ in range(40):
        found = policy.pick(0)
        assert found.active < 2
        found.active += 1
        policy.began(found)
    assert policy.pick(0) is None
    group[7].active -= 1
    policy.ended(group[7])
    assert policy.pick(0) is group[7]
