"""The windows of an HTTP/2 connection, both ways (RFC 9113 sections 5.2 and 6.9): who may send how much, and who may
send at all.

As a client we share a connection among exchanges that know nothing of each other: what one of them does not read must
not use up what the others may be sent. So there the connection's window is given back as content comes, and what is
held is bounded by the windows of the streams.

For sending, a stream stands in the scheduler exactly while content of it waits and its own window is open; that of
the connection is looked at when somebody writes. For receiving, what came counts against both windows until it is
consumed; content that nobody will consume, of streams that were reset or refused or that are not read any more,
gives the window of the connection back at once, so that no stream can block the others.
"""

from headgate.engine.h2 import frames
from headgate.engine.h2.base import H2Base
from headgate.engine.h2.errors import FLOW_CONTROL_ERROR, H2ConnectionError, H2StreamError
from headgate.engine.h2.flow import LARGEST_WINDOW, OVERFLOW, ReceiveWindow, widened
from headgate.engine.h2.frames import encode_frame
from headgate.engine.h2.machine import DONE, FAILED
from headgate.engine.h2.stream import H2Stream


class H2Windows(H2Base):
    """Base of `H2Sender`."""

    # -- windows for sending

    def _widen_connection(self, increment: int) -> None:
        """Take a WINDOW_UPDATE of the connection. Raises `H2ConnectionError` (section 6.9.1)."""
        window = widened(self.send_window, increment)
        if window == OVERFLOW:
            raise _overflow("the connection")
        self.send_window = window

    def _widen(self, stream: H2Stream, increment: int) -> None:
        """Take a WINDOW_UPDATE of a stream. Raises `H2StreamError` (section 6.9.1)."""
        window = widened(stream.send_window, increment)
        if window == OVERFLOW:
            raise H2StreamError(FLOW_CONTROL_ERROR, "flow-control", "a window beyond 2^31-1")
        stream.send_window = window
        if window > 0 and stream.queued > 0:
            self.scheduler.add(stream)

    def _shift_windows(self, change: int) -> None:
        """Take another SETTINGS_INITIAL_WINDOW_SIZE (section 6.9.2), `change` octets larger than the last.

        Windows may become negative. Raises `H2ConnectionError` where one becomes too large.
        """
        for stream in self.streams.values():
            window = widened(stream.send_window, change)
            if window == OVERFLOW:
                raise _overflow(f"stream {stream.id}")
            stream.send_window = window
            if stream.queued > 0:
                if window > 0:
                    self.scheduler.add(stream)
                else:
                    self.scheduler.remove(stream)

    def _prioritise(self, stream: H2Stream, priority: int) -> None:
        """Give a stream another priority, urgency * 2 + incremental (RFC 9218)."""
        self.scheduler.prioritise(stream, priority >> 1, priority & 1 != 0)

    # -- windows for receiving

    def bound_windows(self, stream_window: int, connection_window: int) -> None:
        """Let windows grow to so much and no more, now and of streams to come: what was granted stays granted."""
        self.max_stream_window = stream_window
        self.window.bound(connection_window)
        for stream in self.streams.values():
            window = stream.window
            if window is not None:
                window.bound(stream_window)

    def consumed(self, stream_id: int, count: int) -> None:
        """Content that was handed out is used up: windows may open. Those of a stream that was reset did already."""
        stream = self.streams.get(stream_id)
        if stream is None:
            kept = self._kept.get(stream_id, 0)
            if count < kept:
                self._kept[stream_id] = kept - count
            elif kept == 0:
                return
            else:
                del self._kept[stream_id]
                count = kept
        else:
            window = stream.window
            if window is None:
                return
            count = min(count, window.unread)
            # A stream that stands while all of its window is unread must leave others half of the connection's. That
            # of a client is given back as content comes.
            most = LARGEST_WINDOW if self.is_client else self.window.window >> 1
            increment = window.consume(count, self.now, most)
            if increment and stream.receiving != DONE and stream.receiving != FAILED:
                self._write(_window_update(stream_id, increment))
        if not self.is_client:
            self._give_back(count)

    def _count_in(self, stream: H2Stream, count: int) -> None:
        """Count the payload of a DATA frame, padding too, against both windows.

        Raises `H2ConnectionError` or `H2StreamError` (section 6.9.1).
        """
        if not self.window.receive(count):
            raise H2ConnectionError(
                FLOW_CONTROL_ERROR, "flow-control", "more content than the connection may send"
            )
        window = stream.window
        if window is None:
            window = stream.window = ReceiveWindow(self.receive_initial, self.max_stream_window)
        if not window.receive(count):
            self._give_back(count)
            raise H2StreamError(FLOW_CONTROL_ERROR, "flow-control", "more content than the stream may send")
        if self.is_client:
            self._give_back(count)

    def _count_ignored(self, count: int) -> None:
        """Count the payload of a DATA frame that nobody reads: only the connection's window knows of it.

        Raises `H2ConnectionError`.
        """
        if not self.window.receive(count):
            raise H2ConnectionError(
                FLOW_CONTROL_ERROR, "flow-control", "more content than the connection may send"
            )
        self._give_back(count)

    def _give_back(self, count: int) -> None:
        increment = self.window.consume(count, self.now)
        if increment:
            self._write(_window_update(0, increment))

    def _discard(self, stream: H2Stream) -> None:
        """Let go of what a stream that is reset holds: content that waits, and content that nobody has consumed."""
        self.scheduler.remove(stream)
        for piece in stream.queue:
            self.queued_total -= len(piece)
        stream.queue = []
        stream.queue_offset = 0
        stream.queued = 0
        stream.ending = False
        stream.trailers = None
        self._give_unread_back(stream)

    def _give_unread_back(self, stream: H2Stream) -> None:
        """Nobody will consume what came of a stream so far."""
        window = stream.window
        if window is not None and window.unread > 0:
            unread = window.unread
            window.unread = 0
            if not self.is_client:
                self._give_back(unread)


def _window_update(stream_id: int, increment: int) -> bytes:
    return encode_frame(frames.WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def _overflow(whose: str) -> H2ConnectionError:
    return H2ConnectionError(FLOW_CONTROL_ERROR, "flow-control", f"a window of {whose} beyond 2^31-1")
