"""Consistent hashing: who leaves moves its own keys only, nobody gets much more than its share, and all agree."""

import random

import pytest
from tests.unit.upstream.test_policies import built, endpoints, give, keys, ring_shares, take_back

from headgate.upstream.policies.ring_hash import BOUND, MAX_POINTS, POINTS, SLACK, RingHash, points_of


def some_keys(count, seed=2):
    return [key for _, key in zip(range(count), keys(seed), strict=False)]


def owners(policy, wanted):
    return [policy.pick(key).url for key in wanted]


def without(policy, group, gone):
    """Let one leave; `gone` is its place."""
    group[gone].slot = -1
    return built(policy, [endpoint for place, endpoint in enumerate(group) if place != gone])


@pytest.mark.parametrize("count", [2, 3, 5, 10, 50, 300])
def test_who_leaves_moves_its_own_keys_and_no_more_than_its_share(count):
    group = endpoints(*[1] * count)
    wanted = some_keys(20_000)
    before = owners(built(RingHash(), group), wanted)
    policy = without(RingHash(), group, count // 2)
    after = owners(policy, wanted)
    left = group[count // 2].url
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {left}
    assert 0 < len(moved) <= 1.3 / count * len(wanted) + 3 * (len(wanted) / count) ** 0.5


@pytest.mark.parametrize("count", [5, 100, 1000])
def test_no_share_of_the_ring_is_more_than_1_3_of_what_is_fair(count):
    """So nobody who leaves can move more: this is the whole ring, not a sample of keys."""
    group = endpoints(*[1] * count)
    shares = ring_shares(built(RingHash(), group), group)
    assert max(shares) * count / sum(shares) <= 1.3
    assert min(shares) * count / sum(shares) >= 0.7


def test_shares_of_the_ring_go_by_weight():
    weights = [1, 2, 4, 8, 16]
    group = endpoints(*weights)
    shares = ring_shares(built(RingHash(), group), group)
    for share, weight in zip(shares, weights, strict=True):
        assert share / sum(shares) == pytest.approx(weight / sum(weights), rel=0.35)


def test_down_for_a_while_is_the_same_as_gone():
    group = endpoints(*[1] * 12)
    wanted = some_keys(3000)
    passing = without(built(RingHash(), group), group, 5)  # keeps the points, passes over them
    passed = owners(passing, wanted)
    assert passed == owners(without(RingHash(), group, 5), wanted)  # has never seen it
    assert owners(built(passing, group), wanted) == owners(built(RingHash(), group), wanted)


def test_who_comes_back_as_another_object_is_found():
    group = endpoints(*[1] * 6)
    policy = without(built(RingHash(), group), group, 2)
    again = endpoints(*[1] * 6)
    wanted = some_keys(500)
    assert owners(built(policy, again), wanted) == owners(built(RingHash(), group), wanted)
    assert {id(policy.pick(key)) for key in wanted} == {id(endpoint) for endpoint in again}


def test_who_gets_another_weight_gets_another_share():
    """SRV may weigh anew; a worker that starts then and one that ran before must agree."""
    group = endpoints(1, 1, 1)
    policy = built(RingHash(), group)
    group[0].weight = 10
    built(policy, group)
    wanted = some_keys(3000)
    assert owners(policy, wanted) == owners(built(RingHash(), group), wanted)
    shares = ring_shares(policy, group)
    assert shares[0] / sum(shares) == pytest.approx(10 / 12, rel=0.1)


def test_the_ring_is_that_of_the_group_whoever_is_ready():
    """One worker saw the heavy one go down, another began without it, and a third saw its group shrink."""
    group = endpoints(1, 1, 1, 1, 60)
    wanted = some_keys(3000)
    running, late = RingHash(), RingHash()
    running.set_group(group)
    late.set_group(group)
    whole = owners(built(running, group), wanted)
    after = owners(without(running, group, 4), wanted)
    assert after == owners(without(late, group, 4), wanted)
    assert owners(built(late, group), wanted) == whole
    group[4].slot = -1
    running.set_group(group[:4])
    assert owners(built(running, group[:4]), wanted) == owners(built(RingHash(), group[:4]), wanted)
    assert len(running._ring) == 4 * POINTS


def test_those_who_are_gone_for_good_leave_the_ring():
    group = endpoints(*[1] * 100)
    policy = built(RingHash(), group)
    for endpoint in group:
        endpoint.slot = -1
    built(policy, group[:10])
    assert len(policy._ring) == 10 * POINTS


def test_every_run_makes_the_same_ring():
    """Workers, restarts and other gates agree; a change here moves the keys of everybody who upgrades."""
    assert points_of("http://10.0.0.1", 3) == points_of("http://10.0.0.1", 9)[:3]
    assert points_of("http://10.0.0.1", 2) == [3314106249940, 13511775991499]


@pytest.mark.parametrize("weights", [[1] * 10, [1, 2, 3, 4]])
def test_the_bound_on_loads_holds(weights):
    """A thousand requests under way, half of them for one key; as many begin as end, for long."""
    group = endpoints(*weights)
    policy = built(RingHash(), group)
    draw = random.Random(9)
    hot = draw.getrandbits(60)
    busy = []
    for step in range(20_000):
        if len(busy) >= 1000:
            take_back(policy, busy.pop(draw.randrange(len(busy))))
        found = policy.pick(hot if step % 2 else draw.getrandbits(60))
        fair = (len(busy) + 1) * found.weight / sum(weights)
        assert found.active < max(SLACK, BOUND * fair)
        give(policy, found)
        busy.append(found)


def test_among_a_handful_a_key_keeps_its_endpoint():
    group = endpoints(*[1] * 10)
    policy = built(RingHash(), group)
    key = some_keys(1)[0]
    own = policy.pick(key)
    for _ in range(int(SLACK)):
        assert policy.pick(key) is own
        give(policy, own)
    assert policy.pick(key) is not own


def test_with_hardly_any_room_the_one_who_has_some_is_found():
    group = endpoints(*[1] * 1000)
    for endpoint in group:
        endpoint.max_requests = 1
        endpoint.active = 1
    group[637].active = 0
    policy = built(RingHash(), group)
    assert [policy.pick(key) for key in some_keys(50)] == [group[637]] * 50


def test_so_many_points_and_no_more():
    group = endpoints(*[1] * 999, 1_000_000)
    policy = built(RingHash(), group)
    owned = [policy._members[point & 0x3FFFF].slot for point in policy._ring]
    assert owned.count(999) == MAX_POINTS
    assert min(owned.count(slot) for slot in (0, 500, 998)) == 1
