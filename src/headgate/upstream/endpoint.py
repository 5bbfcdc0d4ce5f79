"""An endpoint: one address of an upstream, with what is open to it.

Who wants to send a request takes an idle connection (`upstream/pool`), or a lane on one that many share
(`upstream/h3_pool`); where there is none it has one dialled, in a task, and hears of it. Spare connections are
dialled the same way, for nobody yet.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from mypy_extensions import trait

from headgate.connection.context import NO_HEADER
from headgate.connection.exchange import Exchange
from headgate.connection.quic_socket import Timer, Timers
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_stream import UpstreamOwner, UpstreamStream
from headgate.counters import (
    ENDPOINT_RESTED,
    POOL_WARMED,
    POOL_WARMING_FAILED,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_RACE_H3,
    UPSTREAM_RACE_TCP,
    UPSTREAM_REUSED,
)
from headgate.engine.events import Request
from headgate.errors import HeadgateError
from headgate.net.poller import Poller
from headgate.net.transport import Transport
from headgate.upstream.h3_pool import H3Pool
from headgate.upstream.health import EndpointHealth, OutlierLimits, Tell
from headgate.upstream.lane_pool import LaneWaiter
from headgate.upstream.pool import Pool, PoolSettings
from headgate.upstream.retries import MAX_REST, SAFE

# Connections being opened at once, each of which holds a descriptor for connect_timeout at worst; Envoy has 1024.
MAX_DIALLING: Final = 1024
# The head of a response; Go 1 MiB, nginx 4-8 KiB, HAProxy 16 KiB.
MAX_RESPONSE_HEAD: Final = 64 * 1024
# No bound of its own on the requests under way: connections are bounded where they are dialled.
UNLIMITED: Final = 1 << 30
# How long HTTP/3 goes alone before TCP is dialled beside it: RFC 8305's delay between two attempts.
RACE_DELAY: Final = 0.25


class Opener(Protocol):
    """Opens transports: resolve, dial, TLS."""

    def connect(self, endpoint: Endpoint) -> Coroutine[Any, Any, Transport]:
        """Return a connected transport. Raises `DialError` or `TransportError` within the endpoint's timeout."""
        ...


class Connector(Opener, Protocol):
    """Opens transports, in the background."""

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        ...


class Introducer(Protocol):
    """Opens transports that begin with a header of the PROXY protocol."""

    def saying(self, header: bytes) -> Opener:
        """Return one that sends `header` first on each connection."""
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


@trait
class TransportWaiter:
    """Who asked for a bare transport."""

    def dialled(self, transport: Transport) -> None:
        """Here it is. Who does not want it any more closes it."""
        raise NotImplementedError

    def dial_failed(self, reason: str, detail: str) -> None:
        """There is none; `reason` is "timeout" or says what failed."""
        raise NotImplementedError


class DefectSink(Protocol):
    """Where a defect is told."""

    def __call__(self, where: str, error: Exception) -> None: ...


