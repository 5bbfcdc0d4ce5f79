"""The connections to one endpoint that many requests share, and who waits for room on one.

One dial serves all who wait; more connections are opened only when those that there are have no room for another
request. A connection without a request ends after `idle_timeout`, like one of HTTP/1.1. What opens a connection,
and what a failure of it means, is the versions' own (`h3_pool`, `h2_pool`).

    take / wait -> one dial at a time -> connections -> lanes
                    failed: all who wait are told, unless connections that there are will have room
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr, trait

from headgate.connection.upstream_stream import SharedConnection, SharedOwner, UpstreamStream
from headgate.net.poller import Poller
from headgate.upstream.health import Tell

# Connections of one version to one endpoint from one worker; each carries a hundred requests or more (RFC 9113
# section 5.1.2, RFC 9114 section 6.1).
MAX_SHARED_CONNECTIONS: Final = 64
# After a dial that failed while other connections go on: as long as the first step of most back-offs.
REDIAL_SECONDS: Final = 1.0
# Why somebody gets no lane where the origin is well and all its connections have enough to do.
NO_ROOM: Final = "no-room"


@trait
class LaneWaiter:
    """Who asked for a lane that is not there yet."""

    def lane_ready(self, lane: UpstreamStream) -> None:
        """Here it is."""
        raise NotImplementedError

    def lane_failed(self, reason: str, detail: str) -> None:
        """There will be none."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class LanePool(SharedOwner):
    """What all versions have in common; `is_only`: the endpoint is spoken to in no other way."""

    def __init__(
        self,
        url: str,
        host: str,
        *,
        is_only: bool,
        poller: Poller,
        values: list[int],
        tell: Tell,
        connect_timeout: float,
        idle_timeout: float,
    ) -> None:
        self.url = url
        self.host = host
        self.is_only = is_only
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.connections: list[SharedConnection] = []
        self.is_closed = False  # its endpoint is in no group: nothing is kept
        self._is_dialling = False
        self._is_serving = False
        self._dial_at = 0.0  # not before, while there are connections
        self._waiters: deque[tuple[LaneWaiter, float]] = deque()
        self._poller = poller
        self._values = values
        self._tell = tell

    # -- lanes

    def take(self) -> UpstreamStream | None:
        """Return a lane on a connection that is open, or None: then `wait`, or another version."""
        for driver in self.connections:
            if driver.room_left() > 0:
                return driver.reserve(self)
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

    def _serve(self) -> None:
        """Give lanes to those who wait, and open a connection when there are too few."""
        if self._is_serving:
            return  # a lane was given back at once: further up it goes on
        self._is_serving = True
        try:
            while self._waiters:
                lane = self.take()
                if lane is None:
                    break
                waiter, _ = self._waiters.popleft()
                try:
                    waiter.lane_ready(lane)
                except Exception as error:
                    lane.on_crash(error)  # the others still wait
        finally:
            self._is_serving = False
        if self._waiters and self._may_dial():
            self._begin_dial()

    def _turn_down(self, waiter: LaneWaiter, reason: str, detail: str) -> None:
        """Tell somebody that there will be no lane."""
        try:
            waiter.lane_failed(reason, detail)
        except Exception as error:
            self.crashed("upstream", error)  # the others are to be told as well

    # -- dials

    def _may_dial(self) -> bool:
        """Tell whether another connection would help: not while one takes no request at all yet."""
        if self._is_dialling or len(self.connections) >= MAX_SHARED_CONNECTIONS:
            return False
        if self._poller.now < self._dial_at and self._is_room_due():
            return False
        return all(driver.carried() or driver.is_leaving for driver in self.connections)

    def _begin_dial(self) -> None:
        self._is_dialling = True
        self._dial()

    def _dial(self) -> None:
        """Open a connection in the background: `_opened` or `_failed` follows."""
        raise NotImplementedError

    def _opened(self, driver: SharedConnection) -> None:
        self._is_dialling = False
        self.connections.append(driver)
        self._serve()
        if self.is_closed:
            self.turn_away()

    def _is_room_due(self) -> bool:
        """Tell whether a connection will have room as soon as a request on it is over."""
        return any(not driver.is_leaving and driver.carried() for driver in self.connections)

    def _failed(self, reason: str, detail: str) -> None:
        """There is no further connection. Who waits goes on waiting where there will be room without it."""
        self._is_dialling = False
        self._dial_at = self._poller.now + REDIAL_SECONDS
        if not self._is_room_due():
            self._turn_all_down(reason, detail)

    def _turn_all_down(self, reason: str, detail: str) -> None:
        self._is_dialling = False
        waiters = self._waiters
        self._waiters = deque()
        for waiter, _ in waiters:
            self._turn_down(waiter, reason, detail)

    # -- what connections report

    def connection_ready(self, driver: SharedConnection) -> None:
        pass  # whoever dialled it was told

    def connection_ended(self, driver: SharedConnection, reason: str, detail: str) -> None:
        if driver in self.connections:
            self.connections.remove(driver)
        if self._waiters:
            self._serve()

    def room_changed(self, driver: SharedConnection) -> None:
        if self._waiters:
            self._serve()

    def upstream_gone(self, connection: UpstreamStream) -> None:
        if self._waiters:
            self._serve()

    def crashed(self, where: str, error: Exception) -> None:
        self._tell("defect", "error", where=where, error=repr(error), next="closed; the rest goes on")

    # -- time, and the end

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left to be swept, once the endpoint is in no group any more."""
        return not self.connections

    def owns(self, driver: SharedConnection) -> bool:
        """Tell whether a connection is this pool's, and not another's that it may use."""
        return True

    def lanes(self) -> list[UpstreamStream]:
        """Return all lanes with a request, for the sweep."""
        return [lane for driver in self.connections for lane in driver.carried()]

    def sweep(self, now: float) -> int:
        """End what is idle for too long and who waits for too long; return the bytes held for origins."""
        held = 0
        for driver in self.connections[:]:
            if not self.owns(driver):
                continue
            held += driver.sweep()
            if not driver.closed and driver.is_idle() and now >= driver.idle_since + self.idle_timeout:
                driver.end_idle()
        while self._waiters and now >= self._waiters[0][1]:
            waiter, _ = self._waiters.popleft()
            # Where there are connections, the origin is busy and not silent.
            reason = NO_ROOM if self.connections else "timeout"
            self._turn_down(
                waiter, reason, f"{self.url}: no room on any of {len(self.connections)} connections"
            )
        if self._waiters:
            self._serve()  # a dial may be due again
        return held

    def turn_away(self) -> None:
        """Ask nothing more of the connections that there are: each ends with its last lane."""
        for driver in self.connections[:]:
            driver.leave()

    def close(self) -> None:
        """Close all connections that carry nothing, and keep none any more; the others end with their last lane."""
        self.is_closed = True
        self.turn_away()

    def open(self) -> None:
        """Its endpoint is in its group again."""
        self.is_closed = False
