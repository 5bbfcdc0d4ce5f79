"""A tunnel whose origin is a stream of HTTP/2: WebSocket by extended CONNECT (RFC 8441), whatever the client speaks.

A client of HTTP/1.1 asked with an Upgrade: its 101, and the proof of its key, are made here, and its connection is
read and written octet by octet from then on. A client of HTTP/2 or HTTP/3 asked as the origin was asked, and its
side stays an exchange whose handler is the tunnel.

    client's end          ClientSocket (HTTP/1.1)  or  the exchange's lane
    origin's end          the lane: content is what is relayed, the stream's end is the end of a direction

What one side does not take stops the other; an end in one direction is passed on, and the tunnel is over when both
have ended, when either breaks, or when nothing has moved for `idle` seconds.
"""

from __future__ import annotations

import base64
import hashlib
from typing import final

from mypy_extensions import trait

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange, Handler, TunnelOwner
from headgate.connection.stream_driver import NEVER, StreamDriver
from headgate.connection.upstream_lane import Lane
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamStream
from headgate.counters import DOWNSTREAM_READ, DOWNSTREAM_WRITTEN, TUNNELS_OPEN
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Response
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.http.hop_by_hop import add_upgrade
from headgate.net.poller import READ, WRITE, Poller
from headgate.proxy.stream_tunnel import GUID
from headgate.server.sweep import HoldsBytes


def switch_lane(exchange: Exchange, lane: Lane, response: Response, idle: float) -> None:
    """Begin the tunnel that an origin has agreed to; the exchange has let go of its endpoint."""
    downstream = exchange.downstream
    if isinstance(downstream, DownstreamLane):
        downstream.respond(Response(200, b"OK", 11, response.fields, UNKNOWN_LENGTH))
        downstream.flush()
        driver = downstream.driver
        LaneTunnel(exchange, lane, idle, driver.poller, driver.values).begin_lane(downstream)
    elif isinstance(downstream, DownstreamConnection):
        downstream.respond(_switching(exchange, response))
        early = downstream.detach()
        if downstream.closed:
            lane.close()
            return
        tunnel = LaneTunnel(exchange, lane, idle, downstream.poller, downstream.values)
        tunnel.begin_socket(downstream, early)


def _switching(exchange: Exchange, response: Response) -> Response:
    """Return the 101 that a client of HTTP/1.1 waits for (RFC 6455 section 4.2.2)."""
    fields = response.fields
    fields.remove(b"content-length")
    add_upgrade(fields, exchange.request.upgrade)
    key = exchange.request.fields.get(b"sec-websocket-key")
    if key is not None:
        proof = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        fields.set(b"sec-websocket-accept", proof, b"Sec-WebSocket-Accept")
    return Response(101, b"Switching Protocols", 11, fields, NO_BODY)


@trait
class ClientEnd:
    """The client's side of the tunnel."""

    def pass_on(self, data: bytes) -> bool:
        """Take octets of the origin; False: no more for now."""
        raise NotImplementedError

    def pass_end(self) -> None:
        """The origin has said all it has to say."""
        raise NotImplementedError

    def resume_client(self) -> None:
        """Read from the client again."""
        raise NotImplementedError

    def pause_client(self) -> None:
        """The origin takes no more for now."""
        raise NotImplementedError

    def waiting(self) -> int:
        """Return how many octets wait for the client."""
        raise NotImplementedError

    def wait_until(self, when: float) -> None:
        """Say `idle-timeout` at this loop time."""
        raise NotImplementedError

    def finish_client(self, reason: str) -> None:
        """End this side; `reason` "" is a proper end."""
        raise NotImplementedError


