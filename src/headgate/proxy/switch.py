"""101 Switching Protocols: HTTP ends on both connections of an exchange, and they become a tunnel.

Towards a client of HTTP/1.1 that is two sockets (`proxy/tunnel`); towards a stream of HTTP/3 it is the answer to an
extended CONNECT (RFC 9220, `proxy/stream_tunnel`).
"""

from __future__ import annotations

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_stream import UpstreamStream
from headgate.engine.events import Response
from headgate.engine.h1.machine import DONE
from headgate.proxy.relay import RelayHalf
from headgate.proxy.stream_tunnel import StreamTunnel, agreement, is_agreed
from headgate.proxy.tunnel import Tunnel


def may_switch(exchange: Exchange, connection: UpstreamStream, response: Response) -> bool:
    """Tell whether a 101 may come now and here; one that may not breaks the connection."""
    if not isinstance(connection, UpstreamConnection):
        return False  # other versions know no 101: their engines refuse it
    downstream = exchange.downstream
    if isinstance(downstream, DownstreamLane):
        if exchange.is_connect and is_agreed(exchange.request, response):
            return True
        connection._broken("bad-switch", "the 101 does not answer the key of the request")
        return False
    if not isinstance(downstream, DownstreamConnection):
        return False
    if downstream.engine.receiving != DONE:
        connection._broken("early-switch", "101 before the request was complete")
        return False
    return True


def switch(exchange: Exchange, connection: UpstreamStream, response: Response, idle: float) -> None:
    """Do what a 101 says that may come; the exchange has let go of its endpoint. `idle` bounds a silence of the
    tunnel, in seconds."""
    if not isinstance(connection, UpstreamConnection):
        return
    downstream = exchange.downstream
    if isinstance(downstream, DownstreamLane):
        late = connection.detach()
        downstream.respond(agreement(response))
        downstream.flush()
        StreamTunnel(exchange, downstream, connection, late, idle)
    elif isinstance(downstream, DownstreamConnection):
        downstream.respond(response)
        late = connection.detach()
        early = downstream.detach()
        if downstream.closed:
            connection.close()
            return
        origin = RelayHalf(connection.transport, connection.poller, connection)
        Tunnel(downstream, origin, early, late, idle)
