"""What a child is born with: everything that crosses a fork and cannot be put into a message.

Whatever can be sent travels in the Snapshot, which is the first message on `control`; so a start, a restart
and a reload are the same for a child.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from headgate.cache.claims import Claims
from headgate.counters import CounterPage
from headgate.process.cache_socket import WriterSocket
from headgate.process.quic_sample import SamplePage
from headgate.server.hand_over import MailRoom


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """One address of one listener: `listener` is its place in the configuration, `host` a literal IP
    address.

    `fast_open`: clients may send data in their SYN (RFC 7413). `quic` says whether UDP is bound beside TCP, on the
    same port: "must" (else nothing starts), "try" or "off"."""

    listener: int
    host: str
    port: int
    quic: Literal["off", "try", "must"] = "off"
    fast_open: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class WorkerStart:
    """The start of one worker.

    `control` is the child's end of the channel. `sockets` are bound and not yet listening, each with the
    index of its listener; the worker calls `listen()` when LISTEN comes. `datagrams` are the UDP sockets in
    the same way, in an order that is the same in all workers; the kernel fills them from the start, and they
    are read from when LISTEN comes. `tickets` is what the ticket factory made before the fork, or None.
    `generation` counts the starts of this slot from 1. `mail` is there when there are workers to hand
    datagrams over to. `sample` is for a look at its QUIC connections, `health` at endpoints.
    `workers` is how many slots there are, `claims` what they share of who sees to which key, where they ask one
    another.
    """

    slot: int
    generation: int
    control: socket.socket
    sockets: Sequence[tuple[int, socket.socket]]
    page: CounterPage
    tickets: object = None
    datagrams: Sequence[tuple[int, socket.socket]] = ()
    mail: MailRoom | None = None
    sample: SamplePage | None = None
    health: SamplePage | None = None
    workers: int = 1
    claims: Claims | None = None


@dataclass(slots=True)
class KeeperStart:
    """The start of the keeper; `pages`, `samples` and `healths` are those of all worker slots in order, `page` its
    own, `apps` those of the applications' processes, and of the cache's writer, by name."""

    generation: int
    control: socket.socket
    page: CounterPage
    pages: Sequence[CounterPage] = field(default_factory=list)
    supervisor_pid: int = 0
    samples: Sequence[SamplePage] = ()
    healths: Sequence[SamplePage] = ()
    apps: Mapping[str, CounterPage] = field(default_factory=dict)


@dataclass(slots=True)
class AppStart:
    """The start of an application's process; what it runs comes in its first message."""

    name: str
    generation: int
    control: socket.socket
    page: CounterPage


@dataclass(slots=True)
class CacheWriterStart:
    """The start of the process that writes the cache on disk: `budget` octets under `root`, told by the workers that
    come to `door`."""

    generation: int
    control: socket.socket
    page: CounterPage
    door: WriterSocket
    root: str
    budget: int


WorkerMain: TypeAlias = Callable[[WorkerStart], None]
KeeperMain: TypeAlias = Callable[[KeeperStart], None]
AppMain: TypeAlias = Callable[[AppStart], int]
CacheWriterMain: TypeAlias = Callable[[CacheWriterStart], int]
