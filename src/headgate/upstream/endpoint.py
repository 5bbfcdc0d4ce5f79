"""An endpoint: one address of an upstream, with its connection pool.

The pool is a plain list of idle connections, newest last: the newest is the one least likely to have been closed by
the origin meanwhile, and old ones fall out at the front. There is nothing to wait for: who finds no idle connection
dials one. A connection ends when its origin closes it, when it fails, or when it was idle for `idle_timeout`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from mypy_extensions import trait

from headgate.connection.exchange import Exchange
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_stream import UpstreamOwner, UpstreamStream
from headgate.counters import UPSTREAM_CONNECTIONS, UPSTREAM_REUSED
from headgate.errors import HeadgateError
from headgate.net.poller import Poller
from headgate.net.transport import Transport

# Idle connections kept for each endpoint and worker; Go's default of 2 starves, nginx asks for the number.
MAX_IDLE: Final = 256
# Connections being opened at once, each of which holds a descriptor for connect_timeout at worst; Envoy has 1024.
MAX_DIALLING: Final = 1024
# The head of a response; Go 1 MiB, nginx 4-8 KiB, HAProxy 16 KiB.
MAX_RESPONSE_HEAD: Final = 64 * 1024


class Connector(Protocol):
    """Opens transports: resolve, dial, TLS."""

    def connect(self, endpoint: Endpoint) -> Coroutine[Any, Any, Transport]:
        """Return a connected transport. Raises `DialError` or `TransportError` within the endpoint's timeout."""
        ...

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        ...


@trait
class ConnectionWaiter:
    """Who asked for a connection that had to be dialled first."""

    def connected(self, exchange: Exchange, connection: UpstreamStream) -> None:
        """Here it is. If the exchange is over meanwhile, put it back."""
        raise NotImplementedError

    def connect_failed(self, exchange: Exchange, reason: str, detail: str) -> None:
        """There is none; `reason` is "timeout" or says what failed."""
        raise NotImplementedError


class DefectSink(Protocol):
    """Where a defect is told."""

    def __call__(self, where: str, error: Exception) -> None: ...


@final
class Endpoint(UpstreamOwner):
    """`active` counts the exchanges that use it now (what policies compare), `idle` are its spare connections."""

    def __init__(
        self,
        url: str,
        scheme: str,
        host: str,
        port: int,
        *,
        poller: Poller,
        connector: Connector,
        values: list[int],
        defect: DefectSink,
        weight: int = 1,
        connect_timeout: float = 5.0,
        idle_timeout: float = 60.0,
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.port = port
        self.weight = weight
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.active = 0
        self.dialling = 0
        self.idle: list[UpstreamConnection] = []
        self._open: set[UpstreamStream] = set()
        self._poller = poller
        self._connector = connector
        self._values = values
        self._defect = defect

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}: {self.active} active, {len(self.idle)} idle>"

    @property
    def connections(self) -> list[UpstreamStream]:
        """All that is open; for the sweep of deadlines."""
        return list(self._open)

    def take(self) -> UpstreamStream | None:
        """Return an idle connection, or None: then `dial`."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed:
                self._values[UPSTREAM_REUSED] += 1
                return connection
        return None

    def give_back(self, connection: UpstreamStream) -> None:
        """The exchange is over: keep the connection if it can carry another one."""
        if connection.release() and isinstance(connection, UpstreamConnection):
            self._keep(connection)

    def keep(self, connection: UpstreamStream) -> None:
        """Keep a fresh connection that nobody uses after all."""
        if isinstance(connection, UpstreamConnection):
            self._keep(connection)
        else:
            connection.close()  # one stream of many: the next is as fresh

    def _keep(self, connection: UpstreamConnection) -> None:
        connection.deadline = self._poller.now + self.idle_timeout
        self.idle.append(connection)
        if len(self.idle) > MAX_IDLE:
            self.idle[0].close()

    def dial(self, exchange: Exchange, waiter: ConnectionWaiter) -> None:
        """Open a connection for `exchange`; the waiter hears of it."""
        self.dialling += 1
        self._connector.begin(f"dial {self.url}", self._dial(exchange, waiter))

    async def _dial(self, exchange: Exchange, waiter: ConnectionWaiter) -> None:
        try:
            transport = await self._connector.connect(self)
        except HeadgateError as error:
            # One clause for `TransportError` and `DialError`: compiled, a name has one type for all clauses.
            waiter.connect_failed(exchange, getattr(error, "reason", "connect"), str(error))
            return
        except Exception as defect:
            waiter.connect_failed(exchange, "internal", repr(defect))  # nobody waits for what will not come
            raise
        finally:
            self.dialling -= 1
        self._values[UPSTREAM_CONNECTIONS] += 1
        try:
            connection = UpstreamConnection(
                transport, self._poller, self, self._values, self.url, MAX_RESPONSE_HEAD
            )
        except OSError as refused:
            # The kernel has no place for one more watch.
            transport.close()
            waiter.connect_failed(exchange, "internal", repr(refused))
            raise
        self._open.add(connection)
        waiter.connected(exchange, connection)

    # -- what connections report

    def upstream_gone(self, connection: UpstreamStream) -> None:
        self._open.discard(connection)
        if isinstance(connection, UpstreamConnection) and connection in self.idle:
            self.idle.remove(connection)

    def crashed(self, where: str, error: Exception) -> None:
        self._defect(where, error)

    def close(self) -> None:
        """Close every idle connection; busy ones end with their exchanges."""
        for connection in self.idle[:]:
            connection.close()
