"""The framing of HTTP/2 (RFC 9113 sections 4 and 6): nine octets of head, then a payload.

A head is read where it stands, in `H2Connection`; here are its constants, how frames are written, and how padding and
the deprecated priority fields are taken off.
"""

from typing import Final

from headgate.engine.h2.errors import frame_size_error, protocol_error

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10  # RFC 9218 section 7.1

FLAG_ACK: Final = 0x1
FLAG_END_STREAM: Final = 0x1
FLAG_END_HEADERS: Final = 0x4
FLAG_PADDED: Final = 0x8
FLAG_PRIORITY: Final = 0x20

HEAD_OCTETS: Final = 9


def encode_head(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Return what stands before a payload of so many octets."""
    # One int for the whole head: a third of the cost of three pieces.
    return (length << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(HEAD_OCTETS, "big")


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a whole frame."""
    return encode_head(kind, flags, stream_id, len(payload)) + payload


def decode_number(data: bytes, at: int) -> int:
    """Return the 32 bits at `at`."""
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def fragment_of(data: bytes, at: int, end: int, flags: int) -> bytes:
    """Return the piece of a field block in a HEADERS payload from `at` to `end` (section 6.2).

    Raises `H2ConnectionError`.
    """
    padding = 0
    start = at
    if flags & FLAG_PADDED:
        if at == end:
            raise frame_size_error("HEADERS without the length of its padding")
        padding = data[at]
        start = at + 1
    if flags & FLAG_PRIORITY:
        start += 5
    if start > end:
        raise frame_size_error("HEADERS too short for its flags")
    if start + padding > end:
        raise protocol_error("padding that is longer than its frame")
    return data[start : end - padding]
