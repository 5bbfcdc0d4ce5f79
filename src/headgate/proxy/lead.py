"""A miss that nobody else has anything to do with: the request goes to the origin as it would without a cache.

Most misses are a client's alone from beginning to end, and most answers come all at once. So the exchange that the
route's handler answers is the client's own, and a Lead stands between the two, for as little as can be:

    AWAITING     no head yet. Others who want the same wait with it.
    DIRECT       the answer cannot be stored: it goes through.
    FILLING      it is being stored: it goes to the client, and is kept on its way.
    OVER

Whatever is more than that is a flight's work (`proxy/flight`), which has an exchange of its own and a pace for each
client, and the Lead becomes one (`_become_flight`): when its client leaves, when others have waited for the head that
is there now or come while content does, and when content is to be stored that is large, comes in many pieces, or
faster than its client takes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.outcome import KNOWN_UNCACHEABLE, NO_ROOM, NONE, NOT_STORED, STORED, cache_status
from headgate.cache.reuse import ttl
from headgate.cache.store.messages import SMALL_CONTENT
from headgate.connection.exchange import Downstream, Exchange, Handler
from headgate.counters import CACHE_FETCHED, CACHE_FILLS, CACHE_HELD, CACHE_PASSED, CACHE_SERVED
from headgate.engine.events import Response
from headgate.http.date import add_date
from headgate.http.fields import AUTHORIZATION, DATE, Fields
from headgate.proxy.awaited import AWAITING, DIRECT, FILLING, OVER, Awaited
from headgate.proxy.flight import Flight
from headgate.proxy.on_behalf import context_of, tell

if TYPE_CHECKING:
    from headgate.proxy.cached import CacheHandler

# Pieces that content may come in; an origin that sends more of them makes them small.
_MAX_PIECES: Final = 16


@final
class Lead(Handler, Downstream, Awaited):
    """The request of `client`, sent as it is. `is_shared`: others may wait for its answer."""

    def __init__(
        self,
        handler: CacheHandler,
        key: bytes,
        client: Exchange,
        reason: int,
        started: float,
        is_shared: bool,
        is_second: bool,
    ) -> None:
        self.handler = handler
        self.key = key
        self.exchange = client
        self.reason = reason
        self.is_shared = is_shared
        self.is_second = is_second
        self.state: int = AWAITING
        self.stored: StoredResponse | None = None
        self.started = started
        self.generation: int = handler.cache.store.generation
        self.side = client.downstream  # where the client is
        self.context = client.context
        self.waiting: dict[Exchange, None] | None = None
        self.body: MemoryBody | None = None
        self._expected: int = 0
        self._held: int = 0  # of CACHE_HELD: what has come in earlier turns
        self.flight: Flight | None = None  # what has become of it

    def __repr__(self) -> str:
        return f"<Lead {self.key.decode('latin-1')} state={self.state} {len(self.waiting or ())} waiting>"

    def begin(self) -> None:
        """Ask the route's handler."""
        handler = self.handler
        client = self.exchange
        if self.is_shared:
            handler.cache.flights[self.key] = self
        client.downstream = self
        client.handler = self
        if self.context.alt_svc:
            client.context = context_of(self.context)  # what is said to one client alone is not stored
        handler.inner.handle(client)

    # -- others

    def wait(self, client: Exchange) -> None:
        if self.waiting is None:
            self.waiting = {}
        self.waiting[client] = None
        client.attempt = self

    def join(self, client: Exchange) -> bool:
        return self.state == FILLING and self._become_filling().join(client)

    def left(self, client: Exchange) -> None:
        if self.waiting is not None:
            self.waiting.pop(client, None)

    def _take_waiting(self) -> list[Exchange]:
        if self.waiting is None:
            return []
        waiting = list(self.waiting)
        self.waiting = None
        for client in waiting:
            client.attempt = None
        return waiting

    # -- the answer (called by the route's handler)

    def respond(self, response: Response) -> None:
        flight = self.flight
        if flight is not None:
            flight.respond(response)
            return
        if self.state != AWAITING:
            return
        if response.status < 200:
            if response.status != 101:
                self.side.respond(response)
            return
        client = self.exchange
        client.context = self.context
        if response.fields.flags & DATE == 0:
            add_date(
                response.fields, time.time()
            )  # RFC 9110 section 6.6.1: and it is what ages are counted from
        if self.waiting or response.status == 206:
            self._hand_on(response)
        elif client.reason:
            self._begin(response, DIRECT)  # an error of ours
        else:
            self._answered(client, response)

    def _begin(self, response: Response, state: int) -> None:
        """The head goes to the client."""
        self.state = state
        self._expected = response.body
        if state == DIRECT:
            self.handler.cache.forget(self)
        client = self.exchange
        if client.reason:
            self.handler.note(client, self.handler.outcome_of(None, self.reason), self.reason)
        else:
            client.context.announce(response.fields)
        self.side.respond(response)

    def _answered(self, client: Exchange, response: Response) -> None:
        """An answer of the origin: store it if it may be."""
        handler = self.handler
        cache = handler.cache
        request = client.request
        now = time.time()
        verdict = None
        if request.method == b"GET":
            verdict = handler.may_keep(self.key, request, response, now)
        outcome = handler.outcome_of(None, self.reason)
        if verdict is None or verdict.why != STORED:
            why = verdict.why if verdict is not None else NONE
            # The answer to credentials, or to what is wrong with this one request, says nothing of others; nor does
            # want of room.
            is_for_all = response.status < 500 and request.fields.flags & AUTHORIZATION == 0
            if self.is_shared and is_for_all and why != NO_ROOM:
                cache.store.mark_uncacheable(self.key, now + handler.policy.uncacheable_ttl)
            handler.note_direct(client, outcome, self.reason, why, response)
            self._begin(response, DIRECT)
            return
        stored = handler.build(self.key, request, response, self.started, now, verdict)
        stored.generation = self.generation
        stored.length = response.body
        self.stored = stored
        self.body = MemoryBody()
        if self.reason == KNOWN_UNCACHEABLE:
            cache.list_again(self)
        cache.values[CACHE_FILLS] += 1
        handler.note(client, outcome, self.reason)
        if handler.shows:
            left = ttl(stored, now)
            status = cache_status(outcome, self.reason, left, stored=True, forwarded_status=response.status)
            handler.mark(response.fields, status)
        self._begin(response, FILLING)

    def write(self, data: bytes) -> None:
        flight = self.flight
        if flight is not None:
            flight.write(data)
            return
        state = self.state
        values = self.handler.cache.values
        if state == FILLING:
            body = self.body
            if body is None or not self._keeps(body, data):
                self._become_filling().write(data)
                return
            body.append(data)
            values[CACHE_FETCHED] += len(data)
            values[CACHE_SERVED] += len(data)
        elif state == DIRECT:
            if not self.exchange.reason:
                values[CACHE_PASSED] += len(data)
        else:
            return
        self.side.write(data)

    def _keeps(self, body: MemoryBody, data: bytes) -> bool:
        """Tell whether a piece can be kept here: more than that has rules of its own."""
        size = body.size + len(data)
        return size <= SMALL_CONTENT and body.count < _MAX_PIECES and size <= self.handler.most_in_memory

    def finish(self, trailers: Fields | None) -> None:
        flight = self.flight
        if flight is not None:
            flight.finish(trailers)
            return
        if self.state == FILLING:
            self._keep()
            trailers = None
        elif self.state != DIRECT:
            return
        self.state = OVER
        client = self.exchange
        side = self.side
        client.downstream = side
        client.attempt = None
        client.handler = None
        client.accepting = True
        side.finish(trailers)
        side.flush()

    def _keep(self) -> None:
        """All of the content is there."""
        handler = self.handler
        handler.cache.forget(self)
        stored = self.stored
        body = self._take_body()
        self.stored = None
        if stored is not None and body is not None:
            stored.body = body
            stored.length = body.size
            stored.is_complete = True
            handler.keep_whole(stored)

    def flush(self) -> bool:
        flight = self.flight
        if flight is not None:
            return flight.flush()
        state = self.state
        if state == OVER:
            return True
        if state == AWAITING:
            self.side.flush()  # of interim answers: who does not take them holds up nobody who waits
            return True
        if self._expected == 0:
            self.finish(None)  # answers of ours without content have no other end
            return True
        takes_more = self.side.flush()
        flight = self.flight  # in there its client may have left
        if flight is None and state == FILLING and not (takes_more and self._may_hold()):
            flight = self._become_filling()
        return flight.flush() if flight is not None else takes_more

    def _may_hold(self) -> bool:
        """More comes in a later turn: tell whether there is room for what has come until then."""
        cache = self.handler.cache
        size = self.body.size if self.body is not None else 0
        cache.values[CACHE_HELD] += size - self._held
        self._held = size
        return cache.has_room(0)

    def _take_body(self) -> MemoryBody | None:
        """Return what has come of the content, which is counted here no longer."""
        body = self.body
        self.body = None
        if self._held:
            self.handler.cache.values[CACHE_HELD] -= self._held
            self._held = 0
        return body

    def abort(self, reason: str) -> None:
        flight = self.flight
        if flight is None and self.state == FILLING:
            flight = self._become_filling()
        if flight is not None:
            flight.abort(reason)
            return
        if self.state == OVER:
            return
        self._end()
        for client in self._take_waiting():
            self.handler.go_alone(client, NOT_STORED)
        self.exchange.attempt = None
        self.side.abort(reason)

    def _end(self) -> None:
        """It is over; the exchange is the client's alone again."""
        self.state = OVER
        self.handler.cache.forget(self)
        client = self.exchange
        client.downstream = self.side
        client.context = self.context

    def resume(self) -> None:
        return  # there is no content to send

    # -- what is a flight's work

    def _become_flight(self) -> Flight:
        """Let a flight go on, with an exchange of its own; the client's is the client's alone again."""
        handler = self.handler
        client = self.exchange
        client.downstream = self.side
        client.context = self.context
        flight = Flight(
            handler, self.key, client, client.request, None, self.reason, self.started, self.is_shared
        )
        flight.is_second = self.is_second
        flight.generation = self.generation
        flight.is_led = True
        handler.cache.pass_on(self, flight)
        tell(flight.exchange, client)
        self.flight = flight
        self.state = OVER
        return flight

    def _hand_over(self, own: Exchange) -> bool:
        """Let the origin's answer go to a flight; False: none is awaited, or it was ours and is all there."""
        inner = self.handler.inner
        is_under_way = inner.hand_over(self.exchange, own)
        own.handler = inner if is_under_way else None
        return is_under_way

    def _pass_waiting(self, flight: Flight) -> None:
        waiting = self.waiting
        self.waiting = None
        if waiting is not None:
            for client in waiting:
                flight.wait(client)

    def _hand_on(self, response: Response) -> None:
        """The head is there, and others have waited for it, or it is one of a part."""
        flight = self._become_flight()
        client = self.exchange
        flight.exchange.reason = client.reason
        self._hand_over(flight.exchange)
        client.handler = self.handler
        client.accepting = True
        flight.lead(client)
        self._pass_waiting(flight)
        flight.respond(response)

    def _become_filling(self) -> Flight:
        """Others want it too, or it is too much for this: from here on each client reads at its own pace."""
        flight = self._become_flight()
        client = self.exchange
        self._hand_over(flight.exchange)
        client.handler = self.handler
        client.accepting = True
        fill = self.handler.new_fill()
        body = self._take_body()
        if body is not None:
            for piece in body.chunks:
                fill.append(piece)
        flight.go_on_filling(client, self.stored, fill, self._expected)
        self.stored = None
        return flight

    # -- the client

    def handle(self, exchange: Exchange) -> None:
        return  # it is one request's

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return  # requests with content go by the cache

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def downstream_drained(self, exchange: Exchange) -> None:
        if self.state != AWAITING:  # else nothing was held up
            self.handler.inner.downstream_drained(exchange)

    def downstream_closed(self, exchange: Exchange) -> None:
        inner = self.handler.inner
        if self.state == AWAITING and self.waiting:
            # They want it still. What has not left yet may as well begin anew.
            flight = self._become_flight()
            self._pass_waiting(flight)
            own = flight.exchange
            if not self._hand_over(own):
                inner.downstream_closed(exchange)
                own.handler = inner
                inner.handle(own)
            return
        if self.state == OVER:
            return
        if self.state == FILLING:
            self._become_filling().client_left(exchange)
            return
        self._end()
        inner.downstream_closed(exchange)
