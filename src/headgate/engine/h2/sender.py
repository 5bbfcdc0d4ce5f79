"""The writing half of an HTTP/2 connection (RFC 9113 sections 5.2, 6.1, 6.2, 6.9 and 8): events to frames.

Heads are encoded when they are sent, because HPACK has an order, and go out in that order among the control frames;
trailers are encoded when their turn comes. Content waits in the queue of its stream, as it was given to us, until its
stream's turn comes, both windows are open, and whoever writes asks for more: `take_output` gives out control frames,
then content, as one piece. Pieces of content are neither split nor joined before that, but for such as are so small
that references to them would weigh more.

A stream has a place in the scheduler exactly while it has content and a window of its own. Whatever needs no window
(an end without content, trailers of a stream with nothing queued) is written at once. So nothing here looks at a
stream that cannot send.
"""

from typing import Final

from headgate.engine.events import NO_BODY, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h2 import frames, machine
from headgate.engine.h2.budgets import EARNED
from headgate.engine.h2.errors import INTERNAL_ERROR
from headgate.engine.h2.frames import (
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    HEAD_OCTETS,
    encode_frame,
    encode_head,
)
from headgate.engine.h2.machine import CONTENT, FAILED, IDLE, SEND_HEADERS, sent, we_do
from headgate.engine.h2.stream import H2Stream
from headgate.engine.h2.windows import H2Windows
from headgate.engine.message.messages import section_size, write_request, write_response
from headgate.errors import LocalProtocolError
from headgate.http.fields import Fields

# What every peer takes (section 4.2). Larger frames, where a peer allows them, would save 2 % of the cost of content,
# and make everybody else wait for longer.
FRAME: Final = 16 * 1024
# `take_drained` tells of a stream when no more than this waits, so that the writer has work while more is fetched.
# Less than a first read of 16 KiB brings: an answer that no window is open for holds one read, and not two.
LOW_WATER: Final = 8 * 1024
# Two neighbours in a queue that fit into this become one.
_GLUE: Final = 2048
# A frame of this size, or one with all that waited (the messages of gRPC are small), is honest work that `budgets`
# counts for the peer; a small one that a window of the peer's has cut is not.
_SUBSTANTIAL: Final = 256

_NOWHERE: Final = -1


