"""From a stored response, or one that is being stored, to a client: the head, and content at the client's pace.

A head is made from the stored lines, which are never changed: Age (RFC 9111 section 5.1) and Cache-Status (RFC 9211)
come behind a copy of them. Content in memory goes out in the pieces that it lies in; none is copied for a client.
What is in a file goes from there to the socket where nothing is to be done to it on the way (sendfile), and is read
and written where there is (TLS, HTTP/2). A client that does not take what is written has its place remembered in a
`Reader`, and nothing is read for it meanwhile.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import trait

from headgate.cache.entry import Body, StoredResponse
from headgate.cache.fill import WINDOW, Fill
from headgate.cache.memory import MemoryStore
from headgate.cache.outcome import cache_status
from headgate.cache.partial import (
    file_of,
)
from headgate.cache.pieces import (
    PartialBody,
)
from headgate.cache.ranges import Part
from headgate.cache.reuse import current_age, ttl
from headgate.cache.store.bodies import CheckedBody, OpenFile
from headgate.connection.exchange import Exchange
from headgate.counters import CACHE_SENDFILE, CACHE_SERVED, SIZE
from headgate.engine.events import UNKNOWN_LENGTH, Response
from headgate.http.fields import Fields
from headgate.net.transport import NOT_SENT

# Written before the client is asked whether it takes more; what is read of an origin at once is no more than this.
PIECE: Final = 64 * 1024
# Less than this is read and written with the head: one call instead of two, and at the end of the round.
LEAST_SENT: Final = 16 * 1024
# Where that is counted which goes to another worker: it counts what its clients get.
_UNCOUNTED: Final[list[int]] = [0] * SIZE


def freshen(
    fields: Fields,
    variant: StoredResponse,
    now: float,
    outcome: int,
    reason: int,
    forwarded_status: int,
    *,
    shows: bool,
) -> None:
    """Add Age (RFC 9111 section 5.1) to the fields of an answer, and Cache-Status where it `shows`."""
    fields.names.append(b"age")
    fields.lines.append(b"Age: %d" % current_age(variant, now))
    if shows:
        status = cache_status(outcome, reason, ttl(variant, now), forwarded_status=forwarded_status)
        fields.names.append(b"cache-status")
        fields.lines.append(b"Cache-Status: " + status)


def is_plain(client: Exchange) -> bool:
    """Tell whether a client itself gets an answer with its content, and no part of one."""
    return client.slice < 0 and not client.peer_key and client.request.method == b"GET"


def send_small(
    client: Exchange, values: list[int], variant: StoredResponse, fields: Fields, content: bytes
) -> None:
    """Send all of an answer to a client that `is_plain`: less than is ever waited for, so it needs no `Reader`."""
    client.attempt = None
    client.context.announce(fields)
    downstream = client.downstream
    downstream.respond(Response(variant.status, variant.reason, 11, fields, len(content)))
    if content:
        downstream.write(content)
        values[CACHE_SERVED] += len(content)
    client.handler = None
    client.accepting = True
    downstream.finish(None)
    downstream.flush()


@trait
class ReaderOwner:
    """Who has to know what becomes of the readers of a fill."""

    def reader_left(self, reader: Reader) -> None:
        """Its client is gone."""
        raise NotImplementedError

    def reader_moved(self) -> None:
        """One that was behind has read on."""
        raise NotImplementedError


@final
class Reader:
    """One client and its place in content: exactly one of `fill`, whose `owner` is told, and `body` is where it
    comes from.

    `end` is the place behind the last octet for this client, -1 when it is where the fill ends.
    """

    __slots__ = (
        "at",
        "body",
        "end",
        "exchange",
        "file",
        "fill",
        "held",
        "is_gone",
        "is_lent",
        "is_stalled",
        "owner",
        "parts",
        "store",
        "tail",
        "values",
        "variant",
    )

    def __init__(
        self,
        exchange: Exchange,
        values: list[int],
        fill: Fill | None,
        body: Body | None,
        at: int = 0,
        end: int = -1,
    ) -> None:
        self.exchange = exchange
        self.values = _UNCOUNTED if exchange.peer_key else values
        self.fill = fill
        self.body = body
        self.at = at
        self.end = end
        self.file: CheckedBody | None = None  # the body, as long as it may go out by sendfile
        if isinstance(body, CheckedBody):
            self.file = body
        self.held: OpenFile | None = None  # open until all of it is sent
        # Whose content it is and who lends it, known for what is not in a fill; `is_lent` until all of it is sent.
        self.store: MemoryStore | None = None
        self.variant: StoredResponse | None = None
        self.is_lent = False
        self.owner: ReaderOwner | None = None
        self.is_stalled = False  # the client takes no more for now
        self.is_gone = False  # all is written, or nobody reads any more
        self.parts: list[Part] | None = None  # those that are still to come
        self.tail = b""

    def __repr__(self) -> str:
        return f"<Reader at {self.at} of {self.fill or self.body!r}>"

    def begin(self, status: int, reason: bytes, fields: Fields, length: int) -> None:
        """Send the head; `length` -1: nobody knows yet."""
        exchange = self.exchange
        exchange.context.announce(fields)
        if exchange.request.method == b"HEAD" or status in (204, 304):
            length = 0
        elif length == UNKNOWN_LENGTH:
            fields.remove(b"content-length")
        if length == 0:
            self.parts = None
            self.end = self.at
        exchange.downstream.respond(Response(status, reason, 11, fields, length))

    def take_parts(self, parts: list[Part], tail: bytes) -> None:
        """Read several ranges, each behind the head of its part, and `tail` behind all of them."""
        self.parts = parts
        self.tail = tail
        self.end = self.at  # the first part is the next thing to do

    def goes_back(self) -> bool:
        """Tell whether a part that is still to come lies before the place of this reader."""
        at = self.at
        for part in self.parts or ():
            if part.start < at:
                return True
            at = part.end
        return False

    def go_on(self) -> None:
        """Write what is there, as far as the client takes it; the end too, once it is known."""
        exchange = self.exchange
        downstream = exchange.downstream
        while self._may_write():
            if self.file is not None and self._send_file(self.file):
                continue
            written = 0
            while written < PIECE:
                data = self._next(PIECE)
                if data:
                    self.at += len(data)
                elif self.parts is not None and self.at >= self.end:
                    data = self._next_part(self.parts)
                if not data:
                    break
                written += len(data)
                downstream.write(data)
            if self._is_at_end():
                self._finish(written)
                return
            if written == 0 and self.is_broken:
                self.break_off("upstream-closed")
                return
            self.values[CACHE_SERVED] += written
            if written == 0 and self.fill is None:
                return
            if not self._flush() or written == 0:
                return

    def _send_file(self, file: CheckedBody) -> bool:
        """Let octets go out that need not pass through here; False: the next thing is for `go_on`."""
        left = self.end - self.at
        if left < LEAST_SENT:
            return False
        place = self.at
        body = self.body
        if isinstance(body, PartialBody):
            place -= body.starts[0]
        try:
            size = file.ready(place, left)
        except OSError:
            self.break_off("cache-read")
            return True
        begun = file.begin()
        sent = self.exchange.downstream.send_file(file.descriptor, place, size)
        file.took(begun)
        if sent == NOT_SENT:
            self.file = None
            return False
        self.at += sent
        self.values[CACHE_SENDFILE] += sent
        self.values[CACHE_SERVED] += sent
        if sent < size and not self.is_gone:
            self._stall()
        return True

    def _stall(self) -> None:
        """The client takes no more for now."""
        self.is_stalled = True
        file = file_of(self.body)
        if file is not None:
            if self.held is None:
                self.held = file.hold()
            return
        if self.store is not None and self.variant is not None:
            self.borrow(self.store, self.variant, 0)

    def borrow(self, store: MemoryStore, variant: StoredResponse, octets: int) -> None:
        """Have it counted that this reader holds content of a response while it is slow; 0 octets: all of it."""
        if not self.is_lent and not self.is_gone:
            self.store = store
            self.variant = variant
            self.is_lent = True
            store.lend(variant, octets)

    def _let_go(self) -> None:
        """Nothing is read any more."""
        self.is_gone = True
        held = self.held
        if held is not None:
            self.held = None
            held.release()
        if self.is_lent and self.store is not None and self.variant is not None:
            self.is_lent = False
            self.store.loans.give_back(self.variant)

    def _may_write(self) -> bool:
        return not self.is_gone and not self.is_stalled

    def _flush(self) -> bool:
        """Tell whether the client takes more."""
        if self.is_gone:
            return False
        if self.exchange.downstream.flush():
            return True
        self._stall()
        return False

    def drained(self) -> None:
        """The client takes more again."""
        self.is_stalled = False
        self.go_on()
        if self.owner is not None:
            self.owner.reader_moved()

    def left(self) -> None:
        """The client is gone."""
        self._let_go()
        if self.owner is not None:
            self.owner.reader_left(self)

    @property
    def is_broken(self) -> bool:
        """Whether the rest will never come."""
        fill = self.fill
        return fill is not None and fill.broken

    def _next(self, limit: int) -> bytes:
        if self.end >= 0:
            limit = min(limit, self.end - self.at)
            if limit <= 0:
                return b""
        fill = self.fill
        body = self.body
        try:
            if fill is not None:
                return fill.read(self.at, limit)
            return body.read(self.at, limit) if body is not None else b""
        except OSError:
            self.break_off("cache-read")
            return b""

    def _next_part(self, parts: list[Part]) -> bytes:
        """Go to the next part; return what stands before its octets."""
        if not parts:
            self.parts = None
            return self.tail
        part = parts.pop(0)
        self.at = part.start
        self.end = part.end
        return part.head

    def _is_at_end(self) -> bool:
        if self.is_gone or self.parts is not None:
            return False
        if self.end >= 0:
            return self.at >= self.end
        fill = self.fill
        return fill is not None and fill.is_over and self.at >= fill.size

    def _finish(self, written: int) -> None:
        exchange = self.exchange
        self._let_go()
        self.values[CACHE_SERVED] += written
        exchange.attempt = None
        exchange.handler = None
        exchange.accepting = True
        downstream = exchange.downstream
        downstream.finish(None)
        downstream.flush()

    def break_off(self, reason: str) -> None:
        """What is missing will never come: the client sees that its answer is cut short."""
        if self.is_gone:
            return
        self._let_go()
        exchange = self.exchange
        exchange.attempt = None
        exchange.downstream.abort(reason)


def has_to_wait(fill: Fill, readers: list[Reader], expected: int, most: int) -> bool:
    """Tell whether an origin has to wait for those who read a fill of `expected` octets, -1: nobody knows.

    What is not kept waits for the slowest. What is kept on the disk alone comes no further for clients who take
    nothing than for those who have left, `most` octets: until one of them goes on, or another comes. What memory
    keeps is small enough to come as it likes.
    """
    if not fill.keeps:
        return fill.is_full
    most = max(most, WINDOW)
    if fill.spooled <= most or 0 <= expected <= fill.size + most:
        return False
    furthest = -1
    for reader in readers:
        if not reader.is_stalled:
            return False
        furthest = max(furthest, reader.at)
    return 0 <= furthest < fill.size - most
