"""One slice on its way to a download (`proxy/download`): the client's side of the exchange that asks for it.

What comes is held until the download has sent it, and whoever brings it waits while that is much: the client's
pace is the origin's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from headgate.cache.entry import StoredResponse
from headgate.cache.fill import WINDOW
from headgate.cache.outcome import OUTCOMES
from headgate.cache.partial import piece_of
from headgate.connection.exchange import Downstream, Exchange
from headgate.counters import CACHE_FIRST
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.net.transport import NOT_SENT
from headgate.proxy.on_behalf import NOBODY, tell

if TYPE_CHECKING:
    from headgate.proxy.download import Download


@final
class Slice(Downstream):
    """Slice `index` of what `download` sends."""

    def __init__(self, download: Download, index: int, is_second: bool) -> None:
        self.download = download
        self.index = index
        self.is_second = is_second  # asked for again: the one before was of another version
        self.exchange: Exchange | None = None
        self.head: Response | None = None
        self.is_checked = False
        self.is_over = False
        self.failure = ""
        self.start = 0  # the place in the slice of the first octet that is still held
        self.held = 0
        self.is_full = False
        self.waits = False  # to send a file, until it is its turn
        self._chunks: list[bytes] = []
        self._first = 0

    def __repr__(self) -> str:
        return f"<Slice {self.index} from {self.start}, {self.held} held>"

    def respond(self, response: Response) -> None:
        if response.status >= 200:
            self.head = response

    def describe(self, head: Response) -> StoredResponse | None:
        """Return what its head says of the object, without content; None: it is not what was asked for."""
        exchange = self.exchange
        piece = piece_of(head)
        size = self.download.size
        start = self.index * size
        if exchange is None or piece is None or piece.length < 0 or piece.start != start:
            return None
        if piece.end != min(start + size, piece.length):
            return None
        now = time.time()
        described = self.download.handler.inner.build(b"", exchange.request, head, now, now)
        described.status = 200
        described.length = piece.length
        return described

    def tell(self, client: Exchange) -> None:
        """Let the log and the counters say of a client's request what became of this slice, which is its first."""
        exchange = self.exchange
        if exchange is None:
            return
        tell(client, exchange)
        client.reason = exchange.reason
        client.cache = exchange.cache
        client.cache_reason = exchange.cache_reason
        client.cache_stored = exchange.cache_stored
        if exchange.cache:
            self.download.handler.cache.values[CACHE_FIRST + OUTCOMES.index(exchange.cache)] += 1

    def write(self, data: bytes) -> None:
        self._chunks.append(data)
        self.held += len(data)

    def finish(self, trailers: Fields | None) -> None:
        self.is_over = True

    def flush(self) -> bool:
        self.download.pump()
        self.is_full = self.held > WINDOW and not self.is_over
        return not self.is_full

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        """Send octets of a file to the client at once, without holding any of them."""
        download = self.download
        total = 0
        while True:
            sent = download.send_file(self, descriptor, at + total, size - total)
            if sent == NOT_SENT:
                if total == 0:
                    return NOT_SENT
                download.break_off("cache-read")
                return total
            total += sent
            if total == size or not download.is_turn(self):
                break
        self.waits = total < size
        return total

    def skip(self, size: int) -> None:
        """So many octets more have gone by: the client has them, or does not want them."""
        self.start += size

    def abort(self, reason: str) -> None:
        self.failure = reason
        self.download.pump()

    def resume(self) -> None:
        return

    def take(self, at: int, limit: int) -> bytes:
        """Return octets from `at` on, which is a place in the slice; what lies before is let go of."""
        chunks = self._chunks
        while self._first < len(chunks):
            chunk = chunks[self._first]
            size = len(chunk)
            if self.start + size > at:
                begin = at - self.start
                if begin == 0 and size <= limit:
                    return chunk
                return chunk[begin : begin + limit]
            chunks[self._first] = b""
            self._first += 1
            self.start += size
            self.held -= size
        return b""

    def go_on(self) -> None:
        """Let more come, where it had to wait."""
        exchange = self.exchange
        may_send = self.waits and self.download.is_turn(self)
        if exchange is not None and (may_send or (self.is_full and self.held <= WINDOW)):
            self.is_full = False
            self.waits = False
            handler = exchange.handler
            if handler is not None:
                handler.downstream_drained(exchange)

    def leave(self) -> None:
        """Nobody wants it any more. It and its exchange let go of each other."""
        exchange = self.exchange
        self.exchange = None
        self._chunks = []
        self.held = 0
        self.is_full = False
        self.waits = False
        if exchange is not None:
            handler = exchange.handler
            exchange.downstream = NOBODY
            exchange.handler = None
            if handler is not None and not self.is_over and not self.failure:
                handler.downstream_closed(exchange)
