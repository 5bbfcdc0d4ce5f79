"""Which packets of one number space arrived, and when to say so: RFC 9000 section 13.2.

A packet that asks for an acknowledgement gets one at once in the handshake, when it is the second to ask, when it
shows a gap or fills one, and when the network marked it (section 13.2.1); else within our max_ack_delay. Whoever
sends a packet anyway takes a waiting acknowledgement along (`has_news`). Packets are judged one by one but answered
once for each batch: the caller asks `is_due` after the last packet of a read.

Two floors. Below `floor` every number counts as seen: what is not remembered cannot be told from a duplicate, so it
is dropped (section 13.2.3). Up to the largest number of an acknowledged ACK frame of ours nothing is repeated any
more (section 13.2.4), unless a late packet arrives there.
"""

from typing import Final, final

from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.rtt import NEVER

# Precedents: aioquic 64, quiche 68, quinn 64. Sent: 32 ranges are at most 260 octets of a packet of 1200.
MAX_RANGES_KEPT: Final = 64
MAX_RANGES_SENT: Final = 32
# After so many ACK frames in packets that ask for nothing, a PING asks: our peer's answer lets us forget ranges.
MAX_ACKS_ALONE: Final = 19
# Section 13.2.2; HAProxy, msquic and lsquic do the same.
ACK_EVERY: Final = 2
# What we promise in max_ack_delay, the default of RFC 9000 section 18.2.
MAX_ACK_DELAY: Final = 0.025

# The two bits of an IP header (RFC 3168 section 5).
NOT_ECT: Final = 0
ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3


@final
class ReceivedPackets:
    """One space. `is_prompt`: a handshake's, where nobody waits. Counts packets, ECN marks and duplicates."""

    __slots__ = (
        "_acks_alone",
        "_is_prompt",
        "_largest",
        "_largest_eliciting",
        "_largest_time",
        "_said_to",
        "_waiting",
        "ack_at",
        "ce",
        "count",
        "duplicates",
        "ect_0",
        "ect_1",
        "floor",
        "has_news",
        "ranges",
    )

    def __init__(self, *, is_prompt: bool) -> None:
        self._is_prompt = is_prompt
        self.ranges = Ranges(MAX_RANGES_KEPT)
        self.floor = 0
        self._largest = -1
        self._largest_eliciting = -1
        self._largest_time = 0.0
        self._said_to = 0  # numbers below: the peer knows that we have them
        self._waiting = 0  # packets that ask, since the last acknowledgement
        self._acks_alone = 0
        self.ack_at = NEVER
        self.has_news = False
        self.duplicates = 0
        self.count = 0
        self.ect_0 = 0
        self.ect_1 = 0
        self.ce = 0

    def __repr__(self) -> str:
        return f"<ReceivedPackets to {self._largest}, {len(self.ranges)} ranges, {self._waiting} waiting>"

    @property
    def largest(self) -> int:
        """The largest number so far, -1 for none: packet numbers are decoded from it."""
        return self._largest

    def is_known(self, number: int) -> bool:
        """Tell whether to drop a packet: it was here before, or is too old to tell. Counted."""
        if number > self._largest:
            return False
        ranges = self.ranges
        too_old = len(ranges) >= MAX_RANGES_KEPT and number + 1 < ranges.starts[0]
        if number < self.floor or too_old or ranges.contains(number):
            self.duplicates += 1
            return True
        return False

    def receive(self, number: int, ecn: int, now: float, *, is_eliciting: bool) -> None:
        """Take in a packet that was opened, read and not `is_known`."""
        ranges = self.ranges
        self.count += 1
        if not ranges.add(number, number + 1):
            ranges.drop_lowest()
            self.floor = ranges.starts[0]
            ranges.add(number, number + 1)
        if number > self._largest:
            self._largest = number
            self._largest_time = now
        elif number < self._said_to:  # it came late, and must be told once like any other
            self._said_to = number
        if ecn != NOT_ECT:
            self._count_mark(ecn)
        self.has_news = True
        if is_eliciting:
            self._ask(number, ecn, now)

    def _count_mark(self, ecn: int) -> None:
        if ecn == ECT_0:
            self.ect_0 += 1
        elif ecn == CE:
            self.ce += 1
        else:
            self.ect_1 += 1

    def _ask(self, number: int, ecn: int, now: float) -> None:
        """Decide how soon a packet that asks for an acknowledgement gets it (section 13.2.1)."""
        self._waiting += 1
        # Late: even if what overtook it asked for nothing, we may have told the peer of the gap.
        is_out_of_order = number < self._largest or self.ranges.starts[-1] > self._largest_eliciting + 1
        if number > self._largest_eliciting:
            self._largest_eliciting = number
        if self._is_prompt or self._waiting >= ACK_EVERY or is_out_of_order or ecn == CE:
            self.ack_at = now
        elif self.ack_at == NEVER:
            self.ack_at = now + MAX_ACK_DELAY

    def is_due(self, now: float) -> bool:
        """Tell whether an acknowledgement must go out now even if nothing else does."""
        return self.ack_at <= now

    def wants_ping(self) -> bool:
        """Tell whether the next packet, if it is an ACK alone, should carry a PING (section 13.2.4)."""
        return self._acks_alone >= MAX_ACKS_ALONE

    def take(self, now: float, *, is_alone: bool) -> tuple[int, int, list[int]]:
        """Return (largest, delay in microseconds, ranges) of the ACK frame that goes out now.

        `ranges` holds the largest and the smallest number of each range, the highest range first. `is_alone`: the
        packet asks for no acknowledgement itself. Call only while `has_news`.
        """
        self.ack_at = NEVER
        self.has_news = False
        self._waiting = 0
        self._acks_alone = self._acks_alone + 1 if is_alone else 0
        starts, ends = self.ranges.starts, self.ranges.ends
        said: list[int] = []
        at = len(starts) - 1
        while at >= 0 and len(said) < 2 * MAX_RANGES_SENT:
            # The highest range is always said: the peer measures the round trip by it.
            if said and ends[at] <= self._said_to:
                break
            said.append(ends[at] - 1)
            said.append(max(starts[at], min(self._said_to, ends[at] - 1)))
            at -= 1
        # In the handshake nothing is held back on purpose, and the peer ignores it there (RFC 9002 section 5.3).
        held = 0.0 if self._is_prompt else now - self._largest_time
        return self._largest, int(max(held, 0.0) * 1_000_000), said

    def on_ack_acked(self, largest: int) -> None:
        """A packet with an ACK frame up to `largest` arrived: repeat nothing of that (section 13.2.4)."""
        if largest >= self._said_to:
            self._said_to = largest + 1
