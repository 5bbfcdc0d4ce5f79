"""HTTP/3 towards one endpoint: whether it is offered, and its QUIC connections (`lane_pool` hands out their lanes).

Offered. With prior knowledge (`is_only`) always; else while an Alt-Svc of the origin holds (RFC 7838), for the same
host only: whoever may say that another host answers for this one could send everybody's requests there. What fails
marks the endpoint as broken, for `BROKEN_SECONDS` at first and twice as long each time after; then TCP alone is used.

    learn(Alt-Svc) -> offered -> take / wait -> one dial at a time -> connections -> lanes
                         ^           failed: broken until ... ------'
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from headgate.connection.quic_upstream import QuicUpstream
from headgate.connection.upstream_stream import SILENT, SharedConnection
from headgate.counters import UPSTREAM_H3_BROKEN
from headgate.errors import HeadgateError
from headgate.http.alt_svc import parse_alt_svc
from headgate.http.fields import ALT_SVC, Fields
from headgate.net.poller import Poller
from headgate.upstream.health import Tell
from headgate.upstream.lane_pool import LanePool

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


@final
class H3Pool(LanePool):
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
        self.port = port if is_only else 0
        self.broken_until = 0.0
        self.token = b""  # what the origin gave for the next connection (RFC 9000 section 8.1.3)
        self._origin_port = port
        self._expires = 0.0
        self._failures = 0
        self._connector = connector

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
                    self.turn_away()
                self.port = alternative.port
                self._expires = self._poller.now + alternative.max_age
                return
        # Section 3: the field replaces all that was known.
        self.withdraw()

    def withdraw(self) -> None:
        """HTTP/3 is offered no more: what is under way ends in peace."""
        if not self.is_only:
            self.port = 0
            self.turn_away()

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

    # -- connections

    def warm(self) -> None:
        """Open a first connection for those who will come, if HTTP/3 is offered."""
        if not self.connections and not self._is_dialling and self.is_wanted:
            self._begin_dial()

    def _dial(self) -> None:
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
        self._failures = 0
        self._opened(driver)

    def _failed(self, reason: str, detail: str) -> None:
        self._mark_broken(reason, detail)
        if self.is_only:
            super()._failed(reason, detail)
        else:
            self._turn_all_down(reason, detail)  # there is TCP

    def connection_ended(self, driver: SharedConnection, reason: str, detail: str) -> None:
        if isinstance(driver, QuicUpstream):
            self._connector.forget(driver)
        if reason == "quic-protocol" or (reason == SILENT and driver.lanes_at_end > 0):
            self._mark_broken(reason, detail)
        super().connection_ended(driver, reason, detail)
