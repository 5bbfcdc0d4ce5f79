"""A tunnel whose origin is a stream of HTTP/2: WebSocket by extended CONNECT (RFC 8441), whatever the client speaks.

A client of HTTP/1.1 asked with an Upgrade: its 101, and the proof of its key, are made here, and its connection is
read and written octet by octet from then on. A client of HTTP/2 or HTTP/3 asked as the origin was asked, and its
side stays an exchange whose handler is the tunnel.

    client's end          ClientSocket (HTTP/1.1)  or  the exchange's lane: `proxy/lane_ends`
    origin's end          the lane: content is what is relayed, the stream's end is the end of a direction

What one side does not take stops the other; an end in one direction is passed on, and the tunnel is over when both
have ended, when either breaks, or when nothing has moved for `idle` seconds.
"""

from __future__ import annotations

import base64
import hashlib
from typing import final

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange, TunnelOwner
from headgate.connection.stream_driver import NEVER
from headgate.connection.upstream_lane import Lane
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamStream
from headgate.counters import TUNNELS_OPEN
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Response
from headgate.http.fields import Fields
from headgate.http.hop_by_hop import add_upgrade
from headgate.net.poller import Poller
from headgate.proxy.lane_ends import ClientEnd, ClientLane, ClientSocket
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
