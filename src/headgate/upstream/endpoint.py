"""An endpoint: one address of an upstream, with what is open to it.

Who wants to send a request takes an idle connection (`upstream/pool`), or a lane on one that many share
(`upstream/h2_pool`, `upstream/h3_pool`); where there is none it has one dialled, in a task, and hears of it. Spare
connections are dialled the same way, for nobody yet. What wants to leave HTTP goes by an extended CONNECT where the
origin is known to understand it (RFC 8441), else by HTTP/1.1, whose connection it then has for itself.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from mypy_extensions import trait

from headgate.connection.context import NO_HEADER
from headgate.connection.exchange import Exchange
from headgate.connection.h2_upstream import H2Upstream
from headgate.connection.quic_socket import Timer, Timers
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_lane import Lane, may_connect
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
from headgate.upstream.h2_pool import PLAIN, H2Host, H2Pool
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
class Endpoint(UpstreamOwner, H2Host):
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
        h2: H2Pool | None = None,
        h3: H3Pool | None = None,
        timers: Timers | None = None,
        outliers: OutlierLimits | None = None,
        early: Opener | None = None,
        old: Opener | None = None,
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
        self.h2 = h2  # where it is spoken to in HTTP/2, and TCP in nothing else if the pool `is_only`
        self.h3 = h3  # where the upstream has HTTP/3
        self.proxy_protocol = proxy_protocol  # the version in which it is told of each client
        self._introducer = introducer
        self._old = old  # for what HTTP/1.1 alone can do
        self._early = early  # for requests that may arrive twice, with TCP Fast Open
        self._timers = timers
        self._open: set[UpstreamStream] = set()
        self._poller = poller
        self._connector = connector
        self._values = values
        self._defect = defect
        self._tell = tell
        if h2 is not None:
            h2.host_endpoint = self

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}: {self.active} active, {len(self.pool.idle)} idle>"

    @property
    def connections(self) -> list[UpstreamStream]:
        """All that is open; for the sweep of deadlines."""
        found = list(self._open)
        if self.h2 is not None:
            found += self.h2.lanes()
        if self.h3 is not None:
            found += self.h3.lanes()
        return found

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way: out of its group, it need not be swept any more. A connection of HTTP/2 may
        carry on for another endpoint when all that was its own has ended."""
        if self.active or self._open:
            return False
        return (self.h2 is None or self.h2.is_over) and (self.h3 is None or self.h3.is_over)

    def take(self, exchange: Exchange) -> UpstreamStream | None:
        """Return an idle connection, or a lane on a shared one; None: then `dial`."""
        h2 = self.h2
        pool = self.h3
        if h2 is not None or pool is not None:
            lane = self._take_lane(exchange)
            if lane is not None:
                self._values[UPSTREAM_REUSED] += 1
                return lane
            if self._is_shared_only:
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

    @property
    def authority(self) -> bytes:
        """Whom a request asks that names nobody (HTTP/1.0 without Host)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("latin-1", "replace")

    @property
    def _is_shared_only(self) -> bool:
        """Whether HTTP/1.1 is never spoken here."""
        h2 = self.h2
        h3 = self.h3
        return h2.is_only if h2 is not None else h3 is not None and h3.is_only

    def _take_lane(self, exchange: Exchange) -> UpstreamStream | None:
        h2 = self.h2
        request = exchange.request
        if request.upgrade and (may_connect(request) or not self._is_shared_only):
            return h2.take_to_connect() if h2 is not None and may_connect(request) else None
        h3 = self.h3
        lane = h3.take() if h3 is not None else None
        if lane is None and h2 is not None and not h2.is_shunned:
            lane = h2.take()
        return lane

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
        if pool is not None and pool.is_wanted and not self._wants_to_leave(exchange.request):
            SideBySide(self, pool, exchange, waiter, once).begin(self._timers)
            return
        self.dial_tcp(exchange, waiter, once)

    def dial_tcp(self, exchange: Exchange, waiter: ConnectionWaiter, once: bool) -> None:
        """Open a connection over TCP, or wait for room on one of HTTP/2."""
        h2 = self.h2
        if h2 is None:
            h3 = self.h3
            if h3 is not None and h3.is_only:
                waiter.connect_failed(exchange, "upgrade", f"{self.url}: HTTP/3 knows no Upgrade")
                return
        elif h2.is_only or (h2.is_wanted and self._suits_h2(h2, exchange.request)):
            LaneFor(self, h2, exchange, waiter, once).begin()
            return
        self.dial_h1(exchange, waiter, once)

    def _wants_to_leave(self, request: Request) -> bool:
        """Tell whether a request wants to leave HTTP, and there is a way: elsewhere its Upgrade is ignored."""
        return bool(request.upgrade) and (may_connect(request) or not self._is_shared_only)

    def _suits_h2(self, h2: H2Pool, request: Request) -> bool:
        return not request.upgrade or (h2.allows_connect and may_connect(request))

    def dial_h1(self, exchange: Exchange, waiter: ConnectionWaiter, once: bool) -> None:
        """Open a connection for this exchange alone, of HTTP/1.1 unless the origin has changed its mind."""
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
                transport = await self._opener_for(exchange.request, once).connect(self)
                h2 = self.h2
                if h2 is not None and h2.is_h2(transport):
                    # It picked HTTP/1.1 before.
                    h2.adopt(transport)
                    LaneFor(self, h2, exchange, waiter, once).begin()
                    return
                connection = self._connection_on(transport)
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

    def _opener_for(self, request: Request, once: bool) -> Opener:
        h2 = self.h2
        old = self._old
        if h2 is not None and old is not None and (request.upgrade or h2.is_shunned):
            return old
        early = self._early
        return early if early is not None and not once and is_repeatable(request) else self._connector

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
        return self._connection_on(await opener.connect(self))

    def _connection_on(self, transport: Transport) -> UpstreamConnection:
        """Return a connection of HTTP/1.1. Raises `OSError`."""
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

    # -- what the pool of HTTP/2 asks for

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._connector.begin(name, work)

    def open_transport(self) -> Coroutine[Any, Any, Transport]:
        return self._connector.connect(self)

    def keep_plain(self, transport: Transport) -> None:
        try:
            self.pool.keep(self._connection_on(transport))
        except OSError:
            pass  # the kernel has no place for one more watch: it is closed, and whoever dials next hears of it

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
        h2 = self.h2
        if h2 is not None and h2.is_wanted:
            h2.warm()  # one of them has room for a hundred
            return
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
        if self.h2 is not None:
            self.h2.open()
        if self.h3 is not None:
            self.h3.open()

    def close(self) -> None:
        """Close every idle connection; busy ones end with their exchanges, and are kept no more until `open`."""
        self.pool.close()
        if self.h2 is not None:
            self.h2.close()
        if self.h3 is not None:
            self.h3.close()


def is_repeatable(request: Request) -> bool:
    """Tell whether a request may arrive twice: a safe method (RFC 9110 section 9.2.1), no content, no upgrade."""
    return request.method in SAFE and request.body == 0 and not request.upgrade


@final
class LaneFor(LaneWaiter):
    """Waits for a lane of HTTP/2 for one exchange; where the origin turns out to speak HTTP/1.1, that is dialled."""

    def __init__(
        self, endpoint: Endpoint, pool: H2Pool, exchange: Exchange, waiter: ConnectionWaiter, once: bool
    ) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.exchange = exchange
        self.waiter = waiter
        self.once = once
        endpoint.dialling += 1

    def begin(self) -> None:
        """Get in line."""
        self.pool.wait(self)

    def lane_ready(self, lane: UpstreamStream) -> None:
        self.endpoint.dialling -= 1
        if may_connect(self.exchange.request) and not _allows_connect(lane):
            lane.close()
            self._without_connect()
            return
        self.waiter.connected(self.exchange, lane)

    def _without_connect(self) -> None:
        endpoint = self.endpoint
        if self.pool.is_only:
            detail = (
                f"{endpoint.url}: its SETTINGS allow no extended CONNECT (RFC 8441), and h1 is not allowed"
            )
            self.waiter.connect_failed(self.exchange, "upgrade", detail)
        else:
            endpoint.dial_h1(self.exchange, self.waiter, self.once)

    def lane_failed(self, reason: str, detail: str) -> None:
        endpoint = self.endpoint
        endpoint.dialling -= 1
        if reason != PLAIN:
            self.waiter.connect_failed(self.exchange, reason, detail)
            return
        # The first of those who wait finds the connection that was dialled.
        connection = endpoint.pool.take(False)
        if connection is not None:
            self.waiter.connected(self.exchange, connection)
        else:
            endpoint.dial_h1(self.exchange, self.waiter, self.once)


def _allows_connect(lane: UpstreamStream) -> bool:
    """Tell whether the origin of a lane understands extended CONNECT."""
    if not isinstance(lane, Lane):
        return False
    driver = lane.driver
    return isinstance(driver, H2Upstream) and driver.may_connect


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
