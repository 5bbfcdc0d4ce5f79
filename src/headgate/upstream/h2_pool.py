"""HTTP/2 towards one endpoint: its connections, whether it is spoken at all, and whose connections may be shared.

Over TLS the origin picks in ALPN (RFC 9113 section 3.2), in the clear it must be known before (section 3.3). One
that picks HTTP/1.1 is remembered as `is_plain`: who wants a connection then dials one of his own, which offers both
again, and does not queue for a lane; the first of those that ends up with HTTP/2 is taken in by `adopt`.

    wait -> one dial -> ALPN h2 -> SETTINGS -> connection -> lanes
                  \\-> http/1.1: kept by the endpoint; all who wait dial for themselves

An origin that wants a request by HTTP/1.1 (HTTP_1_1_REQUIRED) is left alone with HTTP/2 for five minutes.

Shared with others (RFC 9113 section 9.1.1): before a dial, `Coalescing` is asked for a connection of another endpoint
that may carry this one's name as well. After a 421 on one of those the endpoint keeps to itself. What is under way
on it then goes on, and has its deadlines here (`left`); the connection itself is swept by the pool that dialled it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

from mypy_extensions import trait

from headgate.connection.h2_upstream import H2Upstream
from headgate.connection.upstream_stream import SharedConnection, UpstreamStream
from headgate.counters import UPSTREAM_H2_COALESCED, UPSTREAM_H2_MISDIRECTED, UPSTREAM_H2_PLAIN
from headgate.engine.h2.base import MAX_AGE_SECONDS
from headgate.errors import HeadgateError
from headgate.net.poller import Poller
from headgate.net.transport import Transport
from headgate.upstream.health import Tell
from headgate.upstream.lane_pool import LanePool

H2_ALPN: Final = b"h2"
# Why there is no lane: the origin speaks HTTP/1.1, and whoever waits may dial that.
PLAIN: Final = "plain"
# As long as an origin that wanted HTTP/1.1 gets nothing else; somebody may have mended it then.
H1_SECONDS: Final = 300.0
# The head of a response; as towards origins of HTTP/1.1.
RESPONSE_SECTION: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Trust:
    """What an endpoint's TLS rests on: two that are equal may use one connection. `name` is not compared: it is what
    the certificate must be for."""

    authorities: bytes
    identity: str  # the fingerprint of our certificate, "" for none
    staple: str
    min_version: str


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint, as it may share: its port, the name that its certificate must have, and its trust."""

    port: int
    name: str
    trust: Trust


@trait
class H2Host:
    """The endpoint, as its pool knows it."""

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        raise NotImplementedError

    def open_transport(self) -> Coroutine[Any, Any, Transport]:
        """Return a connected transport. Raises `DialError` or `TransportError` within the endpoint's timeout."""
        raise NotImplementedError

    def keep_plain(self, transport: Transport) -> None:
        """Keep a connection whose origin picked HTTP/1.1."""
        raise NotImplementedError


class Coalescing(Protocol):
    """Which connections of this worker another endpoint may use as well."""

    def find(self, pool: H2Pool) -> Coroutine[Any, Any, H2Upstream | None]:
        """Return a connection with room that may carry the endpoint's name, None when there is none."""
        ...

    def add(self, pool: H2Pool, driver: H2Upstream) -> None:
        """A connection was opened."""
        ...

    def remove(self, driver: H2Upstream) -> None:
        """It is over."""
        ...


