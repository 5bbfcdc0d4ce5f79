"""The driver of a client's QUIC connection: an exchange for each request stream of HTTP/3 (RFC 9114).

A request stream is a `DownstreamLane`, which ends when all of the answer was given to QUIC, or when either side gave
up; only then is the stream released, and with it the client's right to open another (RFC 9000 section 4.6).

Timeouts are looked at in the owner's sweep. A stream of which nothing can be read, because its first octets are
missing, has the time of a head, whatever it was meant to be.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.context import ConnectionContext
from headgate.connection.downstream_lane import DownstreamLane, LaneCodes, LaneDriver
from headgate.connection.exchange import Handler
from headgate.connection.observer import DownstreamObserver
from headgate.connection.quic_driver import DriverOwner, QuicDriver
from headgate.connection.settings import ConnectionSettings
from headgate.counters import (
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import (
    H3_CONNECT_ERROR,
    H3_EXCESSIVE_LOAD,
    H3_INTERNAL_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_STREAM_CREATION_ERROR,
)
from headgate.engine.h3.settings import H3Settings
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.stream import SERVER_BIT, UNI_BIT
from headgate.engine.tls13.server import ServerHandshake
from headgate.errors import RemoteProtocolError
from headgate.net.poller import Poller

# How long a drain waits for a silent client: it may be asleep or gone, and whoever stops the gate waits for it. Less
# where nothing but GOAWAY is to be acknowledged than where the end of an answer may be lost on a bad path.
GOODBYE_SECONDS: Final = 1.0
LAST_ANSWER_SECONDS: Final = 5.0
# RFC 9110 section 9.2.1: to ask twice changes nothing.
_SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_CODES: Final = LaneCodes(30, H3_INTERNAL_ERROR, H3_CONNECT_ERROR, H3_REQUEST_CANCELLED)


def _mark_early(request: Request) -> None:
    """Tell the origin that a request may be a replay (RFC 8470 section 5.1), and refuse those that change something.

    Raises `RemoteProtocolError` 425: the client asks again when its handshake is over.
    """
    if request.method not in _SAFE:
        raise RemoteProtocolError(425, "too-early", "ask again when the handshake is over")
    if request.fields.get(b"early-data") is None:
        request.fields.add(b"early-data", b"1", b"Early-Data")


class DownstreamOwner(DriverOwner):
    """The endpoint of a client's connection."""

    def completed(self, driver: QuicDownstream) -> None:
        """The handshake is complete."""
        raise NotImplementedError


