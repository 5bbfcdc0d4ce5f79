"""Whether a server takes early data (RFC 8446 sections 4.2.10 and 8, RFC 9001 sections 4.6 and 9.2).

Early data can be replayed by whoever has seen it, so it is taken only where all of this holds; else the handshake
goes on without it:

- the worker that issued the ticket is the one that reads it: no other one knows which tickets were used;
- protocol, server name, cipher suite and whatever else the ticket remembers (`context`: the transport parameters that
  a client sends early data by, the settings of its protocol) are what they were;
- the ClientHello is fresh: it arrives within `WINDOW_SECONDS` of when the ticket's age says (section 8.3);
- the ticket was not used before (section 8.1). What was used is remembered for two windows at least, after which
  freshness refuses it. Of tickets from before its start a worker knows nothing, nor after its clock was set back of
  those from before the time that it showed: it takes them again when two windows have passed (section 8.2).

Used tickets are held in two Bloom filters that take turns: a fixed 4 MiB, made when the first ticket is used. One
in two thousand first uses is taken for a second one when they are full, which costs a round trip and nothing else.
"""

import hashlib
from typing import Final, final

from headgate.counters import (
    EARLY_ACCEPTED,
    EARLY_CHANGED,
    EARLY_FULL,
    EARLY_OTHER_WORKER,
    EARLY_STALE,
    EARLY_USED,
)
from headgate.engine.tls13.tickets import Ticket
from headgate.engine.tls13.wire import vector

# How far a ClientHello may be from when it is expected: RFC 8446 section 8.3 thinks of ten seconds.
WINDOW_SECONDS: Final = 10
# Tickets used within two windows; as many as 50,000 handshakes with early data a second.
MAX_USED: Final = 1 << 20

_BITS: Final = 1 << 24  # of a filter: 16 for each ticket
_PROBES: Final = 8
_KEEP_SECONDS: Final = 2 * WINDOW_SECONDS


@final
class UsedTickets:
    """Remembers what was used, for at least `_KEEP_SECONDS`; `count` is how many in the running turn."""

    __slots__ = ("_before", "_began", "_filter", "count", "most")

    def __init__(self, now_wall: float, most: int = MAX_USED) -> None:
        self.most: Final = most
        self._began = now_wall
        self._filter = bytearray()
        self._before = bytearray()
        self.count = 0

    def __repr__(self) -> str:
        return f"<UsedTickets {self.count} of {self.most}>"

    def is_full(self, now_wall: float) -> bool:
        """Tell whether nothing more can be remembered now."""
        self._turn(now_wall)
        return self.count >= self.most

    def use(self, identity: bytes, now_wall: float) -> bool:
        """Remember a ticket; False where it was used before."""
        self._turn(now_wall)
        if not self._filter:
            self._filter = bytearray(_BITS // 8)
        digest = hashlib.sha256(identity).digest()
        is_new = is_new_before = False
        for at in range(0, 4 * _PROBES, 4):
            bit = int.from_bytes(digest[at : at + 4], "big") % _BITS
            place, mask = bit >> 3, 1 << (bit & 7)
            if not self._filter[place] & mask:
                is_new = True
                self._filter[place] |= mask
            if not self._before or not self._before[place] & mask:
                is_new_before = True
        if is_new:
            self.count += 1
        return is_new and is_new_before

    def _turn(self, now_wall: float) -> None:
        if now_wall >= self._began + _KEEP_SECONDS:
            is_next = now_wall < self._began + 2 * _KEEP_SECONDS
            self._before = self._filter if is_next else bytearray()
            self._filter = bytearray()
            self._began = now_wall
            self.count = 0


@final
class EarlyData:
    """The rule of one listener in one worker, and what it remembers. `context` is as above."""

    __slots__ = ("_context", "_known_since", "_seen", "_used", "_worker")

    def __init__(self, context: bytes, worker: int, started_wall: float, most: int = MAX_USED) -> None:
        """Begin at `started_wall`; `worker` is what `TicketKeys` writes into tickets."""
        self._context: Final = context
        self._worker: Final = worker
        self._used = UsedTickets(started_wall, most)
        self._known_since = started_wall
        self._seen = started_wall

    def __repr__(self) -> str:
        return f"<EarlyData of worker {self._worker}: {self._used!r}>"

    def digest(self, suite: int, alpn: bytes, server_name: bytes) -> bytes:
        """Return what a ticket remembers of its connection: 16 octets that early data must meet again."""
        content = self._context + suite.to_bytes(2, "big") + vector(1, alpn) + vector(2, server_name)
        return hashlib.sha256(b"headgate early data\0" + content).digest()[:16]

    def judge(self, ticket: Ticket, identity: bytes, digest: bytes, age: int, now_wall: float) -> int:
        """Return `EARLY_ACCEPTED`, or the counter that says why not.

        `identity` is the ticket as it came, `digest` that of this handshake, `age` the client's obfuscated one.
        """
        if now_wall < self._seen:
            self._known_since = max(self._known_since, self._seen)
        self._seen = now_wall
        if ticket.worker != self._worker:
            return EARLY_OTHER_WORKER
        if ticket.early != digest:
            return EARLY_CHANGED
        milliseconds = (age - ticket.age_add) % (1 << 32)
        expected = ticket.issued + milliseconds / 1000
        is_unknown = ticket.issued < self._known_since and now_wall < self._known_since + _KEEP_SECONDS
        if is_unknown or abs(now_wall - expected) > WINDOW_SECONDS:
            return EARLY_STALE
        if self._used.is_full(now_wall):
            return EARLY_FULL
        return EARLY_ACCEPTED if self._used.use(identity, now_wall) else EARLY_USED
