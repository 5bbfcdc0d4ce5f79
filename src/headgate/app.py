"""The composition root: from a checked configuration to a running gate.

Everything that workers need is imported here, before the forks, so that they start fast and share the pages of what
they all use. What only keepers need each of them imports (`load_keeper`), while this process goes on. Nothing is
opened or started at import.
"""

import codecs
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from headgate.clock import SystemClock
from headgate.config.kinds import parse_address
from headgate.config.model import Config
from headgate.process.app_plan import plans_of
from headgate.process.cache_plane import disk_budget, disk_files
from headgate.process.certificates import ShelfSource
from headgate.process.channel import Json
from headgate.process.cores import usable_cores
from headgate.process.descriptors import affordable, raise_file_limit, wanted_files
from headgate.process.notify import Notifier
from headgate.process.parts import Events, Parts, SupervisorSettings
from headgate.process.peer_plane import asks_peers, peer_files
from headgate.process.policies import RingWatch, TicketRings, make_rings
from headgate.process.privileges import find_account
from headgate.process.quic_keys import QuicKeyShelf
from headgate.process.snapshot import Snapshot, decode_staple
from headgate.process.start import (
    AppMain,
    BoundAddress,
    CacheWriterMain,
    KeeperMain,
    KeeperStart,
    WorkerMain,
    WorkerStart,
)
from headgate.process.supervisor import Supervisor
from headgate.process.verdicts import VerdictFile
from headgate.process.worker import worker_main as process_worker_main
from headgate.telemetry.event_log import EventLog
from headgate.tls.staple import Staple


@dataclass(frozen=True, slots=True)
class ListenerLine:
    """One line of the start-up panel: an address that is listened on."""

    address: str
    mode: str
    note: str


@dataclass(frozen=True, slots=True)
class CertificateLine:
    """One line of the start-up panel: a certificate; `problem` is "" unless its file could not be used."""

    file: str
    names: tuple[str, ...]
    key_type: str
    not_after: float
    must_staple: bool
    staple: Staple | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StartReport:
    """What is said when everything listens."""

    workers: int
    listeners: tuple[ListenerLine, ...]
    certificates: tuple[CertificateLine, ...]


Panel = Callable[[StartReport], None]

# The start-up panel is for people: beyond this many certificates it says how many more there are.
PANEL_CERTIFICATES: Final = 50


def run_gate(
    config: Config,
    *,
    panel: Panel | None = None,
    worker_main: WorkerMain | None = None,
    keeper_main: KeeperMain | None = None,
) -> int:
    """Run a gate until it is told to stop; return the exit code. Without a `panel` events say what was
    started.

    Raises `HeadgateError` when the start fails: `ConfigError` for what the configuration asks, else for
    what the machine refuses.
    """
    _preload()
    events = EventLog(process="supervisor")
    clock = SystemClock()
    account = find_account(config.user)
    config = _within_file_limit(config, events)
    workers = config.workers or usable_cores()
    rings = TicketRings({})
    ring_watch = RingWatch(rings, clock, events, workers)

    def make_tickets() -> object:
        rings.by_listener = make_rings(config, clock)
        return rings

    def tend() -> None:
        rings.tend()
        ring_watch.look()
        events.sweep()

    certificates = ShelfSource(config, clock, events, tend)

    def worker(start: WorkerStart) -> None:
        # Forked from this process, it has what was read here: no worker reads ten thousand certificates again.
        process_worker_main(start, certificates.identities())

    def listening(addresses: Sequence[BoundAddress], snapshot: Snapshot) -> None:
        report = report_start(config, certificates, addresses, snapshot)
        if panel is not None:
            panel(report)
        else:
            _tell_start(report, events)

    settings = SupervisorSettings(
        state_dir=config.state_dir,
        runtime_dir=config.runtime_dir,
        addresses=tuple(_addresses(config)),
        workers=workers,
        account=account,
        startup_wait=config.ocsp.startup_wait,
        drain_timeout=config.drain_timeout,
        apps=plans_of(config),
        cache_disk=disk_budget(config),
        asks_peers=asks_peers(config, workers),
    )
    parts = Parts(
        worker_main=worker_main or worker,
        keeper_main=keeper_main or run_keeper,
        certificates=certificates,
        settings=_settings_json(config),
        events=events,
        clock=clock,
        notifier=Notifier(os.environ),
        make_tickets=make_tickets,
        clients=certificates.clients,
        users=certificates.users,
        upstreams=certificates.upstreams,
        health=lambda: _known_health(config, events, clock.wall()),
        quic_keys=QuicKeyShelf(config.state_dir, clock, events),
        listening=listening,
        load_keeper=lambda: load_keeper(config),
        app_main=load_app_main() if settings.apps else None,
        cache_writer_main=load_cache_writer() if settings.cache_disk else None,
    )
    events.event("starting", pid=os.getpid(), workers=workers, state_dir=str(config.state_dir))
    return Supervisor(settings, parts).run()


def load_keeper(config: Config) -> None:
    """Import what only keepers need, before they become the configured user, who may not be able to read it."""
    import headgate.process.keeper  # noqa: PLC0415

    if config.metrics is not None or config.user:
        import headgate.telemetry.metrics  # noqa: F401, PLC0415  # else when an admin asks for the first time


