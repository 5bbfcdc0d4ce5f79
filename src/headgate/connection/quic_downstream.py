"""The driver of a client's QUIC connection: an exchange for each request stream of HTTP/3 (RFC 9114).

A `DownstreamLane` is one request stream. It is what a handler answers to (`Downstream`), and it holds content that
the handler does not take yet: as much as the stream's window lets the client send, because only what the handler took
opens the window again. The other way, what QUIC has no room for makes `flush` say False, as a full socket does.

Life of a lane: it waits for its head (`on_head_timeout`), has an exchange, and is over when all of the answer was
given to QUIC, or when either side gave up; only then is the stream released, and with it the client's right to open
another (RFC 9000 section 4.6): whoever resets requests makes no more work than whoever waits for them.

Timeouts are looked at in the owner's sweep, and are those of HTTP/1.1; beside them stands a rate, because a stream
may trickle for ever an octet at a time. A stream of which nothing can be read, because its first octets are missing,
has the time of a head, whatever it was meant to be.
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange, Handler, TunnelOwner
from headgate.connection.observer import DownstreamObserver
from headgate.connection.quic_driver import GLUE, NEVER, DriverOwner, QuicDriver
from headgate.connection.settings import ConnectionSettings
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
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
    count_exchange,
)
from headgate.engine.events import Data, EndOfMessage, Event, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import (
    H3_CONNECT_ERROR,
    H3_EXCESSIVE_LOAD,
    H3_INTERNAL_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_STREAM_CREATION_ERROR,
)
from headgate.engine.h3.settings import H3Settings
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.stream import SERVER_BIT, UNI_BIT
from headgate.engine.tls13.server import ServerHandshake
from headgate.errors import RemoteProtocolError
from headgate.http.date import add_date
from headgate.http.fields import DATE, Fields
from headgate.http.status import reason_phrase
from headgate.net.poller import Poller

# Content that comes slower holds a stream, an exchange and an origin's connection for nothing (RFC 9000 section 21.6;
# nginx and HAProxy have no such rate, Apache's RequestReadTimeout asks for 500 octets a second).
LEAST_RATE: Final = 1024
RATE_SECONDS: Final = 10.0
# How long a drain waits for a silent client: it may be asleep or gone, and whoever stops the gate waits for it. Less
# where nothing but GOAWAY is to be acknowledged than where the end of an answer may be lost on a bad path.
GOODBYE_SECONDS: Final = 1.0
LAST_ANSWER_SECONDS: Final = 5.0
# RFC 9110 section 9.2.1: to ask twice changes nothing.
_SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))


def _mark_early(request: Request) -> None:
    """Tell the origin that a request may be a replay (RFC 8470 section 5.1), and refuse those that change something.

    Raises `RemoteProtocolError` 425: the client asks again when its handshake is over.
    """
    if request.method not in _SAFE:
        raise RemoteProtocolError(425, "too-early", "ask again when the handshake is over")
    if request.fields.get(b"early-data") is None:
        request.fields.add(b"early-data", b"1", b"Early-Data")


class DownstreamOwner(DriverOwner):
    """The endpoint of a client's connection."""

    def completed(self, driver: QuicDownstream) -> None:
        """The handshake is complete."""
        raise NotImplementedError


