"""Two ends of a connection over a link that loses, reorders, repeats and delays, by a clock of its own.

Everything of `engine/quic` that decides when to send is real here: recovery, acknowledgements, pacing, congestion
control. Packets are Python objects instead of bytes. The link is a queue of a given rate and length in front of a
delay, and all its chances come from one seed, so that whatever fails fails again.
"""

import heapq
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.quic.acks import NOT_ECT, ReceivedPackets
from headgate.engine.quic.congestion import MAX_WINDOW
from headgate.engine.quic.cubic import Cubic
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.sent_packets import SentPacket

DATAGRAM = 1200
PAYLOAD = 1150
ACK_SIZE = 60
START = 1000.0


class Link:
    """One direction. `is_dark`: everything is lost."""

    def __init__(self, seed, *, rate=1.25e6, delay=0.025, queue=64_000, loss=0.0, jitter=0.0, repeat=0.0):
        self.random = random.Random(seed)
        self.rate, self.delay, self.queue = rate, delay, queue
        self.loss, self.jitter, self.repeat = loss, jitter, repeat
        self.free_at = 0.0
        self.is_dark = False
        self.dropped = 0

    def arrivals(self, size, now):
        """Yield when copies of a datagram of this size arrive: none, one or two."""
        begin = max(self.free_at, now)
        if self.is_dark or (begin - now) * self.rate > self.queue or self.random.random() < self.loss:
            self.dropped += 1
            return
        self.free_at = begin + size / self.rate
        for _ in range(2 if self.random.random() < self.repeat else 1):
            yield self.free_at + self.delay + self.random.random() * self.jitter


class Endpoint:
    """Sends `size` bytes as chunks (offset, length, times lost) and takes in what the other side sends."""

    def __init__(self, controller, seed, size=0):
        self.recovery = Recovery(controller, random.Random(seed).randbytes, is_client=False)
        self.recovery.is_confirmed = True
        self.received = ReceivedPackets(is_prompt=False)
        self.pending = [(at, min(PAYLOAD, size - at), 0) for at in range(0, size, PAYLOAD)][::-1]
        self.size = size
        self.got = Ranges(100_000)
        self.probed_at = []
        self.eliciting_sent = 0

    def is_finished(self):
        return not self.pending and not self.recovery.bytes_in_flight

    def got_bytes(self):
        return sum(self.got.ends) - sum(self.got.starts)

    def deadline(self):
        recovery = self.recovery
        pace = recovery.ready_at() if self.pending else NEVER
        return min(recovery.deadline(), self.received.ack_at, pace)

    def on_deadline(self, now):
        if self.recovery.on_deadline(now) >= 0:
            self.probed_at.append(now)
        self.take_results()

    def transmit(self, now):
        """Return the packets that go out now, as (number, size, frames, asks)."""
        out = []
        recovery = self.recovery
        while recovery.probes[APPLICATION] > 0:
            out.append(self.send(now, self.probe()))
        while self.pending and recovery.budget(now) >= DATAGRAM and recovery.has_room(APPLICATION):
            out.append(self.send(now, [self.pending.pop()]))
            assert recovery.bytes_in_flight <= recovery.controller.window
        if self.received.is_due(now):
            out.append(self.send(now, []))
        recovery.on_flushed(now, ran_dry=not self.pending)
        self.check()
        return out

    def probe(self):
        """Repeat the oldest data that waits, or send something new, or only ask."""
        oldest = self.recovery.spaces[APPLICATION].oldest()
        if oldest is not None and oldest.frames:
            return list(oldest.frames)
        return [self.pending.pop()] if self.pending else ["ping"]

    def send(self, now, chunks):
        received, recovery = self.received, self.recovery
        frames = list(chunks)
        if not chunks and received.wants_ping():
            frames.append("ping")
        is_eliciting = bool(frames)
        ack = None
        if received.has_news:
            ack = received.take(now, is_alone=not is_eliciting)
        number = recovery.take_number(APPLICATION)
        size = DATAGRAM if chunks else ACK_SIZE
        data = tuple(chunk for chunk in chunks if chunk != "ping")
        packet = SentPacket(number, now, size, is_eliciting, is_eliciting, data)
        packet.losses = max((lost for _, _, lost in data), default=0)
        recovery.on_sent(APPLICATION, packet)
        self.eliciting_sent += is_eliciting
        return number, size, (ack, data), is_eliciting

    def receive(self, number, frames, is_eliciting, now):
        if self.received.is_known(number):
            return
        ack, data = frames
        for offset, length, _ in data:
            self.got.add(offset, offset + length)
        if ack is not None:
            _, delay, ranges = ack
            self.recovery.on_ack(APPLICATION, ranges, delay / 1e6, now)
            self.take_results()
        self.received.receive(number, NOT_ECT, now, is_eliciting=is_eliciting)
        self.check()

    def take_results(self):
        self.recovery.take_acked()
        for packet in self.recovery.take_lost():
            self.pending += [(offset, length, packet.losses + 1) for offset, length, _ in packet.frames]

    def check(self):
        recovery = self.recovery
        controller = recovery.controller
        assert recovery.bytes_in_flight >= 0
        assert controller.minimum_window() <= controller.window <= MAX_WINDOW
        if len(recovery.spaces[APPLICATION]) < 50:  # the sum over the whole ring, where it is cheap
            waiting = [packet for packet in recovery.spaces[APPLICATION]._slots if packet is not None]
            assert recovery.bytes_in_flight == sum(packet.size for packet in waiting if packet.in_flight)


