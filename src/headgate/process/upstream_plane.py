"""From configuration to the upstreams of a worker: endpoints, how they are reached, and how one is picked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgate.clock import Clock
from headgate.config.kinds import format_address, parse_origin
from headgate.config.upstream import Endpoint as EndpointConfig
from headgate.config.upstream import Upstream as UpstreamConfig
from headgate.config.upstream_health import Health
from headgate.config.upstream_health import Outliers as OutlierConfig
from headgate.config.upstream_retries import STATUSES
from headgate.config.upstream_retries import Retries as RetriesConfig
from headgate.connection.context import PROXY_VERSIONS
from headgate.connection.quic_socket import Timers
from headgate.connection.stream_driver import NEVER
from headgate.net.dialer import Dialer
from headgate.net.fast_open import FastOpenMemory
from headgate.net.poller import Poller
from headgate.net.resolver import Resolver
from headgate.process.app_plan import plans_of_endpoint
from headgate.process.channel import Json
from headgate.process.sticky_key import sticky_key_of
from headgate.process.upstream_tls import client_tls
from headgate.tls.client import ClientTls
from headgate.tls.quic_client import QuicClientTls
from headgate.upstream.coalescing import Coalescer
from headgate.upstream.connector import DialingConnector
from headgate.upstream.endpoint import UNLIMITED, DefectSink, Endpoint
from headgate.upstream.fast_open import FastOpen
from headgate.upstream.h2_pool import H2Pool, Trust
from headgate.upstream.h2_pool import Place as SharedPlace
from headgate.upstream.h3_pool import H3Pool
from headgate.upstream.hash_key import CLIENT, COOKIE, HEADER, PATH, HashKey
from headgate.upstream.health import PENDING, UP, OutlierLimits, Tell
from headgate.upstream.names import Member, Names, Source
from headgate.upstream.outliers import OutlierRules, Outliers
from headgate.upstream.policies.first import First
from headgate.upstream.policies.least_requests import LeastRequests
from headgate.upstream.policies.policy import Policy
from headgate.upstream.policies.ring_hash import RingHash
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.policies.two_choices import TwoChoices
from headgate.upstream.pool import IdleTotal, Pool, PoolSettings
from headgate.upstream.queue import RoomQueue
from headgate.upstream.quic_connector import QuicConnector
from headgate.upstream.retries import WORDS, Retries
from headgate.upstream.sticky import Sticky
from headgate.upstream.upstream import Balance, Upstream


@dataclass(frozen=True, slots=True)
class UpstreamParts:
    """What the upstreams of a worker share. `crashed` hears of background work that ended with a defect."""

    resolver: Resolver
    dialer: Dialer
    poller: Poller
    values: list[int]
    clock: Clock
    event: Tell
    defect: DefectSink
    crashed: Callable[[str, BaseException], None]
    idle_total: IdleTotal
    runtime_dir: Path
    timers: Timers | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an endpoint is, and what it is called."""

    url: str
    scheme: str
    host: str
    port: int


