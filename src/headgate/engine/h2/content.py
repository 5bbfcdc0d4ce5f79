"""DATA as it comes (RFC 9113 section 6.1), and how streams end by the peer.

A DATA frame need not be there in full: its head is enough to check it, then its content is cut out of each thing that
is read. Content of consecutive frames of one stream makes one `Data`, so that many small frames weigh no more than a
large one. Whatever is wrong with a frame, its octets count for the connection's window, and are skipped.
"""

from headgate.engine.events import Data, EndOfMessage
from headgate.engine.h2 import machine
from headgate.engine.h2.base import MAX_AGE_SECONDS, MAX_REQUESTS
from headgate.engine.h2.budgets import CLOSED_STREAMS, EMPTY_DATA, MADE_RESET, TINY, TINY_DATA
from headgate.engine.h2.control import H2Control
from headgate.engine.h2.errors import (
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    H2StreamError,
    frame_size_error,
    protocol_error,
)
from headgate.engine.h2.frames import FLAG_END_STREAM, FLAG_PADDED, HEAD_OCTETS
from headgate.engine.h2.machine import CLOSED, FAILED, MISSING, message_after, peer_does
from headgate.engine.h2.settings import H2Settings
from headgate.engine.h2.stream import H2Stream
from headgate.engine.message.errors import MalformedError, malformed


