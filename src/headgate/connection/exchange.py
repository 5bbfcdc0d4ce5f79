"""An exchange: one request, its response, and what the log will say about them.

Who talks to whom: the driver of the downstream connection makes an `Exchange` and gives it to its `Handler`. The
handler answers through `exchange.downstream`, at once or whenever it can; while it cannot take the request's
content it leaves `accepting` False, and nothing more is read from the client. No awaiting, no closures: each
side calls a method of the other.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import mypyc_attr, trait

from headgate.connection.context import ConnectionContext
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo
from headgate.net.transport import NOT_SENT

# The version of a "request" that is none: all that a tcp connection was, for balancing and for the log.
TCP: Final = 1


@trait
class Downstream:
    """Where an answer goes: the client's side of an exchange."""

    def respond(self, response: Response) -> None:
        """Queue a head, interim or final."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Queue content."""
        raise NotImplementedError

    def finish(self, trailers: Fields | None) -> None:
        """Queue the end of the content (only after a head that announced any)."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Write what is queued; to be called once at the end of each turn.

        False: the client does not take it all; produce nothing more before `downstream_drained`.
        """
        raise NotImplementedError

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        """Send octets [at, at + size) of a file, at once and behind all that is queued; return how many were taken.

        Fewer than `size`: the client takes no more for now; go on at `downstream_drained`. NOT_SENT: nothing was
        taken, and `write` has to do it. The descriptor is not needed any more when this returns.
        """
        return NOT_SENT

    def abort(self, reason: str) -> None:
        """The answer cannot be completed: close, so that the client sees that it is cut short."""
        raise NotImplementedError

    def resume(self) -> None:
        """The handler takes the request's content again (`accepting` is True)."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Handler:
    """Answers exchanges. One object serves all of them: what belongs to one is kept on the `Exchange`.

    `hands_over`: an exchange that is under way can be replaced by another one.
    """

    hands_over: bool = False

    def handle(self, exchange: Exchange) -> None:
        """Begin: the request's head is there. Content follows only while `exchange.accepting`."""
        raise NotImplementedError

    def hand_over(self, exchange: Exchange, own: Exchange) -> bool:
        """Answer `own` from now on, in place of `exchange`, which was for the same request and has no content.

        False: nothing has been sent for it yet, or nothing is to be done any more; all stays as it is.
        """
        return False

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        """Take content of the request."""
        raise NotImplementedError

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        """The request's content is complete."""
        raise NotImplementedError

    def downstream_drained(self, exchange: Exchange) -> None:
        """The client takes bytes again after a `write` that said False."""
        raise NotImplementedError

    def downstream_closed(self, exchange: Exchange) -> None:
        """The client is gone, or its request broke: let go of everything."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class HeadHandler(Handler):
    """Base of handlers that act on the head alone: they answer at once, or hand the exchange on to another."""

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def downstream_drained(self, exchange: Exchange) -> None:
        return

    def downstream_closed(self, exchange: Exchange) -> None:
        return


@trait
class TunnelOwner:
    """Who a downstream connection belongs to once it has left HTTP."""

    def close(self, reason: str) -> None:
        """End the tunnel; `reason` "" is a proper end."""
        raise NotImplementedError

    def held(self) -> int:
        """Return how many bytes wait in it."""
        return 0


@final
class Exchange:
    """One request and its answer. Times are loop times in seconds; the strings are for the log."""

    def __init__(
        self, downstream: Downstream, context: ConnectionContext, request: Request, started: float
    ) -> None:
        self.downstream = downstream
        self.context = context
        self.request = request
        self.started = started
        self.handler: Handler | None = None
        self.attempt: object | None = None  # the handler's own
        self.accepting = True
        self.is_connect = False  # asked for a tunnel by extended CONNECT (RFC 9220)
        self.more = False  # content of the request is buffered already
        self.status = 0
        self.responded = False
        self.idle = 0.0  # how long both may be silent once the answer has begun, by the handler's word
        self.bytes_in = 0
        self.bytes_out = 0
        self.secure = False  # came over TLS
        self.host = b""
        self.path = b""
        self.asked: ForwardedInfo | None = None  # what is believed of the client
        self.user = b""  # who authenticated
        self.route = ""
        self.upstream = ""
        self.endpoint = ""
        self.upstream_protocol = ""  # HTTP/1.1
        self.upstream_started = 0.0
        self.upstream_head = 0.0
        self.retries = 0
        self.reason = ""
        self.detail = ""
        self.cache = ""  # what became of it at the cache (HIT, MISS, ...), "" where there is none
        self.cache_reason = ""
        self.slice = -1  # which slice of its target it asks for, -1: all (proxy/slices)
        self.peer_key = b""  # of the cache, where another worker asks (proxy/peer_gate)
        self.cache_stored = ""  # why the answer was not stored

    def __repr__(self) -> str:
        return f"<Exchange {self.request!r} status={self.status}>"