@final
class LaneTunnel(ResponseReceiver, TunnelOwner, HoldsBytes):
    """Both ends. The origin's is `lane`."""

    def __init__(
        self, exchange: Exchange, lane: Lane, idle: float, poller: Poller, values: list[int]
    ) -> None:
        self.exchange = exchange
        self.lane = lane
        self.idle = idle
        self.is_open = True
        self.client_ended = False
        self.origin_ended = False
        self.client: ClientEnd | None = None
        self.poller = poller
        self.values = values
        self.values[TUNNELS_OPEN] += 1
        lane.receiver = self
        lane.wait_until(NEVER)

    def begin_lane(self, downstream: DownstreamLane) -> None:
        """The client's end is a stream too."""
        client = ClientLane(self, self.exchange, downstream)
        self.client = client
        self.exchange.handler = client
        self.exchange.accepting = True
        downstream.enter_tunnel(self)
        self._go()
        if self.is_open:
            downstream.resume()

    def begin_socket(self, downstream: DownstreamConnection, early: bytes) -> None:
        """The client's end is a connection that has left HTTP/1.1; `early` came from it already."""
        client = ClientSocket(self, downstream)
        self.client = client
        downstream.tunnel = self
        self._go()
        if early and self.is_open:
            self.from_client(early)
            self.lane.flush()

    def _go(self) -> None:
        self.touch()
        if self.lane.is_paused:
            self.lane.resume()

    def touch(self) -> None:
        """Something moved: the silence begins anew."""
        if self.client is not None:
            self.client.wait_until(self.poller.now + self.idle)

    def held(self) -> int:
        return self.lane.held()

    def held_for_client(self) -> int:
        return self.client.waiting() if self.client is not None else 0

    def held_for_origin(self) -> int:
        return 0  # the connection's, which counts it

    # -- from the client

    def from_client(self, data: bytes) -> bool:
        """Pass octets on; False: the origin takes no more for now."""
        self.touch()
        self.lane.send(data)
        return self.lane.flush()

    def client_end(self) -> None:
        """The client has said all it has to say."""
        if not self.client_ended:
            self.client_ended = True
            self.lane.send_end(None)
            self.lane.flush()
            self.end_if_over()

    def client_drained(self) -> None:
        """The client takes octets again."""
        self.touch()
        if self.is_open and self.lane.is_paused:
            self.lane.resume()

    # -- from the origin

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        pass  # a second head is a fault that the engine finds

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        client = self.client
        if client is not None:
            self.touch()
            if not client.pass_on(data):
                self.lane.pause_reading()

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        self.origin_ended = True
        if self.client is not None:
            self.client.pass_end()
        self.end_if_over()

    def upstream_turn(self, connection: UpstreamStream) -> None:
        pass

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        self.exchange.detail = detail
        self.close(f"upstream-{reason}")

    def upstream_drained(self, connection: UpstreamStream) -> None:
        self.touch()
        if self.client is not None and not self.client_ended:
            self.client.resume_client()

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        self.close("idle-timeout")

    # -- ends

    def end_if_over(self) -> None:
        """End in good order once both sides have."""
        client = self.client
        if self.client_ended and self.origin_ended and (client is None or client.waiting() == 0):
            self.close("")

    def close(self, reason: str) -> None:
        """End both sides; `reason` "" is a proper end."""
        client = self.client
        if self.let_go() and client is not None:
            client.finish_client(reason)

    def let_go(self) -> bool:
        """Give the origin's side up; tell whether the tunnel was open."""
        if not self.is_open:
            return False
        self.is_open = False
        self.client = None
        self.values[TUNNELS_OPEN] -= 1
        self.lane.close()
        return True


@final
class ClientLane(Handler, ClientEnd):
    """A client of HTTP/2 or HTTP/3."""

    def __init__(self, tunnel: LaneTunnel, exchange: Exchange, lane: DownstreamLane) -> None:
        self.tunnel = tunnel
        self.exchange = exchange
        self.lane = lane

    def pass_on(self, data: bytes) -> bool:
        self.lane.write(data)
        return self.lane.flush()

    def pass_end(self) -> None:
        self.lane.finish(None)
        self.lane.flush()

    def resume_client(self) -> None:
        self.exchange.accepting = True
        self.lane.resume()

    def pause_client(self) -> None:
        self.exchange.accepting = False

    def waiting(self) -> int:
        return 0  # its connection's

    def wait_until(self, when: float) -> None:
        self.lane.wait_until(when)

    def finish_client(self, reason: str) -> None:
        self.exchange.handler = None
        if reason:
            self.lane.abort(reason)
        else:
            self.lane.finish(None)
            self.lane.flush()

    # -- what the lane tells

    def handle(self, exchange: Exchange) -> None:
        return

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        if not self.tunnel.from_client(data):
            self.pause_client()

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        self.tunnel.client_end()

    def downstream_drained(self, exchange: Exchange) -> None:
        self.tunnel.client_drained()

    def downstream_closed(self, exchange: Exchange) -> None:
        self.tunnel.let_go()


