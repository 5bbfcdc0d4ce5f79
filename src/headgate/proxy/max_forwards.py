"""Max-Forwards (RFC 9110 section 7.6.2): how many more proxies may forward a TRACE or an OPTIONS.

With 0 the request is not forwarded, and the gate answers as its final recipient: OPTIONS with an empty 200 (what the
origin allows, only the origin knows, so there is no Allow), TRACE with its own head as it came (section 9.3.8). That
is what a client asks in order to see the proxies on the way, so Via belongs into it. It shows no more than what can
hold no secret, a list of names and not all but a list: proxies in front of us put secrets of theirs into fields that
nobody knows the names of, and scripts in browsers used TRACE to read cookies that they could not see.

Other methods are none of Max-Forwards' business. A value that is no number cannot be counted down, and must not be
forwarded as it is: 400.
"""

from typing import Final

from headgate.connection.exchange import Exchange
from headgate.engine.events import Request
from headgate.errors import RemoteProtocolError
from headgate.http.fields import Fields
from headgate.pipeline.middleware.reply import Reply
from headgate.pipeline.route import Route
from headgate.proxy.answers import answer_reply

# More is sent on as this, which section 7.6.2 allows: the number of hops that an IP packet has.
FARTHEST: Final = 255
_VERSIONS: Final = {10: b"1.0", 11: b"1.1", 20: b"2", 30: b"3"}
# The fields that TRACE gives back: on negotiation, on the connection, and on the way here.
SHOWN: Final = frozenset(
    (
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"date",
        b"host",
        b"max-forwards",
        b"pragma",
        b"te",
        b"upgrade",
        b"user-agent",
        b"via",
    )
)


def ends_here(exchange: Exchange, route: Route) -> bool:
    """Count a hop of a request that has Max-Forwards; when none is left, answer it and return True.

    To be called before the head is rewritten. Raises `RemoteProtocolError` 400 for what is no number.
    """
    request = exchange.request
    trace = request.method == b"TRACE"
    if (
        (not trace and request.method != b"OPTIONS")
        or route.redirect is not None
        or route.respond is not None
    ):
        return False  # a route that forwards nothing is the final recipient anyway, and has its answer
    left = _hops_left(request.fields)
    if left < 0:
        return False
    if left > 0:
        names = request.fields.names
        request.fields.lines[names.index(b"max-forwards")] = b"Max-Forwards: %d" % min(left - 1, FARTHEST)
        return False
    reply = _reflect(request) if trace else Reply(200, Fields([], [], 0), b"")
    answer_reply(exchange, reply, route.response_edits)
    return True


def _hops_left(fields: Fields) -> int:
    """Return the value of Max-Forwards, -1 without one."""
    values = fields.get_all(b"max-forwards")
    if not values:
        return -1
    value = values[0]
    if len(values) > 1 or not value.isdigit():
        raise RemoteProtocolError(400, "bad-max-forwards", "Max-Forwards is not one number")
    value = value.lstrip(b"0")
    # Many a digit: no integer is made of what is too far anyway.
    return FARTHEST + 1 if len(value) > 3 else int(value or b"0")


def _reflect(request: Request) -> Reply:
    """Return the request's head as content (RFC 9110 section 9.3.8, RFC 9112 section 10.1)."""
    fields = request.fields
    version = _VERSIONS[request.version]
    lines = [b"%b %b HTTP/%b" % (request.method, request.target, version)]
    lines += [fields.lines[i] for i in range(len(fields)) if fields.names[i] in SHOWN]
    shown = Fields([b"content-type"], [b"Content-Type: message/http"], 0)
    return Reply(200, shown, b"\r\n".join(lines) + b"\r\n\r\n")
