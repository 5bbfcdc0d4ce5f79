"""Answers that Headgate makes itself: errors, redirects, fixed responses."""

from headgate.connection.exchange import Exchange
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.http.status import reason_phrase
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.reply import Reply, text_reply


def answer(exchange: Exchange, status: int, reason: str, body: bytes, fields: Fields) -> None:
    """Send a complete response; `reason` is the stable word for the log, "" when nothing is wrong."""
    if status not in (204, 304):
        fields.add(b"content-length", b"%d" % len(body), b"Content-Length")
    else:
        body = b""
    if exchange.request.method == b"HEAD":
        body = b""
    if reason:
        exchange.reason = reason
    downstream = exchange.downstream
    exchange.handler = None  # nobody wants the rest of the request
    exchange.accepting = True
    downstream.respond(Response(status, reason_phrase(status), 11, fields, len(body)))
    if body:
        downstream.write(body)
        downstream.finish(None)
    downstream.flush()


def answer_reply(exchange: Exchange, reply: Reply, edits: FieldEdits, reason: str = "") -> None:
    """Send a reply of the pipeline, with the route's edits."""
    exchange.context.announce(reply.fields)
    edits.apply(reply.fields, exchange.secure)
    answer(exchange, reply.status, reason, reply.body, reply.fields)


def answer_error(
    exchange: Exchange,
    status: int,
    reason: str,
    detail: str = "",
    edits: FieldEdits | None = None,
    retry_after: int = 0,
) -> None:
    """Send an error that says in its body what happened, in words that give away nothing of the inside.

    `edits` are those of the route, once there is one: what it promises of its answers (HSTS, framing policies) holds
    for the ones that its origin did not give as well. `retry_after` is in seconds, 0 for none.
    """
    text = f"{status} {reason_phrase(status).decode()}\n{reason}"
    if detail:
        text += f": {detail}"
    reply = text_reply(status, text.encode() + b"\n")
    if retry_after:
        reply.fields.add(b"retry-after", b"%d" % retry_after, b"Retry-After")
    if edits is not None:
        edits.apply(reply.fields, exchange.secure)
    answer(exchange, status, reason, reply.body, reply.fields)
