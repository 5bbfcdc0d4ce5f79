"""HTTP/2 on the wire, written and read without the engine that is tried: frames of any shape, sections as literals.

`section` writes every line as a literal without indexing (RFC 7541 section 6.2.2), so that what it writes depends on
nothing that came before; what an engine wrote is read by the `hpack` package. Nothing here checks anything: most of
what tests send is wrong on purpose.
"""

from typing import NamedTuple

import hpack

from headgate.testing.h2_raw import PREFACE, frame, integer, literal, window_update

__all__ = ["PREFACE", "frame", "integer", "window_update"]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
PRIORITY_UPDATE = 0x10
UNKNOWN = 0xBE

END_STREAM = ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
HAS_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT = range(5)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(5, 10)
CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = range(10, 14)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = range(1, 5)
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES = 5, 6, 8, 9

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/"))
POST = ((b":method", b"POST"), *GET[1:])
CONNECT = ((b":method", b"CONNECT"), (b":authority", b"a.test:443"))
OK = ((b":status", b"200"),)
NUL_AND_CO = (b"a\0b", b"a\rb", b"a\nb", b"a\r\nb: c", b"\0", b"\r", b"\n", b"a\r\n b")


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self):
        """The error code of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.type == RST_STREAM else self.payload[4:8])

    @property
    def last(self):
        """The last stream of GOAWAY."""
        return int.from_bytes(self.payload[:4])

    @property
    def number(self):
        """The increment of WINDOW_UPDATE."""
        return int.from_bytes(self.payload)

    @property
    def settings(self):
        return [
            (int.from_bytes(self.payload[i : i + 2]), int.from_bytes(self.payload[i + 2 : i + 6]))
            for i in range(0, len(self.payload), 6)
        ]


def parse(octets):
    """Read all frames; there must be no rest."""
    found = []
    while octets:
        size = int.from_bytes(octets[:3])
        assert len(octets) >= 9 + size, "a part of a frame was written"
        found.append(Frame(octets[3], octets[4], int.from_bytes(octets[5:9]), octets[9 : 9 + size]))
        octets = octets[9 + size :]
    return found


def section(*lines):
    """Write a field section of (name, value)."""
    return b"".join(literal(name, value) for name, value in lines)


def padded(payload, pad):
    return bytes((pad,)) + payload + bytes(pad)


def headers(stream, *lines, end=False, flags=END_HEADERS):
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, section(*lines))


def data(stream, content=b"", *, end=False):
    return frame(DATA, END_STREAM if end else 0, stream, content)


def settings(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(k.to_bytes(2) + v.to_bytes(4) for k, v in pairs))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


def goaway(last, code=NO_ERROR, debug=b""):
    return frame(GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4) + debug)


def priority_update(stream, value, on=0):
    return frame(PRIORITY_UPDATE, 0, on, stream.to_bytes(4) + value)


def decoder():
    """A decoder of what an engine writes; it takes any section and table up to 64 KiB."""
    made = hpack.Decoder(1 << 20)
    made.max_allowed_table_size = 65536
    return made