@final
class H2Pool(LanePool):
    """What one worker knows of one endpoint's HTTP/2. `prior`: spoken without ALPN."""

    def __init__(
        self,
        url: str,
        host: str,
        *,
        is_only: bool,
        prior: bool,
        poller: Poller,
        values: list[int],
        tell: Tell,
        connect_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        coalescing: Coalescing | None = None,
        place: Place | None = None,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        super().__init__(
            url,
            host,
            is_only=is_only,
            poller=poller,
            values=values,
            tell=tell,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
        )
        self.prior = prior
        self.max_age = max_age
        self.is_plain = False
        self.h1_until = 0.0
        self.allows_connect = False  # what the last SETTINGS said of extended CONNECT
        self.is_alone = False  # after a 421
        self.host_endpoint: H2Host | None = None
        self.coalescing = coalescing if place is not None else None
        self.place = place  # None: it shares with nobody
        self.left: list[H2Upstream] = []  # of others, with lanes of ours under way, and asked nothing more
        self._opening: list[H2Upstream] = []  # whose SETTINGS have not come yet

    def __repr__(self) -> str:
        state = "plain" if self.is_plain else f"{len(self.connections)} connections"
        return f"<H2Pool {self.url}: {state}, {len(self._waiters)} wait>"

    # -- whether it is spoken

    @property
    def is_wanted(self) -> bool:
        """Tell whether a new connection is to be asked of this pool."""
        return self.is_only or (not self.is_plain and self._poller.now >= self.h1_until)

    @property
    def is_shunned(self) -> bool:
        """Tell whether the origin has asked for HTTP/1.1 and not for HTTP/2 just now."""
        return not self.is_only and self._poller.now < self.h1_until

    def is_h2(self, transport: Transport) -> bool:
        """Tell whether HTTP/2 is spoken on a transport that is ready."""
        return self.prior or transport.alpn() == H2_ALPN

    def take_to_connect(self) -> UpstreamStream | None:
        """Return a lane on which an extended CONNECT is understood, None when there is none now."""
        for driver in self.connections:
            if isinstance(driver, H2Upstream) and driver.may_connect and driver.room_left() > 0:
                return driver.reserve(self)
        return None

    def warm(self) -> None:
        """Open a first connection for those who will come."""
        if not self.connections and not self._is_dialling:
            self._begin_dial()

    # -- dials

    def _may_dial(self) -> bool:
        return not self._opening and super()._may_dial()

    def _dial(self) -> None:
        host = self.host_endpoint
        if host is None:
            self._failed("internal", f"{self.url} has no endpoint")
            return
        host.begin(f"dial {self.url} for HTTP/2", self._connect(host))

    async def _connect(self, host: H2Host) -> None:
        try:
            if await self._share():
                return
            transport = await host.open_transport()
        except HeadgateError as error:
            self._failed(getattr(error, "reason", "connect"), str(error))
            return
        except Exception as defect:
            self._failed("internal", repr(defect))  # nobody waits for what will not come
            raise
        if self.is_h2(transport):
            self.adopt(transport)
        elif self.is_only:
            transport.close()
            picked = transport.alpn().decode("latin-1") or "nothing"
            self._failed("no-h2", f"{transport.peer or self.url}: of h2 alone the origin picked {picked}")
        else:
            self._found_plain(host, transport)

    def _found_plain(self, host: H2Host, transport: Transport) -> None:
        if not self.is_plain:
            self.is_plain = True
            self._values[UPSTREAM_H2_PLAIN] += 1
        host.keep_plain(transport)
        self._turn_all_down(PLAIN, f"{self.url}: the origin picked HTTP/1.1")

    def adopt(self, transport: Transport) -> None:
        """Take in a connection that HTTP/2 is spoken on: it is of use once the origin's SETTINGS have come."""
        self.is_plain = False
        scheme = b"http" if self.prior and not transport.alpn() else b"https"
        ready_by = self._poller.now + self.connect_timeout
        try:
            driver = H2Upstream(
                transport,
                self._poller,
                self,
                self._values,
                self.url,
                scheme,
                RESPONSE_SECTION,
                ready_by,
                self.max_age,
            )
        except OSError as refused:  # the kernel has no place for one more watch
            transport.close()
            self._failed("descriptors", f"{self.url}: {refused}")
            return
        self._opening.append(driver)
        driver.flush_soon()
        self._leave_opening()

    def connection_ready(self, driver: SharedConnection) -> None:
        if not isinstance(driver, H2Upstream):
            return
        self._opening.remove(driver)
        self.allows_connect = driver.may_connect
        if self.coalescing is not None:
            self.coalescing.add(self, driver)
        self._opened(driver)

    def connection_ended(self, driver: SharedConnection, reason: str, detail: str) -> None:
        if isinstance(driver, H2Upstream):
            if self.coalescing is not None and driver.pool is self:
                self.coalescing.remove(driver)
            if driver in self.left:
                self.left.remove(driver)
            if driver in self._opening:
                self._opening.remove(driver)
                self._failed(reason or "closed", detail)
                return
        super().connection_ended(driver, reason, detail)

    def room_changed(self, driver: SharedConnection) -> None:
        if isinstance(driver, H2Upstream) and driver.wants_h1 and not self.is_only:
            self.h1_until = self._poller.now + H1_SECONDS
            driver.leave()
        super().room_changed(driver)

    # -- connections of others

    def owns(self, driver: SharedConnection) -> bool:
        return not isinstance(driver, H2Upstream) or driver.pool is self

    async def _share(self) -> bool:
        """Take a connection of another endpoint instead of dialling, if there is one for us."""
        if self.coalescing is None or self.is_alone or self.prior:
            return False
        driver = await self.coalescing.find(self)
        if driver is None or driver in self.connections or driver.room_left() <= 0:
            return False
        if driver in self.left:
            self.left.remove(driver)
        else:
            driver.guests.append(self)
        self._values[UPSTREAM_H2_COALESCED] += 1
        self._opened(driver)
        return True

    def misdirected(self, lane: UpstreamStream) -> bool:
        """Take note of a 421; tell whether it came on another endpoint's connection, so that one of our own may
        do better (RFC 9110 section 15.5.20)."""
        for driver in self.connections[:]:
            if not self.owns(driver) and lane in driver.carried():
                self._values[UPSTREAM_H2_MISDIRECTED] += 1
                self.is_alone = True
                self._let_go_of_others()
                return True
        return False

    def _let_go_of_others(self) -> None:
        """Ask nothing more of them; what is under way there is still ours."""
        for driver in self.connections[:]:
            if isinstance(driver, H2Upstream) and driver.pool is not self:
                self.connections.remove(driver)
                self.left.append(driver)

    def _forget_left(self) -> None:
        """Let those go on which nothing of ours is under way any more."""
        for driver in self.left[:]:
            if driver.reserved == 0 and all(lane.owner is not self for lane in driver.carried()):
                self.left.remove(driver)
                driver.guests.remove(self)

    # -- time, and the end

    def lanes(self) -> list[UpstreamStream]:
        lanes = super().lanes()
        for driver in self.left:
            lanes += driver.carried()
        return [lane for lane in lanes if lane.owner is self]

    @property
    def is_over(self) -> bool:
        return super().is_over and not self._opening and not self.left

    def sweep(self, now: float) -> int:
        self._forget_left()
        for driver in self._opening[:]:
            driver.sweep()
        return super().sweep(now)

    def turn_away(self) -> None:
        self._let_go_of_others()
        super().turn_away()

    def close(self) -> None:
        super().close()
        self._leave_opening()

    def _leave_opening(self) -> None:
        """Wait for no SETTINGS that nobody waits for: who has no group is not swept for ever."""
        if self.is_closed and not self._waiters:
            for driver in self._opening[:]:
                driver.leave()
