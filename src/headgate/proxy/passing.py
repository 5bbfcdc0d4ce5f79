"""Requests that go by the cache: what their answers say, change and leave behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from headgate.cache import outcome as words
from headgate.cache.entry import StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.invalidation import is_safe
from headgate.cache.outcome import BYPASS, cache_status
from headgate.connection.exchange import Downstream, Exchange, Handler
from headgate.counters import CACHE_HELD
from headgate.engine.events import Response
from headgate.http.date import add_date
from headgate.http.fields import DATE, Fields
from headgate.proxy.caching import LIMIT_ROOM

if TYPE_CHECKING:
    from headgate.proxy.cached import CacheHandler


@final
class Passing(Handler, Downstream):
    """The client's side of an exchange that goes by the cache: says so in Cache-Status, and invalidates what an
    unsafe request has changed (RFC 9111 section 4.4). The answer to a POST that says it is what GET would get is
    kept on its way (RFC 9110 section 9.3.3); of such a request it is the handler as well, to know when it is over."""

    def __init__(
        self, handler: CacheHandler, exchange: Exchange, downstream: Downstream, reason: int, key: bytes
    ) -> None:
        self.handler = handler
        self.exchange = exchange
        self.downstream = downstream
        self.reason = reason
        self.key = key
        self.started = time.time()
        self.stored: StoredResponse | None = None
        self.fill: Fill | None = None

    def respond(self, response: Response) -> None:
        exchange = self.exchange
        if response.status >= 200:
            handler = self.handler
            if not is_safe(exchange.request.method) and not exchange.reason:
                handler.invalidate(exchange, response)
                if exchange.request.method == b"POST" and self.key:
                    self._keep(response)
            if not exchange.reason:  # an answer of our own is no cache's (RFC 9211 section 2)
                handler.mark(response.fields, cache_status(BYPASS, self.reason))
        self.downstream.respond(response)

    def _keep(self, response: Response) -> None:
        """Begin to keep an answer, after what was there is invalidated: it is newer than that."""
        handler = self.handler
        now = time.time()
        if response.fields.flags & DATE == 0:
            add_date(response.fields, now)
        request = self.exchange.request
        storable, why = handler.may_store(request, response, now)
        if storable and response.body > handler.most_in_memory:
            storable, why = False, words.TOO_LARGE  # nothing of it goes to the disk before it is whole
        elif storable and not handler.cache.has_room(max(response.body, 0)):
            self._no_room()
            return
        if not storable:
            if why != words.METHOD:  # as nearly all are
                self.exchange.cache_stored = words.REASONS[why]
            return
        stored = handler.build(self.key, request, response, self.started, now)
        stored.request_time = now
        stored.generation = handler.cache.store.generation
        self.stored = stored
        self.fill = handler.new_fill()

    def write(self, data: bytes) -> None:
        fill = self.fill
        if fill is not None:
            fill.append(data)
            self.handler.cache.values[CACHE_HELD] += len(data)
            if not fill.keeps:
                self.exchange.cache_stored = words.REASONS[words.TOO_LARGE]
                self._let_go()
            elif not self.handler.cache.has_room(0):
                self._no_room()
        self.downstream.write(data)

    def _no_room(self) -> None:
        """Only the client gets it: nothing more can be held of what is to be stored."""
        self.handler.cache.limited(self.handler.policy.name, LIMIT_ROOM)
        self.exchange.cache_stored = words.REASONS[words.NO_ROOM]
        self._let_go()

    def finish(self, trailers: Fields | None) -> None:
        fill = self.fill
        stored = self.stored
        if fill is not None and stored is not None:
            self._let_go()
            fill.end()
            self.handler.keep(stored, fill)
        self._leave()
        self.downstream.finish(trailers)

    def _leave(self) -> None:
        """The answer is over: exchange and this let go of each other."""
        exchange = self.exchange
        exchange.downstream = self.downstream
        if exchange.handler is self:
            exchange.handler = self.handler.inner

    def _let_go(self) -> None:
        """Keep no more of it."""
        fill = self.fill
        if fill is not None:
            self.handler.cache.values[CACHE_HELD] -= fill.size
            self.fill = None

    def flush(self) -> bool:
        return self.downstream.flush()

    def abort(self, reason: str) -> None:
        self._let_go()
        self._leave()
        self.downstream.abort(reason)

    def resume(self) -> None:
        self.downstream.resume()

    def handle(self, exchange: Exchange) -> None:
        self.handler.inner.handle(exchange)

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        self.handler.inner.request_data(exchange, data)

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        self.handler.inner.request_end(exchange, trailers)

    def downstream_drained(self, exchange: Exchange) -> None:
        self.handler.inner.downstream_drained(exchange)

    def downstream_closed(self, exchange: Exchange) -> None:
        self._let_go()
        self.handler.inner.downstream_closed(exchange)
