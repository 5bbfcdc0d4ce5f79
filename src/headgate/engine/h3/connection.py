"""An HTTP/3 connection (RFC 9114), either role, above the streams of QUIC.

Whoever drives it: gives octets of streams in order (`receive_stream`, with the peer's end of the stream), resets
(`receive_reset`) and refusals (`receive_stop`); takes events with `next_event()` until None; gives the other side's
events to `send`; then carries to QUIC what `take_writes()`, `take_resets()`, `take_stops()`, `take_priorities()` and
`take_consumed()` return, in that order. Streams are QUIC's numbers throughout.

Backpressure: content is handed out at once and never kept here. Who does not want a stream's content does not feed
the stream; `take_consumed` tells how many octets of each stream we have used up ourselves (heads, framing), and
whoever takes a `Data` event tells QUIC when that is consumed. Content of one `receive_stream` is one `Data`, in
however many frames it came.

Faults: a `H3ConnectionError` ends the connection and is raised; one of a stream becomes a `StreamFailed` event, and
its resets are queued. Events of a message that is found malformed and were not taken yet are taken back.
"""

from typing import Final, final

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage
from headgate.engine.h3 import frames, machine
from headgate.engine.h3.budget import MAX_ENCODER_OCTETS
from headgate.engine.h3.control import NOT_SENT
from headgate.engine.h3.errors import (
    H3_CLOSED_CRITICAL_STREAM,
    H3_EXCESSIVE_LOAD,
    H3_FRAME_ERROR,
    H3_ID_ERROR,
    H3_MESSAGE_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_INCOMPLETE,
    H3_REQUEST_REJECTED,
    H3_STREAM_CREATION_ERROR,
    H3ConnectionError,
    H3StreamError,
    unexpected,
)
from headgate.engine.h3.machine import DONE, FAILED, HEAD, received
from headgate.engine.h3.sender import H3Sender
from headgate.engine.h3.streams import (
    CONTROL,
    DECODER,
    ENCODER,
    IGNORED,
    PUSH,
    UNKNOWN,
    RequestStream,
    UniStream,
)
from headgate.engine.message.errors import MalformedError, RefusedError, SectionTooLargeError, malformed
from headgate.engine.message.events import GoingAway, RequestRefused
from headgate.engine.message.lines import Line
from headgate.engine.message.messages import read_request, read_response, read_trailers
from headgate.engine.message.priority import DEFAULT_PRIORITY, MAX_PENDING_PRIORITIES
from headgate.engine.varint import decode_varint, length_of_varint

# An encoded section, known by the head of its frame: as large as what it may decode to (node 16 KiB, nginx 32).
MAX_HEADERS_FRAME: Final = 64 * 1024
# Responses with 1xx before the final one.
MAX_INTERIM_RESPONSES: Final = 8
_NOT_ON_REQUESTS: Final = frozenset(
    (
        frames.CANCEL_PUSH,
        frames.SETTINGS,
        frames.PUSH_PROMISE,
        frames.GOAWAY,
        frames.FRAME_MAX_PUSH_ID,
        frames.PRIORITY_UPDATE_REQUEST,
        frames.PRIORITY_UPDATE_PUSH,
    )
)


