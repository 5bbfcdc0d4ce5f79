"""The sending side of all streams of a connection: room for writers, credit, and the data of the next packet.

A stream that could send something stands in the scheduler, one that lacks only credit of the connection is set aside
until MAX_DATA comes, every other one is nowhere: it costs nothing however many there are. What was sent once and lost
needs no credit and goes first (RFC 9000 sections 4.1 and 13.3).
"""

from typing import Final, final

from headgate.engine.quic import stream_states as states
from headgate.engine.quic.control_queue import ControlQueue
from headgate.engine.quic.flow import SendCredit
from headgate.engine.quic.frames import (
    FRAME_DATA_BLOCKED,
    FRAME_RESET_STREAM,
    FRAME_STREAM_DATA_BLOCKED,
    stream_header_size,
)
from headgate.engine.quic.scheduler import NOBODY, Scheduler, level_of
from headgate.engine.quic.send_buffer import SendBuffer
from headgate.engine.quic.stream import Stream
from headgate.errors import LocalProtocolError

# What we hold for a peer that does not acknowledge: as much as its first windows let it hold for us.
MAX_STREAM_HELD: Final = 256 * 1024
MAX_CONNECTION_HELD: Final = 1024 * 1024
# Of data that a stream has no credit for, only so much is taken: a hundred streams that a client does not read must
# not fill what the connection may hold, and the first packet after new credit has something to carry.
_AHEAD_OF_CREDIT: Final = 4 * 1024
# A writer is woken for this much room, not for each acknowledged packet.
_WORTH_WAKING: Final = 16 * 1024


