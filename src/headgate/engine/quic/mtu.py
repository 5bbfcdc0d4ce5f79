"""How large datagrams may be: the search of RFC 8899 for one path, by probes (RFC 9000 section 14.3).

Every path carries 1200 octets, or it is none for QUIC. Larger sizes are tried by probes: packets of PING and PADDING
whose loss says nothing about congestion (section 14.4). The first is as large as we would ever go, because most
paths take it; when three of a size were lost, what lies halfway between known good and known bad follows, until
too little lies between them. Then the search rests, and begins anew when the road may have changed.

A road that took large datagrams may stop to, in silence: a black hole (RFC 8899 section 4.3). Three losses or probe
timeouts in a row, with no large packet acknowledged in between, send the path back to 1200.
"""

from typing import Final, final

from headgate.engine.quic.rtt import NEVER

# Section 14: what every path must carry.
BASE: Final = 1200
# RFC 8899 section 5.1.2, MAX_PROBES; msquic, lsquic and quinn send as many.
MAX_SIZE_PROBES: Final = 3
# Losses in a row before a size is not believed in any more (quinn: as many).
MAX_SUSPICIONS: Final = 3
# What ends the search: less is not worth another packet.
STEP: Final = 16
# RFC 8899 section 5.1.1, PMTU_RAISE_TIMER; and after a black hole (quinn: as long).
RAISE_SECONDS: Final = 600.0
BLACK_HOLE_SECONDS: Final = 60.0


@final
class MtuSearch:
    """One path. Datagrams go out with `size`; a probe is due from `next_at` on, `NEVER` while one is under way.

    `suspicions` counts losses of large packets since the last that was acknowledged; `black_holes` how often that
    was too much.
    """

    __slots__ = ("_bad", "_probe", "_tries", "black_holes", "ceiling", "next_at", "size", "suspicions")

    def __init__(self, ceiling: int, now: float) -> None:
        self.size = BASE
        self.suspicions = 0
        self.black_holes = 0
        self.next_at = now if ceiling > BASE else NEVER
        self.ceiling = ceiling
        self._bad = ceiling + 1  # the smallest size that is known not to arrive
        self._probe = 0
        self._tries = 0

    def __repr__(self) -> str:
        return f"<MtuSearch {self.size} of {self.ceiling}, below {self._bad}>"

    def is_watching(self) -> bool:
        """Tell whether it matters which packets arrive: a probe is under way, or there is a suspicion."""
        return self._probe > 0 or self.suspicions > 0

    def probe(self) -> int:
        """Return the size of the probe that goes out now, 0 for none; ask when `next_at` has come."""
        if self._bad > self.ceiling:
            self._probe = self.ceiling
        else:
            self._probe = (self.size + self._bad) // 2
        self.next_at = NEVER
        if self._probe <= self.size:
            self._probe = 0
        return self._probe

    def on_acked(self, size: int, now: float) -> bool:
        """A probe of `size` arrived; True where datagrams may be larger from now on."""
        if size == self._probe:
            self._probe = 0
        if size <= self.size or size >= self._bad:  # a late one, or from before a black hole
            return False
        self.size = size
        self._tries = 0
        self._go_on(now)
        return True

    def on_lost(self, size: int, now: float) -> None:
        """A probe of `size` was lost."""
        if size != self._probe:
            return
        self._probe = 0
        self._tries += 1
        if self._tries < MAX_SIZE_PROBES:
            self.next_at = now
            return
        self._tries = 0
        self._bad = size
        self._go_on(now)

    def suspect(self, now: float) -> bool:
        """Large packets were lost, or a probe timeout went off; True where the path is a black hole for them."""
        if self.size == BASE:
            return False
        self.suspicions += 1
        if self.suspicions < MAX_SUSPICIONS:
            return False
        self.black_holes += 1
        self._rest(now + BLACK_HOLE_SECONDS)
        self.size = BASE
        return True

    def _go_on(self, now: float) -> None:
        if min(self._bad, self.ceiling + 1) - self.size > STEP:
            self.next_at = now
        elif self.size < self.ceiling:
            self._rest(now + RAISE_SECONDS)
        else:
            self._rest(NEVER)

    def _rest(self, until: float) -> None:
        """Forget what did not arrive: the next search begins at the top again."""
        self.next_at = until
        self.suspicions = 0
        self._probe = 0
        self._tries = 0
        self._bad = self.ceiling + 1
