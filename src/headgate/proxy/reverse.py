"""The reverse proxy: one exchange, the endpoints of an upstream, and everything that can go wrong between them.

Life of a try: pick → take an idle connection or dial → send head → relay content both ways → give the connection
back. The object serves all exchanges of its upstream; what belongs to one is an `Attempt` on the exchange.
Backpressure goes by interest: who cannot be written to stops the other side from being read.

What goes wrong before the head of an answer is passed on may be followed by another try: at the same endpoint on a
fresh connection, once, when the one that lay idle was closing or the request never went out; else at an endpoint that
was not tried yet, if the rules of the upstream, its budget and the safety of the request allow it (`upstream/retries`
has the rules, `proxy/attempt` looks at them). An answer whose status asks for another try is read away and forgotten,
but only once there is somebody else to ask.
"""

from __future__ import annotations

import math
import time
from typing import Final, final

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Exchange, Handler
from headgate.connection.stream_driver import NEVER
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_lane import Lane
from headgate.connection.upstream_stream import REFUSED, ResponseReceiver, UpstreamStream
from headgate.counters import (
    FORWARD_REFUSED_ADDRESS,
    GATEWAY_CLOSED,
    GATEWAY_CONNECT,
    GATEWAY_CONNECT_TIMEOUT,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_NO_ENDPOINT,
    GATEWAY_PROTOCOL,
    GATEWAY_QUEUE_FULL,
    GATEWAY_QUEUE_TIMEOUT,
    GATEWAY_TOTAL_TIMEOUT,
    GATEWAY_UNAVAILABLE,
    RETRIED_FIRST,
)
from headgate.engine.events import Response
from headgate.engine.h1.machine import DONE
from headgate.http.fields import ALT_SVC, HOP_BY_HOP, Fields
from headgate.http.hop_by_hop import strip_response, strip_trailers
from headgate.http.retry_after import parse_retry_after
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.answers import answer_error
from headgate.proxy.attempt import ENDED, NOBODY, READ_AWAY, Attempt
from headgate.proxy.lane_tunnel import switch_lane
from headgate.proxy.switch import may_switch, switch
from headgate.upstream.deadlines import DeadlineOwner
from headgate.upstream.endpoint import MAX_DIALLING, ConnectionWaiter, Endpoint
from headgate.upstream.health import BROKEN, CONNECT_FAILED, TIMED_OUT
from headgate.upstream.lane_pool import NO_ROOM
from headgate.upstream.retries import CONNECT, STATUS, TIMEOUT, UNTOUCHED
from headgate.upstream.sticky import Sticky
from headgate.upstream.upstream import Upstream

# Failed dials that say nothing about the endpoint: we have no descriptor left, what was asked cannot be, a defect.
_OURS: Final = frozenset(("descriptors", "upgrade", "internal", "refused-address", NO_ROOM))
# How a connection that many share fails one of them and says nothing about the endpoint either: what the client sent
# is too large for it, or it has enough to do. Whoever could eject an endpoint by asking for too much would.
_NOT_BROKEN: Final = frozenset(("peer-field-limit", "internal", REFUSED))
# When to come back where all connections of an endpoint are full; a queue would say its own time.
_ROOM_SECONDS: Final = 1.0

H3: Final = "HTTP/3.0"  # as lanes call it


