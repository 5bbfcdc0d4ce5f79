"""What is behind the head of an answer that the cache has asked for: content, those who read it, and its end.

The lower half of a flight (`proxy/flight`), which has the states. Content that is stored goes into a fill, and each
client reads it at its own pace (`proxy/serving`); what is not stored goes to the first client as it comes; what is of
no use is read away within bounds. All of the clients may go: a fill goes on, unless more than `background_fill` is
missing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from headgate.cache.entry import StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.outcome import NO_ROOM, NOT_STORED, REASONS, TOO_LARGE
from headgate.cache.partial import Piece
from headgate.cache.store.messages import SMALL_CONTENT
from headgate.connection.exchange import Downstream, Exchange
from headgate.counters import CACHE_FETCHED, CACHE_FILLS_BROKEN, CACHE_FILLS_LEFT, CACHE_HELD, CACHE_PASSED
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.proxy.awaited import AWAITING, DIRECT, DISCARDING, FILLING, OVER, Awaited
from headgate.proxy.caching import LIMIT_ROOM
from headgate.proxy.on_behalf import NOBODY, context_of, exchange_for
from headgate.proxy.serving import Reader, ReaderOwner, has_to_wait

if TYPE_CHECKING:
    from headgate.proxy.cached import CacheHandler

# Read away of an answer that is of no use, before its connection is closed instead; `proxy/attempt` reads as much.
MAX_DISCARD: Final = 64 * 1024


class Filling(Downstream, ReaderOwner, Awaited):
    """One request to the origin, and its answer from the head on."""

    def __init__(
        self,
        handler: CacheHandler,
        key: bytes,
        client: Exchange,
        request: Request,
        variant: StoredResponse | None,
        reason: int,
        started: float,
        is_shared: bool,
    ) -> None:
        self.handler = handler
        self.cache = handler.cache
        self.key = key
        self.asked = client.request  # what the rules look at: as the first client has sent it
        self.variant = variant
        self.reason = reason  # why it was sent
        self.is_shared = is_shared
        self.slice = client.slice
        self.head: Response | None = None  # of a slice, for those who come later
        self.is_second: bool = False  # for those to whom the one before did not suit
        self.state: int = AWAITING
        self.leader: Exchange | None = None  # the one whose request this is
        self._leads = False  # that one waits for the head
        self.waiting: dict[Exchange, None] | None = None  # the others who do
        self.readers: list[Reader] = []
        self.fill: Fill | None = None
        self.stored: StoredResponse | None = None  # what is being filled
        self.piece: Piece | None = None  # what it is of the whole, None: all
        self.started = started
        self.generation: int = self.cache.store.generation  # purges that are given from now on are for it too
        self._held = 0
        self._discarded = 0
        self._paused = False
        self._is_empty = False
        self._has_tried_disk = False
        self.is_led = False  # a client asked for it, and may leave it
        self._expected = -1  # octets of content, where the head says so
        self._alone_from = -1  # what had come when the last client left
        self._spool_from: int = SMALL_CONTENT
        self.home_outcome = -1  # what became of it at another worker, which has answered
        self.exchange = exchange_for(
            client, context_of(client.context), self, request, handler.poller.now, handler.inner
        )

    # -- clients that wait for the head

    def wait(self, client: Exchange) -> None:
        """Let a client wait for the head."""
        if self.waiting is None:
            self.waiting = {}
        self.waiting[client] = None
        client.attempt = self

    def lead(self, client: Exchange) -> None:
        """Let the client wait whose request this is: only that one may get an answer that is not stored."""
        self.leader = client
        self._leads = True
        self.is_led = True
        client.attempt = self

    def _take_waiting(self) -> list[Exchange]:
        """Return all who wait for the head, the leader first; they wait no more."""
        waiting: list[Exchange] = []
        leader = self.leader
        if self._leads and leader is not None:
            self._leads = False
            waiting.append(leader)
        if self.waiting is not None:
            waiting.extend(self.waiting)
            self.waiting = None
        for client in waiting:
            client.attempt = None
        return waiting

    # -- clients that read

    def _let_read(self, reader: Reader) -> None:
        """Let a client read, whose head is sent."""
        reader.owner = self
        self._alone_from = -1
        reader.go_on()
        if not reader.is_gone:
            self.readers.append(reader)
        if self._paused:
            self.reader_moved()

    def reader_left(self, reader: Reader) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
        self.reader_moved()

    def reader_moved(self) -> None:
        fill = self.fill
        # Whoever has all of its range reads no more, and holds nothing up.
        self.readers = [reader for reader in self.readers if not reader.is_gone]
        if self.state == OVER:
            if not self.readers:
                self._account(None)
            self._let_go_of_file()
            return
        if fill is None or self.state != FILLING or (not fill.keeps and not self._trim(fill)):
            return
        if self._paused and not has_to_wait(fill, self.readers, self._expected, self.cache.background_fill):
            self._paused = False
            self.drained()

    def drained(self) -> None:
        """More of the content is wanted."""
        inner = self.exchange.handler
        if inner is not None:
            inner.downstream_drained(self.exchange)

    # -- content (called by the route's handler)

    def write(self, data: bytes) -> None:
        state = self.state
        if state == DIRECT:
            if self.home_outcome < 0:
                self.cache.values[CACHE_PASSED] += len(data)
            leader = self.leader
            if leader is not None:
                leader.downstream.write(data)
        elif state == FILLING:
            if self.home_outcome < 0:
                self.cache.values[CACHE_FETCHED] += len(data)
            fill = self.fill
            if fill is not None:
                self._append(fill, data)
                if not fill.keeps and self.stored is not None:
                    # What may be stored, and is no more, would be on a disk that does not take it now.
                    has_failed = self.cache.disk is not None and fill.size <= self.handler.policy.max_object
                    self._too_large(NO_ROOM if has_failed else TOO_LARGE)
        elif state == DISCARDING:
            self._discarded += len(data)

    def _append(self, fill: Fill, data: bytes) -> None:
        """Take a piece of content; what is large goes to the disk while it comes."""
        disk = self.cache.disk
        if disk is None or fill.size + len(data) <= self._spool_from:
            fill.append(data)
            return
        stored = self.stored
        is_apart = self.piece is not None and self.slice < 0
        if fill.upload is None and stored is not None and not is_apart and not self._has_tried_disk:
            self._has_tried_disk = True
            disk.begin(fill, stored, self.handler.policy.max_object)
        if fill.upload is not None:
            disk.append(fill, data)
        else:
            fill.append(data)

    def _too_large(self, why: int) -> None:
        """More has come than may be stored (TOO_LARGE), or held meanwhile (NO_ROOM): pass it on, and keep nothing."""
        for reader in self.readers:
            reader.exchange.cache_stored = REASONS[why]
        if self.fill is not None and self.cache.disk is not None:
            self.cache.disk.drop(self.fill)
        self.stored = None
        self._unlist()
        if self.piece is not None or why == NO_ROOM:
            return  # of another part that need not be true, nor once there is room
        until = time.time() + self.handler.policy.uncacheable_ttl
        self.cache.store.mark_uncacheable(self.key, until)

    def finish(self, trailers: Fields | None) -> None:
        if self.state == DIRECT:
            leader = self.leader
            self._end()
            if leader is not None:
                self.leader = None
                leader.attempt = None
                leader.handler = None
                leader.accepting = True
                leader.downstream.finish(trailers)
                leader.downstream.flush()
        elif self.state == FILLING:
            self._complete()
        elif self.state == DISCARDING:
            self._end()

    def _complete(self) -> None:
        """All of the content is there."""
        fill = self.fill
        self._end()
        self._unlist()
        if fill is None:
            return
        fill.end()
        holder = self._store(fill, True)
        self._account(None)
        self._push()
        self._lend(fill, holder)

    def _lend(self, fill: Fill, holder: StoredResponse | None) -> None:
        """Who has not read all yet holds what came, whatever becomes of `holder`, which has it in the store."""
        if not self.readers or fill.held == 0:
            return
        if holder is None:
            self._account(fill)  # until they have gone
            return
        for reader in self.readers:
            reader.borrow(self.cache.store, holder, fill.held)

    def _store(self, fill: Fill, is_whole: bool) -> StoredResponse | None:
        """Store what has come in; not `is_whole`: it broke off. Returns what has it, None: it was not kept."""
        stored = self.stored
        self.stored = None
        if stored is None or not fill.keeps:
            return None
        piece = self.piece
        if piece is not None and self.slice >= 0 and is_whole and fill.size == piece.end - piece.start:
            self.handler.keep_slice(stored, piece, fill, on_disk=self.home_outcome < 0)
            return stored
        if piece is not None:
            return self.handler.keep_part(stored, self.asked, piece, fill, is_whole)
        if is_whole:
            self.handler.keep(stored, fill, on_disk=self.home_outcome < 0)
        else:
            self.handler.keep_beginning(stored, fill)
        return stored

    def _push(self) -> None:
        """Let everybody go on who takes more."""
        for reader in self.readers[:]:
            reader.go_on()
            if reader.is_gone and reader in self.readers:
                self.readers.remove(reader)
        self._let_go_of_file()

    def flush(self) -> bool:
        state = self.state
        if state == DIRECT:
            if self._is_empty:
                self.finish(None)  # answers of ours without content have no other end
                return True
            leader = self.leader
            return leader.downstream.flush() if leader is not None else True
        if state == AWAITING:
            leader = self.leader
            if leader is not None:
                leader.downstream.flush()  # of interim answers
            return True
        if state == DISCARDING:
            if self._discarded > MAX_DISCARD:
                self.abandon()
            return True
        fill = self.fill
        if fill is None or state != FILLING:
            return True
        self._account(fill)
        if self.stored is not None and fill.held and not self.cache.has_room(0) and not fill.leave_memory():
            fill.keeps = False
            self.cache.limited(self.handler.policy.name, LIMIT_ROOM)
            self._too_large(NO_ROOM)
        self._push()
        if self.state != FILLING:
            return True
        if fill.keeps:
            if not self.readers and self.is_led and self._is_too_far(fill):
                self.cache.values[CACHE_FILLS_LEFT] += 1
                self.abandon()
                return True
        elif not self._trim(fill):
            return True
        self._paused = has_to_wait(fill, self.readers, self._expected, self.cache.background_fill)
        return not self._paused

    def _trim(self, fill: Fill) -> bool:
        """Let go of what all have read of content that is not kept; False: nobody reads any more."""
        for reader in self.readers[:]:
            if reader.goes_back():
                reader.break_off("cache-room")  # what it would go back for is not held
                self.readers.remove(reader)
        if not self.readers:
            self.abandon()
            return False
        fill.trim(min([reader.at for reader in self.readers]))
        self._account(fill)
        return True

    def _is_too_far(self, fill: Fill) -> bool:
        """Tell whether more is missing than is fetched for nobody."""
        most = self.cache.background_fill
        if self._expected >= 0:
            return self._expected - fill.size > most
        if self._alone_from < 0:
            self._alone_from = fill.size
        return fill.size - self._alone_from > most

    def resume(self) -> None:
        return  # there is no content to send

    # -- ends

    def abort(self, reason: str) -> None:
        self._broken(reason)

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        if self.state == OVER:
            return
        exchange = self.exchange
        inner = exchange.handler
        exchange.handler = None
        self._broken("abandoned")
        if inner is not None:
            inner.downstream_closed(exchange)

    def _broken(self, reason: str) -> None:
        """The rest will not come: whoever has begun to read sees that, and nothing is stored."""
        if self.state == OVER:
            return
        state = self.state
        self._end()
        self._unlist()
        self._account(None)
        fill = self.fill
        leader = self.leader
        if leader is not None:
            leader.detail = self.exchange.detail  # what broke, said once
        if state == DIRECT:
            self.leader = None
            if leader is not None:
                leader.attempt = None
                leader.downstream.abort(reason)
        elif state == FILLING and fill is not None:
            self.cache.values[CACHE_FILLS_BROKEN] += 1
            fill.break_off()
            self._store(fill, False)
            readers = self.readers
            self.readers = []
            for reader in readers:
                # What has come still goes out; who is behind gets what its connection takes now.
                reader.go_on()
                reader.break_off(reason)
            self._let_go_of_file()
        for client in self._take_waiting():
            self.handler.go_alone(client, NOT_STORED)

    def _end(self) -> None:
        """It is over. Flight and exchange let go of each other here: left to the collector of cycles, each miss would
        be work for it, and would keep its answer until then."""
        self.state = OVER
        self.exchange.downstream = NOBODY

    def _unlist(self) -> None:
        self.cache.forget(self)

    def _let_go_of_file(self) -> None:
        """A file that content came into is needed no more once everybody has read it."""
        fill = self.fill
        if fill is None or self.state != OVER or self.readers or self.cache.disk is None:
            return
        self.cache.disk.let_go(fill)

    def _account(self, fill: Fill | None) -> None:
        held = fill.held if fill is not None else 0
        self.cache.values[CACHE_HELD] += held - self._held
        self._held = held
