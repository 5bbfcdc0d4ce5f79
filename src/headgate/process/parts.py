"""What the composition root hands to the supervisor: plain settings, and the parts that higher ranks
build."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from headgate.clock import Clock
from headgate.process.app_plan import AppPlan
from headgate.process.channel import Json
from headgate.process.notify import Notifier
from headgate.process.privileges import Account
from headgate.process.quic_keys import QuicKeyShelf
from headgate.process.snapshot import Certificate, Snapshot
from headgate.process.start import AppMain, BoundAddress, CacheWriterMain, KeeperMain, WorkerMain

# From its fork until a worker is ready, and from LISTEN until it listens. Ten thousand certificates on a busy machine
# take it some seconds; systemd gives a service 90 in all (DefaultTimeoutStartSec), and should hear of it here first.
ANSWER_TIMEOUT: Final = 60.0


class Events(Protocol):
    """Where events go (telemetry's event log)."""

    def event(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


class CertificateSource(Protocol):
    """The certificate files: `load` reads them all, `poll` again what changed (None: nothing did).

    A file that cannot be used is reported by the source itself, and the version before it stays.
    """

    def load(self) -> Sequence[Certificate]: ...

    def poll(self) -> Sequence[Certificate] | None: ...

    def problems(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """What the supervisor itself needs of the configuration; times in seconds."""

    state_dir: Path
    runtime_dir: Path
    addresses: tuple[BoundAddress, ...]
    workers: int
    account: Account | None = None
    startup_wait: float = 10.0
    drain_timeout: float = 30.0
    watch_interval: float = 2.0
    answer_timeout: float = ANSWER_TIMEOUT
    apps: tuple[AppPlan, ...] = ()
    cache_disk: int = 0  # octets of the cache on disk, 0: none
    asks_peers: bool = False  # workers ask one another for what is to be cached


@dataclass(frozen=True, slots=True)
class Parts:
    """What the composition root injects. `settings` is the configuration as it goes into the Snapshot;
    `clients` returns the client authorities and CRLs of the Snapshot after the certificates were read, `users`
    the htpasswd files of forward listeners, `upstreams` the authorities of upstreams, `health` what an earlier run
    knew of their endpoints; `quic_keys` are needed where an address has QUIC;
    `make_tickets` runs before any worker is forked; `load_keeper` in each new keeper, which is still who started us;
    `app_main` is needed where applications are run, `cache_writer_main` where there is a cache on disk;
    `listening` once, when all workers first listen."""

    worker_main: WorkerMain
    keeper_main: KeeperMain
    certificates: CertificateSource
    settings: dict[str, Json]
    events: Events
    clock: Clock
    notifier: Notifier
    make_tickets: Callable[[], object] = lambda: None
    clients: Callable[[], dict[str, Json]] = dict
    users: Callable[[], dict[str, Json]] = dict
    upstreams: Callable[[], dict[str, Json]] = dict
    quic_keys: QuicKeyShelf | None = None
    load_keeper: Callable[[], None] = lambda: None
    health: Callable[[], dict[str, Json]] = dict
    app_main: AppMain | None = None
    cache_writer_main: CacheWriterMain | None = None
    listening: Callable[[Sequence[BoundAddress], Snapshot], None] = lambda addresses, snapshot: None
