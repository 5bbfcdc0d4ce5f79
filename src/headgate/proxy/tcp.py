"""Mode "tcp": connections that are passed on to an endpoint as they are, octet by octet.

Life of one, by `phase`: HELLO → (WAITING for room →) DIALLING → RELAYING → OVER. A listener with one upstream for
everybody dials as soon as it has accepted, because in many protocols the server speaks first. One with routes first
reads the ClientHello, for its server name, and holds it until an endpoint is there. It reads no TLS beyond that, and
has no key. Whoever sends something else, or no whole ClientHello within the handshake timeout, is refused.

A dial that fails is tried at another endpoint, as often as the upstream's retries say: nothing was sent yet, so that
it is safe whatever the protocol. From then on everything is the relay's (`proxy/relay`).

To balancing, to the log and to `max_requests` a connection is one exchange, with a request that says nothing.
"""

from __future__ import annotations

import socket
from typing import Final, final

from headgate.connection.accepted import Accepted, Opener
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import TCP, Downstream, Exchange
from headgate.connection.observer import DownstreamObserver
from headgate.connection.stream_driver import NEVER
from headgate.counters import (
    DOWNSTREAM_READ,
    REFUSED_HELLO,
    REFUSED_NAME,
    RETRIED_FIRST,
    TCP_OPEN,
    TCP_RELAYED,
    TCP_UNAVAILABLE,
    TCP_UNREACHABLE,
    TIMEOUT_HANDSHAKE,
    UPSTREAM_OPEN,
    UPSTREAM_WRITTEN,
)
from headgate.engine.events import Request
from headgate.errors import RemoteProtocolError, TransportError
from headgate.http.fields import Fields
from headgate.net.poller import READ, Poller
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport
from headgate.proxy.relay import Relay, RelayHalf, RelayOwner
from headgate.proxy.server_names import ServerNames, TcpRoute
from headgate.server.sweep import HoldsBytes
from headgate.tls.client_hello import ALERT_UNRECOGNIZED_NAME, MAX_HELLO_OCTETS, read_hello
from headgate.upstream.endpoint import MAX_DIALLING, Endpoint, TransportWaiter
from headgate.upstream.health import CONNECT_FAILED, TIMED_OUT
from headgate.upstream.retries import CONNECT

HELLO: Final = 0
WAITING: Final = 1
DIALLING: Final = 2
RELAYING: Final = 3
OVER: Final = 4

# Reasons of failed dials that are no fault of the endpoint's.
_OURS: Final = frozenset(("descriptors", "internal"))
_NOBODY: Final[list[Endpoint]] = []


@final
class NoHttp(Downstream):
    """Stands where the answers of an exchange go: there are none."""


_NO_HTTP: Final = NoHttp()


@final
class TcpProxy(Opener):
    """One listener's: `names` says where a server name leads, `route` where everybody goes without looking."""

    def __init__(
        self,
        poller: Poller,
        observer: DownstreamObserver,
        values: list[int],
        *,
        route: TcpRoute | None = None,
        names: ServerNames | None = None,
        hello_timeout: float = 10.0,
        idle: float = 3600.0,
    ) -> None:
        self.poller = poller
        self.observer = observer
        self.values = values
        self.route = route
        self.names = names
        self.hello_timeout = hello_timeout
        self.idle = idle

    def open(self, sock: socket.socket, context: ConnectionContext) -> Accepted:
        return TcpConnection(sock, self, context)


@final
class Passage(RelayOwner):
    """What a connection's relay tells, for the connection (compiled, a class has one base that is no trait)."""

    def __init__(self, connection: TcpConnection) -> None:
        self.connection = connection

    def relay_moved(self) -> None:
        self.connection.relay_moved()

    def relay_over(self, reason: str) -> None:
        self.connection.relay_over(reason)

    def relay_crashed(self, error: Exception) -> None:
        self.connection.relay_crashed(error)


