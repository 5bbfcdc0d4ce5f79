"""What an HTTP/2 server sends, held against a naive peer: random windows, priorities, resets and limits.

The peer counts octets and looks at every stream each time. No window is ever exceeded, every octet arrives in order,
nobody who may send is passed over for a higher urgency or out of turn, and once the windows are open everything
arrives to its end.
"""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.h2.wire import DATA, END_STREAM, HEADERS, RST_STREAM, frames_of

from headgate.engine.events import Data, EndOfMessage, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import CANCEL
from headgate.engine.h2.sender import FRAME, LOW_WATER
from headgate.http.fields import Fields

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"\x82\x87\x84\x41\x01a"  # :method GET, :scheme https, :path /, :authority a
MOST = 9  # streams
PATTERN = bytes(range(251)) * 300
QUEUE = 0


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Told:
    """What the peer knows of a stream, and what the server was given to send."""

    def __init__(self, number, window):
        self.number = number
        self.window = window
        self.urgency = 3
        self.incremental = False
        self.given = bytearray()
        self.got = bytearray()
        self.finished = False  # the server was given the end
        self.ended = False
        self.seen = Counter()  # whose turn it was while this one waited for its own

    @property
    def may_send(self):
        return len(self.got) < len(self.given) and self.window > 0

    def end(self, flags):
        """Look whether a frame ends the stream, as it may."""
        if flags & END_STREAM:
            assert self.finished
            assert self.got == self.given
            self.ended = True


class Peer:
    """A client, and the server that it talks to."""

    def __init__(self, initial, window):
        self.now = 0.0
        self.h2 = H2Connection(False, 0.0)
        self.initial = initial
        self.window = self.h2.send_window = window  # as if the rest of the first 65,535 octets were used up
        self.streams = {}
        self.last = -1
        self.queues = {urgency: Counter() for urgency in range(8)}
        self.tell(PREFACE + frame(4, 0, 0, b"\x00\x04" + initial.to_bytes(4, "big")))

    def tell(self, octets):
        self.now += 10.0  # budgets are not what is tried here
        self.h2.receive(octets, self.now)
        while self.h2.next_event() is not None:
            pass

    def begin(self):
        if len(self.streams) == MOST:
            return
        self.last += 2
        self.streams[self.last] = Told(self.last, self.initial)
        self.tell(frame(HEADERS, 5, self.last, GET))
        self.h2.send(Response(200, b"", 11, Fields([], []), -1, self.last))

    def pick(self, index):
        """Return one of the streams that are open, or None."""
        still = [stream for stream in self.streams.values() if not stream.ended]
        return still[index % len(still)] if still else None

    def take(self, limit):
        octets = self.h2.take_output(limit)
        for came in frames_of(octets):
            if came.kind == DATA:
                self.data(came)
            elif came.kind == HEADERS and came.stream in self.streams:
                self.streams[came.stream].end(came.flags)
            elif came.kind == RST_STREAM:
                assert came.stream not in self.streams
        drained = self.h2.take_drained()
        assert len(set(drained)) == len(drained)
        for number in drained:
            assert self.h2.queued(number) <= LOW_WATER
        return octets

    def data(self, came):
        size = len(came.payload)
        if came.stream not in self.streams:  # it was reset: an end that was written before may still come
            assert (size, came.flags) == (0, END_STREAM)
            return
        stream = self.streams[came.stream]
        assert not stream.ended
        assert size <= min(FRAME, max(self.window, 0), max(stream.window, 0))
        if size:
            self.was_its_turn(stream)
        stream.window -= size
        self.window -= size
        stream.got += came.payload
        assert stream.given[len(stream.got) - size : len(stream.got)] == came.payload
        stream.end(came.flags)
        self.rest()

    def was_its_turn(self, stream):
        rivals = [other for other in self.streams.values() if other is not stream and other.may_send]
        assert all(other.urgency >= stream.urgency for other in rivals)
        level = [other for other in rivals if other.urgency == stream.urgency]
        if not stream.incremental:
            assert all(other.incremental or other.number > stream.number for other in level)
        # In a round each incremental stream has one turn, and so have all others together.
        member = stream.number if stream.incremental else QUEUE
        for waiting in self.members(level, stream):
            waiting[member] += 1
            assert waiting[member] <= 2, "somebody starves"
        self.patience(stream).clear()

    def members(self, level, stream):
        """Return what those have seen who waited for a turn beside that of `stream`."""
        sharing = [other.seen for other in level if other.incremental]
        if stream.incremental and len(sharing) < len(level):
            sharing.append(self.queues[stream.urgency])
        return sharing

    def patience(self, stream):
        return stream.seen if stream.incremental else self.queues[stream.urgency]

    def rest(self):
        """Who cannot send now does not wait for a turn."""
        for stream in self.streams.values():
            if stream.incremental and not stream.may_send:
                stream.seen.clear()
        for urgency, seen in self.queues.items():
            if not any(
                s.may_send and not s.incremental and s.urgency == urgency for s in self.streams.values()
            ):
                seen.clear()

    def check(self):
        """What the server holds is what the peer has not got."""
        held = 0
        for stream in self.streams.values():
            queued = len(stream.given) - len(stream.got)
            assert self.h2.queued(stream.number) == queued
            held += queued
        self.rest()
        assert held <= self.h2.queued_total
        assert (held == 0) == (self.h2.queued_total == 0)