@final
class ReverseProxy(Handler, ResponseReceiver, ConnectionWaiter, DeadlineOwner):
    """Answers every exchange from one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        poller: Poller,
        values: list[int],
        response_edits: FieldEdits,
        tunnel_idle: float,
        *,
        request_edits: FieldEdits | None = None,
    ) -> None:
        self.upstream = upstream
        self.budget = upstream.retries.budget
        self.looks_at_status = upstream.retries.looks_at_status
        self.deadlines = upstream.deadlines
        self.poller = poller
        self.values = values
        self.edits = response_edits
        self.edit = not response_edits.empty
        self.sticky = upstream.sticky
        self.learns = any(endpoint.h3 is not None for endpoint in upstream.endpoints)
        # Applied to heads by the dispatcher; what is left to do here is to keep trailers from undoing them.
        self.request_edits = request_edits if request_edits is not None else FieldEdits()
        self.tunnel_idle = tunnel_idle
        self.otherwise: Handler | None = None  # takes over when no endpoint could be reached
        self.hands_over = True

    def __repr__(self) -> str:
        return f"<ReverseProxy {self.upstream!r}>"

    # -- the request's way

    def handle(self, exchange: Exchange) -> None:
        exchange.upstream = self.upstream.name
        self.budget.requests += 1
        if self.deadlines is not None:
            self.deadlines.begin(exchange, self, self.poller.now)
        endpoint = self.upstream.pick(exchange, NOBODY)
        if endpoint is not None:
            self._start(exchange, endpoint)
        elif self.upstream.wait(exchange, self):
            exchange.accepting = False
        else:
            self._no_room(exchange)

    def _start(self, exchange: Exchange, endpoint: Endpoint) -> None:
        attempt = Attempt(endpoint, self.poller.now)
        if exchange.request.body != 0:
            attempt.replay = []
        exchange.attempt = attempt
        self._begin(exchange, attempt)

    def room_found(self, exchange: Exchange, endpoint: Endpoint) -> None:
        self._start(exchange, endpoint)

    def room_timeout(self, exchange: Exchange) -> None:
        exchange.accepting = True
        if not self.upstream.ready:
            self._nobody_there(exchange)
            return
        self.values[GATEWAY_QUEUE_TIMEOUT] += 1
        queue = self.upstream.queue
        seconds = queue.timeout if queue is not None else 0.0
        self._try_later(exchange, "queue-timeout", f"no endpoint had room within {seconds:g} s", seconds)

    def _no_room(self, exchange: Exchange) -> None:
        """Nobody has room, and there is no place to wait for it."""
        queue = self.upstream.queue
        if not self.upstream.ready:
            self._nobody_there(exchange)
            return
        self.values[GATEWAY_QUEUE_FULL] += 1
        size = len(queue) if queue is not None else 0
        detail = f"all endpoints have max_requests, and {size} requests wait already"
        self._try_later(exchange, "queue-full", detail, queue.timeout if queue is not None else 1.0)

    def _nobody_there(self, exchange: Exchange) -> None:
        self.values[GATEWAY_NO_ENDPOINT] += 1
        self._answer_error(exchange, 503, "no-endpoint", f"{self.upstream.name} has no endpoint")

    def _try_later(self, exchange: Exchange, reason: str, detail: str, seconds: float) -> None:
        """Answer 503. When one timeout of the queue has passed, everybody who waits now is served or gone."""
        text = f"{self.upstream.name}: {detail}"
        self._answer_error(exchange, 503, reason, text, max(1, math.ceil(seconds)))

    def _begin(self, exchange: Exchange, attempt: Attempt) -> None:
        endpoint = attempt.endpoint
        exchange.endpoint = endpoint.url
        attempt.trial = self.upstream.began(endpoint)
        connection = None if attempt.repeated else endpoint.take(exchange)
        attempt.reused = connection is not None
        if connection is None:
            self._dial(exchange, attempt)
        elif exchange.accepting:
            self._send_head(exchange, attempt, connection)
        else:
            self._take_up(exchange, attempt, connection)

    def _dial(self, exchange: Exchange, attempt: Attempt) -> None:
        endpoint = attempt.endpoint
        if endpoint.dialling >= MAX_DIALLING:
            self.upstream.ended(endpoint, attempt.trial)
            detail = f"{endpoint.url}: {MAX_DIALLING} connections are being opened already"
            if self._try_next(exchange, attempt, CONNECT, detail):
                return
            self._finish(exchange, attempt)
            exchange.accepting = True
            self.values[GATEWAY_UNAVAILABLE] += 1
            self._answer_error(exchange, 503, "unavailable", detail)
            return
        exchange.accepting = False
        endpoint.dial(exchange, self, attempt.repeated)

    def _send_head(self, exchange: Exchange, attempt: Attempt, connection: UpstreamStream) -> None:
        request = exchange.request
        attempt.connection = connection
        exchange.upstream_started = self.poller.now
        if isinstance(connection, Lane) and not request.host and not request.fields.get(b"host"):
            # HTTP/1.0 without Host: an empty :authority is malformed, and none at all ends the connections of some.
            request.fields.set(b"host", attempt.endpoint.authority, b"Host")
        connection.send_request(request, self, exchange)
        if request.body == 0:
            attempt.sent_all = True
            until = self.poller.now + self.upstream.head_timeout
            if self.upstream.try_timeout < NEVER:
                until = min(until, attempt.started + self.upstream.try_timeout)
            connection.wait_until(until)
            connection.flush()
            return
        connection.wait_until(NEVER)  # the client's own timeout runs while its content is awaited
        if not exchange.more or not exchange.accepting:
            connection.flush()

    def connected(self, exchange: Exchange, connection: UpstreamStream) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt) or attempt.connection is not None:
            # The client left meanwhile: the connection is good for somebody else.
            self._spare(connection)
            return
        if isinstance(connection, UpstreamConnection) and connection.transport.early:
            # It may end unanswered like one that lay idle: the request is repeated then.
            attempt.reused = True
        self._take_up(exchange, attempt, connection)

    def _take_up(self, exchange: Exchange, attempt: Attempt, connection: UpstreamStream) -> None:
        """Go on after a wait: send again what an earlier try has sent, then take the rest of the content."""
        self._send_head(exchange, attempt, connection)
        self._replay(exchange, attempt, connection)
        if exchange.request.body != 0 and not attempt.sent_all:
            exchange.accepting = True
            exchange.downstream.resume()

    def _spare(self, connection: UpstreamStream) -> None:
        owner = connection.owner
        if isinstance(owner, Endpoint):
            owner.keep(connection)
        else:
            connection.close()  # one of many on a shared connection: the next is as fresh

    def _replay(self, exchange: Exchange, attempt: Attempt, connection: UpstreamStream) -> None:
        """Send again what an earlier try has sent already."""
        replay = attempt.replay
        if replay:
            for piece in replay:
                connection.send(piece)
        if attempt.replay_end:
            connection.send_end(attempt.replay_trailers)
            self._request_sent(attempt, connection)
        if replay or attempt.replay_end:
            connection.flush()

    def connect_failed(self, exchange: Exchange, reason: str, detail: str) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt) or attempt.connection is not None:
            return
        hosted = attempt.endpoint.is_hosted
        if reason not in _OURS and not hosted:
            kind = TIMED_OUT if reason == "timeout" else CONNECT_FAILED
            attempt.endpoint.health.failed(self.poller.now, kind, attempt.trial)
        self.upstream.ended(attempt.endpoint, attempt.trial)
        if self._try_next(exchange, attempt, CONNECT, detail):
            return
        self._finish(exchange, attempt)
        otherwise = self.otherwise
        if otherwise is not None:
            exchange.detail = detail
            exchange.retries += 1
            otherwise.handle(exchange)
        elif reason == "refused-address":
            self.values[FORWARD_REFUSED_ADDRESS] += 1
            self._answer_error(exchange, 403, "address-not-allowed", detail)
        elif hosted:
            # Whoever runs it knows already, and starts it again.
            self.values[GATEWAY_UNAVAILABLE] += 1
            self._answer_error(exchange, 503, "app-down", detail)
        elif reason == NO_ROOM:
            self.values[GATEWAY_UNAVAILABLE] += 1
            self._try_later(exchange, "no-room", detail, _ROOM_SECONDS)
        elif reason == "timeout":
            self.values[GATEWAY_CONNECT_TIMEOUT] += 1
            self._answer_error(exchange, 504, "connect-timeout", detail)
        else:
            self.values[GATEWAY_CONNECT] += 1
            self._answer_error(exchange, 502, "connect", detail)

    def _answer_error(
        self, exchange: Exchange, status: int, reason: str, detail: str, retry_after: int = 0
    ) -> None:
        """Answer in words; the details (addresses, errno) are for the log alone."""
        exchange.detail = detail
        if self.deadlines is not None:
            self.deadlines.end(exchange)
        answer_error(exchange, status, reason, edits=self.edits, retry_after=retry_after)
        if exchange.request.body != 0:
            exchange.downstream.resume()

    def hand_over(self, exchange: Exchange, own: Exchange) -> bool:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt) or attempt.connection is None:
            return False
        exchange.attempt = None
        own.attempt = attempt
        attempt.connection.exchange = own
        if self.deadlines is not None and self.deadlines.end(exchange):
            self.deadlines.begin(own, self, self.poller.now)
        return True

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt):
            return
        connection = attempt.connection
        if connection is None:
            return
        if attempt.replay is not None:
            attempt.keep(exchange.request, data, self.values)
        connection.send(data)
        if not connection.flush():
            exchange.accepting = False
            connection.wait_until(self.poller.now + self.upstream.body_idle)

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt) or attempt.connection is None:
            return
        connection = attempt.connection
        if trailers is not None:
            strip_trailers(trailers)
            self.request_edits.strip_trailers(trailers)
        attempt.replay_end = True
        attempt.replay_trailers = trailers
        connection.send_end(trailers)
        self._request_sent(attempt, connection)
        connection.flush()

    def _request_sent(self, attempt: Attempt, connection: UpstreamStream) -> None:
        """The answer is waited for from now on; what its content took is the client's time."""
        attempt.sent_all = True
        attempt.started = self.poller.now
        connection.wait_until(self.poller.now + min(self.upstream.head_timeout, self.upstream.try_timeout))

    def upstream_drained(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if isinstance(exchange, Exchange):
            attempt = exchange.attempt
            if isinstance(attempt, Attempt) and not attempt.sent_all:
                connection.wait_until(NEVER)
                exchange.accepting = True
                exchange.downstream.resume()

    # -- the response's way

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        if response.status < 200:
            self._interim(exchange, connection, response)
            return
        if self.looks_at_status and self._is_passed_over(exchange, connection, response):
            return
        if isinstance(connection, Lane) and self._is_of_lanes(exchange, connection, response):
            return
        exchange.upstream_head = self.poller.now
        if self.deadlines is not None:
            self.deadlines.end(exchange)
        attempt = exchange.attempt
        if exchange.request.body != 0 and isinstance(attempt, Attempt):
            attempt.forget(self.values)
            attempt.came = exchange.bytes_in
            exchange.idle = self.upstream.body_idle
        if exchange.is_connect and response.status < 300:
            # To a client of extended CONNECT any 2xx would be its tunnel (RFC 9220 section 3).
            self._not_switched(exchange, connection, response)
            return
        fields = response.fields
        if self.learns:
            self._learn(exchange, connection, response)
        if fields.flags & HOP_BY_HOP:
            # RFC 9110 section 15.5.22: a 426 says in Upgrade what it wants; in any other answer that is for this hop.
            wanted = b", ".join(fields.get_all(b"upgrade")) if response.status == 426 else b""
            strip_response(fields, wanted)
            if exchange.request.version == 10:
                fields.remove(b"trailer")  # without chunks there is no place for what it announces
        if fields.flags & ALT_SVC:
            # RFC 7838 section 2: it speaks for the whole origin, which to a client is the gate.
            fields.remove(b"alt-svc")
        exchange.context.announce(fields)
        if self.sticky is not None:
            self._stick(exchange, self.sticky, fields)
        if self.edit:
            self.edits.apply(fields, exchange.secure)
        response.close = False  # the origin's connection, not the client's
        exchange.downstream.respond(response)

    def _is_of_lanes(self, exchange: Exchange, lane: Lane, response: Response) -> bool:
        """Do what answers mean only on a connection that many share; tell whether that was all."""
        attempt = exchange.attempt
        status = response.status
        if not isinstance(attempt, Attempt):
            return False
        if status == 421:
            return self._is_misdirected(exchange, attempt, lane)
        if not exchange.request.upgrade or status >= 300:
            return False
        downstream = exchange.downstream
        if isinstance(downstream, DownstreamConnection) and downstream.engine.receiving != DONE:
            self._not_switched(exchange, lane, response)
            return True
        if self.deadlines is not None:
            self.deadlines.end(exchange)
        strip_response(response.fields)
        response.fields.remove(b"alt-svc")
        self._finish(exchange, attempt)
        attempt.endpoint.health.succeeded(self.poller.now, 0.0, status, attempt.trial)
        self.upstream.ended(attempt.endpoint, attempt.trial)
        switch_lane(exchange, lane, response, self.tunnel_idle)
        return True

    def _is_misdirected(self, exchange: Exchange, attempt: Attempt, lane: Lane) -> bool:
        """Ask once more on a connection of the endpoint's own, where this was another's (RFC 9110 section 15.5.20:
        whatever the method); tell whether that is done."""
        pool = attempt.endpoint.h2
        if pool is None or not pool.misdirected(lane) or attempt.repeated:
            return False
        if not attempt.is_whole(exchange.request):
            return False
        lane.close()
        self._repeat(exchange, attempt, UNTOUCHED)
        return True

    def _repeat(self, exchange: Exchange, attempt: Attempt, kind: int) -> None:
        """Ask the same endpoint once more, on a fresh connection and in the room that it has."""
        self.values[RETRIED_FIRST + kind] += 1
        exchange.retries += 1
        exchange.upstream_protocol = ""
        attempt.repeat(self.poller.now)
        self._dial(exchange, attempt)

    def _stick(self, exchange: Exchange, sticky: Sticky, fields: Fields) -> None:
        attempt = exchange.attempt
        if isinstance(attempt, Attempt):
            sticky.stamp(exchange, attempt.endpoint, fields)

    def _learn(self, exchange: Exchange, connection: UpstreamStream, response: Response) -> None:
        """Look whether the origin offers HTTP/3, or takes the offer back."""
        attempt = exchange.attempt
        pool = attempt.endpoint.h3 if isinstance(attempt, Attempt) else None
        if pool is not None:
            pool.learn(response.fields)
            if response.status == 421 and isinstance(connection, Lane) and connection.driver.protocol == H3:
                pool.withdraw()  # RFC 7838 section 6: whoever answers there is not this origin

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        exchange = connection.exchange
        if isinstance(exchange, Exchange):
            exchange.downstream.write(data)

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, Attempt):
            if attempt.replay_size > 0:
                attempt.forget(self.values)
            endpoint = attempt.endpoint
            waited = exchange.upstream_head - exchange.upstream_started
            endpoint.health.succeeded(self.poller.now, waited, exchange.status, attempt.trial)
            endpoint.give_back(connection)
            self.upstream.ended(endpoint, attempt.trial)  # who waits for room finds the connection there
        exchange.handler = None
        exchange.accepting = True
        downstream = exchange.downstream
        if trailers is not None:
            strip_trailers(trailers)
            self.edits.strip_trailers(trailers)
        downstream.finish(trailers)
        downstream.flush()

    def upstream_turn(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        if exchange.downstream.flush():
            if exchange.responded:
                connection.wait_until(self.poller.now + self.upstream.body_idle)
        elif isinstance(connection.exchange, Exchange) and connection.exchange.attempt is attempt:
            # The same exchange, or the one that it was handed over to.
            connection.pause_reading()
            connection.wait_until(NEVER)  # the client's write timeout runs

    def downstream_drained(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        if isinstance(attempt, Attempt) and attempt.connection is not None:
            connection = attempt.connection
            connection.wait_until(self.poller.now + self.upstream.body_idle)
            connection.resume()

    def _interim(self, exchange: Exchange, connection: UpstreamStream, response: Response) -> None:
        """Pass interim answers on, asked for or not (RFC 9110 section 15.2); 101 ends HTTP on both connections."""
        upgraded = response.fields.get(b"upgrade") or b"" if response.status == 101 else b""
        strip_response(response.fields, upgraded)
        response.fields.remove(b"alt-svc")
        if response.status != 101:
            exchange.downstream.respond(response)
            return
        if not may_switch(exchange, connection, response):
            return
        attempt = exchange.attempt
        if isinstance(attempt, Attempt):
            self._finish(exchange, attempt)
            attempt.endpoint.health.succeeded(self.poller.now, 0.0, 101, attempt.trial)
            self.upstream.ended(attempt.endpoint, attempt.trial)
        switch(exchange, connection, response, self.tunnel_idle)

    # -- what goes wrong

    def _not_switched(self, exchange: Exchange, connection: UpstreamStream, response: Response) -> None:
        """Answer in place of the origin. That it answers is no fault of it: the client chose where to ask."""
        attempt = exchange.attempt
        connection.close()
        if isinstance(attempt, Attempt):
            now = self.poller.now
            attempt.endpoint.health.succeeded(
                now, now - exchange.upstream_started, response.status, attempt.trial
            )
            self.upstream.ended(attempt.endpoint, attempt.trial)
            self._finish(exchange, attempt)
        self.values[GATEWAY_PROTOCOL] += 1
        self._give_up(exchange, 502, "upstream-not-switched", "the origin answered and did not switch")

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt):
            return
        kind = attempt.kind_of(connection, reason, exchange.request.method)
        is_free = not exchange.responded and kind <= UNTOUCHED and not attempt.repeated
        if is_free and attempt.is_whole(exchange.request):
            self._repeat(exchange, attempt, kind)
            return
        if reason not in _NOT_BROKEN:
            attempt.endpoint.health.failed(self.poller.now, BROKEN, attempt.trial)
        self.upstream.ended(attempt.endpoint, attempt.trial)
        if self._try_next(exchange, attempt, kind, detail):
            return
        self._finish(exchange, attempt)
        if reason == "peer-field-limit":
            self._give_up(exchange, 431, "upstream-peer-field-limit", detail)
            return
        word = "closed" if reason in ENDED else reason
        self.values[GATEWAY_CLOSED if word == "closed" else GATEWAY_PROTOCOL] += 1
        self._give_up(exchange, 502, f"upstream-{word}", detail)

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        if (
            exchange.responded
            and exchange.accepting
            and isinstance(attempt, Attempt)
            and exchange.bytes_in != attempt.came
        ):
            # A conversation, and the client has said something that the origin has taken: it need not answer.
            attempt.came = exchange.bytes_in
            connection.wait_until(self.poller.now + self.upstream.body_idle)
            return
        detail = f"{connection.address} was silent"
        connection.close()
        if isinstance(attempt, Attempt):
            if attempt.sent_all or not exchange.responded:
                # Else it is a conversation in which the client was silent as well.
                attempt.endpoint.health.failed(self.poller.now, TIMED_OUT, attempt.trial)
            self.upstream.ended(attempt.endpoint, attempt.trial)
            if self._try_next(exchange, attempt, TIMEOUT, detail):
                return
            self._finish(exchange, attempt)
        self.values[GATEWAY_HEAD_TIMEOUT] += 1
        self._give_up(exchange, 504, "upstream-timeout", detail)

    def total_timeout(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        total = self.deadlines.seconds if self.deadlines is not None else 0.0
        if isinstance(attempt, Attempt):
            detail = f"{attempt.endpoint.url} was the last of {exchange.retries + 1} tries"
            now = self.poller.now
            # Silence says something of an endpoint that had most of the time: not of one that was asked at the end of
            # it, after others or by a client whose content took long.
            if attempt.sent_all and now - attempt.started >= total / 2:
                attempt.endpoint.health.failed(now, TIMED_OUT, attempt.trial)
            self._let_go(exchange, attempt)
        else:
            detail = f"no endpoint of {self.upstream.name} had room within {total:g} s"
            self.upstream.leave(exchange)
        exchange.accepting = True
        self.values[GATEWAY_TOTAL_TIMEOUT] += 1
        self._give_up(exchange, 504, "total-timeout", detail)

    def _try_next(self, exchange: Exchange, attempt: Attempt, kind: int, detail: str) -> bool:
        """Go on with another endpoint, if that may be; the one that failed has been let go of."""
        other = attempt.after(kind, exchange, self.upstream, self.poller.now, self.values)
        if other is None:
            return False
        self._move(exchange, attempt, other, detail)
        return True

    def _move(self, exchange: Exchange, attempt: Attempt, other: Endpoint, detail: str) -> None:
        exchange.retries += 1
        exchange.upstream_protocol = ""
        exchange.detail = f"{attempt.endpoint.url}: {detail}; another endpoint was asked"
        exchange.accepting = False  # what was sent already goes first
        attempt.renew(other, self.poller.now)
        self._begin(exchange, attempt)

    def _is_passed_over(self, exchange: Exchange, connection: UpstreamStream, response: Response) -> bool:
        """Ask somebody else in place of an answer with a status that is worth it; tell whether there is anybody."""
        attempt = exchange.attempt
        status = response.status
        if status not in self.upstream.retries.statuses or not isinstance(attempt, Attempt):
            return False
        now = self.poller.now
        if status in (429, 503):
            wish = response.fields.get(b"retry-after")
            seconds = parse_retry_after(wish, time.time()) if wish is not None else 0.0
            if seconds > 0.0:
                attempt.endpoint.rest(now, seconds, status)
        other = attempt.after(STATUS, exchange, self.upstream, now, self.values)
        if other is None:
            return False
        endpoint = attempt.endpoint
        endpoint.health.succeeded(now, now - exchange.upstream_started, status, attempt.trial)
        READ_AWAY.begin(connection, response, attempt.sent_all, now + self.upstream.body_idle)
        self.upstream.ended(endpoint, attempt.trial)
        self._move(exchange, attempt, other, f"status {status}")
        return True

    def _finish(self, exchange: Exchange, attempt: Attempt) -> None:
        """No more tries: let go of everything but the endpoint."""
        exchange.attempt = None
        if attempt.replay_size > 0:
            attempt.forget(self.values)
        if self.deadlines is not None:
            self.deadlines.end(exchange)

    def _give_up(self, exchange: Exchange, status: int, reason: str, detail: str) -> None:
        if exchange.responded:
            exchange.detail = detail
            exchange.downstream.abort(reason)
        else:
            self._answer_error(exchange, status, reason, detail)

    def downstream_closed(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, Attempt):
            self._let_go(exchange, attempt)
            return
        self.upstream.leave(exchange)
        if self.deadlines is not None:
            self.deadlines.end(exchange)

    def _let_go(self, exchange: Exchange, attempt: Attempt) -> None:
        """Nobody waits for the answer any more."""
        self._finish(exchange, attempt)
        self.upstream.ended(attempt.endpoint, attempt.trial)
        if attempt.connection is not None:
            attempt.connection.close()
