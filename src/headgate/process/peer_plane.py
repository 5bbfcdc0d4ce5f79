"""The sockets between workers, over which those that miss ask the one that sees to a key (`proxy/peers`).

Each worker binds its own: under a name of the moment, renamed over `peers/SLOT` in `runtime_dir`. So whoever connects
to a worker that died hears so at once, from the kernel. The folder is the workers' user's alone (0700): whoever
connects is a worker of this gate, and its word is believed. That is why the sockets have files: an abstract name is
anybody's to take and to ask. Files may be removed by what cleans up old ones, so each worker looks after its own.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headgate.cache.claims import Claims
from headgate.cache.home import RESTING
from headgate.config.model import Config
from headgate.config.route import Route
from headgate.config.upstream import Upstream
from headgate.connection.accepted import Accepted
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import StreamDriver
from headgate.counters import CACHE_ALONE, CACHE_PEERS_REFUSED, REFUSED_CONNECTIONS, SIZE
from headgate.engine.events import Request
from headgate.engine.h1.grammar import MAX_FIELDS
from headgate.http.fields import CACHING
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.dialer import Dialer
from headgate.process.cache_plane import is_cached
from headgate.proxy.peer_gate import MAX_CONNECTIONS, PeerGate
from headgate.proxy.peers import MAX_ASKED, SIGN_WITHIN, Peer, Peers
from headgate.server.limits import ConnectionLimits
from headgate.server.listener import Listener
from headgate.server.observer import Observer
from headgate.upstream.connector import DialingConnector
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.pool import IdleTotal, Pool, PoolSettings

if TYPE_CHECKING:
    from headgate.process.data_plane import DataPlane

FOLDER: Final = "peers"  # in runtime_dir
_FOLDER_MODE: Final = 0o700
# Idle connections to one other worker, kept for a while: what a burst leaves behind serves the next.
_MAX_IDLE: Final = 64
_IDLE_SECONDS: Final = 30.0
# A worker whose clients are slow takes nothing for as long as they have: their own timeouts end that.
_WRITE_IDLE: Final = 600.0
# An origin that falls silent is noticed by the home, whose word comes before we lose patience with it.
_PATIENCE: Final = 5.0
# Between two looks at the file of our socket, and until the next try where it could not be bound.
LOOK_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 30.0
# What the field of ours adds to a head: a key of 8 KiB, a host and a path, in base64.
_MORE_HEAD: Final = 128 * 1024


def route_number(config: Config, route: Route) -> int:
    """Return what workers call a route that has an upstream: something else as soon as an answer might be another.

    A worker of an earlier start finishes what it has begun, and may ask one of a later start.
    """
    name = route.upstream or ""
    texts = [table.model_dump_json() for table in (config.cache, route, config.upstream[name])]
    return int.from_bytes(blake2b("\n".join([name, *texts]).encode(), digest_size=7).digest(), "big")


def asks_peers(config: Config, workers: int) -> bool:
    """Tell whether workers of this gate ask one another."""
    return (
        workers > 1
        and config.cache.collapse == "machine"
        and any(is_cached(config, route) for route in config.route)
    )


def peer_files(config: Config, workers: int) -> int:
    """Return how many descriptors a worker may need for the others."""
    return MAX_ASKED + MAX_CONNECTIONS if asks_peers(config, workers) else 0


def peer_address(runtime_dir: Path, slot: int) -> str:
    """Return the path of a worker's socket."""
    return str(runtime_dir / FOLDER / str(slot))


