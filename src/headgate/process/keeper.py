"""The keeper: the control plane in one asyncio process without any private key.

It runs the stapler and hands every change to the supervisor, which passes it on to the workers; it answers
on the admin socket and the metrics port. Its death costs nobody a handshake: workers serve what they have
until it ends, and the next keeper begins with what is on disk.

What fails here does not end it: a metrics port that is taken is tried again, a certificate that cannot be
read is told and skipped. Only two things end a keeper: the supervisor (DRAIN, or the end of the channel)
and a defect in the stapler, which is told and exits with 1, so that a new one is started.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import orjson
import uvloop

from headgate.cache.purges import KINDS
from headgate.clock import Clock, SystemClock
from headgate.config.model import Config
from headgate.counters import (
    CACHE_PURGES_FIRST,
    MEMORY_BYTES,
    OPEN_FILES,
    STARTED_AT,
    WORKER_GENERATION,
    CounterPage,
    Counters,
)
from headgate.http.fetch import Fetch
from headgate.net.dialer import Dialer
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.ocsp.stapler import Stapler
from headgate.ocsp.store import StapleStore
from headgate.process.cache_view import Explainer, Purger
from headgate.process.certificates import rules_of
from headgate.process.channel import AsyncChannel, Json, Kind, Message
from headgate.process.control import KeeperControl
from headgate.process.health_view import HealthView
from headgate.process.keeper_sockets import KeeperSockets
from headgate.process.memory import MemoryWatch
from headgate.process.parts import Events
from headgate.process.probes import Probes, targets_of
from headgate.process.purge_number import NAME, PurgeNumbers
from headgate.process.quic_view import QLOG_FOLDER, QuicView
from headgate.process.snapshot import Snapshot, decode_snapshot, encode_staple
from headgate.process.start import KeeperStart
from headgate.process.subjects import SubjectShelf, durations_of
from headgate.tasks import spawn
from headgate.telemetry.event_log import EventLog
from headgate.telemetry.process_stats import open_files, resident_bytes
from headgate.tls.staple import Staple
from headgate.upstream.fetch import Fetcher

SWEEP: Final = 1.0
# A certificate takes half a millisecond to read: the stapler starts with as many as it fetches for at once (all
# must-staple ones among them). The rest follows when the workers are built, which clients wait for, and in pieces
# between which the keeper does its other work.
FIRST_BATCH: Final = 64
BATCH: Final = 1000
REST_WAIT: Final = 5.0
# What may wait in the channel before staples are held back in their dictionary, where newer replace older.
UNSENT_HIGH: Final = 1024 * 1024

_LEVELS: Final = {
    "staple-failed": "error",
    "responder-failed": "warning",
    "staple-withdrawn": "error",
    "certificate-revoked": "error",
    "staple-source-refused": "warning",
    "staple-store-failed": "error",
    "issuer-missing": "warning",
    "clock-jumped": "warning",
    "defect": "error",
}


class EventSink(Events, Protocol):
    """The event log as the keeper uses it."""

    def sweep(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FetchParts:
    """A client for the stapler, what probes dial with (None: there are none), and how to end both."""

    fetch: Fetch
    close: Callable[[], Awaitable[None]]
    dialer: Dialer | None = None


MakeFetch = Callable[[Config, Counters], FetchParts]


def make_fetch(config: Config, counters: Counters) -> FetchParts:
    """Return the client that responders are asked with."""
    names = config.resolver
    resolver = Resolver(
        ResolverSettings(nameservers=names.nameservers, system=names.system), counters=counters
    )
    dialer = Dialer(resolver, counters=counters, prefer=names.prefer)
    return FetchParts(Fetcher(dialer), resolver.close, dialer)


def keeper_main(start: KeeperStart, make_fetch: MakeFetch = make_fetch) -> None:
    """Be a keeper: the whole life of its process. Ends the process when it failed."""
    events = EventLog(process="keeper")

    async def main() -> int:
        return await Keeper(start, events, SystemClock(), make_fetch).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(main())
    events.close()
    if status:
        raise SystemExit(status)


class Keeper:
    """One generation of the keeper. `run` is its whole life and returns the exit status."""

    def __init__(self, start: KeeperStart, events: EventSink, clock: Clock, make_fetch: MakeFetch) -> None:
        self._start = start
        self._events = events
        self._clock = clock
        self._make_fetch = make_fetch
        self._counters = Counters(start.page)
        self._counters.values[WORKER_GENERATION] = start.generation
        self._counters.values[STARTED_AT] = int(clock.wall())
        self._supervisor_page = CounterPage()
        self._fingerprints: dict[str, str] = {}
        self._subjects = SubjectShelf(events)
        self._taken = asyncio.Event()
        self._workers_built = asyncio.Event()
        self._number = 0
        self._pending: dict[str, Staple | None] = {}
        self._publishing = asyncio.Event()
        self._stopping = asyncio.Event()
        self._status = 0
        self._sockets = KeeperSockets(events, self._broke)

    async def run(self) -> int:
        """Serve until the supervisor says otherwise."""
        self._channel = AsyncChannel(self._start.control)
        message = await self._channel.receive()
        if message is None or message.kind is not Kind.SNAPSHOT:
            return 0 if message is None else 1
        self._take(decode_snapshot(message))
        whole = await self._subjects.decode(self._snapshot.certificates, self._config, FIRST_BATCH)
        if whole:
            self._workers_built.set()  # there is no rest that could wait for them
        self._fingerprints = self._subjects.fingerprints()
        parts = self._make_fetch(self._config, self._counters)
        self._stapler = self._make_stapler(parts.fetch)
        self._probes = self._make_probes(parts.dialer)
        self._control = self._make_control()
        tasks = [
            spawn("stapler", self._stapler.run(), self._broke),
            *([] if self._probes is None else [spawn("probes", self._probes.checks.run(), self._broke)]),
            spawn("messages", self._messages(), self._broke),
            spawn("changes", self._send_changes(), self._broke),
            spawn("sweep", self._sweep(), self._broke),
            spawn("first round", self._first_round(), self._broke),
            spawn("subjects", self._follow_snapshots(), self._broke),
            *self._sockets.listen(self._config, self._control),
        ]
        try:
            await self._stopping.wait()
        finally:
            self._sockets.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.close()
            if self._probes is not None:
                self._probes.save()
            self._counters.publish()
            self._channel.close()
        return self._status

    def _broke(self, name: str, exc: BaseException) -> None:
        self._events.event(
            "defect",
            "error",
            where=f"keeper: {name}",
            error=f"{type(exc).__name__}: {exc}",
            next="this keeper exits and is started again",
        )
        self._status = 1
        self._stopping.set()

    # -- the Snapshot

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._config = Config.from_json(orjson.dumps(snapshot.settings))
        self._sections = {item.name: item.section for item in snapshot.certificates}
        self._taken.set()

    async def _follow_snapshots(self) -> None:
        """Bring the stapler into line with the Snapshot of the day."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_WAIT):
                await self._workers_built.wait()
        while True:
            await self._taken.wait()
            self._taken.clear()
            snapshot, config = self._snapshot, self._config
            whole = False
            while not whole and snapshot is self._snapshot:
                whole = await self._subjects.decode(snapshot.certificates, config, BATCH)
                # A first Snapshot is taken up piece by piece, a later one as a whole: nothing that is held may
                # be dropped because its turn to be read has not come.
                if snapshot is self._snapshot and (whole or self._number == 0):
                    # Before the call, which publishes: a staple goes out under the certificate it was made for.
                    self._fingerprints = self._subjects.fingerprints()
                    self._stapler.update_subjects(self._subjects.of(snapshot.certificates))
            if whole:
                first, self._number = self._number == 0, snapshot.number
                self._channel.send(Kind.READY, {"snapshot": snapshot.number})
                if first:
                    await self._stapler.prune()

    def _make_stapler(self, fetch: Fetch) -> Stapler:
        return Stapler(
            self._subjects.of(self._snapshot.certificates),
            fetch,
            StapleStore(self._config.state_dir / "staples"),
            self._clock,
            random.random,
            self._publish,
            self._stapler_event,
            self._counters,
            durations_of(self._config.ocsp),
        )

    def _make_probes(self, dialer: Dialer | None) -> Probes | None:
        if dialer is None:
            return None
        return Probes(
            self._config,
            self._snapshot.upstreams,
            self._snapshot.health,
            dialer,
            self._clock,
            random.random,
            self._counters.values,
            self._events,
            self._probe_failed,
            self._publishing.set,
        )

    def _probe_failed(self, name: str, exc: BaseException) -> None:
        error = f"{type(exc).__name__}: {exc}"
        self._events.event("defect", "error", where=f"keeper: {name}", error=error, next="it is probed again")

    def _make_control(self) -> KeeperControl:
        self._health = self._make_health_view()
        numbers = PurgeNumbers(self._config.state_dir / NAME, self._clock, self._number_failed)
        self._purger = Purger(self._send_purge, self._clock, numbers.next)
        self._explainer = Explainer(lambda question: self._channel.send(Kind.EXPLAIN, question))
        pages = {f"worker {slot}": page for slot, page in enumerate(self._start.pages)}
        pages |= self._start.apps
        pages["keeper"] = self._start.page
        pages["supervisor"] = self._supervisor_page
        return KeeperControl(
            self._stapler,
            pages,
            self._clock,
            self._start.supervisor_pid,
            self._staples_revoked,
            health=self._health,
            purger=self._purger,
            explainer=self._explainer,
            quic=QuicView(self._start.samples, self._switch_qlog, self._config.state_dir / QLOG_FOLDER),
        )

    def _make_health_view(self) -> HealthView:
        known = [
            (name, target.url)
            for name, table in self._config.upstream.items()
            for target in targets_of(name, table, self._config.runtime_dir)
        ]
        return HealthView(known, self._start.healths, self._probes.checks if self._probes else None)

    def _send_purge(self, purge: dict[str, Json]) -> None:
        kind = int(str(purge["kind"]))
        self._counters.values[CACHE_PURGES_FIRST + kind] += 1
        self._events.event(
            "cache-purge",
            kind=KINDS[kind],
            pattern=purge["pattern"],
            soft=purge["soft"],
            generation=purge["generation"],
        )
        self._channel.send(Kind.PURGE, purge)

    def _number_failed(self, error: str) -> None:
        self._events.event(
            "purge-number-failed", "warning", file=str(self._config.state_dir / NAME), error=error
        )

    def _switch_qlog(self, is_on: bool) -> None:
        self._channel.send(Kind.QLOG, {"on": is_on})

    def _staples_revoked(self, name: str) -> bool:
        section = self._sections.get(name)
        return section is not None and rules_of(self._config, section).revoked == "staple"

    async def _messages(self) -> None:
        while (message := await self._channel.receive()) is not None:
            if message.kind is Kind.DRAIN:
                break
            self._message(message)
        self._stopping.set()

    def _message(self, message: Message) -> None:
        if message.kind is Kind.SNAPSHOT:
            self._take(decode_snapshot(message))
        elif message.kind is Kind.STATUS and isinstance(message.value, dict):
            self._control.supervisor = message.value
            self._purger.changed()
            if self._control.workers_are_built():
                self._workers_built.set()

        elif message.kind is Kind.PURGED:
            self._purger.obeyed(message.integer("slot"), message.integer("generation"))

        elif message.kind is Kind.EXPLAINED:
            self._explainer.answered(message.value)

    # -- staples and verdicts

    def _stapler_event(self, name: str, fields: dict[str, object]) -> None:
        level = _LEVELS.get(name, "info")
        self._events.event(name, level, limit_key=str(fields.get("certificate", "")), **fields)

    def _publish(self, name: str, staple: Staple | None) -> None:
        self._pending[name] = staple
        self._publishing.set()

    async def _send_changes(self) -> None:
        """Hand changes to the supervisor; while it does not read, newer ones replace older ones."""
        while True:
            await self._publishing.wait()
            self._publishing.clear()
            await self._flush()

    async def _flush(self) -> None:
        """Send all that waits."""
        while self._pending:
            self._flush_staples()
            await self._channel.drained()
        while self._probes is not None and (message := self._probes.next_message()) is not None:
            self._channel.send(Kind.HEALTH, message)
            await self._channel.drained()

    def _flush_staples(self) -> None:
        while self._pending and self._channel.unsent < UNSENT_HIGH:
            name = next(iter(self._pending))
            staple = self._pending.pop(name)
            fingerprint = self._fingerprints.get(name)
            if fingerprint is not None:
                value: dict[str, Json] = {"name": name, "fingerprint": fingerprint}
                self._channel.send(Kind.STAPLE, {**value, "staple": encode_staple(staple)})

    async def _first_round(self) -> None:
        """Tell the supervisor when the must-staple certificates have been tried, and the endpoints that wait for
        their first probe; its listeners wait for that."""
        await asyncio.sleep(0)  # the stapler's first fetches begin before anybody may listen
        certificates = self._snapshot.certificates
        demanding = [certificate.name for certificate in certificates if certificate.must_staple]
        await self._stapler.first_round(demanding)
        if self._probes is not None:
            await self._probes.first_round()
        await self._flush()
        self._channel.send(Kind.STAPLES_TRIED)

    # -- the sweep

    async def _sweep(self) -> None:
        watch = MemoryWatch(self._config.limits.memory_warning, len(self._start.pages), self._events)
        while True:
            try:
                self._measure()
                watch.look(self._control.worker_pids())
                if self._probes is not None:
                    if self._probes.follows:
                        self._probes.follow(self._health.places(self._control.worker_pids()))
                    self._probes.sweep()
            except Exception as exc:
                # Figures are worth less than staples.
                error = f"{type(exc).__name__}: {exc}"
                self._events.event("defect", "error", where="keeper: sweep", error=error)
            self._events.sweep()
            await asyncio.sleep(SWEEP)

    def _measure(self) -> None:
        values = self._counters.values
        values[MEMORY_BYTES] = resident_bytes()
        values[OPEN_FILES] = open_files()
        self._counters.publish()
        supervisor = Counters(self._supervisor_page)
        supervisor.values[MEMORY_BYTES] = resident_bytes(self._start.supervisor_pid)
        supervisor.values[OPEN_FILES] = open_files(self._start.supervisor_pid)
        supervisor.publish()
