"""A tunnel between a stream of HTTP/3 and an origin of HTTP/1.1 (RFC 9220, RFC 8441; WebSocket).

The client asks with an extended CONNECT, the origin is asked with an Upgrade, and what one calls 200 the other calls
101. HTTP/1.1 wants a key and its answer, of which HTTP/3 knows nothing: they are made and checked here.

The client's side stays an exchange whose handler is the tunnel: content is what goes to the origin, and what the
origin sends is content of the answer. The origin's side is woken by its own descriptor. What one side does not take
stops the other, as in proxy/tunnel; an end in one direction is passed on, and the tunnel is over when both have
ended, when either breaks, or when nothing has moved for `idle` seconds.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Final, final

from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange, Handler, TunnelOwner
from headgate.connection.stream_driver import StreamDriver
from headgate.connection.upstream import UpstreamConnection
from headgate.counters import TUNNELS_OPEN
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Request, Response
from headgate.errors import RemoteProtocolError, TransportError
from headgate.http.fields import Fields
from headgate.net.poller import READ, WRITE

# RFC 6455 section 1.3.
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PROTOCOL: Final = b"websocket"


def adopt_connect(exchange: Exchange) -> None:
    """Make an extended CONNECT the Upgrade that an origin of HTTP/1.1 understands (RFC 8441 section 5).

    Raises `RemoteProtocolError` 501 for a protocol that we do not know (RFC 9220 section 3).
    """
    request = exchange.request
    if request.upgrade.lower() != _PROTOCOL:
        raise RemoteProtocolError(
            501, "unknown-protocol", "the only protocol of extended CONNECT is websocket"
        )
    request.method = b"GET"
    request.upgrade = _PROTOCOL
    request.body = NO_BODY
    request.fields.remove(b"content-length")
    request.fields.set(b"sec-websocket-key", base64.b64encode(os.urandom(16)), b"Sec-WebSocket-Key")
    # What the client sends already is for the origin once that has agreed; until then it waits.
    exchange.accepting = False


def is_agreed(request: Request, response: Response) -> bool:
    """Tell whether a 101 answers the key that was sent (RFC 6455 section 4.2.2)."""
    key = request.fields.get(b"sec-websocket-key") or b""
    expected = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return response.fields.get(b"sec-websocket-accept") == expected


def agreement(response: Response) -> Response:
    """Return what the client of an extended CONNECT is told instead of a 101."""
    fields = response.fields
    for name in (b"connection", b"upgrade", b"sec-websocket-accept"):
        fields.remove(name)
    return Response(200, b"OK", 11, fields, UNKNOWN_LENGTH)


@final
class OriginSide(StreamDriver):
    """The origin's side: takes over the descriptor of the connection's driver."""

    def __init__(self, driver: UpstreamConnection, tunnel: StreamTunnel) -> None:
        super().__init__(driver.transport, driver.poller)
        self.tunnel = tunnel
        self.ended = False
        self._fd = driver._fd
        self._parked = driver._parked
        self._unsent = driver._unsent
        self._unsent_at = driver._unsent_at
        driver._unsent = b""
        driver._unsent_at = 0
        self._interest = -1
        self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)

    def on_readable(self) -> None:
        while self.tunnel.open and self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and pass it on; tell whether bytes are left that no readiness will announce."""
        tunnel = self.tunnel
        if self._interest & READ == 0:
            if self.ended:
                tunnel.close("hung-up")
            else:
                self.park()  # what it sent before is read when the client takes it
            return False
        try:
            data = self._read()
        except TransportError as error:
            tunnel.close(error.reason)
            return False
        if data is None:
            return False
        if data:
            if tunnel.to_client(data):
                return tunnel.open and self.transport.pending()
            self.pause_reading()
            return False
        self.ended = True
        self.pause_reading()
        tunnel.origin_ended()
        return False

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self.tunnel.close(error.reason)
            return
        if done:
            self.tunnel.origin_drained()

    def on_crash(self, error: Exception) -> None:
        self.tunnel.lane.driver.observer.crashed("tunnel", error)
        self.tunnel.close("internal")

    def on_deadline(self, now: float) -> None:
        self.tunnel.close("idle-timeout")

    def _write_failed(self, error: TransportError) -> None:
        self.tunnel.close(error.reason)

    def _stalled_late(self) -> None:
        self.tunnel.exchange.accepting = False


@final
class StreamTunnel(Handler, TunnelOwner):
    """Both sides, and the connections that they came from. `late` is what the origin sent behind its 101."""

    def __init__(
        self, exchange: Exchange, lane: DownstreamLane, upstream: UpstreamConnection, late: bytes, idle: float
    ) -> None:
        self.exchange = exchange
        self.lane = lane
        self.upstream = upstream
        self.idle = idle
        self.open = True
        self.client_ended = False
        self.values = upstream.values
        self.values[TUNNELS_OPEN] += 1
        self.origin = OriginSide(upstream, self)
        exchange.handler = self
        exchange.accepting = True
        lane.enter_tunnel(self)
        self.touch()
        if late and not self.to_client(late):
            self.origin.pause_reading()
        if self.open:
            lane.resume()

    def held(self) -> int:
        return self.origin.unsent

    def touch(self) -> None:
        """Something moved: the silence begins anew."""
        self.lane.wait_until(self.upstream.poller.now + self.idle)

    # -- from the origin

    def to_client(self, data: bytes) -> bool:
        """Pass octets of the origin on; False: the client takes no more for now."""
        self.touch()
        self.lane.write(data)
        return self.lane.flush()

    def origin_ended(self) -> None:
        """The origin has said all it has to say."""
        self.lane.finish(None)
        self._end_if_over()

    def origin_drained(self) -> None:
        """All that waited for the origin is written."""
        self.touch()
        if self.client_ended:
            self.origin.transport.shutdown()
            self._end_if_over()
        else:
            self.exchange.accepting = True
            self.lane.resume()

    # -- from the client

    def handle(self, exchange: Exchange) -> None:
        return

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        self.touch()
        try:
            if not self.origin._write(data):
                exchange.accepting = False
        except TransportError as error:
            self.close(error.reason)

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        self.client_ended = True
        if self.origin.unsent == 0:
            self.origin.transport.shutdown()
        self._end_if_over()

    def downstream_drained(self, exchange: Exchange) -> None:
        self.touch()
        if not self.origin.ended:
            self.origin.resume_reading()
            if self.origin.transport.pending():
                self.origin.on_readable()

    def downstream_closed(self, exchange: Exchange) -> None:
        self._let_go()

    # -- ends

    def _end_if_over(self) -> None:
        if self.client_ended and self.origin.ended and self.origin.unsent == 0:
            self.close("")
        else:
            self.lane.flush()

    def close(self, reason: str) -> None:
        """End both sides; `reason` "" is a proper end."""
        if not self.open:
            return
        self._let_go()
        self.exchange.handler = None
        if reason:
            self.lane.abort(reason)
        else:
            self.lane.finish(None)
            self.lane.flush()

    def _let_go(self) -> None:
        if self.open:
            self.open = False
            self.values[TUNNELS_OPEN] -= 1
            self.origin._unsent = b""
            self.origin._unsent_at = 0
            self.upstream.close()
