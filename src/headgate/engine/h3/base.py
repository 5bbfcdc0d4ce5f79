"""What both halves of an HTTP/3 connection share: its state, how streams end, and what goes to QUIC.

`H3Sender` adds how messages are written, `H3Connection` how they are read.
"""

from typing import Final

from headgate.engine.events import Data, Event
from headgate.engine.h3 import frames
from headgate.engine.h3.budget import ENCODER_SECONDS, MAX_ENCODER_OCTETS, Budget
from headgate.engine.h3.control import NOT_SENT, ControlReader, Glitches
from headgate.engine.h3.errors import H3_INTERNAL_ERROR, H3_NO_ERROR, H3StreamError
from headgate.engine.h3.frames import encode_frame
from headgate.engine.h3.machine import DONE, FAILED
from headgate.engine.h3.qpack_decoder import QpackDecoder
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.h3.settings import H3Settings
from headgate.engine.h3.streams import CONTROL, DECODER, ENCODER, UNKNOWN, RequestStream, UniStream
from headgate.engine.message.events import StreamFailed
from headgate.engine.varint import encode_varint

# Then GOAWAY: a client that stays for ever pins its worker, and old ones could never end (nginx 1000 requests, 1 h).
MAX_REQUESTS: Final = 10_000
MAX_AGE_SECONDS: Final = 3600.0
_LAST_REQUEST: Final = (1 << 62) - 4