@final
class H3Connection(H3Sender):
    """One connection; its control stream with SETTINGS is the first thing to be written."""

    def receive_stream(self, stream_id: int, data: bytes, fin: bool, now: float) -> None:
        """Take the next octets of a stream, and its end. Raises `H3ConnectionError`: then close with its code."""
        if self.failed:
            return
        try:
            if stream_id & 2:
                self._receive_uni(stream_id, data, fin, now)
            elif stream_id & 1:
                raise H3ConnectionError(
                    H3_STREAM_CREATION_ERROR,
                    "stream-creation",
                    "a bidirectional stream of the server (section 6.1)",
                )
            else:
                self._receive_request(stream_id, data, fin, now)
        except H3ConnectionError:
            self.failed = True
            raise

    def receive_reset(self, stream_id: int, code: int, now: float) -> None:
        """Take the peer's RESET_STREAM. Raises `H3ConnectionError`."""
        if self.failed:
            return
        if stream_id & 2:
            uni = self._uni.pop(stream_id, None)
            if uni is not None and uni.kind >= 0:
                self._close_critical(uni.kind)
            try:
                self.glitches.spend(now)
            except H3ConnectionError:
                self.failed = True
                raise
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        stream.ended = True
        if stream.receiving in (DONE, FAILED):
            self._drop(stream)
        else:
            error = H3StreamError(code, "reset", f"the peer reset stream {stream_id} with {code:#x}")
            self._fail(stream, error, H3_REQUEST_CANCELLED, by_peer=True)

    def receive_stop(self, stream_id: int, code: int) -> None:
        """Take the peer's STOP_SENDING; QUIC itself has reset our direction. Raises `H3ConnectionError`."""
        if self.failed:
            return
        if stream_id & 2:
            self._close_critical(stream_id)
        stream = self.streams.get(stream_id)
        if stream is None or stream.sending in (DONE, FAILED):
            return
        stream.sending = FAILED
        if self.is_client:
            # Section 4.1: a server may stop a request and still answer it.
            self._drop(stream)
        else:
            error = H3StreamError(
                code, "stopped", f"the client wants no answer on stream {stream_id}: {code:#x}"
            )
            self._fail(stream, error, H3_REQUEST_CANCELLED, by_peer=True)

    def _close_critical(self, kind: int) -> None:
        """Section 6.2.1, RFC 9204 section 4.2: these streams live as long as the connection."""
        self.failed = True
        raise H3ConnectionError(
            H3_CLOSED_CRITICAL_STREAM, "closed-critical-stream", f"stream {kind} was closed"
        )

    # -- unidirectional streams

    def _receive_uni(self, stream_id: int, data: bytes, fin: bool, now: float) -> None:
        uni = self._uni.get(stream_id)
        if uni is None:
            uni = UniStream()
            self._uni[stream_id] = uni
        if data:
            self._consumed.append((stream_id, len(data)))
        if uni.kind == UNKNOWN:
            data = uni.begun + data
            if not data or len(data) < length_of_varint(data[0]):
                uni.begun = data
            else:
                uni.begun = b""
                self._begin_uni(stream_id, uni, decode_varint(data, 0), fin, now)
                data = data[length_of_varint(data[0]) :]
        if uni.kind == CONTROL:
            self._receive_control(data, now)
        elif uni.kind == ENCODER:
            self._receive_encoder(data, now)
        elif uni.kind == DECODER:
            self.encoder.receive(data)
        if fin:
            if uni.kind >= 0:
                self._close_critical(uni.kind)
            if uni.kind == UNKNOWN:
                self.glitches.spend(now)  # it ended before its type, which is allowed (section 6.2)
            del self._uni[stream_id]

    def _begin_uni(self, stream_id: int, uni: UniStream, kind: int, fin: bool, now: float) -> None:
        """Act on the type of a stream; what nobody knows is stopped, not read (section 6.2)."""
        if kind == PUSH:
            if self.is_client:
                raise H3ConnectionError(
                    H3_ID_ERROR, "push", "a push stream, and no push was allowed (section 4.6)"
                )
            raise H3ConnectionError(
                H3_STREAM_CREATION_ERROR, "push", "a push stream of a client (section 6.2.2)"
            )
        if kind in (CONTROL, ENCODER, DECODER):
            if kind in self._critical:
                raise H3ConnectionError(
                    H3_STREAM_CREATION_ERROR, "stream-creation", f"a second stream of type {kind}"
                )
            self._critical[kind] = stream_id
            uni.kind = kind
            return
        uni.kind = IGNORED
        self.glitches.spend(now)
        if not fin:
            self._stops.append((stream_id, H3_STREAM_CREATION_ERROR))

    def _receive_control(self, data: bytes, now: float) -> None:
        control = self.control
        before = control.goaway
        settled = control.settings.received
        control.receive(data, now)
        if control.settings.received and not settled:
            self.encoder.apply_settings(control.settings.table_capacity)
        if control.goaway != before:
            self._events.append((-1, GoingAway(control.goaway)))
            if self.is_client:
                self._give_up_from(control.goaway)
        if control.priorities:
            for stream_id, priority in control.priorities:
                self._reprioritise(stream_id, priority)
            control.priorities = []

    def _receive_encoder(self, data: bytes, now: float) -> None:
        if not self._encoder_budget.spend(now, len(data)):
            raise H3ConnectionError(
                H3_EXCESSIVE_LOAD,
                "qpack-encoder-stream",
                f"more than {MAX_ENCODER_OCTETS} octets of it at once",
            )
        self.decoder.receive(data)
        for stream_id, section in self.decoder.unblocked():
            stream = self.streams.get(stream_id)
            if stream is not None and stream.blocked:
                stream.blocked = False
                stream.held = 0
                self._read(stream, section, now)
                self._credit(stream)

    def _reprioritise(self, stream_id: int, priority: int) -> None:
        """RFC 9218 section 7: the frame overrides the field, also when it comes first."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.updated = True
            self._priorities.append((stream_id, priority))
            return
        self._pending.pop(stream_id, None)
        if len(self._pending) >= MAX_PENDING_PRIORITIES:
            del self._pending[next(iter(self._pending))]
        self._pending[stream_id] = priority

    def _give_up_from(self, first: int) -> None:
        """As a client: what the server did not look at may be asked again elsewhere (section 5.2)."""
        for stream in list(self.streams.values()):
            if stream.id >= first and stream.receiving not in (DONE, FAILED):
                error = H3StreamError(H3_REQUEST_REJECTED, "going-away", "the server takes no more requests")
                self._fail(stream, error, H3_REQUEST_CANCELLED, by_peer=True)

    # -- request streams

    def _receive_request(self, stream_id: int, data: bytes, fin: bool, now: float) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_client:
                return  # an answer that nobody waits for any more
            stream = self._open(stream_id, now)
        stream.fed += len(data)
        if fin:
            stream.fin = True
        if stream.receiving in (DONE, FAILED):
            if fin:
                stream.ended = True
                self._drop(stream)
        else:
            stream.reader.feed(data)
            if not stream.blocked:
                self._read(stream, None, now)
        self._credit(stream)

    def _open(self, stream_id: int, now: float) -> RequestStream:
        """Begin a request; beyond what we said to take (section 5.2) it is rejected unread."""
        stream = RequestStream(stream_id)
        self.streams[stream_id] = stream
        if self._goaway_sent != NOT_SENT and stream_id >= self._goaway_sent:
            stream.receiving = FAILED
            stream.sending = FAILED
            self._resets.append((stream_id, H3_REQUEST_REJECTED))
            self._stops.append((stream_id, H3_REQUEST_REJECTED))
            return stream
        self.requests += 1
        self._next = max(self._next, stream_id + 4)
        priority = self._pending.pop(stream_id, -1)
        if priority >= 0:
            stream.updated = True
            self._priorities.append((stream_id, priority))
        if self.requests >= self.max_requests or now >= self.expires:
            self.go_away()
        return stream

    def _read(self, stream: RequestStream, section: bytes | None, now: float) -> None:
        """Read what a stream holds, beginning with a section that had to wait."""
        pieces: list[bytes] = []
        reader = stream.reader
        try:
            if section is not None:
                self._section(stream, section)
            while not stream.blocked and stream.receiving != FAILED:
                met = reader.next()
                if met == frames.PIECE:
                    pieces.append(reader.payload)
                elif met == frames.HEAD:
                    self._head(stream, now)
                elif met == frames.PAYLOAD:
                    self._content(stream, pieces)
                    self._section(stream, reader.payload)
                else:
                    self._content(stream, pieces)
                    if stream.fin:
                        self._end(stream)
                    return
        except H3StreamError as error:
            self._fail(stream, error, error.code, by_peer=False)
        except MalformedError as wrong:
            broken = H3StreamError(H3_MESSAGE_ERROR, wrong.reason, wrong.detail)
            self._fail(stream, broken, H3_MESSAGE_ERROR, by_peer=False)
        except RefusedError as refused:
            self._refuse(stream, refused)

    def _head(self, stream: RequestStream, now: float) -> None:
        """Decide on a frame by its type and length (section 7)."""
        reader = stream.reader
        kind = reader.type
        length = reader.length
        if kind == frames.DATA:
            stream.receiving = received(stream.receiving, machine.DATA)
            if length == 0:
                self.glitches.spend(now)
                return
            self.glitches.earn()
            if stream.left >= 0:
                if length > stream.left:
                    raise malformed("more content than Content-Length says, or where none may be")
                stream.left -= length
            reader.take(frames.PIECES)
        elif kind == frames.HEADERS:
            if stream.receiving != HEAD:
                received(stream.receiving, machine.TRAILERS)
            if length > MAX_HEADERS_FRAME:
                raise H3StreamError(H3_EXCESSIVE_LOAD, "head-too-large", f"a section of {length} octets")
            self.glitches.earn()
            reader.take(frames.WHOLE)
        elif kind == frames.PUSH_PROMISE and self.is_client:
            raise H3ConnectionError(
                H3_ID_ERROR, "push", "PUSH_PROMISE, and no push was allowed (section 7.2.5)"
            )
        elif kind in _NOT_ON_REQUESTS or kind in frames.RESERVED:
            raise unexpected(f"a frame {kind:#x} on a request stream")
        else:
            self.glitches.spend(now)  # section 9: unknown frames are skipped

    def _content(self, stream: RequestStream, pieces: list[bytes]) -> None:
        if not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        stream.content += len(data)
        self._events.append((stream.id, Data(data, stream.id)))

    def _section(self, stream: RequestStream, section: bytes) -> None:
        try:
            lines = self.decoder.decode(stream.id, section)
        except SectionTooLargeError as error:
            if self.is_client or stream.receiving != HEAD:
                raise H3StreamError(H3_EXCESSIVE_LOAD, "head-too-large", str(error)) from error
            raise RefusedError(431, "head-too-large", str(error)) from error
        if lines is None:
            stream.blocked = True
            stream.held = len(section)
        elif stream.receiving != HEAD:
            stream.receiving = received(stream.receiving, machine.TRAILERS)
            stream.trailers = read_trailers(lines)
        elif self.is_client:
            self._response(stream, lines)
        else:
            self._request(stream, lines)

    def _request(self, stream: RequestStream, lines: list[Line]) -> None:
        request, priority = read_request(
            lines,
            stream.id,
            30,
            b"https",
            ended=self._is_last(stream),
            connect_protocol=self.local.connect_protocol,
        )
        stream.method = request.method
        is_tunnel = request.method == b"CONNECT"
        stream.receiving = received(stream.receiving, machine.CONNECT if is_tunnel else machine.FINAL)
        self._announce(stream, request.body)
        if priority != DEFAULT_PRIORITY and not stream.updated:
            self._priorities.append((stream.id, priority))
        self._events.append((stream.id, request))

    def _response(self, stream: RequestStream, lines: list[Line]) -> None:
        response = read_response(lines, stream.id, stream.method, ended=self._is_last(stream))
        if response.status < 200:
            stream.interim += 1
            if stream.interim > MAX_INTERIM_RESPONSES:
                raise H3StreamError(
                    H3_MESSAGE_ERROR,
                    "too-many-interim",
                    f"more than {MAX_INTERIM_RESPONSES} interim responses",
                )
            stream.receiving = received(stream.receiving, machine.INTERIM)
        else:
            is_tunnel = stream.method == b"CONNECT" and response.status < 300
            stream.receiving = received(stream.receiving, machine.CONNECT if is_tunnel else machine.FINAL)
            self._announce(stream, response.body)
        self._events.append((stream.id, response))

    def _is_last(self, stream: RequestStream) -> bool:
        return stream.fin and stream.reader.between_frames

    def _announce(self, stream: RequestStream, body: int) -> None:
        stream.announced = body != NO_BODY
        stream.left = -1 if body == UNKNOWN_LENGTH else body

    def _end(self, stream: RequestStream) -> None:
        """The stream ended cleanly: so must its message."""
        if not stream.reader.between_frames:
            raise H3ConnectionError(
                H3_FRAME_ERROR, "frame-error", "a stream ends inside a frame (section 7.1)"
            )
        stream.ended = True
        if stream.receiving == HEAD:
            raise H3StreamError(
                H3_REQUEST_INCOMPLETE, "incomplete", "the stream ends without a whole message"
            )
        if stream.left > 0:
            raise malformed(f"the stream ends {stream.left} octets before Content-Length")
        stream.receiving = received(stream.receiving, machine.END)
        if stream.announced:
            self._events.append((stream.id, EndOfMessage(stream.trailers, stream.id)))
        self._drop(stream)

    def _refuse(self, stream: RequestStream, refused: RefusedError) -> None:
        """Read no more of a request that gets an answer without being handed out."""
        self._stop_reading(stream)
        event = RequestRefused(stream.id, refused.code, refused.reason, refused.detail)
        self._events.append((stream.id, event))
