"""Loss detection and what follows from it: RFC 9002 sections 6 and 7, appendix A.

The connection reports what it sends (`on_sent`), what is acknowledged (`on_ack`) and that time is up (`on_deadline`);
it takes back `take_acked` and `take_lost`, asks for a `budget` before it sends, and sleeps until `deadline`. Levels
are the encryption levels; 0-RTT and 1-RTT packets share one space, so that both indexes hold the same object.

There is one timer. Where something sent before an acknowledged packet is missing, it goes off when that is too old
to be merely late; else it is the probe timeout (PTO), and what goes off then is a question, not a loss: up to two
packets, past the window, that make the peer say what it has.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic.congestion import CongestionController
from headgate.engine.quic.ecn import EcnValidator
from headgate.engine.quic.errors import INTERNAL_ERROR, QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.pacer import Pacer
from headgate.engine.quic.rtt import NEVER, RttEstimator
from headgate.engine.quic.sent_packets import GONE, MAX_TRACKED, SentPacket, SentPackets

# Section 6.1.1.
PACKET_THRESHOLD: Final = 3
# Section 7.6.1.
PERSISTENT_THRESHOLD: Final = 3
# The wait doubles so often: from 100 ms to 102 s, and no idle timeout is as long.
MAX_PTO_BACKOFF: Final = 10
# Section 6.2.4 allows two, so that one loss more does not cost another, longer wait.
MAX_PROBES: Final = 2
# HAProxy's max-frame-loss: what is lost so often is filtered, not unlucky.
MAX_FRAME_LOSSES: Final = 10
# RFC 9000 section 18.2: until the peer says otherwise.
PEER_ACK_DELAY: Final = 0.025

_SPACES: Final = (INITIAL, HANDSHAKE, APPLICATION)


@final
class Recovery:
    """One connection's; `rtt`, `controller`, `pacer` and `ecn` are its present path's.

    The connection sets `max_ack_delay` from the peer's parameters, `is_confirmed` when the handshake is,
    `is_blocked` while a server may not send for fear of amplification, and `has_handshake_keys`.
    """

    __slots__ = (
        "_acked",
        "_armed_at",
        "_lost",
        "_path_since",
        "bytes_in_flight",
        "controller",
        "ecn",
        "has_handshake_keys",
        "is_blocked",
        "is_confirmed",
        "is_peer_validated",
        "lost_packets",
        "max_ack_delay",
        "pacer",
        "persistent_congestions",
        "probes",
        "pto_count",
        "rtt",
        "sent_before",
        "spaces",
    )

    def __init__(
        self,
        controller: CongestionController,
        random: Callable[[int], bytes],
        *,
        is_client: bool,
        is_ecn_enabled: bool = False,
    ) -> None:
        self.controller = controller
        self.rtt = RttEstimator()
        self.pacer = Pacer(controller.window, self.rtt.smoothed, controller.datagram)
        self.ecn = EcnValidator(is_enabled=is_ecn_enabled)
        application = SentPackets(random)
        self.spaces = [SentPackets(random), application, SentPackets(random), application]
        self.bytes_in_flight = 0
        self.pto_count = 0
        self.probes = [0, 0, 0, 0]  # packets owed to each level since a probe timeout
        self.max_ack_delay = PEER_ACK_DELAY
        self.is_confirmed = False
        self.is_blocked = False
        self.has_handshake_keys = False
        # A client cannot know whether the server may send yet; a server knows that its client may (section 6.2.2.1).
        self.is_peer_validated = not is_client
        self.lost_packets = 0
        self.sent_before = 0  # packets, in levels that are gone
        self.persistent_congestions = 0
        self._armed_at = 0.0
        self._path_since = -NEVER
        self._acked: list[SentPacket] = []
        self._lost: list[SentPacket] = []

    def __repr__(self) -> str:
        return f"<Recovery {self.bytes_in_flight} B in flight, pto {self.pto_count}, {self.controller!r}>"

    # --- sending ---

    def take_number(self, level: int) -> int:
        """Return the number of the next packet, which must be sent."""
        return self.spaces[level].take_number()

    def has_room(self, level: int) -> bool:
        """Tell whether one more packet can be tracked: false stops all sending at this level."""
        return len(self.spaces[level]) < MAX_TRACKED

    def window_room(self) -> int:
        """Return how many bytes the window still takes."""
        return max(self.controller.window - self.bytes_in_flight, 0)

    def budget(self, now: float) -> int:
        """Return how many bytes window and pace allow now. Probes and packets not in flight do not ask."""
        return min(self.window_room(), self.pacer.budget(now))

    def ready_at(self) -> float:
        """Return when the pace allows the next datagram, for the caller whose `budget` ran out but not its data."""
        datagram = self.controller.datagram
        return self.pacer.ready_at(datagram) if self.window_room() >= datagram else NEVER

    def on_sent(self, level: int, packet: SentPacket) -> None:
        """Track a packet that goes out at `packet.time`."""
        self.spaces[level].add(packet)
        if packet.is_marked:
            self.ecn.on_sent(APPLICATION if level == EARLY else level)
        if not packet.in_flight:
            return
        self.bytes_in_flight += packet.size
        self.pacer.spend(packet.size)
        self._armed_at = packet.time
        if packet.ack_eliciting and self.probes[level] > 0:
            self.probes[level] -= 1

    def on_run_sent(self, packets: list[SentPacket], size: int, *, is_marked: bool) -> None:
        """Track packets of streams that go out together, `size` octets in all: the numbers are the next ones."""
        self.spaces[APPLICATION].add_run(packets)
        if is_marked:
            for _ in range(len(packets)):
                self.ecn.on_sent(APPLICATION)
        self.bytes_in_flight += size
        self.pacer.spend(size)
        self._armed_at = packets[0].time

    def on_flushed(self, now: float, *, ran_dry: bool) -> None:
        """Say at the end of each flush whether it ended because there was nothing left to send (section 7.8)."""
        is_limited = ran_dry and self.bytes_in_flight < self.controller.window
        self.controller.set_app_limited(now, is_limited=is_limited)

    # --- acknowledgements ---

    def on_ack(
        self,
        level: int,
        ranges: list[int],
        delay: float,
        now: float,
        ect_0: int = -1,
        ect_1: int = -1,
        ce: int = -1,
    ) -> None:
        """Take in an ACK frame: `ranges` as in `SentPackets.take_acked`, `delay` in seconds, counts if it has them.

        Raises `QuicError` for a number that was never sent.
        """
        space = self.spaces[level]
        largest_before = space.largest_acked
        acked = space.take_acked(ranges)
        if level == HANDSHAKE:
            self.is_peer_validated = True
        if not acked:
            return
        self._armed_at = now
        newest = acked[-1]
        self._sample(level, ranges[0], acked, delay, now)
        growth, marked = self._count_acked(acked)
        if ranges[0] > largest_before:
            more_ce = self.ecn.on_acked(level, marked, ect_0, ect_1, ce)
            if more_ce > 0:
                self._on_congestion(newest.time, now)
        self._detect_lost(level, now)
        # What this very acknowledgement showed to be congested does not grow: nothing in it was sent since.
        if growth > 0 and newest.time > self.controller.recovery_start:
            self.controller.on_acked(growth, newest.time, now, self.rtt)
        if self.is_peer_validated:
            self.pto_count = 0
        self._set_pace()
        self._acked = self._acked + acked if self._acked else acked

    def _sample(self, level: int, largest: int, acked: list[SentPacket], delay: float, now: float) -> None:
        """Measure the round trip, if the largest is new and anything asked for the answer (section 5.1)."""
        newest = acked[-1]
        if newest.number != largest or newest.time < self._path_since:
            return
        if newest.ack_eliciting and not newest.in_flight:  # a probe of another path
            return
        for packet in reversed(acked):
            if packet.ack_eliciting:
                break
        else:
            return
        if level == INITIAL:  # nobody holds these back (section 5.3)
            delay = 0.0
        elif self.is_confirmed:
            delay = min(delay, self.max_ack_delay)
        self.rtt.update(now - newest.time, delay, now)

    def _count_acked(self, acked: list[SentPacket]) -> tuple[int, int]:
        """Take packets out of flight; return the bytes that may grow the window, and how many were marked."""
        growth = 0
        marked = 0
        gone = 0
        recovery_start = self.controller.recovery_start
        for packet in acked:
            if packet.is_marked:
                marked += 1
            if packet.in_flight:
                gone += packet.size
                if packet.time > recovery_start:
                    growth += packet.size
        self.bytes_in_flight -= gone
        return growth, marked

    def take_acked(self) -> list[SentPacket]:
        """Return what was acknowledged since the last call."""
        acked = self._acked
        self._acked = []
        return acked

    def take_lost(self) -> list[SentPacket]:
        """Return what was lost since the last call: what it carried and still matters must be sent again."""
        lost = self._lost
        self._lost = []
        return lost

    # --- losses ---

    def _detect_lost(self, level: int, now: float) -> None:
        delay = self.rtt.loss_delay()
        lost = self.spaces[level].take_lost(now, PACKET_THRESHOLD, delay)
        if lost:
            self._on_lost(level, lost, now)

    def _on_lost(self, level: int, lost: list[SentPacket], now: float) -> None:
        """Take lost packets out of flight and answer congestion (appendix B.8)."""
        newest = -NEVER
        marked = 0
        for packet in lost:
            if packet.losses + 1 >= MAX_FRAME_LOSSES:
                raise QuicError(INTERNAL_ERROR, f"the same frames were lost {packet.losses + 1} times")
            if packet.is_marked:
                marked += 1
            if packet.in_flight:
                self.bytes_in_flight -= packet.size
                if packet.time > newest and not packet.is_size_probe:
                    newest = packet.time
        self.lost_packets += len(lost)
        self._lost = self._lost + lost if self._lost else lost
        if marked:
            self.ecn.on_lost(marked)
        if newest > -NEVER:
            self._on_congestion(newest, now)
            if self._is_persistent(level, lost):
                self.persistent_congestions += 1
                self.controller.on_persistent_congestion()
                self.rtt.restart_minimum()
        self._set_pace()

    def _on_congestion(self, sent_time: float, now: float) -> None:
        if self.controller.on_congestion(sent_time, now):
            self._set_pace()

    def _is_persistent(self, level: int, lost: list[SentPacket]) -> bool:
        """Tell whether everything sent for longer than the threshold was lost (section 7.6).

        A run of losses begins and ends with packets that asked for an answer, after the first round trip was known;
        an acknowledged packet in between, of any space, ends it.
        """
        least = (self.rtt.probe_timeout() + self.max_ack_delay) * PERSISTENT_THRESHOLD
        space = self.spaces[level]
        start = NEVER
        previous = -2
        for packet in lost:
            if not space.were_all_lost_between(previous, packet.number):
                start = NEVER
            previous = packet.number
            if not packet.ack_eliciting or packet.time <= self.rtt.first_sample_at:
                continue
            if start == NEVER:
                start = packet.time
            if packet.time - start > least and not self._was_acked_elsewhere(space, start):
                return True
        return False

    def _was_acked_elsewhere(self, space: SentPackets, since: float) -> bool:
        for level in _SPACES:
            other = self.spaces[level]
            if other is not space and other.newest_acked_time > since:
                return True
        return False

    # --- the timer ---

    def deadline(self) -> float:
        """Return when to call `on_deadline`, or NEVER (appendix A.8)."""
        at = self._earliest_loss()
        if at != NEVER:
            return at
        if self.is_blocked:  # a server that may not send has nothing to time (section 6.2.2.1)
            return NEVER
        return self._probe_time()[0]

    def _earliest_loss(self) -> float:
        spaces = self.spaces
        return min(spaces[INITIAL].loss_time, spaces[HANDSHAKE].loss_time, spaces[APPLICATION].loss_time)

    def _probe_time(self) -> tuple[float, int]:
        """Return when which level is probed (appendix A.8, GetPtoTimeAndSpace)."""
        backoff = 1 << min(self.pto_count, MAX_PTO_BACKOFF)
        wait = self.rtt.probe_timeout() * backoff
        if not self._is_anything_asked():
            if self.is_peer_validated:
                return NEVER, -1
            # The server may be waiting for the right to send: only we can end that (section 6.2.2.1).
            return self._armed_at + wait, HANDSHAKE if self.has_handshake_keys else INITIAL
        first = NEVER
        which = -1
        for level in _SPACES:
            space = self.spaces[level]
            if space.eliciting_in_flight == 0:
                continue
            if level == APPLICATION:
                if not self.is_confirmed:  # the peer may lack the keys to answer (section 6.2.1)
                    break
                wait += self.max_ack_delay * backoff
            if space.last_eliciting_time + wait < first:
                first = space.last_eliciting_time + wait
                which = level
        return first, which

    def _is_anything_asked(self) -> bool:
        spaces = self.spaces
        return (
            spaces[INITIAL].eliciting_in_flight > 0
            or spaces[HANDSHAKE].eliciting_in_flight > 0
            # Before that nobody is asked: 0-RTT packets must not keep a client from ending a deadlock.
            or (self.is_confirmed and spaces[APPLICATION].eliciting_in_flight > 0)
        )

    def on_deadline(self, now: float) -> int:
        """Do what the timer is for (appendix A.9); return the level that owes `probes`, or -1.

        The other level of the handshake may owe one too: its octets share a datagram (section 6.2.4), and alone the
        two would take turns, each with twice the time.
        """
        at = self._earliest_loss()
        if at != NEVER:
            if at <= now:
                for level in _SPACES:
                    if self.spaces[level].loss_time <= now:
                        self._detect_lost(level, now)
            return -1
        probe_at, level = self._probe_time()
        if self.is_blocked or level < 0 or probe_at > now:
            return -1
        self.probes[level] = MAX_PROBES if self._is_anything_asked() else 1
        for other in (INITIAL, HANDSHAKE):
            if other != level and self.spaces[other].eliciting_in_flight > 0:
                self.probes[other] = max(self.probes[other], 1)
        self.pto_count += 1
        self._armed_at = now
        return level

    # --- what the connection decides ---

    def discard(self, level: int) -> None:
        """Forget a level whose keys are gone (section 6.4); the probe timeout starts over."""
        self.forget(level)
        self.sent_before += self.spaces[level].next_number
        self.spaces[level] = GONE
        self.pto_count = 0

    def forget(self, level: int) -> list[SentPacket]:
        """Take everything out of flight without blame and return it: after a Retry, or 0-RTT that was refused."""
        rest = self.spaces[level].take_all()
        for packet in rest:
            if packet.in_flight:
                self.bytes_in_flight -= packet.size
        self.probes[level] = 0
        return rest

    def use_path(self, controller: CongestionController, rtt: RttEstimator, now: float) -> None:
        """Go on with what is known of another path, or begin anew (RFC 9000 section 9.4).

        What is in flight stays in flight, but what happens to it says nothing about that path.
        """
        controller.recovery_start = now
        self._path_since = now
        self.controller = controller
        self.rtt = rtt
        self.pto_count = 0
        self.pacer = Pacer(controller.window, rtt.smoothed, controller.datagram)
        self.ecn.restart()

    def set_datagram(self, datagram: int) -> None:
        """Take another size of datagrams."""
        self.controller.set_datagram(datagram)
        self._set_pace()

    def _set_pace(self) -> None:
        controller = self.controller
        self.pacer.set_pace(
            controller.window,
            self.rtt.smoothed,
            controller.datagram,
            in_slow_start=controller.in_slow_start(),
        )
