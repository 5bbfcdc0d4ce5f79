"""The client role of HTTP/1.1: sends requests, receives responses (RFC 9112).

Whoever drives it: `send_request(request)` (and Data, EndOfMessage), `take_output()`, `receive(data)`, `next_event()`
until None. When `exchange_over`, `reuse()` or close as `must_close` says.
"""

import re
from typing import Final, final

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h1.connection import H1Connection
from headgate.engine.h1.grammar import CLOSE, DUPLICATE, KEEP_ALIVE, Section, list_tokens, parse_fields
from headgate.engine.h1.machine import (
    DONE,
    FAIL,
    HEAD_CHUNKED,
    HEAD_EMPTY,
    HEAD_LENGTH,
    HEAD_SWITCH,
    HEAD_UNTIL_CLOSE,
    IDLE,
    INTERIM,
    step,
)
from headgate.errors import LocalProtocolError, RemoteProtocolError
from headgate.http.fields import CONTENT_LENGTH, TRANSFER_ENCODING

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
MAX_INTERIM: Final = 16  # responses with 1xx before the final one; browsers stop at about that many


@final
class ClientEngine(H1Connection):
    """One connection to an origin. An error's code is what a gateway answers: 502."""

    request: Request | None = None
    _interim = 0

    # -- sending

    def send(self, event: Event) -> None:
        """Take the next event of the request; raises `LocalProtocolError` for one that is out of turn."""
        if isinstance(event, Data):
            self._write_data(event.data)
        elif isinstance(event, Request):
            self.send_request(event)
        elif isinstance(event, EndOfMessage):
            self._write_end(event.trailers)
        else:
            raise LocalProtocolError(f"a client cannot send {event!r}")

    def send_request(self, request: Request) -> None:
        """Write a request head. Content-Length is expected among its fields when `body` is known and not 0."""
        body = request.body
        if body < 0 and request.fields.flags & CONTENT_LENGTH:
            request.fields.remove(b"content-length")  # RFC 9112 section 6.2
        lines = [request.method + b" " + request.target + b" HTTP/1.1"]
        lines.extend(request.fields.lines)
        if body == 0:
            self.sending = step(self.sending, HEAD_EMPTY)
        elif body == UNKNOWN_LENGTH:
            lines.append(b"Transfer-Encoding: chunked")
            self.sending = step(self.sending, HEAD_CHUNKED)
        else:
            if request.fields.flags & CONTENT_LENGTH == 0:
                lines.append(b"Content-Length: %d" % body)
            self.sending = step(self.sending, HEAD_LENGTH)
            self._send_left = body
        lines.append(b"\r\n")
        self._output = self._output + b"\r\n".join(lines)
        self.request = request
        self._interim = 0

    # -- receiving

    def _code_of(self, error: RemoteProtocolError) -> int:
        return 502  # the grammar, shared with the server role, blames a client

    def _receive_head(self) -> Event | None:
        if self.request is None or self.sending == IDLE:
            raise RemoteProtocolError(502, "unexpected-response", "a response without a request")
        lines = self._take_head()
        if lines is None:
            return None
        version, status, reason = self._status_line(lines[0])
        section = parse_fields(lines, 1, self.max_fields)
        response = Response(status, reason, version, section.fields)
        if status < 200:
            return self._receive_interim(response)
        flags = section.flags
        response.close = flags & CLOSE != 0 or (version == 10 and flags & KEEP_ALIVE == 0)
        given = self._framing(response, section)
        if response.close:
            self.must_close = True
        self.receiving = step(self.receiving, given)
        return response

    def _status_line(self, line: bytes) -> tuple[int, int, bytes]:
        """Read a status line (RFC 9112 section 4); the space before an absent reason may be absent as well."""
        if line == b"HTTP/1.1 200 OK":
            return 11, 200, b"OK"
        matched = _STATUS_LINE.fullmatch(line)
        if matched is None:
            raise RemoteProtocolError(502, "bad-status-line", repr(line[:60]))
        version = 10 if matched.group(1) == b"0" else 11
        return version, int(matched.group(2)), matched.group(3) or b""

    def _receive_interim(self, response: Response) -> Event:
        request = self.request
        if response.status == 101:
            if request is None or not request.upgrade:
                raise RemoteProtocolError(502, "unexpected-switch", "101 without an Upgrade in the request")
            self.receiving = step(self.receiving, HEAD_SWITCH)
            self.must_close = True
            return response
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(502, "too-many-interim", f"more than {MAX_INTERIM} interim responses")
        response.fields.remove(b"content-length")  # RFC 9110 section 8.6: as in a 204
        self.receiving = step(self.receiving, INTERIM)
        return response

    def uncount_interim(self) -> None:
        """The interim response that came last was one of those that may come for as long as they like."""
        self._interim -= 1

    def _framing(self, response: Response, section: Section) -> int:
        """Decide how the content is framed (RFC 9112 section 6.3) and return the machine's input."""
        flags = section.flags
        status = response.status
        request = self.request
        method = request.method if request is not None else b""
        length = section.length
        if method == b"CONNECT" and status < 300:
            self.must_close = True
            return HEAD_SWITCH  # whatever Content-Length and Transfer-Encoding say (RFC 9112 section 6.3)
        if flags & DUPLICATE:
            raise RemoteProtocolError(502, "duplicate-field", "Host or Content-Length stands twice")
        if flags & CONTENT_LENGTH and flags & TRANSFER_ENCODING:
            raise RemoteProtocolError(502, "te-and-cl", "Transfer-Encoding beside Content-Length")
        if method == b"HEAD" or status in (204, 304):
            if status == 204:
                response.fields.remove(b"content-length")  # RFC 9110 section 8.6: must not be sent with 204
            return HEAD_EMPTY
        if flags & TRANSFER_ENCODING:
            return self._transfer_encoding(response)
        if length == 0:
            return HEAD_EMPTY
        if length > 0:
            response.body = length
            self._receive_left = length
            return HEAD_LENGTH
        response.body = UNKNOWN_LENGTH
        response.close = True
        self.must_close = True
        return HEAD_UNTIL_CLOSE

    def _transfer_encoding(self, response: Response) -> int:
        if response.version == 10:
            raise RemoteProtocolError(502, "te-in-http10", "Transfer-Encoding in an HTTP/1.0 response")
        if list_tokens(response.fields.get_all(b"transfer-encoding")) != [b"chunked"]:
            raise RemoteProtocolError(502, "unknown-coding", "a transfer coding other than chunked, once")
        response.body = UNKNOWN_LENGTH
        return HEAD_CHUNKED

    def _check_start(self, buffer: bytes, start: int) -> None:
        """Refuse what cannot be a status line as soon as it shows."""
        seen = buffer[start : start + 7]
        if not b"HTTP/1.".startswith(seen):
            raise RemoteProtocolError(502, "bad-status-line", repr(bytes(seen)))

    def _eof_before_head(self) -> Event | None:
        if self.sending != IDLE:
            self.receiving = step(self.receiving, FAIL)
            self.must_close = True
            if self._position < len(self._buffer):
                raise RemoteProtocolError(502, "truncated", "the connection ended inside the response's head")
            raise RemoteProtocolError(502, "closed", "the connection ended before the response")
        return super()._eof_before_head()

    @property
    def answered(self) -> bool:
        """Whether any byte of the response has come: only before that is a retry always safe."""
        return self.receiving != IDLE or self.buffered > 0 or self._interim > 0

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the exchange is over and nothing unasked-for has come."""
        return self.receiving == DONE and self.sending == DONE and not self.must_close and self.buffered == 0
