"""An upstream: who is ready, who is tried, who waits for room, and the counts of what is under way."""

import pytest
from tests.unit.upstream.test_hash_key import exchange
from tests.unit.upstream.test_policies import endpoints

from headgate.counters import SIZE, UPSTREAM_WAITING
from headgate.net.poller import Poller
from headgate.upstream.hash_key import HEADER, HashKey
from headgate.upstream.health import DOWN, UP
from headgate.upstream.policies.first import First
from headgate.upstream.policies.ring_hash import RingHash
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.queue import RoomQueue
from headgate.upstream.upstream import Balance, Upstream


@pytest.fixture
def poller():
    made = Poller()
    made.now = 1000.0
    yield made
    made.close()


def upstream(*weights, policy=None, poller=None, backups=(), max_requests=0, **balance):
    group = endpoints(*weights)
    for place in backups:
        group[place].is_backup = True
    for endpoint in group:
        if max_requests:
            endpoint.max_requests = max_requests
    return Upstream("u", group, policy or RoundRobin(), poller=poller, balance=Balance(**balance))


def judge(group, verdict, *places):
    for place in places:
        endpoint = group.endpoints[place]
        endpoint.health.judge(1.0, verdict, "probed")
        group.health_changed()


def picked(group, count=60):
    return {group.endpoints.index(group.pick(exchange(), [])) for _ in range(count)}


def test_an_upstream_of_one():
    group = upstream(1)
    only = group.endpoints[0]
    assert group.pick(exchange(), []) is only
    assert group.pick(exchange(), [only]) is None
    group.began(only)
    assert repr(group) == "<Upstream u: 1 endpoints, 1 active>"
    only.max_requests = 1
    assert group.pick(exchange(), []) is None
    group.ended(only)
    assert group.pick(exchange(), []) is only


def test_what_was_tried_is_not_picked_again():
    group = upstream(1, 1000, 1)
    tried = []
    for _ in range(3):
        found = group.pick(exchange(), tried)
        assert found not in tried
        tried.append(found)
    assert group.pick(exchange(), tried) is None


def test_the_next_try_of_first_is_the_next():
    group = upstream(1, 1, 1, policy=First())
    tried = group.endpoints[:1]
    assert group.pick(exchange(), tried) is group.endpoints[1]
    assert group.pick(exchange(), [*tried, group.endpoints[1]]) is group.endpoints[2]


def test_ring_hash_goes_by_its_key():
    group = upstream(*[1] * 8, policy=RingHash(), hash_key=HashKey(HEADER, b"x-tenant"))
    found = {n: group.pick(exchange((b"x-tenant", b"t%d" % n)), []) for n in range(100)}
    assert len(set(found.values())) == 8
    for n, endpoint in found.items():
        asked = exchange((b"x-tenant", b"t%d" % n), peer="192.0.2.77")
        assert group.pick(asked, []) is endpoint
        other = group.pick(asked, [endpoint])
        assert other is not endpoint
        assert group.pick(asked, [endpoint]) is other


# -- who is ready


def test_who_is_down_gets_nothing():
    group = upstream(1, 1, 1)
    judge(group, DOWN, 0)
    assert picked(group) == {1, 2}
    assert group.endpoints[0].slot == -1
    judge(group, UP, 0)
    assert picked(group) == {0, 1, 2}


def test_when_all_are_down_all_are_asked():
    group = upstream(1, 1)
    judge(group, DOWN, 0, 1)
    assert picked(group) == {0, 1}


def test_backups_wait_until_nobody_else_is_up():
    group = upstream(1, 1, 1, 1, backups=(2, 3))
    assert picked(group) == {0, 1}
    judge(group, DOWN, 0)
    assert picked(group) == {1}
    judge(group, DOWN, 1, 2)
    assert picked(group) == {3}
    judge(group, DOWN, 3)
    assert picked(group) == {0, 1, 2, 3}
    judge(group, UP, 0)
    assert picked(group) == {0}


def test_below_the_panic_threshold_all_are_asked():
    group = upstream(*[1] * 10, panic=0.5)
    judge(group, DOWN, 0, 1, 2, 3, 4)
    assert picked(group) == {5, 6, 7, 8, 9}
    judge(group, DOWN, 5)
    assert picked(group) == set(range(10))
    judge(group, UP, 5)
    assert picked(group) == {5, 6, 7, 8, 9}


def test_below_the_panic_threshold_backups_help_first():
    group = upstream(*[1] * 6, backups=(4, 5), panic=0.5)
    judge(group, DOWN, 0, 1, 2)
    assert picked(group) == {3, 4, 5}
    judge(group, DOWN, 4)
    assert picked(group) == {3, 5}


# -- slow start


def share(group, place, count=2000):
    found = [group.endpoints.index(group.pick(exchange(), [])) for _ in range(count)]
    return found.count(place) / count


def test_who_comes_back_starts_slowly(poller):
    group = upstream(1, 1, poller=poller, slow_start=60.0)
    assert share(group, 0) == pytest.approx(0.5, abs=0.01)  # at the start of the gate nobody is spared
    judge(group, DOWN, 0)
    judge(group, UP, 0)
    weights = []
    for seconds in (0, 15, 30, 45, 60):
        poller.now = 1000.0 + seconds
        group.sweep(poller.now)
        part = share(group, 0)
        weights.append(part / (1 - part))
    assert weights == pytest.approx([0.1, 0.25, 0.5, 0.75, 1.0], abs=0.02)
    assert group._slow == {}