class H3Base:
    """Base of `H3Sender`."""

    def __init__(
        self,
        is_client: bool,
        now: float,
        settings: H3Settings | None = None,
        max_requests: int = MAX_REQUESTS,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        self.is_client = is_client
        self.local = settings if settings is not None else H3Settings()
        self.max_requests = max_requests
        self.expires = now + max_age
        self.failed = False
        self.requests = 0
        self.streams: dict[int, RequestStream] = {}
        self.glitches = Glitches()
        self.control = ControlReader(is_client, self.glitches)
        self.decoder = QpackDecoder(
            self.local.table_capacity,
            self.local.blocked_streams,
            self.local.max_section,
            self.local.max_lines,
        )
        self.encoder = QpackEncoder(shared=is_client)
        self._encoder_budget = Budget(MAX_ENCODER_OCTETS, ENCODER_SECONDS)
        self._uni: dict[int, UniStream] = {}
        self._critical: dict[int, int] = {}  # kind to the peer's stream
        self._next = 0  # the lowest request stream that was never seen (server) or used (client)
        self._goaway_sent = NOT_SENT
        self._pending: dict[int, int] = {}  # priorities of streams that are not open yet
        self._events: list[tuple[int, Event]] = []
        self._event_at = 0
        self._writes: list[tuple[int, bytes, bool]] = []
        self._resets: list[tuple[int, int]] = []
        self._stops: list[tuple[int, int]] = []
        self._priorities: list[tuple[int, int]] = []
        self._consumed: list[tuple[int, int]] = []
        # Our own unidirectional streams have fixed numbers, the first three of our role.
        first = 2 if is_client else 3
        self._control_stream = first
        self._encoder_stream = first + 4
        self._decoder_stream = first + 8
        self._encoder_opened = False
        self._decoder_opened = False
        payload = self.local.encode(is_client)
        self._writes.append((first, encode_varint(CONTROL) + encode_frame(frames.SETTINGS, payload), False))

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        return f"<H3Connection {role} requests={self.requests} open={len(self.streams)}>"

    def forget(self, stream_id: int) -> None:
        """Let go of a stream that QUIC knows no more."""
        self._pending.pop(stream_id, None)
        self.streams.pop(stream_id, None)
        self._uni.pop(stream_id, None)

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        at = self._event_at
        if at >= len(self._events):
            if at > 0:
                self._events = []
                self._event_at = 0
            return None
        self._event_at = at + 1
        return self._events[at][1]

    def has_event_of(self, stream_id: int) -> bool:
        """Tell whether the next event is of this stream."""
        at = self._event_at
        return at < len(self._events) and self._events[at][0] == stream_id

    def has_begun(self, stream_id: int) -> bool:
        """Tell whether a stream of the peer is a request that is open, or has said what it is."""
        if stream_id & 2 == 0:
            return stream_id in self.streams
        uni = self._uni.get(stream_id)
        return uni is not None and uni.kind != UNKNOWN

    @property
    def critical(self) -> int:
        """How many streams of both sides live as long as the connection (section 6.2.1)."""
        return 1 + self._encoder_opened + self._decoder_opened + len(self._critical)

    # -- ends

    @property
    def is_going_away(self) -> bool:
        """Whether we have said that we take no more requests."""
        return self._goaway_sent != NOT_SENT

    def _fail(self, stream: RequestStream, error: H3StreamError, code: int, *, by_peer: bool) -> None:
        """End a stream in both directions; `code` goes on the wire."""
        self._take_back(stream)
        if stream.receiving not in (DONE, FAILED):
            self.decoder.cancel(stream.id)
        stream.receiving = FAILED
        if stream.sending not in (DONE, FAILED):
            self._resets.append((stream.id, code))
            stream.sending = FAILED
        if stream.fin:
            stream.ended = True
        elif not stream.ended:
            self._stops.append((stream.id, code))
        self._events.append(
            (stream.id, StreamFailed(stream.id, error.code, error.reason, error.detail, by_peer))
        )
        self._credit(stream)
        self._drop(stream)

    def _stop_reading(self, stream: RequestStream) -> None:
        """Section 4.1: H3_NO_ERROR says that the answer does not depend on the rest."""
        self.decoder.cancel(stream.id)
        stream.receiving = FAILED
        if stream.fin:
            stream.ended = True
        else:
            self._stops.append((stream.id, H3_NO_ERROR))

    def _take_back(self, stream: RequestStream) -> None:
        """Nobody has seen these events, and nobody shall begin to forward a message that is broken already."""
        kept: list[tuple[int, Event]] = []
        for i in range(self._event_at, len(self._events)):
            stream_id, event = self._events[i]
            if stream_id != stream.id:
                kept.append((stream_id, event))
            elif isinstance(event, Data):
                stream.content -= len(event.data)
        self._events = kept
        self._event_at = 0

    def _credit(self, stream: RequestStream) -> None:
        """Tell what was used up here: all that was fed, but for content and for what is still held."""
        waiting = 0 if stream.receiving == FAILED else stream.reader.buffered + stream.held
        used = stream.fed - stream.content - waiting - stream.credited
        if used > 0:
            stream.credited += used
            self._consumed.append((stream.id, used))

    def _drop(self, stream: RequestStream) -> None:
        """Forget a stream that is over in both directions."""
        if stream.ended and stream.sending in (DONE, FAILED):
            self.streams.pop(stream.id, None)

    def abort(self, stream_id: int, code: int = H3_INTERNAL_ERROR) -> None:
        """Give a stream up in both directions; nothing more is told of it."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        self._take_back(stream)
        if stream.receiving not in (DONE, FAILED):
            self.decoder.cancel(stream_id)
            if stream.fin:
                stream.ended = True
            else:
                self._stops.append((stream_id, code))
        stream.receiving = FAILED
        if stream.sending not in (DONE, FAILED):
            self._resets.append((stream_id, code))
            stream.sending = FAILED
        self._credit(stream)
        self._drop(stream)

    def go_away(self) -> None:
        """Take no more requests: what the peer sent already is answered, later ones are rejected unread."""
        first = 0 if self.is_client else min(self._next, _LAST_REQUEST)
        if self._goaway_sent != NOT_SENT:
            return
        self._goaway_sent = first
        self._writes.append((self._control_stream, encode_frame(frames.GOAWAY, encode_varint(first)), False))

    # -- what goes to QUIC

    def take_writes(self) -> list[tuple[int, bytes, bool]]:
        """Return (stream, octets, whether the stream ends) in order."""
        output = self.encoder.take_output()
        if output:
            # In front: a section that refers to new entries need not wait for them.
            if not self._encoder_opened:
                self._encoder_opened = True
                output = encode_varint(ENCODER) + output
            self._writes.insert(0, (self._encoder_stream, output, False))
        output = self.decoder.take_output()
        if output:
            if not self._decoder_opened:
                self._decoder_opened = True
                output = encode_varint(DECODER) + output
            self._writes.append((self._decoder_stream, output, False))
        writes = self._writes
        self._writes = []
        return writes

    def take_resets(self) -> list[tuple[int, int]]:
        """Return (stream, code) to be reset, behind all writes."""
        resets = self._resets
        self._resets = []
        return resets

    def take_stops(self) -> list[tuple[int, int]]:
        """Return (stream, code) of which nothing more is wanted: STOP_SENDING."""
        stops = self._stops
        self._stops = []
        return stops

    def take_priorities(self) -> list[tuple[int, int]]:
        """Return (stream, urgency * 2 + incremental) that changed, the last one counts."""
        priorities = self._priorities
        self._priorities = []
        return priorities

    def take_consumed(self) -> list[tuple[int, int]]:
        """Return (stream, octets) that were used up here: flow control may give them back."""
        consumed = self._consumed
        self._consumed = []
        return consumed
