"""From a request's head to the handler of its route: everything that is decided before an endpoint is picked.

In this order: read the target and the authority, check that this connection and this listener may be asked for that
host at all (421), match the route on the normalised path, answer what may be forwarded no further (Max-Forwards),
then rewrite the head for the origin: hop-by-hop lines out, forwarding lines in, the route's edits, Via. What the
route's handler gets is the request as it will be sent.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import mypyc_attr

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler, HeadHandler
from headgate.counters import REFUSED_MISDIRECTED
from headgate.engine.events import Request
from headgate.engine.h1.grammar import list_tokens
from headgate.errors import RemoteProtocolError
from headgate.http.fields import HOPS_LEFT, HOST
from headgate.http.hop_by_hop import add_upgrade, add_via, strip_request
from headgate.http.target import STRICT, parse_authority, parse_target
from headgate.pipeline.route import MISDIRECTED, Router
from headgate.proxy.answers import answer_error
from headgate.proxy.max_forwards import ends_here
from headgate.proxy.stream_tunnel import adopt_connect


def check_upgrade(request: Request) -> None:
    """Ignore an Upgrade to another HTTP or to TLS (RFC 9110 section 7.8 lets a server).

    An origin that agreed would give the client a connection behind all routes, edits and limits; RFC 9113 section 3.1
    has done away with h2c by Upgrade anyway.
    """
    for protocol in list_tokens(request.fields.get_all(b"upgrade")):
        if protocol.startswith((b"h2", b"http", b"tls")):
            request.upgrade = b""
            request.fields.remove(b"http2-settings")
            return


def answer_misdirected(exchange: Exchange, values: list[int]) -> None:
    """Refuse a host that another connection or another listener is for, in the same words: who asks learns which
    hosts there are from neither."""
    values[REFUSED_MISDIRECTED] += 1
    answer_error(exchange, 421, "misdirected", "this connection was not made for that host")


@mypyc_attr(allow_interpreted_subclasses=True)
class HostPolicy:
    """Tells which hosts a connection may be asked for."""

    def allows(self, context: ConnectionContext, host: bytes) -> bool:
        """Tell whether this connection is good for `host` (lower case, without port)."""
        return True


@final
class Dispatcher(HeadHandler):
    """The first handler of every exchange of one listener. `allow` is what `parse_target` lets through in paths."""

    def __init__(
        self, router: Router, values: list[int], hosts: HostPolicy | None = None, allow: int = STRICT
    ) -> None:
        self.router = router
        self.values = values
        self.hosts = hosts
        self.allow = allow

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        fields = request.fields
        if request.method == b"CONNECT":
            if not exchange.is_connect:
                raise RemoteProtocolError(405, "connect-refused", "this is a reverse proxy")
            adopt_connect(exchange)
        target = parse_target(request.method, request.target, self.allow)
        authority = target.authority
        if authority:
            # RFC 9112 section 3.2.2: the absolute-form overrides Host, and what is sent on must agree with it.
            fields.set(b"host", authority, b"Host")
        else:
            authority = request.host
        host = b""
        if authority or request.version >= 11:
            host = parse_authority(authority)[0]
        context = exchange.context
        exchange.host = authority
        exchange.path = target.origin
        exchange.secure = context.secure
        hosts = self.hosts
        if hosts is not None and not hosts.allows(context, host):
            answer_misdirected(exchange, self.values)
            return
        route = self.router.match(host, target.normal)
        if route is None:
            answer_error(exchange, 404, "no-route", "")
            return
        if route is MISDIRECTED:
            answer_misdirected(exchange, self.values)
            return
        exchange.route = route.name
        handler = route.handler
        if not isinstance(handler, Handler):
            answer_error(exchange, 503, "no-handler", "")
            return
        if fields.flags & HOPS_LEFT and ends_here(exchange, route):
            return
        request.target = target.origin
        if exchange.is_connect:
            strip_request(fields)
            add_upgrade(fields, request.upgrade)
        else:
            if request.upgrade:
                check_upgrade(request)
            strip_request(fields, request.upgrade)
        info = context.forwarded.apply(fields, authority)
        exchange.asked = info
        if fields.flags & HOST == 0:
            fields.set(b"host", b"", b"Host")  # HTTP/1.0; what goes to the origin is HTTP/1.1
        edits = route.request_edits
        if not edits.empty:
            edits.apply(fields)
        add_via(fields, request.version)
        exchange.handler = handler
        handler.handle(exchange)