class World:
    """Both ends, both links, one clock."""

    def __init__(self, sender, receiver, forth, back):
        self.ends = (sender, receiver)
        self.links = (forth, back)
        self.now = START
        self.flying = []
        self.order = itertools.count()

    def run(self, seconds, until=lambda: False):
        """Let time pass; stop early when `until` holds. Return how long it took."""
        begin = self.now
        for end in range(2):
            self.flush(end)
        while not until():
            at = min(self.ends[0].deadline(), self.ends[1].deadline())
            if self.flying:
                at = min(at, self.flying[0][0])
            if at > begin + seconds:
                self.now = begin + seconds
                break
            self.now = max(self.now, at)
            self.step()
        return self.now - begin

    def step(self):
        touched = set()
        while self.flying and self.flying[0][0] <= self.now:
            _, _, end, (number, _, frames, is_eliciting) = heapq.heappop(self.flying)
            self.ends[end].receive(number, frames, is_eliciting, self.now)
            touched.add(end)
        for end in range(2):
            if self.ends[end].recovery.deadline() <= self.now:
                self.ends[end].on_deadline(self.now)
                touched.add(end)
            if end in touched or self.ends[end].deadline() <= self.now:
                self.flush(end)

    def flush(self, end):
        for packet in self.ends[end].transmit(self.now):
            for at in self.links[end].arrivals(packet[1], self.now):
                heapq.heappush(self.flying, (at, next(self.order), 1 - end, packet))


def world(controller, size, seed=1, receiver=None, **link):
    sender = Endpoint(controller, seed, size)
    receiver = receiver or Endpoint(NewReno(DATAGRAM), seed + 1)
    return World(sender, receiver, Link(seed + 2, **link), Link(seed + 3, **link))


def assert_delivered(one):
    sender, receiver = one.ends
    assert receiver.got.starts == [0]
    assert receiver.got.ends == [sender.size]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([NewReno, Cubic]),
    st.floats(0.0, 0.2),
    st.sampled_from([0.0, 0.002, 0.02, 0.2]),
    st.floats(0.0, 0.2),
    st.sampled_from([3_000, 64_000, 1_000_000]),
    st.integers(1, 200_000),
)
def test_every_byte_arrives_whatever_the_link_does(seed, controller, loss, jitter, repeat, queue, size):
    one = world(controller(DATAGRAM), size, seed, loss=loss, jitter=jitter, repeat=repeat, queue=queue)
    one.run(600.0, one.ends[0].is_finished)
    assert one.ends[0].is_finished()
    assert_delivered(one)


@pytest.mark.parametrize("controller", [NewReno, Cubic])
def test_a_clean_link_is_filled_and_nothing_is_sent_twice(controller):
    one = world(controller(DATAGRAM), 2_000_000, queue=2_000_000)
    took = one.run(60.0, one.ends[0].is_finished)
    assert_delivered(one)
    ideal = 2_000_000 * DATAGRAM / PAYLOAD / 1.25e6
    assert took < 1.35 * ideal
    assert one.ends[0].recovery.lost_packets == one.links[0].dropped == 0
    assert one.ends[0].probed_at == []


