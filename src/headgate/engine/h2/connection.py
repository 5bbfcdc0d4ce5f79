"""An HTTP/2 connection (RFC 9113), either role.

Whoever drives it gives what was read to `receive`, takes events with `next_event()` until None, gives the other
side's events to `send`, and writes what `take_output()` returns. Faults of the peer: a `H2ConnectionError` ends the
connection and is raised, its GOAWAY is queued already; one of a stream becomes a `StreamFailed` event, and its
RST_STREAM is queued. Events of a message that is found malformed and were not taken yet are taken back.

Reading. Frames are read where they stand in what came. Content is cut out of it once: a DATA frame need not be there
in full, its head is enough to check it, and consecutive frames of one stream make one `Data`. Of other frames one
that is incomplete is kept, until all of it is there; of those that nobody knows, and of content that nobody wants,
nothing is.

Closed streams are forgotten. Of those that we have reset the last ones are remembered: what the peer had sent before
it knew is thrown away, after HPACK and the connection's window have seen it (section 5.1). A frame of any other
closed stream that may not come is an error: of the stream when it is DATA, else of the connection.
"""

from typing import Final, final

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH
from headgate.engine.h2 import frames, machine
from headgate.engine.h2.base import MAX_AGE_SECONDS, MAX_REQUESTS
from headgate.engine.h2.budgets import (
    CLOSED_STREAMS,
    EMPTY_HEADERS,
    RAPID_RESET,
    RAPID_SECONDS,
    REFUSED_STREAMS,
    UNKNOWN_FRAMES,
    WINDOW_UPDATES,
)
from headgate.engine.h2.content import H2Content
from headgate.engine.h2.control import LAST_STREAM
from headgate.engine.h2.errors import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    H2ConnectionError,
    H2StreamError,
    frame_size_error,
    name_of,
    protocol_error,
)
from headgate.engine.h2.frames import (
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FLAG_PADDED,
    HEAD_OCTETS,
    PREFACE,
    decode_number,
    fragment_of,
)
from headgate.engine.h2.machine import (
    CLOSED,
    DONE,
    FAILED,
    HEAD,
    MISSING,
    message_after,
    peer_does,
)
from headgate.engine.h2.settings import H2Settings
from headgate.engine.h2.stream import H2Stream
from headgate.engine.message.errors import MalformedError, RefusedError, SectionTooLargeError, malformed
from headgate.engine.message.events import RequestRefused
from headgate.engine.message.lines import Line
from headgate.engine.message.messages import read_request, read_response, read_trailers
from headgate.engine.message.priority import DEFAULT_PRIORITY

# CONTINUATION frames of one field block (nghttp2 8).
MAX_CONTINUATIONS: Final = 8
# Responses with 1xx before the final one.
MAX_INTERIM_RESPONSES: Final = 8
_NO_STREAM: Final = 0


