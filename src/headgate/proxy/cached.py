"""The cache of one route: a handler that stands before the route's own (RFC 9111).

What may be done with a request is decided by `cache/reuse`, what may be stored by `cache/storing`; this is where the
decisions are carried out:

    SERVE                 a stored response answers, as 200, 304 or 206
    SERVE_AND_REVALIDATE  the same, and a flight without clients confirms it meanwhile (RFC 5861 section 3)
    VALIDATE, FETCH       a flight (`proxy/flight`); who asks for the same meanwhile waits for it, or reads along
    REFUSE                504: only-if-cached
    PASS                  the route's handler answers as if there were no cache

Nothing of this is of a version of HTTP, and the route's handler does not know of it.
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.cache import outcome as words
from headgate.cache.conditional import (
    FORWARD,
    add_validators,
    drop_conditions,
    evaluate,
    is_for_origin,
    not_modified_fields,
)
from headgate.cache.entry import NO_CACHE, SOFT_PURGED, Body, KeyEntry, MemoryBody, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.home import GONE, NOT_STORED, UNSUITED
from headgate.cache.invalidation import is_safe, targets
from headgate.cache.key import primary_key
from headgate.cache.narrowing import narrow
from headgate.cache.outcome import BYPASS, EXPIRED, MISS, UNCACHEABLE, cache_status, is_hit
from headgate.cache.partial import Piece, combine, file_of, holds, replaces, set_broken_off, set_partial
from headgate.cache.policy import Policy
from headgate.cache.purges import url_of
from headgate.cache.reuse import (
    FETCH,
    FETCH_ALONE,
    PASS,
    REFUSE,
    SERVE,
    SERVE_AND_REVALIDATE,
    VALIDATE,
    Decision,
    decide,
    on_error,
    ttl,
)
from headgate.cache.store.bodies import CheckedBody
from headgate.cache.storing import Verdict, build, judge, may_store, refused
from headgate.cache.update import NOTHING, is_named_strongly, merge_304, merge_head, still_storable
from headgate.cache.vary import choose, has_too_many, matches
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_FIRST, CACHE_REFRESHED, CACHE_SLICES_FIRST
from headgate.engine.events import Request, Response
from headgate.http.fields import AUTHORIZATION, CONDITIONAL, OVERRIDE, RANGE, Fields
from headgate.net.poller import Poller
from headgate.proxy.answers import answer_error
from headgate.proxy.awaited import AWAITING, Awaited
from headgate.proxy.caching import LIMIT_KEY, LIMIT_ROOM, LIMIT_VARIANTS, LIMIT_VARY, Cache
from headgate.proxy.flight import Flight
from headgate.proxy.lead import Lead
from headgate.proxy.partial import begin_range
from headgate.proxy.passing import Passing
from headgate.proxy.peer_gate import decline
from headgate.proxy.serving import Reader, freshen, is_plain, send_small

# Reasons of the one who asks: its answer is its own, and nobody waits for it.
_PERSONAL: Final = frozenset(
    (words.CLIENT_NO_CACHE, words.CLIENT_MAX_AGE, words.CLIENT_MIN_FRESH, words.KNOWN_UNCACHEABLE)
)


def _is_common_form(request: Request) -> bool:
    """Tell whether a request can go to the origin as it is, for whoever waits for the answer."""
    return (
        request.version == 11
        and request.fields.flags & (CONDITIONAL | RANGE) == 0
        and not request.close
        and not request.expect_continue
    )


def _is_simple(client: Exchange) -> bool:
    """Tell whether a request can go to the origin as it is, and its answer to the client as it comes."""
    request = client.request
    return (
        request.fields.flags & (CONDITIONAL | RANGE) == 0
        and request.version != 10
        and client.slice < 0
        and not client.peer_key
        and not request.expect_continue
    )


@final
class CacheHandler(Handler):
    """Answers the exchanges of one route from the cache of this worker, or through `inner`."""

    def __init__(self, cache: Cache, policy: Policy, inner: Handler, poller: Poller) -> None:
        self.cache = cache
        self.policy = policy
        self.inner = inner
        self.poller = poller
        self.shows = cache.shows
        # Of one response's content.
        self.most_in_memory = min(policy.max_in_memory, policy.max_object, cache.max_object)
        self.narrows = bool(policy.codings or policy.languages)
        if policy.key_fields or policy.key_cookies or policy.scope:
            cache.has_parts = True
        self.number = -1  # what workers call the route, where they ask one another

    def __repr__(self) -> str:
        return f"<CacheHandler {self.policy!r} before {self.inner!r}>"

    # -- requests

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        if self.narrows:
            narrow(request.fields, self.policy)
        key = self._key_of(exchange)
        if not key:
            if exchange.host and request.target.startswith(b"/"):
                self.cache.limited(self.policy.name, LIMIT_KEY)
            self._pass(exchange, words.BYPASSED, b"")
            return
        now = time.time()
        entry = self.cache.find(key)
        decision = decide(request, entry, self.policy, now)
        action = decision.action
        if action in (SERVE, SERVE_AND_REVALIDATE):
            variant = decision.variant
            if variant is not None:
                if action == SERVE_AND_REVALIDATE:
                    self._refresh(exchange, key, variant, decision.reason, now)
                self.serve(exchange, variant, decision.outcome, decision.reason, now)
                return
        if action == PASS:
            self._pass(exchange, decision.reason, key)
        elif action == REFUSE:
            self.refuse(exchange, decision.reason)
        else:
            self._fetch(exchange, key, decision, now)

    def handle_peer(self, exchange: Exchange, key: bytes) -> None:
        """Answer another worker with what is here or on its way. Else that one fetches it, where its client is."""
        request = exchange.request
        now = time.time()
        decision = decide(request, self.cache.find(key), self.policy, now)
        action = decision.action
        variant = decision.variant
        if action == SERVE_AND_REVALIDATE and variant is not None:
            if request.fields.flags & CONDITIONAL:
                # It confirms what it has, while that is served there.
                decision = Decision(VALIDATE, EXPIRED, words.EXPIRY, variant)
                action = VALIDATE
            else:
                self._refresh(exchange, key, variant, decision.reason, now)
        peers = self.cache.peers
        if action in (SERVE, SERVE_AND_REVALIDATE) and variant is not None:
            self.serve(exchange, variant, decision.outcome, decision.reason, now)
        elif action in (VALIDATE, FETCH) and peers is not None and peers.claimed.has(key):
            self._fetch(exchange, key, decision, now)
        else:
            self._decline(exchange, GONE)

    def _decline(self, exchange: Exchange, why: int = UNSUITED) -> None:
        """Let another worker ask for itself, and say so if nothing that comes is stored."""
        entry = self.cache.store.peek(exchange.peer_key)
        is_marked = entry is not None and time.time() < entry.uncacheable_until
        decline(exchange, NOT_STORED if is_marked else why)

    def _pass(self, exchange: Exchange, reason: int, key: bytes) -> None:
        """Let the route's own handler answer a request; under `key` its answer is kept if it is one to GET."""
        if exchange.peer_key:
            self._decline(exchange)
            return
        self.note(exchange, BYPASS, reason)
        request = exchange.request
        if request.fields.flags & OVERRIDE:
            key = b""
        if request.upgrade or exchange.is_connect:
            # The connection itself may be handed over: nobody stands in between. An unsafe method may have its effect
            # at any time from now on.
            if not is_safe(request.method):
                self.invalidate(exchange, None)
        else:
            passing = Passing(self, exchange, exchange.downstream, reason, key)
            exchange.downstream = passing
            if request.method == b"POST":
                exchange.handler = passing
                passing.handle(exchange)
                return
        exchange.handler = self.inner
        self.inner.handle(exchange)

    def refuse(self, exchange: Exchange, reason: int) -> None:
        self.note(exchange, words.REFUSED, reason)
        answer_error(exchange, 504, words.REASONS[reason])

    # -- flights

    def _fetch(self, exchange: Exchange, key: bytes, decision: Decision, now: float) -> None:
        """Ask the origin, or wait for somebody who has asked already."""
        request = exchange.request
        is_common = self._is_common(request, decision)
        is_shared = is_common and (exchange.slice >= 0 or self._is_for_all(request))
        # To confirm what is stored would take the place of a condition that is for the origin.
        confirms = decision.action == VALIDATE and not is_for_origin(request.fields)
        variant = decision.variant if confirms else None
        if is_common:
            flight = self.cache.under_way(key)
            if flight is not None:
                if flight.state == AWAITING:
                    flight.wait(exchange)
                    return
                if flight.join(exchange):
                    return
        self._fly(exchange, key, variant, decision.reason, now, is_shared)

    def _is_common(self, request: Request, decision: Decision) -> bool:
        """Tell whether the answer to somebody else's request may be the answer to this one."""
        if decision.action == FETCH_ALONE or decision.reason in _PERSONAL or request.method != b"GET":
            return False
        fields = request.fields
        flags = fields.flags
        if flags & AUTHORIZATION:
            return False
        variant = decision.variant
        if variant is not None and (variant.flags & NO_CACHE or variant.lifetime <= 0.0):
            return False  # each request is confirmed for itself (RFC 9111 section 5.2.2.4)
        return not is_for_origin(fields)

    def _is_for_all(self, request: Request) -> bool:
        """Tell whether its answer will be good for others: a part of something is asked for as such."""
        fields = request.fields
        return fields.flags & RANGE == 0 or b"range" not in fields.names

    def _fly(
        self,
        client: Exchange,
        key: bytes,
        variant: StoredResponse | None,
        reason: int,
        now: float,
        is_shared: bool,
        is_second: bool = False,
    ) -> None:
        request = client.request
        if request.fields.flags & OVERRIDE:
            # The origin may answer another request than this one: what it says is nobody else's.
            self._pass(client, words.BYPASSED, b"")
            return
        if variant is None and self.inner.hands_over and _is_simple(client):
            peers = self.cache.peers
            lead = Lead(self, key, client, reason, now, is_shared, is_second)
            if not is_shared or peers is None or peers.leave(lead, self.number, request.fields):
                lead.begin()
                return
        if variant is not None or not _is_common_form(request):
            asked = request
            fields = asked.fields.copy()
            if variant is not None:
                if client.slice < 0:
                    fields.remove(b"range")
                add_validators(fields, variant)
            elif is_shared:
                drop_conditions(fields)
            request = Request(asked.method, asked.target, 11, fields)
            request.host = asked.host
        flight = Flight(self, key, client, request, variant, reason, now, is_shared)
        flight.is_second = is_second
        if is_shared:
            self.cache.flights[key] = flight
        flight.lead(client)
        flight.begin()

    def _refresh(
        self, client: Exchange, key: bytes, variant: StoredResponse, reason: int, now: float
    ) -> None:
        """Confirm a stored response while it is served; one flight at a time."""
        if key in self.cache.flights or client.request.fields.flags & OVERRIDE:
            return
        fields = client.request.fields.copy()
        if client.slice < 0:
            fields.remove(b"range")
        add_validators(fields, variant)
        request = Request(b"GET", client.request.target, 11, fields)
        request.host = client.request.host
        flight = Flight(self, key, client, request, variant, reason, now, True)
        if client.request.method != b"GET":
            flight.asked = Request(b"GET", request.target, 11, client.request.fields)
            flight.asked.host = request.host
        self.cache.flights[key] = flight
        self.cache.values[CACHE_REFRESHED] += 1
        flight.begin()

    def go_alone(self, client: Exchange, reason: int, variant: StoredResponse | None = None) -> None:
        """Make a request of its own for a client that has waited in vain; nobody waits for it. `variant` is what it
        shall confirm."""
        if client.peer_key:
            self._decline(client)
            return
        self._fly(client, self._key_of(client), variant, reason, time.time(), False)

    def go_second(self, client: Exchange, reason: int, variant: StoredResponse | None = None) -> None:
        """Make a request that those may wait for to whom the answer did not suit that they have waited for."""
        key = self._key_of(client)
        flight = self.cache.flights.get(key)
        if flight is not None and flight.is_second and flight.state == AWAITING:
            flight.wait(client)
        else:
            self._fly(client, key, variant, reason, time.time(), True, is_second=True)

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

    # -- rules, with this route's policy

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

    def keep(self, stored: StoredResponse, fill: Fill, *, on_disk: bool = True) -> None:
        """Store what has come in; not `on_disk`: in memory alone, for somebody else sees to the disk."""
        stored.length = fill.size
        stored.is_complete = True
        store = self.cache.store
        before = store.displaced
        self.cache.keep_fill(stored, fill, on_disk=on_disk)
        if store.displaced != before:
            self.cache.limited(self.policy.name, LIMIT_VARIANTS, store.displaced - before)

    def keep_whole(self, stored: StoredResponse) -> None:
        """Store what is complete, with its content in memory."""
        store = self.cache.store
        before = store.displaced
        self.cache.keep(stored)
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
            cache.keep(kept)
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

    def invalidate(self, exchange: Exchange, response: Response | None) -> None:
        """Let nothing be used unconfirmed that an unsafe request may have changed; `response` None: it is on its
        way."""
        request = exchange.request
        answer = response if response is not None else Response(200, b"OK", 11, Fields([], []))
        now = time.time()
        policy = self.policy
        for uri in targets(request, answer, policy, exchange.secure, exchange.host, request.target):
            self.cache.invalidate(uri, now)

    # -- answers

    def serve(
        self,
        client: Exchange,
        variant: StoredResponse,
        outcome: int,
        reason: int,
        now: float,
        forwarded_status: int = 0,
    ) -> None:
        """Answer from a stored response; `forwarded_status` is what the origin said first, 0 when nothing."""
        if not variant.is_packed and not self._is_there(variant):
            found = self._find_another(client, variant, now)
            if found is None:
                self._ask_anew(client, now)
                return
            variant = found
        status = evaluate(client.request, variant, now)
        if status == FORWARD:
            self._pass(client, reason, b"")
            return
        self.note(client, outcome, reason)
        if status == 200 and variant.is_packed and is_plain(client):
            fields, content = variant.take_out()
            if len(content) == variant.length:
                client.handler = self
                freshen(fields, variant, now, outcome, reason, forwarded_status, shows=self.shows)
                send_small(client, self.cache.values, variant, fields, content)
                return
        fields = self._stored_fields(variant, outcome, reason, now, forwarded_status)
        reader = Reader(client, self.cache.values, None, variant.body, 0, variant.length)
        reader.store = self.cache.store
        reader.variant = variant
        self._begin(reader, variant, status, fields)
        reader.go_on()

    def _is_there(self, variant: StoredResponse) -> bool:
        """Tell whether content can be read; where it cannot, the response is not stored any more."""
        body = variant.body
        file = (
            body if isinstance(body, CheckedBody) else file_of(body) if variant.ranges is not None else None
        )
        return file is None or self.cache.is_there(variant, file)

    def _ask_anew(self, client: Exchange, now: float) -> None:
        """What was to answer is lost: go on as if nothing had been stored, with all who want the same."""
        if client.peer_key:
            self._decline(client)
            return
        decision = decide(client.request, None, self.policy, now)
        if decision.action == REFUSE:
            self.refuse(client, decision.reason)
        elif decision.action == PASS:
            self._pass(client, decision.reason, self._key_of(client))
        else:
            self._fetch(client, self._key_of(client), decision, now)

    def _find_another(self, client: Exchange, lost: StoredResponse, now: float) -> StoredResponse | None:
        """The file of what was to answer is gone: another worker may have put another in its place."""
        body = file_of(lost.body)
        if body is not None and body.is_bad:
            return None  # the index may have it until the writer has heard
        decision = decide(client.request, self.cache.find(self._key_of(client)), self.policy, now)
        variant = decision.variant
        if decision.action != SERVE or variant is None or not self._is_there(variant):
            return None
        return variant

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

    # -- clients

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return  # requests with content go by the cache

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def downstream_drained(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        if isinstance(attempt, Reader):
            attempt.drained()
            return
        if isinstance(attempt, Flight):
            attempt.drained()

    def downstream_closed(self, exchange: Exchange) -> None:
        attempt = exchange.attempt
        exchange.attempt = None
        if isinstance(attempt, Reader):
            attempt.left()
        elif isinstance(attempt, Awaited):
            attempt.left(exchange)
