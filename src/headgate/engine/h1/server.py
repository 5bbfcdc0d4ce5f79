"""The server role of HTTP/1.1: receives requests, sends responses (RFC 9112).

Whoever drives it: `receive(data)`, then `next_event()` until None; `send(event)` for each event of the answer, then
`take_output()`; when `exchange_over`, `reuse()` or close as `must_close` says.
"""

from typing import Final, final

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h1.connection import H1Connection
from headgate.engine.h1.grammar import (
    CLOSE,
    DUPLICATE,
    KEEP_ALIVE,
    OPTION_UPGRADE,
    Section,
    list_tokens,
    parse_fields,
    parse_request_line,
)
from headgate.engine.h1.machine import (
    DONE,
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
from headgate.http.fields import CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE

_SPECIAL: Final = CLOSE | KEEP_ALIVE | CONTENT_LENGTH | EXPECT | TRANSFER_ENCODING | UPGRADE | DUPLICATE
_STATUS_LINES: Final[dict[int, bytes]] = {}
MAX_EMPTY_LINES: Final = 8  # RFC 9112 section 2.2 asks to ignore at least one before a request line


@final
class ServerEngine(H1Connection):
    """One downstream connection. `request` is the request of the current exchange."""

    request: Request | None = None
    _skipped = 0  # empty lines since the last head

    # -- receiving

    def _receive_head(self) -> Event | None:
        if self._buffer[self._position] == 0x0D:
            self._skip_empty_lines()
            if self._position >= len(self._buffer):
                return None
        lines = self._take_head()
        if lines is None:
            return None
        self._skipped = 0
        line = parse_request_line(lines[0])
        section = parse_fields(lines, 1, self.max_fields)
        version = line.version
        request = Request(line.method, line.target, version, section.fields)
        request.host = section.host
        flags = section.flags
        if flags & HOST == 0 and version == 11:
            raise RemoteProtocolError(
                400, "no-host", "an HTTP/1.1 request without Host (RFC 9112 section 3.2)"
            )
        if version == 10:
            request.close = True
        if flags & _SPECIAL:
            self._read_special(request, section)
        if request.close:
            self.must_close = True
        if request.body == 0:
            self.receiving = step(self.receiving, HEAD_EMPTY)
        elif request.body > 0:
            self._receive_left = request.body
            self.receiving = step(self.receiving, HEAD_LENGTH)
        else:
            self.receiving = step(self.receiving, HEAD_CHUNKED)
        self.request = request
        return request

    def _skip_empty_lines(self) -> None:
        while self._buffer.startswith(b"\r\n", self._position):
            self._position += 2
            self._skipped += 1
            if self._skipped > MAX_EMPTY_LINES:
                raise RemoteProtocolError(400, "bad-request-line", "empty lines instead of a request")

    def _check_start(self, buffer: bytes, start: int) -> None:
        """Refuse what cannot be a request: a method begins with a token octet (TLS, SSH, garbage do not)."""
        first = buffer[start]
        if not (0x21 <= first <= 0x7E) and first != 0x0D:
            raise RemoteProtocolError(400, "bad-request-line", "this is not HTTP")

    def _head_too_large(self, buffer: bytes, start: int) -> RemoteProtocolError:
        if buffer.find(b"\r\n", start, start + self.max_head) < 0:
            return RemoteProtocolError(
                414, "target-too-long", f"the request line exceeds {self.max_head} octets"
            )
        return RemoteProtocolError(431, "head-too-large", f"the head exceeds {self.max_head} octets")

    def _read_special(self, request: Request, section: Section) -> None:
        """Apply the fields that decide on framing and persistence (RFC 9112 sections 6.3, 9.3; RFC 9110 10.1.1)."""
        flags = section.flags
        if flags & DUPLICATE:
            raise RemoteProtocolError(400, "duplicate-field", "Host or Content-Length stands twice")
        if flags & TRANSFER_ENCODING:
            self._read_transfer_encoding(request)
        elif flags & CONTENT_LENGTH:
            request.body = section.length
        if flags & CLOSE:
            request.close = True
        elif request.version == 10 and flags & KEEP_ALIVE:
            request.close = False
        # RFC 9110 section 7.8: an Upgrade from HTTP/1.0, or one that Connection does not name, is ignored.
        if flags & UPGRADE and flags & OPTION_UPGRADE and request.version == 11:
            request.upgrade = request.fields.get(b"upgrade") or b""
        if flags & EXPECT:
            if (request.fields.get(b"expect") or b"").lower() != b"100-continue":
                raise RemoteProtocolError(417, "bad-expectation", "the only expectation is 100-continue")
            request.expect_continue = request.version == 11 and request.body != 0

    def _read_transfer_encoding(self, request: Request) -> None:
        """RFC 9112 section 6.1: chunked, alone and last; never beside Content-Length, never in HTTP/1.0."""
        if request.fields.flags & CONTENT_LENGTH:
            raise RemoteProtocolError(400, "te-and-cl", "Transfer-Encoding beside Content-Length")
        if request.version == 10:
            raise RemoteProtocolError(400, "te-in-http10", "Transfer-Encoding in an HTTP/1.0 request")
        codings = list_tokens(request.fields.get_all(b"transfer-encoding"))
        if codings != [b"chunked"]:
            if codings and codings[-1] == b"chunked" and codings.count(b"chunked") == 1:
                raise RemoteProtocolError(501, "unknown-coding", "a transfer coding other than chunked")
            raise RemoteProtocolError(
                400, "bad-transfer-encoding", "the last transfer coding is not chunked, once"
            )
        request.body = UNKNOWN_LENGTH

    # -- sending

    def send(self, event: Event) -> None:
        """Take the next event of the answer; raises `LocalProtocolError` for one that is out of turn."""
        if isinstance(event, Data):
            self._write_data(event.data)
        elif isinstance(event, Response):
            self.send_response(event)
        elif isinstance(event, EndOfMessage):
            self._write_end(event.trailers)
        else:
            raise LocalProtocolError(f"a server cannot send {event!r}")

    def send_response(self, response: Response) -> None:
        """Write a response head. Content-Length is expected among its fields when `body` is known and not 0."""
        status = response.status
        if 100 <= status < 200:
            self._send_interim(response)
            return
        request = self.request
        fields = response.fields
        if response.body != 0 and (status == 204 or status == 304):
            raise LocalProtocolError(f"content in a {status} (RFC 9112 section 6.3)")
        if response.body <= 0 and fields.flags & CONTENT_LENGTH and (response.body < 0 or status == 204):
            fields.remove(b"content-length")  # RFC 9112 section 6.2, RFC 9110 section 8.6
        lines = [_status_line(status, response.reason)]
        lines.extend(fields.lines)
        if response.body == UNKNOWN_LENGTH:
            if request is not None and request.version == 11:
                lines.append(b"Transfer-Encoding: chunked")
                self.sending = step(self.sending, HEAD_CHUNKED)
            else:
                self.sending = step(self.sending, HEAD_UNTIL_CLOSE)
                self.must_close = True
        elif response.body == 0:
            if fields.flags & CONTENT_LENGTH == 0 and self._needs_length(status):
                lines.append(b"Content-Length: 0")
            # A 2xx to CONNECT ends HTTP here, and is not the end of an exchange.
            tunnel = request is not None and request.method == b"CONNECT" and status < 300
            self.sending = step(self.sending, HEAD_SWITCH if tunnel else HEAD_EMPTY)
        else:
            if fields.flags & CONTENT_LENGTH == 0:
                lines.append(b"Content-Length: %d" % response.body)
            self.sending = step(self.sending, HEAD_LENGTH)
            self._send_left = response.body
        if self.receiving == IDLE or response.close:
            self.must_close = True  # an answer to a request that could not be read, or the last one
        if self.must_close:
            lines.append(b"Connection: close")
        elif request is not None and request.version == 10:
            lines.append(b"Connection: keep-alive")
        lines.append(b"\r\n")
        self._output = self._output + b"\r\n".join(lines)

    def _needs_length(self, status: int) -> bool:
        """Content-Length: 0 is in every empty answer but 204, 304, to HEAD, and 2xx to CONNECT (RFC 9110 8.6)."""
        if status in (204, 304):
            return False
        if self.request is None:
            return True
        method = self.request.method
        return method != b"HEAD" and (method != b"CONNECT" or status >= 300)

    def _send_interim(self, response: Response) -> None:
        if self.request is not None and self.request.version == 10:
            return  # RFC 9110 section 15.2: never to an HTTP/1.0 client
        self.sending = step(self.sending, HEAD_SWITCH if response.status == 101 else INTERIM)
        lines = [_status_line(response.status, response.reason)]
        lines.extend(response.fields.lines)
        lines.append(b"\r\n")
        self._output = self._output + b"\r\n".join(lines)

    def switch(self) -> None:
        """Leave HTTP after a 101, or a 2xx to CONNECT: what follows is a tunnel, `take_rest()` its beginning."""
        if self.receiving != DONE:
            raise LocalProtocolError("the request is not complete")
        self.receiving = step(self.receiving, HEAD_SWITCH)
        self.must_close = True


def _status_line(status: int, reason: bytes) -> bytes:
    """Return a status line; the common ones come from a table."""
    if not reason or len(reason) > 64:
        return b"HTTP/1.1 %d %b" % (status, reason)
    line = _STATUS_LINES.get(status)
    if line is not None and line.endswith(reason) and len(line) == 13 + len(reason):
        return line
    line = b"HTTP/1.1 %d %b" % (status, reason)
    if 100 <= status <= 599:
        _STATUS_LINES[status] = line
    return line