@final
class TcpConnection(Accepted, HoldsBytes, TransportWaiter):
    """One connection. `early` is what the client sent before there was anybody to send it to."""

    def __init__(self, sock: socket.socket, proxy: TcpProxy, context: ConnectionContext) -> None:
        super().__init__(TcpTransport(sock), proxy.poller, context)
        self.proxy = proxy
        self.values = proxy.values
        self.phase: int = HELLO
        self.early = b""
        self.route: TcpRoute | None = None
        self.endpoint: Endpoint | None = None
        self.tried: list[Endpoint] = _NOBODY
        self.trial = 0  # what `Upstream.began` returned
        self.dials = 0
        self.relay: Relay | None = None
        request = Request(b"", b"", TCP, Fields([], []))
        self.exchange = Exchange(_NO_HTTP, context, request, proxy.poller.now)

    def __repr__(self) -> str:
        return f"<TcpConnection fd={self._fd} phase={self.phase}>"

    def start(self, *, secure: bool) -> None:
        route = self.proxy.route
        if route is None:
            self.deadline = self.poller.now + self.proxy.hello_timeout
            self.watch(READ)
        else:
            self.watch(0)
            self._lead(route)

    # -- the server name

    def on_readable(self) -> None:
        if self.phase != HELLO:
            self._end("hung-up")  # nobody asked for octets, so that there is nobody left
            return
        try:
            data = self.transport.read(MAX_HELLO_OCTETS + 1 - len(self.early))
            if data is None:
                return
            if not data:
                self._end("closed-in-handshake" if self.early else "")
                return
            self.early += data
            hello = read_hello(self.early)
        except TransportError as broken:  # compiled, a name has one type for all clauses
            self._end(broken.reason)
        except RemoteProtocolError as error:
            self.values[REFUSED_HELLO] += 1
            self._refuse(error.reason, error.detail)
        else:
            if hello is not None:
                self._named(hello.server_name)

    def _named(self, name: bytes) -> None:
        self.context.sni = name.lower()
        names = self.proxy.names
        route = names.find(name) if names is not None else None
        if route is not None:
            self._want(0)
            self._lead(route)
            return
        self.values[REFUSED_NAME] += 1
        try:
            self.transport.write(ALERT_UNRECOGNIZED_NAME)
            self.transport.shutdown()
        except TransportError:
            pass  # nobody is left to tell
        shown = name.decode("ascii", "backslashreplace")
        self._tell(
            "unknown-name", f"no route for {shown}" if name else "no server name, and no route without"
        )
        self._end("unknown-name")

    def _refuse(self, reason: str, detail: str) -> None:
        self._tell(reason, detail)
        self.transport.reset_on_close()
        self._end(reason)

    def _tell(self, reason: str, detail: str) -> None:
        self.proxy.observer.connection_failed(self.context, reason, detail)

    # -- an endpoint

    def _lead(self, route: TcpRoute) -> None:
        self.route = route
        self.phase = WAITING
        self.deadline = NEVER
        self.exchange.upstream = route.upstream.name
        self.exchange.route = route.name
        endpoint = route.upstream.pick(self.exchange, _NOBODY)
        if endpoint is not None:
            self._dial(route, endpoint)
        elif not route.upstream.wait(self.exchange, self):
            self._unavailable(f"{route.upstream.name}: no endpoint has room")

    def room_found(self, exchange: Exchange, endpoint: Endpoint) -> None:
        route = self.route
        if self.phase == WAITING and route is not None:
            self._dial(route, endpoint)

    def room_timeout(self, exchange: Exchange) -> None:
        if self.phase == WAITING:
            self._unavailable(f"{exchange.upstream}: no endpoint had room in time")

    def _unavailable(self, detail: str) -> None:
        self.values[TCP_UNAVAILABLE] += 1
        self._fail("unavailable", detail)

    def _dial(self, route: TcpRoute, endpoint: Endpoint) -> None:
        exchange = self.exchange
        exchange.endpoint = endpoint.url
        if endpoint.dialling >= MAX_DIALLING:
            self._unavailable(f"{endpoint.url}: {MAX_DIALLING} connections are being opened already")
            return
        self.phase = DIALLING
        self.trial = route.upstream.began(endpoint)
        self.endpoint = endpoint
        self.dials += 1
        exchange.upstream_started = self.poller.now
        endpoint.dial_transport(self)

    def dial_failed(self, reason: str, detail: str) -> None:
        route, endpoint = self.route, self.endpoint
        if self.phase != DIALLING or route is None or endpoint is None:
            return  # the client left meanwhile
        if reason not in _OURS:
            kind = TIMED_OUT if reason == "timeout" else CONNECT_FAILED
            endpoint.health.failed(self.poller.now, kind, self.trial)
        self._leave_endpoint()
        self.tried = [*self.tried, endpoint]
        exchange = self.exchange
        retries = route.upstream.retries
        other = None
        if self.dials < retries.attempts and retries.is_wanted(CONNECT):
            other = route.upstream.pick(exchange, self.tried)
        if other is not None:
            exchange.retries += 1
            self.values[RETRIED_FIRST + CONNECT] += 1
            exchange.detail = f"{endpoint.url}: {detail}; another endpoint was asked"
            self._dial(route, other)
            return
        self.values[TCP_UNREACHABLE] += 1
        self._fail("connect-timeout" if reason == "timeout" else "connect", detail)

    def _leave_endpoint(self) -> None:
        route, endpoint = self.route, self.endpoint
        self.endpoint = None
        if route is not None and endpoint is not None:
            route.upstream.ended(endpoint, self.trial)

    def _fail(self, reason: str, detail: str) -> None:
        """Nobody is there: a reset says more than an end, which could be a server's that has nothing to say."""
        self.exchange.detail = detail
        self.transport.reset_on_close()
        self._end(reason)

    # -- the relay

    def dialled(self, transport: Transport) -> None:
        endpoint = self.endpoint
        if self.phase != DIALLING or endpoint is None:
            transport.close()
            return
        exchange = self.exchange
        now = self.poller.now
        exchange.upstream_head = now
        endpoint.health.succeeded(now, now - exchange.upstream_started, 0, self.trial)
        self.phase = RELAYING
        values = self.values
        values[TCP_RELAYED] += 1
        values[TCP_OPEN] += 1
        values[UPSTREAM_OPEN] += 1
        client = RelayHalf(self.transport, self.poller, self)
        self.relay = Relay(client, RelayHalf(transport, self.poller), Passage(self), values)
        self.relay_moved()
        early, self.early = self.early, b""
        exchange.bytes_in = len(early)
        if endpoint.proxy_protocol:
            early = self.context.proxy_header(endpoint.proxy_protocol) + early
        values[DOWNSTREAM_READ] += exchange.bytes_in
        values[UPSTREAM_WRITTEN] += len(early)
        self.relay.begin(early)

    def relay_moved(self) -> None:
        """The silence begins anew."""
        self.deadline = self.poller.now + self.proxy.idle

    def relay_over(self, reason: str) -> None:
        """Nothing more is relayed; both sides are closed next."""
        self.phase = OVER
        self.values[TCP_OPEN] -= 1
        self.values[UPSTREAM_OPEN] -= 1
        exchange = self.exchange
        exchange.reason = reason
        relay = self.relay
        if relay is not None:
            exchange.bytes_in += relay.client.moved
            exchange.bytes_out = relay.origin.moved
        self._leave_endpoint()

    def relay_crashed(self, error: Exception) -> None:
        """A defect of ours."""
        self.proxy.observer.crashed("relay", error)

    def held_for_client(self) -> int:
        return self.relay.client.held if self.relay is not None else 0

    def held_for_origin(self) -> int:
        return self.relay.origin.held if self.relay is not None else 0

    def buffered(self) -> int:
        return len(self.early)

    # -- ends

    def on_writable(self) -> None:
        return

    def on_crash(self, error: Exception) -> None:
        self.proxy.observer.crashed("tcp", error)
        self._end("internal")

    def on_deadline(self, now: float) -> None:
        if self.phase == HELLO:
            self.values[TIMEOUT_HANDSHAKE] += 1
            self._refuse("handshake-timeout", f"no whole ClientHello after {self.proxy.hello_timeout:g} s")
        elif self.relay is not None:
            self.relay.close("idle-timeout")

    def _end(self, reason: str) -> None:
        self.exchange.reason = reason
        self.close()

    def drain(self) -> None:
        """Whoever has not said where to go is turned away; the others go on as long as the gate waits for them."""
        if self.phase == HELLO:
            self._end("drain")

    def close(self) -> None:
        if self.closed:
            return
        relay = self.relay
        if relay is not None and relay.open:
            relay.close("closed")  # which comes back here
            return
        said_nothing = self.phase == HELLO and not self.early
        if self.phase == WAITING and self.route is not None:
            self.route.upstream.leave(self.exchange)
        self.phase = OVER
        self._leave_endpoint()
        self.early = b""
        self.relay = None
        self.close_transport()
        observer = self.proxy.observer
        if not said_nothing:
            observer.exchange_over(self.exchange, self.poller.now)
        observer.connection_closed(self)
