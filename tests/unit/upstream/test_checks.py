"""Active health by a fake clock: rise and fall, how many probes at once and when, and who waits for the first."""

import asyncio

import pytest

from headgate.counters import PROBES_FAILED, PROBES_WELL, SIZE
from headgate.testing.clock import FakeClock, settle
from headgate.upstream.checks import MAX_PROBES, SPREAD, TURNS, Checks, Rules, Verdict
from headgate.upstream.health import DOWN, PENDING, UP
from headgate.upstream.probe import ProbeResult, Target

WELL = ProbeResult(True, "status 200", "10.0.0.1:80", 0, 3.0)
ILL = ProbeResult(False, "connect: refused", "10.0.0.1:80", 111, 1.0)


def target(number=1):
    return Target(f"http://10.0.0.{number}:80", "http", f"10.0.0.{number}", 80, f"10.0.0.{number}")


URL = target().url


class Room:
    """`Checks` with a clock that stands, probes that answer as the test says, and what came out."""

    def __init__(self):
        self.clock = FakeClock()
        self.values = [0] * SIZE
        self.published = []
        self.told = []
        self.defects = []
        self.answers = {}
        self.probed = []
        self.hold = False
        self.waiting = []
        self.checks = Checks(
            lambda upstream, url, verdict: self.published.append((upstream, url, verdict)),
            lambda name, level="info", *, limit_key="", **fields: self.told.append((name, fields)),
            lambda where, error: self.defects.append(error),
            self.clock,
            lambda: 0.5,
            self.values,
            timers=self.clock,
        )

    async def probe(self, target):
        self.probed.append((target.url, self.clock.now()))
        if self.hold:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate
        answer = self.answers.get(target.url, WELL)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def add(self, *targets, known=None, **rules):
        self.checks.add("api", Rules(**rules), self.probe, targets or [target()], known)

    def verdict(self, url=URL):
        return self.checks.groups["api"].checks[url].verdict

    def release(self):
        waiting, self.waiting = self.waiting, []
        for gate in waiting:
            gate.set_result(None)


def run(scenario):
    async def main():
        room = Room()
        task = asyncio.ensure_future(room.checks.run())
        try:
            await scenario(room)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return room

    return asyncio.run(main())


def test_the_table_is_whole():
    assert set(TURNS.values()) == {UP, DOWN}
    assert {verdict for verdict, _ in TURNS} == {UP, DOWN, PENDING}


@pytest.mark.parametrize(("answer", "verdict"), [(WELL, UP), (ILL, DOWN)])
def test_the_first_probe_decides_alone(answer, verdict):
    async def scenario(room):
        room.answers[URL] = answer
        room.add()
        assert room.verdict() == PENDING
        await room.clock.advance(SPREAD)
        assert room.verdict() == verdict
        assert [(name, url, found.verdict) for name, url, found in room.published] == [("api", URL, verdict)]

    run(scenario)


def test_so_many_failures_in_a_row_bring_it_down_and_so_many_successes_up():
    async def scenario(room):
        room.add(interval=10.0, rise=2, fall=3)
        await room.clock.advance(SPREAD)
        room.answers[URL] = ILL
        await room.clock.advance(20.0)
        assert (room.verdict(), room.checks.groups["api"].checks[URL].streak) == (UP, 2)
        await room.clock.advance(10.0)
        assert room.verdict() == DOWN
        room.answers[URL] = WELL
        await room.clock.advance(10.0)
        assert room.verdict() == DOWN
        await room.clock.advance(10.0)
        assert room.verdict() == UP
        assert [name for name, _ in room.told] == ["endpoint-down", "endpoint-up"]
        assert room.told[0][1]["reason"] == "3 probes in a row: connect: refused"
        assert room.told[0][1]["errno"] == 111
        assert all(fields["next"] for _, fields in room.told)
        assert (room.values[PROBES_WELL], room.values[PROBES_FAILED]) == (3, 3)

    run(scenario)


