"""However octets are split they mean the same; what one role writes the other reads, and so does the h2 package."""

import h2.config
import h2.connection
import h2.events
from fuzz.h2 import ANSWERS, CONTROLS, REQUESTS, compare, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.settings import H2Settings
from headgate.http.fields import Fields
from headgate.testing import h2_raw as raw

MANY = settings(max_examples=max(60, settings.default.max_examples // 2))
START = {False: raw.PREFACE + raw.settings() + raw.settings_ack(), True: raw.settings() + raw.settings_ack()}
PATIENCE = 400
"""Turns in which an exchange must be over."""

TOKEN = st.text("!#$%&'*+-.^_`|~09az", min_size=1, max_size=12).map(lambda text: b"x-" + text.encode())
VALUE = st.lists(st.sampled_from([*range(0x21, 0x7F), 0x80, 0xFF, 0x20, 0x09]), max_size=20).map(
    lambda octets: bytes(octets).strip(b" \t")
)
PAIRS = st.lists(st.tuples(TOKEN, VALUE), max_size=6)
CONTENT = st.lists(st.integers(0, 40_000).map(bytes), max_size=3)
MARKS = st.lists(st.integers(0, 5000), max_size=8)


def cut(octets, marks):
    """Cut `octets` at `marks`, taken modulo their length."""
    places = sorted(mark % (len(octets) + 1) for mark in marks)
    pieces = [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]
    return [piece for piece in pieces if piece]


def same(octets, pieces, is_client):
    whole, wrote = trace([octets], is_client=is_client)
    parts, also = trace(pieces, is_client=is_client)
    compare(whole, parts, wrote, also)


# -- splits


def test_the_corpus_octet_by_octet_and_at_every_place():
    for is_client, corpus in (
        (False, REQUESTS[:15]),
        (True, ANSWERS[:14]),
        (False, CONTROLS),
        (True, CONTROLS),
    ):
        for message in corpus:
            octets = START[is_client] + message
            same(octets, [octets[at : at + 1] for at in range(len(octets))], is_client)
            for at in range(len(START[is_client]) - 10, len(octets)):
                same(octets, [octets[:at], octets[at:]], is_client)


@MANY
@given(st.booleans(), st.data(), MARKS)
def test_messages_in_a_row_split_anywhere(is_client, drawn, marks):
    corpus = st.sampled_from((*(ANSWERS if is_client else REQUESTS), *CONTROLS))
    octets = START[is_client] + b"".join(drawn.draw(st.lists(corpus, min_size=1, max_size=6)))
    same(octets, cut(octets, marks), is_client)


# -- round trips


def section(pairs):
    fields = Fields([], [])
    for name, value in pairs:
        fields.add(name, value, name)
    return fields


class End:
    """One engine of a pair, and what it was told of each stream."""

    def __init__(self, is_client, **table):
        self.h2 = H2Connection(is_client, 0.0, H2Settings(**table))
        self.heads, self.content, self.trailers, self.ended = {}, {}, {}, set()

    def take(self, octets):
        self.h2.receive(octets, 0.0)
        while (event := self.h2.next_event()) is not None:
            stream = event.stream
            if isinstance(event, Request | Response):
                self.heads[stream] = event
                if event.body == 0:
                    self.ended.add(stream)
            elif isinstance(event, Data):
                self.content[stream] = self.content.get(stream, b"") + event.data
                self.h2.consumed(stream, len(event.data))
            elif isinstance(event, EndOfMessage):
                self.trailers[stream] = event.trailers
                self.ended.add(stream)
            else:
                raise AssertionError(event)

    def say(self, head, pieces, trailers):
        """Send a message on the stream of `head`; the content it will have is known to nobody before."""
        self.h2.send(head)
        for piece in pieces:
            self.h2.send(Data(piece, head.stream))
        self.h2.send(EndOfMessage(section(trailers) if trailers else None, head.stream))


def play(one, other, marks, done, limit):
    """Carry octets both ways, in pieces, until `done`."""
    for _ in range(PATIENCE):
        for source, target in ((one, other), (other, one)):
            for piece in cut(source.h2.take_output(limit), marks):
                target.take(piece)
        if done():
            return
    raise AssertionError("it does not end")


MESSAGE = st.tuples(PAIRS, CONTENT, PAIRS)


@MANY
@given(
    st.lists(st.tuples(MESSAGE, MESSAGE), min_size=1, max_size=4), MARKS, st.sampled_from([1, 9000, 1 << 17])
)
def test_what_a_client_writes_a_server_reads_and_back(exchanges, marks, limit):
    client = End(True, header_table=0 if len(marks) > 5 else 4096)
    server = End(False, initial_window=70_000)
    asked = []
    for (pairs, pieces, trailers), _ in exchanges:
        fields = section([(b"host", b"a.test"), *pairs])
        asked.append(Request(b"POST", b"/", 11, fields, UNKNOWN_LENGTH))
        client.say(asked[-1], pieces, trailers)
    streams = [request.stream for request in asked]
    play(client, server, marks, lambda: set(streams) <= server.ended, limit)
    for stream, (_, (pairs, pieces, trailers)) in zip(streams, exchanges, strict=True):
        server.say(Response(200, b"", 11, section(pairs), UNKNOWN_LENGTH, stream), pieces, trailers)
    play(server, client, marks, lambda: set(streams) <= client.ended, limit)
    for stream, both in zip(streams, exchanges, strict=True):
        for end, (pairs, pieces, trailers) in zip((server, client), both, strict=True):
            fields = [pair for pair in end.heads[stream].fields.items() if pair[0] != b"host"]
            assert fields == pairs
            assert end.content.get(stream, b"") == b"".join(pieces)
            got = end.trailers.get(stream)
            assert (list(got.items()) if got is not None else []) == trailers
    assert client.h2.streams == {}
    assert server.h2.streams == {}


class Theirs:
    """A client of the h2 package."""

    def __init__(self, window):
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.update_settings({4: window, 2: 0})
        self.heads, self.content, self.trailers, self.ended = {}, {}, {}, set()
        self.queues = {}

    def ask(self, stream, pairs, pieces, trailers):
        lines = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/")]
        self.h2.send_headers(stream, [*lines, *pairs])
        self.queues[stream] = [b"".join(pieces), trailers]
        self.pump()

    def pump(self):
        for stream, (left, trailers) in list(self.queues.items()):
            while left and (room := min(self.h2.local_flow_control_window(stream), 16384)) > 0:
                self.h2.send_data(stream, left[:room])
                left = left[room:]
            self.queues[stream][0] = left
            if not left:
                del self.queues[stream]
                if trailers:
                    self.h2.send_headers(stream, trailers, end_stream=True)
                else:
                    self.h2.end_stream(stream)

    def take(self, octets):
        for event in self.h2.receive_data(octets):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = [tuple(line) for line in event.headers]
            elif isinstance(event, h2.events.DataReceived):
                stream = event.stream_id
                self.content[stream] = self.content.get(stream, b"") + event.data
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[event.stream_id] = [tuple(line) for line in event.headers]
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
        self.pump()


@MANY
@given(
    st.lists(st.tuples(MESSAGE, MESSAGE), min_size=1, max_size=3),
    MARKS,
    st.sampled_from([100, 16_384, 65_535, 1 << 20]),
)
def test_the_h2_package_as_a_client(exchanges, marks, window):
    """Whatever its windows are, nothing we write is an error for it, and all of it arrives."""
    client, server = Theirs(window), End(False)
    answered = set()
    for at, (asked, _) in enumerate(exchanges):
        client.ask(1 + 2 * at, *asked)
    for _ in range(PATIENCE * 40):
        for piece in cut(client.h2.data_to_send(), marks):
            server.take(piece)
        for stream in server.ended - answered:
            answered.add(stream)
            pairs, pieces, trailers = exchanges[stream // 2][1]
            server.say(Response(200, b"", 11, section(pairs), UNKNOWN_LENGTH, stream), pieces, trailers)
        for piece in cut(server.h2.take_output(50_000), marks):
            client.take(piece)
        if len(client.ended) == len(exchanges):
            break
    for at, (asked, answer) in enumerate(exchanges):
        stream = 1 + 2 * at
        assert server.content.get(stream, b"") == b"".join(asked[1])
        assert client.heads[stream] == [(b":status", b"200"), *answer[0]]
        assert client.content.get(stream, b"") == b"".join(answer[1])
        assert client.trailers.get(stream, []) == answer[2]
    assert server.h2.streams == {}
