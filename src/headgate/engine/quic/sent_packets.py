"""What was sent in one packet number space and is neither acknowledged nor lost: RFC 9002 appendix A.1.

Packets stand in a list by their number, so that an acknowledged range is a slice and no search. A slot becomes None
when its packet leaves; slots are cut off at the front in bulk. Whatever lies more than the reordering threshold below
the largest acknowledged number has left, as acknowledged or as lost. So a walk over acknowledged ranges touches what
is newly acknowledged and a handful of slots more, however often a peer repeats its ranges.

Now and then a number is skipped (RFC 9000 section 21.4). Who acknowledges it acknowledges what was never sent, in
order to make us send faster than the path can carry: the connection ends. The distance between two skipped numbers is
random and doubles up to `SKIP_LONGEST`, because each costs an honest peer an extra range.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic.errors import PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.rtt import NEVER

# Precedents: quic-go 25,000, quiche 20,000. A record and its frames are some 300 bytes.
MAX_TRACKED: Final = 20_000
# Ranges of one ACK frame that are read: we keep 64 ourselves, ngtcp2 reads 32, quiche 68.
MAX_RANGES_READ: Final = 256
_ACK: Final = 0x02
SKIP_FIRST: Final = 256
SKIP_LONGEST: Final = 131_072
# Skipped numbers that are remembered after everything around them left.
_SKIPS_KEPT: Final = 4


@final
class SentPacket:
    """One packet. `frames` is the connection's: it comes back with the packet when that is acknowledged or lost.

    Where it holds one STREAM frame and nothing else, `frames` is empty, and `stream` (else -1), `offset`, `length`
    and `fin` say what it is: that is so for nearly all packets of a server.
    `losses`: how often what it carries was lost before, as the connection counts it. `is_marked`: sent with ECT(0).
    `is_size_probe`: a probe for a larger datagram, whose loss says nothing about congestion (RFC 9000 section 14.4).
    """

    __slots__ = (
        "ack_eliciting",
        "fin",
        "frames",
        "in_flight",
        "is_marked",
        "is_size_probe",
        "length",
        "losses",
        "number",
        "offset",
        "size",
        "stream",
        "time",
    )

    def __init__(
        self,
        number: int,
        time: float,
        size: int,
        ack_eliciting: bool,
        in_flight: bool,
        frames: tuple[object, ...],
    ) -> None:
        self.number = number
        self.time = time
        self.size = size
        self.ack_eliciting = ack_eliciting
        self.in_flight = in_flight
        self.frames = frames
        self.stream = -1
        self.offset = 0
        self.length = 0
        self.fin = False
        self.losses = 0
        self.is_marked = False
        self.is_size_probe = False

    def __repr__(self) -> str:
        kind = "" if self.ack_eliciting else " not ack-eliciting"
        return f"<SentPacket {self.number} {self.size} B{kind}>"


@final
class SentPackets:
    """One space. `newest_acked_time` is when the youngest acknowledged packet was sent."""

    __slots__ = (
        "_head",
        "_origin",
        "_random",
        "_skip_at",
        "_skip_span",
        "_skipped",
        "_slots",
        "eliciting_in_flight",
        "largest_acked",
        "last_eliciting_time",
        "loss_time",
        "newest_acked_time",
        "next_number",
    )

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._slots: list[SentPacket | None] = []
        self._origin = 0  # the number of the first slot
        self._head = 0  # slots before this one are done with
        self._skipped: list[int] = []
        self._skip_span = SKIP_FIRST
        self.next_number = 0
        self.largest_acked = -1
        self.eliciting_in_flight = 0
        self.last_eliciting_time = -NEVER
        self.newest_acked_time = -NEVER
        self.loss_time = NEVER
        self._skip_at = 0
        self._plan_skip()

    def __repr__(self) -> str:
        waiting = sum(packet is not None for packet in self._slots)
        return f"<SentPackets {waiting} waiting, next {self.next_number}, acked to {self.largest_acked}>"

    def __len__(self) -> int:
        """Return how many numbers are tracked: from the oldest packet that waits to the newest."""
        return len(self._slots) - self._head

    def _plan_skip(self) -> None:
        draw = int.from_bytes(self._random(4), "big")
        # Never among the first three: handshakes are short, and their packets are padded and coalesced.
        self._skip_at = self.next_number + 3 + draw % self._skip_span

    def take_number(self) -> int:
        """Return the number of the next packet, which must be sent."""
        number = self.next_number
        if number == self._skip_at:
            self._skipped.append(number)
            if len(self._skipped) > _SKIPS_KEPT:
                del self._skipped[0]
            number += 1
            self.next_number = number
            self._skip_span = min(2 * self._skip_span, SKIP_LONGEST)
            self._plan_skip()
        self.next_number = number + 1
        return number

    def add(self, packet: SentPacket) -> None:
        """Track a packet that goes out now, its number from `take_number`."""
        slots = self._slots
        number = packet.number
        if self._head == len(slots):
            slots.clear()
            self._head = 0
            self._origin = number
        while self._origin + len(slots) < number:
            slots.append(None)
        slots.append(packet)
        if packet.ack_eliciting:
            self.last_eliciting_time = packet.time
            if packet.in_flight:
                self.eliciting_in_flight += 1

    def run_length(self, most: int) -> int:
        """Return how many packets, up to `most`, may have the next numbers in a row: none of them is skipped."""
        left = self._skip_at - self.next_number
        return left if left < most else most

    def add_run(self, packets: list[SentPacket]) -> None:
        """Track packets that go out now, with the next numbers in a row; all of them ask for an answer."""
        slots = self._slots
        number = self.next_number
        if self._head == len(slots):
            slots.clear()
            self._head = 0
            self._origin = number
        while self._origin + len(slots) < number:
            slots.append(None)
        slots.extend(packets)
        count = len(packets)
        self.next_number = number + count
        self.last_eliciting_time = packets[0].time
        self.eliciting_in_flight += count

    def take_acked(self, ranges: list[int]) -> list[SentPacket]:
        """Remove and return, in rising order, what `ranges` newly acknowledge.

        `ranges` holds the largest and the smallest number of each range, the highest range first, as the wire does.
        Raises `QuicError` for a number that was never sent.
        """
        count = min(len(ranges), 2 * MAX_RANGES_READ) // 2
        if count == 0:
            return []
        largest = ranges[0]
        if largest >= self.next_number:
            raise QuicError(PROTOCOL_VIOLATION, f"packet {largest} acknowledged, which was never sent", _ACK)
        if self._skipped:
            self._check_skipped(ranges, count)
        if largest > self.largest_acked:
            self.largest_acked = largest
        acked: list[SentPacket] = []
        base = self._origin + self._head
        last = count - 1
        while last > 0 and ranges[2 * last] < base:
            last -= 1
        for which in range(last, -1, -1):
            self._take_range(max(ranges[2 * which + 1], base), ranges[2 * which], acked)
        self._trim()
        return acked

    def _take_range(self, low: int, high: int, acked: list[SentPacket]) -> None:
        slots = self._slots
        origin = self._origin
        for at in range(low - origin, min(high - origin + 1, len(slots))):
            packet = slots[at]
            if packet is not None:
                slots[at] = None
                acked.append(packet)
                if packet.time > self.newest_acked_time:
                    self.newest_acked_time = packet.time
                if packet.ack_eliciting and packet.in_flight:
                    self.eliciting_in_flight -= 1

    def _check_skipped(self, ranges: list[int], count: int) -> None:
        newest = self._skipped[-1]
        for which in range(count):
            if ranges[2 * which + 1] > newest:
                continue  # the usual case: it all happened since
            for number in self._skipped:
                if ranges[2 * which + 1] <= number <= ranges[2 * which]:
                    raise QuicError(
                        PROTOCOL_VIOLATION, f"packet {number} acknowledged, which was skipped", _ACK
                    )

    def take_lost(self, now: float, threshold: int, loss_delay: float) -> list[SentPacket]:
        """Remove and return, in rising order, what is lost by now; sets `loss_time` (appendix A.10).

        Lost: below the largest acknowledged number by `threshold`, or at all when sent `loss_delay` seconds ago.
        """
        lost: list[SentPacket] = []
        slots = self._slots
        self.loss_time = NEVER
        end = min(self.largest_acked - self._origin + 1, len(slots))
        for at in range(self._head, end):
            packet = slots[at]
            if packet is None:
                continue
            # The same sum as for the timer, or rounding lets it go off without effect, again and again.
            late_at = packet.time + loss_delay
            if late_at <= now or packet.number <= self.largest_acked - threshold:
                slots[at] = None
                lost.append(packet)
                if packet.ack_eliciting and packet.in_flight:
                    self.eliciting_in_flight -= 1
            elif late_at < self.loss_time:
                self.loss_time = late_at
        self._trim()
        return lost

    def take_all(self) -> list[SentPacket]:
        """Remove and return everything: the keys are gone, or the peer threw the packets away."""
        rest = [packet for packet in self._slots if packet is not None]
        self._slots.clear()
        self._head = 0
        self.eliciting_in_flight = 0
        self.loss_time = NEVER
        return rest

    def were_all_lost_between(self, first: int, second: int) -> bool:
        """Tell whether no packet was sent between two lost numbers but one that was skipped."""
        return second == first + 1 or (second == first + 2 and first + 1 in self._skipped)

    def oldest(self) -> SentPacket | None:
        """Return the oldest packet that must be acknowledged: what a probe carries again."""
        slots = self._slots
        for at in range(self._head, len(slots)):
            packet = slots[at]
            if packet is not None and packet.ack_eliciting:
                return packet
        return None

    def _trim(self) -> None:
        slots = self._slots
        head = self._head
        end = len(slots)
        while head < end and slots[head] is None:
            head += 1
        if head > 64 and 2 * head > end:
            del slots[:head]
            self._origin += head
            head = 0
        self._head = head


def _nothing_random(count: int) -> bytes:
    return bytes(count)


# What stands for a space whose keys are gone, in all connections: nothing is ever put into it.
GONE: Final = SentPackets(_nothing_random)
