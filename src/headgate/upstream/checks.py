"""Active health: the verdict on every endpoint, and when each is probed next.

The machine of one endpoint is a table (`TURNS`): the first probe decides alone, after that a verdict is turned by
`rise` or `fall` probes in a row that say otherwise. What an earlier keeper or an earlier run knew is a verdict like
any other, so it takes as much to turn it.

`Checks` runs them: a heap of what is due, at most `MAX_PROBES` under way, and no more than one for an endpoint. First
probes are spread over a second, but for those that requests wait for; after that each interval is a little longer or
shorter, and a crowd that began together falls apart. Probes that are late are not made up for.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, final

from headgate.clock import Clock, LoopTimers, Timers
from headgate.counters import PROBES_FAILED, PROBES_WELL
from headgate.tasks import Failure, spawn
from headgate.upstream.health import DOWN, PENDING, UP, VERDICTS, Tell
from headgate.upstream.probe import ProbeResult, Target

# Under way at once, each of them a descriptor and a handshake at worst; the keeper has staples to fetch beside.
MAX_PROBES: Final = 64
# First probes are spread over so many seconds, so that a restart of the gate is no burst at its origins.
SPREAD: Final = 1.0
_FOREVER: Final = 3600.0

# (verdict, the probe went well) -> the verdict that so many probes in a row bring: 1, or `rise`, or `fall`.
TURNS: Final = {
    (PENDING, True): UP,
    (PENDING, False): DOWN,
    (UP, False): DOWN,
    (DOWN, True): UP,
}

Probe = Callable[[Target], Awaitable[ProbeResult]]


@dataclass(frozen=True, slots=True)
class Rules:
    """How often the endpoints of one upstream are probed, and what turns a verdict. Times in seconds, `jitter` is a
    share of `interval`. `is_awaited`: no requests before the first probe."""

    interval: float = 5.0
    jitter: float = 0.1
    rise: int = 2
    fall: int = 3
    is_awaited: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an endpoint; `since` is wall time."""

    verdict: int
    why: str
    since: float


@dataclass(slots=True, eq=False)
class Check:
    """One endpoint under probes. `streak` counts probes in a row that contradict the verdict; `last_at` is wall
    time."""

    group: "Group"
    target: Target
    verdict: int = PENDING
    why: str = "no probe has ended yet"
    since: float = 0.0
    streak: int = 0
    last: ProbeResult | None = None
    last_at: float = 0.0
    successes: int = 0
    failures: int = 0
    is_gone: bool = False
    is_running: bool = False

    def take(self, result: ProbeResult, wall: float) -> bool:
        """Take the end of a probe; tell whether the verdict is another."""
        self.last = result
        self.last_at = wall
        if result.is_well:
            self.successes += 1
        else:
            self.failures += 1
        turned = TURNS.get((self.verdict, result.is_well))
        if turned is None:
            self.streak = 0
            return False
        self.streak += 1
        rules = self.group.rules
        if self.streak < {PENDING: 1, UP: rules.fall, DOWN: rules.rise}[self.verdict]:
            return False
        times = f"{self.streak} probes in a row: " if self.streak > 1 else "probe: "
        self.verdict, self.why, self.since, self.streak = turned, times + result.why, wall, 0
        return True


@dataclass(slots=True, eq=False)
class Group:
    """The endpoints of one upstream."""

    name: str
    rules: Rules
    probe: Probe
    checks: dict[str, Check] = field(default_factory=dict)


class Publish(Protocol):
    """Where verdicts go: None for an endpoint that is no more."""

    def __call__(self, upstream: str, url: str, verdict: Verdict | None) -> None: ...


