"""CONNECT (RFC 9110 section 9.3.6): a tunnel to a host and a port, dialled from here or through another proxy.

    checked by proxy/forward -> a place (tunnels of this client, of this user) -> dial -> 200 -> proxy/tunnel
                                                    through a parent: dial it -> CONNECT -> its 2xx -> the same

The 200 has neither Content-Length nor Transfer-Encoding. What the client sent behind its request, a ClientHello that
would not wait, goes to the origin first. Until the tunnel stands nothing has been said to the origin, so a parent
that cannot be reached, or ends the connection without an answer, is followed by the next one.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Exchange, HeadHandler
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamStream
from headgate.counters import (
    FORWARD_CONNECT,
    FORWARD_REFUSED_ADDRESS,
    FORWARD_REFUSED_TUNNELS,
    GATEWAY_CLOSED,
    GATEWAY_CONNECT,
    GATEWAY_CONNECT_TIMEOUT,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_PROTOCOL,
)
from headgate.engine.events import Response
from headgate.errors import HeadgateError
from headgate.http.fields import Fields
from headgate.http.hop_by_hop import add_via, strip_request
from headgate.net.poller import Poller
from headgate.net.transport import Transport
from headgate.pipeline.matchers import HostPatterns
from headgate.proxy.answers import answer_error
from headgate.proxy.relay import RelayHalf
from headgate.proxy.tunnel import Tunnel, TunnelPlace
from headgate.upstream.endpoint import ConnectionWaiter, Endpoint
from headgate.upstream.upstream import Upstream

# Parents asked for one tunnel.
MAX_PARENTS: Final = 3


class TunnelDialer(Protocol):
    """Opens what tunnels lead to."""

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        ...

    async def open(self, host: str, port: int) -> tuple[Transport, str]:
        """Return a connected transport, and its address. Raises `DialError` or `TransportError`."""
        ...


@final
class Parents:
    """Other proxies: `credentials` is the value of Proxy-Authorization for them, b"" for none."""

    def __init__(self, upstream: Upstream, credentials: bytes, bypass: HostPatterns, direct: bool) -> None:
        self.upstream = upstream
        self.credentials = credentials
        self.bypass = bypass
        self.direct = direct

    def add_credentials(self, fields: Fields) -> None:
        """Say to a parent who we are."""
        if self.credentials:
            fields.add(b"proxy-authorization", self.credentials, b"Proxy-Authorization")


@final
class TunnelCounts:
    """How many tunnels there are of each client network, and of each user."""

    def __init__(self, per_client: int, per_user: int) -> None:
        self.per_client = per_client
        self.per_user = per_user
        self._open: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def take(self, network: str, user: bytes) -> Place | None:
        """Return a place for one more, None when there is none."""
        client = b"c" + network.encode()
        name = b"u" + user if user else b""
        if self._open.get(client, 0) >= self.per_client:
            return None
        if name and self._open.get(name, 0) >= self.per_user:
            return None
        for key in (client, name):
            if key:
                self._open[key] = self._open.get(key, 0) + 1
        return Place(self, client, name)

    def leave(self, key: bytes) -> None:
        """Give back what `take` has counted under a key."""
        left = self._open.get(key, 0) - 1
        if left > 0:
            self._open[key] = left
        else:
            self._open.pop(key, None)


@final
class Place(TunnelPlace):
    """What one tunnel counts for, until it is over."""

    def __init__(self, counts: TunnelCounts, client: bytes, user: bytes) -> None:
        self._counts: TunnelCounts | None = counts
        self._client = client
        self._user = user

    def leave(self) -> None:
        counts, self._counts = self._counts, None
        if counts is not None:
            counts.leave(self._client)
            if self._user:
                counts.leave(self._user)


@final
class ConnectAttempt:
    """One tunnel that is being opened. `endpoint` and `connection` are those of a parent."""

    def __init__(self, host: str, port: int, place: Place) -> None:
        self.host = host
        self.port = port
        self.place = place
        self.endpoint: Endpoint | None = None
        self.trial = 0  # what `Upstream.began` returned
        self.connection: UpstreamStream | None = None
        self.tried: list[Endpoint] = []


@final
class ConnectProxy(HeadHandler, ResponseReceiver, ConnectionWaiter):
    """Opens the tunnels of one listener."""

    def __init__(
        self,
        dialer: TunnelDialer,
        poller: Poller,
        values: list[int],
        counts: TunnelCounts,
        tunnel_idle: float,
        parents: Parents | None = None,
    ) -> None:
        self.dialer = dialer
        self.poller = poller
        self.values = values
        self.counts = counts
        self.tunnel_idle = tunnel_idle
        self.parents = parents

    def __repr__(self) -> str:
        return f"<ConnectProxy {self.parents.upstream!r}>" if self.parents is not None else "<ConnectProxy>"

    # -- opening

    def open(self, exchange: Exchange, host: bytes, port: int, parents: Parents | None) -> None:
        """Begin: through `parents`, or from here. The request was checked, and carries no content."""
        place = self.counts.take(exchange.context.network, exchange.user)
        if place is None:
            self.values[FORWARD_REFUSED_TUNNELS] += 1
            answer_error(exchange, 429, "too-many-tunnels")
            return
        self.values[FORWARD_CONNECT] += 1
        attempt = ConnectAttempt(host.strip(b"[]").decode(), port, place)
        exchange.attempt = attempt
        exchange.accepting = False  # what comes now is the origin's
        exchange.handler = self
        if parents is None:
            self._dial(exchange, attempt)
            return
        fields = exchange.request.fields
        strip_request(fields)
        fields.set(b"host", exchange.request.target, b"Host")
        add_via(fields, exchange.request.version)
        parents.add_credentials(fields)
        self._ask_parent(exchange, attempt, parents, "connect", "no parent is ready")

    def _dial(self, exchange: Exchange, attempt: ConnectAttempt) -> None:
        exchange.upstream_started = self.poller.now
        exchange.endpoint = exchange.request.target.decode()
        self.dialer.begin(f"tunnel to {exchange.endpoint}", self._open(exchange, attempt))

    async def _open(self, exchange: Exchange, attempt: ConnectAttempt) -> None:
        try:
            transport, address = await self.dialer.open(attempt.host, attempt.port)
        except HeadgateError as error:
            self._fail(exchange, attempt, getattr(error, "reason", "connect"), str(error))
            return
        except BaseException as defect:
            self._fail(exchange, attempt, "internal", repr(defect))  # nobody waits for what will not come
            raise
        if exchange.attempt is not attempt:
            transport.close()  # the client left meanwhile
            return
        exchange.endpoint = address
        self._establish(exchange, attempt, RelayHalf(transport, self.poller), b"")

    def _establish(self, exchange: Exchange, attempt: ConnectAttempt, origin: RelayHalf, late: bytes) -> None:
        """The other end is there: leave HTTP."""
        downstream = exchange.downstream
        exchange.attempt = None
        exchange.upstream_head = self.poller.now
        if not isinstance(downstream, DownstreamConnection):
            attempt.place.leave()
            origin.end()
            return
        downstream.respond(Response(200, b"Connection established", 11, Fields([], []), 0))
        early = downstream.detach()
        if downstream.closed:
            attempt.place.leave()
            origin.end()
            return
        exchange.bytes_in += len(early)
        exchange.bytes_out += len(late)
        Tunnel(downstream, origin, early, late, self.tunnel_idle, attempt.place)

    # -- through a parent

    def _ask_parent(
        self, exchange: Exchange, attempt: ConnectAttempt, parents: Parents, reason: str, detail: str
    ) -> None:
        """Dial the next parent; without one go from here, or fail for the reason of the last."""
        endpoint = None
        if len(attempt.tried) < MAX_PARENTS:
            endpoint = parents.upstream.pick(exchange, attempt.tried)
        exchange.detail = detail if attempt.tried else ""
        if endpoint is None:
            attempt.endpoint = None
            attempt.connection = None
            if parents.direct:
                self._dial(exchange, attempt)
            else:
                self._fail(exchange, attempt, reason, detail)
            return
        if attempt.tried:
            exchange.retries += 1
        attempt.endpoint = endpoint
        attempt.connection = None
        exchange.upstream = parents.upstream.name
        exchange.endpoint = endpoint.url
        exchange.upstream_started = self.poller.now
        attempt.trial = parents.upstream.began(endpoint)
        endpoint.dial(exchange, self)

    def _leave_parent(self, attempt: ConnectAttempt) -> None:
        endpoint, attempt.endpoint = attempt.endpoint, None
        parents = self.parents
        if endpoint is not None and parents is not None:
            attempt.tried.append(endpoint)
            parents.upstream.ended(endpoint, attempt.trial)

    def connected(self, exchange: Exchange, connection: UpstreamStream) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, ConnectAttempt) or attempt.connection is not None:
            connection.close()  # the client left meanwhile
            return
        attempt.connection = connection
        connection.send_request(exchange.request, self, exchange)
        if self.parents is not None:
            connection.wait_until(self.poller.now + self.parents.upstream.head_timeout)
        connection.flush()

    def connect_failed(self, exchange: Exchange, reason: str, detail: str) -> None:
        attempt = exchange.attempt
        parents = self.parents
        if isinstance(attempt, ConnectAttempt) and attempt.connection is None and parents is not None:
            self._leave_parent(attempt)
            # The guard is not for parents: whatever keeps us from one is a failure to connect.
            word = "timeout" if reason == "timeout" else "connect"
            self._ask_parent(exchange, attempt, parents, word, detail)

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        exchange = connection.exchange
        if response.status < 200 or not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        if not isinstance(attempt, ConnectAttempt):
            return
        self._leave_parent(attempt)
        if response.status < 300 and isinstance(connection, UpstreamConnection):
            late = connection.detach()
            half = RelayHalf(connection.transport, self.poller, connection)
            self._establish(exchange, attempt, half, late)
            return
        connection.close()
        self._fail(exchange, attempt, "parent-refused", f"{connection.address} answered {response.status}")

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        exchange = connection.exchange
        attempt = exchange.attempt if isinstance(exchange, Exchange) else None
        parents = self.parents
        if isinstance(exchange, Exchange) and isinstance(attempt, ConnectAttempt) and parents is not None:
            self._leave_parent(attempt)
            self._ask_parent(exchange, attempt, parents, reason, f"{connection.address}: {reason} {detail}")

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        attempt = exchange.attempt if isinstance(exchange, Exchange) else None
        connection.close()
        if isinstance(exchange, Exchange) and isinstance(attempt, ConnectAttempt):
            self._leave_parent(attempt)
            self._fail(exchange, attempt, "head-timeout", f"{connection.address} was silent")

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        return

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        return

    def upstream_turn(self, connection: UpstreamStream) -> None:
        return

    def upstream_drained(self, connection: UpstreamStream) -> None:
        return

    # -- what goes wrong

    def _fail(self, exchange: Exchange, attempt: ConnectAttempt, reason: str, detail: str) -> None:
        """Answer in words; the details (addresses, errno) are for the log alone."""
        if exchange.attempt is not attempt:
            return
        exchange.attempt = None
        attempt.place.leave()
        exchange.detail = detail
        values = self.values
        if reason == "refused-address":
            values[FORWARD_REFUSED_ADDRESS] += 1
            answer_error(exchange, 403, "address-not-allowed")
        elif reason == "timeout":
            values[GATEWAY_CONNECT_TIMEOUT] += 1
            answer_error(exchange, 504, "connect-timeout")
        elif reason == "head-timeout":
            values[GATEWAY_HEAD_TIMEOUT] += 1
            answer_error(exchange, 504, "upstream-timeout")
        elif reason == "parent-refused":
            values[GATEWAY_PROTOCOL] += 1
            answer_error(exchange, 502, "parent-refused")
        elif reason in ("connect", "resolve", "descriptors", "internal"):
            values[GATEWAY_CONNECT] += 1
            answer_error(exchange, 502, "connect")
        else:
            values[GATEWAY_CLOSED] += 1
            answer_error(exchange, 502, "upstream-closed")

    def downstream_closed(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, ConnectAttempt):
            attempt.place.leave()
            self._leave_parent(attempt)
            if attempt.connection is not None:
                attempt.connection.close()
