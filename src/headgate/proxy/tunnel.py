"""A tunnel: a client's connection that has left HTTP, relayed octet by octet (RFC 9110 section 7.8, RFC 6455).

proxy/relay moves the octets. What is left to do here is what belongs to HTTP: the client's connection stays what the
listener and the sweep know, and its exchange ends, and is logged, with the tunnel. Silence in both directions for
`idle` seconds ends it.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import trait

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import TunnelOwner
from headgate.counters import TUNNELS_OPEN
from headgate.proxy.relay import Relay, RelayHalf, RelayOwner
from headgate.server.sweep import HoldsBytes


@trait
class TunnelPlace:
    """What a tunnel takes up of a limit."""

    def leave(self) -> None:
        """The tunnel is over: give the place back."""
        raise NotImplementedError


@final
class Tunnel(RelayOwner, TunnelOwner, HoldsBytes):
    """Relays between a client's connection, whose `detach` returned `early`, and `origin`, from which came `late`."""

    def __init__(
        self,
        downstream: DownstreamConnection,
        origin: RelayHalf,
        early: bytes,
        late: bytes,
        idle: float,
        place: TunnelPlace | None = None,
    ) -> None:
        self.downstream = downstream
        self.idle = idle
        self.place = place
        self.values = downstream.values
        self.values[TUNNELS_OPEN] += 1
        client = RelayHalf(downstream.transport, downstream.poller, downstream)
        self.relay = Relay(client, origin, self, self.values)
        # The sweep looks at the downstream connection's deadline, whoever the descriptor belongs to.
        downstream.tunnel = self
        self.relay_moved()
        self.relay.begin(early, late)

    def held_for_client(self) -> int:
        return self.relay.client.held

    def held_for_origin(self) -> int:
        return self.relay.origin.held

    def close(self, reason: str) -> None:
        """End both connections; `reason` "" is a proper end."""
        self.relay.close(reason)

    # -- what the relay tells

    def relay_moved(self) -> None:
        self.downstream.deadline = self.downstream.poller.now + self.idle

    def relay_over(self, reason: str) -> None:
        self.values[TUNNELS_OPEN] -= 1
        if self.place is not None:
            self.place.leave()
        exchange = self.downstream.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
            exchange.bytes_in += self.relay.client.moved
            exchange.bytes_out += self.relay.origin.moved

    def relay_crashed(self, error: Exception) -> None:
        self.downstream.observer.crashed("tunnel", error)
