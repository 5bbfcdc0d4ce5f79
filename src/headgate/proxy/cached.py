"""The cache of one route: a handler that stands before the route's own (RFC 9111).

What may be done with a request is decided by `cache/reuse`, what may be stored by `cache/storing`; this is where the
decisions are carried out:

    SERVE                 a stored response answers, as 200, 304 or 206
    SERVE_AND_REVALIDATE  the same, and a flight without clients confirms it meanwhile (RFC 5861 section 3)
    VALIDATE, FETCH       a lead (`proxy/lead`) or a flight (`proxy/flight`), for which others may wait, or read along
    REFUSE                504: only-if-cached
    PASS                  the route's handler answers as if there were no cache

Nothing of this is of a version of HTTP, and the route's handler does not know of it.
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.cache import outcome as words
from headgate.cache.conditional import FORWARD, add_validators, drop_conditions, evaluate, is_for_origin
from headgate.cache.entry import NO_CACHE, StoredResponse
from headgate.cache.home import GONE, NOT_STORED, UNSUITED
from headgate.cache.invalidation import is_safe
from headgate.cache.narrowing import narrow
from headgate.cache.outcome import BYPASS, EXPIRED
from headgate.cache.partial import file_of
from headgate.cache.policy import Policy
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
)
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_REFRESHED
from headgate.engine.events import Request
from headgate.http.fields import AUTHORIZATION, CONDITIONAL, OVERRIDE, RANGE, Fields
from headgate.net.poller import Poller
from headgate.proxy.answers import answer_error
from headgate.proxy.awaited import AWAITING, Awaited
from headgate.proxy.caching import LIMIT_KEY, Cache
from headgate.proxy.flight import Flight
from headgate.proxy.lead import Lead
from headgate.proxy.passing import Passing
from headgate.proxy.peer_gate import decline
from headgate.proxy.route_answers import RouteAnswers
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
class CacheHandler(RouteAnswers):
    """Answers the exchanges of one route from the cache of this worker, or through `inner`."""

    def __init__(self, cache: Cache, policy: Policy, inner: Handler, poller: Poller) -> None:
        super().__init__(cache, policy)
        self.inner = inner
        self.poller = poller
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
            # What is here may be for other values of Vary: those who want that still ask here.
            self._decline(exchange, UNSUITED if decision.reason == words.VARY else GONE)

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

    # -- answers from the store

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
            self._pass(client, words.PRECONDITION, b"")
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
