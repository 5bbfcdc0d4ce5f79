"""Who waits for room at an upstream: first come, first served, so many at most, and for so long at most.

Requests enter when every endpoint has its `max_requests`, or while the first answer of a name server is awaited. They
leave in their order as room is found, at their deadline, or when their clients give up: each costs O(1), and nothing
of who has left stays behind. All wait equally long, so the first is also the first whose time is over, and the sweep
looks at no more than it ends.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, final

from headgate.connection.exchange import Exchange
from headgate.counters import UPSTREAM_QUEUED, UPSTREAM_WAITING
from headgate.upstream.endpoint import Endpoint

# Each waiting request holds its client's connection and its head, some 10 KiB; Envoy lets 1024 requests pend.
QUEUE_SIZE: Final = 1024
# Longer than that few clients wait for a first byte; HAProxy has its connect timeout there, 5 s in its examples.
QUEUE_TIMEOUT: Final = 5.0


class RoomWaiter(Protocol):
    """Who asked for room, and is told once: by one of these, unless the exchange leaves before."""

    def room_found(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """This endpoint has room for it, now."""
        ...

    def room_timeout(self, exchange: Exchange) -> None:
        """It has waited long enough."""
        ...


@final
class Waiting:
    """One that waits."""

    def __init__(self, exchange: Exchange, waiter: RoomWaiter, deadline: float) -> None:
        self.exchange = exchange
        self.waiter = waiter
        self.deadline = deadline


@final
class RoomQueue:
    """The queue of one upstream in one worker."""

    def __init__(self, values: list[int], *, size: int = QUEUE_SIZE, timeout: float = QUEUE_TIMEOUT) -> None:
        self.size = size
        self.timeout = timeout
        self._values = values
        self._waiting: OrderedDict[Exchange, Waiting] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RoomQueue {len(self._waiting)} of {self.size}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, exchange: Exchange, waiter: RoomWaiter, now: float) -> bool:
        """Take its place at the end; False: the queue is full."""
        if len(self._waiting) >= self.size:
            return False
        self._waiting[exchange] = Waiting(exchange, waiter, now + self.timeout)
        self._values[UPSTREAM_QUEUED] += 1
        self._values[UPSTREAM_WAITING] += 1
        return True

    def leave(self, exchange: Exchange) -> bool:
        """Give its place up; tell whether it had one."""
        if self._waiting.pop(exchange, None) is None:
            return False
        self._values[UPSTREAM_WAITING] -= 1
        return True

    def first(self) -> Waiting | None:
        """Return who is next, and stays until it leaves."""
        for waiting in self._waiting.values():
            return waiting
        return None

    def expire(self, now: float) -> None:
        """Tell those whose time is over."""
        while True:
            waiting = self.first()
            if waiting is None or now < waiting.deadline:
                return
            self.leave(waiting.exchange)
            waiting.waiter.room_timeout(waiting.exchange)
