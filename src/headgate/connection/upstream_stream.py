"""The origin's side of one exchange, whatever carries it: an HTTP/1.1 connection, or a stream of one that many share.

Who asks (`ResponseReceiver`) knows an `UpstreamStream` only; what it belongs to, and how that is shared, is between
the driver and its `UpstreamOwner`. Calls go down, pieces of the answer come up, and neither waits for the other:

    send_request -> send ... send_end, `flush` once at the end of each turn       ResponseReceiver <- upstream_...
    pause_reading / resume           the receiver's client takes no more / takes more
    release                          the exchange is over in good order
    close                            it is not: give it up

A connection that many share (`SharedConnection`) hands out such streams by `reserve`, while it has `room`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr, trait

from headgate.engine.events import Request, Response
from headgate.http.fields import Fields

# Why an exchange that failed may be sent again: the origin did not look at it (RFC 9113 section 8.7, RFC 9114
# section 4.1.1).
REFUSED: Final = "refused"
# How a connection ended on which nothing came for its idle time.
SILENT: Final = "silent"


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


@trait
class SharedConnection:
    """A connection to an origin that carries many requests at a time, each on an `UpstreamStream` of its own.

    `reserved` counts those that were handed out and have no request yet, `idle_since` is when the last request ended,
    `lanes_at_end` how many there were when the connection ended. `is_leaving`: it takes no more requests.
    """

    reserved: int
    idle_since: float
    lanes_at_end: int
    is_leaving: bool
    closed: bool

    def room_left(self) -> int:
        """Return how many requests more may be sent now."""
        raise NotImplementedError

    def reserve(self, owner: SharedOwner) -> UpstreamStream:
        """Return a stream for one request of `owner`; only while there is room."""
        raise NotImplementedError

    def carried(self) -> list[UpstreamStream]:
        """Return all streams with a request, for the sweep."""
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Tell whether nobody uses it, nor is about to."""
        raise NotImplementedError

    def leave(self) -> None:
        """Send no more requests here; the last one ends the connection."""
        raise NotImplementedError

    def end_idle(self) -> None:
        """Close it, which nobody uses, in good order."""
        raise NotImplementedError

    def sweep(self) -> int:
        """Count what is counted now and then; return the bytes held for the origin."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class SharedOwner(UpstreamOwner):
    """The pool of such connections."""

    def connection_ready(self, driver: SharedConnection) -> None:
        """The handshake is over: requests may be sent."""
        raise NotImplementedError

    def connection_ended(self, driver: SharedConnection, reason: str, detail: str) -> None:
        """It is over, or never began; `reason` "" is a proper end."""
        raise NotImplementedError

    def room_changed(self, driver: SharedConnection) -> None:
        """Something came: there may be room for another request."""
        raise NotImplementedError
