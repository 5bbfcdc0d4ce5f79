"""What one route stores: the rules of `cache/`, by the route's policy, over the store that its worker has for all.

The lowest of three layers: `route_answers` sends what is stored here to clients, `cached` decides what becomes of a
request. A flight or a lead asks it whether an answer may be stored, has what is stored made of the head, and gives it
back with its content.
"""

from __future__ import annotations

import time

from headgate.cache import outcome as words
from headgate.cache.entry import SOFT_PURGED, Body, KeyEntry, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.invalidation import targets
from headgate.cache.key import primary_key
from headgate.cache.outcome import EXPIRED, MISS, UNCACHEABLE
from headgate.cache.partial import Piece, combine, file_of, holds, replaces, set_broken_off, set_partial
from headgate.cache.policy import Policy
from headgate.cache.purges import url_of
from headgate.cache.reuse import SERVE, SERVE_AND_REVALIDATE, VALIDATE, Decision, decide, on_error
from headgate.cache.store.bodies import CheckedBody
from headgate.cache.storing import Verdict, build, judge, may_store, refused
from headgate.cache.update import NOTHING, is_named_strongly, merge_304, merge_head, still_storable
from headgate.cache.vary import choose, matches
from headgate.connection.exchange import Exchange, Handler
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.proxy.caching import LIMIT_ROOM, LIMIT_VARIANTS, Cache


