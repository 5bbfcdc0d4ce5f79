"""HTTP/3 towards one endpoint: whether it is offered, its QUIC connections, and who waits for room on one.

Offered. With prior knowledge (`is_only`) always; else while an Alt-Svc of the origin holds (RFC 7838), for the same
host only: whoever may say that another host answers for this one could send everybody's requests there. What fails
marks the endpoint as broken, for `BROKEN_SECONDS` at first and twice as long each time after; then TCP alone is used.

    learn(Alt-Svc) -> offered -> take / wait -> one dial at a time -> connections -> lanes
                         ^           failed: broken until ... ------'

One dial serves all who wait; more connections are opened only when those that there are have no room for another
stream. A connection without a lane ends after `idle_timeout`, like one of HTTP/1.1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from mypy_extensions import trait

from headgate.connection.quic_counts import count_origin
from headgate.connection.quic_upstream import SILENT, Lane, QuicUpstream, QuicUpstreamOwner
from headgate.connection.upstream_stream import UpstreamStream
from headgate.counters import UPSTREAM_H3_BROKEN
from headgate.engine.h3.errors import H3_NO_ERROR
from headgate.errors import HeadgateError
from headgate.http.alt_svc import parse_alt_svc
from headgate.http.fields import ALT_SVC, Fields
from headgate.net.poller import Poller
from headgate.upstream.health import Tell

# QUIC connections to one endpoint from one worker; each carries a hundred requests or more (RFC 9114 section 6.1).
MAX_H3_CONNECTIONS: Final = 64
# Chromium's five minutes, doubled for each failure in a row; after an hour somebody may have mended it.
BROKEN_SECONDS: Final = 300.0
MAX_BROKEN_SECONDS: Final = 3600.0


class H3Connector(Protocol):
    """Opens QUIC connections: resolve, race the addresses, handshake."""

    def connect(self, pool: H3Pool, port: int) -> Coroutine[Any, Any, QuicUpstream]:
        """Return a connection that takes requests. Raises `DialError` or `TransportError` within its time."""
        ...

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        ...

    def forget(self, driver: QuicUpstream) -> None:
        """A connection is over: keep what resumes its session."""
        ...


@trait
class LaneWaiter:
    """Who asked for a lane that is not there yet."""

    def lane_ready(self, lane: Lane) -> None:
        """Here it is."""
        raise NotImplementedError

    def lane_failed(self, reason: str, detail: str) -> None:
        """There will be none."""
        raise NotImplementedError


@final
class H3Pool(QuicUpstreamOwner):
    """What one worker knows of one endpoint's HTTP/3. `port` 0: not offered."""

    def __init__(
        self,
        url: str,
        host: str,
        port: int,
        *,
        is_only: bool,
        connector: H3Connector,
        poller: Poller,
        values: list[int],
        tell: Tell,
        connect_timeout: float = 5.0,
        idle_timeout: float = 60.0,
    ) -> None:
        self.url = url
        self.host = host
        self.is_only = is_only
        self.port = port if is_only else 0
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.connections: list[QuicUpstream] = []
        self.broken_until = 0.0
        self.token = b""  # what the origin gave for the next connection (RFC 9000 section 8.1.3)
        self._origin_port = port
        self._expires = 0.0
        self._failures = 0
        self._is_dialling = False
        self._waiters: deque[tuple[LaneWaiter, float]] = deque()
        self._connector = connector
        self._poller = poller
        self._values = values
        self._tell = tell

    def __repr__(self) -> str:
        state = f"offered on {self.port}" if self.port else "not offered"
        return f"<H3Pool {self.url}: {state}, {len(self.connections)} connections, {len(self._waiters)} wait>"

    # -- whether it is offered

    @property
    def is_wanted(self) -> bool:
        """Tell whether HTTP/3 is to be tried now."""
        if self.is_only:
            return True
        now = self._poller.now
        return self.port > 0 and now < self._expires and now >= self.broken_until

    def learn(self, fields: Fields) -> None:
        """Look at the Alt-Svc of a response (RFC 7838 section 3)."""
        if self.is_only or fields.flags & ALT_SVC == 0:
            return
        found = parse_alt_svc(fields.get_all(b"alt-svc"))
        if found is None:
            return
        host = self.host.encode("latin-1", "replace").lower()
        for alternative in found:
            own = alternative.host in (b"", host, b"[" + host + b"]")
            if alternative.protocol == b"h3" and own and alternative.max_age > 0:
                if alternative.port != self.port:
                    self._turn_away()
                self.port = alternative.port
                self._expires = self._poller.now + alternative.max_age
                return
        # Section 3: the field replaces all that was known.
        self.withdraw()

    def withdraw(self) -> None:
        """HTTP/3 is offered no more: what is under way ends in peace."""
        if not self.is_only:
            self.port = 0
            self._turn_away()

    def _turn_away(self) -> None:
        for driver in self.connections[:]:
            driver.leave()

    def _mark_broken(self, reason: str, detail: str) -> None:
        if self.is_only:
            return
        self._failures += 1
        seconds = min(BROKEN_SECONDS * 2 ** min(self._failures - 1, 10), MAX_BROKEN_SECONDS)
        self.broken_until = self._poller.now + seconds
        self._values[UPSTREAM_H3_BROKEN] += 1
        self._tell(
            "upstream-h3-broken",
            "warning",
            limit_key=self.url,
            endpoint=self.url,
            reason=reason,
            detail=detail,
            next=f"TCP only for {seconds:.0f} s",
        )

    # -- lanes

    def take(self) -> Lane | None:
        """Return a lane on a connection that is open, or None: then `wait`, or TCP."""
        for driver in self.connections:
            if driver.room > 0:
                return driver.reserve()
        return None

    def wait(self, waiter: LaneWaiter) -> None:
        """Let `waiter` have a lane as soon as there is one."""
        self._waiters.append((waiter, self._poller.now + self.connect_timeout))
        self._serve()

    def leave(self, waiter: LaneWaiter) -> None:
        """Want no lane any more."""
        for entry in self._waiters:
            if entry[0] is waiter:
                self._waiters.remove(entry)
                return

    def warm(self) -> None:
        """Open a first connection for those who will come, if HTTP/3 is offered."""
        if not self.connections and not self._is_dialling and self.is_wanted:
            self._dial()

    def _serve(self) -> None:
        """Give lanes to those who wait, and open a connection when there are too few."""
        while self._waiters:
            lane = self.take()
            if lane is None:
                if self._may_dial():
                    self._dial()
                return
            waiter, _ = self._waiters.popleft()
            waiter.lane_ready(lane)

    def _may_dial(self) -> bool:
        """Tell whether another connection would help: not while one takes no request at all yet."""
        if self._is_dialling or len(self.connections) >= MAX_H3_CONNECTIONS:
            return False
        return all(driver.lanes or driver.is_leaving for driver in self.connections)

    def _dial(self) -> None:
        self._is_dialling = True
        self._connector.begin(f"dial {self.url} over QUIC", self._connect())

    async def _connect(self) -> None:
        try:
            driver = await self._connector.connect(self, self.port or self._origin_port)
        except HeadgateError as error:
            self._failed(getattr(error, "reason", "connect"), str(error))
            return
        except Exception as defect:
            self._failed("internal", repr(defect))  # nobody waits for what will not come
            raise
        self._is_dialling = False
        self._failures = 0
        self.connections.append(driver)
        self._serve()

    def _failed(self, reason: str, detail: str) -> None:
        self._is_dialling = False
        self._mark_broken(reason, detail)
        waiters = self._waiters
        self._waiters = deque()
        for waiter, _ in waiters:
            waiter.lane_failed(reason, detail)

    # -- what connections report

    def connection_ready(self, driver: QuicUpstream) -> None:
        pass  # whoever dialled it was told

    def connection_ended(self, driver: QuicUpstream, reason: str, detail: str) -> None:
        if driver in self.connections:
            self.connections.remove(driver)
        self._connector.forget(driver)
        if reason == "quic-protocol" or (reason == SILENT and driver.lanes_at_end > 0):
            self._mark_broken(reason, detail)
        if self._waiters:
            self._serve()

    def room_changed(self, driver: QuicUpstream) -> None:
        if self._waiters:
            self._serve()

    def upstream_gone(self, connection: UpstreamStream) -> None:
        if self._waiters:
            self._serve()

    def crashed(self, where: str, error: Exception) -> None:
        self._tell("defect", "error", where=where, error=repr(error), next="closed; the rest goes on")

    # -- time, and the end

    def lanes(self) -> list[UpstreamStream]:
        """Return all lanes with a request, for the sweep."""
        return [lane for driver in self.connections for lane in driver.lanes.values()]

    def sweep(self, now: float) -> int:
        """End what is idle for too long and who waits for too long; return the bytes held for origins."""
        held = 0
        for driver in self.connections[:]:
            count_origin(driver, self._values)
            if not driver.lanes and not driver.reserved and now >= driver.idle_since + self.idle_timeout:
                driver.close(H3_NO_ERROR, "idle")
            held += driver.unwritten() + driver.quic.streams.sender.held
        while self._waiters and now >= self._waiters[0][1]:
            waiter, _ = self._waiters.popleft()
            waiter.lane_failed(
                "timeout", f"{self.url}: no room on any of {len(self.connections)} connections"
            )
        return held

    def close(self) -> None:
        """Close all connections that carry nothing; the others end with their last lane."""
        self._turn_away()
