"""The worker: one process, one loop, the whole data plane.

It begins with a Snapshot, says READY, listens when it is told to, swaps staples and certificates as messages bring
them, and drains when it is told to or when the supervisor is gone. Nothing here is on the path of a request.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Final

import orjson
import uvloop

from headgate.clock import SystemClock
from headgate.config.model import Config
from headgate.counters import MEMORY_BYTES, OPEN_FILES, STARTED_AT, WORKER_GENERATION, Counters
from headgate.errors import HeadgateError
from headgate.process.app_output import divert_output
from headgate.process.cache_plane import obey_purge
from headgate.process.certificates import decode_identity, is_identity_of
from headgate.process.channel import AsyncChannel, Json, Kind, Message
from headgate.process.client_files import with_client_files
from headgate.process.data_plane import DataPlane
from headgate.process.explain_view import explain_request
from headgate.process.health_view import HEALTH_SECONDS, rows_of
from headgate.process.policies import TicketRings
from headgate.process.quic_plane import QuicPlane
from headgate.process.snapshot import Snapshot, decode_snapshot, decode_staple
from headgate.process.start import WorkerStart
from headgate.process.verdicts import decode_verdicts, known_of
from headgate.server.h2_memory import H2Memory
from headgate.server.lane_memory import settle_lanes
from headgate.server.observer import Observer
from headgate.server.sweep import SWEEP_SECONDS, sweep
from headgate.telemetry.access_log import AccessLog
from headgate.telemetry.event_log import EventLog
from headgate.telemetry.log_writer import open_writer
from headgate.telemetry.process_stats import open_files, resident_bytes
from headgate.tls.context import ServerTls
from headgate.tls.identity import Identity, IdentityError

# Memory and descriptors are read from /proc, which is not worth doing in each sweep.
STATS_SECONDS: Final = 5.0
# Without a supervisor nobody ends us: drain for so long at most.
ORPHAN_DRAIN: Final = 30.0
# The access log is written at least this often.
LOG_SECONDS: Final = 0.1


def worker_main(start: WorkerStart, inherited: Sequence[Identity] = ()) -> None:
    """Be a worker: the whole life of its process. `inherited` was read before the fork, and spares the reading of
    those certificates of the Snapshot that are the same."""
    events = EventLog(process=f"worker {start.slot}")
    # What was there before the fork is shared with the supervisor: the collector must not touch its pages.
    gc.freeze()
    # A request frees what it makes, by reference counts; the collector is for the rare cycle, and at its default
    # of 700 objects it would walk the young connections for every few new ones.
    gc.set_threshold(20_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(start, events, inherited).run())
    events.close()


class Worker:
    """One worker process."""

    def __init__(self, start: WorkerStart, events: EventLog, inherited: Sequence[Identity]) -> None:
        self._start = start
        self._events = events
        self._clock = SystemClock()
        self._counters = Counters(start.page)
        self._values = self._counters.values
        self._identities = {identity.name: identity for identity in inherited}
        self._tls: dict[int, ServerTls] = {}
        self._quic: QuicPlane | None = None
        self._log = AccessLog(None)
        self._stats_at = 0.0
        self._health_at = 0.0

    # -- life

    async def run(self) -> None:
        """Serve until told to end."""
        values = self._values
        values[WORKER_GENERATION] = self._start.generation
        values[STARTED_AT] = int(self._clock.wall())
        channel = AsyncChannel(self._start.control)
        message = await channel.receive()
        if message is None:
            return
        snapshot = decode_snapshot(message)
        plane = self._build(snapshot)
        loop = asyncio.get_running_loop()
        loop.add_reader(plane.poller.fileno(), plane.poller.dispatch)
        if plane.apps:
            divert_output(self._events.process)
            await asyncio.gather(*(app.start() for app in plane.apps.values()))
        channel.send(Kind.READY, {"snapshot": snapshot.number})
        watches = plane.watch_names()
        sweeper = loop.create_task(self._sweep(plane), name="sweep")
        logger = loop.create_task(self._write_log(), name="access log")
        try:
            seconds = await self._obey(channel, plane)
            # Applications have their shutdown to run: half of the time is kept for that, if they may take so long.
            kept = min(seconds / 2, max((app.stop_timeout for app in plane.apps.values()), default=0.0))
            await self._drain(plane, seconds - kept)
            await asyncio.gather(*(app.stop(kept) for app in plane.apps.values()))
        finally:
            for watch in watches:
                watch.cancel()
            sweeper.cancel()
            logger.cancel()
            loop.remove_reader(plane.poller.fileno())
            plane.close()
            if self._quic is not None:
                self._quic.close()
            self._log.close()
            self._counters.publish()
            await plane.resolver.close()
            channel.close()

    async def _obey(self, channel: AsyncChannel, plane: DataPlane) -> float:
        """Do what the supervisor says; return how long to drain."""
        while True:
            message = await channel.receive()
            if message is None:
                self._events.event(
                    "supervisor-gone", "error", next=f"drain for {ORPHAN_DRAIN:.0f} s and exit"
                )
                return ORPHAN_DRAIN
            if message.kind is Kind.LISTEN:
                for listener in plane.listeners:
                    listener.start()
                if self._quic is not None:
                    self._quic.start()
                channel.send(Kind.LISTENING, None)
            elif message.kind is Kind.STAPLE:
                self._take_staple(message.value)
            elif message.kind is Kind.HEALTH:
                plane.take_verdicts(message.text("name"), decode_verdicts(message.item("endpoints")))
            elif message.kind is Kind.SNAPSHOT:
                snapshot = decode_snapshot(message)
                self._take_certificates(snapshot, plane)
                channel.send(Kind.READY, {"snapshot": snapshot.number})
            elif message.kind is Kind.REOPEN_LOGS:
                self._log.reopen()
            elif message.kind is Kind.QLOG and self._quic is not None:
                self._quic.switch_qlog(is_on=message.item("on") is True)
            elif message.kind is Kind.EXPLAIN:
                channel.send(Kind.EXPLAINED, explain_request(plane, message))
            elif message.kind is Kind.PURGE:
                if plane.cache is not None:
                    obey_purge(plane.cache, plane.cache_policies, message)
                channel.send(Kind.PURGED, {"generation": message.integer("generation")})
            elif message.kind is Kind.DRAIN:
                seconds = message.item("seconds")
                return float(seconds) if isinstance(seconds, int | float) else ORPHAN_DRAIN

    async def _drain(self, plane: DataPlane, seconds: float) -> None:
        plane.drain()
        if self._quic is not None:
            self._quic.drain()
        end = self._clock.now() + seconds
        while self._open(plane) and self._clock.now() < end:  # noqa: ASYNC110 - nothing in the data path sets events
            await asyncio.sleep(0.05)
        left = self._open(plane)
        if left:
            self._events.event(
                "drain-timeout", "warning", connections=left, seconds=seconds, next="closed now"
            )

    def _open(self, plane: DataPlane) -> int:
        return plane.open_connections + (self._quic.open_connections if self._quic is not None else 0)

    # -- building

    def _build(self, snapshot: Snapshot) -> DataPlane:
        config = Config.from_json(orjson.dumps(snapshot.settings))
        self._log = self._open_log(config)
        observer = Observer(self._log, self._events.event)
        loop = asyncio.get_running_loop()
        plane = DataPlane(config, self._counters, observer, self._clock, snapshot.upstreams, loop)
        plane.forward.take_users(snapshot.users)
        for name in snapshot.health:
            plane.take_verdicts(name, {**known_of(snapshot.health, name)})
        self._identities = self._decode(snapshot, config)
        self._take_staples(snapshot)
        rings = self._start.tickets
        for index, sock in self._start.sockets:
            tls = None
            if config.listener[index].has_tls and isinstance(rings, TicketRings):
                tls = self._tls.get(index)
                if tls is None:
                    tls = self._tls[index] = ServerTls(
                        rings.by_listener[index],
                        list(self._identities.values()),
                        self._values,
                        self._clock,
                        self._certificate_unusable,
                    )
                    self._take_client_files(index, tls, snapshot)
            plane.add_listener(index, sock, tls)
        plane.join_peers(self._start.slot, self._start.workers, self._start.claims)
        if self._start.datagrams and snapshot.quic is not None:
            self._quic = QuicPlane(plane, self._start, snapshot.quic, asyncio.get_running_loop())
            for index, sock in self._start.datagrams:
                self._quic.add(index, sock, self._tls[index])
        return plane

    def _open_log(self, config: Config) -> AccessLog:
        def complain(what: str, detail: str) -> None:
            self._events.event(what, "error", detail=detail)

        try:
            return AccessLog(open_writer(config.log.access, self._values, complain, self._clock.now))
        except OSError as error:
            self._events.event(
                "access-log-failed",
                "error",
                file=config.log.access,
                errno=error.errno,
                reason=error.strerror,
                next="requests are served without a log; SIGUSR1 does not help, a restart does",
            )
            return AccessLog(None)

    def _decode(self, snapshot: Snapshot, config: Config) -> dict[str, Identity]:
        """Read the certificates; one that was served already stays the same object, with its contexts."""
        identities: dict[str, Identity] = {}
        for certificate in snapshot.certificates:
            held = self._identities.get(certificate.name)
            if held is not None and is_identity_of(certificate, held):
                identities[certificate.name] = held
                continue
            try:
                identities[certificate.name] = decode_identity(certificate, config)
            except IdentityError as error:
                self._certificate_unusable(certificate.name, str(error))
        return identities

    def _certificate_unusable(self, name: str, reason: str) -> None:
        self._events.event("certificate-unusable", "error", limit_key=name, file=name, reason=reason)

    def _take_certificates(self, snapshot: Snapshot, plane: DataPlane) -> None:
        self._identities = self._decode(snapshot, plane.config)
        self._take_staples(snapshot)
        identities: Sequence[Identity] = list(self._identities.values())
        for index, tls in self._tls.items():
            tls.set_identities(identities)
            self._take_client_files(index, tls, snapshot)
        plane.forward.take_users(snapshot.users)
        if self._quic is not None:
            self._quic.take_keys(snapshot.quic)

    def _take_client_files(self, index: int, tls: ServerTls, snapshot: Snapshot) -> None:
        """Take up client authorities and CRLs: those of the fork may be older than the Snapshot."""
        policy = with_client_files(tls.policy, snapshot.clients, index)
        if policy == tls.policy:
            return
        try:
            tls.set_client_files(policy, list(self._identities.values()))
        except HeadgateError as error:
            self._events.event(
                "client-files-unusable",
                "error",
                listener=policy.name,
                reason=str(error),
                next="what was read before is still used",
            )

    def _take_staples(self, snapshot: Snapshot) -> None:
        for value in snapshot.staples.values():
            self._take_staple(value)

    def _take_staple(self, value: Json) -> None:
        """Swap one staple: one assignment, which a handshake sees whole or not at all."""
        part = Message(Kind.STAPLE, value)
        identity = self._identities.get(part.text("name"))
        if identity is not None and identity.fingerprint == part.text("fingerprint"):
            identity.staple = decode_staple(part.item("staple"))

    # -- now and then

    async def _write_log(self) -> None:
        while self._log.enabled:
            await asyncio.sleep(LOG_SECONDS)
            self._log.flush()

    async def _sweep(self, plane: DataPlane) -> None:
        memory = H2Memory(plane.poller)
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                plane.poller.now = time.monotonic()
                sweep(plane.listeners, plane.endpoints, self._values, plane.poller.now)
                memory.settle(plane.listeners, plane.poller.now)
                settle_lanes(plane.endpoints, self._values)
                for outliers in plane.outliers.values():
                    outliers.sweep(plane.poller.now)
                plane.forward.sweep(plane.poller.now)
                for upstream in plane.upstreams.values():
                    upstream.sweep(plane.poller.now)
                if plane.cache is not None:
                    plane.cache.sweep(plane.poller.now)
                if plane.peers is not None:
                    plane.peers.sweep(plane.poller.now)
                self._publish_health(plane)
                if self._quic is not None:
                    self._quic.sweep(plane.poller.now)
                    self._quic.publish(self._start.sample, plane.poller.now)
                self._observe_process()
                self._events.sweep()
                self._counters.publish()
            except Exception as error:
                plane.observer.crashed("sweep", error)

    def _publish_health(self, plane: DataPlane) -> None:
        now = plane.poller.now
        if self._start.health is not None and now >= self._health_at:
            self._health_at = now + HEALTH_SECONDS
            self._start.health.store(rows_of(plane.outliers.values(), now, self._clock.wall()))

    def _observe_process(self) -> None:
        now = self._clock.now()
        if now < self._stats_at:
            return
        self._stats_at = now + STATS_SECONDS
        self._values[MEMORY_BYTES] = resident_bytes()
        self._values[OPEN_FILES] = open_files()
