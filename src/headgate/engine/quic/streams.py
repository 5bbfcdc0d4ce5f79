"""All streams of a connection: their table, their credit, and what they have to send (RFC 9000 sections 2 to 4).

Frames come in as numbers and leave as numbers; this module knows neither packets nor keys.

Receiving. `receive_stream` and its like check a frame, and put what is in order on a list that `take_arrived` hands
out as (stream, piece, fin). The next piece of a stream stands there as it came, without a copy: views are used or
copied before the next datagram is read. What comes in a row of one stream becomes one piece. `TooManyGapsError` means
that the packet must not be acknowledged. Only `consumed` opens windows. A stream whose lower IDs never came costs
nothing: they are open, as section 2.1 says, but only as a difference of counters.

Sending. `write` takes what fits and says how much; `take_writable` names the streams that a short `write` should
be repeated for. `next_control` gives the frames that go before data, `next_piece` the data, by the order of
engine/quic/scheduler; packets remember them and report back to `on_ack`, `on_loss`, `on_control_ack` and
`on_control_loss`. A control frame is made when it is taken, never when it is queued: its number is always the newest,
and no peer can make more of them wait than there are streams (section 13.3).

Ending. Whoever worked for a stream says `release` when that work has stopped. Only when both parts are over, too, may
the peer open another: a client that resets its requests makes no more work than one that waits for them. One that
resets them again and again before any reply gets no new streams for a while, and at last no connection.
"""

from typing import Final, final

from headgate.engine.quic import stream_states as states
from headgate.engine.quic.control_queue import ControlQueue
from headgate.engine.quic.errors import STREAM_LIMIT_ERROR, STREAM_STATE_ERROR, QuicError
from headgate.engine.quic.flow import ReceiveCredit, SendCredit
from headgate.engine.quic.frames import (
    FRAME_DATA_BLOCKED,
    FRAME_MAX_DATA,
    FRAME_MAX_STREAM_DATA,
    FRAME_MAX_STREAMS_BIDI,
    FRAME_MAX_STREAMS_UNI,
    FRAME_RESET_STREAM,
    FRAME_STOP_SENDING,
    FRAME_STREAM,
    FRAME_STREAM_DATA_BLOCKED,
    FRAME_STREAMS_BLOCKED_BIDI,
    FRAME_STREAMS_BLOCKED_UNI,
)
from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.receive_buffer import UNKNOWN_SIZE, Piece, ReceiveBuffer, Waiting
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.scheduler import CONTROL_LEVEL, DEFAULT_URGENCY, NOBODY, level_of
from headgate.engine.quic.send_buffer import SendBuffer
from headgate.engine.quic.stream import SERVER_BIT, UNI_BIT, Stream, StreamSettings
from headgate.engine.quic.stream_sender import StreamSender
from headgate.engine.varint import size_of_varint
from headgate.errors import LocalProtocolError, RemoteProtocolError

# CVE-2023-44487, CVE-2025-8671. A browser that leaves a page cancels some dozens of requests at once.
MAX_EARLY_RESETS: Final = 100  # within a window; beyond, no new streams until one has passed
MAX_EARLY_RESETS_CLOSE: Final = 500
EARLY_RESET_WINDOW: Final = 10.0
EXCESSIVE_LOAD: Final = 0x0107  # H3_EXCESSIVE_LOAD (RFC 9114 sections 8.1 and 10.5)

# The longest control frame: its kind and three integers. Ask `next_control` only with so much room.
CONTROL_SIZE: Final = 25

_NO_FRAME: Final[tuple[int, int, int, int]] = (-1, 0, 0, 0)


