"""Routes and listeners that answer by themselves: `respond`, `redirect`, and http to https."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from headgate.connection.exchange import Exchange, HeadHandler
from headgate.http.target import STRICT, parse_authority, parse_target
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.redirect import HttpsRedirect, Redirect
from headgate.pipeline.middleware.reply import text_reply
from headgate.pipeline.middleware.respond import Respond
from headgate.pipeline.route import Router
from headgate.proxy.answers import answer_reply
from headgate.proxy.dispatch import answer_misdirected

_NOBODY: Final = -1
_ELSEWHERE: Final = -2


@final
class RespondHandler(HeadHandler):
    """A route with `respond`."""

    def __init__(self, respond: Respond, edits: FieldEdits) -> None:
        self.respond = respond
        self.edits = edits

    def handle(self, exchange: Exchange) -> None:
        answer_reply(exchange, self.respond.reply(), self.edits)


@final
class RedirectHandler(HeadHandler):
    """A route with `redirect`."""

    def __init__(self, redirect: Redirect, edits: FieldEdits) -> None:
        self.redirect = redirect
        self.edits = edits

    def handle(self, exchange: Exchange) -> None:
        asked = exchange.asked
        scheme = asked.scheme if asked is not None else exchange.context.scheme
        authority = asked.host if asked is not None and asked.host else exchange.host
        answer_reply(exchange, self.redirect.reply(scheme, authority, exchange.path), self.edits)


@final
class HttpsRedirectHandler(HeadHandler):
    """A listener with `redirect = true`: 308 to the https listener that has routes for the host; others get 404.

    `targets` are the https listeners as (router, port). One that names the host goes before one that takes any, or a
    host behind client certificates on 8443 would be sent to 443 for a 421. Hosts of plain listeners get that here.
    `allow` is what `parse_target` lets through in paths.
    """

    def __init__(self, targets: Sequence[tuple[Router, int]], values: list[int], allow: int = STRICT) -> None:
        self.routers = [target[0] for target in targets]
        self.redirects = [HttpsRedirect(target[1]) for target in targets]
        self.values = values
        self.allow = allow
        self.edits = FieldEdits()

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        target = parse_target(request.method, request.target, self.allow)
        authority = target.authority or request.host
        exchange.host = authority
        exchange.path = target.origin
        # Without a host there is nowhere to redirect to: 400, whoever is asked.
        place = self._target(parse_authority(authority)[0]) if authority else 0
        if place == _NOBODY:
            answer_reply(exchange, text_reply(404, b"404 Not Found\nno-route\n"), self.edits, "no-route")
        elif place == _ELSEWHERE:
            answer_misdirected(exchange, self.values)
        else:
            answer_reply(exchange, self.redirects[place].reply(authority, target.origin), self.edits)

    def _target(self, host: bytes) -> int:
        """Return which of the https listeners a host belongs to."""
        for place in range(len(self.routers)):
            if self.routers[place].names(host):
                return place
        nowhere = _NOBODY
        for place in range(len(self.routers)):
            router = self.routers[place]
            if router.misdirects(host):
                nowhere = _ELSEWHERE
            elif router.knows(host):
                return place
        return nowhere
