"""One request stream of HTTP/2 or HTTP/3 on the client's side, whatever carries it.

A `DownstreamLane` is what a handler answers to (`Downstream`), and it holds content that the handler does not take
yet: as much as the stream's window lets the client send, because only what the handler took opens the window again.
The other way, what the connection has no room for makes `flush` say False, as a full socket does.

Life of a lane: it waits for its head, has an exchange, and is over when all of the answer was
given to the connection, or when either side gave up; only then is the stream let go of, and with it the client's
right to open another: whoever resets requests makes no more work than whoever waits for them.

Timeouts are looked at in the sweep, and are those of HTTP/1.1; beside them stands a rate, because a stream may
trickle for ever an octet at a time.

What a lane wants of its connection is a `LaneDriver`: `connection/h2_downstream` or `connection/quic_downstream`.
"""

from __future__ import annotations

import time
from typing import Final, final

from mypy_extensions import trait

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange, Handler, TunnelOwner
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import GLUE, NEVER
from headgate.counters import (
    ABORTED_DOWNSTREAM,
    ABORTED_UPSTREAM,
    DOWNSTREAM_READ,
    DOWNSTREAM_WRITTEN,
    REFUSED_BODY,
    REFUSED_HEAD,
    REFUSED_MALFORMED,
    TIMEOUT_BODY,
    TIMEOUT_HEAD,
    TIMEOUT_WRITE,
    count_exchange,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request, Response
from headgate.engine.message.events import StreamFailed
from headgate.errors import RemoteProtocolError
from headgate.http.date import add_date
from headgate.http.fields import DATE, Fields
from headgate.http.status import reason_phrase
from headgate.net.poller import Poller

# Content that comes slower holds a stream, an exchange and an origin's connection for nothing (RFC 9000 section 21.6;
# nginx and HAProxy have no such rate, Apache's RequestReadTimeout asks for 500 octets a second).
LEAST_RATE: Final = 1024
RATE_SECONDS: Final = 10.0
# Clients of gRPC call with it, and may say little and seldom.
_GRPC: Final = b"application/grpc"


@final
class LaneCodes:
    """The codes that streams are reset with: an answer cut short, a tunnel that broke, a client given up."""

    __slots__ = ("cancelled", "connect", "internal", "version")

    def __init__(self, version: int, internal: int, connect: int, cancelled: int) -> None:
        self.version = version  # of requests
        self.internal = internal
        self.connect = connect
        self.cancelled = cancelled


@trait
class LaneDriver:
    """A client's connection, as its lanes know it."""

    poller: Poller
    handler: Handler
    observer: DownstreamObserver
    settings: ConnectionSettings
    values: list[int]
    context: ConnectionContext
    codes: LaneCodes

    def send(self, event: Event) -> None:
        """Queue something of an answer; of no effect once the connection is gone."""
        raise NotImplementedError

    def flush_soon(self) -> None:
        """What was queued goes out, at the end of the round at the latest."""
        raise NotImplementedError

    def is_unwritten(self, stream: int) -> bool:
        """Tell whether more waits for the client than should: `drained` is called when it does not any more."""
        raise NotImplementedError

    def waits_for_others(self, stream: int) -> bool:
        """Tell whether what is unwritten waits for its turn alone, on a connection that moves."""
        return False

    def consumed(self, stream: int, count: int) -> None:
        """Content was taken: the client may send as much again."""
        raise NotImplementedError

    def admit(self, stream: int, request: Request) -> None:
        """Look at a request before it is handled. Raises `RemoteProtocolError` to refuse it."""
        raise NotImplementedError

    def blame(self, stream: int) -> None:
        """The stream failed by the client's fault."""
        raise NotImplementedError

    def reset(self, stream: int, code: int) -> None:
        """Give the stream up in both directions."""
        raise NotImplementedError

    def lane_over(self, stream: int) -> None:
        """A lane has no work left: the stream may end."""
        raise NotImplementedError


@final
class DownstreamLane(Downstream):
    """One request stream, and the client's side of its exchange. `deadline` is a loop time."""

    def __init__(self, driver: LaneDriver, stream: int) -> None:
        self.driver = driver
        self.stream = stream
        self.exchange: Exchange | None = None
        self.tunnel: TunnelOwner | None = None
        self.deadline: float = driver.poller.now + driver.settings.head
        self.held_size = 0
        self._counter = TIMEOUT_HEAD
        self._held: list[bytes] = []  # content that the handler does not take yet
        self._end: EndOfMessage | None = None  # and the end behind it
        self._received = False  # the handler has all of the request
        self._finished = False  # all of the answer was given to the connection
        self._stalled = False
        self._delivering = False
        self._rate_at = 0.0
        self._rate_from = 0

    def __repr__(self) -> str:
        return f"<DownstreamLane {self.stream} {self.exchange!r}>"

    # -- the request

    def begin(self, request: Request, more: bool) -> None:
        """The head is there. `more`: content came with it."""
        driver = self.driver
        exchange = Exchange(self, driver.context, request, driver.poller.now)
        self.exchange = exchange
        if request.body == 0:
            self._received = True
            self.deadline = NEVER
        elif request.method == b"CONNECT" and request.upgrade:
            exchange.is_connect = True
            self.deadline = NEVER  # nothing has to come before the tunnel stands
        else:
            self._await_content()
            exchange.more = more
        limit = driver.settings.max_body
        try:
            if limit > 0 and request.body > limit:
                raise self._too_large(limit)
            driver.admit(self.stream, request)
            exchange.handler = driver.handler
            driver.handler.handle(exchange)
        except RemoteProtocolError as error:
            self.refuse(error)

    def _await_content(self) -> None:
        """Start the client's time for the next piece of its content; in a tunnel nobody owes any."""
        exchange = self.exchange
        if exchange is None or exchange.is_connect:
            return
        driver = self.driver
        idle = driver.settings.body_idle
        if exchange.responded and exchange.idle > idle:
            idle = exchange.idle  # a conversation: the origin may be silent for as long
        self.deadline = driver.poller.now + idle
        self._counter = TIMEOUT_BODY

    def _too_large(self, limit: int) -> RemoteProtocolError:
        self.driver.values[REFUSED_BODY] += 1
        return RemoteProtocolError(413, "body-too-large", f"more than {limit} octets of content")

    def content(self, data: bytes) -> None:
        """Content has come: the handler takes it, or it waits here."""
        exchange = self.exchange
        size = len(data)
        if exchange is None:
            self.driver.consumed(self.stream, size)
            return
        exchange.bytes_in += size
        if not self._stalled:
            self._await_content()
        limit = self.driver.settings.max_body
        if limit > 0 and exchange.bytes_in > limit and self.tunnel is None:
            self.driver.consumed(self.stream, size)
            self.refuse(self._too_large(limit))
            return
        held = self._held
        if held and len(held[-1]) + size <= GLUE:
            held[-1] += data
        else:
            held.append(data)
        self.held_size += size
        self._deliver()

    def content_end(self, event: EndOfMessage) -> None:
        """The request is complete."""
        self._end = event
        self._deliver()

    def _deliver(self) -> None:
        """Hand over what waits, as long as the handler takes it."""
        if self._delivering:
            return
        self._delivering = True
        try:
            self._deliver_all()
        except RemoteProtocolError as error:
            self.refuse(error)
        finally:
            self._delivering = False

    def _deliver_all(self) -> None:
        while True:
            exchange = self.exchange
            if exchange is None or (not exchange.accepting and exchange.handler is not None):
                if not self._stalled and self.tunnel is None:
                    self.deadline = NEVER  # a client that may not send is not late
                return
            handler = exchange.handler
            if self._held:
                held = self._held
                data = held[0] if len(held) == 1 else b"".join(held)
                self._held = []
                self.held_size = 0
                self.driver.consumed(self.stream, len(data))
                if handler is not None:
                    handler.request_data(exchange, data)
                continue
            end = self._end
            if end is None:
                return
            self._end = None
            self._received = True
            if not self._stalled and self.tunnel is None:
                self.deadline = NEVER
            if handler is not None:
                handler.request_end(exchange, end.trailers)

    # -- the answer (called by the handler)

    def respond(self, response: Response) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        status = response.status
        if status >= 200 and response.fields.flags & DATE == 0:
            add_date(response.fields, time.time())  # RFC 9110 section 6.6.1
        response.stream = self.stream
        self.driver.send(response)
        if status >= 200:
            exchange.status = status
            exchange.responded = True
            self._finished = response.body == 0 and not (status < 300 and exchange.is_connect)
            self._renew()

    def write(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.bytes_out += len(data)
            self.driver.values[DOWNSTREAM_WRITTEN] += len(data)
            self.driver.send(Data(data, self.stream))
            self._renew()

    def _renew(self) -> None:
        """What one side of a conversation says is time for the other."""
        if self.deadline != NEVER and not self._stalled and self.tunnel is None:
            self._await_content()

    def finish(self, trailers: Fields | None) -> None:
        if self.exchange is not None and not self._finished:
            self._finished = True
            self.driver.send(EndOfMessage(trailers, self.stream))

    def flush(self) -> bool:
        driver = self.driver
        if self.exchange is None:
            return True
        driver.flush_soon()
        if driver.is_unwritten(self.stream):
            if not self._stalled:
                self._stalled = True
                self._counter = TIMEOUT_WRITE
                self.deadline = driver.poller.now + driver.settings.write_idle
            return False
        if self._finished and (self.tunnel is None or self._received):
            self._over()
        return True

    def enter_tunnel(self, tunnel: TunnelOwner) -> None:
        """What follows in both directions is the tunnel's."""
        self.tunnel = tunnel

    def wait_until(self, when: float) -> None:
        """In a tunnel: how long nothing may move. A client that takes nothing has less time."""
        if not self._stalled:
            self.deadline = when

    def abort(self, reason: str) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        exchange.handler = None
        exchange.reason = exchange.reason or reason
        self.driver.values[ABORTED_UPSTREAM] += 1
        codes = self.driver.codes
        self._reset(codes.internal if self.tunnel is None else codes.connect)

    def resume(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if not self._received and not self._stalled:
            self._await_content()
            self._rate_at = 0.0
        self._deliver()
        # Credit that was given back goes out now: the client may be waiting for nothing else.
        self.driver.flush_soon()

    def drained(self) -> None:
        """There is room again for what is written."""
        exchange = self.exchange
        if exchange is None or not self._stalled:
            return
        self._stalled = False
        self.deadline = NEVER
        if self._finished and (self.tunnel is None or self._received):
            self._over()
            return
        if not self._received and exchange.accepting:
            self._await_content()
        if exchange.handler is not None:
            exchange.handler.downstream_drained(exchange)

    # -- ends

    def refuse(self, error: RemoteProtocolError) -> None:
        """Answer a request that goes no further, in words; an answer that has begun is cut short instead."""
        exchange = self.exchange
        driver = self.driver
        if exchange is None:
            # Nothing of a head that could not be read is believed.
            exchange = Exchange(
                self,
                driver.context,
                Request(b"-", b"-", driver.codes.version, Fields([], [])),
                driver.poller.now,
            )
            self.exchange = exchange
        values = driver.values
        if error.code in (414, 431):
            values[REFUSED_HEAD] += 1
        elif error.code not in (408, 413, 425):
            values[REFUSED_MALFORMED] += 1
        handler = exchange.handler
        exchange.handler = None
        exchange.accepting = True
        if handler is not None:
            handler.downstream_closed(exchange)
        exchange.reason = error.reason
        driver.observer.connection_failed(driver.context, error.reason, error.detail)
        if exchange.responded:
            self._reset(self.driver.codes.cancelled)
            return
        text = b"%b: %b\n" % (error.reason.encode(), error.detail.encode())
        fields = Fields([], [])
        fields.add(b"content-type", b"text/plain; charset=utf-8")
        fields.add(b"content-length", b"%d" % len(text))
        if exchange.request.method == b"HEAD":
            text = b""
        self.respond(Response(error.code, reason_phrase(error.code), 11, fields, len(text)))
        if text:
            self.write(text)
            self.finish(None)
        self.flush()

    def fail(self, event: StreamFailed) -> None:
        """The stream broke in both directions: by the client's reset, or because the request is malformed."""
        driver = self.driver
        if not event.by_peer:
            driver.values[REFUSED_MALFORMED] += 1
            driver.observer.connection_failed(driver.context, event.reason, event.detail)
            driver.blame(self.stream)
        exchange = self.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or event.reason
            self._give_up(exchange)
        self._over()

    def connection_over(self, reason: str) -> None:
        """The connection is gone."""
        exchange = self.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
            self._give_up(exchange)
        self._over()

    def _give_up(self, exchange: Exchange) -> None:
        handler = exchange.handler
        exchange.handler = None
        if handler is not None:
            self.driver.values[ABORTED_DOWNSTREAM] += 1
            handler.downstream_closed(exchange)

    def _reset(self, code: int) -> None:
        self.driver.reset(self.stream, code)
        self._over()

    def _over(self) -> None:
        """Count and log; the stream is let go of."""
        driver = self.driver
        exchange = self.exchange
        self.exchange = None
        self.deadline = NEVER
        self._held = []
        self.held_size = 0
        if exchange is not None:
            handler = exchange.handler
            exchange.handler = None
            if handler is not None and not exchange.responded:
                handler.downstream_closed(exchange)
            driver.values[DOWNSTREAM_READ] += exchange.bytes_in
            count_exchange(driver.values, exchange.status, driver.poller.now - exchange.started)
            driver.observer.exchange_over(exchange, driver.poller.now)
        driver.lane_over(self.stream)

    # -- time

    def on_deadline(self, now: float) -> None:
        """A timeout: 408 where that helps (RFC 9110 section 15.5.9), else the stream is given up."""
        counter = self._counter
        self.deadline = NEVER
        exchange = self.exchange
        tunnel = self.tunnel
        if tunnel is not None and not self._stalled:
            tunnel.close("idle-timeout")
            return
        self.driver.values[counter] += 1
        if exchange is None:
            self.refuse(RemoteProtocolError(408, "head-timeout", "the head did not come in time"))
        elif tunnel is not None:
            tunnel.close("write-timeout")
        elif counter == TIMEOUT_BODY and not exchange.responded:
            self.refuse(RemoteProtocolError(408, "body-timeout", "the content did not come in time"))
        else:
            exchange.reason = "write-timeout" if counter == TIMEOUT_WRITE else "body-timeout"
            self._give_up(exchange)
            self._reset(self.driver.codes.cancelled)

    def check_rate(self, now: float) -> None:
        """Hold the client to a rate while nothing but its content is waited for.

        Once the answer has begun it is a conversation, and calls of gRPC are meant to be one from the start. What the
        client is sent has a time of its own, which begins when nothing but its window is waited for.
        """
        exchange = self.exchange
        if self._stalled and self.driver.waits_for_others(self.stream):
            self.deadline = now + self.driver.settings.write_idle
        if (
            exchange is None
            or self._counter != TIMEOUT_BODY
            or self.deadline == NEVER
            or self.tunnel is not None
            or exchange.responded
        ):
            self._rate_at = 0.0
        elif self._rate_at == 0.0:
            self._rate_at = now
            self._rate_from = exchange.bytes_in
        elif now - self._rate_at >= RATE_SECONDS:
            slow = exchange.bytes_in - self._rate_from < LEAST_RATE * RATE_SECONDS
            if slow and not (exchange.request.fields.get(b"content-type") or b"").startswith(_GRPC):
                self.on_deadline(now)
                return
            self._rate_at = now
            self._rate_from = exchange.bytes_in
