"""The driver of a client's HTTP/2 connection: one transport, one engine, an exchange for each stream (RFC 9113).

It begins where a `DownstreamConnection` finds that its client speaks HTTP/2: by ALPN, or by the preface in the clear.
A request is a `DownstreamLane`, which ends when all of its answer was given to the engine, or when either side gave
up.

Output. What lanes and engine queue goes out once at the end of a poller's round, however many streams it is of: heads
and small answers of many requests are one write. What is queued out of a round waits for the next one. What is big
goes out at once, in steps, so that no answer stands here beside its copy. The socket's fullness and the client's
windows are the same to a lane: more than `LOW_WATER` of it waits, so `flush` says False, and `drained` follows when
most has gone.

Ends. A drain is GOAWAY in two steps (section 6.8), the second when the client has surely heard of the first; the
connection closes with its last stream. A client's end of the connection ends all streams: no client of HTTP/2 says
its last word and waits.

Timeouts are looked at in the sweep: those of lanes; a head or frame that does not come to its end; content that no
window opens for; and a connection that nobody uses.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.accepted import Accepted
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream_lane import DownstreamLane, LaneCodes, LaneDriver
from headgate.connection.exchange import Handler
from headgate.connection.h2_counts import count_client, count_client_end
from headgate.connection.h2_watch import H2Watch
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import DEFER_MAX, NEVER, READ_MIN
from headgate.counters import (
    H2_ACCEPTED,
    H2_OPEN,
    H2_REQUESTS,
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import (
    CANCEL,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
    INTERNAL_ERROR,
    NO_ERROR,
)
from headgate.engine.h2.sender import LOW_WATER
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.errors import RemoteProtocolError, TransportError
from headgate.net.poller import READ, WRITE, Poller
from headgate.net.transport import Transport

_CODES: Final = LaneCodes(20, INTERNAL_ERROR, CONNECT_ERROR, CANCEL)
# What is taken from the engine for one write: four records of TLS.
OUTPUT_STEP: Final = 64 * 1024
# And in one turn of a connection, so that the others of the round get theirs.
OUTPUT_TURN: Final = 256 * 1024
# Control frames and heads that wait for a client that does not read: more is not read from it (section 10.5).
MAX_CONTROL_QUEUED: Final = 64 * 1024
# A read with more frames than this is followed by a small one: others want their turn.
MAX_TURN_FRAMES: Final = 128
# How long a closing connection waits for the client's end, so that a reset does not overtake what was said last.
LINGER_SECONDS: Final = 2.0


@final
class H2Downstream(Accepted, LaneDriver):
    """One client's connection, alive until `connection_closed`."""

    def __init__(
        self,
        transport: Transport,
        poller: Poller,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        values: list[int],
        context: ConnectionContext,
        h2_settings: H2Settings,
    ) -> None:
        super().__init__(transport, poller, context)
        self.handler: Handler = handler
        self.observer: DownstreamObserver = observer
        self.settings: ConnectionSettings = settings
        self.values: list[int] = values
        self.codes: LaneCodes = _CODES
        self.h2 = H2Connection(False, poller.now, h2_settings, context.scheme)
        self.h2.from_gateway = context.forwarded.trusts_peer
        self.lanes: dict[int, DownstreamLane] = {}
        self.idle_since = poller.now
        self.is_lingering = False
        self._is_due = False  # `write_deferred` comes at the end of the round
        self._is_pumping = False
        self._again = False
        self._fresh = 0  # octets of content that were queued since the last write
        self.watcher = H2Watch(poller.now)
        self._resets_told = 0
        values[H2_ACCEPTED] += 1
        values[H2_OPEN] += 1

    def __repr__(self) -> str:
        return f"<H2Downstream fd={self._fd} {len(self.lanes)} lanes {self.h2!r}>"

    # -- beginning

    def start(self, *, secure: bool) -> None:
        self.watch(READ)
        self._begin()

    def take_over(self, before: Accepted, early: bytes) -> None:
        """Go on with what another driver has begun, which lets go of it; `early` are octets that it has read."""
        self._fd = before._fd
        self._interest = before._interest
        self._parked = before._parked
        self._read_size = before._read_size
        before.closed = True
        before.deadline = NEVER
        self.poller.replace(self._fd, self)
        self._begin()
        if early:
            self._receive(early)
        if not self.closed and self.transport.pending():
            self.on_readable()

    def _begin(self) -> None:
        self.flush_soon()

    # -- being woken

    def on_readable(self) -> None:
        # A loop and not a recursion: how often bytes are left above the descriptor is the peer's to decide.
        while self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and act on it; tell whether bytes are left that no readiness will announce."""
        if self._interest & READ == 0:
            # Nobody asked for bytes, so this is a hang-up: there is no one left to answer.
            self._fail(TransportError("hung-up", 0, "the client broke the connection"))
            return False
        try:
            data = self._read()
        except TransportError as error:
            if self.lanes and not self.is_lingering:
                self._fail(error)
            else:
                self.close()  # nothing is owed: clients hang up in every way there is
            return False
        if data is None:
            return False
        if not data:
            self._ended()
            return False
        if not self.is_lingering:
            self._receive(data)
        return not self.closed and self.reading and self.transport.pending()

    def _receive(self, data: bytes) -> None:
        h2 = self.h2
        frames = h2.frames
        try:
            h2.receive(data, self.poller.now)
        except RemoteProtocolError as error:
            self._broke(error)
            return
        self._take_events()
        if self.closed or self.is_lingering:
            return
        if h2.frames - frames > MAX_TURN_FRAMES:
            self._read_size = READ_MIN  # large reads are for content
        if h2.control_queued > MAX_CONTROL_QUEUED:
            self._output(OUTPUT_TURN)
            if h2.control_queued > MAX_CONTROL_QUEUED:
                self.pause_reading()  # until it takes what it asked for
        if h2.has_output() or h2.is_finished:
            self.flush_soon()  # finished: the client gave up the last stream of a connection that drains

    def _take_events(self) -> None:
        """Hand out all that the engine tells, while the connection lives: an answer may find that it does not."""
        h2 = self.h2
        event = h2.next_event()
        while event is not None and not self.closed:
            try:
                self._on_event(event)
            except Exception as error:
                # A defect met on behalf of one request must not end the others.
                self.observer.crashed("downstream", error)
                if isinstance(event, (Request, Data, EndOfMessage)):
                    self._drop_lane(event.stream)
            event = h2.next_event()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Request):
            stream = event.stream
            self.values[H2_REQUESTS] += 1
            lane = self.lanes[stream] = DownstreamLane(self, stream)
            lane.begin(event, self.h2.has_event_of(stream))
        elif isinstance(event, Data):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:
                open_lane.content(event.data)
            else:
                # It was answered before its content was looked at.
                self.h2.consumed(event.stream, len(event.data))
        elif isinstance(event, EndOfMessage):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:
                open_lane.content_end(event)
        elif isinstance(event, StreamFailed):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:
                open_lane.fail(event)
            elif not event.by_peer:
                DownstreamLane(self, event.stream).fail(event)  # a request that was never handed out
        elif isinstance(event, RequestRefused):
            lane = self.lanes[event.stream] = DownstreamLane(self, event.stream)
            lane.refuse(RemoteProtocolError(event.status, event.reason, event.detail))

    def _drop_lane(self, stream: int) -> None:
        lane = self.lanes.get(stream)
        if lane is not None:
            self.h2.abort(stream, INTERNAL_ERROR)
            lane.connection_over("internal")

    def on_crash(self, error: Exception) -> None:
        self.observer.crashed("downstream", error)
        self.close()

    # -- output

    def flush_soon(self) -> None:
        if self._is_pumping:
            self._again = True
        elif self.poller.in_round:
            if not self._is_due:
                self._is_due = True
                self.poller.defer(self)
            if self._fresh > DEFER_MAX:
                self._output(OUTPUT_TURN)
        elif not self.closed and not self.is_lingering:
            # Out of a round: a dial came to its end, or an application answers, in pieces as small as it likes. The
            # descriptor takes more, and so begins a round.
            if self._fresh > DEFER_MAX:
                self._output(OUTPUT_TURN)
            self._want(self._interest | WRITE)

    def write_deferred(self) -> None:
        self._is_due = False
        if not self.closed and not self.is_lingering:
            self._pump()

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self._fail(error)
            return
        self.watcher.wrote(self.poller.now)
        if not done:
            return
        if self.is_lingering:
            self._say_last()
            return
        self._pump()

    def _pump(self) -> None:
        """Write, and wake those that waited for room, while that brings more."""
        self._is_pumping = True
        rounds = 0
        more = True
        try:
            while more and rounds < 4 and not self.closed:
                rounds += 1
                self._again = False
                self._take_events()  # what sending may have told: a head that the client would not take
                more = self._output(OUTPUT_TURN >> 2)
                for stream in self.h2.take_drained():
                    self._wake(stream)
                more = more or self._again or (self.unsent == 0 and self.h2.has_output())
        finally:
            self._is_pumping = False
        if self.closed:
            return
        if more:
            self._want(self._interest | WRITE)  # its turn is over: the others of the round first
        elif self.h2.is_finished and self.unsent == 0 and not self.lanes:
            self._linger()
            return
        if not self.reading and self.h2.control_queued <= MAX_CONTROL_QUEUED:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()  # no readiness tells of octets that TLS has decrypted already

    def _wake(self, stream: int) -> None:
        """Tell a lane that there is room again."""
        lane = self.lanes.get(stream)
        if lane is not None:
            try:
                lane.drained()
            except Exception as error:
                self.observer.crashed("downstream", error)
                self._drop_lane(stream)

    def _output(self, most: int) -> bool:
        """Write what may go out, about `most` octets; tell whether the socket may take more than that."""
        h2 = self.h2
        self._fresh = 0
        if self.closed or self._unsent_at < len(self._unsent):
            return False
        try:
            while most > 0:
                data = h2.take_output(OUTPUT_STEP)
                size = len(data)
                self.watcher.taken += size
                if size == 0 or not self._write(data):
                    return False
                most -= size
        except TransportError as error:
            self._fail(error)
            return False
        return h2.has_output()

    def _write_failed(self, error: TransportError) -> None:
        self._fail(error)

    def _stalled_late(self) -> None:
        return  # nothing is deferred below this driver

    # -- for lanes

    def send(self, event: Event) -> None:
        if not self.closed:
            if isinstance(event, Data):
                size = len(event.data)
                self.watcher.given += size
                self._fresh += size
            self.h2.send(event)

    def is_unwritten(self, stream: int) -> bool:
        return not self.closed and self.h2.queued(stream) > LOW_WATER

    def waits_for_others(self, stream: int) -> bool:
        waiting = self.h2.streams.get(stream)
        return waiting is not None and waiting.send_window > 0 and self.watcher.is_moving

    def consumed(self, stream: int, count: int) -> None:
        if not self.closed:
            self.h2.consumed(stream, count)

    def admit(self, stream: int, request: Request) -> None:
        return  # TLS over TCP brings no early data here

    def blame(self, stream: int) -> None:
        return  # the engine counts

    def reset(self, stream: int, code: int) -> None:
        if not self.closed:
            self.h2.abort(stream, code)
            self.flush_soon()

    def lane_over(self, stream: int) -> None:
        if self.lanes.pop(stream, None) is not None and not self.closed:
            self.h2.end_reading(stream)
            if not self.lanes:
                self.idle_since = self.poller.now
                if self.h2.is_going_away:
                    self.flush_soon()

    # -- time, looked at in the sweep

    def sweep(self, now: float) -> None:
        """Look at all that may take too long."""
        h2 = self.h2
        if self.is_lingering:
            return  # `deadline` holds
        self._count()
        if now >= h2.deadline():
            try:
                h2.on_deadline(now)
            except RemoteProtocolError as error:
                self._broke(error)
                return
            self._pump()
            if self.closed or self.is_lingering:
                return
        for lane in list(self.lanes.values()):
            try:
                if now >= lane.deadline:
                    lane.on_deadline(now)
                else:
                    lane.check_rate(now)
            except Exception as error:
                self.observer.crashed("downstream", error)
                self._drop_lane(lane.stream)
            if self.closed:
                return
        watcher = self.watcher
        settings = self.settings
        if watcher.is_incomplete(h2, now, settings.head):
            self.values[TIMEOUT_HEAD] += 1
            self._give_up("head-timeout", "a frame or a head did not come to its end in time")
        elif watcher.is_stuck(h2, self.unsent, now, settings.write_idle):
            self.values[TIMEOUT_WRITE] += 1
            self._give_up("write-timeout", "the client takes nothing")
        elif h2.queued_total > 0:
            for stream in watcher.starved(h2, self.lanes, now, settings.write_idle):
                self.values[TIMEOUT_WRITE] += 1
                self.reset(stream, CANCEL)
        elif not self.lanes and now - self.idle_since >= settings.keep_alive:
            self._end_idle(now)

    def _count(self) -> None:
        """Bring into the counters what the engine has counted since the last call."""
        h2 = self.h2
        if h2.resets_sent or h2.resets_received > self._resets_told:
            count_client(h2.resets_sent, h2.resets_received - self._resets_told, self.values)
            self._resets_told = h2.resets_received

    def _end_idle(self, now: float) -> None:
        if not self.h2.is_going_away:
            self.values[TIMEOUT_KEEP_ALIVE] += 1
            self.h2.go_away(now)
            self._pump()

    def buffered(self) -> int:
        return self.h2.buffered

    def held_sent(self) -> int:
        """Return how many octets wait for the client."""
        return self.unsent + self.h2.queued_total + self.h2.control_queued

    def held_received(self) -> int:
        """Return how many octets of the client wait for handlers and origins."""
        total = 0
        for lane in self.lanes.values():
            total += lane.held_size
            if lane.tunnel is not None:
                total += lane.tunnel.held()
        return total

    def is_stalled(self, now: float) -> bool:
        """Whether nothing of what waits for the client has moved for a while."""
        return self.watcher.is_stalled(now)

    # -- ends

    def drain(self) -> None:
        if self.closed or self.is_lingering:
            return
        self.h2.go_away(self.poller.now)
        self._pump()

    def _broke(self, error: RemoteProtocolError) -> None:
        """The client broke HTTP/2: GOAWAY says how, and is queued."""
        count_client_end(error.reason, self.values)
        self.observer.connection_failed(self.context, error.reason, error.detail)
        self._end_lanes(error.reason)
        self._say_last()

    def shed(self) -> None:
        """Memory is short, and this client lets us hold more than others do."""
        count_client_end("memory", self.values)
        self._give_up("memory", "all clients together take too little", ENHANCE_YOUR_CALM)

    def _give_up(self, reason: str, detail: str, code: int = NO_ERROR) -> None:
        """The client is too slow, and the connection ends."""
        self.observer.connection_failed(self.context, reason, detail)
        self._end_lanes(reason)
        if self.unsent > 0:
            self.transport.reset_on_close()
            self.close()
            return
        self.h2.end(code, reason)
        self._say_last()

    def _say_last(self) -> None:
        """Write what is left, which is GOAWAY behind what waited before it, and close when the client has it."""
        while not self.closed and self.unsent == 0 and self.h2.has_output():
            self._output(OUTPUT_TURN)
        if not self.closed:
            self._linger()

    def _linger(self) -> None:
        """Say the end and wait a little for the client's, reading away what it still sends."""
        self.is_lingering = True
        if self.unsent > 0:
            self.deadline = self.poller.now + self.settings.write_idle
            return
        self.transport.shutdown()
        self.deadline = self.poller.now + LINGER_SECONDS
        self._want(READ)

    def on_deadline(self, now: float) -> None:
        if self.unsent > 0:
            self.values[TIMEOUT_WRITE] += 1
        self.close()

    def _ended(self) -> None:
        """The client has ended the connection."""
        if not self.lanes and self.unsent == 0 and not self.is_lingering and self.context.secure:
            self.transport.shutdown()
        self.close("closed-by-peer")

    def _fail(self, error: TransportError) -> None:
        if self.closed:
            return
        self.observer.connection_failed(self.context, error.reason, error.detail)
        self.close(error.reason)

    def _end_lanes(self, reason: str) -> None:
        lanes = self.lanes
        self.lanes = {}
        for lane in lanes.values():
            try:
                lane.connection_over(reason)
            except Exception as error:
                # A defect met on behalf of one exchange must not keep the others from ending.
                self.observer.crashed("downstream", error)

    def close(self, reason: str = "connection-closed") -> None:
        """Close at once; exchanges under way end here."""
        if self.closed:
            return
        self.close_transport()
        self._end_lanes(reason)
        self._count()
        self.values[H2_OPEN] -= 1
        self.observer.connection_closed(self)
