"""What all HTTP/2 connections of a worker may hold together (RFC 9113 section 10.5).

Each connection has its own bounds, but a client with a closed window lets a hundred answers wait, each as large as
the last read of its origin, and one whose origins are slow may fill every window it has; thousands of such clients
would be more than a worker has. So what is held is added up in each sweep: answers that wait for clients, and content
that waits for origins. Beyond half of a budget all reads of the worker are small and windows stop growing, for those
that are open and for newcomers, until a quarter is left. Beyond all of it connections are closed until it is enough:
first those from which nothing has moved for a while, and of them those that hold most. Newcomers are let in all the
time: a few that hold much must not lock everybody out.
"""

from collections.abc import Iterable
from typing import Final, Protocol, final

from headgate.connection.accepted import Accepted
from headgate.connection.h2_downstream import H2Downstream
from headgate.net.poller import Poller

# Content of requests, and answers: half of what is held for QUIC, which keeps a copy until it is acknowledged.
MAX_RECEIVED_HELD: Final = 256 * 1024 * 1024
MAX_SENT_HELD: Final = 128 * 1024 * 1024
# How far windows grow while memory is short.
SHORT_STREAM_WINDOW: Final = 64 * 1024
SHORT_CONNECTION_WINDOW: Final = 128 * 1024


class Holder(Protocol):
    """A listener."""

    connections: set[Accepted]


@final
class H2Memory:
    """Looks after the memory of a worker's HTTP/2 connections. `is_short`: they get less."""

    def __init__(
        self, poller: Poller, max_received: int = MAX_RECEIVED_HELD, max_sent: int = MAX_SENT_HELD
    ) -> None:
        self.poller = poller
        self.max_received = max_received
        self.max_sent = max_sent
        self.is_short = False

    def __repr__(self) -> str:
        return f"<H2Memory{' short' * self.is_short}>"

    def settle(self, holders: Iterable[Holder], now: float) -> None:
        """Add up what is held, behind the sweep of all connections, and see that it is not too much."""
        found = [
            driver
            for holder in holders
            for driver in holder.connections
            if isinstance(driver, H2Downstream) and not driver.closed
        ]
        received = [driver.held_received() for driver in found]
        sent = [driver.held_sent() for driver in found]
        all_received, all_sent = sum(received), sum(sent)
        if all_received > self.max_received:
            _shed(found, received, all_received - self.max_received, now)
        if all_sent > self.max_sent:
            _shed(found, sent, all_sent - self.max_sent, now)
        self._note(all_received, all_sent)
        if self.is_short:
            # Newcomers of the last half second, too: their windows have hardly had the time to grow.
            for driver in found:
                driver.h2.bound_windows(SHORT_STREAM_WINDOW, SHORT_CONNECTION_WINDOW)
        elif self.poller.is_short:
            for driver in found:
                settings = driver.h2.local
                driver.h2.bound_windows(settings.stream_window, settings.connection_window_limit)
        self.poller.is_short = self.is_short

    def _note(self, received: int, sent: int) -> None:
        share = 2 if self.is_short else 1
        self.is_short = received > self.max_received >> share or sent > self.max_sent >> share


def _shed(found: list[H2Downstream], held: list[int], excess: int, now: float) -> None:
    """Close connections that hold together as much as there is too much: the stalled first, then the largest."""
    order = sorted(
        zip(held, found, strict=True), key=lambda pair: (pair[1].is_stalled(now), pair[0]), reverse=True
    )
    for size, driver in order:
        if excess <= 0 or size == 0:
            return
        if not driver.closed:
            driver.shed()
        excess -= size