def test_who_joins_starts_slowly(poller):
    group = upstream(1, 1, 1, poller=poller, slow_start=60.0)
    everybody = group.endpoints
    group.set_endpoints(everybody[:2])
    group.set_endpoints(everybody)
    assert share(group, 2) == pytest.approx(0.1 / 2.1, abs=0.01)


# -- who leaves


def test_a_request_may_end_after_its_endpoint_left():
    group = upstream(1, 1)
    gone, stays = group.endpoints
    group.began(gone)
    group.set_endpoints([stays])
    assert group.pick(exchange(), []) is stays
    assert group.leaving == [gone]
    group.sweep(1.0)
    assert group.leaving == [gone]
    group.ended(gone)
    group.sweep(2.0)
    assert (gone.active, gone.slot, group.leaving) == (0, -1, [])


def test_nobody_is_there():
    group = upstream(1)
    group.set_endpoints([])
    assert group.pick(exchange(), []) is None


# -- who waits for room


class Waiter:
    """Takes what it is given, and ends it at once where `fails` says so."""

    def __init__(self, group=None):
        self.group = group
        self.found = []
        self.late = []
        self.fails = False

    def room_found(self, exchange, endpoint):
        self.found.append((exchange, endpoint))
        self.group.began(endpoint)
        if self.fails:
            self.group.ended(endpoint)

    def room_timeout(self, exchange):
        self.late.append(exchange)


def full(poller, count=2, **settings):
    """Return an upstream whose endpoints have one request each, which is all they may have, and its waiter."""
    values = [0] * SIZE
    queue = RoomQueue(values, **settings)
    group = upstream(*[1] * count, poller=poller, queue=queue, max_requests=1)
    for endpoint in group.endpoints:
        group.began(endpoint)
    return group, Waiter(group), values


def test_who_waits_gets_the_room_of_who_ends(poller):
    group, waiter, values = full(poller)
    asked = [exchange() for _ in range(3)]
    for each in asked:
        assert group.pick(each, []) is None
        assert group.wait(each, waiter)
    first, second = group.endpoints
    group.ended(second)
    group.ended(first)
    assert waiter.found == [(asked[0], second), (asked[1], first)]
    assert values[UPSTREAM_WAITING] == 1
    assert [endpoint.active for endpoint in group.endpoints] == [1, 1]


def test_nobody_overtakes_the_queue(poller):
    group, waiter, _ = full(poller)
    group.wait(exchange(), waiter)
    group.endpoints[0].max_requests = 2  # there is room, though nobody was told
    assert group.pick(exchange(), []) is None


def test_a_queue_of_requests_that_fail_at_once_is_served_without_recursion(poller):
    group, waiter, values = full(poller, size=10_000)
    waiter.fails = True
    for _ in range(10_000):
        assert group.wait(exchange(), waiter)
    assert not group.wait(exchange(), waiter)
    group.ended(group.endpoints[0])
    assert len(waiter.found) == 10_000
    assert values[UPSTREAM_WAITING] == 0
    assert [endpoint.active for endpoint in group.endpoints] == [0, 1]


def test_who_has_left_is_not_served(poller):
    group, waiter, _ = full(poller)
    gone, stays = exchange(), exchange()
    group.wait(gone, waiter)
    group.wait(stays, waiter)
    group.leave(gone)
    group.leave(gone)
    group.ended(group.endpoints[0])
    assert [found[0] for found in waiter.found] == [stays]


def test_who_waits_too_long_is_told_in_the_sweep(poller):
    group, waiter, values = full(poller, timeout=5.0)
    asked = exchange()
    group.wait(asked, waiter)
    group.sweep(1004.0)
    assert waiter.late == []
    group.sweep(1005.0)
    assert waiter.late == [asked]
    assert values[UPSTREAM_WAITING] == 0


def test_the_queue_is_served_when_somebody_comes_or_comes_back(poller):
    group, waiter, _ = full(poller, count=3)
    spare = group.endpoints[2]
    group.ended(spare)
    judge(group, DOWN, 2)
    group.wait(exchange(), waiter)
    assert waiter.found == []
    judge(group, UP, 2)
    assert [found[1] for found in waiter.found] == [spare]
    group.wait(exchange(), waiter)
    new = endpoints(*[1] * 4)[3]
    group.set_endpoints([*group.endpoints, new])
    assert waiter.found[1][1] is new


def test_where_nobody_is_expected_nobody_waits(poller):
    group, waiter, _ = full(poller)
    group.set_endpoints([])
    assert not group.wait(exchange(), waiter)
    group.is_expected = True
    assert group.wait(exchange(), waiter)


def test_without_a_queue_nobody_waits(poller):
    assert not upstream(1, poller=poller).wait(exchange(), Waiter())


def test_the_keys_of_others_stay_where_they_are_while_the_heaviest_is_down(poller):
    """The ring is that of the whole group, not of those that are ready."""
    group = upstream(1, 1, 1, 1, 60, policy=RingHash(), poller=poller)
    wanted = [key << 48 for key in range(4096)]
    before = [group.policy.pick(key) for key in wanted]
    judge(group, DOWN, 4)
    after = [group.policy.pick(key) for key in wanted]
    assert {old for old, new in zip(before, after, strict=True) if old is not new} == {group.endpoints[4]}
