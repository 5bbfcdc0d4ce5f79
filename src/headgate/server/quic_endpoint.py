"""A QUIC endpoint: one UDP socket in one worker, and the connections that come through it.

It owns the table from connection IDs to drivers, decides who is admitted, answers what needs no connection, and has
one timer for all of its connections. What a connection says is for its driver; what a request wants is for the
handler, as it is over TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

from headgate.clock import Clock
from headgate.connection.exchange import Handler
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.engine.tls13.settings import ServerSettings
from headgate.http.forwarded import Forwarder
from headgate.net.poller import Pollable, Poller
from headgate.net.udp import Peer, UdpSocket
from headgate.server.limits import ConnectionLimits


@dataclass(frozen=True, slots=True, repr=False)
class EndpointKeys:
    """What all workers of a gate share, and keep over a restart: 16 octets for connection IDs, 32 for stateless
    resets, 32 for tokens."""

    cid_key: bytes
    reset_key: bytes
    token_key: bytes


class Timer(Protocol):
    """What `Timers.call_at` returns."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """Where the one timer of an endpoint comes from: the worker's event loop."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class Forward(Protocol):
    """Hands datagrams to the worker that their connection ID names; False: it cannot have them.

    `data` are datagrams end to end, `segment` octets each but the last. `generation` is the worker's within its slot,
    modulo 256; a draining endpoint asks for its own slot with -1: whoever came after it.
    """

    def __call__(
        self, slot: int, generation: int, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int
    ) -> bool: ...


@final
class QuicEndpoint(Pollable):
    """One UDP socket. `connections` are all that came through it and are still open."""

    def __init__(
        self,
        name: str,
        sock: UdpSocket,
        *,
        poller: Poller,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        limits: ConnectionLimits,
        forwarder: Forwarder,
        values: list[int],
        tls: ServerSettings,
        quic: QuicSettings,
        keys: EndpointKeys,
        slot: int,
        generation: int,
        clock: Clock,
        random: Callable[[int], bytes],
        timers: Timers,
        port: int,
        forward: Forward | None = None,
    ) -> None:
        self.name = name
        self.tls = tls  # assign another when certificates or ticket keys change
        self.connections: set[object] = set()
        self.held_heads = 0
        self.held = 0
        self._sock = sock

    def __repr__(self) -> str:
        return f"<QuicEndpoint {self.name} {len(self.connections)} connections>"

    def start(self) -> None:
        """Begin to read."""

    def receive_forwarded(self, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int) -> None:
        """Take datagrams that came to another worker's socket; they are not handed on once more."""

    def sweep(self, now: float) -> None:
        """Look at the timeouts of all connections; called by the worker's sweep."""

    def drain(self) -> None:
        """Take no new connections, and let those that are open end with their last answer."""

    def close(self) -> None:
        """End everything at once."""
        self._sock.close()

    def on_readable(self) -> None:
        return

    def on_writable(self) -> None:
        return

    def on_crash(self, error: Exception) -> None:
        return
