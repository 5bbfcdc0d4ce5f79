"""From configuration to the forward listeners of a worker: guards, users, destinations, parents."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headgate.config.kinds import format_address, parse_address
from headgate.config.listener_forward import ListenerForward, parse_ports
from headgate.config.model import Config
from headgate.config.upstream import Endpoint as EndpointConfig
from headgate.config.upstream import Upstream as UpstreamConfig
from headgate.http.networks import Networks
from headgate.pipeline.matchers import HostPatterns
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.process.channel import Json
from headgate.process.upstream_plane import UpstreamBuilder, UpstreamParts
from headgate.process.user_files import users_of
from headgate.proxy.authentication import CHECK_THREADS, Authenticator, Users
from headgate.proxy.connect import ConnectProxy, Parents, TunnelCounts
from headgate.proxy.destinations import Destination, DestinationMaker, Destinations
from headgate.proxy.forward import DirectProxy, FallBack, ForwardProxy
from headgate.proxy.guard import Guard, OwnAddresses
from headgate.proxy.guarded import GuardedConnector
from headgate.proxy.reverse import ReverseProxy
from headgate.tasks import Failure, spawn
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.pool import Pool, PoolSettings
from headgate.upstream.upstream import Upstream


class ThreadChecker:
    """Checks passwords in a few threads of this worker, which begin with the first one."""

    def __init__(self, failed: Failure) -> None:
        self._failed = failed
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background; what it raises is a defect and is told."""
        spawn(name, work, self._failed)

    async def check(self, users: Users, user: bytes, password: bytes) -> bool:
        """Call `users.verify` in a thread."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="password")
        return await asyncio.get_running_loop().run_in_executor(self._threads, users.verify, user, password)

    def close(self) -> None:
        """Let go of the threads, and of what waits for one."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


class Origins(DestinationMaker):
    """Makes the destinations of one listener."""

    def __init__(self, parts: UpstreamParts, connector: GuardedConnector, table: ListenerForward) -> None:
        self._parts = parts
        self._connector = connector
        self._table = table

    def make(self, host: str, port: int) -> Destination:
        """Return an upstream of one endpoint, and the reverse proxy of it."""
        parts, table = self._parts, self._table
        settings = PoolSettings(idle_timeout=table.idle_timeout)
        endpoint = Endpoint(
            f"http://{format_address(host, port)}",
            "http",
            host,
            port,
            poller=parts.poller,
            connector=self._connector,
            values=parts.values,
            defect=parts.defect,
            connect_timeout=table.connect_timeout,
            pool=Pool(settings, parts.poller, parts.values, parts.idle_total),
            tell=parts.event,
            timers=parts.timers,
        )
        upstream = Upstream(
            "", [endpoint], RoundRobin(0.0), head_timeout=table.head_timeout, body_idle=table.body_idle
        )
        return Destination(endpoint, reverse_proxy(parts, upstream, table))


def reverse_proxy(parts: UpstreamParts, upstream: Upstream, table: ListenerForward) -> ReverseProxy:
    """Return what talks to an upstream on behalf of a forward listener: no edits of its own."""
    return ReverseProxy(upstream, parts.poller, parts.values, FieldEdits(), table.tunnel_idle)


class ForwardPlane:
    """All forward listeners of one worker."""

    def __init__(self, config: Config, parts: UpstreamParts, builder: UpstreamBuilder) -> None:
        self._config = config
        self._parts = parts
        self._builder = builder
        self._users: dict[int, Users] = {}
        self._authenticators: dict[int, Authenticator] = {}
        self._destinations: list[Destinations] = []
        self._parents: list[Upstream] = []
        self._checker = ThreadChecker(parts.crashed)
        self.own = OwnAddresses()
        if config.metrics is not None:
            self.own.add(*parse_address(config.metrics.address))

    def __repr__(self) -> str:
        return f"<ForwardPlane {len(self._destinations)} listeners>"

    def handler(self, index: int) -> ForwardProxy:
        """Build what answers the requests of one listener; its users are known already."""
        parts = self._parts
        table = self._config.listener[index].forward
        guard = Guard(
            [parse_ports(text) for text in table.connect_ports],
            [parse_ports(text) for text in table.plain_ports],
            allow_hosts=table.allow_hosts,
            deny_hosts=table.deny_hosts,
            allow_networks=table.allow_networks,
            own=self.own,
        )
        connector = GuardedConnector(parts.dialer, guard, table.connect_timeout, parts.crashed)
        destinations = Destinations(
            Origins(parts, connector, table), parts.values, table.destinations, table.idle_timeout
        )
        self._destinations.append(destinations)
        direct = DirectProxy(destinations, parts.poller, parts.values)
        parents = self._parents_of(index, table)
        counts = TunnelCounts(table.tunnels_per_client, table.tunnels_per_user)
        return ForwardProxy(
            guard,
            Networks(table.clients),
            direct,
            ConnectProxy(connector, parts.poller, parts.values, counts, table.tunnel_idle, parents),
            parts.values,
            authenticator=self._authenticator(index, table),
            realm=table.realm.encode(),
            parents=parents,
            parent_proxy=self._parent_proxy(parents, table, direct),
        )

    def _authenticator(self, index: int, table: ListenerForward) -> Authenticator | None:
        if table.users is None:
            return None
        authenticator = Authenticator(self._users[index], self._checker, self._parts.values)
        self._authenticators[index] = authenticator
        return authenticator

    def _parents_of(self, index: int, table: ListenerForward) -> Parents | None:
        if not table.parents:
            return None
        group = UpstreamConfig(
            endpoints=tuple(EndpointConfig(url=url) for url in table.parents), balance="first"
        )
        times = ("connect_timeout", "head_timeout", "body_idle", "idle_timeout")
        group = group.model_copy(update={name: getattr(table, name) for name in times})
        upstream = self._builder.build(f"{self._config.listener[index].label} parents", group)
        self._parents.append(upstream)
        credentials = b""
        if table.parent_credentials is not None:
            credentials = b"Basic " + base64.b64encode(table.parent_credentials.encode())
        return Parents(upstream, credentials, HostPatterns(table.bypass), table.direct)

    def _parent_proxy(
        self, parents: Parents | None, table: ListenerForward, direct: DirectProxy
    ) -> ReverseProxy | None:
        if parents is None:
            return None
        proxy = reverse_proxy(self._parts, parents.upstream, table)
        if parents.direct:
            proxy.otherwise = FallBack(direct)
        return proxy

    # -- while it runs

    def take_users(self, users: dict[str, Json]) -> None:
        """Take up the users of a Snapshot; who was remembered is asked again where they are others."""
        for index, table in enumerate(self._config.listener):
            if table.mode != "forward" or table.forward.users is None:
                continue
            found = users_of(users, index)
            if found is None or found == self._users.get(index):
                continue
            self._users[index] = found
            authenticator = self._authenticators.get(index)
            if authenticator is not None:
                authenticator.set_users(found)

    def endpoints(self) -> list[Endpoint]:
        """Return all endpoints, for the sweep of deadlines."""
        return [
            *(endpoint for destinations in self._destinations for endpoint in destinations.endpoints()),
            *(endpoint for upstream in self._parents for endpoint in upstream.endpoints),
        ]

    def sweep(self, now: float) -> None:
        """Forget destinations that nobody asks for any more."""
        for destinations in self._destinations:
            destinations.sweep(now)

    def close(self) -> None:
        """End everything at once."""
        self._checker.close()
        for destinations in self._destinations:
            destinations.close()