which = st.integers(0, MOST - 1)
limits = st.sampled_from([1, 50, 20_000, 1 << 20])
write = st.tuples(st.just("write"), which, st.sampled_from([1, 100, 3000, FRAME, FRAME + 1, 50_000]))
widen = st.tuples(st.just("widen"), which, st.sampled_from([1, 10, 5000, 40_000]))
step = st.one_of(
    write,
    write,
    widen,
    st.tuples(st.just("begin")),
    st.tuples(st.just("end"), which),
    st.tuples(st.just("take"), limits),
    st.tuples(st.just("take"), limits),
    st.tuples(st.just("widen_all"), st.sampled_from([1, 1000, 60_000])),
    st.tuples(st.just("initial"), st.sampled_from([0, 1, 3000, 30_000, 65_535])),
    st.tuples(st.just("reset"), which),
    st.tuples(st.just("abort"), which),
    st.tuples(st.just("priority"), which, st.sampled_from([0, 3, 3, 7]), st.booleans()),
)


def act(peer, what, arguments):
    """Do one step, at the server or as the peer."""
    if what == "begin":
        peer.begin()
    elif what == "take":
        peer.take(*arguments)
    elif what == "widen_all":
        peer.window += arguments[0]
        peer.tell(frame(8, 0, 0, arguments[0].to_bytes(4, "big")))
    elif what == "initial":
        for stream in peer.streams.values():
            stream.window += arguments[0] - peer.initial
        peer.initial = arguments[0]
        peer.tell(frame(4, 0, 0, b"\x00\x04" + peer.initial.to_bytes(4, "big")))
    else:
        stream = peer.pick(arguments[0])
        if stream is not None:
            act_on(peer, stream, what, arguments[1:])


def act_on(peer, stream, what, arguments):
    number = stream.number
    if what == "write" and not stream.finished:
        start = len(stream.given) % 251
        content = PATTERN[start : start + arguments[0]]
        stream.given += content
        peer.h2.send(Data(content, number))
    elif what == "end" and not stream.finished:
        stream.finished = True
        peer.h2.send(EndOfMessage(None, number))
    elif what == "widen":
        stream.window += arguments[0]
        peer.tell(frame(8, 0, number, arguments[0].to_bytes(4, "big")))
    elif what == "reset":
        peer.tell(frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big")))
        del peer.streams[number]
    elif what == "abort":
        peer.h2.abort(number)
        del peer.streams[number]
    elif what == "priority":
        peer.patience(stream).clear()
        stream.urgency, stream.incremental = arguments
        stream.seen.clear()
        value = b"u=%d%b" % (stream.urgency, b", i" if stream.incremental else b"")
        peer.tell(frame(16, 0, 0, number.to_bytes(4, "big") + value))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0, 1, 5000, 65_535]),
    st.sampled_from([0, 1, 5000, 65_535]),
    st.lists(st.tuples(st.sampled_from([2, 3, 3]), st.booleans()), max_size=MOST),
    st.lists(step, min_size=20, max_size=60),
)
def test_windows_order_turns_and_ends(initial, window, begun, steps):
    peer = Peer(initial, window)
    for index, (urgency, incremental) in enumerate(begun):
        peer.begin()
        act(peer, "priority", (index, urgency, incremental))
        act(peer, "write", (index, 2 * FRAME))
    for what, *arguments in steps:
        act(peer, what, arguments)
        peer.check()
    for stream in list(peer.streams.values()):
        if not stream.finished:
            act_on(peer, stream, "end", ())
        if not stream.ended:
            act_on(peer, stream, "widen", (1 << 22,))
    act(peer, "widen_all", (1 << 22,))
    while peer.h2.has_output():
        assert peer.take(20_000)
    assert all(stream.ended and stream.got == stream.given for stream in peer.streams.values())
    assert (peer.h2.queued_total, peer.h2.scheduler.size, peer.h2.streams) == (0, 0, {})
