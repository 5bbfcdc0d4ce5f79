"""Admission: how many at once, who first, and that what is dead delays nobody."""

import asyncio

import pytest

from headgate.ocsp.lanes import HostFailing, Lanes, Overran, Urgency
from headgate.ocsp.settings import OcspSettings
from headgate.testing.clock import FakeClock, settle

FIRST = Urgency(0, 0.0, 1)
LATER = Urgency(1, 0.0, 1)


class Harness:
    """Lanes with their owner's loop: sweeps at every deadline, by a fake clock."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes(self.clock, OcspSettings(**settings), self._changed)
        self.started: list[str] = []
        self.ended: list[str] = []
        self.tasks: list[asyncio.Task] = []
        self.works: list[asyncio.Task] = []
        self.closing = False
        self.timer = None

    def _changed(self) -> None:
        deadline = self.lanes.deadline()
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.clock.call_at(deadline, self._sweep) if deadline is not None else None

    def _sweep(self) -> None:
        self.lanes.sweep(self.clock.now())
        self._changed()

    def go(self, name, host, urgency=FIRST, seconds=10.0, limit=11.0, may_leave=False, deaf=False):
        async def work():
            self.started.append(name)
            self.works.append(asyncio.current_task())
            while True:
                try:
                    await self.clock.sleep(seconds)
                    break
                except asyncio.CancelledError:
                    if not deaf or self.closing:
                        raise
            self.ended.append(name)
            return name

        task = asyncio.ensure_future(self.lanes.run(host, urgency, limit, work, may_leave=may_leave))
        self.tasks.append(task)
        return task

    async def close(self):
        self.closing = True
        for task in [*self.tasks, *self.works]:
            task.cancel()
        await asyncio.gather(*self.tasks, *self.works, return_exceptions=True)
        assert self.lanes.running == 0


def lanes_test(body, **settings):
    async def whole():
        harness = Harness(**settings)
        try:
            await body(harness)
        finally:
            await harness.close()

    asyncio.run(whole())


def test_two_to_a_host_and_sixty_four_in_all():
    async def body(h):
        for i in range(3):
            h.go(f"a{i}", "a")
        await settle()
        assert h.started == ["a0", "a1"]
        for i in range(100):
            h.go(f"h{i}", f"host{i}", LATER)
        await settle()
        assert h.lanes.running == 64
        await h.clock.advance(10)
        assert "a2" in h.started
        assert len(h.started) == 103

    lanes_test(body)


def test_one_to_a_failing_host_until_it_answers():
    async def body(h):
        h.lanes.report("a", failed=True)
        for i in range(3):
            h.go(f"a{i}", "a", seconds=5)
        await settle()
        assert h.started == ["a0"]
        h.lanes.report("a", failed=False)
        await settle()
        assert h.started == ["a0", "a1"]

    lanes_test(body)


def test_order_is_never_tried_then_soonest_to_end_then_must_staple():
    async def body(h):
        h.go("busy", "a")
        await settle()
        h.go("late", "a", Urgency(1, 900.0, 1))
        h.go("soon", "a", Urgency(1, 100.0, 1))
        h.go("new", "a", Urgency(0, 0.0, 1))
        h.go("new must-staple", "a", Urgency(0, 0.0, 0))
        await h.clock.advance(50)
        assert h.started == ["busy", "new must-staple", "new", "soon", "late"]

    lanes_test(body, per_host=1)


def test_a_waiter_with_another_host_leaves_one_that_fails():
    async def body(h):
        h.go("busy", "a", seconds=5)
        await settle()
        leaving = h.go("leaving", "a", may_leave=True)
        staying = h.go("staying", "a")
        await settle()
        h.lanes.report("a", failed=True)
        await settle()
        assert isinstance(leaving.exception(), HostFailing)
        assert not staying.done()
        at_once = h.go("at once", "a", may_leave=True)
        await settle()
        assert isinstance(at_once.exception(), HostFailing)
        await h.clock.advance(20)
        assert staying.result() == "staying"

    lanes_test(body, per_host=1)


def test_silent_fetches_are_displaced_by_first_tries_once_and_finish_afterwards():
    async def body(h):
        dead = [h.go(f"dead{i}", f"dead{i}", seconds=8) for i in range(64)]
        await settle()
        living = h.go("living", "alive", seconds=0.05)
        await h.clock.advance(0.9)
        assert not living.done()
        await h.clock.advance(0.2)
        assert living.done()
        assert h.lanes.displaced == 1
        await h.clock.advance(20)
        assert [task.result() for task in dead] == [f"dead{i}" for i in range(64)]
        assert h.started.count("dead0") == 2

    lanes_test(body)


def test_nothing_is_displaced_for_one_that_was_tried_before():
    async def body(h):
        for i in range(64):
            h.go(f"dead{i}", f"dead{i}", seconds=8)
        await settle()
        again = h.go("again", "alive", LATER, seconds=0.1)
        await h.clock.advance(7.9)
        assert (h.lanes.displaced, again.done()) == (0, False)

    lanes_test(body)


def test_a_thousand_dead_hosts_do_not_hold_up_the_last_for_their_timeouts():
    async def body(h):
        for i in range(999):
            h.go(f"dead{i}", f"dead{i}", seconds=10)
        last = h.go("last", "alive", seconds=0.1)
        await h.clock.advance(17)
        assert last.done()

    lanes_test(body)


def test_a_fetch_that_heeds_nothing_is_given_up_at_its_limit_and_its_lane_is_free():
    async def body(h):
        stuck = h.go("stuck", "a", seconds=1e9, limit=11, deaf=True)
        await h.clock.advance(10.9)
        waiting = h.go("waiting", "a", seconds=1)
        await settle()
        assert not stuck.done()
        await h.clock.advance(0.2)
        assert isinstance(stuck.exception(), Overran)
        assert h.lanes.overran == 1
        await h.clock.advance(1)
        assert waiting.result() == "waiting"
        assert not h.works[0].done()

    lanes_test(body, per_host=1)


@pytest.mark.parametrize("turns", range(6))
def test_cancellation_at_any_moment_gives_the_lane_back(turns):
    async def body(h):
        first = h.go("first", "a")
        second = h.go("second", "a")
        await settle(turns)
        first.cancel()
        await settle(turns)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert h.lanes.running == 0
        third = h.go("third", "a", seconds=0)
        await h.clock.advance(0)
        assert third.result() == "third"

    lanes_test(body, per_host=1, concurrent=1)


def test_what_the_work_raises_is_raised_and_the_lane_is_free():
    async def body(h):
        async def work():
            raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await h.lanes.run("a", FIRST, 1.0, work)
        assert h.lanes.running == 0

    lanes_test(body, per_host=1)


def test_hosts_of_which_nothing_is_known_are_forgotten():
    async def body(h):
        for i in range(50):
            h.go(f"{i}", f"host{i}", seconds=0)
        await h.clock.advance(1)
        assert "0 hosts" in repr(h.lanes)

    lanes_test(body)