class UpstreamBuilder:
    """Builds the upstreams of one worker; `files` is what the Snapshot says of them."""

    def __init__(self, parts: UpstreamParts, files: dict[str, Json]) -> None:
        self._parts = parts
        self._files = files
        self._fast_open_memory = FastOpenMemory()
        self._coalescer = Coalescer(parts.resolver)
        self.outliers: dict[str, Outliers] = {}  # the health of each upstream
        self.names: list[Names] = []  # of those with endpoints from DNS

    def build(self, name: str, table: UpstreamConfig) -> Upstream:
        """Return the upstream of this name."""
        parts = self._parts
        tls = client_tls(name, table, self._files, parts.clock)
        fast_open = None
        if table.tcp_fast_open:
            fast_open = FastOpen(parts.dialer, self._fast_open_memory, parts.values, parts.event)
        trust = _trust_of(table, tls)
        connector = DialingConnector(parts.dialer, tls, parts.crashed, parts.values, fast_open, trust)
        quic = self._quic_connector(tls) if "h3" in table.protocols and tls is not None else None
        group: list[Endpoint | Source] = []
        for item in table.endpoints:
            if item.resolve != "off":
                group.append(self._source(item, table, connector))
            else:
                places = self._places(name, table, item.url)
                group.extend([self._endpoint(place, item, table, connector, quic) for place in places])
        upstream = Upstream(
            name,
            [entry for entry in group if isinstance(entry, Endpoint)],
            _policy(table),
            head_timeout=table.head_timeout,
            body_idle=table.body_idle,
            try_timeout=table.try_timeout or NEVER,
            total_timeout=table.total_timeout or NEVER,
            retries=self._retries(table.retries),
            balance=self._balance(table),
            poller=self._parts.poller,
        )
        self.outliers[name] = self._outliers(upstream, table.outliers, table.probed)
        if any(isinstance(entry, Source) for entry in group):
            self.names.append(
                Names(
                    upstream,
                    group,
                    parts.resolver,
                    values=parts.values,
                    tell=parts.event,
                    defect=parts.defect,
                )
            )
        return upstream

    def _balance(self, table: UpstreamConfig) -> Balance:
        limited = table.max_requests or any(
            endpoint.max_requests or endpoint.resolve != "off" for endpoint in table.endpoints
        )
        return Balance(
            hash_key=_hash_key(table.hash_by) if table.balance == "ring-hash" else None,
            sticky=Sticky(table.sticky_cookie, sticky_key_of(self._files))
            if table.sticky_cookie is not None
            else None,
            queue=RoomQueue(self._parts.values, size=table.queue.size, timeout=table.queue.timeout)
            if limited and table.queue.size
            else None,
            slow_start=table.slow_start,
            panic=table.health.panic_threshold if table.health is not None else 0.0,
        )

    def _outliers(self, upstream: Upstream, table: OutlierConfig, probed: Health | None) -> Outliers:
        rules = OutlierRules(
            max_ejected=table.max_ejected,
            interval=table.interval,
            min_requests=table.min_requests,
            max_latency=table.max_latency,
            slower_than_others=table.slower_than_others,
        )
        parts = self._parts
        waits = probed is not None and probed.start == "wait-for-first-check"
        unknown = PENDING if waits else UP
        return Outliers(upstream, rules, parts.event, parts.values, parts.poller, unknown=unknown)

    def _places(self, name: str, table: UpstreamConfig, url: str) -> list[Place]:
        """Return where an endpoint of the configuration is: at one place, or in each process of an application."""
        plans = plans_of_endpoint(name, table, url, self._parts.runtime_dir)
        if plans:
            return [Place(plan.url, "http", f"unix:{plan.socket}", 0) for plan in plans]
        origin = parse_origin(url)
        if origin.path:
            return [Place(url, "http", f"unix:{origin.path}", 0)]
        return [Place(url, origin.scheme, origin.host, origin.port)]

    def _source(self, item: EndpointConfig, table: UpstreamConfig, connector: DialingConnector) -> Source:
        """Return the name that endpoints come from."""
        origin = parse_origin(item.url)
        is_srv = item.resolve == "srv"
        # RFC 6125 section 6.2.1: what was asked for is the name in the file; what DNS made of it proves nothing.
        name = _without_service(origin.host) if is_srv else origin.host

        def make(member: Member) -> Endpoint:
            place = Place(url_of(member), origin.scheme, member.host, member.port)
            return self._endpoint(place, item, table, connector, None, name)

        def url_of(member: Member) -> str:
            return f"{origin.scheme}://{format_address(member.host, member.port)}"

        return Source(origin.host, origin.port, is_srv, make, url_of, item.weight, item.backup)

    def _endpoint(
        self,
        place: Place,
        item: EndpointConfig,
        table: UpstreamConfig,
        connector: DialingConnector,
        quic: QuicConnector | None,
        name: str = "",
    ) -> Endpoint:
        parts = self._parts
        only_h2 = table.protocols == ("h2",)
        return Endpoint(
            place.url,
            place.scheme,
            place.host,
            place.port,
            poller=parts.poller,
            connector=connector,
            values=parts.values,
            defect=parts.defect,
            name=name,
            weight=item.weight,
            is_backup=item.backup,
            max_requests=(table.max_requests if item.max_requests is None else item.max_requests)
            or UNLIMITED,
            connect_timeout=min(table.connect_timeout, table.try_timeout or NEVER),
            pool=self._pool(table),
            tell=parts.event,
            h2=self._h2_pool(place, table, connector.place_of(name or place.host, place.port)),
            h3=self._h3_pool(place.url, place.host, place.port, quic, table),
            timers=parts.timers,
            outliers=_outlier_limits(table.outliers),
            early=connector.early if place.scheme == "http" and place.port and not only_h2 else None,
            old=connector.only_h1() if place.scheme == "https" and "h2" in table.protocols else None,
            introducer=connector if table.proxy_protocol != "off" else None,
            proxy_protocol=PROXY_VERSIONS[table.proxy_protocol],
        )

    def _retries(self, table: RetriesConfig) -> Retries:
        return Retries(
            attempts=table.attempts,
            on=frozenset(WORDS[word] for word in table.on if word in WORDS),
            statuses=frozenset(int(word) for word in table.on if word in STATUSES),
            share=table.budget,
            floor=table.budget_floor.per_second,
            now=self._parts.poller.now,
        )

    def _pool(self, table: UpstreamConfig) -> Pool:
        settings = PoolSettings(
            idle_timeout=table.idle_timeout,
            max_idle=table.pool.max_idle,
            max_age=table.pool.max_age,
            spare=table.pool.prewarm,
        )
        return Pool(settings, self._parts.poller, self._parts.values, self._parts.idle_total)

    # -- how they are reached

    def _quic_connector(self, tls: ClientTls) -> QuicConnector:
        parts = self._parts
        return QuicConnector(
            parts.dialer, QuicClientTls(tls), parts.poller, parts.values, parts.clock, parts.crashed
        )

    def _h2_pool(self, place: Place, table: UpstreamConfig, shared: SharedPlace | None) -> H2Pool | None:
        """Return the endpoint's pool of HTTP/2; without TLS that is spoken only where nothing else is."""
        is_only = "h1" not in table.protocols
        prior = place.scheme != "https"
        if "h2" not in table.protocols or (prior and not is_only):
            return None
        return H2Pool(
            place.url,
            place.host,
            is_only=is_only,
            prior=prior,
            coalescing=self._coalescer,
            max_age=table.pool.max_age,
            place=None if prior else shared,
            poller=self._parts.poller,
            values=self._parts.values,
            tell=self._parts.event,
            connect_timeout=min(table.connect_timeout, table.try_timeout or NEVER),
            idle_timeout=table.idle_timeout,
        )

    def _h3_pool(
        self, url: str, host: str, port: int, quic: QuicConnector | None, table: UpstreamConfig
    ) -> H3Pool | None:
        if quic is None:
            return None
        return H3Pool(
            url,
            host,
            port,
            is_only=table.protocols == ("h3",),
            connector=quic,
            poller=self._parts.poller,
            values=self._parts.values,
            tell=self._parts.event,
            connect_timeout=min(table.connect_timeout, table.try_timeout or NEVER),
            idle_timeout=table.idle_timeout,
        )


