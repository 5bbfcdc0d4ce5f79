"""A sender of HTTP/2 whose peer is the test: requests are made to have come, output is taken as frames."""

from tests.unit.engine.h2.wire import (
    frames_of,
)

from headgate.engine.events import Data, EndOfMessage, Response
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.machine import DONE as HEARD
from headgate.engine.h2.machine import HALF_CLOSED_REMOTE, OPEN
from headgate.engine.h2.sender import H2Sender
from headgate.engine.h2.settings import H2Settings
from headgate.engine.h2.stream import H2Stream
from headgate.http.fields import Fields

ALL = 1 << 30
LARGEST = (1 << 31) - 1


def fields(**lines):
    names = [name.encode() for name in lines]
    return Fields(
        names, [b"%b: %b" % (name, value) for name, value in zip(names, lines.values(), strict=True)]
    )


class Side:
    """A sender, and the decoder of its peer."""

    def __init__(self, is_client=False, window=1 << 20, **settings):
        self.h2 = H2Sender(is_client, 0.0, H2Settings(**settings))
        self.h2.take_output(ALL)
        self.h2.send_window = window
        self.decoder = HpackDecoder(4096, 1 << 20, 10_000)

    def opened(self, number, method=b"GET", ended=True, window=1 << 20, urgency=3, incremental=False):
        """A request has come."""
        stream = self.h2.streams[number] = H2Stream(number, window)
        stream.state = HALF_CLOSED_REMOTE if ended else OPEN
        stream.receiving = HEARD if ended else 1
        stream.method = method
        stream.urgency = urgency
        stream.incremental = incremental
        return stream

    def respond(self, number, content=None, status=200, trailers=None, ends=True):
        """Send an answer of unknown length; without content there is none."""
        self.h2.send(Response(status, b"", 11, fields(), 0 if content is None else -1, number))
        if content:
            self.h2.send(Data(content, number))
        if content is not None and ends:
            self.h2.send(EndOfMessage(trailers, number))

    def take(self, limit=ALL):
        return frames_of(self.h2.take_output(limit))

    def lines(self, frame):
        return [line.line for line in self.decoder.decode(frame.payload)]


def kinds(frames):
    return [(frame.kind, frame.stream, frame.flags) for frame in frames]
