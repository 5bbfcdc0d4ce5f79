"""Routes and listeners that answer by themselves: `respond`, `redirect`, and http to https."""

from __future__ import annotations

from typing import final

from headgate.connection.exchange import Exchange, Handler
from headgate.http.fields import Fields
from headgate.http.target import parse_authority, parse_target
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.redirect import HttpsRedirect, Redirect
from headgate.pipeline.middleware.reply import text_reply
from headgate.pipeline.middleware.respond import Respond
from headgate.pipeline.route import Router
from headgate.proxy.answers import answer_reply


class FixedHandler(Handler):
    """Base of handlers whose answer does not wait for the request's content."""

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def downstream_drained(self, exchange: Exchange) -> None:
        return

    def downstream_closed(self, exchange: Exchange) -> None:
        return


@final
class RespondHandler(FixedHandler):
    """A route with `respond`."""

    def __init__(self, respond: Respond, edits: FieldEdits) -> None:
        self.respond = respond
        self.edits = edits

    def handle(self, exchange: Exchange) -> None:
        answer_reply(exchange, self.respond.reply(), self.edits)


@final
class RedirectHandler(FixedHandler):
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
class HttpsRedirectHandler(FixedHandler):
    """A listener with `redirect = true`: 308 to https, for hosts that have a route; others get 404."""

    def __init__(self, router: Router, port: int) -> None:
        self.router = router
        self.redirect = HttpsRedirect(port)
        self.edits = FieldEdits()

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        target = parse_target(request.method, request.target)
        authority = target.authority or request.host
        exchange.host = authority
        exchange.path = target.origin
        if authority and not self.router.knows(parse_authority(authority)[0]):
            answer_reply(exchange, text_reply(404, b"404 Not Found\nno-route\n"), self.edits, "no-route")
            return
        answer_reply(exchange, self.redirect.reply(authority, target.origin), self.edits)
