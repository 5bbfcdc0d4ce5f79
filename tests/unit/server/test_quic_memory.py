"""What all connections may hold together."""

from types import SimpleNamespace

import pytest

from headgate.build_info import is_compiled
from headgate.engine.quic.flow import MAX_CONNECTION_WINDOW
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.stream_sender import MAX_CONNECTION_HELD
from headgate.engine.quic.streams import Streams
from headgate.server.quic_memory import SHORT_CONNECTION_WINDOW, SHORT_HELD, MemoryBudget


def streams():
    return Streams(is_client=False, settings=StreamSettings())


def test_short_memory_shrinks_windows_and_gives_them_back():
    memory = MemoryBudget(1000, 100)
    ours = streams()
    assert not memory.note(500, 50)
    assert memory.note(501, 0)
    memory.bind(ours)
    assert ours.receive_credit.max_window == SHORT_CONNECTION_WINDOW
    assert ours.sender.max_held == SHORT_HELD
    assert not memory.note(251, 0)
    assert memory.note(250, 25)
    memory.bind(ours)
    assert ours.receive_credit.max_window == MAX_CONNECTION_WINDOW
    assert ours.sender.max_held == MAX_CONNECTION_HELD


only_pure = pytest.mark.skipif(is_compiled("headgate.server.quic_memory"), reason="only pure: stand-ins")


class Driver:
    """A connection that holds so much."""

    def __init__(self, received, sent):
        self.received = received
        self.sent = sent
        self.closed = False
        self.quic = SimpleNamespace(streams=streams())

    def held_received(self):
        return self.received

    def held_sent(self):
        return self.sent


class Holder:
    """An endpoint, after its sweep."""

    def __init__(self, *held):
        self.connections = {Driver(received, sent) for received, sent in held}
        self.held_received = sum(received for received, _ in held)
        self.held_sent = sum(sent for _, sent in held)

    def close_largest(self, driver):
        driver.closed = True
        self.connections.discard(driver)
        self.held_received -= driver.received
        self.held_sent -= driver.sent

    @property
    def left(self):
        return sorted((driver.received, driver.sent) for driver in self.connections)


def test_answers_count_as_well():
    memory = MemoryBudget(1000, 100)
    assert memory.note(0, 51)


@only_pure
def test_what_is_held_at_the_limit_and_one_more():
    """Of all endpoints of a worker together: the largest are closed, and no more of them than must be."""
    memory = MemoryBudget(1000, 100)
    one, two = Holder((500, 0), (100, 0)), Holder((300, 0), (100, 0))
    memory.settle([one, two])
    assert memory.is_short
    assert (one.left, two.left) == ([(100, 0), (500, 0)], [(100, 0), (300, 0)])
    one, two = Holder((500, 0), (101, 0)), Holder((300, 0), (100, 0))
    memory.settle([one, two])
    assert (one.left, two.left) == ([(101, 0)], [(100, 0), (300, 0)])
    assert one.held_received + two.held_received == 501


@only_pure
def test_of_answers_too_those_that_hold_most_are_closed():
    memory = MemoryBudget(1000, 100)
    holder = Holder((900, 10), (200, 20), (0, 60), (0, 50))
    memory.settle([holder])
    assert holder.left == [(0, 50), (200, 20)]


@only_pure
def test_a_flood_of_small_ones_is_no_more_than_there_is():
    memory = MemoryBudget(1000, 100)
    holder = Holder(*[(10, 1)] * 500)
    memory.settle([holder])
    assert (holder.held_received, holder.held_sent) == (1000, 100)
