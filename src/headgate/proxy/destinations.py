"""The origins that a forward proxy talks to: made when somebody asks for them, forgotten when nobody does any more.

To the reverse proxy an origin is an upstream with one endpoint, so that everything it knows (idle connections, the
one safe repetition, timeouts, backpressure) holds here too. What is new is that clients choose them: the table is
bounded. The origin that was asked for least recently makes room if nobody talks to it; when all that are looked
at are in use, there is no room.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.counters import FORWARD_DESTINATIONS
from headgate.proxy.reverse import ReverseProxy
from headgate.upstream.endpoint import Endpoint

# Origins looked at for one that may go; those in use go to the end of the queue, so that the next look finds others.
MAX_LOOKS: Final = 64


@final
class Destination:
    """One origin: its only endpoint, and the handler that talks to it. `used` is when it was last asked for."""

    __slots__ = ("endpoint", "proxy", "used")

    def __init__(self, endpoint: Endpoint, proxy: ReverseProxy) -> None:
        self.endpoint = endpoint
        self.proxy = proxy
        self.used = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether somebody is talking to it, or about to."""
        return self.endpoint.active > 0 or self.endpoint.dialling > 0


@mypyc_attr(allow_interpreted_subclasses=True)
class DestinationMaker:
    """Who builds what belongs to an origin."""

    def make(self, host: str, port: int) -> Destination:
        """Return a new one; `host` is a name or an IP address without brackets."""
        raise NotImplementedError


@final
class Destinations:
    """The table of one listener, in one worker. Idle ones are forgotten after `idle` seconds."""

    def __init__(self, maker: DestinationMaker, values: list[int], limit: int, idle: float) -> None:
        self._maker = maker
        self._values = values
        self._limit = limit
        self._idle = idle
        self._known: OrderedDict[tuple[bytes, int], Destination] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Destinations {len(self._known)} of {self._limit}>"

    def __len__(self) -> int:
        return len(self._known)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints of all, for the sweep of deadlines."""
        return [destination.endpoint for destination in self._known.values()]

    def find(self, host: bytes, port: int, now: float) -> ReverseProxy | None:
        """Return the handler for an origin (host as `parse_authority` reads it), None when there is no room."""
        key = (host, port)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._limit and not self._make_room():
                return None
            known = self._known[key] = self._maker.make(host.strip(b"[]").decode(), port)
            self._values[FORWARD_DESTINATIONS] += 1
        else:
            self._known.move_to_end(key)
        known.used = now
        return known.proxy

    def _make_room(self) -> bool:
        for _ in range(min(MAX_LOOKS, len(self._known))):
            key = next(iter(self._known))
            if not self._known[key].is_busy:
                self._forget(key)
                return True
            self._known.move_to_end(key)
        return False

    def _forget(self, key: tuple[bytes, int]) -> None:
        self._known.pop(key).endpoint.close()
        self._values[FORWARD_DESTINATIONS] -= 1

    def sweep(self, now: float) -> None:
        """Forget what was not used for a while, and has no connection any more."""
        over = [
            key
            for key, one in self._known.items()
            if now - one.used >= self._idle and not one.is_busy and not one.endpoint.connections
        ]
        for key in over:
            self._forget(key)

    def close(self) -> None:
        """Forget everything."""
        for key in list(self._known):
            self._forget(key)