@final
class ClientSocket(StreamDriver, ClientEnd):
    """A client whose connection has left HTTP/1.1: takes over the descriptor of its driver."""

    def __init__(self, tunnel: LaneTunnel, driver: DownstreamConnection) -> None:
        super().__init__(driver.transport, driver.poller)
        self.tunnel = tunnel
        self.driver: DownstreamConnection | None = driver
        self.values = driver.values
        self.ended = False
        self._is_shut = False  # once all that waits is written
        self._fd = driver._fd
        self._parked = driver._parked
        self._unsent = driver._unsent
        self._unsent_at = driver._unsent_at
        driver._unsent = b""  # held here from now on, and counted once
        driver._unsent_at = 0
        self._interest = -1
        if not self._parked:
            self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)

    # -- towards the client

    def pass_on(self, data: bytes) -> bool:
        driver = self.driver
        if driver is None:
            return True
        if driver.exchange is not None:
            driver.exchange.bytes_out += len(data)
        self.values[DOWNSTREAM_WRITTEN] += len(data)
        try:
            return self._write(data)
        except TransportError as error:
            self.tunnel.close(error.reason)
            return True

    def pass_end(self) -> None:
        self._is_shut = True
        if self.unsent == 0:
            self.transport.shutdown()

    def waiting(self) -> int:
        return self.unsent

    def wait_until(self, when: float) -> None:
        if self.driver is not None:
            self.driver.deadline = (
                when  # the sweep looks at the connection, whoever the descriptor belongs to
            )

    def resume_client(self) -> None:
        if not self.ended:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()

    def pause_client(self) -> None:
        self.pause_reading()

    def finish_client(self, reason: str) -> None:
        driver, self.driver = self.driver, None
        if driver is None:
            return
        exchange = driver.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
        if reason:
            self.transport.reset_on_close()
        self._unsent = b""
        self._unsent_at = 0
        self.closed = True
        driver.close()  # the same transport

    # -- being woken

    def on_readable(self) -> None:
        while self.tunnel.is_open and self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and pass it on; tell whether bytes are left that no readiness will announce."""
        tunnel = self.tunnel
        if self._interest & READ == 0:
            if self.ended:
                tunnel.close("hung-up")
            else:
                self.park()  # what it sent before is read when the origin takes it
            return False
        try:
            data = self._read()
        except TransportError as error:
            tunnel.close(error.reason)
            return False
        if data is None:
            return False
        if not data:
            self.ended = True
            self.pause_reading()
            tunnel.client_end()
            return False
        driver = self.driver
        if driver is not None and driver.exchange is not None:
            driver.exchange.bytes_in += len(data)
        self.values[DOWNSTREAM_READ] += len(data)
        if tunnel.from_client(data):
            return tunnel.is_open and self.transport.pending()
        self.pause_reading()
        return False

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self.tunnel.close(error.reason)
            return
        if not done:
            return
        if self._is_shut:
            self.transport.shutdown()
            self.tunnel.end_if_over()
        else:
            self.tunnel.client_drained()

    def on_crash(self, error: Exception) -> None:
        if self.driver is not None:
            self.driver.observer.crashed("tunnel", error)
        self.tunnel.close("internal")

    def on_deadline(self, now: float) -> None:
        self.tunnel.close("idle-timeout")

    def _write_failed(self, error: TransportError) -> None:
        self.tunnel.close(error.reason)

    def _stalled_late(self) -> None:
        self.tunnel.lane.pause_reading()
