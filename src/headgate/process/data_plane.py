"""From a Snapshot to the objects of a worker's data plane: routes, upstreams, listeners and what they share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from headgate.cache.claims import Claims
from headgate.cache.policy import Policy
from headgate.clock import Clock
from headgate.config.kinds import format_address
from headgate.config.listener import Listener as ListenerConfig
from headgate.config.model import Config
from headgate.config.route import Route as RouteConfig
from headgate.config.routing import Routers, build_route
from headgate.config.upstream import Upstream as UpstreamConfig
from headgate.connection.accepted import Opener
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Handler
from headgate.connection.quic_socket import Timers
from headgate.connection.settings import ConnectionSettings
from headgate.counters import Counters
from headgate.engine.h2.settings import H2Settings
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.http.target import ALLOW_BACKSLASH, ALLOW_ENCODED_SLASH, STRICT
from headgate.net.dialer import Dialer
from headgate.net.poller import Poller
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.pipeline.route import Route, Router
from headgate.process.app_plan import spec_of
from headgate.process.cache_plane import build_cache, is_cached, route_policy, share_moments
from headgate.process.channel import Json
from headgate.process.forward_plane import ForwardPlane
from headgate.process.peer_plane import PeerPlane
from headgate.process.tcp_plane import build_tcp
from headgate.process.upstream_plane import UpstreamBuilder, UpstreamParts
from headgate.proxy.cached import CacheHandler
from headgate.proxy.dispatch import Dispatcher, HostPolicy
from headgate.proxy.fixed import HttpsRedirectHandler, RedirectHandler, RespondHandler
from headgate.proxy.reverse import ReverseProxy
from headgate.proxy.slices import SliceHandler
from headgate.server.limits import ConnectionLimits
from headgate.server.listener import Listener
from headgate.server.observer import Observer
from headgate.tasks import spawn
from headgate.tls.context import ServerTls
from headgate.upstream.checks import Verdict
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.pool import IdleTotal

if TYPE_CHECKING:
    from headgate.process.worker_app import WorkerApp

_ALLOW: Final = {"encoded-slash": ALLOW_ENCODED_SLASH, "backslash": ALLOW_BACKSLASH}
# A tunnel without a byte in either direction for this long is over; WebSocket pings come every 20 to 60 s.
TUNNEL_IDLE: Final = 3600.0
# Of a client's HTTP/2 connection, at most: what slow origins make us hold (HAProxy 1600 kB).
H2_CONNECTION_WINDOW: Final = 1536 * 1024
# Of listeners that never have a request.
_NO_HTTP: Final = Handler()


class CoveredHosts(HostPolicy):
    """A TLS connection is good for the name it was made for, and for what the listener's certificates cover.

    Who asks for anything else gets 421 (RFC 9110 section 15.5.20) and comes again with another handshake. A client
    that sent no name (probes by address) is not held to one.
    """

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls

    def allows(self, context: ConnectionContext, host: bytes) -> bool:
        return not context.sni or host == context.sni or self._tls.covers(host)


class DataPlane:
    """Everything that one worker serves with. Certificates change within it, the rest only with the worker."""

    def __init__(
        self,
        config: Config,
        counters: Counters,
        observer: Observer,
        clock: Clock,
        upstreams: dict[str, Json],
        timers: Timers | None = None,
    ) -> None:
        """Build routes and upstreams, which the loader has tried; `upstreams` is the Snapshot's. Raises
        `HeadgateError`."""
        self.config = config
        self.counters = counters
        self.observer = observer
        self.clock = clock
        self.timers = timers  # the event loop
        self.poller = Poller()
        names = config.resolver
        self.resolver = Resolver(
            ResolverSettings(nameservers=names.nameservers, system=names.system), counters=counters
        )
        self.dialer = Dialer(self.resolver, counters=counters, prefer=names.prefer)
        self.listeners: list[Listener] = []
        parts = UpstreamParts(
            resolver=self.resolver,
            dialer=self.dialer,
            poller=self.poller,
            values=counters.values,
            clock=clock,
            event=observer.event,
            defect=observer.crashed,
            crashed=self.crashed,
            idle_total=IdleTotal(config.limits.idle_connections),
            runtime_dir=config.runtime_dir,
            timers=timers,
        )
        builder = UpstreamBuilder(parts, upstreams)
        self.forward = ForwardPlane(config, parts, builder)
        self.apps: dict[str, WorkerApp] = {}
        self.upstreams = {}
        for name, table in config.upstream.items():
            if table.asgi.in_worker:
                self.apps[name] = self._worker_app(name, table)
            else:
                self.upstreams[name] = builder.build(name, table)
        self.outliers = builder.outliers
        self.names = builder.names
        self.cache_policies: list[Policy] = []
        self.cached: list[tuple[CacheHandler, RouteConfig]] = []  # of each route with a cache
        self.peers: PeerPlane | None = None  # the other workers
        self.cache = build_cache(config, counters.values, observer.event)
        self.routers = Routers(config, [self._route(table) for table in config.route])
        self.forwarder = Forwarder(Networks(config.trusted_proxies))
        self._limits: dict[int, ConnectionLimits] = {}
        self._handlers: dict[int, Handler] = {}

    def __repr__(self) -> str:
        return f"<DataPlane {len(self.listeners)} listeners, {len(self.upstreams)} upstreams>"

    @property
    def endpoints(self) -> list[Endpoint]:
        """All endpoints of all upstreams; for the sweep of deadlines."""
        upstreams = self.upstreams.values()
        endpoints = [one for upstream in upstreams for one in (*upstream.endpoints, *upstream.leaving)]
        others = self.peers.peers.endpoints() if self.peers is not None else []
        return [*endpoints, *self.forward.endpoints(), *others]

    def crashed(self, name: str, error: BaseException) -> None:
        self.observer.crashed(name, error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _worker_app(self, name: str, table: UpstreamConfig) -> WorkerApp:
        from headgate.process.worker_app import WorkerApp  # noqa: PLC0415  # gates without applications spare it

        spec = spec_of(name, table, table.endpoints[0].url)
        return WorkerApp(spec, self.poller, self.counters.values, self.observer.event)

    # -- health

    def take_verdicts(self, name: str, verdicts: Mapping[str, Verdict | None]) -> None:
        """Take what probes found out of the endpoints of an upstream."""
        outliers = self.outliers.get(name)
        if outliers is None:
            return
        outliers.judge(
            {url: None if found is None else (found.verdict, found.why) for url, found in verdicts.items()},
            self.poller.now,
        )

    # -- routes

    def _route(self, table: RouteConfig) -> Route:
        route = build_route(table)
        handler = self._handler(route)
        if self.cache is not None and is_cached(self.config, table):
            policy = route_policy(self.config, table, route.name)
            self.cache_policies.append(policy)
            cached = CacheHandler(self.cache, policy, handler, self.poller)
            self.cached.append((cached, table))
            handler = SliceHandler(cached) if policy.slice_size else cached
        route.handler = handler
        return route

    def _handler(self, route: Route) -> Handler:
        if route.redirect is not None:
            return RedirectHandler(route.redirect, route.response_edits)
        if route.respond is not None:
            return RespondHandler(route.respond, route.response_edits)
        app = self.apps.get(route.upstream)
        if app is not None:
            return app.handler(route.response_edits)
        upstream = self.upstreams[route.upstream]
        return ReverseProxy(
            upstream,
            self.poller,
            self.counters.values,
            route.response_edits,
            TUNNEL_IDLE,
            request_edits=route.request_edits,
        )

    # -- listeners

    def limits_of(self, index: int) -> ConnectionLimits:
        """Return the limits of one listener: the same object for all its sockets, of TCP and UDP."""
        limits = self._limits.get(index)
        if limits is None:
            limits = self._limits[index] = _limits_of(self.config.listener[index], self.counters.values)
        return limits

    def settings_of(self, index: int) -> ConnectionSettings:
        """Return what one listener asks of its connections."""
        return _settings_of(self.config.listener[index])

    def handler_of(self, index: int, tls: ServerTls | None) -> Handler:
        """Return what answers the requests of one listener."""
        handler = self._handlers.get(index)
        if handler is None:
            handler = self._handlers[index] = self._dispatcher(index, tls)
        return handler

    def _dispatcher(self, index: int, tls: ServerTls | None) -> Handler:
        table = self.config.listener[index]
        if table.mode == "forward":
            return self.forward.handler(index)
        values = self.counters.values
        allow = STRICT
        for word in table.allow_in_path:
            allow |= _ALLOW[word]
        if table.redirect:
            return HttpsRedirectHandler(self._https_targets(index), values, allow)
        router = self.routers.of(index)
        return Dispatcher(router, values, CoveredHosts(tls) if tls is not None else None, allow)

    def add_listener(self, index: int, sock: socket.socket, tls: ServerTls | None) -> Listener:
        """Build one listener on a bound socket; it accepts only once it is started."""
        host, port = sock.getsockname()[:2]
        table = self.config.listener[index]
        if table.mode in ("forward", "tcp"):
            self.forward.own.add(host, port)
        passes_on = table.mode == "tcp"
        listener = Listener(
            format_address(host, port),
            sock,
            poller=self.poller,
            handler=_NO_HTTP if passes_on else self.handler_of(index, tls),
            observer=self.observer,
            settings=self.settings_of(index),
            limits=self.limits_of(index),
            forwarder=self.forwarder,
            values=self.counters.values,
            secure=tls.accept if tls is not None else None,
            opener=self._tcp(index) if passes_on else None,
            proxies=Networks(table.proxy_protocol_from) if table.proxy_protocol == "accept" else None,
            h1="h1" in table.offered,
            h2=_h2_settings_of(table) if "h2" in table.offered else None,
        )
        self.listeners.append(listener)
        return listener

    def join_peers(self, slot: int, workers: int, claims: Claims | None) -> None:
        """Let this worker, which has that slot, and the others tell one another what is old, and ask what they see
        to."""
        if self.cache is not None and workers > 1:
            share_moments(self.cache, self.config, self.observer.event)
        # Who did not hear of unsafe requests would give others what these know to be old.
        if claims is None or self.cache is None or self.cache.moments is None:
            return
        claims.belong(slot)
        self.cache.store.claims = claims
        self.peers = PeerPlane(self, slot, workers, claims)

    def _tcp(self, index: int) -> Opener:
        values = self.counters.values
        return build_tcp(self.config, index, self.upstreams, self.poller, self.observer, values)

    def watch_names(self) -> list[asyncio.Task[None]]:
        """Begin to ask for the endpoints that come from DNS; cancel these tasks at the end."""
        return [spawn(name, watch, self.crashed) for names in self.names for name, watch in names.watches()]

    def announce(self, address: str, alt_svc: bytes) -> None:
        """Tell the clients of the listener at an address, host and port, where HTTP/3 is (RFC 7838)."""
        for listener in self.listeners:
            if listener.name == address:
                listener.alt_svc = alt_svc

    def _https_targets(self, redirecting: int) -> list[tuple[Router, int]]:
        """Where clients find https: router and port of every https listener. Without one, something in front of us
        speaks TLS, for the hosts of all listeners and on the usual port."""
        tables = list(enumerate(self.config.listener))
        places = [(i, table.public_port) for i, table in tables if table.mode == "https"]
        if not places:
            serving = [i for i, table in tables if table.mode in ("http", "https") and not table.redirect]
            places = [(i, 443) for i in serving or [redirecting]]
        return [(self.routers.of(index), port) for index, port in places]

    @property
    def open_connections(self) -> int:
        """Downstream connections that are open now."""
        return sum(len(listener.connections) for listener in self.listeners)

    def drain(self) -> None:
        """Accept no more; idle connections end now, busy ones with their answer."""
        for listener in self.listeners:
            listener.close()
            for connection in list(listener.connections):
                connection.drain()

    def close(self) -> None:
        """End everything at once."""
        for listener in self.listeners:
            listener.close()
            for connection in list(listener.connections):
                connection.close()
        for endpoint in self.endpoints:
            endpoint.close()
        self.forward.close()
        if self.peers is not None:
            self.peers.peers.close()
        if self.cache is not None:
            self.cache.close()


def _limits_of(table: ListenerConfig, values: list[int]) -> ConnectionLimits:
    limits = table.limits
    return ConnectionLimits(
        values,
        limits.connections,
        limits.per_client,
        limits.connection_rate.per_second,
        limits.all_connection_rate.per_second,
    )


def _h2_settings_of(table: ListenerConfig) -> H2Settings:
    return H2Settings(
        max_streams=table.http2.requests,
        max_section=table.limits.head,
        connection_window_limit=H2_CONNECTION_WINDOW,
        connect_protocol=True,
    )


def _settings_of(table: ListenerConfig) -> ConnectionSettings:
    timeouts = table.timeouts
    return ConnectionSettings(
        handshake=timeouts.handshake,
        head=timeouts.head,
        body_idle=timeouts.body_idle,
        write_idle=timeouts.write_idle,
        keep_alive=timeouts.keep_alive,
        max_head=table.limits.head,
        max_body=table.limits.body,
    )
