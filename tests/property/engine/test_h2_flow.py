"""What an HTTP/2 server lets its client send, held against a client that counts: random content, padding,
consumption, resets of both sides, answers before their time.

Whoever keeps to the windows is never blamed. What the server thinks is left is what the client thinks. And however
streams end, no octet of the connection's window is lost: once nothing is open, all of it is.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.h2.wire import DATA, RST_STREAM, WINDOW_UPDATE, frames_of

from headgate.engine.events import Data, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import CANCEL
from headgate.engine.h2.settings import H2Settings
from headgate.http.fields import Fields

BEGIN = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
)
POST = b"\x83\x87\x84\x41\x01a"  # :method POST, :scheme https, :path /, :authority a
FIRST = 65_535


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Client:
    """A client that keeps to the windows, and what the server's driver does with what comes."""

    def __init__(self, local):
        self.now = 0.0
        self.h2 = H2Connection(False, 0.0, local)
        self.left = FIRST
        self.first = local.initial_window
        self.streams = {}  # those that may be sent on, and their windows
        self.handed = {}  # octets that the driver has of a stream and has not consumed
        self.last = -1
        self.tell(BEGIN)

    def tell(self, octets):
        self.now += 0.05
        self.h2.receive(octets, self.now)
        while (event := self.h2.next_event()) is not None:
            if isinstance(event, Data):
                self.handed[event.stream] = self.handed.get(event.stream, 0) + len(event.data)
        self.hear()

    def hear(self):
        for came in frames_of(self.h2.take_output(1 << 20)):
            if came.kind == WINDOW_UPDATE:
                increment = int.from_bytes(came.payload, "big")
                assert increment > 0
                if came.stream == 0:
                    self.left += increment
                elif came.stream in self.streams:
                    self.streams[came.stream] += increment
            elif came.kind == RST_STREAM:
                self.streams.pop(came.stream, None)

    def begin(self):
        if len(self.h2.streams) < self.h2.local.max_streams:
            self.last += 2
            self.streams[self.last] = self.first
            self.tell(frame(1, 4, self.last, POST))

    def send(self, number, size, padding, ends):
        """Send as much of `size` as may be sent."""
        most = min(self.left, self.streams[number], 16_384)
        padding = min(padding, most - 1)
        if padding < 0:
            return
        size = min(size, most - 1 - padding)
        payload = bytes((padding,)) + bytes(size + padding)
        self.left -= len(payload)
        self.streams[number] -= len(payload)
        self.tell(frame(DATA, 8 | ends, number, payload))
        if ends:
            self.streams.pop(number, None)

    def check(self):
        assert self.left == self.h2.window.left
        assert self.left + self.h2.window.unread <= self.h2.local.connection_window_limit
        for number, window in self.streams.items():
            stream = self.h2.streams[number]
            if stream.window is not None and stream.receiving == 1:
                assert window == stream.window.left
                assert window + stream.window.unread <= self.h2.local.stream_window


which = st.integers(0, 20)
sizes = st.sampled_from([0, 1, 300, 5000, 16_384])
step = st.one_of(
    st.tuples(st.just("begin")),
    st.tuples(st.just("send"), which, sizes, st.sampled_from([0, 0, 1, 255]), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("send"), which, sizes, st.just(0), st.just(0)),
    st.tuples(st.just("consume"), which, sizes),
    st.tuples(st.just("consume"), which, st.just(1 << 20)),
    st.tuples(st.just("reset"), which),
    st.tuples(st.just("abort"), which),
    st.tuples(st.just("end_reading"), which),
    st.tuples(st.just("answer"), which),
)


def chosen(numbers, index):
    numbers = sorted(numbers)
    return numbers[index % len(numbers)] if numbers else None


def act(client, what, index=0, *arguments):
    """Do one step, as the client or as the server's driver."""
    h2 = client.h2
    if what == "begin":
        client.begin()
    elif what == "send":
        number = chosen(client.streams, index)
        if number is not None:
            client.send(number, *arguments)
    elif what == "consume":
        number = chosen(client.handed, index)
        if number is not None:
            taken = min(arguments[0], client.handed[number])
            client.handed[number] -= taken
            h2.consumed(number, taken)
    elif what == "reset":
        number = chosen(client.streams, index)
        if number is not None:
            del client.streams[number]
            client.tell(frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big")))
    else:
        number = chosen(h2.streams.keys() | client.handed.keys(), index)
        if number is not None:
            act_on(client, what, number)
    client.hear()


def act_on(client, what, number):
    h2 = client.h2
    if what == "answer":
        if number in h2.streams and h2.streams[number].sending == 0:
            h2.send(Response(204, b"", 11, Fields([], []), 0, number))
        return
    if what == "abort":
        h2.abort(number)
    else:
        h2.end_reading(number)
    client.handed.pop(number, None)  # whoever says so consumes nothing any more


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([(1000, 1000), (1000, 1500), (FIRST, 100_000)]),
    st.sampled_from([(FIRST, FIRST), (FIRST, 200_000), (100_000, 100_000)]),
    st.lists(step, min_size=20, max_size=80),
)
def test_windows_are_kept_by_both_sides_and_nothing_is_lost(of_streams, of_connection, steps):
    client = Client(
        H2Settings(
            max_streams=9,
            initial_window=of_streams[0],
            stream_window=of_streams[1],
            connection_window=of_connection[0],
            connection_window_limit=of_connection[1],
        )
    )
    for _ in range(3):
        client.begin()
    for what, *arguments in steps:
        act(client, what, *arguments)
        client.check()
    for number in list(client.h2.streams):
        act_on(client, "abort", number)
    for number, left in client.handed.items():
        client.h2.consumed(number, left)
    client.hear()
    window = client.h2.window
    assert (window.unread, client.h2.streams, client.h2._kept) == (0, {}, {})
    assert client.left == window.left
    assert 2 * client.left >= window.window