def _trust_of(table: UpstreamConfig, tls: ClientTls | None) -> Trust | None:
    """Return what must be equal for a connection to be shared; whoever does not verify shares none."""
    if tls is None or not tls.settings.verify or "h2" not in table.protocols:
        return None
    settings = tls.settings
    return Trust(
        settings.authorities,
        settings.identity.fingerprint if settings.identity is not None else "",
        table.tls.staple,
        settings.min_version,
    )


def _outlier_limits(table: OutlierConfig) -> OutlierLimits:
    return OutlierLimits(
        server_errors=table.consecutive_5xx,
        failures=table.consecutive_failures,
        ejection=table.ejection,
        max_ejection=table.max_ejection,
        trials=table.trials,
    )


def _policy(table: UpstreamConfig) -> Policy:
    if table.balance == "round-robin":
        return RoundRobin(random.random())
    if table.balance == "least-requests":
        return LeastRequests(random.random())
    if table.balance == "ring-hash":
        return RingHash()
    if table.balance == "first":
        return First()
    return TwoChoices(random.random)


def _hash_key(text: str) -> HashKey:
    kind, _, name = text.partition(":")
    return HashKey({"client": CLIENT, "path": PATH, "header": HEADER, "cookie": COOKIE}[kind], name.encode())


def _without_service(host: str) -> str:
    """Return "api.internal" of "_http._tcp.api.internal"."""
    labels = host.split(".")
    while len(labels) > 1 and labels[0].startswith("_"):
        labels.pop(0)
    return ".".join(labels)
