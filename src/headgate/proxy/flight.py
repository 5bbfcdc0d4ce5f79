"""One request to the origin on behalf of the cache, and everybody who waits for its answer.

A flight is the client's side of an exchange that no client has: the route's handler (a reverse proxy, an
application) answers it like any other, and does not know of the cache. Its life:

    AWAITING     no head yet. Clients wait in `waiting`, the first of them in front.
    FILLING      the answer is being stored: each client reads it at its own pace, and more may join (`cache/fill`).
                 All of them may go: the fill goes on, unless more than `background_fill` is missing.
    DIRECT       the answer cannot be stored, and goes to the first client as it comes, at that client's pace.
    DISCARDING   the answer is of no use: 304 (the stored response is served), an error in whose place a stale
                 response is served. What comes of it is read away, within bounds.
    OVER

Who waits is woken by the head, never by a timer: with an answer that suits it joins, else it makes a request of its
own at once. An error that Headgate makes itself because the origin gave no answer is everybody's who waited: they
would get the same, later. Where the first client's own fields may have caused it, the others wait for one request
more, which is that of another client, and no herd.
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.cache import outcome as words
from headgate.cache.entry import SOFT_PURGED, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.partial import piece_of
from headgate.cache.reuse import FORWARD
from headgate.cache.vary import matches
from headgate.connection.exchange import Exchange
from headgate.counters import CACHE_FILLS
from headgate.engine.events import Response
from headgate.http.date import add_date
from headgate.http.fields import AUTHORIZATION, DATE
from headgate.proxy.awaited import AWAITING, DIRECT, DISCARDING, FILLING
from headgate.proxy.confirming import serve_confirmed, serve_instead, serve_stale
from headgate.proxy.filling import MAX_DISCARD, Filling
from headgate.proxy.on_behalf import tell
from headgate.proxy.serving import Reader

# What became of a request at home that says more than that it was asked for here.
_OF_HOME: Final = frozenset((words.HIT, words.STALE, words.REVALIDATED, words.COLLAPSED))
# The origin had the request and gave no answer, or none that is one: what broke there may be what this client sent.
_MAYBE_ITS_OWN: Final = frozenset(("app-error", "app-no-answer", "app-cancelled"))
# More fields than the origin takes: that is this request's alone.
_ITS_OWN: Final = "upstream-peer-field-limit"


@final
class Flight(Filling):
    """One request to the origin. `variant` is the stored response that it shall confirm, or that stands in for an
    error; `is_shared`: others may wait for it."""

    def __repr__(self) -> str:
        return f"<Flight {self.key.decode('latin-1')} state={self.state} {len(self.waiting or ())} waiting>"

    # -- clients

    def join(self, client: Exchange) -> bool:
        """Let a client read what is being filled, if it suits its request; tell whether it does."""
        stored = self.stored
        fill = self.fill
        if stored is None or fill is None or self.state != FILLING or not fill.keeps:
            return False
        if self.piece is not None:
            return self._join_slice(client, stored, fill)
        if not self.handler.suits(client.request, stored, time.time()) and not (
            # It stands in for an error: that one's origin would say the same again.
            self._is_stand_in and self.handler.unfit(client.request, stored, time.time()) == words.NONE
        ):
            return False
        self._let_read(self.handler.read_along(client, stored, fill, words.COLLAPSED, words.NONE))
        return True

    def _join_slice(self, client: Exchange, stored: StoredResponse, fill: Fill) -> bool:
        """Let one more client read a slice, all of whose clients ask for the same octets."""
        head = self.head
        if head is None or not matches(stored, client.request.fields):
            return False
        self._let_read(self.handler.read_whole(client, head, fill, words.COLLAPSED, words.NONE, stored))
        return True

    def begin(self) -> None:
        """Ask the route's handler, or the worker that sees to the key."""
        peers = self.cache.peers
        if peers is None or not self.is_shared or not peers.ask(self):
            self.handler.inner.handle(self.exchange)

    def answered_by_home(self, outcome: int, reason: int) -> None:
        """Another worker answers, whose head is next; these say what became of it there."""
        self.home_outcome = outcome
        if outcome in _OF_HOME:
            self.reason = reason

    def go_by_itself(self, *, is_not_stored: bool) -> None:
        """The home has no answer for us: ask the origin. `is_not_stored`: nobody waits for what comes."""
        handler = self.handler
        exchange = self.exchange
        exchange.handler = None
        if is_not_stored:
            self.reason = words.KNOWN_UNCACHEABLE
            self._unlist()
            self.cache.store.mark_uncacheable(self.key, time.time() + handler.policy.uncacheable_ttl)
            leader = self.leader
            others = [client for client in self._take_waiting() if client is not leader]
            for client in others:
                handler.go_alone(client, words.KNOWN_UNCACHEABLE)
            if leader is not None:
                self.lead(leader)
            elif others:
                self.abandon()
                return
        exchange.handler = handler.inner
        handler.inner.handle(exchange)

    @property
    def _is_stand_in(self) -> bool:
        """Whether the home has answered with what it has in place of an error of the origin."""
        return self.home_outcome == words.STALE and self.reason in (words.UNREACHABLE, words.IF_ERROR)

    def _outcome(self) -> int:
        """Return what an answer to the first client is called."""
        if self.home_outcome in _OF_HOME:
            return self.home_outcome
        return self.handler.outcome_of(self.variant, self.reason)

    def left(self, client: Exchange) -> None:
        """A client is gone."""
        if client is self.leader:
            self.leader = None
            self._leads = False
        elif self.waiting is not None:
            self.waiting.pop(client, None)
        if self.state == DIRECT or (self.state == AWAITING and not self._leads and not self.waiting):
            # Without a head nobody knows whether it would be of use: who asks and goes makes the origin work no more
            # than without a cache.
            self.abandon()

    # -- the answer (called by the route's handler)

    def respond(self, response: Response) -> None:
        exchange = self.exchange
        if response.status < 200:
            leader = self.leader
            if leader is not None and self.state == AWAITING and response.status != 101:
                leader.downstream.respond(Response(response.status, response.reason, 11, response.fields))
            return
        if self.state != AWAITING:
            return
        exchange.status = response.status
        exchange.responded = True
        now = time.time()
        if response.fields.flags & DATE == 0:
            add_date(response.fields, now)  # RFC 9110 section 6.6.1: and it is what ages are counted from
        leader = self.leader
        if leader is not None:
            tell(leader, self.exchange)
        if exchange.reason:
            self._failed(response, now)
        elif self.variant is not None and response.status == 304 and self._is_stand_in:
            self._still_stale(self.variant, now)
        elif self.variant is not None and response.status == 304:
            self._confirmed(self.variant, response, now)
        elif self.variant is not None and response.status >= 500 and self._stands_in(response.status, now):
            return
        else:
            self._answered(response, now)

    def _answered(self, response: Response, now: float) -> None:
        """An answer of the origin that is to be passed on: stored if it may be."""
        if self.slice >= 0 and response.status == 200:
            self._unsliced(response)
            return
        handler = self.handler
        asked = self.asked
        verdict = None
        if self.exchange.request.method == b"GET":
            verdict = handler.may_keep(self.key, asked, response, now)
        elif self.variant is not None:
            handler.learn(self.variant, asked, response, self.started, self.generation, now)
            self.variant = None
        self._expected = response.body
        if verdict is None or verdict.why != words.STORED:
            self._direct(response, verdict.why if verdict is not None else words.NONE, now)
            return
        stored = handler.build(self.key, asked, response, self.started, now, verdict)
        stored.generation = self.generation
        if self._is_stand_in:
            stored.flags |= SOFT_PURGED  # confirmed before its next use, however fresh it is
        self.stored = stored
        if self.home_outcome >= 0:
            self._spool_from = handler.most_in_memory  # what memory can have the home sees to
        self.cache.values[CACHE_FILLS] += 1
        self.fill = handler.new_fill()
        self.state = FILLING
        self.piece = piece_of(response)
        if self.piece is None:
            if self.reason == words.KNOWN_UNCACHEABLE:
                self.cache.list_again(self)
            self._fill(response, stored, self.fill)
        else:
            self._fill_part(response, stored, self.fill)

    def _fill_part(self, response: Response, stored: StoredResponse, fill: Fill) -> None:
        """A part is stored for ranges of later requests; nobody waits for it but the one who asked, except for a
        slice."""
        leader = self.leader
        waiting = self._take_waiting()
        if self.slice >= 0:
            self.head = Response(response.status, response.reason, 11, response.fields.copy(), response.body)
        if leader is not None:
            self._let_read(
                self.handler.read_whole(leader, response, fill, self._outcome(), self.reason, stored)
            )
        for client in waiting:
            if client is not leader and not self.join(client):
                self._let_go(client, stored)

    def _unsliced(self, response: Response) -> None:
        """A slice was asked for, and all is what comes: nobody wants it in place of a slice, and all are told."""
        self.state = DISCARDING
        self._unlist()
        if self.variant is not None:
            self.cache.remove_variant(self.variant)
        for client in self._take_waiting():
            if client.peer_key:
                self.handler.go_alone(client, words.NONE)
                continue
            client.downstream.respond(response)
            client.downstream.flush()

    def _fill(self, response: Response, stored: StoredResponse, fill: Fill) -> None:
        stored.length = response.body
        waiting = self._take_waiting()
        leader = self.leader
        handler = self.handler
        if leader is not None:
            # Its head goes out with what comes next: at the end of the origin's turn at the latest (`flush`).
            reader = handler.read_first(leader, stored, fill, response, self._outcome(), self.reason)
            reader.owner = self
            self.readers.append(reader)
        for client in waiting:
            if client is not leader and not self.join(client):
                self._let_go(client, stored)
        if response.body == 0:
            self._complete()

    def go_on_filling(
        self, client: Exchange, stored: StoredResponse | None, fill: Fill, expected: int
    ) -> None:
        """Take over what a lead has begun to store, and its client, who has all that came so far."""
        self.stored = stored
        self.fill = fill
        self.state = FILLING
        self._expected = expected
        own = self.exchange
        own.status = client.status
        own.responded = True
        self.leader = client
        reader = Reader(client, self.cache.values, fill, None, fill.size)
        client.attempt = reader
        reader.owner = self
        self.readers.append(reader)

    def client_left(self, client: Exchange) -> None:
        """The client that a lead has brought along is gone."""
        reader = client.attempt
        client.attempt = None
        if isinstance(reader, Reader):
            reader.left()

    def _let_go(self, client: Exchange, stored: StoredResponse) -> None:
        """What is being stored does not suit one who waited for it. If it is for other values of Vary, those who have
        the same may still wait for one another, once."""
        if self.is_second or matches(stored, client.request.fields):
            self.handler.go_alone(client, words.VARY)
        else:
            self.handler.go_second(client, words.VARY)

    def _direct(self, response: Response, why: int, now: float) -> None:
        """Nothing is stored: the first client gets it, the others ask for themselves."""
        self.state = DIRECT
        self._is_empty = response.body == 0
        self._unlist()
        waiting = self._take_waiting()
        leader = self.leader
        handler = self.handler
        # The answer to credentials, or to what is wrong with this one request, says nothing of what others would get.
        is_for_all = response.status < 500 and self.asked.fields.flags & AUTHORIZATION == 0
        if self.variant is not None and is_for_all and why != words.STATUS:
            self.cache.remove_variant(self.variant)
        # Nor does a lack of room: what comes next may find some.
        is_of_key = is_for_all and why != words.NO_ROOM
        if self.is_shared and is_of_key:
            self.cache.store.mark_uncacheable(self.key, now + handler.policy.uncacheable_ttl)
        if leader is None:
            self.abandon()
        else:
            leader.attempt = self
            outcome = self._outcome()
            # The client's conditions were not forwarded if the answer was to be for all, or to confirm.
            if (self.is_shared or self.variant is not None) and handler.has_it(leader.request, response, now):
                self.state = DISCARDING
                handler.pass_not_modified(leader, outcome, self.reason, why, response)
            else:
                handler.pass_head(leader, outcome, self.reason, why, response)
        for client in waiting:
            if client is not leader:
                handler.go_alone(
                    client, words.NOT_STORED if why == words.NO_ROOM else words.KNOWN_UNCACHEABLE
                )

    def _confirmed(self, variant: StoredResponse, response: Response, now: float) -> None:
        """304: the stored response is as good as new (RFC 9111 section 4.3.4)."""
        self.state = DISCARDING
        self._unlist()
        handler = self.handler
        ours = self.home_outcome < 0  # else the home tells the disk
        fresh = handler.merge(variant, self.asked, response, self.started, self.generation, now, on_disk=ours)
        waiting = self._take_waiting()
        leader = self.leader
        if fresh is None:
            # It is not for what we have: ask again, without conditions.
            for client in waiting:
                handler.go_alone(client, self.reason)
            return
        outcome = self.home_outcome if self.home_outcome in _OF_HOME else words.REVALIDATED
        serve_confirmed(handler, waiting, leader, fresh, outcome, self.reason, now)

    def _still_stale(self, variant: StoredResponse, now: float) -> None:
        """The home has the same, and serves it in place of an error: nothing is confirmed."""
        self.state = DISCARDING
        self._unlist()
        serve_stale(self.handler, self._take_waiting(), self.leader, variant, self.reason, now)

    def _stands_in(self, status: int, now: float) -> bool:
        """Serve the stored response in place of an error (RFC 9111 section 4.2.4, RFC 5861 section 4), or 504 where
        it must not be used; False: the error goes to the first who asked. `status` 0: the origin gave no answer."""
        variant = self.variant
        handler = self.handler
        if variant is None:
            return False
        decision = handler.instead(self.asked, variant, self.reason, status, now)
        if decision.action == FORWARD:
            return False
        self.state = DISCARDING
        self._unlist()
        waiting = self._take_waiting()
        serve_instead(handler, waiting, self.leader, variant, decision, self.reason, status, now)
        return True

    def _failed(self, response: Response, now: float) -> None:
        """The origin gave no answer, and this is ours: a stored response is better, else it is everybody's."""
        reason = self.exchange.reason
        is_its_own = reason == _ITS_OWN
        if not is_its_own and self._stands_in(0, now):
            return
        self._unlist()
        if is_its_own or (not self.is_second and _may_be_its_own(reason)):
            self._let_others_try()
        self.state = FILLING
        fill = Fill(MAX_DISCARD)
        self.fill = fill
        handler = self.handler
        outcome = handler.outcome_of(self.variant, self.reason)
        for client in self._take_waiting():
            tell(client, self.exchange)
            client.reason = self.exchange.reason
            if client is not self.leader:
                client.detail = ""  # told once
            reader = handler.read_whole(client, response, fill, outcome, self.reason)
            reader.owner = self
            self.readers.append(reader)
        if response.body == 0:
            self._complete()

    def _let_others_try(self) -> None:
        """The first client gets an error that may be its own; of the others one asks, for all of them."""
        waiting = self.waiting
        self.waiting = None
        if waiting is None:
            return
        for client in waiting:
            client.attempt = None
        for client in waiting:
            if self.is_second:
                self.handler.go_alone(client, self.reason, self.variant)
            else:
                self.handler.go_second(client, self.reason, self.variant)


def _may_be_its_own(reason: str) -> bool:
    """Tell whether an error may come of what the one client has sent: the origin was reached, and its silence is not
    what it is."""
    return reason in _MAYBE_ITS_OWN or (reason.startswith("upstream-") and reason != "upstream-timeout")