@final
class StreamSender:
    """What the streams of `table` have to send. `held` counts octets that are written and not acknowledged, of which
    `max_held` are taken: less than usual where a worker's memory is short."""

    __slots__ = (
        "_blocked",
        "_control",
        "_is_full",
        "_starved",
        "_table",
        "_writable",
        "credit",
        "held",
        "max_held",
        "scheduler",
    )

    def __init__(self, table: dict[int, Stream], control: ControlQueue) -> None:
        self._table = table
        self._control = control
        self.credit = SendCredit(0)
        self.scheduler = Scheduler()
        self.held = 0
        self.max_held = MAX_CONNECTION_HELD
        self._starved: dict[int, None] = {}
        self._blocked: dict[int, None] = {}  # writers that were cut short
        self._is_full = False  # one of them because of `max_held`
        self._writable: list[int] = []

    def __repr__(self) -> str:
        return f"<StreamSender {len(self.scheduler)} ready, {self.held} octets held, {self.credit!r}>"

    # Credit

    def raise_limit(self, limit: int) -> None:
        """MAX_DATA: streams that waited for it take part again."""
        if not self.credit.raise_limit(limit):
            return
        starved = list(self._starved)
        self._starved.clear()
        for stream_id in starved:
            stream = self._table[stream_id]
            stream.is_starved = False
            self._refresh(stream)

    def rewind(self) -> None:
        """Nothing that was sent has arrived, and no credit is left: early data was refused."""
        self.credit = SendCredit(0)
        for stream in self._table.values():
            buffer = stream.send
            if buffer is None:
                continue
            stream.send_credit = SendCredit(0)
            stream.final_sent = 0  # of a reset: the peer has seen nothing of the stream
            if stream.send_state <= states.DATA_SENT:
                buffer.rewind()
                stream.send_state = states.READY
                self._refresh(stream)

    def is_starving(self) -> bool:
        """Tell whether a stream waits for credit of the connection."""
        return len(self._starved) > 0

    def raise_stream_limit(self, stream: Stream, limit: int) -> None:
        """MAX_STREAM_DATA."""
        if stream.send_credit.raise_limit(limit):
            self._refresh(stream)
            if stream.id in self._blocked and self._room(stream) > 0:
                self._wake(stream.id)

    # Writers

    def write(self, stream: Stream, data: bytes, *, fin: bool, start: int = 0) -> int:
        """Take as much of `data` from `start` on as there is room for; FIN only with all of it."""
        buffer = stream.send
        if buffer is None or buffer.is_finished:
            raise LocalProtocolError(f"{stream!r} takes no data")
        size = len(data) - start
        if stream.send_state > states.DATA_SENT:
            return size
        room = self._room(stream)
        if size > room:
            self._blocked[stream.id] = None
            self._is_full = self._is_full or self.max_held - self.held <= room
            size = room
        elif fin:
            buffer.finish()
        buffer.write(data if size == len(data) else data[start : start + size])
        self.held += size
        self._refresh(stream)
        self._tell_blocked(stream, buffer)
        return size

    def take_writable(self) -> list[int]:
        """Return the streams whose short writes should be repeated now."""
        writable = self._writable
        if writable:
            self._writable = []
            writable = [stream_id for stream_id in writable if stream_id in self._table]
        return writable

    def _room(self, stream: Stream) -> int:
        buffer = stream.send
        if buffer is None:
            return 0
        room = min(MAX_STREAM_HELD - (buffer.end - buffer.base), self.max_held - self.held)
        room = min(room, stream.send_credit.limit + _AHEAD_OF_CREDIT - buffer.end)
        return room if room > 0 else 0

    def _wake(self, stream_id: int) -> None:
        del self._blocked[stream_id]
        self._writable.append(stream_id)

    def _give_up(self, count: int) -> None:
        self.held -= count
        # Woken together, and only when half is free: a walk for each acknowledged packet would cost by open streams.
        if self._is_full and self.held <= self.max_held >> 1:
            self._is_full = False
            for stream_id in list(self._blocked):
                if self._room(self._table[stream_id]) > 0:
                    self._wake(stream_id)

    def reset(self, stream: Stream, code: int) -> bool:
        """Drop what a stream has to send and send RESET_STREAM; False where there is nothing left to give up."""
        buffer = stream.send
        if buffer is None or stream.send_state > states.DATA_SENT:
            return False
        stream.reset_code = code
        stream.final_sent = buffer.sent
        stream.send_state = states.step_sending(stream.send_state, states.SEND_RESET)
        self._blocked.pop(stream.id, None)
        self._give_up(buffer.discard())
        self._refresh(stream)
        self._control.add(stream.id, FRAME_RESET_STREAM)
        return True

    def forget(self, stream: Stream) -> None:
        """Let a stream go that is over."""
        self._blocked.pop(stream.id, None)

    # The schedule

    def set_priority(self, stream: Stream, urgency: int, *, is_incremental: bool) -> None:
        """Take over what RFC 9218 says of a stream."""
        if stream.is_ready:
            self.scheduler.remove(stream.id, stream.level, stream.is_incremental)
        stream.level = level_of(urgency)
        stream.is_incremental = is_incremental
        if stream.is_ready:
            self.scheduler.add(stream.id, stream.level, is_incremental)

    def _refresh(self, stream: Stream) -> None:
        """Let a stream take part in the schedule, or no longer."""
        wants = stream.wants_to_send()
        if stream.is_starved and (not wants or stream.can_send_without_credit()):
            stream.is_starved = False
            del self._starved[stream.id]
        if wants and not stream.is_ready and not stream.is_starved:
            stream.is_ready = True
            self.scheduler.add(stream.id, stream.level, stream.is_incremental)
        elif stream.is_ready and not wants:
            self._rest(stream)

    def _rest(self, stream: Stream) -> None:
        stream.is_ready = False
        self.scheduler.remove(stream.id, stream.level, stream.is_incremental)

    def _starve(self, stream: Stream) -> None:
        """Set a stream aside that has only new data, because the connection has no credit left."""
        self._rest(stream)
        stream.is_starved = True
        self._starved[stream.id] = None
        if self.credit.must_tell():
            self._control.add(0, FRAME_DATA_BLOCKED)

    def _tell_blocked(self, stream: Stream, buffer: SendBuffer) -> None:
        if buffer.sent < buffer.end and not stream.is_ready and stream.send_credit.must_tell():
            self._control.add(stream.id, FRAME_STREAM_DATA_BLOCKED)

    # Packets

    def next_piece(self, room: int) -> tuple[int, int, bytes, bool]:
        """Return the next STREAM frame: (stream, offset, data, fin).

        It fits into `room` octets with a header that tells no length. `NOBODY`, and nothing: nobody has anything to
        send, or the room is too small.
        """
        while True:
            stream_id = self.scheduler.next()
            if stream_id == NOBODY:
                return NOBODY, 0, b"", False
            stream = self._table[stream_id]
            buffer = stream.send
            if buffer is None:
                raise LocalProtocolError(f"{stream!r} is scheduled and cannot send")
            limit = stream.send_credit.limit
            if not buffer.can_send_without_credit():
                left = self.credit.limit - self.credit.used
                if left <= 0:
                    self._starve(stream)
                    continue
                if buffer.sent + left < limit:
                    limit = buffer.sent + left
            size = room - stream_header_size(stream_id, buffer.next_offset(), -1)
            if size < 1:
                return NOBODY, 0, b"", False
            before = buffer.sent
            offset, data, fin = buffer.next(size, limit)
            sent = buffer.sent
            self.credit.used += sent - before
            stream.send_credit.used = sent
            if fin or stream.send_state != states.SEND:
                stream.send_state = states.step_sending(
                    stream.send_state, states.SEND_FIN if fin else states.SEND_DATA
                )
            if stream.wants_to_send():
                self.scheduler.served(stream_id, stream.level, stream.is_incremental)
            else:
                self._rest(stream)
                self._tell_blocked(stream, buffer)
            return stream_id, offset, data, fin

    def on_ack(self, stream: Stream, offset: int, length: int, *, fin: bool) -> None:
        """A piece arrived."""
        buffer = stream.send
        if buffer is None or stream.send_state > states.DATA_SENT:
            return
        freed = buffer.on_ack(offset, length, fin)
        if buffer.is_complete():
            stream.send_state = states.step_sending(stream.send_state, states.DATA_ACKED)
        if stream.is_ready:
            self._refresh(stream)  # what was to be sent again may have arrived after all
        if freed > 0:
            self._give_up(freed)
            if stream.id in self._blocked and (
                buffer.base == buffer.end or self._room(stream) >= _WORTH_WAKING
            ):
                self._wake(stream.id)

    def on_loss(self, stream: Stream, offset: int, length: int, *, fin: bool) -> None:
        """A piece is lost: it goes again, needing no credit."""
        if stream.send is not None and stream.send_state <= states.DATA_SENT:
            stream.send.on_loss(offset, length, fin)
            self._refresh(stream)
