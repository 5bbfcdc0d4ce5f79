"""One engine and a peer that is written by hand: frames in, events and frames out."""

from tests.unit.engine.h2.wire import frames_of

from headgate.engine.h2 import frames
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.frames import FLAG_END_HEADERS, FLAG_END_STREAM, PREFACE, encode_frame
from headgate.engine.h2.hpack_encoder import HpackEncoder
from headgate.engine.h2.settings import H2Settings
from headgate.http.fields import Fields

ACK = encode_frame(frames.SETTINGS, frames.FLAG_ACK, 0, b"")
SETTINGS = encode_frame(frames.SETTINGS, 0, 0, b"")
GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/"))
POST = ((b":method", b"POST"), *GET[1:])
OK = ((b":status", b"200"),)


class Pair:
    """`engine` has exchanged prefaces with its peer, which acknowledged them."""

    def __init__(self, is_client=False, max_requests=10_000, max_age=3600.0, **table):
        self.engine = H2Connection(
            is_client, 0.0, H2Settings(**table), max_requests=max_requests, max_age=max_age
        )
        self.encoder = HpackEncoder()
        self.engine.receive((b"" if is_client else PREFACE) + SETTINGS + ACK, 0.0)
        self.sent()

    def headers(self, stream, pairs, *, end=False):
        """Return HEADERS."""
        fields = Fields([], [])
        for name, value in pairs:
            fields.add(name, value)
        flags = FLAG_END_HEADERS | (FLAG_END_STREAM if end else 0)
        return encode_frame(frames.HEADERS, flags, stream, self.encoder.encode(fields))

    def put(self, *octets, now=0.0):
        """Give octets at once; return the events."""
        self.engine.receive(b"".join(octets), now)
        return self.events()

    def events(self):
        """Take all events."""
        found = []
        while (event := self.engine.next_event()) is not None:
            found.append(event)
        return found

    def sent(self):
        """Return the frames that go out."""
        octets = b""
        while self.engine.has_output():
            octets += self.engine.take_output(1 << 20)
        return frames_of(octets.removeprefix(PREFACE))


def data(stream, content=b"", *, end=False, padding=-1):
    """Return DATA."""
    flags = FLAG_END_STREAM if end else 0
    if padding >= 0:
        content = bytes((padding,)) + content + bytes(padding)
        flags |= frames.FLAG_PADDED
    return encode_frame(frames.DATA, flags, stream, content)


def reset(stream, code=8):
    """Return RST_STREAM."""
    return encode_frame(frames.RST_STREAM, 0, stream, code.to_bytes(4, "big"))
