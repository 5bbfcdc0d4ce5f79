"""Slice mode: large objects are fetched and stored in aligned slices (RFC 9110 section 14, RFC 9111 section 3.3).

A `SliceHandler` stands before the `CacheHandler` of a route, and gives each client's request a `Download`, which asks
that one for one slice after the other. So what the cache does for any request it does for slices: they collapse, are
confirmed, evicted and purged each for itself.

An origin that answers a range with 200, does not tell the length, or has no strong validator, is asked the normal
way, and that is remembered for a while. So is what may not be stored: nothing is gained by slices that nobody keeps.
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.cache import outcome as words
from headgate.cache.entry import StoredResponse
from headgate.cache.key import primary_key, uri_key
from headgate.cache.reuse import PASS, SERVE, SERVE_AND_REVALIDATE, decide
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_SLICES_REFUSED
from headgate.engine.events import Request
from headgate.http.fields import OVERRIDE, Fields
from headgate.proxy.cached import CacheHandler
from headgate.proxy.download import Download

# Objects that an origin does not slice, remembered so that it is not asked twice for each request.
MAX_UNSLICED: Final = 4096

# Why an answer is not stored, whoever asks for it.
_OF_THE_ANSWER: Final = frozenset(
    words.REASONS[reason]
    for reason in [
        words.NO_STORE,
        words.PRIVATE,
        words.NO_LIFETIME,
        words.NO_USE,
        words.VARY_ANY,
        words.TOO_LARGE,
    ]
)


@final
class SliceHandler(Handler):
    """Answers the exchanges of one route from slices, or hands them to the cache as they are."""

    def __init__(self, inner: CacheHandler) -> None:
        self.inner = inner
        self.cache = inner.cache
        self.policy = inner.policy
        self.size = inner.policy.slice_size
        self.prefetch = inner.policy.slice_prefetch
        self.unsliced: dict[bytes, float] = {}
        self.cache.has_parts = True

    def __repr__(self) -> str:
        return f"<SliceHandler {self.size} before {self.inner!r}>"

    def handle(self, exchange: Exchange) -> None:
        if exchange.is_connect or not self.slices(exchange.request, exchange.host, exchange.secure):
            exchange.handler = self.inner
            self.inner.handle(exchange)
            return
        download = Download(self, exchange)
        exchange.attempt = download
        exchange.handler = self
        download.begin()

    def slices(self, request: Request, host: bytes, secure: bool) -> bool:
        """Tell whether a request can be answered from slices."""
        if decide(request, None, self.policy, time.time()).action == PASS:
            return False
        if request.fields.flags & OVERRIDE:
            return False
        names = request.fields.names
        if b"if-match" in names or b"if-unmodified-since" in names:
            return False
        uri = uri_key(self.policy, secure, host, request.target)
        until = self.unsliced.get(uri)
        if until is None:
            return uri != b""
        if time.monotonic() < until:
            return False
        del self.unsliced[uri]
        return True

    def _uri(self, exchange: Exchange) -> bytes:
        return uri_key(self.policy, exchange.secure, exchange.host, exchange.request.target)

    def usable(self, exchange: Exchange) -> StoredResponse | None:
        """Return what would answer a request without the origin, now, as far as the index says."""
        request = exchange.request
        key = primary_key(
            self.policy,
            exchange.secure,
            exchange.host,
            request.target,
            request.fields,
            exchange.asked,
            exchange.slice,
        )
        decision = decide(request, self.cache.find(key, for_use=False), self.policy, time.time())
        return decision.variant if decision.action in (SERVE, SERVE_AND_REVALIDATE) else None

    def remember(self, exchange: Exchange, seconds: float) -> None:
        """Ask for this the normal way from now on, for `seconds`."""
        self.cache.values[CACHE_SLICES_REFUSED] += 1
        if len(self.unsliced) >= MAX_UNSLICED:
            del self.unsliced[next(iter(self.unsliced))]
        self.unsliced[self._uri(exchange)] = time.monotonic() + seconds

    def unsliced_for(self, why: str) -> float:
        """Return for so long what is not stored, and why, is asked for the normal way; 0: the next client may have
        more luck."""
        return self.policy.uncacheable_ttl if why in _OF_THE_ANSWER else 0.0

    def purge(self, exchange: Exchange) -> None:
        """Begin anew: what is stored of this object is of several versions."""
        self.cache.drop_url(self._uri(exchange), time.time())

    # -- clients

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def downstream_drained(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        if isinstance(attempt, Download):
            attempt.drained()

    def downstream_closed(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, Download):
            attempt.close()
