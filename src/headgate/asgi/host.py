"""An application in a process of its own: a listener on a Unix socket, and the application behind it.

The socket stands in runtime_dir with mode 0600 and belongs to the gate's user, so that nobody but the gate can
speak to it, and nobody else can claim to be a client. What is there belongs to one that died: it is replaced. It
appears only once the application has started, so a gate that dials it before that is refused at once.

The same driver, engine and handler as on a worker's loop: what an application sees does not depend on where it runs.
The gate is the only client, and has its own limits and timeouts for its clients: here they are wide.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Final

from headgate.asgi.application import ApplicationSpec, load_application
from headgate.asgi.handler import AsgiHandler, Event, Hosted
from headgate.asgi.lifespan import Lifespan
from headgate.asgi.scope import ScopeMaker
from headgate.asgi.websocket import WebSocketCall
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Exchange
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import StreamDriver
from headgate.counters import Counters
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.server.limits import ConnectionLimits
from headgate.server.listener import Listener
from headgate.server.sweep import SWEEP_SECONDS, sweep

# The gate ends what takes too long, here nothing may end before: a day.
WIDE: Final = 86_400.0
# A gate lets 64 KiB in 128 fields through and adds its own.
MAX_HEAD: Final = 128 * 1024
MAX_LINES: Final = 256
SOCKET_MODE: Final = 0o600
# Between two looks at the socket's file, and until the next try where it could not be bound anew.
LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10.0
_CLIENT_LEFT: Final = frozenset(("hung-up", "epipe", "econnreset"))


async def start_application(hosted: Hosted, spec: ApplicationSpec, scopes: ScopeMaker) -> Lifespan:
    """Import an application, run its startup, and let requests in. Raises `ApplicationError`."""
    application = load_application(spec)
    lifespan = Lifespan(application, spec)
    await lifespan.start()
    if not lifespan.spoken:
        hosted.event("app-without-lifespan", upstream=spec.upstream, app=spec.target)
    scopes.state = lifespan.state
    hosted.open(application, scopes)
    return lifespan


async def stop_application(hosted: Hosted, spec: ApplicationSpec, lifespan: Lifespan, seconds: float) -> None:
    """Tell its WebSockets, wait for what it still does, end what is left then, and run its shutdown; in so many
    seconds, if it lets us."""
    for call in list(hosted.calls):
        if isinstance(call, WebSocketCall):
            call.go_away()
    until = time.monotonic() + seconds / 2
    while hosted.calls and time.monotonic() < until:  # noqa: ASYNC110 - calls come and go without telling
        await asyncio.sleep(0.02)
    if hosted.calls:
        hosted.event(
            "app-calls-cut", "warning", app=spec.target, calls=len(hosted.calls), next="they are cancelled"
        )
        hosted.cancel()
        await asyncio.sleep(0)
    problem = await lifespan.stop(until + seconds / 2 - time.monotonic())
    if problem:
        hosted.event("app-shutdown-failed", "warning", app=spec.target, reason=problem, next="it ends anyway")


class HostObserver(DownstreamObserver):
    """What is told of the gate's connections: the gate logs requests, and why it closes a connection."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def exchange_over(self, exchange: Exchange, now: float) -> None:
        return

    def handshake_over(self, connection: StreamDriver) -> None:
        return

    def connection_failed(self, context: ConnectionContext, reason: str, detail: str) -> None:
        if reason not in _CLIENT_LEFT:
            self.event("connection-failed", "warning", limit_key=reason, reason=reason, detail=detail)

    def connection_closed(self, connection: StreamDriver) -> None:
        if isinstance(connection, DownstreamConnection):
            owner = connection.context.owner
            if isinstance(owner, Listener):
                owner.gone(connection, connection.context.network)

    def crashed(self, where: str, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.event("defect", "error", where=where, error=repr(error), traceback=text[-3000:])


class AppHost:
    """One process's application. `start` raises `ApplicationError`, or `OSError` for the socket."""

    def __init__(
        self, spec: ApplicationSpec, path: Path, trusted: tuple[str, ...], counters: Counters, event: Event
    ) -> None:
        self.path = path
        self.poller = Poller()
        self.counters = counters
        self._spec = spec
        self._event = event
        values = counters.values
        self.hosted = Hosted(spec.upstream, spec.target, spec.websocket_message, self.poller, values, event)
        self._scopes = ScopeMaker(spec.root_path, {}, (str(path), None), Networks(trusted))
        self._observer = HostObserver(event)
        self._listener: Listener | None = None
        self._lifespan: Lifespan | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._look_at = 0.0

    async def start(self) -> None:
        """Start the application, then listen."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.poller.fileno(), self.poller.dispatch)
        self._lifespan = await start_application(self.hosted, self._spec, self._scopes)
        listener = self._listener = Listener(
            f"unix:{self.path}",
            bind_socket(self.path),
            poller=self.poller,
            handler=AsgiHandler(self.hosted, FieldEdits()),
            observer=self._observer,
            settings=ConnectionSettings(
                head=WIDE,
                body_idle=WIDE,
                write_idle=WIDE,
                keep_alive=WIDE,
                max_head=MAX_HEAD,
                max_fields=MAX_LINES,
            ),
            limits=ConnectionLimits(self.counters.values, 0, 0, 0.0, 0.0),
            forwarder=Forwarder(Networks(())),
            values=self.counters.values,
        )
        listener.start()
        self._sweeper = loop.create_task(self._sweep(), name="sweep")

    async def stop(self) -> None:
        """Take nothing new, finish what is under way, run the application's shutdown."""
        listener = self._listener
        if listener is not None:
            listener.close()
            self.path.unlink(missing_ok=True)
            for connection in list(listener.connections):
                connection.drain()
        if self._lifespan is not None:
            await stop_application(self.hosted, self._spec, self._lifespan, self._spec.stop_timeout)
        if self._sweeper is not None:
            self._sweeper.cancel()
        if listener is not None:
            for connection in list(listener.connections):
                connection.close()
        asyncio.get_running_loop().remove_reader(self.poller.fileno())
        self.poller.close()
        self.counters.publish()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.poller.now = time.monotonic()
                if self._listener is not None:
                    sweep([self._listener], [], self.counters.values, self.poller.now)
                    self._look_after(self._listener, self.poller.now)
                self.counters.publish()
            except Exception as error:
                self._observer.crashed("sweep", error)

    def _look_after(self, listener: Listener, now: float) -> None:
        """Bind anew where something has removed the socket's file: the gate could not reach the application."""
        if now < self._look_at or not listener.is_started:
            return
        self._look_at = now + LOOK_SECONDS
        if os.path.lexists(self.path):
            return
        try:
            listener.replace(bind_socket(self.path))
        except OSError as error:
            self._look_at = now + RETRY_SECONDS
            self._event(
                "app-socket-lost",
                "error",
                address=str(self.path),
                reason=f"it was removed: {error.strerror} (errno {error.errno})",
                next=f"new connections to the application fail; another try in {RETRY_SECONDS:g} s",
            )
        else:
            self._event(
                "app-socket-bound",
                "warning",
                address=str(self.path),
                reason="it was removed",
                next="the gate reaches the application again",
            )


def bind_socket(path: Path) -> socket.socket:
    """Bind a Unix socket of mode 0600 in the place of what is there. Raises `OSError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        mask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
    except BaseException:
        sock.close()
        raise
    return sock
