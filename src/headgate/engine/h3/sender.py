"""The writing half of an HTTP/3 connection (RFC 9114 sections 4.1 and 7.2): events to frames."""

from typing import Final

from headgate.engine.events import NO_BODY, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h3 import frames, machine
from headgate.engine.h3.base import H3Base
from headgate.engine.h3.control import NOT_SENT
from headgate.engine.h3.errors import H3_INTERNAL_ERROR, H3StreamError
from headgate.engine.h3.frames import encode_head
from headgate.engine.h3.machine import CONTENT, FAILED, HEAD, TRAILERS_SEEN, TUNNEL, sent
from headgate.engine.h3.streams import RequestStream
from headgate.engine.message.messages import section_size, write_request, write_response
from headgate.errors import LocalProtocolError
from headgate.http.fields import NEVER_INDEXED, Fields

# Content up to which the head of its frame is copied in front of it; beyond, both are written apart.
_COPIED: Final = 1024


class H3Sender(H3Base):
    """Base of `H3Connection`."""

    @property
    def can_request(self) -> bool:
        """As a client: whether another request may be sent."""
        return not self.failed and self.control.goaway == NOT_SENT and self.requests < self.max_requests

    def send(self, event: Event) -> None:
        """Take the next event of a message; what comes for a stream that is gone already is dropped.

        A `Request` gets its stream here. Raises `LocalProtocolError` for one that is out of turn.
        """
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
        if not self.is_client or not self.can_request:
            raise LocalProtocolError("no request can be sent on this connection")
        if request.method == b"CONNECT" and request.upgrade and not self.control.settings.connect_protocol:
            raise LocalProtocolError("the server takes no extended CONNECT (RFC 9220 section 3)")
        stream = RequestStream(self._next)
        request.stream = stream.id
        stream.method = request.method
        self.streams[stream.id] = stream
        self._next += 4
        self.requests += 1
        self._send_message(
            stream, write_request(request, b"https"), request.body, request.method == b"CONNECT"
        )

    def _send_response(self, response: Response) -> None:
        stream = self.streams.get(response.stream)
        if stream is None or stream.sending == FAILED:
            return
        status = response.status
        if status == 101:
            raise LocalProtocolError("101 in HTTP/3 (RFC 9114 section 4.5)")
        if response.body != 0 and (status < 200 or status == 204 or status == 304):
            raise LocalProtocolError(f"content in a {status}")
        if status < 200:
            stream.sending = sent(stream.sending, machine.INTERIM)
            self._write_section(stream, write_response(response), False)
            return
        is_tunnel = stream.method == b"CONNECT" and status < 300
        self._send_message(stream, write_response(response), response.body, is_tunnel)

    def _send_message(self, stream: RequestStream, fields: Fields, body: int, is_tunnel: bool) -> None:
        """Write a header section, and with it the end of a message that has no content."""
        stream.sending = sent(stream.sending, machine.CONNECT if is_tunnel else machine.FINAL)
        stream.send_left = -1 if body < 0 else body
        ends = body == NO_BODY and not is_tunnel
        if self._write_section(stream, fields, ends) and ends:
            self._sent_all(stream)

    def _send_data(self, event: Data) -> None:
        stream = self.streams.get(event.stream)
        data = event.data
        if stream is None or stream.sending == FAILED or not data:
            return
        stream.sending = sent(stream.sending, machine.DATA)
        size = len(data)
        if stream.send_left >= 0 and stream.sending == CONTENT:
            if size > stream.send_left:
                raise LocalProtocolError("more content than Content-Length says")
            stream.send_left -= size
        head = encode_head(frames.DATA, size)
        writes = self._writes
        if size <= _COPIED:
            if writes and writes[-1][0] == stream.id and len(writes[-1][1]) <= _COPIED:
                head = writes.pop()[1] + head  # HEADERS, most likely: a short answer is one write
            writes.append((stream.id, head + data, False))
        else:
            self._writes.append((stream.id, head, False))
            self._writes.append((stream.id, data, False))

    def _send_end(self, event: EndOfMessage) -> None:
        stream = self.streams.get(event.stream)
        if stream is None or stream.sending == FAILED:
            return
        if stream.send_left > 0 and stream.sending == CONTENT:
            raise LocalProtocolError(f"content ends {stream.send_left} octets before Content-Length")
        trailers = event.trailers
        if trailers is not None and len(trailers) > 0:
            stream.sending = sent(stream.sending, machine.TRAILERS)
            if not self._write_section(stream, trailers, True):
                return
        elif self._writes and self._writes[-1][0] == stream.id:
            self._writes[-1] = (stream.id, self._writes[-1][1], True)
        else:
            self._writes.append((stream.id, b"", True))
        self._sent_all(stream)

    def _sent_all(self, stream: RequestStream) -> None:
        is_tunnel = stream.sending == TUNNEL
        stream.sending = sent(stream.sending, machine.END)
        if not self.is_client and not is_tunnel and stream.receiving in (HEAD, CONTENT, TRAILERS_SEEN):
            self._stop_reading(stream)
            self._credit(stream)
        self._drop(stream)

    def _write_section(self, stream: RequestStream, fields: Fields, fin: bool) -> bool:
        """Write HEADERS; False when the peer would not take them (section 4.2.2): then the stream has failed."""
        most = self.control.settings.max_section
        if section_size(fields) > most:
            error = H3StreamError(
                H3_INTERNAL_ERROR, "peer-field-limit", f"the peer takes {most} octets of fields"
            )
            self._fail(stream, error, H3_INTERNAL_ERROR, by_peer=False)
            return False
        section = self.encoder.encode(
            stream.id, fields.names, fields.lines, marked=fields.flags & NEVER_INDEXED != 0
        )
        self._writes.append((stream.id, encode_head(frames.HEADERS, len(section)) + section, fin))
        return True
