"""What all connections may hold together."""

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


def test_answers_count_as_well():
    memory = MemoryBudget(1000, 100)
    assert memory.note(0, 51)
    assert not memory.is_full
    memory.note(0, 101)
    assert memory.is_full


def test_full_memory_refuses_newcomers():
    memory = MemoryBudget(1000, 100)
    memory.note(1000, 100)
    assert not memory.is_full
    memory.note(1001, 0)
    assert memory.is_full
    memory.note(999, 0)
    assert not memory.is_full