class H2Content(H2Control):
    """Base of `H2Connection`."""

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
        # A frame that is read as it comes: content of `_sink`, or of nobody.
        self._left = 0
        self._padding = 0
        self._sink: H2Stream | None = None
        self._sink_ends = False
        # Consecutive content of one stream, in what is being read.
        self._run: H2Stream | None = None
        self._run_at = 0
        self._run_end = 0
        self._pieces: list[memoryview] = []
        # Identifiers that a client has left out last (section 5.1.1).
        self._skipped_from = 0
        self._skipped_to = 0

    def _data(self, data: bytes, at: int, size: int, flags: int, stream_id: int, length: int) -> int:
        """Read the head of a DATA frame; return where its content begins, 0 when that is not there yet."""
        at += HEAD_OCTETS
        padding = 0
        content = length
        if flags & FLAG_PADDED:
            if length == 0:
                raise frame_size_error("DATA without the length of its padding")
            if at == size:
                return 0
            padding = data[at]
            content = length - 1 - padding
            if content < 0:
                raise protocol_error("padding that is longer than its frame")
            at += 1
        # Whatever is wrong with the stream, so much is skipped.
        self._left = content
        self._padding = padding
        self._sink = None
        self._sink_ends = False
        stream = self.streams.get(stream_id)
        try:
            if stream is None:
                self._data_of_nobody(stream_id, length)
                return at
            stream.state = peer_does(stream.state, machine.RECV_DATA)
            if content >= TINY:
                self.budgets.earn(content >> 10)
            elif flags & FLAG_END_STREAM == 0 and (content == 0 or not self.is_client):
                # An origin was chosen by whoever runs the gate: its small messages are what it is for.
                self.budgets.spend(TINY_DATA if content else EMPTY_DATA, self.now)
            if stream.receiving == FAILED:
                self._count_ignored(length)
            else:
                self._check_content(stream, length, content)
            self._sink = stream
            self._sink_ends = flags & FLAG_END_STREAM != 0
            if length > content:
                self.budgets.pad(length - content, content, self.now)
                if stream.receiving != FAILED:
                    self.consumed(stream_id, length - content)
            if content + padding == 0:
                self._end_frame(data)
        except H2StreamError as error:
            if error.code == STREAM_CLOSED:
                self._count_ignored(length)
            self._stream_error(stream_id, error.code, error.reason, error.detail)
        except MalformedError as error_of_message:
            self._stream_error(stream_id, PROTOCOL_ERROR, "malformed", error_of_message.detail)
        return at

    def _check_content(self, stream: H2Stream, length: int, content: int) -> None:
        """Hold a DATA frame to windows and to its message."""
        self._count_in(stream, length)
        receiving = message_after(stream.receiving, machine.DATA)
        if receiving == MISSING:
            raise malformed("content before its head")
        stream.receiving = receiving
        if stream.left >= 0:
            if content > stream.left:
                raise malformed("more content than Content-Length says, or where none may be")
            stream.left -= content

    def _data_of_nobody(self, stream_id: int, length: int) -> None:
        """DATA of a stream that is not open."""
        self._check_not_idle(stream_id, "DATA")
        self._count_ignored(length)
        if self._was_reset(stream_id):
            self.budgets.spend(CLOSED_STREAMS, self.now)
        else:
            raise H2StreamError(
                STREAM_CLOSED, "stream-closed", f"DATA of stream {stream_id}, which has ended"
            )

    def _read_content(self, data: bytes, at: int, size: int) -> int:
        """Read on in the payload of a frame that is read as it comes; return where that ends."""
        left = self._left
        if left:
            end = min(at + left, size)
            stream = self._sink
            if stream is not None and stream.receiving != FAILED:
                self._add_to_run(stream, data, at, end)
            self._left = left - (end - at)
            at = end
        if self._padding and self._left == 0:
            end = min(at + self._padding, size)
            self._padding -= end - at
            at = end
        if self._left == 0 and self._padding == 0:
            self._end_frame(data)
        return at

    def _end_frame(self, data: bytes) -> None:
        """A DATA frame is over; perhaps its message is."""
        stream = self._sink
        if stream is None or not self._sink_ends or stream.state == CLOSED:
            return  # closed: it was given up while its frame was still coming
        if self._run is not None:
            self._end_run(data)
        try:
            self._end(stream)
        except MalformedError as error:
            self._stream_error(stream.id, PROTOCOL_ERROR, "malformed", error.detail)

    def _add_to_run(self, stream: H2Stream, data: bytes, at: int, end: int) -> None:
        """Content stands from `at` to `end`: hand it out together with what follows."""
        if self._run is not stream:
            if self._run is not None:
                self._end_run(data)
            self._run = stream
            self._run_at = at
        else:
            if not self._pieces:
                self._pieces.append(memoryview(data)[self._run_at : self._run_end])
            self._pieces.append(memoryview(data)[at:end])
        self._run_end = end

    def _end_run(self, data: bytes) -> None:
        stream = self._run
        self._run = None
        if stream is None or stream.receiving == FAILED:
            self._pieces = []
            return
        if self._pieces:
            content = b"".join(self._pieces)
            self._pieces = []
        else:
            content = data[self._run_at : self._run_end]
        self._tell(stream.id, Data(content, stream.id))

    # -- ends

    def _check_not_idle(self, stream_id: int, what: str) -> None:
        """Section 5.1: before HEADERS nothing else may come, and nobody but a client begins a stream."""
        if stream_id & 1 == 0 or stream_id > self._last:
            raise protocol_error(f"{what} of stream {stream_id}, which has not begun")
        if self._skipped_from <= stream_id < self._skipped_to:
            raise protocol_error(f"{what} of stream {stream_id}, which was left out (section 5.1.1)")

    def _stream_error(self, stream_id: int, code: int, reason: str, detail: str) -> None:
        """Reset a stream for a fault of the peer."""
        if not self.is_client:
            self.budgets.spend(MADE_RESET, self.now)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._write_reset(stream_id, code)
            return
        self._take_back(stream)
        self._end_with(stream, code)
        self._fail(stream, code, reason, detail, False)

    def _end(self, stream: H2Stream) -> None:
        """END_STREAM has come: so must the end of the message. Raises `MalformedError`."""
        if stream.receiving != FAILED:
            if stream.left > 0:
                raise malformed(f"the stream ends {stream.left} octets before Content-Length")
            receiving = message_after(stream.receiving, machine.END)
            if receiving == MISSING:
                raise malformed("the stream ends without a whole message")
            stream.receiving = receiving
            if stream.announced:
                self._tell(stream.id, EndOfMessage(stream.trailers_in, stream.id))
        stream.state = peer_does(stream.state, machine.RECV_END)
        if stream.state == CLOSED:
            self._forget(stream)
