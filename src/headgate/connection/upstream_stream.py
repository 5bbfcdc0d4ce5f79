"""The origin's side of one exchange, whatever carries it: an HTTP/1.1 connection, or a stream of one that many share.

Who asks (`ResponseReceiver`) knows an `UpstreamStream` only; what it belongs to, and how that is shared, is between
the driver and its `UpstreamOwner`. Calls go down, pieces of the answer come up, and neither waits for the other:

    send_request -> send ... send_end, `flush` once at the end of each turn       ResponseReceiver <- upstream_...
    pause_reading / resume           the receiver's client takes no more / takes more
    release                          the exchange is over in good order
    close                            it is not: give it up
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr, trait

from headgate.engine.events import Request, Response
from headgate.http.fields import Fields


@trait
class UpstreamStream:
    """Carries one request at a time to an origin, and its answer back.

    `touched`: something of the request may have gone out. `answered`: something of the answer has come. `address`
    names the endpoint.
    """

    owner: UpstreamOwner
    address: str
    receiver: ResponseReceiver | None
    exchange: object | None
    touched: bool
    answered: bool
    closed: bool

    def send_request(self, request: Request, receiver: ResponseReceiver, exchange: object) -> None:
        """Send a head; content follows by `send`. Failures arrive at the receiver, never here."""
        raise NotImplementedError

    def send(self, data: bytes) -> bool:
        """Queue content. False: enough for now, `upstream_drained` says when to go on."""
        raise NotImplementedError

    def send_end(self, trailers: Fields | None) -> None:
        """Queue the end of the content."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Write what is queued; tell whether the origin took all of it."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Deliver no more of the answer for now."""
        raise NotImplementedError

    def resume(self) -> None:
        """Deliver the answer again, beginning with what has come meanwhile."""
        raise NotImplementedError

    def wait_until(self, when: float) -> None:
        """Call `upstream_timeout` at this loop time (`NEVER`: not at all); each call replaces the one before."""
        raise NotImplementedError

    def is_due(self, now: float) -> bool:
        """Tell whether that time has come: then the sweep calls `on_deadline`."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> None:
        """The time has come."""
        raise NotImplementedError

    def on_crash(self, error: Exception) -> None:
        """A defect of ours, met on behalf of this one: end it, tell, and leave everybody else alone."""
        raise NotImplementedError

    def held(self) -> int:
        """Return how many bytes wait here, for the origin or for the receiver."""
        raise NotImplementedError

    def release(self) -> bool:
        """Let go of the exchange; tell whether this can carry another one (else it is closed)."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up at once. The receiver is not told: it is the one who closes, or was told before."""
        raise NotImplementedError


@trait
class ResponseReceiver:
    """Who asked: gets the response of one request, piece by piece."""

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        """A head, interim or final."""
        raise NotImplementedError

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        """Content."""
        raise NotImplementedError

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        """The content is complete (also comes after a head without content)."""
        raise NotImplementedError

    def upstream_turn(self, connection: UpstreamStream) -> None:
        """All that one read brought was delivered: flush."""
        raise NotImplementedError

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        """The response will not be completed; the stream is closed."""
        raise NotImplementedError

    def upstream_drained(self, connection: UpstreamStream) -> None:
        """The origin takes bytes again after a `send` that said False."""
        raise NotImplementedError

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        """The time that the receiver set has come."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class UpstreamOwner:
    """The pool: hears of what ends, and of defects."""

    def upstream_gone(self, connection: UpstreamStream) -> None:
        """It is closed and must not be used again."""
        raise NotImplementedError

    def crashed(self, where: str, error: Exception) -> None:
        """A defect of ours ended something: tell it loudly."""
        raise NotImplementedError
