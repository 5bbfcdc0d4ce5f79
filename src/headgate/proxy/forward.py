"""The forward proxy: what clients ask of a proxy that they chose themselves (RFC 9110 sections 7.7 and 9.3.6).

In this order: is the client one that is served (403), who is it (407), is the request one that a proxy takes
(an absolute `http://` URL, or CONNECT; anything else is 400), has it come round in a circle (508), may that port and
that host be asked for (403). Then CONNECT goes to proxy/connect. A plain request is rewritten, hop-by-hop lines out
(the client's credentials for us among them), Host from the URL (RFC 9112 section 3.2.2), Via in, and goes to its
origin or to a parent by way of the reverse proxy. No Forwarded line is added: whom a person visits need not know from
where. Paths are sent on as they came, whatever they hold: they are between the client and the origin.

Redirects are the client's to follow: each of them is a request that is judged like any other.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.exchange import Exchange, HeadHandler
from headgate.counters import (
    AUTHENTICATION_MISSING,
    FORWARD_PLAIN,
    FORWARD_REFUSED_ADDRESS,
    FORWARD_REFUSED_CLIENT,
    FORWARD_REFUSED_DESTINATIONS,
    FORWARD_REFUSED_HOST,
    FORWARD_REFUSED_LOOP,
    FORWARD_REFUSED_PORT,
)
from headgate.errors import RemoteProtocolError
from headgate.http.fields import HOPS_LEFT, VIA, Fields
from headgate.http.hop_by_hop import add_via, strip_request
from headgate.http.networks import Networks
from headgate.http.target import (
    ABSOLUTE_FORM,
    ALLOW_BACKSLASH,
    ALLOW_ENCODED_SLASH,
    parse_authority,
    parse_target,
)
from headgate.net.poller import Poller
from headgate.pipeline.middleware.reply import text_reply
from headgate.pipeline.route import Route
from headgate.proxy.answers import answer, answer_error
from headgate.proxy.authentication import (
    ABSENT,
    ACCEPTED,
    ATTEMPT_SECONDS,
    THROTTLED,
    WAIT,
    Authenticator,
)
from headgate.proxy.connect import ConnectProxy, Parents
from headgate.proxy.destinations import Destinations
from headgate.proxy.dispatch import check_upgrade
from headgate.proxy.guard import Guard
from headgate.proxy.max_forwards import ends_here
from headgate.proxy.reverse import ReverseProxy

# Proxies that a request has been through: a chain of a few is common, so many are a circle.
MAX_VIA: Final = 16
_LENIENT: Final = ALLOW_ENCODED_SLASH | ALLOW_BACKSLASH


@final
class _Waiting:
    """What an exchange has for an attempt while its user is being checked."""


_WAITING: Final = _Waiting()


@final
class DirectProxy(HeadHandler):
    """Hands plain requests to their origins, dialled from here."""

    def __init__(self, destinations: Destinations, poller: Poller, values: list[int]) -> None:
        self.destinations = destinations
        self.poller = poller
        self.values = values

    def handle(self, exchange: Exchange) -> None:
        """Find the origin that `exchange.host` names."""
        request = exchange.request
        request.target = exchange.path
        host, port = parse_authority(exchange.host)
        proxy = self.destinations.find(host, port if port > 0 else 80, self.poller.now)
        if proxy is None:
            self.values[FORWARD_REFUSED_DESTINATIONS] += 1
            answer_error(exchange, 503, "too-many-destinations")
            if request.body != 0:
                exchange.downstream.resume()
            return
        exchange.handler = proxy
        proxy.handle(exchange)


@final
class FallBack(HeadHandler):
    """Takes over from the parents when none can be reached: from here, or not at all."""

    def __init__(self, direct: DirectProxy) -> None:
        self.direct = direct

    def handle(self, exchange: Exchange) -> None:
        """Begin anew; nothing was sent yet."""
        exchange.request.fields.remove(b"proxy-authorization")
        exchange.upstream = ""
        self.direct.handle(exchange)


@final
class ForwardProxy(HeadHandler):
    """The first handler of every exchange of one forward listener."""

    def __init__(
        self,
        guard: Guard,
        clients: Networks,
        direct: DirectProxy,
        connect: ConnectProxy,
        values: list[int],
        *,
        authenticator: Authenticator | None = None,
        realm: bytes = b"headgate",
        parents: Parents | None = None,
        parent_proxy: ReverseProxy | None = None,
    ) -> None:
        self.guard = guard
        self.clients = clients
        self.direct = direct
        self.connect = connect
        self.values = values
        self.authenticator = authenticator
        self.challenge = b'Basic realm="%b", charset="UTF-8"' % realm
        self.parents = parents
        self.parent_proxy = parent_proxy
        self.route = Route("", (), "/")  # what Max-Forwards wants to know: it has no answers of its own

    def __repr__(self) -> str:
        return f"<ForwardProxy {self.direct.destinations!r}>"

    # -- who

    def handle(self, exchange: Exchange) -> None:
        context = exchange.context
        exchange.secure = context.secure
        if not self.clients.contains(context.peer.encode()):
            self._refuse(exchange, 403, "client-not-allowed", FORWARD_REFUSED_CLIENT)
            return
        authenticator = self.authenticator
        if authenticator is None:
            self._admit(exchange)
            return
        exchange.attempt = _WAITING
        exchange.accepting = False
        verdict = authenticator.judge(exchange, self, self.direct.poller.now)
        if verdict == WAIT:
            return
        exchange.attempt = None
        exchange.accepting = True
        if verdict == ACCEPTED:
            self._admit(exchange)
        elif verdict == ABSENT:
            self._ask_who(exchange)
        elif verdict == THROTTLED:
            self._name_target(exchange)
            self._answer(exchange, 429, "too-many-attempts", b"retry-after", b"%d" % ATTEMPT_SECONDS)
        else:
            self._name_target(exchange)
            self._answer(exchange, 503, "authentication-busy", b"retry-after", b"1")

    def user_known(self, exchange: Exchange, is_right: bool) -> None:
        if exchange.attempt is not _WAITING:
            return  # the client left meanwhile
        exchange.attempt = None
        exchange.accepting = True
        if is_right:
            try:
                self._admit(exchange)
            except RemoteProtocolError as error:
                # Told here, where the driver does not listen for it.
                self._answer(exchange, error.code, error.reason)
        else:
            self._ask_who(exchange)
        if exchange.request.body != 0 and exchange.accepting:
            exchange.downstream.resume()

    def _ask_who(self, exchange: Exchange) -> None:
        self.values[AUTHENTICATION_MISSING] += 1
        self._name_target(exchange)
        self._answer(exchange, 407, "authentication-required", b"proxy-authenticate", self.challenge)

    # -- what

    def _admit(self, exchange: Exchange) -> None:
        """Judge the request of a client that is served. Raises `RemoteProtocolError` for what no proxy takes."""
        request = exchange.request
        is_connect = request.method == b"CONNECT"
        target = parse_target(request.method, request.target, _LENIENT)
        authority = target.authority
        exchange.host = authority
        if not is_connect:
            if target.form != ABSOLUTE_FORM:
                raise RemoteProtocolError(400, "not-absolute", "a proxy is asked for whole URLs")
            if target.scheme != b"http":
                raise RemoteProtocolError(
                    400, "https-without-connect", "https goes through a tunnel (CONNECT)"
                )
            exchange.path = (target.path or b"/") + target.query
        elif request.body != 0:
            raise RemoteProtocolError(400, "connect-with-content", "CONNECT has no content")
        if request.fields.flags & VIA and _hops(request.fields) >= MAX_VIA:
            self._refuse(exchange, 508, "loop", FORWARD_REFUSED_LOOP)
            return
        host, port = parse_authority(authority)
        reason = self.guard.refusal(host, port if port > 0 else 80, is_connect)
        if reason:
            counter = FORWARD_REFUSED_PORT if reason == "port-not-allowed" else FORWARD_REFUSED_HOST
            self._refuse(exchange, 403, reason, counter)
            return
        parents = self.parents
        if parents is not None and not parents.bypass.match(host):
            if not self.guard.allows_unresolved(host, port if port > 0 else 80):
                self._refuse(exchange, 403, "address-not-allowed", FORWARD_REFUSED_ADDRESS)
                return
        else:
            parents = None
        if is_connect:
            self.connect.open(exchange, host, port, parents)
        else:
            self._forward(exchange, parents)

    def _forward(self, exchange: Exchange, parents: Parents | None) -> None:
        """Rewrite a plain request and send it on its way."""
        request = exchange.request
        fields = request.fields
        if fields.flags & HOPS_LEFT and ends_here(exchange, self.route):
            return
        self.values[FORWARD_PLAIN] += 1
        if request.upgrade:
            check_upgrade(request)
        strip_request(fields, request.upgrade)
        fields.set(b"host", exchange.host, b"Host")
        add_via(fields, request.version)
        proxy = self.parent_proxy
        if parents is not None and proxy is not None:
            request.target = b"http://" + exchange.host + exchange.path
            parents.add_credentials(fields)
            exchange.handler = proxy
            proxy.handle(exchange)
        else:
            exchange.handler = self.direct
            self.direct.handle(exchange)

    # -- answers

    def _name_target(self, exchange: Exchange) -> None:
        """What the log says was asked for, where nobody has looked at it."""
        exchange.path = exchange.request.target
        exchange.host = exchange.request.host

    def _refuse(self, exchange: Exchange, status: int, reason: str, counter: int) -> None:
        self.values[counter] += 1
        if not exchange.host:
            self._name_target(exchange)
        answer_error(exchange, status, reason)

    def _answer(
        self, exchange: Exchange, status: int, reason: str, name: bytes = b"", value: bytes = b""
    ) -> None:
        reply = text_reply(status, b"%b\n" % reason.encode())
        if name:
            reply.fields.add(name, value, name.title())
        answer(exchange, status, reason, reply.body, reply.fields)

    # -- while somebody is being checked

    def downstream_closed(self, exchange: Exchange) -> None:
        exchange.attempt = None


def _hops(fields: Fields) -> int:
    """Return how many proxies a request has been through, as Via says."""
    return sum(value.count(b",") + 1 for value in fields.get_all(b"via"))
