"""The framing of HTTP/3 (RFC 9114 section 7): type, length, payload.

`FrameReader` takes one stream apart. `next()` says what it met; at the head of a frame its owner decides, by type
and length, what becomes of the payload: gathered whole (`WHOLE`, small frames, after their length was checked),
handed out as it comes (`PIECES`, content), or thrown away as it comes (`SKIP`, what nobody knows). So nothing is held
but an incomplete frame head, and payloads whose length was found right.
"""

from typing import Final, final

from headgate.engine.varint import decode_varint, encode_varint, length_of_varint

DATA: Final = 0x00
HEADERS: Final = 0x01
CANCEL_PUSH: Final = 0x03
SETTINGS: Final = 0x04
PUSH_PROMISE: Final = 0x05
GOAWAY: Final = 0x07
FRAME_MAX_PUSH_ID: Final = 0x0D
PRIORITY_UPDATE_REQUEST: Final = 0x0F0700  # RFC 9218 section 7.2
PRIORITY_UPDATE_PUSH: Final = 0x0F0701
# Frames of HTTP/2 that HTTP/3 has no use for, and whose types stay taken (section 7.2.8).
RESERVED: Final = frozenset((0x02, 0x06, 0x08, 0x09))

# What `next()` met.
NOTHING: Final = 0  # more octets are needed
HEAD: Final = 1  # `type` and `length` of a frame: `take` what becomes of it
PAYLOAD: Final = 2  # the whole `payload`
PIECE: Final = 3  # some `payload` of a frame in pieces

# What becomes of a payload.
SKIP: Final = 0
WHOLE: Final = 1
PIECES: Final = 2


@final
class FrameReader:
    """Takes the octets of one stream apart; `payload` is what the last `next()` found."""

    __slots__ = ("_at", "_buffer", "_left", "_more", "_taken", "_waiting", "length", "payload", "type")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._more: bytearray | None = None  # what came behind `_buffer` before that was used up
        self._left = 0  # octets of the current payload that are still to come
        self._taken = SKIP
        self._waiting = False  # a payload is gathered whole, even one of no octets
        self.type = -1
        self.length = 0
        self.payload = b""

    def __repr__(self) -> str:
        return f"<FrameReader type={self.type:#x} left={self._left} buffered={self.buffered}>"

    @property
    def buffered(self) -> int:
        """How many octets are held."""
        more = self._more
        return len(self._buffer) - self._at + (0 if more is None else len(more))

    @property
    def between_frames(self) -> bool:
        """Whether the stream may end here (section 7.1)."""
        return self._left == 0 and not self._waiting and not self.buffered

    def feed(self, data: bytes) -> None:
        """Take octets; call `next` until it returns NOTHING."""
        if self._more is not None:
            self._more += data
        elif self._at < len(self._buffer):
            self._more = bytearray(data)
        else:
            self._buffer = data
            self._at = 0

    def next(self) -> int:
        """Return what comes next."""
        more = self._more
        if more is not None:
            if self._waiting and self.buffered < self._left:
                return NOTHING  # in one piece once all of it is there, not with each that comes
            self._buffer = self._buffer[self._at :] + bytes(more)
            self._at = 0
            self._more = None
        buffer = self._buffer
        while True:
            at = self._at
            have = len(buffer) - at
            if self._waiting:
                left = self._left
                if have < left:
                    return NOTHING
                self.payload = buffer[at : at + left]
                self._at = at + left
                self._left = 0
                self._waiting = False
                return PAYLOAD
            if have <= 0:
                self._buffer = b""
                self._at = 0
                return NOTHING
            if self._left == 0:
                return self._read_head(buffer, at, have)
            size = min(have, self._left)
            self._left -= size
            self._at = at + size
            if self._taken == PIECES:
                self.payload = buffer if size == len(buffer) else buffer[at : at + size]
                return PIECE

    def _read_head(self, buffer: bytes, at: int, have: int) -> int:
        first = length_of_varint(buffer[at])
        if have <= first:
            return NOTHING
        if have < first + length_of_varint(buffer[at + first]):
            return NOTHING
        self.type = decode_varint(buffer, at)
        at += first
        self.length = decode_varint(buffer, at)
        self._at = at + length_of_varint(buffer[at])
        self._left = self.length
        self._taken = SKIP
        return HEAD

    def take(self, how: int) -> None:
        """Say after a HEAD what becomes of its payload; who says nothing skips it."""
        self._taken = how
        self._waiting = how == WHOLE


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def encode_head(kind: int, length: int) -> bytes:
    """Return what stands before a payload of so many octets."""
    return encode_varint(kind) + encode_varint(length)


def decode_single(payload: bytes) -> int:
    """Return the one integer that is a whole payload, -1 when it is anything else (section 10.8)."""
    if not payload or len(payload) != length_of_varint(payload[0]):
        return -1
    return decode_varint(payload, 0)
