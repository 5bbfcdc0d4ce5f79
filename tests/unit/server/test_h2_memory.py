"""What HTTP/2 connections hold together: limit and limit + 1, who goes first, who gets less when it is short."""

import pytest
from tests.unit.connection.test_h2_downstream import Visitor

from headgate.connection.h2_watch import STALL_SECONDS
from headgate.connection.stream_driver import READ_MIN
from headgate.counters import H2_CLOSED_FIRST, H2_REASONS
from headgate.engine.events import UNKNOWN_LENGTH, Data
from headgate.engine.h2.errors import ENHANCE_YOUR_CALM
from headgate.engine.h2.settings import H2Settings
from headgate.net.poller import Poller
from headgate.server.h2_memory import SHORT_STREAM_WINDOW, H2Memory

CLOSED = H2_CLOSED_FIRST + H2_REASONS.index("memory")
NO_WINDOW = H2Settings(initial_window=0)


class Holder:
    """A listener with some visitors; `now` is theirs."""

    def __init__(self):
        self.visitors = []
        self.now = 1000.0
        self.poller = Poller()

    @property
    def connections(self):
        return {one.driver for one in self.visitors}

    def waiting(self, *sizes):
        """A visitor with so many answers that wait for a window."""
        visitor = Visitor(client=NO_WINDOW)
        visitor.poller.now = self.now
        self.visitors.append(visitor)
        for size in sizes:
            _, exchange = visitor.get()
            visitor.answer(exchange, bytes(size))
        visitor.settle()
        assert visitor.driver.held_sent() == sum(sizes)
        return visitor

    def uploading(self, size):
        """A visitor whose content nobody takes."""
        visitor = Visitor()
        self.visitors.append(visitor)
        visitor.handler.accepting = False
        stream = visitor.ask(b"POST", b"/", UNKNOWN_LENGTH)
        visitor.send(Data(bytes(size), stream))
        assert visitor.driver.held_received() == size
        return visitor

    def pass_time(self, seconds):
        self.now += seconds
        for visitor in self.visitors:
            visitor.pass_time(seconds)

    def settle(self, **limits):
        memory = H2Memory(self.poller, **limits)
        memory.settle([self], self.now)
        for visitor in self.visitors:
            visitor.end_round()
        return memory

    def gone(self):
        return [visitor for visitor in self.visitors if visitor.values[CLOSED]]


@pytest.fixture
def holder():
    one = Holder()
    yield one
    one.poller.close()
    for visitor in one.visitors:
        visitor.close()


def test_what_is_held_at_the_limit_and_one_more(holder):
    largest = [holder.waiting(1000), holder.waiting(2000, 1000), holder.waiting(500)][1]
    holder.settle(max_sent=4500)
    assert holder.gone() == []
    holder.settle(max_sent=4499)
    assert holder.gone() == [largest]
    goaway = largest.transport.outgoing[-40:]
    assert ENHANCE_YOUR_CALM.to_bytes(4, "big") + b"memory" in goaway
    assert largest.driver.held_sent() == 0
    assert largest.driver.lanes == {}
    assert largest.seen.failures == ["memory"]


def test_as_many_go_as_is_needed(holder):
    visitors = [holder.waiting(size) for size in (1000, 4000, 2000, 3000)]
    holder.settle(max_sent=4000)
    assert set(holder.gone()) == {visitors[1], visitors[3]}


def test_content_of_requests_at_the_limit_and_one_more(holder):
    holder.uploading(1000)
    largest = holder.uploading(5000)
    holder.settle(max_received=6000)
    assert holder.gone() == []
    holder.settle(max_received=5999)
    assert holder.gone() == [largest]


def test_who_takes_nothing_goes_before_who_holds_more(holder):
    stalled = holder.waiting(100)
    holder.pass_time(STALL_SECONDS + 1.0)
    holder.waiting(5000)
    holder.pass_time(0.5)
    assert [visitor.driver.is_stalled(holder.now) for visitor in holder.visitors] == [True, False]
    holder.settle(max_sent=5000)
    assert holder.gone() == [stalled]


def test_reads_and_windows_are_small_while_memory_is_short(holder):
    visitor = holder.uploading(1000)
    h2 = visitor.driver.h2
    (stream,) = h2.streams.values()
    memory = H2Memory(holder.poller, max_received=2000, max_sent=2000)

    def look():
        memory.settle([holder], holder.now)
        return memory.is_short, holder.poller.is_short, h2.max_stream_window, stream.window.max_window

    full = H2Settings().stream_window
    assert look() == (False, False, full, full)
    holder.waiting(1001)
    assert look() == (True, True, SHORT_STREAM_WINDOW, SHORT_STREAM_WINDOW)
    holder.visitors.pop().close()
    assert look() == (True, True, SHORT_STREAM_WINDOW, SHORT_STREAM_WINDOW)  # half is not a quarter
    exchange = visitor.handler.exchanges[0]
    exchange.accepting = True
    exchange.downstream.resume()
    assert look() == (False, False, full, full)


def test_reads_do_not_grow_while_memory_is_short():
    visitor = Visitor()
    driver = visitor.driver
    driver._read_size = 4 * READ_MIN
    visitor.poller.is_short = True
    visitor.transport.incoming.append(bytes(2 * READ_MIN))
    assert len(driver._read()) == READ_MIN
    assert driver._read_size == READ_MIN
    visitor.poller.is_short = False
    assert len(driver._read()) == READ_MIN
    assert driver._read_size == 2 * READ_MIN
    visitor.close()


def test_it_says_what_it_is(holder):
    memory = H2Memory(holder.poller)
    assert repr(memory) == "<H2Memory>"
    memory.is_short = True
    assert repr(memory) == "<H2Memory short>"
