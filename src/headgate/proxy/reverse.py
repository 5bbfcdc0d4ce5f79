"""The reverse proxy: one exchange, one endpoint of an upstream, and everything that can go wrong between them.

Life of an attempt: pick → take an idle connection or dial → send head → relay content both ways → give the
connection back. The object serves all exchanges of its upstream; what belongs to one attempt is an `Attempt` on the
exchange. Backpressure goes by interest: who cannot be written to stops the other side from being read.

Repeating a request. A failed dial moves on to another endpoint: nothing was sent. A connection that lay idle and ends
before the first byte of an answer was most likely closed by the origin while the request was on its way; the request
is then repeated, with content only while all of it is still held (`MAX_REPLAY`). So is one that the origin says it
refused unread (HTTP/3: H3_REQUEST_REJECTED, GOAWAY). Once that is decided only fresh
connections are taken. So a request is written twice at most, the second time on a fresh connection, and no more than
`MAX_DIALS` endpoints are dialled for it, each of them once.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.exchange import Exchange, Handler
from headgate.connection.quic_upstream import REFUSED, Lane
from headgate.connection.stream_driver import NEVER
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamStream
from headgate.counters import (
    FORWARD_REFUSED_ADDRESS,
    GATEWAY_CLOSED,
    GATEWAY_CONNECT,
    GATEWAY_CONNECT_TIMEOUT,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_PROTOCOL,
    GATEWAY_UNAVAILABLE,
    UPSTREAM_RETRIED,
)
from headgate.engine.events import Response
from headgate.http.fields import ALT_SVC, HOP_BY_HOP, Fields
from headgate.http.hop_by_hop import strip_response, strip_trailers
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.answers import answer_error
from headgate.proxy.attempt import MAX_DIALS, MAX_REPLAY, Attempt
from headgate.proxy.switch import may_switch, switch
from headgate.upstream.endpoint import MAX_DIALLING, ConnectionWaiter, Endpoint
from headgate.upstream.health import BROKEN, CONNECT_FAILED, TIMED_OUT
from headgate.upstream.upstream import Upstream

_CLOSED: Final = frozenset(("closed", "econnreset", "epipe", "enotconn"))
NOBODY: Final[list[Endpoint]] = []
# Failed dials that say nothing about the endpoint: we have no descriptor left, what was asked cannot be, a defect.
_OURS: Final = frozenset(("descriptors", "upgrade", "internal", "refused-address"))


@final
class ReverseProxy(Handler, ResponseReceiver, ConnectionWaiter):
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
        self.poller = poller
        self.values = values
        self.edits = response_edits
        self.edit = not response_edits.empty
        self.learns = any(endpoint.h3 is not None for endpoint in upstream.endpoints)
        # Applied to heads by the dispatcher; what is left to do here is to keep trailers from undoing them.
        self.request_edits = request_edits if request_edits is not None else FieldEdits()
        self.tunnel_idle = tunnel_idle
        self.otherwise: Handler | None = None  # takes over when no endpoint could be reached

    def __repr__(self) -> str:
        return f"<ReverseProxy {self.upstream!r}>"

    # -- the request's way

    def handle(self, exchange: Exchange) -> None:
        exchange.upstream = self.upstream.name
        endpoint = self.upstream.pick(exchange, NOBODY)
        if endpoint is None:
            self.values[GATEWAY_UNAVAILABLE] += 1
            self._answer_error(exchange, 503, "unavailable", f"{self.upstream.name}: no endpoint has room")
            return
        attempt = Attempt(endpoint)
        if exchange.request.body != 0:
            attempt.replay = []
        exchange.attempt = attempt
        self._begin(exchange, attempt)

    def _begin(self, exchange: Exchange, attempt: Attempt) -> None:
        endpoint = attempt.endpoint
        exchange.endpoint = endpoint.url
        self.upstream.began(endpoint)
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
            self.upstream.ended(endpoint)
            exchange.attempt = None
            exchange.accepting = True
            self.values[GATEWAY_UNAVAILABLE] += 1
            detail = f"{endpoint.url}: {MAX_DIALLING} connections are being opened already"
            self._answer_error(exchange, 503, "unavailable", detail)
            return
        exchange.accepting = False
        attempt.dials += 1
        endpoint.dial(exchange, self)

    def _send_head(self, exchange: Exchange, attempt: Attempt, connection: UpstreamStream) -> None:
        request = exchange.request
        attempt.connection = connection
        exchange.upstream_started = self.poller.now
        connection.send_request(request, self, exchange)
        if request.body == 0:
            attempt.sent_all = True
            connection.wait_until(self.poller.now + self.upstream.head_timeout)
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
        if reason not in _OURS:
            kind = TIMED_OUT if reason == "timeout" else CONNECT_FAILED
            attempt.endpoint.health.failed(self.poller.now, kind)
        self.upstream.ended(attempt.endpoint)
        attempt.tried.append(attempt.endpoint)
        if attempt.dials < MAX_DIALS:
            other = self.upstream.pick(exchange, attempt.tried)
            if other is not None:
                exchange.retries += 1
                exchange.detail = f"{attempt.endpoint.url}: {detail}; another endpoint was asked"
                attempt.endpoint = other
                self._begin(exchange, attempt)
                return
        exchange.attempt = None
        otherwise = self.otherwise
        if otherwise is not None:
            exchange.detail = detail
            exchange.retries += 1
            otherwise.handle(exchange)
        elif reason == "refused-address":
            self.values[FORWARD_REFUSED_ADDRESS] += 1
            self._answer_error(exchange, 403, "address-not-allowed", detail)
        elif reason == "timeout":
            self.values[GATEWAY_CONNECT_TIMEOUT] += 1
            self._answer_error(exchange, 504, "connect-timeout", detail)
        else:
            self.values[GATEWAY_CONNECT] += 1
            self._answer_error(exchange, 502, "connect", detail)

    def _answer_error(self, exchange: Exchange, status: int, reason: str, detail: str) -> None:
        """Answer in words; the details (addresses, errno) are for the log alone."""
        exchange.detail = detail
        answer_error(exchange, status, reason, edits=self.edits)
        if exchange.request.body != 0:
            exchange.downstream.resume()

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt):
            return
        connection = attempt.connection
        if connection is None:
            return
        replay = attempt.replay
        if replay is not None:
            attempt.replay_size += len(data)
            if not attempt.reused or attempt.replay_size > MAX_REPLAY:
                attempt.replay = None
            else:
                replay.append(data)
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
        attempt.sent_all = True
        connection.wait_until(self.poller.now + self.upstream.head_timeout)

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
        exchange.upstream_head = self.poller.now
        if exchange.is_connect and response.status < 300:
            # To a client of extended CONNECT any 2xx would be its tunnel (RFC 9220 section 3).
            connection.close()
            self.upstream_failed(connection, "not-switched", "the origin answered and did not switch")
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
        if exchange.context.alt_svc:
            fields.add(b"alt-svc", exchange.context.alt_svc, b"Alt-Svc")
        if self.edit:
            self.edits.apply(fields, exchange.secure)
        response.close = False  # the origin's connection, not the client's
        exchange.downstream.respond(response)

    def _learn(self, exchange: Exchange, connection: UpstreamStream, response: Response) -> None:
        """Look whether the origin offers HTTP/3, or takes the offer back."""
        attempt = exchange.attempt
        pool = attempt.endpoint.h3 if isinstance(attempt, Attempt) else None
        if pool is not None:
            pool.learn(response.fields)
            if response.status == 421 and isinstance(connection, Lane):
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
            endpoint = attempt.endpoint
            waited = exchange.upstream_head - exchange.upstream_started
            endpoint.health.succeeded(self.poller.now, waited, exchange.status)
            endpoint.give_back(connection)
            self.upstream.ended(endpoint)  # who waits for room finds the connection there
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
        if exchange.downstream.flush():
            if exchange.responded:
                connection.wait_until(self.poller.now + self.upstream.body_idle)
        elif connection.exchange is exchange:
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
        exchange.attempt = None
        if isinstance(attempt, Attempt):
            attempt.endpoint.health.succeeded(self.poller.now, 0.0, 101)
            self.upstream.ended(attempt.endpoint)
        switch(exchange, connection, response, self.tunnel_idle)

    # -- what goes wrong

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        if not isinstance(attempt, Attempt):
            return
        untouched = not exchange.responded and not connection.answered
        stale = (reason in _CLOSED and attempt.reused) or reason == REFUSED
        if untouched and stale and not attempt.repeated and self._may_repeat(exchange, attempt):
            self.values[UPSTREAM_RETRIED] += 1
            exchange.retries += 1
            exchange.upstream_protocol = ""
            attempt.reused = False
            attempt.repeated = True
            attempt.connection = None
            attempt.sent_all = False
            self._dial(exchange, attempt)  # in the room that it has
            return
        attempt.endpoint.health.failed(self.poller.now, BROKEN)
        self.upstream.ended(attempt.endpoint)
        exchange.attempt = None
        word = "closed" if reason in _CLOSED else reason
        self.values[GATEWAY_CLOSED if word == "closed" else GATEWAY_PROTOCOL] += 1
        self._give_up(exchange, 502, f"upstream-{word}", detail)

    def _may_repeat(self, exchange: Exchange, attempt: Attempt) -> bool:
        return exchange.request.body == 0 or attempt.replay is not None

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, Attempt):
            attempt.endpoint.health.failed(self.poller.now, TIMED_OUT)
            self.upstream.ended(attempt.endpoint)
        connection.close()
        self.values[GATEWAY_HEAD_TIMEOUT] += 1
        self._give_up(exchange, 504, "upstream-timeout", f"{connection.address} was silent")

    def _give_up(self, exchange: Exchange, status: int, reason: str, detail: str) -> None:
        if exchange.responded:
            exchange.detail = detail
            exchange.downstream.abort(reason)
        else:
            self._answer_error(exchange, status, reason, detail)

    def downstream_closed(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        exchange.attempt = None
        if not isinstance(attempt, Attempt):
            return
        self.upstream.ended(attempt.endpoint)
        if attempt.connection is not None:
            attempt.connection.close()