class H2Sender(H2Windows):
    """Base of `H2Control`."""

    # -- messages

    def send(self, event: Event) -> None:
        """Take the next event of a message; what comes for a stream that is gone already is dropped.

        A `Request` gets its stream here. Raises `LocalProtocolError` for one that is out of turn.
        """
        if self.failed:
            return  # section 5.4.1: nothing follows the GOAWAY
        if isinstance(event, Data):
            self._send_data(event)
        elif isinstance(event, Response):
            self._send_response(event)
        elif isinstance(event, EndOfMessage):
            self._send_end(event)
        elif isinstance(event, Request):
            self._send_request(event)
        else:
            raise LocalProtocolError(f"nobody can send {event!r}")

    def _send_request(self, request: Request) -> None:
        is_connect = request.method == b"CONNECT"
        if is_connect and request.upgrade and not self.remote.connect_protocol:
            raise LocalProtocolError("the server takes no extended CONNECT (RFC 8441 section 3)")
        stream = self.streams[self.open_stream()]
        request.stream = stream.id
        stream.method = request.method
        self._send_message(stream, write_request(request, self.scheme), request.body, is_connect)

    def _send_response(self, response: Response) -> None:
        stream = self.streams.get(response.stream)
        if stream is None or stream.sending == FAILED:
            return
        status = response.status
        if status == 101:
            raise LocalProtocolError("101 in HTTP/2 (RFC 9113 section 8.6)")
        if response.body != NO_BODY and (status < 200 or status == 204 or status == 304):
            raise LocalProtocolError(f"content in a {status}")
        if status < 200:
            stream.sending = sent(stream.sending, machine.INTERIM)
            self._write_section(stream, write_response(response), ends=False)
            return
        is_tunnel = status < 300 and stream.method == b"CONNECT"
        self._send_message(stream, write_response(response), response.body, is_tunnel)

    def _send_message(self, stream: H2Stream, fields: Fields, body: int, is_tunnel: bool) -> None:
        """Write a header section, and with it the end of a message that has no content."""
        stream.sending = sent(stream.sending, machine.CONNECT if is_tunnel else machine.FINAL)
        stream.send_left = body if body > 0 else -1
        if body == NO_BODY and not is_tunnel:
            if self._write_section(stream, fields, ends=True):
                self._sent_end(stream)
        elif self._write_section(stream, fields, ends=False):
            # If its end comes before it has gone out, END_STREAM is put into it.
            self._head_of = stream.id
            self._head_at = len(self._control) - 1

    def _send_data(self, event: Data) -> None:
        stream = self.streams.get(event.stream)
        data = event.data
        size = len(data)
        if stream is None or stream.sending == FAILED or size == 0:
            return
        stream.sending = sent(stream.sending, machine.DATA)
        if stream.send_left >= 0 and stream.sending == CONTENT:
            if size > stream.send_left:
                raise LocalProtocolError("more content than Content-Length says")
            stream.send_left -= size
        queue = stream.queue
        if queue and len(queue[-1]) + size <= _GLUE:
            queue[-1] += data
        else:
            queue.append(data)
        stream.queued += size
        self.queued_total += size
        if stream.queued > LOW_WATER:
            stream.is_over = True
        if stream.send_window > 0:
            self.scheduler.add(stream)

    def _send_end(self, event: EndOfMessage) -> None:
        stream = self.streams.get(event.stream)
        if stream is None or stream.sending == FAILED:
            return
        if stream.send_left > 0 and stream.sending == CONTENT:
            raise LocalProtocolError(f"content ends {stream.send_left} octets before Content-Length")
        trailers = event.trailers
        if trailers is not None and len(trailers) > 0:
            stream.sending = sent(stream.sending, machine.TRAILERS)
            if self._is_too_large(stream, trailers):
                return
            stream.trailers = trailers
        stream.sending = sent(stream.sending, machine.END)
        if stream.queued > 0:
            stream.ending = True
        elif stream.trailers is not None:
            self._write(self._encode_section(stream, stream.trailers, ends=True))
            self._sent_end(stream)
        else:
            if self._head_of != stream.id or not self._end_head():
                self._write(encode_head(frames.DATA, FLAG_END_STREAM, stream.id, 0))
            self._sent_end(stream)

    # -- header sections

    def _write_section(self, stream: H2Stream, fields: Fields, *, ends: bool) -> bool:
        """Write HEADERS; False when the peer would not take them: then the stream has failed."""
        if self._is_too_large(stream, fields):
            return False
        if stream.state == IDLE:
            stream.state = we_do(IDLE, SEND_HEADERS)
        self._write(self._encode_section(stream, fields, ends=ends))
        return True

    def _is_too_large(self, stream: H2Stream, fields: Fields) -> bool:
        """Fail a stream whose section the peer would not take (section 10.5.1)."""
        most = self.remote.max_section
        if section_size(fields) <= most:
            return False
        self._take_back(stream)
        if stream.state == IDLE:  # of which the server shall not hear at all
            self.streams.pop(stream.id, None)
        else:
            self._end_with(stream, INTERNAL_ERROR)
        self._fail(
            stream, INTERNAL_ERROR, "peer-field-limit", f"the peer takes {most} octets of fields", False
        )
        return True

    def _encode_section(self, stream: H2Stream, fields: Fields, *, ends: bool) -> bytes:
        """Return HEADERS, and CONTINUATION as far as needed, as one piece: nothing may come between them."""
        block = self.encoder.encode(fields)
        flags = FLAG_END_STREAM if ends else 0
        size = len(block)
        if size <= FRAME:
            return encode_head(frames.HEADERS, flags | FLAG_END_HEADERS, stream.id, size) + block
        pieces = [encode_frame(frames.HEADERS, flags, stream.id, block[:FRAME])]
        for at in range(FRAME, size, FRAME):
            last = FLAG_END_HEADERS if at + FRAME >= size else 0
            pieces.append(encode_frame(frames.CONTINUATION, last, stream.id, block[at : at + FRAME]))
        return b"".join(pieces)

    def _end_head(self) -> bool:
        """Put END_STREAM into the HEADERS that were written last, if they still wait."""
        at = self._head_at
        if at == _NOWHERE:
            return False
        frame = self._control[at]
        self._control[at] = frame[:4] + bytes((frame[4] | FLAG_END_STREAM,)) + frame[5:]
        self._head_at = _NOWHERE
        return True

    # -- what goes out

    def queued(self, stream_id: int) -> int:
        """Return how many octets of content of a stream wait."""
        stream = self.streams.get(stream_id)
        return stream.queued if stream is not None else 0

    def has_output(self) -> bool:
        """Tell whether `take_output` would give anything."""
        if self._control:
            return True
        return self.scheduler.size > 0 and self.send_window > 0 and not self.failed

    def take_drained(self) -> list[int]:
        """Return the streams of which no more than `LOW_WATER` waits, for the first time since more did."""
        drained = self._drained
        self._drained = []
        return drained

    def take_output(self, limit: int) -> bytes:
        """Return what is to be written, of about `limit` octets at most: a frame more than that, and never nothing
        when there is something.
        """
        if self.control_queued > limit:
            return self._take_control(limit)
        control = self._control
        left = limit - self.control_queued
        self._control = []
        self.control_queued = 0
        self._head_at = _NOWHERE
        if left <= 0 or self.scheduler.size == 0 or self.send_window <= 0 or self.failed:
            return control[0] if len(control) == 1 else b"".join(control)
        pieces: list[bytes | memoryview] = []
        pieces.extend(control)
        self._take_content(pieces, left)
        return b"".join(pieces)

    def _take_control(self, limit: int) -> bytes:
        """Return the first of the control frames: at least one, and no content, which comes behind them."""
        control = self._control
        count = 0
        size = 0
        while count < len(control) and (count == 0 or size + len(control[count]) <= limit):
            size += len(control[count])
            count += 1
        self._control = control[count:]
        self.control_queued -= size
        self._head_at = _NOWHERE
        return b"".join(control[:count])

    def _take_content(self, pieces: list[bytes | memoryview], limit: int) -> None:
        """Append DATA frames, whose turn it is each time, as far as the connection's window and `limit` go."""
        scheduler = self.scheduler
        while limit > 0 and self.send_window > 0:
            stream = scheduler.next()
            if stream is None:
                return
            size = min(min(stream.queued, FRAME), min(stream.send_window, self.send_window))
            stream.queued -= size
            stream.send_window -= size
            self.send_window -= size
            limit -= size + HEAD_OCTETS
            is_last = stream.queued == 0
            ends = is_last and stream.ending and stream.trailers is None
            flags = FLAG_END_STREAM if ends else 0
            pieces.append(encode_head(frames.DATA, flags, stream.id, size))
            self._cut(stream, size, pieces)
            if is_last or size >= _SUBSTANTIAL:
                self.budgets.earn(EARNED)
            if stream.is_over and stream.queued <= LOW_WATER:
                stream.is_over = False
                self._drained.append(stream.id)
            if is_last:
                scheduler.remove(stream)
                if stream.ending:
                    self._take_end(stream, pieces)
            elif stream.send_window <= 0:
                scheduler.remove(stream)
            else:
                scheduler.served(stream)

    def _take_end(self, stream: H2Stream, pieces: list[bytes | memoryview]) -> None:
        """All content of a stream is out: trailers follow, unless END_STREAM went with it."""
        trailers = stream.trailers
        if trailers is not None:
            stream.trailers = None
            pieces.append(self._encode_section(stream, trailers, ends=True))
        stream.ending = False
        self._sent_end(stream)

    def _cut(self, stream: H2Stream, size: int, pieces: list[bytes | memoryview]) -> None:
        """Append the next octets of a queue. A piece counts as held until all of it is out."""
        queue = stream.queue
        offset = stream.queue_offset
        while size > 0:
            piece = queue[0]
            left = len(piece) - offset
            if left > size:
                # A view costs two thirds of what a copy of a frame does.
                pieces.append(memoryview(piece)[offset : offset + size])
                offset += size
                break
            pieces.append(memoryview(piece)[offset:] if offset else piece)
            queue.pop(0)
            self.queued_total -= len(piece)
            size -= left
            offset = 0
        stream.queue_offset = offset
