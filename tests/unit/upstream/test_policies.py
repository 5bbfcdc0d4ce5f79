"""Which endpoint is picked: turns by weight, two choices by load, and the same choices for the same seed."""

import random
from collections import Counter

from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.policies.two_choices import TwoChoices
from headgate.upstream.upstream import Upstream


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


def picks(policy, group, count):
    return Counter(group.index(policy.pick(group)) for _ in range(count))


def test_round_robin_picks_each_by_its_weight():
    group = endpoints(5, 1, 2)
    assert picks(RoundRobin(), group, 80) == {0: 50, 1: 10, 2: 20}


def test_round_robin_spreads_a_heavy_endpoint_over_its_turn():
    group = endpoints(3, 1, 1)
    policy = RoundRobin()
    order = [group.index(policy.pick(group)) for _ in range(5)]
    assert sorted(order) == [0, 0, 0, 1, 2]
    assert order != [0, 0, 0, 1, 2]


def test_round_robin_goes_on_when_one_is_left_out():
    group = endpoints(1, 1, 1)
    policy = RoundRobin()
    policy.pick(group)
    assert policy.pick(group[:2]) in group[:2]
    assert picks(policy, group, 30).keys() == {0, 1, 2}


def test_two_choices_takes_the_less_loaded():
    group = endpoints(1, 1)
    group[0].active = 3
    assert picks(TwoChoices(random.Random(1).random), group, 50) == {1: 50}


def test_two_choices_compares_load_for_each_unit_of_weight():
    group = endpoints(4, 1)
    group[0].active = 3
    group[1].active = 1
    assert picks(TwoChoices(random.Random(1).random), group, 50) == {0: 50}


def test_two_choices_draws_by_weight_when_idle():
    group = endpoints(8, 1, 1)
    found = picks(TwoChoices(random.Random(7).random), group, 2000)
    assert 0.74 < found[0] / 2000 < 0.86
    assert found[1] > 120
    assert found[2] > 120


def test_two_choices_keeps_loads_even():
    group = endpoints(1, 1, 1, 1)
    policy = TwoChoices(random.Random(3).random)
    for _ in range(400):
        policy.pick(group).active += 1
    loads = [endpoint.active for endpoint in group]
    assert max(loads) - min(loads) < 12


def test_the_same_seed_picks_the_same():
    group = endpoints(1, 2, 3)
    one, other = TwoChoices(random.Random(5).random), TwoChoices(random.Random(5).random)
    assert [one.pick(group) for _ in range(50)] == [other.pick(group) for _ in range(50)]


def test_two_choices_among_one():
    group = endpoints(1)
    assert TwoChoices(random.Random(1).random).pick(group) is group[0]


def test_an_upstream_of_one_asks_no_policy():
    group = endpoints(1)
    upstream = Upstream("u", group, RoundRobin())
    assert upstream.pick() is group[0]
    group[0].active = 2
    assert repr(upstream) == "<Upstream u: 1 endpoints, 2 active>"
