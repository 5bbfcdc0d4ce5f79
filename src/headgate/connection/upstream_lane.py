"""One request on a connection to an origin that many share: a stream of HTTP/2 or HTTP/3.

A `Lane` is what the reverse proxy knows of all this (`UpstreamStream`). It is taken from its driver, gets its stream
with its request, and is over when the exchange is: then the stream is let go of, and given up in the directions that
are not complete.

Backpressure. Content that a lane delivered opens the stream's window when its receiver has taken it; while that one
is paused, what still comes waits in the lane, at most a window of it. The other way, what the connection has no room
for makes `flush` say False, and `upstream_drained` follows.

What a lane wants of its connection is an `UpstreamLaneDriver`: `connection/h2_upstream` or
`connection/quic_upstream`.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import trait

from headgate.connection.exchange import Exchange
from headgate.connection.stream_driver import GLUE, NEVER
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamOwner, UpstreamStream
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage, Event, Request, Response
from headgate.http.fields import Fields


@trait
class UpstreamLaneDriver:
    """A connection to an origin, as its lanes know it. `protocol` is its name for the log."""

    address: str
    protocol: str

    def ask(self, lane: Lane, request: Request) -> None:
        """Send the request of a lane, which gets its stream; that it cannot be sent is told later."""
        raise NotImplementedError

    def send(self, event: Event) -> None:
        """Queue something of a request; of no effect once the connection is gone."""
        raise NotImplementedError

    def flush_soon(self) -> None:
        """What was queued goes out, at the end of the round at the latest."""
        raise NotImplementedError

    def is_unwritten(self, stream: int) -> bool:
        """Tell whether more waits for the origin than should."""
        raise NotImplementedError

    def consumed(self, stream: int, count: int) -> None:
        """Content was taken: the origin may send as much again."""
        raise NotImplementedError

    def drop(self, lane: Lane) -> None:
        """A lane is over, whichever way."""
        raise NotImplementedError


@final
class Lane(UpstreamStream):
    """One request on a connection that many share."""

    def __init__(self, driver: UpstreamLaneDriver, owner: UpstreamOwner) -> None:
        self.driver = driver
        self.owner: UpstreamOwner = owner
        self.address: str = driver.address
        self.receiver: ResponseReceiver | None = None
        self.exchange: object | None = None
        self.touched = True  # what was not, the origin says itself
        self.answered = False
        self.closed = False
        self.is_whole = False  # a head without content has come: at most the end of the stream is missing
        self.stream = -1  # none before there is a request
        self.asked_at = 0.0
        self.is_unheard = (
            True  # the connection lay idle, and nothing has come on it since the request was sent
        )
        self.is_paused = False
        self.is_stalled = False
        self.taken = 0  # octets of content that were delivered and open no window yet
        self.waiting = 0  # octets of content among `_held`
        self._held: list[Event] = []  # what came while nobody wanted it
        self._until: float = NEVER

    def __repr__(self) -> str:
        return f"<Lane {self.stream} of {self.driver!r}>"

    # -- the request

    def send_request(self, request: Request, receiver: ResponseReceiver, exchange: object) -> None:
        self.receiver = receiver
        self.exchange = exchange
        if isinstance(exchange, Exchange):
            exchange.upstream_protocol = self.driver.protocol
        # Another object: the number of the stream is another one for whoever the request came from.
        asked = Request(request.method, request.target, 11, request.fields, request.body)
        asked.host = request.host
        if may_connect(request):
            ask_to_connect(asked, request.upgrade)
        elif request.upgrade:
            # Whoever is asked may ignore it (RFC 9110 section 7.8); nobody is to take the answer for a tunnel.
            request.upgrade = b""
            asked.fields.remove(b"upgrade")
        self.driver.ask(self, asked)

    def send(self, data: bytes) -> bool:
        if self.stream >= 0 and not self.closed:
            self.driver.send(Data(data, self.stream))
        return not self.driver.is_unwritten(self.stream)

    def send_end(self, trailers: Fields | None) -> None:
        if self.stream >= 0 and not self.closed:
            self.driver.send(EndOfMessage(trailers, self.stream))

    def flush(self) -> bool:
        driver = self.driver
        driver.flush_soon()
        self.is_stalled = driver.is_unwritten(self.stream)
        return not self.is_stalled

    # -- the answer

    def take(self, event: Event) -> None:
        """Something of the answer has come."""
        self.answered = True
        if self.is_paused:
            self._hold(event)
        else:
            self._deliver(event)

    def _hold(self, event: Event) -> None:
        held = self._held
        if isinstance(event, Data):
            size = len(event.data)
            self.waiting += size
            last = held[-1] if held else None
            if isinstance(last, Data) and len(last.data) + size <= GLUE:
                last.data += event.data
                return
        held.append(event)

    def _deliver(self, event: Event) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        if isinstance(event, Data):
            self.taken += len(event.data)
            receiver.upstream_data(self, event.data)
        elif isinstance(event, Response):
            receiver.upstream_response(self, event)
            if event.body == 0 and event.status >= 200 and self.receiver is receiver:
                self.is_whole = True
                receiver.upstream_end(self, None)
        elif isinstance(event, EndOfMessage):
            receiver.upstream_end(self, event.trailers)

    def turn(self) -> None:
        """All that came was delivered."""
        receiver = self.receiver
        if receiver is None:
            return
        receiver.upstream_turn(self)
        self._consume()

    def _consume(self) -> None:
        if not self.is_paused and self.taken > 0 and not self.closed:
            taken = self.taken
            self.taken = 0
            self.driver.consumed(self.stream, taken)

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._consume()
        held = self._held
        self._held = []
        self.waiting = 0
        for event in held:
            self.take(event)
        if held and not self.closed:
            self.turn()
        self.driver.flush_soon()

    def held(self) -> int:
        return self.waiting

    def drained(self) -> None:
        """The connection has room again for what `flush` said False to."""
        self.is_stalled = False
        receiver = self.receiver
        if receiver is not None:
            try:
                receiver.upstream_drained(self)
            except Exception as error:
                self.on_crash(error)

    # -- time

    def wait_until(self, when: float) -> None:
        self._until = when

    def is_due(self, now: float) -> bool:
        return now >= self._until

    def on_deadline(self, now: float) -> None:
        self._until = NEVER
        if self.receiver is not None:
            self.receiver.upstream_timeout(self)

    # -- ends

    def release(self) -> bool:
        self.close()
        return False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.receiver = None
            self._until = NEVER
            self._held = []
            self.waiting = 0
            self.driver.drop(self)
            self.owner.upstream_gone(self)

    def fail(self, reason: str, detail: str) -> None:
        """The answer will not be completed. Never raises: whoever calls it has others to tell as well."""
        receiver = self.receiver
        self.close()
        if receiver is not None:
            try:
                receiver.upstream_failed(self, reason, detail)
            except Exception as error:
                self.owner.crashed("upstream", error)

    def on_crash(self, error: Exception) -> None:
        self.owner.crashed("upstream", error)
        self.fail("internal", str(error))


def may_connect(request: Request) -> bool:
    """Tell whether an Upgrade is what extended CONNECT can say: WebSocket, which begins with a GET (RFC 6455 4.1)."""
    return request.upgrade.lower() == b"websocket" and request.method == b"GET" and request.body == NO_BODY


def ask_to_connect(request: Request, protocol: bytes) -> None:
    """Make an Upgrade of HTTP/1.1 an extended CONNECT (RFC 8441 section 5); its fields are copied first."""
    fields = request.fields
    request.fields = Fields(list(fields.names), list(fields.lines), fields.flags)
    # Section 5.1: what these prove between two hops of HTTP/1.1, the stream proves by being there.
    request.fields.remove(b"sec-websocket-key")
    request.method = b"CONNECT"
    request.upgrade = protocol
    request.body = UNKNOWN_LENGTH
