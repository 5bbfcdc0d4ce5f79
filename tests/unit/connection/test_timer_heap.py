"""Deadlines of many connections in one heap."""

import pytest

from headgate.build_info import is_compiled
from headgate.connection.quic_driver import NEVER, Wake
from headgate.connection.timer_heap import TimerHeap

pytestmark = pytest.mark.skipif(is_compiled("headgate.connection.timer_heap"), reason="only pure: stand-ins")


class Driver:
    """As much of a driver as a heap looks at."""

    def __init__(self, at=NEVER):
        self.at = at
        self.quic = self
        self.wake = Wake(self)

    def deadline(self):
        return self.at


def test_the_nearest_deadline_is_next():
    heap = TimerHeap()
    assert heap.next() == NEVER
    one, two = Driver(5.0), Driver(3.0)
    heap.set(one)
    heap.set(two)
    assert heap.next() == 3.0
    assert heap.take_due(3.0) == [two]
    assert heap.next() == 5.0


def test_who_waits_for_nothing_is_not_kept():
    heap = TimerHeap()
    heap.set(Driver())
    assert len(heap) == 0


def test_a_deadline_that_moved_away_wakes_nobody_and_is_kept():
    heap = TimerHeap()
    driver = Driver(1.0)
    heap.set(driver)
    driver.at = 9.0
    heap.set(driver)
    assert len(heap) == 1
    assert heap.take_due(1.0) == []
    assert heap.next() == 9.0


def test_a_deadline_that_comes_nearer_again_and_again_leaves_nothing_behind():
    heap = TimerHeap()
    driver = Driver(30.0)
    heap.set(driver)
    for turn in range(1000):
        now = turn / 100
        driver.at = now + 0.005
        heap.set(driver)
        driver.at = now + 30.0
        assert heap.take_due(now + 0.005) == []
        heap.set(driver)
    assert len(heap) == 1


def test_what_is_due_within_the_timer_s_grain_is_due_now():
    heap = TimerHeap()
    driver = Driver(1.0005)
    heap.set(driver)
    assert heap.take_due(1.0) == [driver]


def test_who_has_ended_is_forgotten():
    heap = TimerHeap()
    driver = Driver(1.0)
    heap.set(driver)
    driver.wake.driver = None
    assert heap.take_due(2.0) == []
    assert heap.next() == NEVER


def test_one_with_two_entries_is_woken_once():
    heap = TimerHeap()
    driver = Driver(2.0)
    heap.set(driver)
    driver.at = 1.0
    heap.set(driver)
    assert heap.take_due(3.0) == [driver]


def test_thousands_that_are_due_at_once_are_not_compared_with_each_other():
    compared = []

    class Shy(Driver):
        def __eq__(self, other):
            compared.append(other)
            return self is other

        __hash__ = Driver.__hash__

    heap = TimerHeap()
    drivers = [Shy(1.0) for _ in range(1000)]
    for driver in drivers:
        heap.set(driver)
    assert len(heap.take_due(1.0)) == 1000
    assert compared == []