def bind_peer(runtime_dir: Path, slot: int) -> socket.socket:
    """Return a socket bound in place of whatever a worker of this slot has left there. Raises `OSError`."""
    address = peer_address(runtime_dir, slot)
    folder = os.path.dirname(address)
    os.makedirs(folder, _FOLDER_MODE, exist_ok=True)
    found = os.lstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != _FOLDER_MODE:
        raise PermissionError(errno.EPERM, f"{folder} is not this user's alone")
    made = str(runtime_dir / FOLDER / f".{slot}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(made):
            os.unlink(made)
        sock.bind(made)
        os.chmod(made, 0o600)
        os.rename(made, address)
    except OSError:
        sock.close()
        raise
    return sock


def _unreached(address: str) -> str:
    """Connect as one who asks does; return why that fails, or nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(address)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _looks_at_client(upstream: Upstream) -> bool:
    """Tell whether an upstream is told of clients by more than what is in their requests, or chosen by it."""
    is_hashed = upstream.balance == "ring-hash" and upstream.hash_by == "client"
    return upstream.proxy_protocol != "off" or is_hashed or upstream.asgi.in_worker


class PeerObserver(DownstreamObserver):
    """Other workers are no clients: nothing of them is logged, and they log what their clients get themselves."""

    def __init__(self, gate: PeerGate, observer: Observer) -> None:
        self._gate = gate
        self._observer = observer

    def exchange_over(self, exchange: Exchange, now: float) -> None:
        if exchange.detail:
            self._observer.tell_failure(exchange)
        self._gate.over(exchange)

    def handshake_over(self, connection: StreamDriver) -> None:
        return

    def connection_failed(self, context: ConnectionContext, reason: str, detail: str) -> None:
        return  # it is gone; whoever waited there says so

    def connection_closed(self, connection: StreamDriver) -> None:
        if isinstance(connection, Accepted):
            self._observer.connection_closed(connection)

    def crashed(self, where: str, error: Exception) -> None:
        self._observer.crashed(where, error)


class PeerPlane:
    """Both sides of one worker: `peers` asks, `gate` answers through `listener`, None where it could not be bound."""

    def __init__(self, plane: DataPlane, slot: int, workers: int, claims: Claims) -> None:
        self._values = plane.counters.values
        # What is between workers is no traffic: it is counted in a list of its own.
        self._uncounted = [0] * SIZE
        self._plane = plane
        self._total = IdleTotal()
        self._runtime_dir = runtime_dir = plane.config.runtime_dir
        self._slot = slot
        self._look_at = 0.0
        homes = [
            None if other == slot else Peer(other, self._endpoint(peer_address(runtime_dir, other)))
            for other in range(workers)
        ]
        self.peers = Peers(claims, homes, plane.poller, plane.timers, self._values, plane.observer.event)
        self.gate = PeerGate(self.peers, plane.poller, self._values)
        self._take_routes()
        self.listener: Listener | None = None
        self._bind()

    def _take_routes(self) -> None:
        config = self._plane.config
        for handler, route in self._plane.cached:
            upstream = config.upstream[route.upstream or ""]
            number = route_number(config, route)
            handler.number = number
            handler.cache.peers = self.peers
            self.gate.routes[number] = handler
            # Origins that look at the client's connection are asked by the worker that has it.
            if not _looks_at_client(upstream):
                self.peers.idle[number] = upstream.body_idle + _PATIENCE

    def _endpoint(self, path: str) -> Endpoint:
        plane = self._plane
        values = self._uncounted
        connector = DialingConnector(Dialer(plane.resolver), None, plane.crashed, values)
        settings = PoolSettings(idle_timeout=_IDLE_SECONDS, max_idle=_MAX_IDLE)
        return Endpoint(
            f"unix:{path}",
            "http",
            f"unix:{path}",
            0,
            poller=plane.poller,
            connector=connector,
            values=values,
            defect=plane.observer.crashed,
            connect_timeout=SIGN_WITHIN,
            pool=Pool(settings, plane.poller, values, self._total),
        )

    def _bind(self) -> bool:
        """Bind, and take what comes there; tell whether that went well, and say why not."""
        plane = self._plane
        try:
            sock = bind_peer(self._runtime_dir, self._slot)
        except OSError as error:
            plane.observer.event(
                "cache-peer-not-bound",
                "warning",
                address=peer_address(self._runtime_dir, self._slot),
                errno=error.errno,
                reason=error.strerror or str(error),
                next="the other workers ask the origin for what this one sees to; "
                f"another try in {RETRY_SECONDS:g} s",
            )
            return False
        if self.listener is None:
            self.listener = self._listener(sock)
            plane.listeners.append(self.listener)
        else:
            self.listener.replace(sock)
        return True

    def _look(self, now: float) -> None:
        """Bind anew where the socket's file is gone: nobody could reach us. `now` is loop time."""
        started = any(listener.is_started for listener in self._plane.listeners)
        if now < self._look_at or not started:
            return
        self._look_at = now + LOOK_SECONDS
        address = peer_address(self._runtime_dir, self._slot)
        before = self.listener
        if before is not None and os.path.lexists(address):
            return
        if not self._bind():
            self._look_at = now + RETRY_SECONDS
            return
        if before is None and self.listener is not None:
            self.listener.start()
        self._plane.observer.event(
            "cache-peer-bound",
            "warning",
            address=address,
            reason="it could not be bound before" if before is None else "its file had been removed",
            next="the other workers reach this one again",
        )

    def _listener(self, sock: socket.socket) -> Listener:
        plane = self._plane
        limits = [table.limits.head for table in plane.config.listener]
        return Listener(
            "peers",
            sock,
            poller=plane.poller,
            handler=self.gate,
            observer=PeerObserver(self.gate, plane.observer),
            settings=ConnectionSettings(
                write_idle=_WRITE_IDLE,
                keep_alive=2 * _IDLE_SECONDS,
                max_head=max(limits, default=0) + _MORE_HEAD,
                max_fields=2 * MAX_FIELDS,
            ),
            limits=ConnectionLimits(self._uncounted, MAX_CONNECTIONS, 0, 0.0, 0.0),
            forwarder=Forwarder(Networks(())),
            values=self._uncounted,
        )

    def home(self, key: bytes, route: int, request: Request) -> dict[str, object] | None:
        """Tell which worker sees to a key now, whether it would be asked from here, and whether it is reached; None:
        none does, and whoever misses goes to the origin."""
        slot = self.peers.claimed.home(key)
        if not 0 <= slot < len(self.peers.homes):
            return None
        peer = self.peers.homes[slot]
        asks = self.peers.idle.get(route, 0.0) > 0.0 and not request.fields.flags & CACHING
        why = _unreached(peer_address(self._runtime_dir, slot))
        if not why and peer is not None and peer.rest_until > self._plane.poller.now:
            why = CACHE_ALONE[RESTING]
        return {"worker": slot, "asked": asks and peer is not None, "reachable": not why, "why": why}

    def sweep(self, now: float) -> None:
        """Once in a while: give signs, look after the socket, let the counters know. `now` is loop time."""
        self.gate.sweep(now)
        self._look(now)
        self._values[CACHE_PEERS_REFUSED] += self._uncounted[REFUSED_CONNECTIONS]
        self._uncounted[REFUSED_CONNECTIONS] = 0
