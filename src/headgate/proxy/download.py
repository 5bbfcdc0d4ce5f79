"""What one client gets in slice mode: one slice after the other, in one answer (RFC 9110 section 14).

A `Download` asks the cache for each slice by a request of its own with a Range and a key of its own
(`Exchange.slice`). What it sends:

    LOOKING   the first slice has no head yet. It says how long the object is, and which version.
    SENDING   the client's head is out; slices follow at the client's pace, `slice_prefetch` of them asked for ahead.
    PASSING   the origin said neither yes nor no to a range (404, 503, ...): its answer is the client's.
    OVER

Slices of two versions never go into one answer: all have the strong validator and the length of the first. One that
has not is confirmed and asked for once more, for it may only be old; if it stays so, everything stored of the object
is purged and the answer breaks off. The client that resumes with If-Range begins anew with the new version.

All that acts happens in `flush` and `abort` of a slice, where whoever calls is prepared to be left.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

from headgate.cache import outcome as words
from headgate.cache.conditional import evaluate, not_modified_fields, strong_validator
from headgate.cache.entry import StoredResponse
from headgate.cache.ranges import Part, select
from headgate.connection.exchange import Exchange
from headgate.counters import CACHE_SENDFILE, CACHE_SLICES_BROKEN, CACHE_SLICES_DROPPED
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.net.transport import NOT_SENT
from headgate.proxy.partial import range_head
from headgate.proxy.serving import PIECE
from headgate.proxy.slice import Slice
from headgate.proxy.slice_requests import SliceRequests

if TYPE_CHECKING:
    from headgate.proxy.slices import SliceHandler

LOOKING: Final = 0
SENDING: Final = 1
PASSING: Final = 2
OVER: Final = 3

# For so long an object that is not sliced is asked for the normal way, in seconds.
_REMEMBERED: Final = 600.0


@final
class Download:
    """What one client gets. `slices` are those asked for and not yet sent, no more than one and those ahead."""

    def __init__(self, handler: SliceHandler, client: Exchange) -> None:
        self.handler = handler
        self.client = client
        self.requests = SliceRequests(handler, client)
        self.size = handler.size
        self.state: int = LOOKING
        self.slices: dict[int, Slice] = {}
        self.first = 0
        self.length = -1
        self.validator = b""
        self.at = 0
        self.end = 0
        self.parts: list[Part] = []
        self.tail = b""
        self.is_stalled = False
        self._pumps = False
        self._again = False

    def __repr__(self) -> str:
        return f"<Download at {self.at} of {self.length}, {len(self.slices)} slices>"

    def begin(self) -> None:
        """Ask for the first slice that the client needs."""
        self.first = self.requests.first()
        self._ask(self.first, False)
        self.pump()

    def _ask(self, index: int, is_second: bool) -> None:
        wanted = Slice(self, index, is_second)
        exchange = self.requests.make(index, wanted)
        wanted.exchange = exchange
        self.slices[index] = wanted
        self.handler.inner.handle(exchange)

    def _leave(self, index: int) -> None:
        gone = self.slices.pop(index, None)
        if gone is not None:
            gone.leave()

    def _leave_all(self) -> None:
        for index in list(self.slices):
            self._leave(index)

    # -- turns

    def pump(self) -> None:
        """Do all that can be done now; called while it does, it goes round once more."""
        self._again = True
        if self._pumps:
            return
        self._pumps = True
        while self._again and self.state != OVER:
            self._again = False
            if self.state == LOOKING:
                self._look()
            elif self.state == SENDING:
                self._send()
            else:
                self._pass()
            for wanted in list(self.slices.values()):
                wanted.go_on()
        self._pumps = False

    def drained(self) -> None:
        """The client takes more again."""
        self.is_stalled = False
        self.pump()

    def close(self) -> None:
        """The client is gone."""
        self.state = OVER
        self._leave_all()

    def break_off(self, reason: str) -> None:
        """The rest will not come: the client sees that its answer is cut short."""
        self.state = OVER
        self._leave_all()
        client = self.client
        client.attempt = None
        client.downstream.abort(reason)

    def _finish(self) -> None:
        self.state = OVER
        self._leave_all()
        client = self.client
        client.attempt = None
        client.handler = None
        client.accepting = True
        client.downstream.finish(None)
        client.downstream.flush()

    # -- the head

    def _look(self) -> None:
        """Answer as the first slice says, once it says something."""
        wanted = self.slices[self.first]
        head = wanted.head
        if head is None:
            if wanted.failure:
                self.break_off(wanted.failure)
            return
        if head.status == 206:
            self._start(wanted, head)
        elif head.status == 416 and self.first > 0:
            # It ends before that. What is true of it as a whole the first of its slices tells.
            self._leave(self.first)
            self.first = 0
            self._ask(0, False)
        elif head.status in (200, 416):
            self._go_by(_REMEMBERED)
        else:
            wanted.tell(self.client)
            self.state = PASSING
            self._again = True
            is_head = self.client.request.method == b"HEAD"
            self._respond(head.status, head.reason, head.fields, 0 if is_head else head.body)
            if is_head or head.body == 0:
                self._finish()

    def _go_by(self, seconds: float) -> None:
        """Let the request be answered as if there were no slices, and so for `seconds`."""
        self.state = OVER
        self._leave_all()
        handler = self.handler
        client = self.client
        if seconds > 0.0:
            handler.remember(client, seconds)
        client.attempt = None
        client.handler = handler.inner
        handler.inner.handle(client)

    def _start(self, wanted: Slice, head: Response) -> None:
        described = self._described(wanted, head)
        if described is None or (not self.validator and self.length > self.size):
            self._go_by(_REMEMBERED)
            return
        exchange = wanted.exchange
        if exchange is not None and exchange.cache_stored and self.length > self.size:
            self._go_by(self.handler.unsliced_for(exchange.cache_stored))
            return
        request = self.client.request
        status = evaluate(request, described, time.time())
        is_for_content = request.method == b"GET" and status != 304
        if is_for_content and self.requests.lacks_some(status == 206, self.length, self.validator):
            self.state = OVER
            self._leave_all()
            self.client.attempt = None
            self.handler.inner.refuse(self.client, words.ONLY_IF_CACHED)
            return
        wanted.is_checked = True
        wanted.tell(self.client)
        self.state = SENDING
        self._again = True
        fields = head.fields
        fields.remove(b"content-range")
        if status == 304:
            self._respond(304, b"Not Modified", not_modified_fields(fields), 0)
            self._finish()
        elif status != 206 or not self._start_range(fields):
            self.end = self.length
            fields.set(b"content-length", b"%d" % self.length, b"Content-Length")
            is_head = request.method == b"HEAD"
            self._respond(200, b"OK", fields, 0 if is_head else self.length)
            if is_head:
                self._finish()

    def _start_range(self, fields: Fields) -> bool:
        """Send the head of the range that is asked for; False: it is all."""
        selection = select(self.client.request.fields.get_all(b"range"), self.length)
        head = range_head(selection, self.length, fields)
        if head is None:
            return False
        self.at = head.start
        self.end = head.end
        self.parts = head.parts
        self.tail = head.tail
        self._respond(head.status, head.reason, fields, head.total)
        if head.total == 0:
            self._finish()
        return True

    def _described(self, wanted: Slice, head: Response) -> StoredResponse | None:
        """Read of the head of a slice what it is one of, the first time; None: it is not what was asked for, or one
        of something else."""
        described = wanted.describe(head)
        if described is None:
            return None
        validator = strong_validator(described)
        if self.length < 0:
            self.length = described.length
            self.validator = validator
        elif self.length != described.length or self.validator != validator:
            return None
        return described

    def _respond(self, status: int, reason: bytes, fields: Fields, length: int) -> None:
        client = self.client
        client.context.announce(fields)
        client.downstream.respond(Response(status, reason, 11, fields, length))

    # -- content

    def _send(self) -> None:
        """Write what is there, as far as the client takes it."""
        downstream = self.client.downstream
        written = 0
        while not self.is_stalled:
            data = self._next()
            if self.state != SENDING:
                return
            if data:
                downstream.write(data)
                written += len(data)
                if written < PIECE:
                    continue
            elif self.at >= self.end and not self.parts and not self.tail:
                self._finish()
                return
            if written:
                self.is_stalled = not downstream.flush()
                if self.state != SENDING:
                    return
            if written < PIECE:
                return
            written = 0

    def is_turn(self, wanted: Slice) -> bool:
        """Tell whether the next octets of the client are of this slice, and all before them are written."""
        return (
            self.state == SENDING
            and not self.is_stalled
            and self.at < self.end
            and self.at // self.size == wanted.index
            and wanted.held == 0
            and self.slices.get(wanted.index) is wanted
            and wanted.start <= self.at - wanted.index * self.size
        )

    def send_file(self, wanted: Slice, descriptor: int, at: int, size: int) -> int:
        """Let a file's octets [at, at + size), the next ones of a slice, go to the client: see `Downstream`."""
        if self.state == LOOKING:
            self.pump()  # the head goes first
        if not self.is_turn(wanted):
            return 0
        if not self._is_good(wanted):
            self.pump()
            return 0
        before = min(self.at - wanted.index * self.size - wanted.start, size)
        most = min(size - before, self.end - self.at)
        wanted.skip(before)
        self.handler.cache.values[CACHE_SENDFILE] -= before  # whoever sends counts what is taken
        if most == 0:
            return before
        sent = self.client.downstream.send_file(descriptor, at + before, most)
        if sent == NOT_SENT:
            wanted.skip(-before)
            self.handler.cache.values[CACHE_SENDFILE] += before
            return NOT_SENT
        wanted.skip(sent)
        self.at += sent
        self.is_stalled = sent < most
        if self.at >= self.end:
            self.pump()
        return before + sent

    def _next(self) -> bytes:
        """Return what comes next, b"" while it is not there."""
        if self.at >= self.end:
            if self.parts:
                part = self.parts.pop(0)
                self.at = part.start
                self.end = part.end
                return part.head
            tail = self.tail
            self.tail = b""
            return tail
        before = self.at
        index = before // self.size
        self._look_ahead(index)
        if self.at != before:
            self._again = True  # some of it has gone out as a file
            return b""
        wanted = self.slices.get(index)
        if wanted is None or self.state != SENDING or not self._is_good(wanted):
            return b""
        at = self.at - index * self.size
        data = wanted.take(at, min(PIECE, self.end - self.at))
        if data:
            self.at += len(data)
            if self.at >= min((index + 1) * self.size, self.length):
                self._leave_done(wanted)
        elif wanted.failure or wanted.is_over:
            self.break_off(wanted.failure or "slice-short")
        return data

    def _leave_done(self, wanted: Slice) -> None:
        """All of a slice is written. Its end may still be to come, with the next turn of whoever reads it."""
        if wanted.is_over:
            self._leave(wanted.index)

    def _look_ahead(self, index: int) -> None:
        """Ask for the slice that is needed now and those ahead; let go of all others."""
        last = min(index + self.handler.prefetch, (self.end - 1) // self.size)
        for other in list(self.slices):
            if other < index or other > last:
                self._leave(other)
        wanted = self.slices.get(index)
        if wanted is not None and wanted.start > self.at - index * self.size:
            self._leave(index)  # a range before the last one
        for other in range(index, last + 1):
            if other not in self.slices:
                self._ask(other, False)

    def _is_good(self, wanted: Slice) -> bool:
        """Tell whether a slice has come and is one of what was begun with."""
        if wanted.is_checked:
            return True
        head = wanted.head
        if head is None:
            if wanted.failure:
                self.break_off(wanted.failure)
            return False
        if self._described(wanted, head) is not None:
            wanted.is_checked = True
            return True
        values = self.handler.cache.values
        exchange = wanted.exchange
        # An older one that stands in for an error says nothing of what the origin has.
        is_stale = wanted.is_second and exchange is not None and exchange.cache == words.OUTCOMES[words.STALE]
        is_other = head.status in (200, 206, 416) and not is_stale
        if is_other and not wanted.is_second and exchange is not None:
            values[CACHE_SLICES_DROPPED] += 1
            self.handler.inner.doubt(exchange)
            self._leave(wanted.index)
            self._ask(wanted.index, True)
            self._again = True
            return False
        values[CACHE_SLICES_BROKEN] += 1
        if is_other:
            self.handler.purge(self.client)
        self.break_off("slice-changed" if is_other else "slice-failed")
        return False

    def _pass(self) -> None:
        """Write what comes of an answer that is the client's as it is."""
        wanted = self.slices[self.first]
        downstream = self.client.downstream
        while not self.is_stalled:
            data = wanted.take(self.at, PIECE)
            if not data:
                break
            self.at += len(data)
            downstream.write(data)
            self.is_stalled = not downstream.flush()
        if self.state != PASSING or self.is_stalled:
            return
        if wanted.is_over:
            self._finish()
        elif wanted.failure:
            self.break_off(wanted.failure)
        else:
            downstream.flush()