def test_one_good_probe_between_begins_the_count_anew():
    async def scenario(room):
        room.add(interval=10.0, fall=2)
        await room.clock.advance(SPREAD)
        for answer in (ILL, WELL, ILL, WELL):
            room.answers[URL] = answer
            await room.clock.advance(10.0)
        assert room.verdict() == UP

    run(scenario)


def test_what_was_known_is_turned_like_any_other_verdict():
    async def scenario(room):
        room.add(interval=10.0, known={URL: Verdict(DOWN, "refused", 5.0)}, rise=2)
        assert room.verdict() == DOWN
        await room.clock.advance(SPREAD)
        assert room.verdict() == DOWN
        await room.clock.advance(10.0)
        assert room.verdict() == UP

    run(scenario)


def test_intervals_are_a_little_longer_or_shorter():
    async def scenario(room):
        room.checks._random = iter([0.0, 0.0, 1.0, 0.5, 0.5, 0.5]).__next__
        room.add(interval=10.0, jitter=0.2)
        await room.clock.advance(30.0)
        times = [when - 1000.0 for _, when in room.probed]
        assert times == pytest.approx([0.0, 8.0, 20.0, 30.0])

    run(scenario)


def test_first_probes_are_spread():
    async def scenario(room):
        room.checks._random = iter([i / 10 for i in range(10)] + [0.5] * 100).__next__
        room.add(*(target(i) for i in range(10)), interval=60.0)
        await room.clock.advance(SPREAD)
        assert [when - 1000.0 for _, when in room.probed] == pytest.approx([i / 10 for i in range(10)])

    run(scenario)


def test_so_many_probes_are_under_way_and_not_one_more():
    async def scenario(room):
        room.hold = True
        room.add(*(target(i) for i in range(MAX_PROBES + 1)))
        await room.clock.advance(SPREAD)
        assert len(room.waiting) == MAX_PROBES
        room.hold = False
        room.release()
        await settle(200)
        assert len(room.probed) == MAX_PROBES + 1

    run(scenario)


def test_a_probe_that_hangs_has_no_second_beside_it():
    async def scenario(room):
        room.hold = True
        room.add(interval=5.0)
        await room.clock.advance(60.0)
        assert len(room.waiting) == 1

    run(scenario)


def test_those_that_are_waited_for_are_probed_at_once():
    async def scenario(room):
        room.hold = True
        room.add(target(1), target(2), is_awaited=True)
        waiter = asyncio.ensure_future(room.checks.first_round())
        await settle()
        assert len(room.waiting) == 2
        assert not waiter.done()
        room.answers[target(2).url] = ILL
        room.release()
        await settle()
        assert waiter.done()

    run(scenario)


def test_nobody_waits_for_the_others():
    async def scenario(room):
        room.hold = True
        room.add()
        await asyncio.wait_for(room.checks.first_round(), 5)

    run(scenario)


def test_an_endpoint_that_leaves_is_probed_no_more_and_not_waited_for():
    async def scenario(room):
        room.hold = True
        room.add(target(1), target(2), is_awaited=True)
        await settle()
        waiter = asyncio.ensure_future(room.checks.first_round())
        room.checks.set_targets("api", [target(3)])
        room.checks.set_targets("api", [])
        await settle()
        assert waiter.done()
        room.hold = False
        room.release()
        await room.clock.advance(60.0)
        assert len(room.probed) == 2
        assert room.published == [("api", target(i).url, None) for i in (1, 2, 3)] or len(room.published) == 3

    run(scenario)


def test_endpoints_that_stay_keep_their_verdict():
    async def scenario(room):
        room.answers[URL] = ILL
        room.add()
        await room.clock.advance(SPREAD)
        room.checks.set_targets("api", [target(1), target(2)])
        assert room.verdict() == DOWN
        assert room.verdict(target(2).url) == PENDING

    run(scenario)


def test_a_defect_is_told_and_says_nothing_of_the_endpoint():
    async def scenario(room):
        room.answers[URL] = RuntimeError("ours")
        room.add(interval=5.0)
        await room.clock.advance(20.0)
        assert room.verdict() == PENDING
        assert len(room.defects) >= 3
        room.answers[URL] = WELL
        await room.clock.advance(5.0)
        assert room.verdict() == UP

    run(scenario)
