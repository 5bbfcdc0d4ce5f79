"""The chunked coding, both ways (RFC 9112 section 7.1).

The reader is a machine of five states over one buffer. It takes whole runs of chunks at once: all content that a
buffer holds comes out as one piece. Extensions are skipped, but counted: a peer that sends more extension octets
than `MAX_EXTENSIONS` in one message is refused, as is one whose size line exceeds `MAX_SIZE_LINE`.
"""

import re
from typing import Final, final

from headgate.engine.h1.grammar import parse_fields
from headgate.errors import RemoteProtocolError
from headgate.http.fields import CONTENT_LENGTH, HOST, TRANSFER_ENCODING, Fields

SIZE: Final = 0
CONTENT: Final = 1
CONTENT_END: Final = 2
TRAILERS: Final = 3
COMPLETE: Final = 4

MAX_SIZE_LINE: Final = 1024
MAX_EXTENSIONS: Final = 16 * 1024  # Go's net/http gives up at 16 KiB as well
# 16 hex digits would be 2**64; with 15 no arithmetic anywhere near can overflow.
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PARTIAL_LINE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?")


@final
class ChunkedReader:
    """Frees content from its chunks. `feed` takes the buffer and a position and says how far it came."""

    __slots__ = ("extensions", "left", "max_trailers", "position", "state", "trailers")

    def __init__(self, max_trailers: int) -> None:
        self.state = SIZE
        self.left = 0
        self.extensions = 0
        self.max_trailers = max_trailers
        self.position = 0
        self.trailers: Fields | None = None

    def feed(self, buffer: bytes, position: int) -> bytes:
        """Return all content in `buffer` from `position` on; `self.position` is then where reading goes on.

        Raises `RemoteProtocolError` 400, or 431 for a trailer section over its limit.
        """
        pieces: list[bytes] = []
        size = len(buffer)
        while position < size:
            if self.state == CONTENT:
                take = min(self.left, size - position)
                pieces.append(buffer[position : position + take])
                position += take
                self.left -= take
                if self.left > 0:
                    break
                self.state = CONTENT_END
            elif self.state == CONTENT_END:
                if size - position < 2:
                    if buffer[position : position + 1] != b"\r":
                        raise RemoteProtocolError(400, "bad-chunk", "no CRLF behind a chunk")
                    break
                if buffer[position : position + 2] != b"\r\n":
                    raise RemoteProtocolError(400, "bad-chunk", "no CRLF behind a chunk")
                position += 2
                self.state = SIZE
            elif self.state == SIZE:
                end = buffer.find(b"\r\n", position)
                if end < 0 or end - position > MAX_SIZE_LINE:
                    self._check_partial(buffer, position)
                    break
                self._size_line(buffer[position:end])
                position = end + 2
            elif self.state == TRAILERS:
                after = self._trailers(buffer, position)
                if after < 0:
                    break
                position = after
            else:
                break
        self.position = position
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_partial(self, buffer: bytes, position: int) -> None:
        """Refuse a size line that is too long, or that can no longer become one, before its end has come."""
        size = len(buffer) - position
        if size > MAX_SIZE_LINE + 1 or (size > MAX_SIZE_LINE and not buffer.endswith(b"\r")):
            raise RemoteProtocolError(400, "bad-chunk", f"a chunk size line exceeds {MAX_SIZE_LINE} octets")
        if _PARTIAL_LINE.fullmatch(buffer, position) is None:
            raise RemoteProtocolError(400, "bad-chunk", "malformed chunk size line")

    def _size_line(self, line: bytes) -> None:
        matched = _SIZE_LINE.fullmatch(line)
        if matched is None:
            raise RemoteProtocolError(400, "bad-chunk", "malformed chunk size line")
        digits = matched.group(1)
        self.extensions += len(line) - len(digits)
        if self.extensions > MAX_EXTENSIONS:
            raise RemoteProtocolError(
                400, "bad-chunk", f"more than {MAX_EXTENSIONS} octets of chunk extensions"
            )
        self.left = int(digits, 16)
        self.state = CONTENT if self.left > 0 else TRAILERS

    def _trailers(self, buffer: bytes, position: int) -> int:
        """Read the trailer section; return where it ends, or -1 when it is not complete."""
        if buffer[position : position + 2] == b"\r\n":
            self.state = COMPLETE
            return position + 2
        end = buffer.find(b"\r\n\r\n", position)
        # As with a head: up to three octets of the end may have come already.
        if (end if end >= 0 else len(buffer) - 3) - position > self.max_trailers:
            raise RemoteProtocolError(
                431, "trailers-too-large", f"more than {self.max_trailers} octets of trailers"
            )
        if end < 0:
            return -1
        lines = buffer[position:end].split(b"\r\n")
        trailers = parse_fields(lines, 0).fields
        # RFC 9110 section 6.5.1: framing and routing must not come behind the content.
        if trailers.flags & (CONTENT_LENGTH | TRANSFER_ENCODING | HOST):
            raise RemoteProtocolError(400, "bad-trailer", "a trailer names framing or routing")
        self.trailers = trailers
        self.state = COMPLETE
        return end + 4


def encode_chunk(data: bytes) -> bytes:
    """Wrap `data` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: Fields | None) -> bytes:
    """Return the end of a chunked body with its trailer section."""
    if trailers is None:
        return b"0\r\n\r\n"
    return b"0\r\n" + trailers.encode() + b"\r\n"