@final
class QuicDownstream(QuicDriver, LaneDriver):
    """One client's connection; made by the endpoint, alive until `on_end`.

    `network` is the key of the per-client limits, `destination` what the client chose as our first ID.
    """

    def __init__(
        self,
        quic: QuicConnection,
        owner: DownstreamOwner,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        values: list[int],
        context: ConnectionContext,
        poller: Poller,
        h3_settings: H3Settings,
    ) -> None:
        super().__init__(quic, owner, poller, h3_settings)
        self.handler: Handler = handler
        self.observer: DownstreamObserver = observer
        self.settings: ConnectionSettings = settings
        self.values: list[int] = values
        self.context: ConnectionContext = context
        self.codes: LaneCodes = _CODES
        self.endpoint = owner
        self.lanes: dict[int, DownstreamLane] = {}
        # Streams that cannot be read, because octets at their front did not come, and until when these may come.
        self._unread: dict[int, float] = {}
        # The owner's own: the IDs that lead here, whether the client proved its address before it began, and
        # whether its handshake is over.
        self.ids: list[bytes] = []
        self.is_validated = False
        self.is_settled = False
        self.requests = 0
        self.draining = False
        self.idle_since = poller.now
        self._moved = 0
        self._moved_at = poller.now

    def __repr__(self) -> str:
        return f"<QuicDownstream {self.context.peer} {self.quic!r} {len(self.lanes)} open>"

    # -- from the engines

    def on_http(self) -> None:
        tls = self.quic.tls
        context = self.context
        if isinstance(tls, ServerHandshake):
            context.sni = tls.server_name.lower()
        context.tls_version = "TLSv1.3"

    def on_complete(self) -> None:
        self.endpoint.completed(self)
        self.idle_since = self.poller.now
        if self.draining:
            self.drain()

    def on_event(self, event: Event) -> None:
        if isinstance(event, Request):
            self.requests += 1
            h3 = self.h3
            lane = self._lane(event.stream)
            lane.begin(event, h3 is not None and h3.has_event_of(event.stream))
        elif isinstance(event, Data):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:  # else it was answered before its content was looked at
                open_lane.content(event.data)
        elif isinstance(event, EndOfMessage):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:
                open_lane.content_end(event)
        elif isinstance(event, StreamFailed):
            self._lane(event.stream).fail(event)
        elif isinstance(event, RequestRefused):
            self._lane(event.stream).refuse(RemoteProtocolError(event.status, event.reason, event.detail))

    def _lane(self, stream: int) -> DownstreamLane:
        lane = self.lanes.get(stream)
        if lane is None:
            lane = self.lanes[stream] = DownstreamLane(self, stream)
            if self._unread:
                lane.deadline = self._unread.pop(stream, lane.deadline)
        return lane

    def on_writable(self, stream: int) -> None:
        lane = self.lanes.get(stream)
        if lane is not None:
            lane.drained()

    # -- for lanes

    def send(self, event: Event) -> None:
        h3 = self.h3
        if h3 is not None:
            h3.send(event)

    def flush_soon(self) -> None:
        self.carry()
        self.owner.touched(self)

    def admit(self, stream: int, request: Request) -> None:
        if not self.quic.is_complete and self.quic.is_early(stream):
            _mark_early(request)

    def blame(self, stream: int) -> None:
        self.quic.streams.blame(stream, self.poller.now)

    def reset(self, stream: int, code: int) -> None:
        h3 = self.h3
        if h3 is not None:
            h3.abort(stream, code)
            self.flush_soon()

    def lane_over(self, stream: int) -> None:
        if self.lanes.pop(stream, None) is not None:
            if not self.lanes:
                self.idle_since = self.poller.now
            if not self.closed:
                self.release(stream)

    # -- time, looked at in the sweep

    def sweep(self, now: float) -> None:
        """Look at all that may take too long."""
        h3 = self.h3
        if h3 is None:
            return  # the handshake's time is the endpoint's business
        streams = self.quic.streams
        if len(streams.table) > len(self.lanes) + h3.critical or streams.waiting.gaps > 0:
            self._sweep_unread(h3, now)
            if self.closed:
                return
        elif self._unread:
            self._unread = {}
        for lane in list(self.lanes.values()):
            if now >= lane.deadline:
                lane.on_deadline(now)
            else:
                lane.check_rate(now)
            if self.closed:
                return
        if self._is_stuck(now):
            self.values[TIMEOUT_WRITE] += 1
            self.observer.connection_failed(self.context, "write-timeout", "the client opens no window")
            self.close(H3_NO_ERROR, "nothing was taken for too long")
        elif not self.lanes:
            self._sweep_idle(now)

    def _sweep_unread(self, h3: H3Connection, now: float) -> None:
        """Look at streams without a lane: their time begins at the latest now.

        Octets that wait behind a gap are held like any others, and only QUIC knows of a stream whose first one is
        missing. What is lost comes again within a few round trips; what does not, nobody means to send.
        """
        unread: dict[int, float] = {}
        for number, stream in list(self.quic.streams.table.items()):
            receive = stream.receive
            if number & SERVER_BIT or stream.is_released or receive is None or number in self.lanes:
                continue
            if h3.has_begun(number):
                if number & UNI_BIT == 0:
                    self._lane(number)  # its head is not complete
                    continue
                if receive.gaps == 0:
                    continue
            elif receive.position > 0 and number & UNI_BIT == 0:
                self.release(number)  # behind GOAWAY: HTTP/3 has rejected it, and nobody works for it
                continue
            deadline = self._unread.get(number, now + self.settings.head)
            if now < deadline:
                unread[number] = deadline
            elif not self._give_up(h3, number):
                return
        self._unread = unread

    def _give_up(self, h3: H3Connection, number: int) -> bool:
        """Give up a stream that cannot be read; False where the connection ends with it."""
        streams = self.quic.streams
        detail = f"octets at the front of stream {number} did not come in time"
        self.values[TIMEOUT_HEAD] += 1
        self.observer.connection_failed(self.context, "head-timeout", detail)
        if h3.has_begun(number):
            self.close(H3_EXCESSIVE_LOAD, detail)
            return False
        if number & UNI_BIT:
            streams.stop(number, H3_STREAM_CREATION_ERROR)
        else:
            streams.reset(number, H3_REQUEST_CANCELLED)
            streams.stop(number, H3_REQUEST_CANCELLED)
        self.release(number)
        self.owner.touched(self)
        return True

    def _sweep_idle(self, now: float) -> None:
        h3 = self.h3
        if h3 is not None and h3.is_going_away:
            # What the client sent before it heard of it has had one sweep to arrive.
            if now > self.idle_since and self._is_farewell_over(now):
                self.close(H3_NO_ERROR, "")
        elif now - self.idle_since >= self.settings.keep_alive:
            self.values[TIMEOUT_KEEP_ALIVE] += 1
            self.close(H3_NO_ERROR, "")

    def _is_farewell_over(self, now: float) -> bool:
        """Tell whether the client has all, or has acknowledged nothing for too long."""
        streams = self.quic.streams
        if streams.sender.held == 0:
            return True
        patience = GOODBYE_SECONDS
        for stream in streams.table:
            if not stream & UNI_BIT:
                patience = LAST_ANSWER_SECONDS
        return now - self._moved_at >= patience

    def _is_stuck(self, now: float) -> bool:
        """Tell whether output has waited for the client's windows too long: it answers, and takes nothing."""
        sender = self.quic.streams.sender
        moved = sender.credit.used - sender.held
        if sender.held == 0 or moved != self._moved:
            self._moved = moved
            self._moved_at = now
            return False
        return now - self._moved_at >= self.settings.write_idle

    def held_heads(self) -> int:
        """Return how many octets of heads wait here for their rest."""
        h3 = self.h3
        total = 0
        if h3 is not None:
            for lane in self.lanes.values():
                stream = h3.streams.get(lane.stream)
                if lane.exchange is None and stream is not None:
                    total += stream.reader.buffered + stream.held
        return total

    def held_received(self) -> int:
        """Return how many octets of the client wait here: behind gaps, and for handlers and origins."""
        total = self.quic.streams.waiting.charge
        for lane in self.lanes.values():
            total += lane.held_size
            if lane.tunnel is not None:
                total += lane.tunnel.held()
        return total

    def held_sent(self) -> int:
        """Return how many octets wait for the client: to be sent, or to be acknowledged."""
        return self.quic.streams.sender.held + self.unwritten()

    # -- ends

    def drain(self) -> None:
        """Take no more requests; the connection ends when those under way are answered."""
        self.draining = True
        h3 = self.h3
        if h3 is not None and not self.closed:
            h3.go_away()
            self.carry()
            self.owner.touched(self)

    def on_end(self) -> None:
        end = self.quic.end
        reason = "closed"
        if end is not None and end.reason:
            reason = "closed-by-peer" if not end.is_ours else "connection-closed"
        for lane in list(self.lanes.values()):
            try:
                lane.connection_over(reason)
            except Exception as error:
                # A defect met on behalf of one exchange must not keep the others from ending.
                self.observer.crashed("downstream", error)
        self.lanes = {}
