"""What all QUIC connections of a worker may hold together (RFC 9000 section 21.6).

Each connection has its own bounds, made for a client that is fast and far away; thousands of clients at their bounds
would be more than a worker has. So what is held is added up in each sweep: content that came in, and answers that
are not acknowledged. Beyond half of a budget windows and buffers shrink, for those that are open and for newcomers,
until a quarter is left. What was granted stays granted, so that what is held falls within a round trip or two of
honest clients; of the others, those that hold most are closed as soon as it is beyond the budget, until it is not.
Newcomers are let in all the time: a few that hold much must not lock everybody out.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

from headgate.connection.quic_downstream import QuicDownstream
from headgate.engine.quic.stream_sender import MAX_CONNECTION_HELD
from headgate.engine.quic.streams import Streams

# Content of requests, and answers (HAProxy: tune.quic.mem.tx-max, and buffers for the streams there may be).
MAX_RECEIVED_HELD: Final = 512 * 1024 * 1024
MAX_SENT_HELD: Final = 256 * 1024 * 1024
# What one connection may have while memory is short.
SHORT_STREAM_WINDOW: Final = 32 * 1024
SHORT_CONNECTION_WINDOW: Final = 64 * 1024
SHORT_HELD: Final = 64 * 1024


class Holder(Protocol):
    """An endpoint: its connections, and what they held in its last sweep."""

    connections: set[QuicDownstream]
    held_received: int
    held_sent: int

    def close_largest(self, driver: QuicDownstream, /) -> None:
        """Close a connection that holds more than others, and count no more what it holds."""


@final
class MemoryBudget:
    """`is_short`: connections get less."""

    def __init__(self, max_received: int = MAX_RECEIVED_HELD, max_sent: int = MAX_SENT_HELD) -> None:
        self.max_received = max_received
        self.max_sent = max_sent
        self.is_short = False

    def __repr__(self) -> str:
        return f"<MemoryBudget{' short' * self.is_short}>"

    def settle(self, holders: Sequence[Holder]) -> None:
        """Add up what is held, after all endpoints of a worker were swept, and see that it is not too much."""
        received = sum(holder.held_received for holder in holders)
        if received > self.max_received:
            _close_largest(holders, _held_received, received - self.max_received)
            received = sum(holder.held_received for holder in holders)
        sent = sum(holder.held_sent for holder in holders)
        if sent > self.max_sent:
            _close_largest(holders, _held_sent, sent - self.max_sent)
            sent = sum(holder.held_sent for holder in holders)
        if self.note(received, sent):
            for holder in holders:
                for driver in holder.connections:
                    self.bind(driver.quic.streams)

    def note(self, received: int, sent: int) -> bool:
        """Take what is held now; tell whether connections have to be bound anew."""
        if self.is_short:
            is_short = received > self.max_received >> 2 or sent > self.max_sent >> 2
        else:
            is_short = received > self.max_received >> 1 or sent > self.max_sent >> 1
        has_changed = is_short != self.is_short
        self.is_short = is_short
        return has_changed

    def bind(self, streams: Streams) -> None:
        """Bound what a connection may hold, as memory is now."""
        if self.is_short:
            streams.bound_windows(SHORT_STREAM_WINDOW, SHORT_CONNECTION_WINDOW)
            streams.sender.max_held = SHORT_HELD
        else:
            settings = streams.settings
            streams.bound_windows(settings.max_stream_window, settings.max_connection_window)
            streams.sender.max_held = MAX_CONNECTION_HELD


def _close_largest(holders: Sequence[Holder], held: Callable[[QuicDownstream], int], excess: int) -> None:
    found = [
        (held(driver), holder, driver)
        for holder in holders
        for driver in holder.connections
        if not driver.closed
    ]
    found.sort(key=_size, reverse=True)
    for size, holder, driver in found:
        if excess <= 0:
            return
        holder.close_largest(driver)
        excess -= size


def _size(entry: tuple[int, Holder, QuicDownstream]) -> int:
    return entry[0]


def _held_received(driver: QuicDownstream) -> int:
    return driver.held_received()


def _held_sent(driver: QuicDownstream) -> int:
    return driver.held_sent()
