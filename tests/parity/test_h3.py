"""HTTP/3 against aioquic's, in both roles, with QUIC replaced by a wire that delivers streams in any order."""

import random
from types import SimpleNamespace

import pytest
from aioquic.h3.connection import H3Connection as TheirConnection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import StreamDataReceived

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.settings import H3Settings
from headgate.http.fields import Fields


class Quic:
    """What aioquic's HTTP/3 wants of its QUIC: it keeps what is sent."""

    def __init__(self, is_client):
        self.configuration = SimpleNamespace(is_client=is_client)
        self._quic_logger = None
        self._remote_max_datagram_frame_size = None
        self.sent = []
        self.closed = None
        self._next = 2 if is_client else 3

    def get_next_available_stream_id(self, is_unidirectional=False):
        assert is_unidirectional
        stream, self._next = self._next, self._next + 4
        return stream

    def send_stream_data(self, stream_id, data, end_stream=False):
        self.sent.append((stream_id, data, end_stream))

    def close(self, error_code=0, frame_type=None, reason_phrase=""):
        self.closed = (error_code, reason_phrase)


class Wire:
    """Joins one of theirs with one of ours; streams keep their own order and nothing else does."""

    def __init__(self, we_are_client, seed, table=0):
        self.chance = random.Random(seed)
        self.quic = Quic(not we_are_client)
        self.theirs = TheirConnection(self.quic)
        self.ours = H3Connection(we_are_client, 0.0, H3Settings(table_capacity=table, blocked_streams=16))
        self.their_events = []
        self.our_events = []
        self.exchange()

    def pieces(self, writes):
        """Cut what was written and mix it."""
        streams = {}
        for stream, data, fin in writes:
            queue = streams.setdefault(stream, [])
            cut = self.chance.randint(0, len(data))
            queue += [(data[:cut], False), (data[cut:], fin)]
        while streams:
            stream = self.chance.choice(list(streams))
            yield (stream, *streams[stream].pop(0))
            if not streams[stream]:
                del streams[stream]

    def exchange(self):
        """Carry everything both ways until nothing moves."""
        while True:
            ours, theirs = self.ours.take_writes(), self.quic.sent
            self.quic.sent = []
            if not ours and not theirs:
                return
            for stream, data, fin in self.pieces(ours):
                event = StreamDataReceived(data=data, end_stream=fin, stream_id=stream)
                self.their_events += self.theirs.handle_event(event)
                assert self.quic.closed is None
            for stream, data, fin in self.pieces(theirs):
                self.ours.receive_stream(stream, data, fin, 0.0)
                while (event := self.ours.next_event()) is not None:
                    self.our_events.append(event)


def value(chance):
    return bytes(chance.choice(b"abc123;=,/ _\xe9") for _ in range(chance.randrange(60))).strip()


def extra(chance):
    names = (b"accept", b"x-a", b"x-b", b"user-agent", b"x-forwarded-for")
    return [(chance.choice(names), value(chance)) for _ in range(chance.randrange(6))]


def body(chance):
    return [chance.randbytes(chance.choice((1, 5, 100, 3000))) for _ in range(chance.randrange(1, 4))]


@pytest.mark.parametrize("table", [0, 4096])
@pytest.mark.parametrize("seed", range(6))
def test_we_serve_their_client(seed, table):
    wire = Wire(False, seed, table)
    chance = wire.chance
    for number in range(12):
        stream, fields, content = 4 * number, extra(chance), body(chance)
        pseudo = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"a.test"),
            (b":path", b"/x"),
        ]
        wire.theirs.send_headers(stream, pseudo + fields)
        for piece in content:
            wire.theirs.send_data(stream, piece, False)
        wire.theirs.send_headers(stream, [(b"digest", b"up")], True)
        wire.exchange()
        request, *rest = wire.our_events
        assert isinstance(request, Request)
        assert request.fields.items() == [(b"host", b"a.test"), *fields]
        assert b"".join(event.data for event in rest if isinstance(event, Data)) == b"".join(content)
        assert rest[-1].trailers.items() == [(b"digest", b"up")]
        wire.our_events.clear()

        answer, down = extra(chance), body(chance)
        pairs = Fields([name for name, _ in answer], [name + b": " + text for name, text in answer])
        wire.ours.send(Response(200, b"", 11, pairs, UNKNOWN_LENGTH, stream))
        for piece in down:
            wire.ours.send(Data(piece, stream))
        wire.ours.send(EndOfMessage(None, stream))
        wire.exchange()
        heads = [event for event in wire.their_events if isinstance(event, HeadersReceived)]
        assert [event.headers for event in heads] == [[(b":status", b"200"), *answer]]
        parts = [event.data for event in wire.their_events if isinstance(event, DataReceived)]
        assert b"".join(parts) == b"".join(down)
        assert wire.their_events[-1].stream_ended
        wire.their_events.clear()
    assert wire.ours.streams == {}


@pytest.mark.parametrize("table", [0, 4096])
@pytest.mark.parametrize("seed", range(6))
def test_we_ask_their_server(seed, table):
    wire = Wire(True, seed, table)
    chance = wire.chance
    for number in range(12):
        fields = extra(chance)
        pairs = Fields([b"host"], [b"Host: a.test"])
        for name, text in fields:
            pairs.add(name, text)
        request = Request(b"GET", b"/x", 11, pairs)
        wire.ours.send(request)
        wire.exchange()
        stream = request.stream
        assert stream == 4 * number
        head, *late = wire.their_events  # perhaps the end alone, as content of nothing
        assert [event.data for event in late] == [b""] * len(late)
        assert head.headers[:4] == [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.test"),
            (b":path", b"/x"),
        ]
        assert head.headers[4:] == fields
        assert wire.their_events[-1].stream_ended
        wire.their_events.clear()

        answer, content = extra(chance), body(chance)
        wire.theirs.send_headers(stream, [(b":status", b"103"), (b"link", b"</a>")])
        size = b"%d" % sum(map(len, content))
        wire.theirs.send_headers(stream, [(b":status", b"200"), (b"content-length", size), *answer])
        for i, piece in enumerate(content):
            wire.theirs.send_data(stream, piece, i == len(content) - 1)
        wire.exchange()
        interim, final, *rest = wire.our_events
        assert (interim.status, final.status, final.body) == (103, 200, int(size))
        assert final.fields.items() == [(b"content-length", size), *answer]
        assert b"".join(event.data for event in rest[:-1]) == b"".join(content)
        assert isinstance(rest[-1], EndOfMessage)
        wire.our_events.clear()
    assert wire.ours.streams == {}
