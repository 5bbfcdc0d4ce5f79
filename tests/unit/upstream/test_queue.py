"""The queue for room: in order, bounded, timed, and nothing stays of who has left."""

import gc
import time

from tests.unit.upstream.test_hash_key import exchange

from headgate.connection.exchange import Exchange
from headgate.counters import SIZE, UPSTREAM_QUEUED, UPSTREAM_WAITING
from headgate.upstream.queue import RoomQueue


class Waiter:
    def __init__(self):
        self.late = []

    def room_found(self, exchange, endpoint):
        raise AssertionError("the upstream tells that")

    def room_timeout(self, exchange):
        self.late.append(exchange)


def queue(**settings):
    values = [0] * SIZE
    return RoomQueue(values, **settings), values, Waiter()


def test_in_order_and_no_more_than_its_size():
    waiting, values, waiter = queue(size=3)
    askers = [exchange() for _ in range(4)]
    assert [waiting.enter(asker, waiter, 1.0) for asker in askers] == [True, True, True, False]
    assert values[UPSTREAM_WAITING] == len(waiting) == 3
    order = []
    while (first := waiting.first()) is not None:
        order.append(first.exchange)
        assert waiting.leave(first.exchange)
    assert order == askers[:3]
    assert not waiting.leave(askers[0])
    assert (values[UPSTREAM_WAITING], values[UPSTREAM_QUEUED]) == (0, 3)


def test_each_is_told_when_its_time_is_over_and_nobody_earlier():
    waiting, values, waiter = queue(timeout=5.0)
    early, late = exchange(), exchange()
    waiting.enter(early, waiter, 100.0)
    waiting.enter(late, waiter, 102.0)
    waiting.expire(104.9)
    assert waiter.late == []
    waiting.expire(105.0)
    assert waiter.late == [early]
    waiting.expire(107.0)
    assert waiter.late == [early, late]
    assert values[UPSTREAM_WAITING] == 0


def leaving_cost(askers):
    """Return the seconds that it takes clients to give up in order, looking at the head after each."""
    waiting, _, waiter = queue(size=len(askers))
    for asker in askers:
        waiting.enter(asker, waiter, 1.0)
    began = time.process_time()
    for asker in askers:
        waiting.leave(asker)
        waiting.first()
    assert len(waiting) == 0
    return time.process_time() - began


def test_giving_up_costs_the_same_however_many_wait():
    """Ten times as many cost ten times as much in all, and not a hundred times."""
    askers = [exchange() for _ in range(20_000)]
    few = min(leaving_cost(askers[:2000]) for _ in range(3))
    assert min(leaving_cost(askers) for _ in range(3)) < 40 * few


def exchanges():
    gc.collect()
    return len([held for held in gc.get_objects() if isinstance(held, Exchange)])


def test_nothing_stays_of_ten_thousand_who_gave_up():
    before = exchanges()
    waiting, values, waiter = queue(size=10_000)
    askers = [exchange() for _ in range(10_000)]
    for asker in askers:
        assert waiting.enter(asker, waiter, 1.0)
    assert not waiting.enter(exchange(), waiter, 1.0)
    for asker in reversed(askers):
        waiting.leave(asker)
    del asker
    askers.clear()
    assert exchanges() == before
    assert (len(waiting), waiting.first(), values[UPSTREAM_WAITING]) == (0, None, 0)
