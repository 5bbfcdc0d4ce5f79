"""Paths: pairs of addresses that a connection uses, or may (RFC 9000 sections 8.2 and 9), each with its own limits.

One path is `active`: everything goes there but what only concerns another path. A path is validated when the answer
to one of our challenges came back, whatever way it took (section 8.2.3); three challenges without an answer, and it
is given up. What goes to an address that is not validated is at most three times what came from there (section 8.1).
A challenge that this limit kept small proves the address, not that 1200 octets fit (section 8.2.1): then the path is
asked once more.

This module keeps the books; engine/quic/migration decides. What a peer can make us hold: `MAX_PATHS`, one new one in
`NEW_PATH_SECONDS`, `MAX_ANSWERS_HELD` answers for each; and do: `MAX_ANSWERS` answers in a round trip.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic.closing import AMPLIFICATION
from headgate.engine.quic.congestion import CongestionController
from headgate.engine.quic.mtu import BASE, MtuSearch
from headgate.engine.quic.path import Address
from headgate.engine.quic.rtt import NEVER, RttEstimator

# msquic and qh3 as many: the one in use, the one before, one that is tried, and one more.
MAX_PATHS: Final = 4
# Each costs a challenge of 1200 octets and maybe a connection ID: one in this time, and so many at once, because a
# client that only listens says once where it is and then waits.
NEW_PATH_SECONDS: Final = 1.0
MAX_NEW_PATHS: Final = 3
# Section 8.2.4 leaves it open; a challenge is lost as seldom as any packet.
MAX_CHALLENGES: Final = 3
# Challenges of the peer that are not answered yet (quiche 3), and answers in a round trip: CVE-2023-49295.
MAX_ANSWERS_HELD: Final = 3
MAX_ANSWERS: Final = 10

_CHALLENGE: Final = 8


@final
class Path:
    """One pair of addresses; `local` is b"" where our own is not known.

    `sequence` is the number of the peer's connection ID that we send to, `own_id` the ID of ours that the peer sends
    to. `is_wide`: 1200 octets fit. `datagram` is how many we send, `search` looks for more. `controller` and `rtt`
    are kept here while another path is in use. `is_wanted`: to be used as soon as it is validated; `has_token`: a
    token for its address was given. Times are
    `NEVER` where nothing is due.
    """

    __slots__ = (
        "_challenges",
        "_interval",
        "_sent",
        "answers",
        "asks_at",
        "controller",
        "datagram",
        "gives_up_at",
        "has_token",
        "is_limited",
        "is_validated",
        "is_wanted",
        "is_wide",
        "leaves_at",
        "local",
        "octets_received",
        "octets_sent",
        "own_id",
        "peer",
        "rtt",
        "search",
        "sequence",
    )

    def __init__(self, peer: Address, local: bytes, *, is_limited: bool) -> None:
        self.peer = peer
        self.local = local
        self.sequence = 0
        self.own_id = b""
        self.is_validated = False
        self.is_wide = False
        self.is_wanted = False
        self.is_limited = is_limited
        self.has_token = False
        self.octets_received = 0
        self.octets_sent = 0
        self.datagram = BASE
        self.search: MtuSearch | None = None
        self.controller: CongestionController | None = None
        self.rtt: RttEstimator | None = None
        self.answers: list[bytes] = []
        self.asks_at = NEVER
        self.gives_up_at = NEVER
        self.leaves_at = NEVER
        self._challenges: list[tuple[bytes, bool]] = []  # and whether it went out in 1200 octets
        self._interval = 0.0
        self._sent = 0

    def __repr__(self) -> str:
        return f"<Path {self.peer[0]} port {self.peer[1]}, {self.state()}, {self.datagram} octets>"

    def state(self) -> str:
        """Return a word for what is known of it."""
        if self.gives_up_at != NEVER:
            return "validating"
        return "validated" if self.is_validated else "unknown"

    def allowance(self) -> int:
        """Return how many octets may go there; below zero: no limit."""
        if not self.is_limited:
            return -1
        return max(AMPLIFICATION * self.octets_received - self.octets_sent, 0)

    def accept(self) -> None:
        """Take the address as proved, by the handshake or by an answer (section 8.1)."""
        self.is_validated = True
        self.is_limited = False

    def ask(self, now: float, interval: float) -> None:
        """Begin to validate it: three challenges, `interval` seconds apart (section 8.2.4)."""
        self._interval = interval
        self._sent = 0
        self._challenges.clear()
        self.asks_at = now
        self.gives_up_at = now + MAX_CHALLENGES * interval

    def challenge(self, random: Callable[[int], bytes], now: float, *, is_wide: bool) -> bytes:
        """Return what the next PATH_CHALLENGE says; `is_wide`: its datagram has 1200 octets."""
        data = random(_CHALLENGE)
        self._challenges.append((data, is_wide))
        self.asked(now)
        return data

    def asked(self, now: float) -> None:
        """Count a challenge that went out, or could not for want of allowance."""
        self._sent += 1
        self.asks_at = now + self._interval if self._sent < MAX_CHALLENGES else NEVER

    def is_answer(self, data: bytes) -> bool:
        """Take in a PATH_RESPONSE; True where it answers a challenge to this path: it is validated then."""
        for sent, is_wide in self._challenges:
            if sent == data:
                self.is_wide = self.is_wide or is_wide
                self._challenges.clear()
                self.asks_at = NEVER
                self.gives_up_at = NEVER
                self.accept()
                return True
        return False


@final
class Paths:
    """The paths of one connection. `at` is when the next of their timers goes off, `is_due`: frames wait to go."""

    __slots__ = ("_answered", "_new_at", "_round_at", "_unasked", "active", "all", "at", "is_due")

    def __init__(self, first: Path) -> None:
        self.active = first
        self.all: list[Path] = [first]
        self.at = NEVER
        self.is_due = False
        self._new_at = -NEVER
        self._answered = 0  # in this round trip
        self._round_at = -NEVER
        self._unasked = 0  # challenges sent and not answered

    def __repr__(self) -> str:
        return f"<Paths {self.all!r}>"

    def find(self, peer: Address, local: bytes) -> Path | None:
        """Return the path between these addresses."""
        for path in self.all:
            if path.peer == peer and path.local == local:
                return path
        return None

    def may_add(self, now: float) -> bool:
        """Tell whether a path may come about now."""
        # A microsecond: sums are rounded.
        return self._new_at - now <= (MAX_NEW_PATHS - 1) * NEW_PATH_SECONDS + 1e-6

    def add(self, path: Path, now: float) -> Path | None:
        """Take in a path; return the one that has to go for it, never the active one."""
        self._new_at = max(self._new_at, now) + NEW_PATH_SECONDS
        gone: Path | None = None
        if len(self.all) >= MAX_PATHS:
            others = [each for each in self.all if each is not self.active]
            unknown = [each for each in others if not each.is_validated]
            gone = (unknown or others)[0]
        self.all.append(path)
        return gone

    def fallback(self) -> Path | None:
        """Return the validated path that was in use last, but the active one (section 9.3.2)."""
        for path in reversed(self.all):
            if path is not self.active and path.is_validated and path.is_wide:
                return path
        return None

    def use(self, path: Path) -> None:
        """Make it the active one: the last of the list is the one that was in use last."""
        old = self.active
        self.all.remove(old)
        self.all.append(old)
        self.active = path

    def shares(self, path: Path) -> bool:
        """Tell whether another path sends to the same connection ID: of an address that the network changed."""
        return any(each is not path and each.sequence == path.sequence for each in self.all)

    def hold_answer(self, path: Path, data: bytes, now: float, rtt: float) -> bool:
        """Keep what a PATH_CHALLENGE wants back; False where the peer asks too much (section 8.2.2)."""
        if now - self._round_at >= rtt:
            self._round_at = now
            self._answered = 0
        self._answered += 1
        if self._answered > MAX_ANSWERS:
            return False
        path.answers.append(data)
        if len(path.answers) > MAX_ANSWERS_HELD:
            del path.answers[0]
        self.is_due = True
        return True

    def on_challenge_sent(self) -> None:
        """Count it: no peer can answer more than that."""
        self._unasked += 1

    def answered(self, data: bytes) -> Path | None:
        """Return the path that a PATH_RESPONSE validates, None for an answer that comes too late."""
        self._unasked -= 1
        for path in self.all:
            if path.is_answer(data):
                return path
        return None

    def is_lie(self) -> bool:
        """Tell whether more answers came than challenges went (section 19.18)."""
        return self._unasked < 0

    def set_timer(self) -> None:
        """Find out what is due next; after each change."""
        at = NEVER
        for path in self.all:
            at = min(at, path.asks_at, path.gives_up_at, path.leaves_at)
        self.at = at
