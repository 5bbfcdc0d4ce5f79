"""Exchanges that no client has: the cache asks for an answer on behalf of one, or of several."""

from typing import Final, final

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange, Handler
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields


def context_of(client: ConnectionContext) -> ConnectionContext:
    """Return what an exchange of ours says of its connection: the client's facts, without what ends with it.

    Made once for each connection: what it says changes only as a client of QUIC moves.
    """
    known = client.behalf
    if known is not None and known.port == client.port and known.peer == client.peer:
        return known
    own = ConnectionContext(client.listener, client.peer, client.port, client.scheme, client.forwarded)
    own.destination = client.destination
    own.destination_port = client.destination_port
    own.sock = client.sock
    own.network = client.network
    own.sni = client.sni
    own.tls_version = client.tls_version
    client.behalf = own
    return own


def exchange_for(
    client: Exchange,
    context: ConnectionContext,
    downstream: Downstream,
    request: Request,
    started: float,
    handler: Handler,
) -> Exchange:
    """Return an exchange of ours with what is known of a client's; `context` is from `context_of`."""
    own = Exchange(downstream, context, request, started)
    own.host = client.host
    own.path = client.path
    own.secure = client.secure
    own.asked = client.asked
    own.user = client.user
    own.route = client.route
    own.handler = handler
    return own


def tell(client: Exchange, own: Exchange) -> None:
    """Let the log of a client say what an exchange of ours was answered by."""
    client.upstream = own.upstream
    client.endpoint = own.endpoint
    client.upstream_protocol = own.upstream_protocol
    client.upstream_started = own.upstream_started
    client.upstream_head = own.upstream_head
    client.retries = own.retries
    client.detail = own.detail


@final
class Nobody(Downstream):
    """Where an answer goes that nobody wants any more: nowhere."""

    def respond(self, response: Response) -> None:
        return

    def write(self, data: bytes) -> None:
        return

    def finish(self, trailers: Fields | None) -> None:
        return

    def flush(self) -> bool:
        return True

    def abort(self, reason: str) -> None:
        return

    def resume(self) -> None:
        return


NOBODY: Final = Nobody()
