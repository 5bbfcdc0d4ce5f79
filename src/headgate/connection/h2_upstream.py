"""The driver of an HTTP/2 connection to an origin: one transport, one client engine, many exchanges at a time.

It is ready once the origin's SETTINGS have come (RFC 9113 section 3.4): from then on it is known how many requests it
takes at a time and whether extended CONNECT is understood, and whoever does not speak HTTP/2 at all was found out
before a request met it.

    dialled -> SETTINGS -> ready -> leaving (GOAWAY, or as many requests as it may carry) -> its last lane ends it

What one round of the poller brings is told to the lanes first, and written at the end of the round: heads in order,
then content of all lanes, fairly (`H2Connection.take_output`). While the socket takes nothing more, nothing more is
taken from the engine either; what then waits in it makes `is_unwritten` true for its lane, and `upstream_drained`
follows.

While answers are awaited and nothing comes, a PING asks whether the origin is there. It may not be asked often:
servers of gRPC close a connection with the third PING within five minutes that they have sent nothing in between
(their `min_recv_ping_interval_without_data`).
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.h2_counts import count_origin, count_origin_end
from headgate.connection.stream_driver import NEVER, StreamDriver
from headgate.connection.upstream_lane import Lane, UpstreamLaneDriver
from headgate.connection.upstream_stream import (
    REFUSED,
    SILENT,
    SharedConnection,
    SharedOwner,
    UpstreamStream,
)
from headgate.counters import (
    UPSTREAM_CONNECTIONS,
    UPSTREAM_H2_CLOSED,
    UPSTREAM_H2_CONNECTIONS,
    UPSTREAM_H2_INTERIM,
    UPSTREAM_H2_MALFORMED,
    UPSTREAM_H2_OPEN,
    UPSTREAM_H2_REFUSED,
    UPSTREAM_H2_REQUESTS,
    UPSTREAM_H2_RESET,
    UPSTREAM_OPEN,
    UPSTREAM_READ,
    UPSTREAM_WRITTEN,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import CANCEL, HTTP_1_1_REQUIRED, REFUSED_STREAM, H2ConnectionError
from headgate.engine.h2.machine import HALF_CLOSED_LOCAL
from headgate.engine.h2.sender import LOW_WATER
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import TransportError
from headgate.net.poller import READ, Poller
from headgate.net.transport import Transport

# Silence, while answers are awaited, after which the origin is asked whether it is there.
PING_AFTER: Final = 30.0
# Between two PINGs that nothing but their answers comes between: gRPC's five minutes.
PING_APART: Final = 300.0
# Control frames that wait for a socket which takes nothing: more of the origin is not read then.
MAX_CONTROL_QUEUED: Final = 64 * 1024
# An answer without content whose stream the origin has not ended yet (a HEAD, a 204 that is ended by a frame of its
# own): a reset would count against us with origins that bound them.
LINGER: Final = 5.0
# What is taken from the engine for one write: larger pieces cost more page faults than calls.
PIECE: Final = 64 * 1024
# What an origin that speaks HTTP/1.1 answers to our preface.
_OLD_ANSWER: Final = b"HTTP/1."


@final
class H2Upstream(StreamDriver, UpstreamLaneDriver, SharedConnection):
    """One connection to one endpoint, or to several whose names it may carry (`guests` are their pools).

    `idle_since` is when its last lane ended. `wants_h1`: the origin said that a request must come by HTTP/1.1.
    """

    def __init__(
        self,
        transport: Transport,
        poller: Poller,
        pool: SharedOwner,
        values: list[int],
        url: str,
        scheme: bytes,
        max_section: int,
        ready_by: float,
        max_age: float,
    ) -> None:
        super().__init__(transport, poller)
        self.pool = pool
        self.guests: list[SharedOwner] = []
        self.values = values
        self.address: str = transport.peer or url
        self.protocol: str = "HTTP/2.0"
        self.h2 = H2Connection(True, poller.now, H2Settings(max_section=max_section), scheme, max_age=max_age)
        self.lanes: dict[int, Lane] = {}
        self.lanes_at_end = 0
        self.reserved = 0
        self.is_ready = False
        self.is_leaving = False
        self.wants_h1 = False
        self.idle_since = poller.now
        self.heard_at = poller.now
        self.deadline = ready_by
        # How many requests it takes at a time, where it refused one: tried upwards, one more for as many answers, and
        # forgotten when it announces another limit.
        self._room_learned = -1
        self._answered_since = 0
        self._max_streams = 0  # that it has announced
        self._failed: list[tuple[Lane, str, str]] = []  # why requests could not be sent
        self._turned: dict[int, Lane] = {}
        self._lingering: dict[int, float] = {}  # until when streams whose lanes have all they want may end
        self._pinged_at = -NEVER
        self._is_answered = True  # something other than control frames has, since the last PING
        self._is_asked = False  # for the end of the round
        self._is_pumping = False
        self._is_telling = False
        self._is_deaf = False  # the socket takes nothing any more: what it sent before is still read
        self.watch(READ)

    def __repr__(self) -> str:
        return f"<H2Upstream {self.address}: {len(self.lanes)} lanes, {self.h2!r}>"

    # -- requests

    def room_left(self) -> int:
        if not self.is_ready or self.closed or self.is_leaving:
            return 0
        room = self.h2.room
        if self._room_learned >= 0:
            room = min(room, self._room_learned - len(self.lanes))
        return room - self.reserved

    def reserve(self, owner: SharedOwner) -> Lane:
        self.reserved += 1
        return Lane(self, owner)

    def carried(self) -> list[UpstreamStream]:
        return list(self.lanes.values())

    def is_idle(self) -> bool:
        return not self.lanes and not self.reserved

    @property
    def may_connect(self) -> bool:
        """Whether the origin understands extended CONNECT (RFC 8441 section 3)."""
        return self.h2.remote.connect_protocol

    def ask(self, lane: Lane, request: Request) -> None:
        h2 = self.h2
        self.reserved -= 1
        if self.closed or self._is_deaf or h2.room <= 0:
            self._cannot_ask(lane, REFUSED, "it takes no more requests on this connection")
            return
        lanes = self.lanes
        lane.is_unheard = not lanes
        lane.asked_at = self.poller.now
        h2.send(request)
        stream = request.stream
        if stream not in h2.streams:
            self._cannot_ask(lane, "peer-field-limit", f"it takes {h2.remote.max_section} octets of fields")
            return
        lane.stream = stream
        lanes[stream] = lane
        if h2.requests >= h2.max_requests:
            self.is_leaving = True  # this was the last
        self.values[UPSTREAM_H2_REQUESTS] += 1

    def _cannot_ask(self, lane: Lane, reason: str, detail: str) -> None:
        """Tell it at the end of the round, never inside of the call that asks; out of a round one begins."""
        lane.stream = -2
        self._failed.append((lane, reason, f"{self.address}: {detail}"))
        self.poller.defer(self)

    def send(self, event: Event) -> None:
        if not self.closed:
            self.h2.send(event)

    def is_unwritten(self, stream: int) -> bool:
        waiting = self.h2.queued(stream)
        return waiting > LOW_WATER or (waiting > 0 and self.unsent > 0)

    def consumed(self, stream: int, count: int) -> None:
        if not self.closed:
            h2 = self.h2
            h2.consumed(stream, count)
            if h2.has_output():
                self.flush_soon()

    def drop(self, lane: Lane) -> None:
        stream = lane.stream
        if stream == -1:
            self.reserved -= 1
        elif self.lanes.pop(stream, None) is not None and not self.closed:
            left = self.h2.streams.get(stream)
            if left is not None:
                if lane.is_whole and left.state == HALF_CLOSED_LOCAL:
                    self._lingering[stream] = self.poller.now + LINGER
                else:
                    self.h2.abort(stream, CANCEL)
            elif lane.answered and self._room_learned >= 0:
                self._answered_since += 1
                if self._answered_since >= self._room_learned:
                    self._room_learned += 1
                    self._answered_since = 0
            self.flush_soon()
            for guest in (self.pool, *self.guests) if self.guests else ():
                guest.room_changed(self)  # whoever's lane it was, there is room for all
        if not self.lanes and not self.closed:
            self.idle_since = self.poller.now
            if self.is_leaving and not self.reserved:
                self.end_idle()

    # -- being woken

    def on_readable(self) -> None:
        while self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and act on it; tell whether bytes are left that no readiness will announce."""
        if self._interest & READ == 0:
            self.park()
            return False
        try:
            data = self._read()
        except TransportError as error:
            self._ended(error.reason, error.detail)
            return False
        if data is None:
            return False
        if not data:
            self._ended("closed", "the origin closed the connection")
            return False
        self.values[UPSTREAM_READ] += len(data)
        self.heard_at = self.poller.now
        self._receive(data)
        return not self.closed and self.reading and self.transport.pending()

    def _receive(self, data: bytes) -> None:
        h2 = self.h2
        fault: H2ConnectionError | None = None
        try:
            h2.receive(data, self.poller.now)
        except H2ConnectionError as error:
            fault = error
        if h2.remote.max_streams != self._max_streams:
            self._max_streams = h2.remote.max_streams
            self._room_learned = -1
        if not self.is_ready and h2.remote.received and fault is None:
            self._begin()
        self._hear()
        if fault is not None:
            self._broken(fault, data)
            return
        if h2.control_queued > MAX_CONTROL_QUEUED and not self._is_deaf:
            self.pause_reading()
        if h2.has_output():
            self.flush_soon()

    def _begin(self) -> None:
        self.is_ready = True
        self.deadline = NEVER
        self.idle_since = self.poller.now
        self.values[UPSTREAM_OPEN] += 1
        self.values[UPSTREAM_H2_OPEN] += 1
        self.values[UPSTREAM_CONNECTIONS] += 1
        self.values[UPSTREAM_H2_CONNECTIONS] += 1
        self.pool.connection_ready(self)

    def _hear(self) -> None:
        """Tell the lanes what there is to tell: of what came, and of what could not be sent."""
        if self._is_telling:
            return  # further up it goes on until there is nothing more
        self._is_telling = True
        h2 = self.h2
        try:
            event = h2.next_event()
            while True:
                while event is not None and not self.closed:
                    self._on_event(event)
                    event = h2.next_event()
                self._turn()
                event = h2.next_event()
                if event is None or self.closed:
                    return
        finally:
            self._is_telling = False

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (Data, Response, EndOfMessage)):
            self._is_answered = True
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
        counter = UPSTREAM_H2_MALFORMED
        if event.by_peer and event.code in (REFUSED_STREAM, HTTP_1_1_REQUIRED):
            reason, counter = REFUSED, UPSTREAM_H2_REFUSED
            self._learn(event.code)
        elif event.by_peer:
            reason, counter = "reset", UPSTREAM_H2_RESET
        elif reason == "too-many-interim":
            counter = UPSTREAM_H2_INTERIM
        self.values[counter] += 1
        lane.fail(reason, f"{self.address}: {event.detail}")

    def _learn(self, code: int) -> None:
        """Let the request that was refused not come here once more at once."""
        if code == HTTP_1_1_REQUIRED:
            # It says nothing of room. All who are here leave before the request is repeated.
            self.wants_h1 = True
            self.pool.room_changed(self)
            for guest in self.guests:
                guest.room_changed(self)
            return
        others = len(self.lanes) - 1
        if others > 0:
            self._room_learned = others
            self._answered_since = 0
        else:
            self.is_leaving = True  # it takes nothing at all

    def _turn(self) -> None:
        """All events of a read were told."""
        if self._turned:
            turned = self._turned
            self._turned = {}
            for lane in turned.values():
                try:
                    lane.turn()
                except Exception as error:
                    lane.on_crash(error)
        self._tell_failed()
        if self.is_ready and not self.closed:
            self.pool.room_changed(self)
            for guest in self.guests:
                guest.room_changed(self)

    def _tell_failed(self) -> None:
        while self._failed:
            self.values[UPSTREAM_H2_REFUSED] += 1
            lane, reason, detail = self._failed.pop()
            lane.fail(reason, detail)

    # -- writing

    def flush_soon(self) -> None:
        if not (self.closed or self._is_asked or self._is_pumping):
            self._is_asked = True
            self.poller.defer(self)

    def write_deferred(self) -> None:
        self._is_asked = False
        self._tell_failed()
        self._pump()

    def _pump(self) -> None:
        """Write as much as the socket takes of what the engine has, and tell who waited for that."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            h2 = self.h2
            while not self.closed and not self._is_deaf and self.unsent == 0 and h2.has_output():
                output = h2.take_output(PIECE)
                if not output:
                    break  # all that is left waits for windows
                self.values[UPSTREAM_WRITTEN] += len(output)
                if not self._written(output):
                    break
                self._tell_drained()
        finally:
            self._is_pumping = False
        if self.closed:
            return
        if self.h2.has_event():
            self._hear()  # trailers, say, that are longer than the origin takes
        if not self.reading and self.h2.control_queued <= MAX_CONTROL_QUEUED:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()  # no readiness tells of octets that TLS has decrypted already

    def _written(self, output: bytes) -> bool:
        try:
            return self._write(output)
        except TransportError as error:
            self._write_failed(error)
            return False

    def _tell_drained(self) -> None:
        for stream in self.h2.take_drained():
            lane = self.lanes.get(stream)
            if lane is not None:
                self._drained(lane)

    def _drained(self, lane: Lane) -> None:
        if lane.is_stalled and not self.is_unwritten(lane.stream):
            lane.drained()

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self._write_failed(error)
            return
        if not done:
            return
        self._pump()
        if self.unsent == 0:
            self._tell_drained()
            for lane in list(self.lanes.values()):
                self._drained(lane)

    def _write_failed(self, error: TransportError) -> None:
        # The origin may have said why before it closed: read that first, it explains more.
        self._unsent = b""
        self._unsent_at = 0
        self._is_deaf = True
        self.resume_reading()
        self.leave()

    def _stalled_late(self) -> None:
        pass  # `is_unwritten` says so

    # -- time

    def sweep(self) -> int:
        if not self.closed:
            count_origin(self.h2.resets_sent, self.values)
            try:
                self._on_time(self.poller.now)
            except Exception as error:
                self.on_crash(error)  # one connection's defect must not keep all the others' deadlines
        return self.unsent + self.h2.queued_total

    def _on_time(self, now: float) -> None:
        h2 = self.h2
        if now >= h2.deadline():
            try:
                h2.on_deadline(now)
            except H2ConnectionError as fault:
                self._broken(fault, b"")
                return
        if now >= self.deadline:
            self.on_deadline(now)
            return
        if now >= h2.expires:
            self.leave()  # the next connection may be to another address
        if self.lanes:
            self._keep_alive(now)
        for stream, until in list(self._lingering.items()):
            if stream not in h2.streams:
                del self._lingering[stream]
            elif now >= until:
                del self._lingering[stream]
                h2.abort(stream, CANCEL)
        if h2.has_output():
            self.flush_soon()

    def _keep_alive(self, now: float) -> None:
        """Ask whether the origin is there; what no answer means is the engine's to say."""
        if now >= self.heard_at + PING_AFTER and (self._is_answered or now >= self._pinged_at + PING_APART):
            self._pinged_at = now
            self._is_answered = False
            self.h2.ping(now)

    def on_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._ended("timeout", "no SETTINGS came: it may not speak HTTP/2")

    # -- ends

    def leave(self) -> None:
        if not self.is_leaving:
            self.is_leaving = True
            if self.is_idle():
                self.end_idle()

    def end_idle(self) -> None:
        if not self.closed:
            self.h2.go_away(self.poller.now)
            self._end("", "")

    def close(self) -> None:
        self._end("closed", "we closed it")

    def on_crash(self, error: Exception) -> None:
        self.pool.crashed("upstream", error)
        self._end("internal", str(error))

    def _ended(self, reason: str, detail: str) -> None:
        """The transport ended, or nothing comes over it any more."""
        if not self.is_ready and reason == "closed":
            detail = "it closed the connection without SETTINGS: it may not speak HTTP/2"
        self._end(reason, detail)

    def _broken(self, fault: H2ConnectionError, data: bytes) -> None:
        """The origin broke HTTP/2: say so, and end."""
        if not self.is_ready and data.startswith(_OLD_ANSWER):
            self._end("no-h2", "it answered in HTTP/1.1: the origin does not speak HTTP/2 here")
            return
        count_origin_end(fault.reason, self.values)
        if fault.reason == "ping-timeout":
            self._end(SILENT, f"nothing came for {self.poller.now - self.heard_at:.0f} s, nor after a PING")
        else:
            self._end(fault.reason, fault.detail)

    def _end(self, reason: str, detail: str) -> None:
        """Let go of everything, once; `reason` "" is a proper end."""
        if self.closed:
            return
        if reason != SILENT and not self._is_deaf and self.unsent == 0:
            last = self.h2.take_output(PIECE)  # a GOAWAY, if there is one to be sent, comes at the end
            while last and self._written(last):
                last = self.h2.take_output(PIECE) if self.h2.control_queued > 0 else b""
            self.transport.shutdown()  # a closure alert, where there is TLS
        self.close_transport()
        count_origin(self.h2.resets_sent, self.values)
        lanes = list(self.lanes.values())
        self.lanes = {}
        self.lanes_at_end = len(lanes)
        if self.is_ready:
            self.values[UPSTREAM_OPEN] -= 1
            self.values[UPSTREAM_H2_OPEN] -= 1
        detail = f"{self.address}: {detail}"
        for guest in self.guests:
            guest.connection_ended(self, reason, detail)
        self.guests = []
        self.pool.connection_ended(self, reason, detail)
        for lane in lanes:
            self.values[UPSTREAM_H2_CLOSED] += 1
            lane.is_unheard = lane.is_unheard and lane.asked_at >= self.heard_at
            lane.fail("closed" if reason in ("", SILENT) else reason, detail)
        self._tell_failed()
