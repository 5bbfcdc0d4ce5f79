"""The driver of a QUIC connection to an origin: HTTP/3 in client role (RFC 9114), many exchanges at a time.

A request stream is a `Lane`, taken by `reserve`; when it is over, the stream is released, and given up with
H3_REQUEST_CANCELLED in the directions that are not complete.

Nothing new is asked after GOAWAY, or after `MAX_REQUESTS` (`H3Connection`): the connection ends with its last
lane. While there are lanes and the origin is silent, a PING keeps both idle timers from ending it
(RFC 9114 section 5.1, RFC 9000 section 10.1.2).
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.quic_counts import count_origin, count_origin_end
from headgate.connection.quic_driver import NEVER, DriverOwner, QuicDriver
from headgate.connection.upstream_lane import Lane, UpstreamLaneDriver
from headgate.connection.upstream_stream import REFUSED, SILENT, SharedConnection, SharedOwner, UpstreamStream
from headgate.counters import (
    UPSTREAM_CONNECTIONS,
    UPSTREAM_H3_CLOSED,
    UPSTREAM_H3_CONNECTIONS,
    UPSTREAM_H3_INTERIM,
    UPSTREAM_H3_MALFORMED,
    UPSTREAM_H3_OPEN,
    UPSTREAM_H3_REFUSED,
    UPSTREAM_H3_REQUESTS,
    UPSTREAM_H3_RESET,
    UPSTREAM_OPEN,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request, Response
from headgate.engine.h3.errors import (
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_REJECTED,
    H3_VERSION_FALLBACK,
)
from headgate.engine.h3.settings import H3Settings
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.errors import CONNECTION_REFUSED
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.settings import Session
from headgate.net.poller import Poller

# After so much of the idle time that both sides agreed on a PING goes out, while answers are awaited.
KEEP_ALIVE_SHARE: Final = 0.5


@final
class QuicUpstream(QuicDriver, UpstreamLaneDriver, SharedConnection):
    """One connection to one endpoint. `idle_since` is when its last lane ended."""

    def __init__(
        self,
        quic: QuicConnection,
        owner: DriverOwner,
        poller: Poller,
        pool: SharedOwner,
        values: list[int],
        address: str,
        max_section: int,
    ) -> None:
        super().__init__(quic, owner, poller, H3Settings(max_section=max_section))
        self.pool = pool
        self.values = values
        self.address: str = address
        self.protocol: str = "HTTP/3.0"
        self.lanes: dict[int, Lane] = {}
        self.lanes_at_end = 0
        self.reserved = 0
        self.is_ready = False
        self.is_leaving = False
        self.idle_since = poller.now
        self._failed: list[Lane] = []  # to be told at the end of the turn, never inside of a call of theirs
        self._turned: dict[int, Lane] = {}
        self._pinged_at = 0.0
        self._network = ("", "")  # what ended it from outside of QUIC

    def __repr__(self) -> str:
        return f"<QuicUpstream {self.address}: {len(self.lanes)} lanes, {self.quic!r}>"

    # -- requests

    def room_left(self) -> int:
        h3 = self.h3
        if h3 is None or self.closed or self.is_leaving or not h3.can_request:
            return 0
        return min(self.quic.streams.openable(is_uni=False), h3.max_requests - h3.requests) - self.reserved

    def reserve(self, owner: SharedOwner) -> Lane:
        self.reserved += 1
        return Lane(self, owner)

    def carried(self) -> list[UpstreamStream]:
        return list(self.lanes.values())

    def is_idle(self) -> bool:
        return not self.lanes and not self.reserved

    def ask(self, lane: Lane, request: Request) -> None:
        h3 = self.h3
        self.reserved -= 1
        if h3 is None or self.closed or not h3.can_request:
            lane.stream = -2
            self._failed.append(lane)
            self.owner.touched(self)
            return
        h3.send(request)
        lane.stream = request.stream
        self.lanes[request.stream] = lane
        if h3.requests >= h3.max_requests:
            self.is_leaving = True  # this was the last
        self.values[UPSTREAM_H3_REQUESTS] += 1

    def send(self, event: Event) -> None:
        h3 = self.h3
        if h3 is not None:
            h3.send(event)

    def flush_soon(self) -> None:
        self.carry()
        self.owner.touched(self)

    def drop(self, lane: Lane) -> None:
        stream = lane.stream
        if stream == -1:
            self.reserved -= 1
        elif self.lanes.pop(stream, None) is not None and not self.closed:
            h3 = self.h3
            if h3 is not None:
                h3.abort(stream, H3_REQUEST_CANCELLED)
            self.carry()
            self.release(stream)
            self.owner.touched(self)
        if not self.lanes:
            self.idle_since = self.poller.now
            if self.is_leaving:
                self.close(H3_NO_ERROR, "")

    # -- what the connection tells

    def on_complete(self) -> None:
        self.is_ready = True
        self.values[UPSTREAM_OPEN] += 1
        self.values[UPSTREAM_H3_OPEN] += 1
        self.values[UPSTREAM_CONNECTIONS] += 1
        self.values[UPSTREAM_H3_CONNECTIONS] += 1
        self.pool.connection_ready(self)

    def on_event(self, event: Event) -> None:
        if isinstance(event, (Data, Response, EndOfMessage)):
            lane = self.lanes.get(event.stream)
            if lane is None:
                if isinstance(event, Data):
                    self.consumed(event.stream, len(event.data))
                return
            self._turned[event.stream] = lane
            try:
                lane.take(event)
            except Exception as error:
                lane.on_crash(error)  # one exchange's defect must not end the others
        elif isinstance(event, StreamFailed):
            self._stream_failed(event)
        elif isinstance(event, GoingAway):
            self.leave()

    def _stream_failed(self, event: StreamFailed) -> None:
        lane = self.lanes.get(event.stream)
        if lane is None:
            return
        reason = event.reason
        counter = UPSTREAM_H3_MALFORMED
        if event.by_peer and event.code in (H3_REQUEST_REJECTED, H3_VERSION_FALLBACK):
            reason, counter = REFUSED, UPSTREAM_H3_REFUSED
        elif event.by_peer:
            reason, counter = "reset", UPSTREAM_H3_RESET
        elif reason == "too-many-interim":
            counter = UPSTREAM_H3_INTERIM
        self.values[counter] += 1
        lane.fail(reason, f"{self.address}: {event.detail}")

    def on_turn(self) -> None:
        """All events of a turn were told."""
        if self._turned:
            turned = self._turned
            self._turned = {}
            for lane in turned.values():
                try:
                    lane.turn()
                except Exception as error:
                    lane.on_crash(error)
        while self._failed:
            self.values[UPSTREAM_H3_REFUSED] += 1
            self._failed.pop().fail(REFUSED, f"{self.address} takes no more requests on this connection")
        if self.is_ready and not self.closed:
            self.pool.room_changed(self)

    def on_writable(self, stream: int) -> None:
        lane = self.lanes.get(stream)
        if lane is not None and lane.is_stalled:
            lane.drained()

    # -- time

    @property
    def ping_at(self) -> float:
        """When a PING is due, because answers are awaited and nothing has come for long."""
        idle = self.quic.idle_seconds
        if not self.lanes or idle <= 0.0 or self.closed:
            return NEVER
        return max(self.progress_at, self._pinged_at) + idle * KEEP_ALIVE_SHARE

    def keep_alive(self, now: float) -> None:
        """Send a PING if one is due."""
        if now >= self.ping_at:
            self._pinged_at = now
            self.quic.ping()
            self.owner.touched(self)

    # -- ends

    def sessions(self) -> list[Session]:
        """Return what the origin gave to resume the session by, since the last call."""
        tls = self.quic.tls
        return tls.take_sessions() if isinstance(tls, ClientHandshake) else []

    def sweep(self) -> int:
        count_origin(self, self.values)
        return self.unwritten() + self.quic.streams.sender.held

    def end_idle(self) -> None:
        self.close(H3_NO_ERROR, "idle")

    def leave(self) -> None:
        if not self.is_leaving:
            self.is_leaving = True
            if not self.lanes and not self.closed:
                self.close(H3_NO_ERROR, "")

    def network_failed(self, reason: str, detail: str) -> None:
        """The socket is broken, and nothing more can be said."""
        if not self.closed:
            self._network = (reason, f"{self.address}: {detail}")
            self.end()

    def on_end(self) -> None:
        reason, detail = self._why()
        count_origin(self, self.values)
        count_origin_end(self.quic.end, self.values)
        if self.is_ready:
            self.values[UPSTREAM_OPEN] -= 1
            self.values[UPSTREAM_H3_OPEN] -= 1
        lanes = list(self.lanes.values())
        self.lanes = {}
        self.lanes_at_end = len(lanes)
        self.pool.connection_ended(self, reason, detail)
        for lane in lanes:
            self.values[UPSTREAM_H3_CLOSED] += 1
            lane.fail("closed" if reason in ("", SILENT) else reason, detail)

    def _why(self) -> tuple[str, str]:
        """Return why the connection ended, as the reverse proxy and the log say it."""
        end = self.quic.end
        if end is None or self._network[0]:
            return self._network
        who = "we ended it" if end.is_ours else "the origin ended it"
        kind = "application" if end.is_application else "QUIC"
        detail = f"{self.address}: {who}: {end.reason or 'no reason given'} ({kind} code {end.code:#x})"
        if end.is_ours:
            if end.is_application and end.code == H3_NO_ERROR:
                return "", detail
            is_idle = end.code == 0 and not end.is_application
            return (SILENT if is_idle else "quic-protocol"), detail
        if end.code == CONNECTION_REFUSED and not end.is_application:
            return REFUSED, detail
        return "closed", detail
