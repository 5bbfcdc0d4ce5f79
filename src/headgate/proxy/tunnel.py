"""A tunnel: two connections that have left HTTP, relayed octet by octet (RFC 9110 section 7.8, RFC 6455).

Two halves, each woken by its own descriptor. A half reads once and writes to the other; what the other does not take
is kept there, and reading stops until it is gone, so a tunnel holds at most one read for each direction. An end in
one direction is passed on; the tunnel is over when both have ended, when either breaks, or when neither
direction has moved for `idle` seconds.
"""

from __future__ import annotations

from typing import final

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import TunnelOwner
from headgate.connection.stream_driver import StreamDriver
from headgate.connection.upstream import UpstreamConnection
from headgate.counters import TUNNELS_OPEN
from headgate.errors import TransportError
from headgate.net.poller import READ, WRITE
from headgate.server.sweep import HoldsBytes


@final
class TunnelHalf(StreamDriver):
    """One direction's source: takes over the descriptor of a driver that stops being one."""

    def __init__(self, driver: StreamDriver, tunnel: Tunnel) -> None:
        super().__init__(driver.transport, driver.poller)
        self.tunnel = tunnel
        self.other: TunnelHalf | None = None
        self.ended = False
        self.moved = 0
        self._fd = driver._fd
        self._parked = driver._parked
        self._unsent = driver._unsent
        self._unsent_at = driver._unsent_at
        driver._unsent = b""  # held here from now on, and counted once
        driver._unsent_at = 0
        self._interest = -1
        self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)

    def on_readable(self) -> None:
        other = self.other
        if other is None:
            self.pause_reading()
            return
        if self._interest & READ == 0:
            self._hung_up()
            return
        try:
            data = self._read()
            if data is None:
                return
            self.tunnel.touch()
            if data:
                self.moved += len(data)
                if not other._write(data):
                    self.pause_reading()
                elif self.transport.pending():
                    self.on_readable()
                return
        except TransportError as error:
            self.tunnel.close(error.reason)
            return
        self.ended = True
        self.pause_reading()
        if other.unsent == 0:
            other.transport.shutdown()
        self.tunnel.end_if_over()

    def _hung_up(self) -> None:
        """The peer is gone for good, and nobody wants to read here."""
        if self.ended:
            self.tunnel.close("hung-up")  # nothing can be sent to it any more, and nothing more comes from it
        else:
            self.park()  # what it sent before is read when the other side takes it

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self.tunnel.close(error.reason)
            return
        self.tunnel.touch()
        other = self.other
        if done and other is not None:
            if other.ended:
                self.transport.shutdown()
                self.tunnel.end_if_over()
            else:
                other.resume_reading()
                if other.transport.pending():
                    other.on_readable()

    def on_crash(self, error: Exception) -> None:
        self.tunnel.downstream.observer.crashed("tunnel", error)
        self.tunnel.close("internal")

    def on_deadline(self, now: float) -> None:
        self.tunnel.close("idle-timeout")


@final
class Tunnel(TunnelOwner, HoldsBytes):
    """Both halves, and the connections that they came from."""

    def __init__(
        self,
        downstream: DownstreamConnection,
        upstream: UpstreamConnection,
        early: bytes,
        late: bytes,
        idle: float,
    ) -> None:
        self.downstream = downstream
        self.upstream = upstream
        self.idle = idle
        self.open = True
        self.values = downstream.values
        self.values[TUNNELS_OPEN] += 1
        self.client = TunnelHalf(downstream, self)
        self.origin = TunnelHalf(upstream, self)
        self.client.other = self.origin
        self.origin.other = self.client
        # The sweep looks at the downstream connection's deadline, whoever the descriptor belongs to.
        downstream.tunnel = self
        self.touch()
        try:
            if early and not self.origin._write(early):
                self.client.pause_reading()
            if late and not self.client._write(late):
                self.origin.pause_reading()
        except TransportError as error:
            self.close(error.reason)

    def held_for_client(self) -> int:
        return self.client.unsent

    def held_for_origin(self) -> int:
        return self.origin.unsent

    def end_if_over(self) -> None:
        """End properly once both sides have ended and everything is delivered."""
        client, origin = self.client, self.origin
        if client.ended and origin.ended and client.unsent == 0 and origin.unsent == 0:
            self.close("")

    def touch(self) -> None:
        """Something moved: the silence begins anew."""
        self.downstream.deadline = self.downstream.poller.now + self.idle

    def close(self, reason: str) -> None:
        """End both connections; `reason` "" is a proper end."""
        if self.open:
            self.open = False
            self.values[TUNNELS_OPEN] -= 1
            exchange = self.downstream.exchange
            if exchange is not None:
                exchange.reason = exchange.reason or reason
                exchange.bytes_in += self.client.moved
                exchange.bytes_out += self.origin.moved
            for half in (self.client, self.origin):
                # Halves and tunnel refer to each other: what waits would stay until the collector comes by.
                half._unsent = b""
                half._unsent_at = 0
            self.upstream.close()
            self.downstream.close()