def test_acknowledgements_are_few_and_never_late():
    one = world(Cubic(DATAGRAM), 500_000)
    one.run(60.0, one.ends[0].is_finished)
    packets = one.ends[0].eliciting_sent
    assert one.ends[1].recovery.spaces[APPLICATION].next_number <= packets / 2 + 20
    assert one.ends[0].recovery.rtt.minimum < 0.050 + 0.003


def test_the_receiver_asks_now_and_then_so_that_it_may_forget():
    one = world(Cubic(DATAGRAM), 500_000)
    one.run(60.0, one.ends[0].is_finished)
    receiver = one.ends[1]
    acks = receiver.recovery.spaces[APPLICATION].next_number
    assert acks / 20 - 1 <= receiver.eliciting_sent <= acks / 19 + 1
    assert len(receiver.recovery.spaces[APPLICATION]) < 60


def test_probe_timeouts_back_off_while_the_link_is_dark():
    one = world(Cubic(DATAGRAM), 20_000_000)
    one.run(1.0)
    sender = one.ends[0]
    sender.probed_at.clear()
    one.links[0].is_dark = True
    one.run(30.0)
    waits = [second - first for first, second in itertools.pairwise(sender.probed_at)]
    assert len(waits) >= 4
    for first, second in itertools.pairwise(waits):
        assert second == pytest.approx(2 * first)


def test_persistent_congestion_collapses_the_window_and_the_transfer_goes_on():
    one = world(Cubic(DATAGRAM), 3_000_000, queue=200_000)
    one.run(1.0)
    sender = one.ends[0]
    assert sender.recovery.controller.window > 60_000
    for link in one.links:
        link.is_dark = True
    one.run(5.0)
    for link in one.links:
        link.is_dark = False
    one.run(10.0, lambda: sender.recovery.persistent_congestions > 0)
    assert sender.recovery.controller.window <= 4 * DATAGRAM
    one.run(60.0, sender.is_finished)
    assert_delivered(one)
    assert sender.recovery.persistent_congestions == 1


def test_reordering_alone_within_the_threshold_loses_nothing():
    """Jitter of less than the time between three packets."""
    one = world(Cubic(DATAGRAM), 500_000, jitter=0.0018, queue=1_000_000)
    one.run(60.0, one.ends[0].is_finished)
    assert one.ends[0].recovery.lost_packets == 0
    assert_delivered(one)


@pytest.mark.slow
def test_cubic_beats_newreno_on_a_long_fat_link():
    """16 Mbit/s over 400 ms with a loss now and then: 660 packets fill it, and NewReno adds 2.5 a second."""
    got = {}
    for controller in (NewReno, Cubic):
        one = world(controller(DATAGRAM), 60_000_000, 2, rate=2e6, delay=0.2, queue=100_000, loss=0.0002)
        one.run(20.0)
        got[controller] = one.ends[1].got_bytes()
    assert got[Cubic] > 1.3 * got[NewReno], got


class Optimist(Endpoint):
    """Acknowledges everything up to the newest packet, whether it arrived or not, so as to be sent more."""

    def send(self, now, chunks):
        number, size, (ack, data), is_eliciting = super().send(now, chunks)
        if ack is not None:
            ack = (ack[0], ack[1], [ack[0], 0])
        return number, size, (ack, data), is_eliciting


class Clairvoyant(Endpoint):
    """Acknowledges packets that it has not seen yet."""

    def send(self, now, chunks):
        number, size, (ack, data), is_eliciting = super().send(now, chunks)
        if ack is not None:
            ack = (ack[0] + 200, ack[1], [ack[0] + 200, *ack[2][1:]])
        return number, size, (ack, data), is_eliciting


@pytest.mark.parametrize("seed", range(5))
def test_an_optimist_is_caught(seed):
    one = world(Cubic(DATAGRAM), 3_000_000, seed, receiver=Optimist(NewReno(DATAGRAM), seed))
    with pytest.raises(QuicError, match="skipped"):
        one.run(60.0)
    assert one.ends[0].recovery.spaces[APPLICATION].next_number < 600


def test_a_clairvoyant_is_caught_at_once():
    one = world(Cubic(DATAGRAM), 3_000_000, receiver=Clairvoyant(NewReno(DATAGRAM), 7))
    with pytest.raises(QuicError, match="never sent"):
        one.run(60.0)
    assert one.ends[0].eliciting_sent == 10