def load_app_main() -> AppMain:
    """Import what processes of applications need, before they become the configured user."""
    from headgate.process.app_process import app_main  # noqa: PLC0415

    return app_main


def load_cache_writer() -> CacheWriterMain:
    """Import what the writer of the cache on disk needs, and workers with it too."""
    from headgate.process.cache_writer import cache_writer_main  # noqa: PLC0415

    return cache_writer_main


def run_keeper(start: KeeperStart) -> None:
    """Be a keeper: the whole life of its process."""
    from headgate.process.keeper import keeper_main  # noqa: PLC0415

    keeper_main(start)


def report_start(
    config: Config, certificates: ShelfSource, addresses: Sequence[BoundAddress], snapshot: Snapshot
) -> StartReport:
    """Gather what the start-up panel shows."""
    listeners = []
    for address in addresses:
        listener = config.listener[address.listener]
        spoken = [name for name in listener.offered if name != "h3" or address.quic != "off"]
        note = "redirects to https" if listener.redirect else ", ".join(spoken)
        if listener.mode == "tcp":
            note = f"to {listener.upstream}" if listener.upstream is not None else "by server name"
        listeners.append(ListenerLine(str(address), listener.mode, note))
    lines = []
    for identity in certificates.identities():
        message = snapshot.staples.get(identity.name)
        value = message.get("staple") if isinstance(message, dict) else None
        lines.append(
            CertificateLine(
                file=identity.name,
                names=identity.names,
                key_type=identity.key_type,
                not_after=identity.not_after,
                must_staple=identity.must_staple,
                staple=decode_staple(value),
            )
        )
    served = {line.file for line in lines}
    unused = [
        CertificateLine(file, (), "", 0.0, False, None, reason)
        for file, reason in certificates.problems().items()
        if file not in served
    ]
    return StartReport(config.workers or usable_cores(), tuple(listeners), (*lines, *unused))


def _known_health(config: Config, events: Events, wall: float) -> dict[str, Json]:
    """Return what an earlier run knew of the endpoints that are probed."""
    probed = [name for name, table in config.upstream.items() if table.probed is not None]
    if not probed:
        return {}
    found, problem = VerdictFile(config.state_dir).load(probed, wall)
    if problem is not None:
        events.event(
            "health-not-read",
            "warning",
            file=problem.path,
            errno=problem.errno,
            reason=problem.error,
            next="endpoints begin as [upstream.NAME.health] start says, and are probed at once",
        )
    return found


def _preload() -> None:
    """Load what is otherwise loaded at first use: the configured user may not be able to read where we lie."""
    for name in ("ascii", "idna", "latin-1", "punycode", "utf-8"):
        codecs.lookup(name)


def _tell_start(report: StartReport, events: Events) -> None:
    """The panel for those who read logs."""
    for listener in report.listeners:
        events.event(
            "listener",
            limit_key=listener.address,
            address=listener.address,
            mode=listener.mode,
            note=listener.note,
        )
    for line in report.certificates[:PANEL_CERTIFICATES]:
        events.event(
            "certificate",
            limit_key=line.file,
            file=line.file,
            names=list(line.names),
            key_type=line.key_type,
            must_staple=line.must_staple,
            staple=line.staple.status if line.staple is not None else "none",
            problem=line.problem,
        )
    if len(report.certificates) > PANEL_CERTIFICATES:
        events.event("more-certificates", count=len(report.certificates) - PANEL_CERTIFICATES)


def _addresses(config: Config) -> list[BoundAddress]:
    return [
        BoundAddress(index, *parse_address(text), quic=listener.quic_bound, fast_open=listener.tcp_fast_open)
        for index, listener in enumerate(config.listener)
        for text in listener.addresses
    ]


def _settings_json(config: Config) -> dict[str, Json]:
    value: dict[str, Json] = orjson.loads(config.to_json())
    return value


def _within_file_limit(config: Config, events: Events) -> Config:
    """Raise the limit on open files towards what the listeners promise, or lower their promise and say so."""
    promised = sum(listener.limits.connections for listener in config.listener)
    others = disk_files(config) + peer_files(config, config.workers or usable_cores())
    files = raise_file_limit(wanted_files(promised) + others)
    if files >= wanted_files(promised) + others:
        return config
    carried = affordable(promised, files - others)
    listeners = []
    for listener in config.listener:
        lowered = max(1, listener.limits.connections * carried // promised)
        limits = listener.limits.model_copy(update={"connections": lowered})
        listeners.append(listener.model_copy(update={"limits": limits}))
    events.event(
        "connections-lowered",
        "warning",
        reason=f"RLIMIT_NOFILE is {files} and cannot be raised to {wanted_files(promised) + others}",
        configured=[listener.limits.connections for listener in config.listener],
        now=[listener.limits.connections for listener in listeners],
        next="raise the hard limit (LimitNOFILE= of the service, ulimit -Hn), or lower limits.connections",
    )
    return config.model_copy(update={"listener": tuple(listeners)})