@final
class Streams:
    """The streams of one connection."""

    __slots__ = (
        "_arrived",
        "_arriving",
        "_closed",
        "_closed_count",
        "_concurrent",
        "_control",
        "_early_resets",
        "_early_resets_since",
        "_limits",
        "_opened",
        "_own_bit",
        "_peer_windows",
        "_pieces",
        "_told_limits",
        "no_grants_until",
        "receive_credit",
        "sender",
        "settings",
        "table",
        "waiting",
    )

    def __init__(self, *, is_client: bool, settings: StreamSettings) -> None:
        self.settings = settings
        self.table: dict[int, Stream] = {}
        self._control = ControlQueue()
        self.sender = StreamSender(self.table, self._control)
        self.waiting = Waiting(2 * settings.connection_window)
        self.receive_credit = ReceiveCredit(settings.connection_window, settings.max_connection_window)
        self.no_grants_until = NEVER
        self._own_bit = 0 if is_client else SERVER_BIT
        # All by the two low bits of an ID. What a peer may open is our limit, what we may open is its.
        bidi, uni = settings.bidi_streams, settings.uni_streams
        self._concurrent = [0, bidi, 0, uni] if is_client else [bidi, 0, uni, 0]
        self._limits = self._concurrent.copy()
        self._told_limits = [-1, -1, -1, -1]
        self._opened = [0, 0, 0, 0]
        self._closed_count = [0, 0, 0, 0]
        # Between two closed ranges lies an open stream: there are never more of them than streams at a time, and one.
        self._closed = [Ranges(count + 1) for count in self._concurrent]
        self._peer_windows = [0, 0, 0, 0]
        self._arrived: list[tuple[int, Piece, bool]] = []
        self._arriving = NOBODY
        self._pieces: list[Piece] = []
        self._early_resets = 0
        self._early_resets_since = -NEVER

    def __repr__(self) -> str:
        return f"<Streams {len(self.table)} open, {self.sender!r}>"

    # What the peer said of itself

    def set_peer_limits(
        self,
        *,
        max_data: int,
        bidi_local: int,
        bidi_remote: int,
        uni: int,
        bidi_streams: int,
        uni_streams: int,
    ) -> None:
        """Take the peer's transport parameters in (section 18.2); names are as seen from the peer.

        A client that began with remembered ones (section 7.4.1) calls this again: limits only rise.
        """
        own = self._own_bit
        self._peer_windows[own] = bidi_remote
        self._peer_windows[own ^ SERVER_BIT] = bidi_local
        self._peer_windows[own | UNI_BIT] = uni
        self._raise_streams(own, bidi_streams)
        self._raise_streams(own | UNI_BIT, uni_streams)
        for stream in self.table.values():
            self.sender.raise_stream_limit(stream, self._peer_windows[stream.id & 3])
        self.sender.raise_limit(max_data)

    def rewind(self) -> None:
        """Begin anew: nothing that was sent has arrived, and what the peer allows is not known (section 7.4.1)."""
        own = self._own_bit
        self._limits[own] = self._limits[own | UNI_BIT] = 0
        self._told_limits = [-1, -1, -1, -1]
        self._peer_windows = [0, 0, 0, 0]
        self.sender.rewind()

    def is_beyond_limits(self) -> bool:
        """Tell whether we have more streams open than the peer allows."""
        own = self._own_bit
        uni = own | UNI_BIT
        return self._opened[own] > self._limits[own] or self._opened[uni] > self._limits[uni]

    def _raise_streams(self, kind: int, count: int) -> bool:
        if count <= self._limits[kind]:
            return False
        self._limits[kind] = count
        return True

    # Finding and making streams

    def _find(self, stream_id: int, frame: int) -> Stream | None:
        """Return a stream that is not in the table, now made; None where it is over.

        Raises `QuicError` for one that cannot be: ours and not opened (section 19.8), or one too many (section 4.6).
        """
        kind, ordinal = stream_id & 3, stream_id >> 2
        if kind & SERVER_BIT == self._own_bit:
            if ordinal >= self._opened[kind]:
                raise QuicError(STREAM_STATE_ERROR, f"stream {stream_id} is ours and not open yet", frame)
            return None
        if ordinal >= self._limits[kind]:
            raise QuicError(
                STREAM_LIMIT_ERROR, f"stream {stream_id} opened, {self._limits[kind]} were allowed", frame
            )
        if ordinal >= self._opened[kind]:
            self._opened[kind] = ordinal + 1
        elif self._closed[kind].contains(ordinal):
            return None
        return self._make(stream_id)

    def _make(self, stream_id: int) -> Stream:
        kind = stream_id & 3
        is_own, is_uni = kind & SERVER_BIT == self._own_bit, kind & UNI_BIT != 0
        settings = self.settings
        receive = None if is_own and is_uni else ReceiveBuffer(self.waiting, 2 * settings.stream_window)
        send = None if is_uni and not is_own else SendBuffer()
        stream = Stream(
            stream_id,
            CONTROL_LEVEL if is_uni else level_of(DEFAULT_URGENCY),
            receive,
            ReceiveCredit(settings.stream_window, settings.max_stream_window),
            send,
            SendCredit(self._peer_windows[kind]),
        )
        self.table[stream_id] = stream
        return stream

    def _receiving(self, stream_id: int, frame: int) -> Stream | None:
        """Return the stream of a frame about what the peer sends; raises where it cannot send there."""
        if stream_id & 3 == self._own_bit | UNI_BIT:
            raise QuicError(STREAM_STATE_ERROR, f"stream {stream_id} is for us to send only", frame)
        stream = self.table.get(stream_id)
        return stream if stream is not None else self._find(stream_id, frame)

    def _sending(self, stream_id: int, frame: int) -> Stream | None:
        """Return the stream of a frame about what we send; raises where we cannot send there."""
        if stream_id & 3 == (self._own_bit ^ SERVER_BIT) | UNI_BIT:
            raise QuicError(STREAM_STATE_ERROR, f"stream {stream_id} is for the peer to send only", frame)
        stream = self.table.get(stream_id)
        return stream if stream is not None else self._find(stream_id, frame)

    def _own(self, stream_id: int) -> Stream:
        stream = self.table.get(stream_id)
        if stream is None:
            raise LocalProtocolError(f"stream {stream_id} is not open")
        return stream

    def moved(self) -> int:
        """Return how many octets of content were received and sent so far; a stream that is over counts for two KiB
        more, because each makes a server say that another may be opened."""
        closed = self._closed_count
        streams = closed[0] + closed[1] + closed[2] + closed[3]
        return self.receive_credit.received + self.sender.credit.used + (streams << 11)

    # Frames about what the peer sends

    def receive_stream(self, stream_id: int, offset: int, data: Piece, *, fin: bool) -> None:
        """STREAM (section 19.8): what is in order now stands in `take_arrived`.

        Raises `QuicError`, or `TooManyGapsError` for a packet that must be dropped and not acknowledged.
        """
        stream = self.table.get(stream_id)
        if stream is None:
            stream = self._receiving(stream_id, FRAME_STREAM)
            if stream is None:
                return
        buffer = stream.receive
        if buffer is None:
            raise QuicError(STREAM_STATE_ERROR, f"stream {stream_id} is for us to send only", FRAME_STREAM)
        end = offset + len(data)
        buffer.check_size(end, is_final=fin)
        if stream.receive_state > states.SIZE_KNOWN:
            return
        new = end - buffer.highest
        if new > 0:
            stream.receive_credit.check(new)
            self.receive_credit.check(new)
        if stream.is_stopped:
            self._receive_unwanted(stream, buffer, max(new, 0))
            return
        piece = buffer.receive(offset, data)
        if new > 0:
            stream.receive_credit.received += new
            self.receive_credit.received += new
        if stream.receive_state == states.RECV and buffer.final_size != UNKNOWN_SIZE:
            stream.receive_state = states.step_receiving(states.RECV, states.RECEIVE_FIN)
        if piece:
            waited = buffer.take()
            while waited:
                self._arrive(stream_id, piece)
                piece = waited
                waited = buffer.take()
        is_complete = buffer.is_complete()
        if piece or is_complete:
            self._arrive(stream_id, piece)
            if is_complete:
                self._end_arrival(fin=True)
        if is_complete:
            state = states.step_receiving(stream.receive_state, states.RECEIVE_ALL)
            stream.receive_state = states.step_receiving(state, states.READ_ALL)
            self._close_if_over(stream)

    def _receive_unwanted(self, stream: Stream, buffer: ReceiveBuffer, new: int) -> None:
        """Throw away what comes behind our STOP_SENDING, and give its credit back at once."""
        buffer.highest += new
        stream.receive_credit.received += new
        self.receive_credit.received += new
        self._credit_connection(new)
        self._discard_if_known(stream, buffer)

    def _discard_if_known(self, stream: Stream, buffer: ReceiveBuffer) -> None:
        if buffer.final_size == UNKNOWN_SIZE:
            return
        state = states.step_receiving(stream.receive_state, states.RECEIVE_FIN)
        stream.receive_state = states.step_receiving(state, states.DISCARD)
        # What is missing never comes to anybody: its credit is neither used nor waited for.
        missing = buffer.final_size - buffer.highest
        self.receive_credit.received += missing
        self._credit_connection(missing)
        buffer.highest = buffer.final_size
        self._close_if_over(stream)

    def _arrive(self, stream_id: int, piece: Piece) -> None:
        if stream_id != self._arriving:
            self._end_arrival(fin=False)
            self._arriving = stream_id
        self._pieces.append(piece)

    def _end_arrival(self, *, fin: bool) -> None:
        """Let what has come of one stream in a row become one piece: whoever reads it works once for each."""
        pieces = self._pieces
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._arrived.append((self._arriving, piece, fin))
            pieces.clear()
        self._arriving = NOBODY

    def take_arrived(self) -> list[tuple[int, Piece, bool]]:
        """Return what came in order since the last call: (stream, piece, fin)."""
        self._end_arrival(fin=False)
        arrived = self._arrived
        if arrived:
            self._arrived = []
        return arrived

    def receive_reset(self, stream_id: int, code: int, final_size: int, now: float) -> bool:
        """RESET_STREAM (section 19.4); True where whoever reads the stream must hear of `code`."""
        stream = self._receiving(stream_id, FRAME_RESET_STREAM)
        if stream is None or stream.receive is None:
            return False
        buffer = stream.receive
        buffer.check_size(final_size, is_final=True)
        if stream.receive_state > states.SIZE_KNOWN:
            return False
        new = final_size - buffer.highest
        stream.receive_credit.check(new)
        self.receive_credit.check(new)
        stream.receive_credit.received += new
        self.receive_credit.received += new
        buffer.highest = final_size
        # What went up is given back by `consumed` or `release`; what never will is given back here.
        self._credit_connection(new if stream.is_stopped else final_size - buffer.position)
        buffer.discard()
        state = states.step_receiving(stream.receive_state, states.RECEIVE_RESET)
        stream.receive_state = states.step_receiving(state, states.READ_RESET)
        must_tell = not stream.is_stopped
        self._count_early_reset(stream, now)
        self._close_if_over(stream)
        return must_tell

    def check_stream_data_blocked(self, stream_id: int) -> None:
        """STREAM_DATA_BLOCKED (section 19.13): it opens the stream, changes nothing, and needs no object."""
        kind, ordinal = stream_id & 3, stream_id >> 2
        if kind & SERVER_BIT != self._own_bit and ordinal < self._limits[kind]:
            self._opened[kind] = max(self._opened[kind], ordinal + 1)
        else:
            self._receiving(stream_id, FRAME_STREAM_DATA_BLOCKED)

    # Frames about what we send

    def receive_stop_sending(self, stream_id: int, code: int, now: float) -> bool:
        """STOP_SENDING (section 19.5): the stream is reset with the same code; True where its writer must hear."""
        stream = self._sending(stream_id, FRAME_STOP_SENDING)
        if stream is None or stream.send_state > states.DATA_SENT:
            return False
        self._count_early_reset(stream, now)
        return self.sender.reset(stream, code)

    def receive_max_data(self, limit: int) -> None:
        """MAX_DATA (section 19.9)."""
        self.sender.raise_limit(limit)

    def receive_max_stream_data(self, stream_id: int, limit: int) -> None:
        """MAX_STREAM_DATA (section 19.10)."""
        stream = self._sending(stream_id, FRAME_MAX_STREAM_DATA)
        if stream is not None:
            self.sender.raise_stream_limit(stream, limit)

    def receive_max_streams(self, *, is_uni: bool, count: int) -> bool:
        """MAX_STREAMS (section 19.11); True where more streams can be opened than before."""
        return self._raise_streams(self._own_bit | (UNI_BIT if is_uni else 0), count)

    def blame(self, stream_id: int, now: float) -> None:
        """Count a request that we give up before any reply because of what the peer sent (CVE-2025-8671)."""
        stream = self.table.get(stream_id)
        if stream is not None:
            self._count_early_reset(stream, now)

    def _count_early_reset(self, stream: Stream, now: float) -> None:
        """Count a request that the peer gave up before any reply; too many cost it new streams, then everything."""
        kind = stream.id & 3
        if kind != self._own_bit ^ SERVER_BIT or stream.send_state != states.READY or stream.is_reset_counted:
            return
        stream.is_reset_counted = True
        if now - self._early_resets_since >= EARLY_RESET_WINDOW:
            self._early_resets_since = now
            self._early_resets = 0
        self._early_resets += 1
        if self._early_resets > MAX_EARLY_RESETS_CLOSE:
            raise RemoteProtocolError(
                EXCESSIVE_LOAD,
                "rapid-reset",
                f"{self._early_resets} requests given up within {EARLY_RESET_WINDOW:.0f} s",
            )
        if self._early_resets > MAX_EARLY_RESETS:
            self.no_grants_until = now + EARLY_RESET_WINDOW

    # What the application does

    def open(self, *, is_uni: bool) -> int:
        """Open a stream and return its ID; `NOBODY` where the peer allows no more now (section 4.6)."""
        kind = self._own_bit | (UNI_BIT if is_uni else 0)
        ordinal = self._opened[kind]
        if ordinal >= self._limits[kind]:
            if self._told_limits[kind] != self._limits[kind]:
                self._told_limits[kind] = self._limits[kind]
                self._control.add(0, FRAME_STREAMS_BLOCKED_UNI if is_uni else FRAME_STREAMS_BLOCKED_BIDI)
            return NOBODY
        self._opened[kind] = ordinal + 1
        return self._make(ordinal << 2 | kind).id

    def openable(self, *, is_uni: bool) -> int:
        """Return how many streams the peer lets us open now."""
        kind = self._own_bit | (UNI_BIT if is_uni else 0)
        return self._limits[kind] - self._opened[kind]

    def set_priority(self, stream_id: int, urgency: int, *, is_incremental: bool) -> None:
        """Take over what RFC 9218 says of a stream; nothing happens where it is over."""
        stream = self.table.get(stream_id)
        if stream is not None:
            self.sender.set_priority(stream, urgency, is_incremental=is_incremental)

    def write(self, stream_id: int, data: bytes, *, fin: bool, start: int = 0) -> int:
        """Take as much of `data` from `start` on as there is room for, and say how much; FIN only with all of it.

        After less, `take_writable` names the stream when the rest should be tried. What is written to a stream that
        is reset already is taken and dropped. Raises `LocalProtocolError` for one that is not open, or has ended.
        """
        return self.sender.write(self._own(stream_id), data, fin=fin, start=start)

    def reset(self, stream_id: int, code: int) -> None:
        """Give up sending: RESET_STREAM goes out where that still says something."""
        stream = self._own(stream_id)
        if stream.send is None:
            raise LocalProtocolError(f"{stream!r} has nothing to reset")
        self.sender.reset(stream, code)

    def stop(self, stream_id: int, code: int) -> None:
        """Give up receiving: nothing more goes up, and the peer is asked to send no more (section 3.5)."""
        stream = self._own(stream_id)
        buffer = stream.receive
        if buffer is None:
            raise LocalProtocolError(f"{stream!r} has nothing to stop")
        if stream.is_stopped or stream.receive_state > states.SIZE_KNOWN:
            return
        stream.is_stopped = True
        stream.stop_code = code
        self._credit_connection(buffer.highest - buffer.position)
        buffer.discard()
        self._discard_if_known(stream, buffer)
        if stream.receive_state == states.RECV:
            self._control.add(stream_id, FRAME_STOP_SENDING)

    def consumed(self, stream_id: int, count: int) -> None:
        """Say that `count` octets more of what went up are used: the only thing that opens windows (section 4.2)."""
        stream = self.table.get(stream_id)
        if stream is None or stream.is_released or stream.receive is None:
            return
        credit = stream.receive_credit
        if credit.consumed + count > stream.receive.position:
            raise LocalProtocolError(f"{stream!r} had only {stream.receive.position} octets to consume")
        credit.consumed += count
        self._credit_connection(count)
        if stream.receive_state == states.RECV and not stream.is_stopped and credit.is_update_due():
            self._control.add(stream_id, FRAME_MAX_STREAM_DATA)

    def _credit_connection(self, count: int) -> None:
        self.receive_credit.consumed += count
        if self.receive_credit.is_update_due():
            self._control.add(0, FRAME_MAX_DATA)

    def release(self, stream_id: int) -> None:
        """Say that all work for a stream has stopped; each stream that was opened, or came up, needs it once."""
        stream = self.table.get(stream_id)
        if stream is None or stream.is_released:
            return
        stream.is_released = True
        if stream.receive is not None:
            credit = stream.receive_credit
            rest = stream.receive.position - credit.consumed
            credit.consumed += rest
            self._credit_connection(rest)
        self._close_if_over(stream)

    def _close_if_over(self, stream: Stream) -> None:
        if not stream.is_over():
            return
        kind = stream.id & 3
        del self.table[stream.id]
        self.sender.forget(stream)
        self._closed_count[kind] += 1
        if kind & SERVER_BIT != self._own_bit:
            self._closed[kind].add(stream.id >> 2, (stream.id >> 2) + 1)
            self._grant(kind)

    def _grant(self, kind: int) -> None:
        """Let the peer know of streams that it may open again: when it has used half of what it knows of."""
        freed = self._concurrent[kind] + self._closed_count[kind] - self._limits[kind]
        unused = self._limits[kind] - self._opened[kind]
        if freed > 0 and unused <= self._concurrent[kind] >> 1 and self.no_grants_until == NEVER:
            self._control.add(0, FRAME_MAX_STREAMS_UNI if kind & UNI_BIT else FRAME_MAX_STREAMS_BIDI)

    def deadline(self) -> float:
        """Return when `on_deadline` is to be called."""
        return self.no_grants_until

    def on_deadline(self, now: float) -> None:
        """Let a peer that reset too many requests open new ones again."""
        if self.no_grants_until != NEVER and now >= self.no_grants_until:
            self.no_grants_until = NEVER
            self._grant(self._own_bit ^ SERVER_BIT)
            self._grant((self._own_bit ^ SERVER_BIT) | UNI_BIT)

    def bound_windows(self, stream_window: int, connection_window: int) -> None:
        """Set how far windows may grow from now on, because a worker's memory is short or is no longer."""
        self.receive_credit.bound(connection_window)
        for stream in self.table.values():
            stream.receive_credit.bound(stream_window)

    # Sending

    def take_writable(self) -> list[int]:
        """Return the streams whose short writes should be repeated now."""
        return self.sender.take_writable()

    def next_piece(self, room: int) -> tuple[int, int, bytes, bool] | None:
        """Return the next STREAM frame that fits into `room` octets with its header: (stream, offset, data, fin).

        None: nobody has anything to send, or the room is too small. The packet gives these back to `on_ack` or
        `on_loss`, with the length in place of the data.
        """
        piece = self.sender.next_piece(room - size_of_varint(room))
        return piece if piece[0] != NOBODY else None

    def on_ack(self, stream_id: int, offset: int, length: int, *, fin: bool) -> None:
        """A piece arrived."""
        stream = self.table.get(stream_id)
        if stream is not None:
            self.sender.on_ack(stream, offset, length, fin=fin)
            self._close_if_over(stream)

    def on_loss(self, stream_id: int, offset: int, length: int, *, fin: bool) -> None:
        """A piece is lost: it goes again, needing no credit."""
        stream = self.table.get(stream_id)
        if stream is not None:
            self.sender.on_loss(stream, offset, length, fin=fin)

    def has_control(self) -> bool:
        """Tell whether `next_control` may have a frame."""
        return len(self._control) > 0

    def next_control(self, now: float, round_trip: float) -> tuple[int, int, int, int]:
        """Return the next control frame, made with the newest numbers: (kind, stream, value, final size).

        The value is a code or a limit; the stream is 0 where the frame names none, as is the final size but for
        RESET_STREAM.
        A kind below 0: there is none. It needs `CONTROL_SIZE` octets at most.
        """
        while len(self._control) > 0:
            kind, stream_id = self._control.take()
            if kind in (
                FRAME_RESET_STREAM,
                FRAME_STOP_SENDING,
                FRAME_MAX_STREAM_DATA,
                FRAME_STREAM_DATA_BLOCKED,
            ):
                stream = self.table.get(stream_id)
                frame = _NO_FRAME if stream is None else self._stream_frame(stream, kind, now, round_trip)
            else:
                frame = self._connection_frame(kind, now, round_trip)
            if frame[0] >= 0:
                return frame
        return _NO_FRAME

    def _stream_frame(
        self, stream: Stream, kind: int, now: float, round_trip: float
    ) -> tuple[int, int, int, int]:
        """Make a control frame of a stream, unless it says nothing any more (section 13.3)."""
        if kind == FRAME_RESET_STREAM and stream.send_state == states.RESET_SENT:
            return kind, stream.id, stream.reset_code, stream.final_sent
        if kind == FRAME_STREAM_DATA_BLOCKED and stream.send is not None:
            credit = stream.send_credit
            if stream.send_state <= states.DATA_SENT and credit.used >= credit.limit:
                return kind, stream.id, credit.limit, 0
        if stream.receive is None or stream.receive_state != states.RECV:
            return _NO_FRAME
        if kind == FRAME_STOP_SENDING:
            return kind, stream.id, stream.stop_code, 0
        if kind == FRAME_MAX_STREAM_DATA and not stream.is_stopped:
            granted = stream.receive_credit
            if granted.is_update_due():
                granted.update(now, round_trip)
                stream.receive.max_charge = 2 * granted.window
            return kind, stream.id, granted.limit, 0
        return _NO_FRAME

    def _connection_frame(self, kind: int, now: float, round_trip: float) -> tuple[int, int, int, int]:
        if kind == FRAME_MAX_DATA:
            granted = self.receive_credit
            if granted.is_update_due():
                granted.update(now, round_trip)
                self.waiting.max_charge = 2 * granted.window
            return kind, 0, granted.limit, 0
        if kind == FRAME_DATA_BLOCKED:
            return (kind, 0, self.sender.credit.limit, 0) if self.sender.is_starving() else _NO_FRAME
        uni = UNI_BIT if kind in (FRAME_MAX_STREAMS_UNI, FRAME_STREAMS_BLOCKED_UNI) else 0
        if kind in (FRAME_MAX_STREAMS_BIDI, FRAME_MAX_STREAMS_UNI):
            theirs = (self._own_bit ^ SERVER_BIT) | uni
            if self.no_grants_until == NEVER:
                self._limits[theirs] = self._concurrent[theirs] + self._closed_count[theirs]
            return kind, 0, self._limits[theirs], 0
        ours = self._own_bit | uni
        is_blocked = self._opened[ours] >= self._limits[ours]
        return (kind, 0, self._limits[ours], 0) if is_blocked else _NO_FRAME

    def on_control_ack(self, kind: int, stream_id: int) -> None:
        """A control frame arrived; only RESET_STREAM ends something by that."""
        stream = self.table.get(stream_id)
        if kind == FRAME_RESET_STREAM and stream is not None:
            stream.send_state = states.step_sending(stream.send_state, states.RESET_ACKED)
            self._close_if_over(stream)

    def on_control_loss(self, kind: int, stream_id: int, value: int) -> None:
        """A control frame is lost: it goes again unless a newer one went since, or nobody needs it (section 13.3)."""
        if kind == FRAME_MAX_DATA and value != self.receive_credit.limit:
            return
        if kind == FRAME_MAX_STREAM_DATA:
            stream = self.table.get(stream_id)
            if stream is None or value != stream.receive_credit.limit:
                return
        self._control.add(stream_id, kind)
