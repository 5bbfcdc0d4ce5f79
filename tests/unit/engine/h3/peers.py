"""A peer of `H3Connection` that writes frames as it likes, and two connections joined by nothing but their output."""

from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.frames import DATA, HEADERS, SETTINGS, encode_frame
from headgate.engine.h3.qpack_decoder import QpackDecoder
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.varint import encode_varint
from headgate.http.fields import Fields

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/"))
POST = ((b":method", b"POST"), *GET[1:])


def fields(*pairs):
    return Fields([name for name, _ in pairs], [name + b": " + value for name, value in pairs])


def section(*pairs):
    """Return an encoded section of any pairs at all, valid or not."""
    return QpackEncoder().encode(
        0, [name for name, _ in pairs], [name + b": " + value for name, value in pairs]
    )


def headers(*pairs):
    return encode_frame(HEADERS, section(*pairs))


def data(content):
    return encode_frame(DATA, content)


def settings(*numbers):
    return encode_frame(SETTINGS, b"".join(encode_varint(number) for number in numbers))


class Peer:
    """Drives one connection; `now` stands still until it is moved."""

    def __init__(self, is_client=False, *, hello=True, **options):
        self.engine = H3Connection(is_client, 0.0, **options)
        self.now = 0.0
        self.written = {}
        self.ended = set()
        self.control = 3 if is_client else 2  # our number of the peer's control stream
        if hello:
            self.feed(self.control, b"\x00" + settings())
            self.events()

    def feed(self, stream, octets, fin=False):
        self.engine.receive_stream(stream, octets, fin, self.now)

    def events(self):
        found = []
        while (event := self.engine.next_event()) is not None:
            found.append(event)
        return found

    def take(self):
        """Take what was written; return the octets of each stream since the last time."""
        new = {}
        for stream, octets, fin in self.engine.take_writes():
            assert stream not in self.ended
            new[stream] = new.get(stream, b"") + octets
            if fin:
                self.ended.add(stream)
        return new

    def ask(self, *pairs, stream=0, content=None, fin=True):
        """Send a request; return the events it makes."""
        octets = headers(*pairs) + (b"" if content is None else data(content))
        self.feed(stream, octets, fin)
        return self.events()


def decode_headers(octets):
    """Return the pairs of a HEADERS frame and what follows it."""
    assert octets[0] == HEADERS
    size, start = octets[1], 2
    if size >= 0x40:
        size, start = int.from_bytes(octets[1:3], "big") & 0x3FFF, 3
    lines = QpackDecoder().decode(0, octets[start : start + size])
    return [(line.name, line.value) for line in lines], octets[start + size :]


class Pair:
    """A client and a server, each other's peers."""

    def __init__(self, client=None, server=None):
        self.client = H3Connection(True, 0.0, settings=client)
        self.server = H3Connection(False, 0.0, settings=server)
        self.exchange()

    def exchange(self):
        """Carry everything both ways until nothing moves."""
        moved = True
        while moved:
            moved = False
            for one, other in ((self.client, self.server), (self.server, self.client)):
                for stream, octets, fin in one.take_writes():
                    moved = True
                    other.receive_stream(stream, octets, fin, 0.0)
                for stream, code in one.take_resets():
                    moved = True
                    other.receive_reset(stream, code, 0.0)
                for stream, code in one.take_stops():
                    moved = True
                    other.receive_stop(stream, code)

    def events(self, engine):
        found = []
        while (event := engine.next_event()) is not None:
            found.append(event)
        return found
