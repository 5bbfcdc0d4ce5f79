"""An upstream: who is ready, what an exchange has tried already, and the counts of what is under way."""

from tests.unit.upstream.test_policies import endpoints

from headgate.upstream.health import DOWN, UP
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.upstream import Upstream


def upstream(*weights):
    return Upstream("u", endpoints(*weights), RoundRobin())


def test_an_upstream_of_one():
    group = upstream(1)
    only = group.endpoints[0]
    assert group.pick(None, []) is only
    assert group.pick(None, [only]) is None
    group.began(only)
    assert repr(group) == "<Upstream u: 1 endpoints, 1 active>"
    only.max_requests = 1
    assert group.pick(None, []) is None
    group.ended(only)
    assert group.pick(None, []) is only


def test_what_was_tried_is_not_picked_again():
    group = upstream(1, 1000, 1)
    tried = []
    for _ in range(3):
        found = group.pick(None, tried)
        assert found not in tried
        tried.append(found)
    assert group.pick(None, tried) is None


def test_who_is_down_gets_nothing():
    group = upstream(1, 1, 1)
    first, second, third = group.endpoints
    first.health.judge(1.0, DOWN, "no answer")
    group.health_changed(first)
    assert {group.pick(None, []) for _ in range(9)} == {second, third}
    assert first.slot == -1
    first.health.judge(2.0, UP, "answers")
    group.health_changed(first)
    assert {group.pick(None, []) for _ in range(9)} == {first, second, third}


def test_when_all_are_down_all_are_asked():
    group = upstream(1, 1)
    for endpoint in group.endpoints:
        endpoint.health.judge(1.0, DOWN, "no answer")
        group.health_changed(endpoint)
    assert {group.pick(None, []) for _ in range(4)} == set(group.endpoints)


def test_a_request_may_end_after_its_endpoint_left():
    group = upstream(1, 1)
    gone, stays = group.endpoints
    group.began(gone)
    group.set_endpoints([stays])
    assert group.pick(None, []) is stays
    group.ended(gone)
    assert (gone.active, gone.slot) == (0, -1)


def test_nobody_is_there():
    group = upstream(1)
    group.set_endpoints([])
    assert group.pick(None, []) is None