@final
class Checks:
    """All endpoints that are probed. `run` is a task until cancelled."""

    def __init__(
        self,
        publish: Publish,
        tell: Tell,
        failed: Failure,
        clock: Clock,
        random: Callable[[], float],
        values: list[int],
        *,
        timers: Timers | None = None,
    ) -> None:
        self.groups: dict[str, Group] = {}
        self._publish = publish
        self._tell = tell
        self._failed = failed
        self._clock = clock
        self._random = random
        self._values = values
        self._timers = timers if timers is not None else LoopTimers(clock)
        self._queue: list[tuple[float, int, Check]] = []
        self._sequence = 0
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._awaited: set[Check] = set()
        self._answered = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Checks {len(self._queue)} waiting, {len(self._running)} under way>"

    # -- who is probed

    def add(
        self,
        name: str,
        rules: Rules,
        probe: Probe,
        targets: Iterable[Target],
        known: Mapping[str, Verdict] | None = None,
    ) -> None:
        """Probe the endpoints of one upstream, beginning with the verdicts that are known."""
        self.groups[name] = Group(name, rules, probe)
        self.set_targets(name, targets, known)

    def set_targets(
        self, name: str, targets: Iterable[Target], known: Mapping[str, Verdict] | None = None
    ) -> None:
        """The endpoints of an upstream are others; those that stay keep their verdict."""
        group = self.groups[name]
        wanted = {target.url: target for target in targets}
        for url in group.checks.keys() - wanted.keys():
            check = group.checks.pop(url)
            check.is_gone = True
            self._note_awaited(check)
            self._publish(name, url, None)
        for url, target in wanted.items():
            if url not in group.checks:
                self._begin(group, target, (known or {}).get(url))
        self._wake.set()

    def _begin(self, group: Group, target: Target, known: Verdict | None) -> None:
        check = group.checks[target.url] = Check(group, target, since=self._clock.wall())
        if known is not None:
            check.verdict, check.why, check.since = known.verdict, known.why, known.since
        is_urgent = group.rules.is_awaited and check.verdict == PENDING
        if is_urgent:
            self._awaited.add(check)
        self._push(check, 0.0 if is_urgent else min(group.rules.interval, SPREAD) * self._random())

    def _push(self, check: Check, delay: float) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (self._clock.now() + delay, self._sequence, check))

    async def first_round(self) -> None:
        """Wait until each endpoint that must not have requests before has had its first probe."""
        while self._awaited:
            self._answered.clear()
            await self._answered.wait()

    def _note_awaited(self, check: Check) -> None:
        if check in self._awaited:
            self._awaited.discard(check)
            if not self._awaited:
                self._answered.set()

    # -- probing

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                self._wake.clear()
                timer = self._timers.call_at(self._step(), self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    timer.cancel()
        finally:
            for task in list(self._running):
                task.cancel()

    def _step(self) -> float:
        """Begin what is due; return when to look again."""
        now = self._clock.now()
        while self._queue:
            when, _, check = self._queue[0]
            if check.is_gone:
                heapq.heappop(self._queue)
            elif len(self._running) >= MAX_PROBES:
                break  # the next one that ends wakes us
            elif when <= now:
                heapq.heappop(self._queue)
                task = spawn(f"probe {check.target.url}", self._run(check), self._failed)
                self._running.add(task)
                task.add_done_callback(self._ended)
            else:
                return when
        return now + _FOREVER

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._wake.set()

    async def _run(self, check: Check) -> None:
        rules = check.group.rules
        began = self._clock.now()
        try:
            result = await check.group.probe(check.target)
        except Exception as error:
            # A defect of ours: it says nothing about the endpoint, and the next probe comes all the same.
            self._values[PROBES_FAILED] += 1
            self._failed(f"probe {check.target.url}", error)
        else:
            self._values[PROBES_WELL if result.is_well else PROBES_FAILED] += 1
            if not check.is_gone:
                self._take(check, result)
        self._note_awaited(check)
        interval = rules.interval * (1.0 + rules.jitter * (2.0 * self._random() - 1.0))
        self._push(check, max(0.0, began + interval - self._clock.now()))

    def _take(self, check: Check, result: ProbeResult) -> None:
        before = check.verdict
        if not check.take(result, self._clock.wall()):
            return
        self._publish(check.group.name, check.target.url, Verdict(check.verdict, check.why, check.since))
        if before == PENDING and check.verdict == UP:
            return  # as everybody expected
        rules = check.group.rules
        following = f"requests go to the others; {rules.rise} good probes in a row bring it back"
        self._tell(
            f"endpoint-{VERDICTS[check.verdict]}",
            "warning" if check.verdict == DOWN else "info",
            limit_key=check.target.url,
            upstream=check.group.name,
            endpoint=check.target.url,
            reason=check.why,
            address=result.address,
            errno=result.errno,
            milliseconds=round(result.milliseconds, 1),
            next=following if check.verdict == DOWN else "it gets its share of the requests again",
        )
