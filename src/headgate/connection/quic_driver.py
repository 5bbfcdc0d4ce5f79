"""What both drivers of a QUIC connection share: one `QuicConnection`, one `H3Connection`, and the octets between.

A driver owns no socket and no timer: its owner does (an endpoint serves thousands of them on one socket). The owner
gives it datagrams (`receive`) and the time when `quic.deadline()` has come (`on_timer`); the driver says `touched`
when there may be something to send, and the owner takes batches from `quic` at the end of its turn.

One turn (`advance`) moves everything as far as it goes: octets of streams into HTTP/3, its events to whoever
subclasses this (`on_event`), and what HTTP/3 wrote into the streams of QUIC (`carry`). What a stream has no room for
waits here, one turn's worth at most, because whoever produces it is told to stop; `on_writable` says when to go on.

Octets of content open a window only when `consumed` says so: they are held by whom they were handed to.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.engine.events import Event
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import H3_GENERAL_PROTOCOL_ERROR
from headgate.engine.h3.settings import H3Settings
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.path import Address
from headgate.engine.quic.scheduler import NOBODY
from headgate.errors import RemoteProtocolError
from headgate.net.poller import Poller

NEVER: Final = float("inf")
_UNI: Final = 2  # the bit of a stream's number that says: one direction


@mypyc_attr(allow_interpreted_subclasses=True)
class DriverOwner:
    """Who has the socket and the timer."""

    def touched(self, driver: "QuicDriver") -> None:
        """There may be something to send, or another deadline: look at the end of the turn."""
        raise NotImplementedError


@final
class Wake:
    """What stands for a driver in the heap of timers: its times there, the nearest last. None: it has ended."""

    __slots__ = ("driver", "times")

    def __init__(self, driver: "QuicDriver") -> None:
        self.driver: QuicDriver | None = driver
        self.times: list[float] = []


class QuicDriver:
    """Base of the downstream and the upstream driver. Time is `poller.now`, as everywhere."""

    def __init__(
        self, quic: QuicConnection, owner: DriverOwner, poller: Poller, h3_settings: H3Settings
    ) -> None:
        self.quic = quic
        self.owner = owner
        self.poller = poller
        self.h3: H3Connection | None = None
        self.h3_settings = h3_settings
        self.progress_at = poller.now  # when the peer last brought the connection on
        self._progress = quic.progress()
        self.closed = False
        self.is_begun = False  # `on_complete` was called
        # The owner's own.
        self.is_touched = False
        self.is_waiting = False  # for room in the socket
        self.wake = Wake(self)
        # How much of what `quic` counts stands in the counters already (connection/quic_counts).
        self.told_lost = 0
        self.told_migrations = 0
        self.told_dropped: dict[str, int] | None = None
        # Octets that wait for room, and from where on: never cut, because a long answer would be copied at each turn.
        self._unwritten: dict[int, list[tuple[bytes, int, bool]]] = {}
        self._busy = False
        self._again = False

    # -- being woken

    def receive(self, data: bytes, segment: int, peer: Address, local: bytes, ecn: int) -> None:
        """Take datagrams of this connection, and act on them."""
        now = self.poller.now
        quic = self.quic
        quic.receive_batch(data, segment, peer, local, ecn, now)
        progress = quic.progress()
        if progress != self._progress:
            self._progress = progress
            self.progress_at = now
        self.advance()

    def on_timer(self) -> None:
        """The deadline of `quic` has come."""
        self.quic.on_deadline(self.poller.now)
        self.advance()

    def advance(self) -> None:
        """Move everything as far as it goes."""
        if self._busy:
            self._again = True  # called from inside: the loop below goes round once more
            return
        self._busy = True
        try:
            self._again = True
            while self._again and not self.closed:
                self._again = False
                self._turn()
        finally:
            self._busy = False
        self.owner.touched(self)

    def _turn(self) -> None:
        quic = self.quic
        if quic.state is not State.OPEN:
            self.end()
            return
        h3 = self.h3
        if h3 is None:
            # A server may be asked, and may answer, before the handshake is over: early data (RFC 8470).
            if not quic.is_complete and (quic.is_client or not quic.may_use_streams()):
                return
            h3 = self.h3 = H3Connection(quic.is_client, self.poller.now, self.h3_settings)
            self.on_http()
        if not self.is_begun and quic.is_complete:
            self.is_begun = True
            self.on_complete()
        try:
            self._take_arrived(h3)
            event = h3.next_event()
            while event is not None:
                self.on_event(event)
                event = h3.next_event()
            self.on_turn()
        except RemoteProtocolError as error:
            quic.close(error.code, error.detail or error.reason, self.poller.now)
            self.end()
            return
        self.carry()
        for stream in quic.streams.take_writable():
            if self._write_waiting(stream):
                self.on_writable(stream)

    def _take_arrived(self, h3: H3Connection) -> None:
        """Give HTTP/3 what came. Raises `RemoteProtocolError` with the code that ends the connection."""
        quic = self.quic
        now = self.poller.now
        streams = quic.streams
        for stream, piece, fin in streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, now)
            if fin and stream & _UNI:
                streams.release(stream)
        if quic.resets:
            resets, quic.resets = quic.resets, []
            for stream, code in resets:
                is_known = stream in h3.streams
                h3.receive_reset(stream, code, now)
                if stream & _UNI:
                    streams.release(stream)
                elif not is_known and not quic.is_client and stream in streams.table:
                    # Given up before a single octet came: HTTP/3 knows nothing of it, and nobody else lets it go.
                    streams.reset(stream, code)
                    streams.release(stream)
        if quic.stops:
            stops, quic.stops = quic.stops, []
            for stream, code in stops:
                self._unwritten.pop(stream, None)
                h3.receive_stop(stream, code)

    # -- from HTTP/3 to the streams

    def carry(self) -> None:
        """Give QUIC what HTTP/3 wrote."""
        h3 = self.h3
        if h3 is None or self.closed:
            return
        streams = self.quic.streams
        # Before anything is written: a stream that waits already would change its place in the schedule.
        for stream, priority in h3.take_priorities():
            streams.set_priority(stream, priority >> 1, is_incremental=priority & 1 != 0)
        for stream, data, fin in h3.take_writes():
            self._write(stream, data, fin)
        for stream, code in h3.take_resets():
            self._unwritten.pop(stream, None)
            if stream in streams.table:
                streams.reset(stream, code)
        for stream, code in h3.take_stops():
            if stream in streams.table:
                streams.stop(stream, code)
            if stream & _UNI:
                # Nothing of it goes up any more, so nobody else would let go of it.
                h3.forget(stream)
                streams.release(stream)
        for stream, count in h3.take_consumed():
            streams.consumed(stream, count)

    def _write(self, stream: int, data: bytes, fin: bool) -> None:
        waiting = self._unwritten.get(stream)
        if waiting is not None:
            waiting.append((data, 0, fin))
            return
        streams = self.quic.streams
        if stream not in streams.table:
            if stream & _UNI == 0 and not self.quic.is_client:
                return  # it is over: the peer gave it up
            while stream not in streams.table:
                if streams.open(is_uni=stream & _UNI != 0) == NOBODY:
                    self._cannot_open(stream, data, fin)
                    return
        taken = streams.write(stream, data, fin=fin)
        if taken < len(data):
            self._unwritten[stream] = [(data, taken, fin)]

    def _cannot_open(self, stream: int, data: bytes, fin: bool) -> None:
        if stream & _UNI:
            # RFC 9114 section 6.2: a peer must allow three of them, and more credit need never come.
            self.quic.close(
                H3_GENERAL_PROTOCOL_ERROR, "no unidirectional stream may be opened", self.poller.now
            )
            return
        self._unwritten[stream] = [(data, 0, fin)]

    def _write_waiting(self, stream: int) -> bool:
        """Go on with what had no room; tell whether all of it has gone."""
        waiting = self._unwritten.get(stream)
        if waiting is None:
            return True
        streams = self.quic.streams
        for place, (data, start, fin) in enumerate(waiting):
            start += streams.write(stream, data, fin=fin, start=start)
            if start < len(data):
                waiting[place] = (data, start, fin)
                del waiting[:place]
                return False
        del self._unwritten[stream]
        return True

    def is_unwritten(self, stream: int) -> bool:
        """Tell whether octets of a stream wait for room."""
        return stream in self._unwritten

    def unwritten(self) -> int:
        """Return how many octets wait for room in streams."""
        total = 0
        for waiting in self._unwritten.values():
            for data, start, _fin in waiting:
                total += len(data) - start
        return total

    def consumed(self, stream: int, count: int) -> None:
        """Content was taken: the peer may send as much again."""
        if not self.closed:
            self.quic.streams.consumed(stream, count)

    def release(self, stream: int) -> None:
        """All work for a request stream has stopped."""
        self._unwritten.pop(stream, None)
        h3 = self.h3
        if h3 is not None:
            h3.forget(stream)
        self.quic.streams.release(stream)

    # -- ends

    def close(self, code: int, reason: str) -> None:
        """End the connection with a code of HTTP/3."""
        if not self.closed:
            self.carry()
            self.quic.close(code, reason, self.poller.now)
            self.end()
            self.owner.touched(self)

    def end(self) -> None:
        """The connection has left its open state: let go of everything. May be called twice."""
        if not self.closed:
            self.closed = True
            self.wake.driver = None
            self._unwritten = {}
            self.on_end()

    # -- what the roles do

    def on_http(self) -> None:
        """HTTP/3 begins, with early data before the handshake is over."""

    def on_complete(self) -> None:
        """The handshake is over."""
        raise NotImplementedError

    def on_event(self, event: Event) -> None:
        """HTTP/3 has something to tell. Raises `RemoteProtocolError` to end the connection with its code."""
        raise NotImplementedError

    def on_turn(self) -> None:
        """All events of this turn were told."""

    def on_writable(self, stream: int) -> None:
        """All that was written to a stream has found room."""
        raise NotImplementedError

    def on_end(self) -> None:
        """The connection is over: end what it carried."""
        raise NotImplementedError