@final
class H2Connection(H2Content):
    """One connection; our preface is the first thing to be written."""

    def __init__(
        self,
        is_client: bool,
        now: float,
        settings: H2Settings | None = None,
        scheme: bytes = b"https",
        max_requests: int = MAX_REQUESTS,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        super().__init__(is_client, now, settings, scheme, max_requests, max_age)
        self._preface_left = 0 if is_client else len(PREFACE)
        self._held = bytearray()  # a frame that is incomplete
        self.frames = 0  # that have come
        self._needed = 0  # how many octets make it go on
        # A field block that is not complete.
        self._block: list[bytes] = []
        self._block_size = 0
        self._block_stream = _NO_STREAM
        self._block_ends = False

    # -- octets

    @property
    def buffered(self) -> int:
        """How many octets of incomplete frames and field blocks are held."""
        return len(self._held) + self._block_size

    def receive(self, data: bytes, now: float) -> None:
        """Take octets. Raises `H2ConnectionError`: then write what `take_output` has once more, and close."""
        if self.failed:
            return
        self.now = now
        try:
            if self._held:
                self._held += data
                if len(self._held) < self._needed:
                    return
                data = bytes(self._held)
                self._held = bytearray()
            self._read(data, self._read_preface(data) if self._preface_left else 0)
        except H2ConnectionError as error:
            self._run = None
            self._break(error)
            raise

    def receive_eof(self, now: float) -> None:
        """Take the peer's end of the connection: what is open still is over."""
        if self.failed:
            return
        self.now = now
        self.failed = True
        for stream in list(self.streams.values()):
            unfinished = stream.receiving != DONE
            if unfinished or not self.is_client:
                self._close_by_peer(stream)
                self._fail(stream, CANCEL, "connection-closed", "the peer closed the connection", True)

    def _read_preface(self, data: bytes) -> int:
        """Section 3.4: what a client begins with."""
        begun = len(PREFACE) - self._preface_left
        size = min(self._preface_left, len(data))
        if data[:size] != PREFACE[begun : begun + size]:
            raise H2ConnectionError(PROTOCOL_ERROR, "preface", "no preface of HTTP/2")
        self._preface_left -= size
        return size

    def _read(self, data: bytes, at: int) -> None:
        """Read the frames that stand in `data` from `at` on; keep what is incomplete."""
        size = len(data)
        while at < size:
            if self._left or self._padding:
                at = self._read_content(data, at, size)
                continue
            if size - at < HEAD_OCTETS:
                self._needed = HEAD_OCTETS
                break
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            kind = data[at + 3]
            stream_id = (data[at + 5] & 0x7F) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
            self._check_head(kind, stream_id, length)
            if kind == frames.DATA:
                start = self._data(data, at, size, data[at + 4], stream_id, length)
                if start == 0:
                    self._needed = HEAD_OCTETS + 1
                    break
                self.frames += 1
                at = start
                continue
            at += HEAD_OCTETS
            if kind > frames.CONTINUATION and kind != frames.PRIORITY_UPDATE:
                self.budgets.spend(UNKNOWN_FRAMES, self.now)  # section 5.5: not known, so thrown away
                self._left = length
                self._sink = None
                self.frames += 1
                continue
            if size - at < length:
                at -= HEAD_OCTETS
                self._needed = HEAD_OCTETS + length
                break
            if self._run is not None:
                self._end_run(data)
            self._frame(kind, data[at - 5], stream_id, data, at, at + length)
            self.frames += 1
            at += length
        if self._run is not None:
            self._end_run(data)
        if at < size:
            self._held += data[at:]

    def _check_head(self, kind: int, stream_id: int, length: int) -> None:
        """Check what must be right before any payload is looked at."""
        if length > self.max_frame:
            raise frame_size_error(f"a frame of {length} octets")
        if self._block_stream and (kind != frames.CONTINUATION or stream_id != self._block_stream):
            raise protocol_error("a frame in the middle of a field block")
        if not self.remote.received and kind != frames.SETTINGS:
            raise H2ConnectionError(PROTOCOL_ERROR, "preface", "the first frame is not SETTINGS")

    def _frame(self, kind: int, flags: int, stream_id: int, data: bytes, at: int, end: int) -> None:
        """Read a whole frame that is not DATA; its payload stands from `at` to `end`."""
        try:
            if kind == frames.HEADERS:
                self._headers(flags, stream_id, data, at, end)
            elif kind == frames.WINDOW_UPDATE:
                self._window_update(stream_id, data, at, end)
            elif kind == frames.RST_STREAM:
                self._rst_stream(stream_id, data, at, end)
            elif kind == frames.CONTINUATION:
                self._continuation(flags, stream_id, data[at:end])
            elif kind == frames.PRIORITY:
                self._receive_priority(stream_id, end - at)
            elif kind == frames.PUSH_PROMISE:
                raise protocol_error("PUSH_PROMISE, and no push was allowed (section 6.6)")
            else:
                if stream_id:
                    raise protocol_error(f"a frame {kind:#x} of stream {stream_id}")
                self._connection_frame(kind, flags, data[at:end])
        except H2StreamError as error:
            self._stream_error(stream_id, error.code, error.reason, error.detail)

    def _connection_frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.SETTINGS:
            if not self.remote.received and flags & frames.FLAG_ACK:
                raise H2ConnectionError(PROTOCOL_ERROR, "preface", "the first frame is not SETTINGS")
            self._receive_settings(flags, payload)
        elif kind == frames.PING:
            self._receive_ping(flags, payload)
        elif kind == frames.GOAWAY:
            self._receive_goaway(payload)
        else:
            self._receive_priority_update(payload)

    # -- frames of streams that are small

    def _window_update(self, stream_id: int, data: bytes, at: int, end: int) -> None:
        if end - at != 4:
            raise frame_size_error(f"WINDOW_UPDATE of {end - at} octets")
        increment = decode_number(data, at) & LAST_STREAM
        self.budgets.spend(WINDOW_UPDATES, self.now)
        if stream_id == 0:
            if increment == 0:
                raise protocol_error("WINDOW_UPDATE by nothing")
            self._widen_connection(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id, "WINDOW_UPDATE")
            self.budgets.spend(CLOSED_STREAMS, self.now)
        elif increment == 0:
            raise H2StreamError(PROTOCOL_ERROR, "protocol-error", "WINDOW_UPDATE by nothing")
        else:
            self._widen(stream, increment)

    def _rst_stream(self, stream_id: int, data: bytes, at: int, end: int) -> None:
        if end - at != 4:
            raise frame_size_error(f"RST_STREAM of {end - at} octets")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id, "RST_STREAM")
            self.budgets.spend(CLOSED_STREAMS, self.now)
            return
        code = decode_number(data, at)
        self.resets_received += 1
        if self.is_client and stream.receiving == DONE:
            # Section 8.1: the answer is whole; the server wants no more of the request.
            stream.state = CLOSED
            stream.sending = FAILED
            self._discard(stream)
            self.streams.pop(stream_id, None)
            return
        was_answered = stream.sending == DONE
        self._close_by_peer(stream)
        self._fail(stream, code, "reset", f"the peer reset the stream with {name_of(code)}", True)
        if not self.is_client and not was_answered and self.now - stream.began < RAPID_SECONDS:
            self.budgets.spend(RAPID_RESET, self.now)

    # -- field blocks

    def _headers(self, flags: int, stream_id: int, data: bytes, at: int, end: int) -> None:
        if stream_id & 1 == 0:
            raise protocol_error(f"HEADERS of stream {stream_id}")
        fragment = fragment_of(data, at, end, flags)
        if flags & FLAG_PADDED:
            self.budgets.pad(end - at - len(fragment), len(fragment), self.now)
        ends = flags & FLAG_END_STREAM != 0
        if flags & FLAG_END_HEADERS:
            self._section(stream_id, fragment, ends)
            return
        self._block_stream = stream_id
        self._block_ends = ends
        self._block = []
        self._block_size = 0
        self._add_fragment(fragment)

    def _continuation(self, flags: int, stream_id: int, fragment: bytes) -> None:
        if not self._block_stream:
            raise protocol_error("CONTINUATION of nothing")
        if len(self._block) > MAX_CONTINUATIONS:
            raise H2ConnectionError(
                ENHANCE_YOUR_CALM,
                "continuation-flood",
                f"a field block in more than {MAX_CONTINUATIONS} CONTINUATION frames",
            )
        self._add_fragment(fragment)
        if flags & FLAG_END_HEADERS:
            block = b"".join(self._block)
            self._block = []
            self._block_size = 0
            self._block_stream = _NO_STREAM
            self._section(stream_id, block, self._block_ends)

    def _add_fragment(self, fragment: bytes) -> None:
        """Keep a piece of a field block; the whole is bounded by what it may decode to."""
        if not fragment:
            self.budgets.spend(EMPTY_HEADERS, self.now)
        self._block.append(fragment)
        self._block_size += len(fragment)
        if self._block_size > self.local.max_section:
            raise H2ConnectionError(
                ENHANCE_YOUR_CALM,
                "continuation-flood",
                f"a field block of more than {self.local.max_section} octets",
            )

    def _section(self, stream_id: int, block: bytes, ends: bool) -> None:
        """Read a field block; whatever its stream is, HPACK must see it (section 4.3)."""
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self._section_of_nobody(stream_id, block)
            if stream is None:
                return
        lines: list[Line] = []
        too_large = ""
        try:
            lines = self.decoder.decode(block)
        except SectionTooLargeError as error:
            too_large = str(error)
        stream.state = peer_does(stream.state, machine.RECV_HEADERS)
        try:
            if stream.receiving == FAILED:
                self.budgets.spend(CLOSED_STREAMS, self.now)  # of a request that is not read
            elif too_large:
                self._too_large(stream, too_large)
            else:
                self._message(stream, lines, ends)
            if ends:
                self._end(stream)
        except MalformedError as error_of_message:
            self._stream_error(stream_id, PROTOCOL_ERROR, "malformed", error_of_message.detail)
        except RefusedError as refused:
            stream.receiving = FAILED
            self._tell(stream_id, RequestRefused(stream_id, refused.code, refused.reason, refused.detail))
            if ends:
                self._end(stream)

    def _section_of_nobody(self, stream_id: int, block: bytes) -> H2Stream | None:
        """Begin the stream of a field block, or have the block decoded for nobody."""
        if stream_id > self._last and not self.is_client:
            return self._begin(stream_id, block)
        self._check_not_idle(stream_id, "HEADERS")
        if self._was_reset(stream_id):
            self._decode_for_nobody(block)
            self.budgets.spend(CLOSED_STREAMS, self.now)
            return None
        raise H2ConnectionError(
            STREAM_CLOSED, "stream-closed", f"HEADERS of stream {stream_id}, which has ended"
        )

    def _begin(self, stream_id: int, block: bytes) -> H2Stream | None:
        """Begin a request, if it may be; else refuse it unread, so that it can be asked again (section 8.7)."""
        if stream_id > self._last + 2:
            self._skipped_from = self._last + 2
            self._skipped_to = stream_id
        self._last = stream_id
        priority = self._pending_of(stream_id) if self._pending else -1
        if len(self.streams) >= self.local.max_streams or 0 <= self._goaway_sent < stream_id:
            self._decode_for_nobody(block)
            self._write_reset(stream_id, REFUSED_STREAM)
            self.budgets.spend(REFUSED_STREAMS, self.now)
            return None
        stream = H2Stream(stream_id, self.remote.initial_window)
        stream.began = self.now
        self.streams[stream_id] = stream
        if priority >= 0:
            stream.updated = True
            self._prioritise(stream, priority)
        self.requests += 1
        if self.requests >= self.max_requests or self.now >= self.expires:
            self.go_away(self.now)
        return stream

    def _pending_of(self, stream_id: int) -> int:
        """Return the priority that a stream was given before it began, -1 for none; those left out are closed."""
        priority = self._pending.get(stream_id, -1)
        for other in list(self._pending):
            if other <= stream_id:
                del self._pending[other]
        return priority

    def _decode_for_nobody(self, block: bytes) -> None:
        try:
            self.decoder.decode(block)
        except SectionTooLargeError:
            return

    def _too_large(self, stream: H2Stream, detail: str) -> None:
        if self.is_client or stream.receiving != HEAD:
            raise H2StreamError(ENHANCE_YOUR_CALM, "head-too-large", detail)
        raise RefusedError(431, "head-too-large", detail)

    # -- messages

    def _message(self, stream: H2Stream, lines: list[Line], ends: bool) -> None:
        """Read the lines of a head or of trailers. Raises `MalformedError` or `RefusedError`."""
        if stream.receiving != HEAD:
            receiving = message_after(stream.receiving, machine.TRAILERS)
            if receiving == MISSING or not ends:
                raise malformed("a field section that is neither a head nor trailers")
            stream.receiving = receiving
            stream.trailers_in = read_trailers(lines)
        elif self.is_client:
            self._response(stream, lines, ends)
        else:
            self._request(stream, lines, ends)

    def _request(self, stream: H2Stream, lines: list[Line], ends: bool) -> None:
        request, priority = read_request(
            lines,
            stream.id,
            20,
            self.scheme,
            ended=ends,
            connect_protocol=self.local.connect_protocol,
            from_gateway=self.from_gateway,
        )
        method = request.method
        stream.method = method
        is_tunnel = method == b"CONNECT"
        stream.receiving = message_after(HEAD, machine.CONNECT if is_tunnel else machine.FINAL)
        body = request.body
        stream.announced = body != NO_BODY
        stream.left = -1 if body == UNKNOWN_LENGTH else body
        if priority != DEFAULT_PRIORITY and not stream.updated:
            self._prioritise(stream, priority)
        self._tell(stream.id, request)

    def _response(self, stream: H2Stream, lines: list[Line], ends: bool) -> None:
        response = read_response(lines, stream.id, stream.method, ended=ends)
        if response.status < 200:
            stream.interim += 1
            if ends:
                raise malformed("an interim response that ends its stream")
            if stream.interim > MAX_INTERIM_RESPONSES:
                detail = f"more than {MAX_INTERIM_RESPONSES} interim responses"
                raise H2StreamError(PROTOCOL_ERROR, "too-many-interim", detail)
        else:
            is_tunnel = stream.method == b"CONNECT" and response.status < 300
            stream.receiving = message_after(HEAD, machine.CONNECT if is_tunnel else machine.FINAL)
            body = response.body
            stream.announced = body != NO_BODY
            stream.left = -1 if body == UNKNOWN_LENGTH else body
        self._tell(stream.id, response)