class RouteCache(Handler):
    """The cache of a worker, as a route's policy has it used."""

    def __init__(self, cache: Cache, policy: Policy) -> None:
        self.cache = cache
        self.policy = policy
        # Of one response's content.
        self.most_in_memory = min(policy.max_in_memory, policy.max_object, cache.max_object)

    # -- which stored response answers a request

    def _key_of(self, client: Exchange) -> bytes:
        """Return the key of a request, b"" for none."""
        if client.peer_key:
            return client.peer_key
        request = client.request
        asked = client.asked
        if asked is not None and not asked.is_plain:
            self.cache.has_parts = True
        return primary_key(
            self.policy, client.secure, client.host, request.target, request.fields, asked, client.slice
        )

    def suits(self, request: Request, stored: StoredResponse, now: float) -> bool:
        """Tell whether a response may answer this request as it stands (RFC 9111 section 4)."""
        entry = KeyEntry(stored.key)
        entry.add(stored)
        return decide(request, entry, self.policy, now).action in (SERVE, SERVE_AND_REVALIDATE)

    def unfit(self, request: Request, stored: StoredResponse, now: float) -> int:
        """Return why a response could not answer this request however fresh it was, NONE when it could."""
        if not matches(stored, request.fields):
            return words.VARY
        return words.NONE if holds(request, stored, now) else words.PARTIAL

    def instead(
        self, request: Request, variant: StoredResponse, reason: int, status: int, now: float
    ) -> Decision:
        """Decide what comes in place of an error (`status` 0: the origin gave no answer)."""
        return on_error(Decision(VALIDATE, EXPIRED, reason, variant), request, self.policy, status, now)

    def outcome_of(self, variant: StoredResponse | None, reason: int) -> int:
        """Return what an answer of the origin is called."""
        if variant is not None:
            return EXPIRED
        return UNCACHEABLE if reason == words.KNOWN_UNCACHEABLE else MISS

    # -- what may be stored

    def may_store(self, request: Request, response: Response, now: float) -> tuple[bool, int]:
        """Tell whether a response may be stored, a part too, and why not."""
        return may_store(request, response, self.policy, now, takes_parts=True)

    def may_keep(self, key: bytes, request: Request, response: Response, now: float) -> Verdict:
        """Tell whether a response may be stored, as far as there is room for it too, and why not."""
        verdict = judge(request, response, self.policy, now, takes_parts=True)
        if verdict.why != words.STORED:
            return verdict
        cache = self.cache
        size = max(response.body, 0)
        if size > self.most_in_memory:
            disk = cache.disk
            if size > self.policy.max_object or disk is None:
                return refused(words.TOO_LARGE)
            if not disk.takes(key):
                return refused(words.NO_ROOM)
            size = 0  # little of it is held
        if not cache.has_room(size):
            cache.limited(self.policy.name, LIMIT_ROOM)
            return refused(words.NO_ROOM)
        return verdict

    def new_fill(self) -> Fill:
        """Return what takes content that is to be stored."""
        return Fill(self.most_in_memory)

    def build(
        self,
        key: bytes,
        request: Request,
        response: Response,
        asked_at: float,
        now: float,
        verdict: Verdict | None = None,
    ) -> StoredResponse:
        """Make a stored response of one whose content is still to come; `verdict` is of `may_keep` at `now`."""
        return build(key, request, response, self.policy, asked_at, now, verdict)

    # -- what is stored already

    def merge(
        self,
        variant: StoredResponse,
        request: Request,
        response: Response,
        asked_at: float,
        generation: int,
        now: float,
        *,
        on_disk: bool = True,
    ) -> StoredResponse | None:
        """Let a 304 to a request that left at `asked_at`, at the store's `generation`, make a stored response as good
        as new; None: it is about another. Not `on_disk`: somebody else tells the disk."""
        fresh = merge_304(variant, request, response, self.policy, asked_at, now)
        if fresh is not None:
            self._settle(fresh, generation, now, on_disk=on_disk)
            for other in self._beside(variant, request):
                if is_named_strongly(response.fields, other, now):
                    merge_304(other, request, response, self.policy, asked_at, now)
                    self._settle(other, generation, now, on_disk=on_disk)
        return fresh

    def learn(
        self,
        variant: StoredResponse,
        request: Request,
        response: Response,
        asked_at: float,
        generation: int,
        now: float,
    ) -> None:
        """Let the answer to HEAD update what the request could have got, or make it stale (RFC 9111 section
        4.3.5)."""
        for stored in [variant, *self._beside(variant, request)]:
            if merge_head(stored, request, response, self.policy, asked_at, now) != NOTHING:
                self._settle(stored, generation, now)

    def _beside(self, variant: StoredResponse, request: Request) -> list[StoredResponse]:
        """Return what else of the same key a request could have got."""
        entry = self.cache.store.peek(variant.key)
        if entry is None or len(entry.variants) < 2:
            return []
        return [other for other in entry.variants if other is not variant and matches(other, request.fields)]

    def _settle(self, variant: StoredResponse, generation: int, now: float, *, on_disk: bool = True) -> None:
        """Keep what has been updated, if it may still be kept."""
        self.cache.store.catch_up(variant, generation)
        if still_storable(variant, self.policy, now):
            self.cache.changed(variant, on_disk=on_disk)
        else:
            self.cache.remove_variant(variant)

    # -- what has come in

    def keep(self, stored: StoredResponse, fill: Fill, *, on_disk: bool = True) -> None:
        """Store what has come in; not `on_disk`: in memory alone, for somebody else sees to the disk."""
        stored.length = fill.size
        stored.is_complete = True
        before = self.cache.store.displaced
        self.cache.keep_fill(stored, fill, on_disk=on_disk)
        self._bound_variants(stored.key, before)

    def keep_whole(self, stored: StoredResponse) -> None:
        """Store what is complete, with its content in memory."""
        before = self.cache.store.displaced
        self.cache.keep(stored)
        self._bound_variants(stored.key, before)

    def _bound_variants(self, key: bytes, before: int) -> None:
        """Let the oldest variants of a key go that are more than this route has, and tell how many gave way since
        the store had displaced `before`: its own bound is the largest of all routes."""
        store = self.cache.store
        if self.policy.max_variants < store.max_variants:
            store.shorten(key, self.policy.max_variants)
        if store.displaced != before:
            self.cache.limited(self.policy.name, LIMIT_VARIANTS, store.displaced - before)

    def keep_part(
        self, stored: StoredResponse, request: Request, piece: Piece, fill: Fill, is_whole: bool
    ) -> StoredResponse | None:
        """Store a part that has come in, or add it to what is stored of the same (RFC 9111 sections 3.3, 3.4).

        `is_whole`: its content came to its end. Returns what has the content now, stored or not; None: a file has.
        """
        asked = request.fields.get(b"range") or b""
        if fill.spooled or not set_partial(stored, piece, fill.body(), is_whole, asked):
            return stored
        cache = self.cache
        store = cache.store
        if store.is_outdated(stored.key, stored.tags, stored.generation, stored.request_time):
            return stored
        stored.generation = store.generation
        entry = store.peek(stored.key)
        old = choose(entry.variants, request.fields) if entry is not None else None
        before = old.body.size if old is not None else 0
        if old is not None and combine(old, stored):
            kept = old
            cache.changed(kept)
        elif old is None or replaces(old, stored):
            kept = stored
            self.keep_whole(kept)
        else:
            return stored
        if cache.disk is not None and cache.disk.move(kept):
            return None
        # Readers of what was there already hold octets of their own.
        return kept if kept.body.size == before + fill.size else stored

    def keep_slice(self, stored: StoredResponse, piece: Piece, fill: Fill, *, on_disk: bool) -> None:
        """Store a slice that has all come in, where a whole response would be; its key is its own."""
        body: Body = fill.upload if fill.upload is not None else fill.body()
        if set_partial(stored, piece, body, True, b""):
            self.cache.keep_fill(stored, fill, on_disk=on_disk)

    def keep_beginning(self, stored: StoredResponse, fill: Fill) -> None:
        """Store what has come of an answer that broke off, where the rest can be recognised."""
        if fill.spooled:
            return
        length = stored.length
        entry = self.cache.store.peek(stored.key)
        if entry is not None and entry.variants:
            return  # what is stored is worth no less
        if set_broken_off(stored, fill.body(), length):
            self.cache.keep(stored)

    # -- what is not to be used any more

    def _is_there(self, variant: StoredResponse) -> bool:
        """Tell whether content can be read; where it cannot, the response is not stored any more."""
        body = variant.body
        file = (
            body if isinstance(body, CheckedBody) else file_of(body) if variant.ranges is not None else None
        )
        return file is None or self.cache.is_there(variant, file)

    def doubt(self, client: Exchange) -> None:
        """Have what would answer this request confirmed before its next use: it is of no use to its client. What the
        origin has instead takes its place, and nothing else of the URL goes."""
        key = self._key_of(client)
        known = self.cache.store.peek(key)
        if known is not None and known.first is not None:
            for variant in known.variants:
                variant.flags |= SOFT_PURGED
        else:
            entry = self.cache.find(key)
            for variant in entry.variants if entry is not None else ():
                self.cache.remove_variant(variant)  # memory does not take it
        moments = self.cache.moments
        if moments is not None:
            moments.set(url_of(key), time.time())  # what other workers have of it is no better

    def invalidate(self, exchange: Exchange, response: Response | None) -> None:
        """Let nothing be used unconfirmed that an unsafe request may have changed; `response` None: it is on its
        way."""
        request = exchange.request
        answer = response if response is not None else Response(200, b"OK", 11, Fields([], []))
        now = time.time()
        policy = self.policy
        for uri in targets(request, answer, policy, exchange.secure, exchange.host, request.target):
            self.cache.invalidate(uri, now)
