"""What lanes hold for clients that do not take it, together (RFC 9113 section 10.5).

An origin of HTTP/2 or HTTP/3 sends a window's worth of an answer whose client reads slowly, and it must wait in the
lane: the connection carries others' answers too, so that it is read all the same. A window is 64 KiB where nobody
takes anything, but there may be as many of them as there are requests under way. So it is added up in each sweep, and
beyond a bound answers are given up: those that hold most first, for they have waited for as long as anybody.
"""

from collections.abc import Iterable
from typing import Final

from headgate.connection.exchange import Exchange, TunnelOwner
from headgate.connection.upstream_lane import Lane
from headgate.counters import UPSTREAM_LANES_SHED
from headgate.upstream.endpoint import Endpoint

# As much as answers that wait in the connections of clients may hold (`server/h2_memory`).
MAX_LANES_HELD: Final = 128 * 1024 * 1024


def settle_lanes(endpoints: Iterable[Endpoint], values: list[int], most: int = MAX_LANES_HELD) -> None:
    """Give answers up until no more than `most` octets are held."""
    held: list[tuple[int, Lane]] = []
    total = 0
    for endpoint in endpoints:
        for pool in (endpoint.h2, endpoint.h3):
            if pool is None:
                continue
            for lane in pool.lanes():
                size = lane.held()
                if size > 0 and isinstance(lane, Lane):
                    total += size
                    held.append((size, lane))
    if total <= most:
        return
    held.sort(key=_size, reverse=True)
    for size, lane in held:
        if total <= most:
            return
        total -= size
        values[UPSTREAM_LANES_SHED] += 1
        _give_up(lane)


def _size(entry: tuple[int, Lane]) -> int:
    return entry[0]


def _give_up(lane: Lane) -> None:
    """Cut an answer short. That its client does not read is no fault of the endpoint."""
    receiver: object = lane.receiver
    exchange = lane.exchange
    if isinstance(receiver, TunnelOwner):
        receiver.close("memory")
    elif isinstance(exchange, Exchange):
        handler = exchange.handler
        exchange.handler = None
        if handler is not None:
            handler.downstream_closed(exchange)
        exchange.downstream.abort("memory")
    lane.close()
