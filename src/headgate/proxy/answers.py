"""Answers that Headgate makes itself: errors, redirects, fixed responses."""

from headgate.connection.exchange import Exchange
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.http.status import reason_phrase
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.reply import Reply


def answer(exchange: Exchange, status: int, reason: str, body: bytes, fields: Fields | None = None) -> None:
    """Send a complete response; `reason` is the stable word for the log, "" when nothing is wrong.

    Without `fields` the body is plain text.
    """
    if fields is None:
        fields = Fields([], [])
        fields.add(b"content-type", b"text/plain; charset=utf-8", b"Content-Type")
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
    edits.apply(reply.fields, exchange.secure)
    answer(exchange, reply.status, reason, reply.body, reply.fields)


def answer_error(exchange: Exchange, status: int, reason: str, detail: str = "") -> None:
    """Send an error that says in its body what happened, in words that give away nothing of the inside."""
    text = f"{status} {reason_phrase(status).decode()}\n{reason}"
    if detail:
        text += f": {detail}"
    answer(exchange, status, reason, text.encode() + b"\n")
