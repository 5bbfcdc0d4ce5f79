"""What both roles of an HTTP/1.1 connection share: the receive buffer, the content readers, the content writer.

Reading is pulled: `receive` only keeps the bytes, `next_event` takes one event out of them. Who does not call
`next_event` and does not read the socket holds at most one read's worth of bytes: that is the backpressure.
Nothing behind a complete message is looked at until the exchange is over, so pipelined requests wait in the
buffer (RFC 9112 section 9.3.2).
"""

from headgate.engine.events import Closed, Data, EndOfMessage, Event
from headgate.engine.h1.chunked import COMPLETE, ChunkedReader, encode_chunk, encode_last_chunk
from headgate.engine.h1.grammar import MAX_FIELDS, MAX_HEAD
from headgate.engine.h1.machine import (
    CHUNKED,
    CLOSE,
    CLOSED,
    DATA,
    DONE,
    END,
    FAIL,
    FAILED,
    IDLE,
    LENGTH,
    REUSE,
    SWITCHED,
    UNTIL_CLOSE,
    State,
    step,
)
from headgate.errors import LocalProtocolError, RemoteProtocolError
from headgate.http.fields import Fields


class H1Connection:
    """Base of `ServerEngine` and `ClientEngine`. `receiving` and `sending` are states of `machine.TABLE`."""

    def __init__(self, max_head: int = MAX_HEAD, max_fields: int = MAX_FIELDS) -> None:
        self.max_head = max_head
        self.max_fields = max_fields
        self.receiving: int = IDLE
        self.sending: int = IDLE
        self.must_close = False
        self._eof = False
        self._buffer = b""
        self._position = 0
        self._scanned = 0
        self._receive_left = 0
        self._chunks: ChunkedReader | None = None
        self._send_left = 0
        self._output = b""

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} receiving={State(self.receiving).name} sending={State(self.sending).name}>"

    # -- receiving

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; call `next_event` until it returns None. b"" does nothing: see `receive_eof`."""
        if self._position >= len(self._buffer):
            self._buffer = data
            self._position = 0
            self._scanned = 0
        else:
            # Only an incomplete head, size line or trailer section is ever carried over, all of them bounded.
            self._buffer = self._buffer[self._position :] + data
            self._scanned = max(0, self._scanned - self._position)
            self._position = 0

    def receive_eof(self) -> None:
        """Take the peer's end of the stream; `next_event` then says what it means."""
        self._eof = True

    @property
    def buffered(self) -> int:
        """How many received bytes were not consumed yet."""
        return len(self._buffer) - self._position

    def take_rest(self) -> bytes:
        """Hand over the bytes that follow the last HTTP message: the beginning of a tunnel."""
        rest = self._buffer[self._position :]
        self._buffer = b""
        self._position = 0
        return rest

    def next_event(self) -> Event | None:
        """Return the next event, or None when more bytes (or the other direction) are needed.

        Raises `RemoteProtocolError`; the connection is then FAILED and only good for an answer and a close.
        """
        state = self.receiving
        try:
            if state == IDLE:
                if self._position < len(self._buffer):
                    event = self._receive_head()
                    if event is not None:
                        return event
                if self._eof:
                    return self._eof_before_head()
                return None
            if state == LENGTH:
                return self._receive_length()
            if state == CHUNKED:
                return self._receive_chunked()
            if state == UNTIL_CLOSE:
                return self._receive_until_close()
        except RemoteProtocolError as error:
            self.receiving = step(self.receiving, FAIL)
            self.must_close = True
            error.code = self._code_of(error)
            raise
        if state == DONE and self._eof and self._position >= len(self._buffer):
            # Half-closed: the peer said all it wanted; the answer is still owed.
            self.must_close = True
        return None

    def _receive_head(self) -> Event | None:
        raise NotImplementedError

    def _code_of(self, error: RemoteProtocolError) -> int:
        """Return what the fault is on the wire, in the role at hand."""
        return error.code

    def _eof_before_head(self) -> Event | None:
        if self._position < len(self._buffer):
            raise RemoteProtocolError(400, "truncated", "the connection ended inside a head")
        self.receiving = step(self.receiving, CLOSE)
        self.must_close = True
        return Closed()

    def _take_head(self) -> list[bytes] | None:
        """Return the lines of the next head, or None while it is incomplete; bounded by `max_head`."""
        buffer = self._buffer
        start = self._position
        if start == 0 and self._scanned == 0:
            # The usual case: a head, and perhaps the beginning of its content, arrived in one piece.
            size = len(buffer)
            if 4 < size <= self.max_head and buffer[size - 1] == 10 and buffer.endswith(b"\r\n\r\n"):
                lines = buffer.split(b"\r\n")
                if lines.index(b"") == len(lines) - 2:
                    # A head and nothing behind it: what requests without content look like.
                    lines.pop()
                    lines.pop()
                    self._position = size
                    self._scanned = size
                    return lines
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if found and len(head) <= self.max_head:
                self._buffer = rest
                return head.split(b"\r\n")
        end = buffer.find(b"\r\n\r\n", max(start, self._scanned - 3))
        if end < 0:
            self._scanned = len(buffer)
            self._check_start(buffer, start)
            # Up to three octets of the end may have come already: the limit is the same for every split.
            if len(buffer) - start > self.max_head + 3:
                raise self._head_too_large(buffer, start)
            return None
        if end - start > self.max_head:
            raise self._head_too_large(buffer, start)
        self._position = end + 4
        self._scanned = end + 4
        return buffer[start:end].split(b"\r\n")

    def _check_start(self, buffer: bytes, start: int) -> None:
        """Refuse an incomplete head that can no longer become one, before its timeout does."""

    def _head_too_large(self, buffer: bytes, start: int) -> RemoteProtocolError:
        return RemoteProtocolError(431, "head-too-large", f"the head exceeds {self.max_head} octets")

    def _receive_length(self) -> Event | None:
        left = self._receive_left
        if left == 0:
            self.receiving = step(self.receiving, END)
            return EndOfMessage()
        start = self._position
        have = len(self._buffer) - start
        if have <= 0:
            if self._eof:
                raise RemoteProtocolError(
                    400, "truncated", f"the connection ended {left} octets before the content"
                )
            return None
        if have <= left:
            data = self._buffer if start == 0 else self._buffer[start:]
            self._buffer = b""
            self._position = 0
            self._receive_left = left - have
        else:
            data = self._buffer[start : start + left]
            self._position = start + left
            self._receive_left = 0
        return Data(data)

    def _receive_chunked(self) -> Event | None:
        chunks = self._chunks
        if chunks is None:
            chunks = self._chunks = ChunkedReader(self.max_head)
        data = b""
        if chunks.state != COMPLETE and self._position < len(self._buffer):
            data = chunks.feed(self._buffer, self._position)
            self._position = chunks.position
        if data:
            return Data(data)
        if chunks.state == COMPLETE:
            self._chunks = None
            self.receiving = step(self.receiving, END)
            return EndOfMessage(chunks.trailers)
        if self._eof:
            raise RemoteProtocolError(400, "truncated", "the connection ended before the last chunk")
        return None

    def _receive_until_close(self) -> Event | None:
        if self._position < len(self._buffer):
            return Data(self.take_rest())
        if self._eof:
            self.receiving = step(self.receiving, END)
            return EndOfMessage()
        return None

    # -- sending

    def _write_data(self, data: bytes) -> None:
        """Frame content; raises `LocalProtocolError` when it is more than the head promised."""
        if not data:
            return
        self.sending = step(self.sending, DATA)
        if self.sending == CHUNKED:
            self._output = self._output + encode_chunk(data)
            return
        if self.sending == LENGTH:
            if len(data) > self._send_left:
                raise LocalProtocolError("more content than Content-Length says")
            self._send_left -= len(data)
        self._output = self._output + data if self._output else data

    def may_send_apart(self, size: int) -> bool:
        """Tell whether so much content may go out by another way than `take_output`, behind what that returns now.

        It is content as it stands: its length is announced, and nothing frames its pieces.
        """
        return self.sending == LENGTH and size <= self._send_left

    def sent_apart(self, size: int) -> None:
        """So many octets of content went out by another way."""
        if not self.may_send_apart(size):
            raise LocalProtocolError("content went out that was not announced")
        self._send_left -= size

    def _write_end(self, trailers: Fields | None) -> None:
        if self.sending == LENGTH and self._send_left > 0:
            raise LocalProtocolError(f"content ends {self._send_left} octets before Content-Length")
        if self.sending == CHUNKED:
            self._output = self._output + encode_last_chunk(trailers)
        elif self.sending == UNTIL_CLOSE:
            self.must_close = True
        self.sending = step(self.sending, END)

    def take_output(self) -> bytes:
        """Return everything that waits to be written, as one piece; b"" when there is nothing."""
        output = self._output
        self._output = b""
        return output

    # -- the end of an exchange

    @property
    def exchange_over(self) -> bool:
        """Both directions are complete: `reuse()` or close."""
        return self.receiving == DONE and self.sending == DONE

    def reuse(self) -> None:
        """Begin the next exchange on this connection; raises `LocalProtocolError` when this one is not over."""
        if self.must_close:
            raise LocalProtocolError("this connection must close")
        self.receiving = step(self.receiving, REUSE)
        self.sending = step(self.sending, REUSE)

    def close(self) -> None:
        """Note that the connection is closed; nothing can be sent or received any more."""
        if self.receiving not in (SWITCHED, FAILED):
            self.receiving = CLOSED
        self.sending = CLOSED
        self.must_close = True