@final
class Endpoint(UpstreamOwner):
    """`active` counts the requests under way, at most `max_requests` (`Upstream.began` and `ended` alone change it);
    `pool` has its idle connections."""

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
        name: str = "",
        weight: int = 1,
        is_backup: bool = False,
        max_requests: int = UNLIMITED,
        connect_timeout: float = 5.0,
        pool: Pool | None = None,
        tell: Tell | None = None,
        h3: H3Pool | None = None,
        timers: Timers | None = None,
        outliers: OutlierLimits | None = None,
        early: Opener | None = None,
        introducer: Introducer | None = None,
        proxy_protocol: int = NO_HEADER,
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.is_hosted = url.startswith("asgi:")  # a process that the gate itself runs
        self.host = host
        self.port = port
        self.name = name or host  # whom the certificate must name
        self.weight = weight
        self.is_backup = is_backup
        self.max_requests = max_requests
        self.slot = -1  # its place in what the policy picks from
        self.connect_timeout = connect_timeout
        self.active = 0
        self.dialling = 0
        self.pool = pool if pool is not None else Pool(PoolSettings(), poller, values)
        self.health = EndpointHealth(url, outliers)
        self.h3 = h3  # where the upstream has HTTP/3
        self.proxy_protocol = proxy_protocol  # the version in which it is told of each client
        self._introducer = introducer
        self._early = early  # for requests that may arrive twice, with TCP Fast Open
        self._timers = timers
        self._open: set[UpstreamStream] = set()
        self._poller = poller
        self._connector = connector
        self._values = values
        self._defect = defect
        self._tell = tell

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}: {self.active} active, {len(self.pool.idle)} idle>"

    @property
    def connections(self) -> list[UpstreamStream]:
        """All that is open; for the sweep of deadlines."""
        pool = self.h3
        return list(self._open) if pool is None else [*self._open, *pool.lanes()]

    def take(self, exchange: Exchange) -> UpstreamStream | None:
        """Return an idle connection, or a lane on a shared one; None: then `dial`."""
        pool = self.h3
        # What wants to leave HTTP goes by HTTP/1.1, whose connection it then has for itself.
        if pool is not None and not exchange.request.upgrade:
            lane = pool.take()
            if lane is not None:
                self._values[UPSTREAM_REUSED] += 1
                return lane
            if pool.is_only:
                return None
        # What has content may be too long to be repeated: it gets no connection that is closing already.
        careful = exchange.request.body != 0
        if self.proxy_protocol:
            connection = self.pool.take_of(exchange.context, careful)
        else:
            connection = self.pool.take(careful)
        if connection is not None:
            self._values[UPSTREAM_REUSED] += 1
            if pool is not None:
                pool.warm()  # this request need not wait for it
        return connection

    def give_back(self, connection: UpstreamStream) -> None:
        """The exchange is over: keep the connection if it can carry another one."""
        if connection.release() and isinstance(connection, UpstreamConnection):
            self.pool.keep(connection)

    def keep(self, connection: UpstreamStream) -> None:
        """Keep a fresh connection that nobody uses after all; one that is not connected yet is not for everybody."""
        if isinstance(connection, UpstreamConnection) and not connection.transport.early:
            self.pool.keep(connection)
        else:
            connection.close()  # one stream of many: the next is as fresh

    def dial(self, exchange: Exchange, waiter: ConnectionWaiter, once: bool = False) -> None:
        """Open a connection for `exchange`; the waiter hears of it. `once`: not one on which a request may be lost
        and has to be sent again."""
        pool = self.h3
        if pool is not None:
            if exchange.request.upgrade:
                if pool.is_only:
                    waiter.connect_failed(exchange, "upgrade", f"{self.url}: HTTP/3 knows no Upgrade")
                    return
            elif pool.is_wanted:
                SideBySide(self, pool, exchange, waiter, once).begin(self._timers)
                return
        self.dial_tcp(exchange, waiter, once)

    def dial_tcp(self, exchange: Exchange, waiter: ConnectionWaiter, once: bool) -> None:
        """Open a connection of HTTP/1.1."""
        self.dialling += 1
        self._connector.begin(f"dial {self.url}", self._dial(exchange, waiter, once))

    async def _dial(self, exchange: Exchange, waiter: ConnectionWaiter, once: bool) -> None:
        try:
            if self._introducer is not None:
                client = exchange.context
                peer, port = client.peer, client.port
                opener = self._introducer.saying(client.proxy_header(self.proxy_protocol))
                connection = await self._open_connection(opener)
                connection.belong_to(client, peer, port)
            else:
                connection = await self._open_connection(
                    self._connector if once else self._early_for(exchange.request)
                )
        except HeadgateError as error:
            # One clause for `TransportError` and `DialError`: compiled, a name has one type for all clauses.
            waiter.connect_failed(exchange, getattr(error, "reason", "connect"), str(error))
            return
        except Exception as defect:
            waiter.connect_failed(exchange, "internal", repr(defect))  # nobody waits for what will not come
            raise
        finally:
            self.dialling -= 1
        waiter.connected(exchange, connection)

    def _early_for(self, request: Request) -> Opener:
        early = self._early
        return early if early is not None and is_repeatable(request) else self._connector

    def dial_transport(self, waiter: TransportWaiter) -> None:
        """Open a connection without HTTP; the waiter hears of it."""
        self.dialling += 1
        self._connector.begin(f"dial {self.url}", self._dial_transport(waiter))

    async def _dial_transport(self, waiter: TransportWaiter) -> None:
        try:
            transport = await self._connector.connect(self)
        except HeadgateError as error:
            waiter.dial_failed(getattr(error, "reason", "connect"), str(error))
            return
        except Exception as defect:
            waiter.dial_failed("internal", repr(defect))  # nobody waits for what will not come
            raise
        finally:
            self.dialling -= 1
        self._values[UPSTREAM_CONNECTIONS] += 1
        waiter.dialled(transport)

    async def _open_connection(self, opener: Opener) -> UpstreamConnection:
        transport = await opener.connect(self)
        self._values[UPSTREAM_CONNECTIONS] += 1
        try:
            connection = UpstreamConnection(
                transport, self._poller, self, self._values, self.url, MAX_RESPONSE_HEAD
            )
        except OSError:
            transport.close()  # the kernel has no place for one more watch
            raise
        self._open.add(connection)
        self.pool.opened(connection)
        return connection

    def rest(self, now: float, seconds: float, status: int) -> None:
        """Leave it alone for so long, if others are up: it answered `status` with Retry-After."""
        was_resting = self.health.rests_until > 0.0
        seconds = min(seconds, MAX_REST)
        if not self.health.rest(now, seconds, f"status {status} with Retry-After") or was_resting:
            return
        self._values[ENDPOINT_RESTED] += 1
        if self._tell is not None:
            self._tell(
                "endpoint-rests",
                "warning",
                limit_key=self.url,
                endpoint=self.url,
                status=status,
                next=f"it gets no requests for {seconds:.0f} s, as it asked with Retry-After",
            )

    # -- spare connections

    def tend(self, now: float) -> None:
        """Do what time brings: dial the spare connections that are missing."""
        for _ in range(self.pool.missing(now)):
            self.dialling += 1
            self._connector.begin(f"dial {self.url} ahead", self._warm())

    async def _warm(self) -> None:
        try:
            connection = await self._open_connection(self._connector)
        except HeadgateError as error:
            self._warming_failed(str(error))
            return
        except Exception as defect:
            self._warming_failed(repr(defect))
            raise
        finally:
            self.dialling -= 1
        self._values[POOL_WARMED] += 1
        self.pool.warmed()
        self.pool.keep(connection)

    def _warming_failed(self, detail: str) -> None:
        self._values[POOL_WARMING_FAILED] += 1
        seconds = self.pool.warming_failed()
        if seconds and self._tell is not None:
            self._tell(
                "prewarm-failed",
                "warning",
                limit_key=self.url,
                endpoint=self.url,
                detail=detail,
                next=f"no spare connection is dialled for {seconds:.0f} s",
            )

    def count(self, counter: int) -> None:
        """Add one to a counter."""
        self._values[counter] += 1

    # -- what connections report

    def upstream_gone(self, connection: UpstreamStream) -> None:
        self._open.discard(connection)
        if isinstance(connection, UpstreamConnection):
            self.pool.lost(connection)

    def crashed(self, where: str, error: Exception) -> None:
        self._defect(where, error)

    def open(self) -> None:
        """It is in its group again: connections are kept."""
        self.pool.open()

    def close(self) -> None:
        """Close every idle connection; busy ones end with their exchanges, and are kept no more until `open`."""
        self.pool.close()
        if self.h3 is not None:
            self.h3.close()