@final
class DownstreamLane(Downstream):
    """One request stream, and the client's side of its exchange. `deadline` is a loop time."""

    def __init__(self, driver: QuicDownstream, stream: int) -> None:
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
        self._finished = False  # all of the answer was given to HTTP/3
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
            if not driver.quic.is_complete and driver.quic.is_early(self.stream):
                _mark_early(request)
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
        self.deadline = driver.poller.now + driver.settings.body_idle
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
        h3 = self.driver.h3
        if exchange is None or h3 is None:
            return
        status = response.status
        if status >= 200 and response.fields.flags & DATE == 0:
            add_date(response.fields, time.time())  # RFC 9110 section 6.6.1
        response.stream = self.stream
        h3.send(response)
        if status >= 200:
            exchange.status = status
            exchange.responded = True
            self._finished = response.body == 0 and not (status < 300 and exchange.is_connect)

    def write(self, data: bytes) -> None:
        exchange = self.exchange
        h3 = self.driver.h3
        if exchange is not None and h3 is not None:
            exchange.bytes_out += len(data)
            self.driver.values[DOWNSTREAM_WRITTEN] += len(data)
            h3.send(Data(data, self.stream))

    def finish(self, trailers: Fields | None) -> None:
        h3 = self.driver.h3
        if self.exchange is not None and h3 is not None and not self._finished:
            self._finished = True
            h3.send(EndOfMessage(trailers, self.stream))

    def flush(self) -> bool:
        driver = self.driver
        if self.exchange is None:
            return True
        driver.carry()
        driver.owner.touched(driver)
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
        self._reset(H3_INTERNAL_ERROR if self.tunnel is None else H3_CONNECT_ERROR)

    def resume(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if not self._received and not self._stalled:
            self._await_content()
            self._rate_at = 0.0
        self._deliver()
        # Credit that was given back goes out now: the client may be waiting for nothing else.
        self.driver.owner.touched(self.driver)

    def drained(self) -> None:
        """QUIC has room again, and all that waited is written."""
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
                self, driver.context, Request(b"-", b"-", 30, Fields([], [])), driver.poller.now
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
            self._reset(H3_REQUEST_CANCELLED)
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
            driver.quic.streams.blame(self.stream, driver.poller.now)
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
        h3 = self.driver.h3
        if h3 is not None:
            h3.abort(self.stream, code)
            self.driver.carry()
            self.driver.owner.touched(self.driver)
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
            self._reset(H3_REQUEST_CANCELLED)

    def check_rate(self, now: float) -> None:
        """Hold the client to a rate while nothing but its content is waited for."""
        exchange = self.exchange
        if (
            exchange is None
            or self._counter != TIMEOUT_BODY
            or self.deadline == NEVER
            or self.tunnel is not None
        ):
            self._rate_at = 0.0
        elif self._rate_at == 0.0:
            self._rate_at = now
            self._rate_from = exchange.bytes_in
        elif now - self._rate_at >= RATE_SECONDS:
            if exchange.bytes_in - self._rate_from < LEAST_RATE * RATE_SECONDS:
                self.on_deadline(now)
                return
            self._rate_at = now
            self._rate_from = exchange.bytes_in


@final
class QuicDownstream(QuicDriver):
    """One client's connection; made by the endpoint, alive until `on_end`.

    `network` is the key of the per-client limits, `destination` what the client chose as our first ID.
    """

    def __init__(
        self,
        quic: QuicConnection,
        owner: DownstreamOwner,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        values: list[int],
        context: ConnectionContext,
        poller: Poller,
        h3_settings: H3Settings,
    ) -> None:
        super().__init__(quic, owner, poller, h3_settings)
        self.handler = handler
        self.observer = observer
        self.settings = settings
        self.values = values
        self.context = context
        self.endpoint = owner
        self.lanes: dict[int, DownstreamLane] = {}
        # Streams that cannot be read, because octets at their front did not come, and until when these may come.
        self._unread: dict[int, float] = {}
        # The owner's own: the IDs that lead here, whether the client proved its address before it began, and
        # whether its handshake is over.
        self.ids: list[bytes] = []
        self.is_validated = False
        self.is_settled = False
        self.requests = 0
        self.draining = False
        self.idle_since = poller.now
        self._moved = 0
        self._moved_at = poller.now

    def __repr__(self) -> str:
        return f"<QuicDownstream {self.context.peer} {self.quic!r} {len(self.lanes)} open>"

    # -- from the engines

    def on_http(self) -> None:
        tls = self.quic.tls
        context = self.context
        if isinstance(tls, ServerHandshake):
            context.sni = tls.server_name.lower()
        context.tls_version = "TLSv1.3"

    def on_complete(self) -> None:
        self.endpoint.completed(self)
        self.idle_since = self.poller.now
        if self.draining:
            self.drain()

    def on_event(self, event: Event) -> None:
        if isinstance(event, Request):
            self.requests += 1
            h3 = self.h3
            lane = self._lane(event.stream)
            lane.begin(event, h3 is not None and h3.has_event_of(event.stream))
        elif isinstance(event, Data):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:  # else it was answered before its content was looked at
                open_lane.content(event.data)
        elif isinstance(event, EndOfMessage):
            open_lane = self.lanes.get(event.stream)
            if open_lane is not None:
                open_lane.content_end(event)
        elif isinstance(event, StreamFailed):
            self._lane(event.stream).fail(event)
        elif isinstance(event, RequestRefused):
            self._lane(event.stream).refuse(RemoteProtocolError(event.status, event.reason, event.detail))

    def _lane(self, stream: int) -> DownstreamLane:
        lane = self.lanes.get(stream)
        if lane is None:
            lane = self.lanes[stream] = DownstreamLane(self, stream)
            if self._unread:
                lane.deadline = self._unread.pop(stream, lane.deadline)
        return lane

    def on_writable(self, stream: int) -> None:
        lane = self.lanes.get(stream)
        if lane is not None:
            lane.drained()

    def lane_over(self, stream: int) -> None:
        """A lane has no work left: the stream may end."""
        if self.lanes.pop(stream, None) is not None:
            if not self.lanes:
                self.idle_since = self.poller.now
            if not self.closed:
                self.release(stream)

    # -- time, looked at in the sweep

    def sweep(self, now: float) -> None:
        """Look at all that may take too long."""
        h3 = self.h3
        if h3 is None:
            return  # the handshake's time is the endpoint's business
        streams = self.quic.streams
        if len(streams.table) > len(self.lanes) + h3.critical or streams.waiting.gaps > 0:
            self._sweep_unread(h3, now)
            if self.closed:
                return
        elif self._unread:
            self._unread = {}
        for lane in list(self.lanes.values()):
            if now >= lane.deadline:
                lane.on_deadline(now)
            else:
                lane.check_rate(now)
            if self.closed:
                return
        if self._is_stuck(now):
            self.values[TIMEOUT_WRITE] += 1
            self.observer.connection_failed(self.context, "write-timeout", "the client opens no window")
            self.close(H3_NO_ERROR, "nothing was taken for too long")
        elif not self.lanes:
            self._sweep_idle(now)

    def _sweep_unread(self, h3: H3Connection, now: float) -> None:
        """Look at streams without a lane: their time begins at the latest now.

        Octets that wait behind a gap are held like any others, and only QUIC knows of a stream whose first one is
        missing. What is lost comes again within a few round trips; what does not, nobody means to send.
        """
        unread: dict[int, float] = {}
        for number, stream in list(self.quic.streams.table.items()):
            receive = stream.receive
            if number & SERVER_BIT or stream.is_released or receive is None or number in self.lanes:
                continue
            if h3.has_begun(number):
                if number & UNI_BIT == 0:
                    self._lane(number)  # its head is not complete
                    continue
                if receive.gaps == 0:
                    continue
            elif receive.position > 0 and number & UNI_BIT == 0:
                self.release(number)  # behind GOAWAY: HTTP/3 has rejected it, and nobody works for it
                continue
            deadline = self._unread.get(number, now + self.settings.head)
            if now < deadline:
                unread[number] = deadline
            elif not self._give_up(h3, number):
                return
        self._unread = unread

    def _give_up(self, h3: H3Connection, number: int) -> bool:
        """Give up a stream that cannot be read; False where the connection ends with it."""
        streams = self.quic.streams
        detail = f"octets at the front of stream {number} did not come in time"
        self.values[TIMEOUT_HEAD] += 1
        self.observer.connection_failed(self.context, "head-timeout", detail)
        if h3.has_begun(number):
            self.close(H3_EXCESSIVE_LOAD, detail)
            return False
        if number & UNI_BIT:
            streams.stop(number, H3_STREAM_CREATION_ERROR)
        else:
            streams.reset(number, H3_REQUEST_CANCELLED)
            streams.stop(number, H3_REQUEST_CANCELLED)
        self.release(number)
        self.owner.touched(self)
        return True

    def _sweep_idle(self, now: float) -> None:
        h3 = self.h3
        if h3 is not None and h3.is_going_away:
            # What the client sent before it heard of it has had one sweep to arrive.
            if now > self.idle_since and self._is_farewell_over(now):
                self.close(H3_NO_ERROR, "")
        elif now - self.idle_since >= self.settings.keep_alive:
            self.values[TIMEOUT_KEEP_ALIVE] += 1
            self.close(H3_NO_ERROR, "")

    def _is_farewell_over(self, now: float) -> bool:
        """Tell whether the client has all, or has acknowledged nothing for too long."""
        streams = self.quic.streams
        if streams.sender.held == 0:
            return True
        patience = GOODBYE_SECONDS
        for stream in streams.table:
            if not stream & UNI_BIT:
                patience = LAST_ANSWER_SECONDS
        return now - self._moved_at >= patience

    def _is_stuck(self, now: float) -> bool:
        """Tell whether output has waited for the client's windows too long: it answers, and takes nothing."""
        sender = self.quic.streams.sender
        moved = sender.credit.used - sender.held
        if sender.held == 0 or moved != self._moved:
            self._moved = moved
            self._moved_at = now
            return False
        return now - self._moved_at >= self.settings.write_idle

    def held_heads(self) -> int:
        """Return how many octets of heads wait here for their rest."""
        h3 = self.h3
        total = 0
        if h3 is not None:
            for lane in self.lanes.values():
                stream = h3.streams.get(lane.stream)
                if lane.exchange is None and stream is not None:
                    total += stream.reader.buffered + stream.held
        return total

    def held_received(self) -> int:
        """Return how many octets of the client wait here: behind gaps, and for handlers and origins."""
        total = self.quic.streams.waiting.charge
        for lane in self.lanes.values():
            total += lane.held_size
            if lane.tunnel is not None:
                total += lane.tunnel.held()
        return total

    def held_sent(self) -> int:
        """Return how many octets wait for the client: to be sent, or to be acknowledged."""
        return self.quic.streams.sender.held + self.unwritten()

    # -- ends

    def drain(self) -> None:
        """Take no more requests; the connection ends when those under way are answered."""
        self.draining = True
        h3 = self.h3
        if h3 is not None and not self.closed:
            h3.go_away()
            self.carry()
            self.owner.touched(self)

    def on_end(self) -> None:
        end = self.quic.end
        reason = "closed"
        if end is not None and end.reason:
            reason = "closed-by-peer" if not end.is_ours else "connection-closed"
        for lane in list(self.lanes.values()):
            try:
                lane.connection_over(reason)
            except Exception as error:
                # A defect met on behalf of one exchange must not keep the others from ending.
                self.observer.crashed("downstream", error)
        self.lanes = {}
