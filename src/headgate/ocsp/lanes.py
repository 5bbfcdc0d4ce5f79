"""Who may talk to a responder now: 64 fetches at once, 2 to a host, 1 to a host whose last fetch failed.

Nothing dead may delay what is alive, so three things happen besides counting:

- Waiting is ordered by urgency across all hosts, and only hosts with room take part: 99 certificates behind one
  dead host wait for that host, and nobody else does.
- A waiter that knows another responder leaves the queue of a host that fails (`HostFailing`).
- When all lanes are taken and a certificate that was never tried waits, a fetch whose responder has been silent
  for `patience` is displaced, once; it begins again behind all first tries and is then left in peace. So
  responders on 99 dead hosts, or 999, hold up a first try by about a second and not by a timeout each.

A fetch that outlives its own limit is given up, whether or not it heeds its cancellation: one stuck fetch costs
one attempt, never a lane.

No timers and no tasks of its own but those of the fetches: the owner calls `sweep` at `deadline()`, and is told by
`changed` when that may have come nearer.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar, final

from headgate.clock import Clock
from headgate.errors import HeadgateError
from headgate.ocsp.settings import OcspSettings

T = TypeVar("T")


class Urgency(NamedTuple):
    """Order of the waiting: smaller goes first. `ends` is the nextUpdate of what is held, 0 when nothing is."""

    tried: int
    ends: float
    can_do_without: int


class HostFailing(HeadgateError):
    """The host fails and the waiter has another one to ask."""


class Overran(HeadgateError):
    """The work did not end within its limit."""


class _Fate(Enum):
    RUNNING = "running"
    ENDED = "ended"
    DISPLACED = "displaced"
    OVERRAN = "overran"


@final
class _Waiter:
    __slots__ = ("granted", "host", "may_leave", "sequence", "urgency")

    def __init__(
        self, host: str, urgency: Urgency, sequence: int, granted: asyncio.Future[None], may_leave: bool
    ) -> None:
        self.host = host
        self.urgency = urgency
        self.sequence = sequence
        self.granted = granted
        self.may_leave = may_leave

    def __lt__(self, other: "_Waiter") -> bool:
        return (self.urgency, self.sequence) < (other.urgency, other.sequence)


@final
class _Host:
    __slots__ = ("failing", "running", "waiting")

    def __init__(self) -> None:
        self.failing = False
        self.running = 0
        self.waiting: list[_Waiter] = []


@final
class _Job(Generic[T]):
    """One fetch in a lane: `over` is done when the lane is free, which may be before its task is."""

    __slots__ = ("displaceable", "fate", "limit_at", "over", "started", "task")

    def __init__(self, task: asyncio.Task[T], started: float, limit_at: float, displaceable: bool) -> None:
        self.task = task
        self.started = started
        self.limit_at = limit_at
        self.displaceable = displaceable
        self.fate = _Fate.RUNNING
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # retrieved here, so that one given up is not reported as lost
        self.end(_Fate.ENDED)

    def end(self, fate: _Fate) -> None:
        if self.fate is _Fate.RUNNING:
            self.fate = fate
            if not self.over.done():
                self.over.set_result(None)


@final
class Lanes:
    """Admission of fetches. `running`, `displaced` and `overran` are for counters and tests."""

    def __init__(self, clock: Clock, settings: OcspSettings, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._settings = settings
        self._changed = changed
        self._hosts: dict[str, _Host] = {}
        self._jobs: dict[_Job[Any], None] = {}
        self._given_up: set[asyncio.Task[Any]] = set()
        self._sequence = 0
        self.running = 0
        self.displaced = 0
        self.overran = 0

    def __repr__(self) -> str:
        waiting = sum(len(host.waiting) for host in self._hosts.values())
        return f"<Lanes {self.running} running, {waiting} waiting, {len(self._hosts)} hosts>"

    def is_failing(self, host: str) -> bool:
        """Tell whether the last fetch from `host` failed."""
        return host in self._hosts and self._hosts[host].failing

    def report(self, host: str, *, failed: bool) -> None:
        """Say how the last fetch from `host` ended; waiters that have another host leave a failing one."""
        state = self._host(host)
        state.failing = failed
        if failed:
            leaving = [w for w in state.waiting if w.may_leave]
            state.waiting = [w for w in state.waiting if not w.may_leave]
            heapq.heapify(state.waiting)
            for waiter in leaving:
                if not waiter.granted.done():
                    waiter.granted.set_exception(HostFailing(host))
        self._tidy(host)
        self._pump()

    async def run(
        self,
        host: str,
        urgency: Urgency,
        limit: float,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        may_leave: bool = False,
    ) -> T:
        """Wait for a lane, run `work()` in it for at most `limit` seconds, and return its result.

        Raises: HostFailing (only with `may_leave`), Overran, and what `work` raises. Displacement is not seen by
        the caller: `work` is called a second time."""
        displaceable = True
        while True:
            await self._admit(host, urgency, may_leave)
            job = self._start(work, limit, displaceable)
            try:
                await job.over
            finally:
                self._finish(host, job)
            if job.fate is _Fate.OVERRAN:
                raise Overran(f"no result within {limit:.1f} s")
            if job.fate is _Fate.ENDED:
                return await job.task
            displaceable = False
            urgency = urgency._replace(tried=1)
            self.report(host, failed=True)

    def deadline(self) -> float | None:
        """Return when `sweep` should be called next, in monotonic seconds, or None."""
        times = [job.limit_at for job in self._jobs]
        if self._blocked_first_tries():
            times += [job.started + self._settings.patience for job in self._jobs if job.displaceable]
        return min(times, default=None)

    def sweep(self, now: float) -> None:
        """Give up what outlived its limit, and displace what is silent while a first try waits for a lane."""
        for job in [job for job in self._jobs if now >= job.limit_at]:
            self.overran += 1
            self._give_up(job, _Fate.OVERRAN)
        silent = [j for j in self._jobs if j.displaceable and now >= j.started + self._settings.patience]
        silent.sort(key=lambda job: job.started)
        for job in silent[: self._blocked_first_tries()]:
            if job.fate is _Fate.RUNNING:
                self.displaced += 1
                self._give_up(job, _Fate.DISPLACED)

    def _give_up(self, job: _Job[Any], fate: _Fate) -> None:
        self._given_up.add(job.task)
        job.task.add_done_callback(self._given_up.discard)
        job.end(fate)
        job.task.cancel()

    def _host(self, host: str) -> _Host:
        return self._hosts.setdefault(host, _Host())

    def _tidy(self, host: str) -> None:
        """Forget a host of which there is nothing to remember, so that the table does not grow with time."""
        state = self._hosts.get(host)
        if state is not None and not (state.failing or state.running or state.waiting):
            del self._hosts[host]

    def _room(self, state: _Host) -> int:
        limit = self._settings.per_failing_host if state.failing else self._settings.per_host
        return limit - state.running

    async def _admit(self, host: str, urgency: Urgency, may_leave: bool) -> None:
        state = self._host(host)
        if may_leave and state.failing:
            raise HostFailing(host)
        self._sequence += 1
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(host, urgency, self._sequence, granted, may_leave)
        heapq.heappush(state.waiting, waiter)
        self._pump()
        if not granted.done():
            self._changed()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._free(host)  # the lane was given in the very turn in which we were cancelled
            elif waiter in state.waiting:
                state.waiting.remove(waiter)
                heapq.heapify(state.waiting)
            self._tidy(host)
            raise

    def _start(self, work: Callable[[], Coroutine[Any, Any, T]], limit: float, displaceable: bool) -> _Job[T]:
        now = self._clock.now()
        task = asyncio.get_running_loop().create_task(work())
        job = _Job(task, now, now + limit, displaceable)
        self._jobs[job] = None
        self._changed()
        return job

    def _finish(self, host: str, job: _Job[Any]) -> None:
        """Free the lane; when the caller itself was cancelled, its fetch goes with it."""
        if job.fate is _Fate.RUNNING:
            self._give_up(job, _Fate.ENDED)
        del self._jobs[job]
        self._free(host)

    def _free(self, host: str) -> None:
        self._host(host).running -= 1
        self.running -= 1
        self._tidy(host)
        self._pump()

    def _pump(self) -> None:
        """Grant free lanes to the most urgent waiters whose hosts have room."""
        while self.running < self._settings.concurrent:
            heads = [s.waiting[0] for s in self._hosts.values() if s.waiting and self._room(s) > 0]
            if not heads:
                return
            best = min(heads)
            state = self._hosts[best.host]
            heapq.heappop(state.waiting)
            if best.granted.done():
                continue
            state.running += 1
            self.running += 1
            best.granted.set_result(None)

    def _blocked_first_tries(self) -> int:
        """Return how many first tries have room at their host but find no lane."""
        if self.running < self._settings.concurrent:
            return 0
        return sum(
            min(self._room(state), len(state.waiting))
            for state in self._hosts.values()
            if state.waiting and state.waiting[0].urgency.tried == _FIRST and self._room(state) > 0
        )


_FIRST: Final = 0
