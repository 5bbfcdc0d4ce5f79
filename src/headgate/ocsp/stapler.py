"""The stapler: one task in the keeper that keeps a fresh staple for every certificate and never stops saying how.

Each certificate is an `Entry` with a time at which it is due. One loop (`run`) sleeps until the next thing is due,
starts a round for it (a task of its own, see `exchange`), withdraws what ended, and looks at the wall clock every
30 seconds, because a staple lives by wall time and timers by monotonic time: what is due by either is due, so a
clock that jumps delays nothing.

A round ends in a staple (adopted if it is newer, then saved, published, announced) or in a failure (announced with
address, errno and the time of the next attempt). Neither touches what is held until something better is there.

`fetch`, `publish` and `event` are injected; nothing here opens a socket. `publish(name, staple)` is called whenever
what should be served for a name changes (None: nothing), `event(kind, fields)` for everything that an operator
would want to read.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final, final

from headgate import counters as slots
from headgate.clock import Clock, LoopTimers, Timers
from headgate.counters import Counters
from headgate.http.fetch import Fetch
from headgate.ocsp import report
from headgate.ocsp.conversation import ConversationFailed, Failure, Success
from headgate.ocsp.entry import NEVER, Entry, Source, StapleState, StapleStatus, Verdict
from headgate.ocsp.exchange import OVERRUN_GRACE, Exchange, RoundFailed, host_of
from headgate.ocsp.issuer import fetch_issuer
from headgate.ocsp.lanes import Lanes, Overran
from headgate.ocsp.report import Event
from headgate.ocsp.response import Reason
from headgate.ocsp.schedule import BOOT_TRIES, boot_delay, refresh_delay, retry_delay
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.sources import SAVE_AGAIN, Sources
from headgate.ocsp.store import StapleStore
from headgate.ocsp.subject import Subject, fingerprint
from headgate.tasks import spawn
from headgate.tls.staple import Staple

SCAN_INTERVAL: Final = SAVE_AGAIN
"""How often everything is held against the wall clock, in seconds."""

CLOCK_JUMP: Final = 5.0
"""Wall time that strays further than this from monotonic time between two looks has jumped, not drifted."""

_STATE_SLOTS: Final = {state: slots.STAPLES_FIRST + i for i, state in enumerate(slots.STAPLE_STATES)}

_FAILURE_SLOTS: Final = {
    reason: slots.OCSP_FAILURES_FIRST + i for i, reason in enumerate(slots.OCSP_FAILURES)
}

Publish = Callable[[str, Staple | None], None]


@final
class Stapler:
    """Keeps staples fresh. Call `load()` before anything is served, then run `run()` as a task until cancelled."""

    def __init__(
        self,
        subjects: Iterable[Subject],
        fetch: Fetch,
        store: StapleStore,
        clock: Clock,
        rng: Callable[[], float],
        publish: Publish,
        event: Event,
        counters: Counters,
        settings: OcspSettings,
        *,
        timers: Timers | None = None,
    ) -> None:
        self._fetch = fetch
        self._sources = Sources(store, clock, counters.values, event)
        self._clock = clock
        self._rng = rng
        self._publish = publish
        self._event = event
        self._values = counters.values
        self._settings = settings
        self._timers = timers if timers is not None else LoopTimers(clock)
        self._lanes = Lanes(clock, settings, self._changed)
        self._exchange = Exchange(fetch, clock, settings, self._lanes)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self._queue: list[tuple[float, int, Entry]] = []
        self._sequence = 0
        self._wake = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()
        self._next_scan = clock.now()
        self._offset = clock.wall() - clock.now()
        self._resolver_worked = False
        self._loaded = False
        self._displaced = 0
        self._enter(list(subjects))

    def __repr__(self) -> str:
        return f"<Stapler {len(self._names)} names, {len(self._tasks)} rounds, {self._lanes!r}>"

    # -- what the keeper calls

    def load(self) -> None:
        """Read, verify and publish what is on disk and beside the chains; no network. Call once, before serving."""
        if not self._loaded:
            self._loaded = True
            for entry in self._entries.values():
                self._begin(entry)
            self._note_progress()

    async def run(self) -> None:
        """Keep staples fresh until cancelled; cancels its rounds when it ends."""
        self.load()
        try:
            while True:
                self._wake.clear()
                deadline = self._step()
                timer = self._timers.call_at(deadline, self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    timer.cancel()
        finally:
            for task in list(self._tasks.values()):
                task.cancel()

    def update_subjects(self, subjects: Iterable[Subject]) -> None:
        """Replace the set of subjects. Certificates that stay keep their staple and schedule; a name whose
        certificate changed is published anew at once (None until there is a staple for the new one)."""
        before = dict(self._names)
        self._enter(list(subjects))
        for name in before.keys() - self._names.keys():
            self._hand_out(name, None)
        for name, entry in self._names.items():
            if before.get(name) is not entry and self._loaded:
                self._hand_out(name, entry.usable(self._clock.wall()))
        self._changed()
        self._note_progress()

    async def prune(self) -> None:
        """Remove what is left on disk of certificates that are gone. To be called when all subjects are known: what
        belongs to none of them is judged."""
        self.load()
        await self._sources.prune(tuple(self._entries.values()))

    def refresh(self, name: str | None = None) -> tuple[str, ...]:
        """Ask at once for one name or all that can be asked about; returns the names (none: unknown or nobody to
        ask). A round that is under way is followed by another one."""
        names = [n for n in self._names if name in (None, n)]
        chosen = tuple(n for n in names if self._names[n].askable)
        for entry in {self._names[n]: None for n in chosen}:
            if entry.running:
                entry.again = True
            else:
                self._set_due(entry, 0.0)
        self._changed()
        return chosen

    def status(self) -> list[StapleStatus]:
        """Return one row for each name, by name."""
        now, wall = self._clock.now(), self._clock.wall()
        return [self._names[name].status(name, now, wall) for name in sorted(self._names)]

    def staples(self) -> dict[str, Staple]:
        """Return what may be served now, by name: what a new worker's Snapshot needs."""
        wall = self._clock.wall()
        usable = ((name, entry.usable(wall)) for name, entry in self._names.items())
        return {name: staple for name, staple in usable if staple is not None}

    def held(self, name: str) -> Staple | None:
        """Return what is held for `name`, even if it has ended: for showing, not for serving."""
        entry = self._names.get(name)
        return entry.held if entry is not None else None

    async def first_round(self, names: Iterable[str]) -> None:
        """Wait until each of the names holds a staple, was tried, or has nobody to ask. Set your own deadline."""
        await self._wait_for(names, self._is_settled)

    async def rounds_ended(self, names: Iterable[str]) -> None:
        """Wait until no round is under way or due for any of the names: what follows a `refresh`."""
        await self._wait_for(names, lambda entry: not entry.running and entry.due > self._clock.now())

    # -- the loop

    def _step(self) -> float:
        """Do all that is due; return when to come back, in monotonic seconds."""
        now, wall = self._clock.now(), self._clock.wall()
        if self._clock_jumped(now, wall) or now >= self._next_scan:
            self._next_scan = now + SCAN_INTERVAL
            for entry in list(self._entries.values()):
                self._attend(entry, now, wall)
            self._sources.save_again([entry for entry in self._entries.values() if entry.unsaved])
        while self._queue and self._queue[0][0] <= now:
            when, _, entry = heapq.heappop(self._queue)
            if entry.armed == when and not entry.removed:
                entry.armed = NEVER
                self._attend(entry, now, wall)
        self._lanes.sweep(now)
        if self._lanes.displaced > self._displaced:
            self._values[slots.OCSP_FETCH_DISPLACED] += self._lanes.displaced - self._displaced
            self._displaced = self._lanes.displaced
        times = [self._next_scan, self._lanes.deadline(), self._queue[0][0] if self._queue else None]
        return min(time for time in times if time is not None)

    def _clock_jumped(self, now: float, wall: float) -> bool:
        jumped = (wall - now) - self._offset
        self._offset = wall - now
        if abs(jumped) <= CLOCK_JUMP:
            return False
        self._event(*report.clock_jumped(jumped))
        return True

    def _attend(self, entry: Entry, now: float, wall: float) -> None:
        """Publish or withdraw by wall time, start a round that is due, and set the alarm for what comes next."""
        held = entry.usable(wall)
        if entry.published != (held is not None):
            self._announce(entry, report.restored(entry) if held is not None else report.withdrawn(entry))
            if held is None:
                self._values[slots.OCSP_WITHDRAWN] += 1
        if not entry.running and (now >= entry.due or wall >= entry.due_wall):
            self._start(entry)
        ends = now + (held.next_update - wall) if held is not None else NEVER
        self._arm(entry, min(ends, NEVER if entry.running else entry.due))
        self._count(entry, wall)

    def _arm(self, entry: Entry, when: float) -> None:
        if when != NEVER and not entry.armed - 0.001 <= when <= entry.armed + 1.0:
            # Clocks are read one after the other, so an alarm computed twice differs a little: an early one is
            # harmless, and without this tolerance every scan would leave one more of each in the queue.
            entry.armed = when
            self._sequence += 1
            heapq.heappush(self._queue, (when, self._sequence, entry))
            self._changed()

    def _start(self, entry: Entry) -> None:
        entry.running = True
        entry.again = False
        entry.due = entry.due_wall = NEVER
        self._tasks[entry] = spawn(f"staple {entry.names[0]}", self._round(entry), self._defect)

    def _changed(self) -> None:
        self._wake.set()

    def _defect(self, name: str, error: BaseException) -> None:
        self._event(*report.defect(name, error))

    # -- one round

    async def _round(self, entry: Entry) -> None:
        try:
            if entry.subject.issuer is None:
                await self._find_issuer(entry)
            urgency = entry.urgency(self._clock.wall())
            success = await self._exchange.round(entry.subject, entry.memory, urgency)
        except RoundFailed as error:
            outcome: Success | tuple[Failure, ...] = error.failures
        except Exception as error:  # a defect of ours must cost this round, not this certificate's future
            outcome = (Failure("", "defect", type(error).__name__, str(error)),)
        else:
            outcome = success
        finally:
            entry.running = False
            del self._tasks[entry]
        if entry.removed:
            return
        entry.tried = True
        if isinstance(outcome, Success):
            self._succeeded(entry, outcome)
        else:
            self._failed(entry, outcome)
        if entry.again:
            self._set_due(entry, 0.0)
        self._note_progress()

    def _succeeded(self, entry: Entry, success: Success) -> None:
        wall = self._clock.wall()
        self._resolver_worked = True
        self._values[slots.OCSP_FETCH_OK] += 1
        for failure in success.failures:
            self._note_failure(entry, failure, wall)
            self._event(*report.responder_failed(entry, failure))
        verdict = self._sources.take(entry, success.staple, Source.NETWORK)
        if entry.usable(wall) is None or verdict is Verdict.OLDER_THAN_REVOCATION:
            detail = "verified, but older than what was held when the certificate was revoked"
            failure = Failure(success.responder, "answer", str(verdict), detail, success.address)
            return self._failed(entry, (replace(failure, milliseconds=success.milliseconds),))
        entry.last_success = wall
        entry.successes += 1
        entry.failures_in_a_row = entry.resolve_failures = 0
        self._schedule_refresh(entry, success.max_age)
        if verdict is Verdict.ADOPTED:
            self._announce(entry, report.adopted(entry, success, entry.due - self._clock.now()))
        else:
            self._event(*report.unchanged(entry, verdict, success, entry.due - self._clock.now()))

    def _schedule_refresh(self, entry: Entry, max_age: float) -> None:
        held = entry.usable(self._clock.wall())
        if held is None or not entry.askable:
            return
        settings = entry.subject.settings or self._settings
        delay = refresh_delay(
            lifetime=held.next_update - held.this_update,
            left=held.next_update - self._clock.wall(),
            u=self._rng(),
            min_interval=settings.min_interval,
            max_interval=settings.max_interval,
            max_age=max_age,
        )
        self._set_due(entry, delay)

    def _failed(self, entry: Entry, failures: tuple[Failure, ...]) -> None:
        wall = self._clock.wall()
        for failure in failures:
            self._note_failure(entry, failure, wall)
        entry.failures += 1
        entry.failures_in_a_row += 1
        if any(f.stage not in ("resolve", "overran", "defect") for f in failures):
            self._resolver_worked = True
        delay = self._retry_delay(entry, failures, wall)
        self._set_due(entry, delay)
        for failure in failures[:-1]:
            self._event(*report.responder_failed(entry, failure))
        self._event(*report.failed(entry, failures, delay, wall))

    def _note_failure(self, entry: Entry, failure: Failure, wall: float) -> None:
        entry.last_failure, entry.last_failure_at = failure, wall
        refused = failure.stage == "answer"
        self._values[slots.OCSP_FETCH_REFUSED if refused else slots.OCSP_FETCH_FAILED] += 1
        reason = f"{failure.reason[:6]}xx" if failure.stage == "status" else str(failure.reason)
        self._values[_FAILURE_SLOTS.get(reason, _FAILURE_SLOTS["other"])] += 1

    def _retry_delay(self, entry: Entry, failures: tuple[Failure, ...], wall: float) -> float:
        booting = not self._resolver_worked and entry.resolve_failures < BOOT_TRIES
        if booting and failures and all(failure.stage == "resolve" for failure in failures):
            entry.resolve_failures += 1
            return boot_delay(failures=entry.resolve_failures, u=self._rng())
        held = entry.usable(wall)
        return retry_delay(
            failures=entry.failures_in_a_row - entry.resolve_failures,
            left=held.next_update - wall if held is not None else None,
            u=self._rng(),
        )

    def _set_due(self, entry: Entry, delay: float) -> None:
        now, wall = self._clock.now(), self._clock.wall()
        entry.due, entry.due_wall = now + delay, wall + delay
        held = entry.usable(wall)
        ends = now + (held.next_update - wall) if held is not None else NEVER
        self._arm(entry, min(entry.due, ends))
        self._count(entry, wall)

    async def _find_issuer(self, entry: Entry) -> None:
        """Fetch the issuer's certificate, which the chain lacks; then look at stored staples, which need it.

        Raises: RoundFailed."""
        failures: list[Failure] = []
        subject = entry.subject
        timeout = (subject.settings or self._settings).timeout
        urgency, limit = entry.urgency(self._clock.wall()), timeout + OVERRUN_GRACE
        for url in subject.issuer_urls:
            host = host_of(url)
            work = partial(fetch_issuer, self._fetch, self._clock, subject.leaf, url, timeout)
            try:
                issuer = await self._lanes.run(host, urgency, limit, work)
            except ConversationFailed as error:
                self._lanes.report(host, failed=error.failure.blames_host)
                failures.append(error.failure)
            except Overran as error:
                self._lanes.report(host, failed=True)
                failures.append(Failure(url, "overran", "overran", str(error), milliseconds=limit * 1000.0))
            else:
                self._lanes.report(host, failed=False)
                self._sources.keep_issuer(entry, issuer)
                self._event(*report.issuer_found(entry, url))
                return self._load(entry)
        raise RoundFailed(tuple(failures))

    # -- subjects and their sources

    def _enter(self, subjects: list[Subject]) -> None:
        """Bring entries into line with `subjects`; certificates are told apart by fingerprint, not by name."""
        grouped: dict[str, list[Subject]] = {}
        for subject in subjects:
            grouped.setdefault(f"{fingerprint(subject.leaf)}{subject.stapling}", []).append(subject)
        names = [subject.name for subject in subjects]
        if len(set(names)) != len(names):
            raise ValueError("names of subjects must be unique")
        for identity in self._entries.keys() - grouped.keys():
            self._remove(self._entries.pop(identity))
        self._names = {}
        for identity, group in grouped.items():
            entry = self._entries.get(identity)
            if entry is None:
                entry = self._entries[identity] = Entry(fingerprint(group[0].leaf), _merged(group))
                entry.names = [subject.name for subject in group]
                if self._loaded:
                    self._begin(entry)
            else:
                self._renew(entry, group)
            self._names.update(dict.fromkeys(entry.names, entry))

    def _renew(self, entry: Entry, group: list[Subject]) -> None:
        """The certificate stays; its names, its file or its chain may have changed."""
        merged, before = _merged(group), entry.subject
        entry.names = [subject.name for subject in group]
        entry.subject = replace(merged, issuer=merged.issuer or before.issuer)
        if self._loaded and (merged.file_response != before.file_response or before.issuer is None):
            self._load(entry)
            if entry.askable and entry.due == NEVER and not entry.running:
                self._set_due(entry, 0.0)

    def _remove(self, entry: Entry) -> None:
        entry.removed = True
        if entry in self._tasks:
            self._tasks[entry].cancel()
        if entry.counted is not None:
            self._values[_STATE_SLOTS[entry.counted]] -= 1

    def _begin(self, entry: Entry) -> None:
        """Take up a new certificate: its sources first, then a first round, at once unless more than half of the
        life of what was found is left (a restart is no reason to ask)."""
        self._load(entry)
        wall = self._clock.wall()
        held = entry.usable(wall)
        if entry.askable and entry.due == NEVER:  # else somebody has asked for a refresh already
            if held is not None and held.next_update - wall > (held.next_update - held.this_update) / 2.0:
                self._schedule_refresh(entry, max_age=0.0)
            else:
                self._set_due(entry, 0.0)
        elif not entry.askable and entry.subject.responders and entry.subject.stapling == "auto":
            self._event(*report.issuer_missing(entry))
        self._attend_end(entry, wall)

    def _load(self, entry: Entry) -> None:
        if self._sources.load(entry):
            self._announce(entry, report.adopted(entry))

    def _attend_end(self, entry: Entry, wall: float) -> None:
        held = entry.usable(wall)
        if held is not None:
            self._arm(entry, min(entry.due, self._clock.now() + (held.next_update - wall)))
        self._count(entry, wall)

    # -- telling others

    def _announce(self, entry: Entry, event: tuple[str, dict[str, object]]) -> None:
        """Publish what is to be served for each name, then say why."""
        held = entry.usable(self._clock.wall())
        entry.published = held is not None
        for name in entry.names:
            self._hand_out(name, held)
        self._event(*event)

    def _hand_out(self, name: str, staple: Staple | None) -> None:
        try:
            self._publish(name, staple)
        except (
            Exception
        ) as error:  # whoever cannot take one staple must not keep the others from being fetched
            self._defect(f"publish {name}", error)

    def _count(self, entry: Entry, wall: float) -> None:
        state = entry.state(wall)
        if state is not entry.counted:
            if entry.counted is not None:
                self._values[_STATE_SLOTS[entry.counted]] -= 1
            self._values[_STATE_SLOTS[state]] += 1
            entry.counted = state

    def _note_progress(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def _is_settled(self, entry: Entry) -> bool:
        return entry.tried or not entry.askable or entry.usable(self._clock.wall()) is not None

    async def _wait_for(self, names: Iterable[str], is_done: Callable[[Entry], bool]) -> None:
        waiting = set(names)
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            while True:
                waiting = {n for n in waiting if n in self._names and not is_done(self._names[n])}
                if not waiting:
                    return
                await watcher.wait()
                watcher.clear()
        finally:
            self._watchers.discard(watcher)


def _merged(group: list[Subject]) -> Subject:
    """Return one subject for a certificate that has several names; an issuer or a file known to one serves all."""
    first = group[0]
    issuer = next((s.issuer for s in group if s.issuer is not None), None)
    response = next((s.file_response for s in group if s.file_response is not None), None)
    return replace(first, issuer=issuer, file_response=response)


assert set(_STATE_SLOTS) == set(StapleState)
assert set(Reason) <= set(_FAILURE_SLOTS)