def is_repeatable(request: Request) -> bool:
    """Tell whether a request may arrive twice: a safe method (RFC 9110 section 9.2.1), no content, no upgrade."""
    return request.method in SAFE and request.body == 0 and not request.upgrade


@final
class SideBySide(ConnectionWaiter, LaneWaiter):
    """HTTP/3 and TCP for one exchange: the first that is ready has it (RFC 9114 section 3.1, RFC 8305).

    TCP is dialled when HTTP/3 has failed, or is not ready after `RACE_DELAY`; with prior knowledge never. Whichever
    is late stays for the next request.
    """

    def __init__(
        self, endpoint: Endpoint, pool: H3Pool, exchange: Exchange, waiter: ConnectionWaiter, once: bool
    ) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.exchange = exchange
        self.waiter = waiter
        self.once = once
        self.timer: Timer | None = None
        self.is_over = False
        self.is_tcp_begun = False
        self.problem = ""  # of the one that failed first
        endpoint.dialling += 1

    def begin(self, timers: Timers | None) -> None:
        """Go, HTTP/3 first."""
        if timers is not None and not self.pool.is_only:
            self.timer = timers.call_at(timers.time() + RACE_DELAY, self.begin_tcp)
        self.pool.wait(self)

    def begin_tcp(self) -> None:
        """HTTP/3 is late, or has failed."""
        if not self.is_over and not self.is_tcp_begun:
            self.is_tcp_begun = True
            self.endpoint.dial_tcp(self.exchange, self, self.once)

    def _end(self) -> bool:
        """Tell whether this was not over before."""
        if self.is_over:
            return False
        self.is_over = True
        self.endpoint.dialling -= 1
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return True

    def lane_ready(self, lane: UpstreamStream) -> None:
        if not self._end():
            lane.close()
            return
        if self.is_tcp_begun:
            self.endpoint.count(UPSTREAM_RACE_H3)
        self.waiter.connected(self.exchange, lane)

    def connected(self, exchange: Exchange, connection: UpstreamStream) -> None:
        if not self._end():
            self.endpoint.keep(connection)
            return
        self.pool.leave(self)
        self.endpoint.count(UPSTREAM_RACE_TCP)
        self.waiter.connected(exchange, connection)

    def lane_failed(self, reason: str, detail: str) -> None:
        if self.pool.is_only or self.problem:
            self._fail(reason, f"HTTP/3: {detail}")
            return
        self.problem = f"HTTP/3: {detail}"
        self.begin_tcp()

    def connect_failed(self, exchange: Exchange, reason: str, detail: str) -> None:
        if self.problem:
            self._fail(reason, f"TCP: {detail}")
            return
        self.problem = f"TCP: {detail}"  # HTTP/3 is still under way

    def _fail(self, reason: str, detail: str) -> None:
        if self._end():
            words = f"{self.problem}; {detail}" if self.problem else detail
            self.waiter.connect_failed(self.exchange, reason, words)
