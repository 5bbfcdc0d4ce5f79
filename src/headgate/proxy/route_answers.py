"""What clients of a cached route get, from the head on: of what is stored, or on its way there, and of what is not.

Each answer says in Cache-Status (RFC 9211) what became of its request, and so do the log and the counters (`note`).
Content is a `Reader`'s (`proxy/serving`), or goes from the origin to the client as it comes.
"""

from __future__ import annotations

import time

from headgate.cache import outcome as words
from headgate.cache.conditional import evaluate, not_modified_fields
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.outcome import cache_status, is_hit
from headgate.cache.policy import Policy
from headgate.cache.reuse import ttl
from headgate.cache.vary import has_too_many
from headgate.connection.exchange import Exchange
from headgate.counters import CACHE_FIRST, CACHE_SLICES_FIRST
from headgate.engine.events import Request, Response
from headgate.http.fields import CONDITIONAL, Fields
from headgate.proxy.caching import LIMIT_VARY, Cache
from headgate.proxy.partial import begin_range
from headgate.proxy.route_cache import RouteCache
from headgate.proxy.serving import Reader, freshen


class RouteAnswers(RouteCache):
    """Sends heads, and tells what became of requests."""

    def __init__(self, cache: Cache, policy: Policy) -> None:
        super().__init__(cache, policy)
        self.shows = cache.shows

    # -- of what is stored, or on its way there

    def _begin(self, reader: Reader, variant: StoredResponse, status: int, fields: Fields) -> None:
        """Send the head of a response with these fields, which are the client's own; `status` is what the request's
        preconditions lead to."""
        client = reader.exchange
        client.attempt = reader
        client.handler = self
        if status == 304:
            reader.begin(304, b"Not Modified", not_modified_fields(fields), 0)
        elif status != 206 or not begin_range(reader, variant, fields):
            reader.begin(variant.status, variant.reason, fields, variant.length)

    def _stored_fields(
        self, variant: StoredResponse, outcome: int, reason: int, now: float, forwarded_status: int = 0
    ) -> Fields:
        fields = variant.copy_fields()
        freshen(fields, variant, now, outcome, reason, forwarded_status, shows=self.shows)
        return fields

    def read_along(
        self, client: Exchange, stored: StoredResponse, fill: Fill, outcome: int, reason: int
    ) -> Reader:
        """Send the head of what is being stored to one who reads along."""
        now = time.time()
        self.note(client, outcome, reason)
        fields = self._stored_fields(stored, outcome, reason, now)
        return self._first(client, stored, fill, fields, now)

    def read_first(
        self,
        client: Exchange,
        stored: StoredResponse,
        fill: Fill,
        response: Response,
        outcome: int,
        reason: int,
    ) -> Reader:
        """Send the head of what is being stored to the one who asked for it: as it came."""
        now = time.time()
        self.note(client, outcome, reason)
        fields = response.fields.copy()
        if self.shows:
            value = cache_status(
                outcome,
                reason,
                ttl(stored, now),
                stored=not is_hit(outcome),
                forwarded_status=response.status,
            )
            self.mark(fields, value)
        return self._first(client, stored, fill, fields, now)

    def _first(
        self, client: Exchange, stored: StoredResponse, fill: Fill, fields: Fields, now: float
    ) -> Reader:
        reader = Reader(client, self.cache.values, fill, None)
        self._begin(reader, stored, evaluate(client.request, stored, now), fields)
        return reader

    def read_whole(
        self,
        client: Exchange,
        response: Response,
        fill: Fill,
        outcome: int,
        reason: int,
        stored: StoredResponse | None = None,
    ) -> Reader:
        """Send a head as it is to one who gets all of its content: an error that Headgate made, or a part that is
        `stored` on its way."""
        self.note(client, outcome, reason)
        fields = response.fields.copy()
        if stored is not None:
            left = ttl(stored, time.time())
            is_new = not is_hit(outcome)
            status = cache_status(outcome, reason, left, stored=is_new, forwarded_status=response.status)
            self.mark(fields, status)
        reader = Reader(client, self.cache.values, fill, None)
        client.attempt = reader
        client.handler = self
        reader.begin(response.status, response.reason, fields, response.body)
        return reader

    # -- of what is not

    def pass_head(self, client: Exchange, outcome: int, reason: int, why: int, response: Response) -> None:
        """Send the head of an answer that is not stored; `why` says why not."""
        self.note_direct(client, outcome, reason, why, response)
        client.context.announce(response.fields)
        client.downstream.respond(response)

    def has_it(self, request: Request, response: Response, now: float) -> bool:
        """Tell whether a client has what an answer holds that is not stored: by its conditions, which the origin did
        not get to see (RFC 9110 section 13.2.1)."""
        if response.status != 200 or request.fields.flags & CONDITIONAL == 0:
            return False
        return evaluate(request, self.build(b"", request, response, now, now), now) == 304

    def pass_not_modified(
        self, client: Exchange, outcome: int, reason: int, why: int, response: Response
    ) -> None:
        """Send 304 in place of an answer that is not stored."""
        self.note_direct(client, outcome, reason, why, response)
        reader = Reader(client, self.cache.values, None, MemoryBody())
        client.attempt = reader
        client.handler = self
        reader.begin(304, b"Not Modified", not_modified_fields(response.fields), 0)
        reader.go_on()

    # -- what became of a request

    def note_direct(self, client: Exchange, outcome: int, reason: int, why: int, response: Response) -> None:
        self.note(client, outcome, reason)
        if why == words.VARY_ANY and has_too_many(response.fields.get_all(b"vary")):
            self.cache.limited(self.policy.name, LIMIT_VARY)
        if why != words.NONE:
            client.cache_stored = words.REASONS[why]
        self.mark(response.fields, cache_status(outcome, reason, forwarded_status=response.status))

    def mark(self, fields: Fields, status: bytes) -> None:
        """Add our member of Cache-Status."""
        if self.shows:
            fields.names.append(b"cache-status")  # of no kind that has a flag
            fields.lines.append(b"Cache-Status: " + status)

    def note(self, client: Exchange, outcome: int, reason: int) -> None:
        """Count, and let the log say what became of a request."""
        if not client.peer_key:
            first = CACHE_FIRST if client.slice < 0 else CACHE_SLICES_FIRST
            self.cache.values[first + outcome] += 1
        client.cache = words.OUTCOMES[outcome]
        client.cache_reason = words.REASONS[reason]
