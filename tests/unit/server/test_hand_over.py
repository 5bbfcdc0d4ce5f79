"""What one worker puts into the box of another arrives as the socket told it, and what does not fit is counted."""

import os

import pytest

from headgate.counters import (
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_HANDED_OVER,
    QUIC_TAKEN_OVER,
    SIZE,
)
from headgate.net.poller import Poller
from headgate.server.hand_over import MAX_READS, Forwarder, Mailbox, MailRoom

FULL = QUIC_DROPPED_FIRST + QUIC_DROPS.index("hand-over-full")
MALFORMED = QUIC_DROPPED_FIRST + QUIC_DROPS.index("hand-over-malformed")
PEER = ("192.0.2.7", 50_000)


class Receiver:
    def __init__(self):
        self.taken = []

    def receive_forwarded(self, data, segment, peer, local, ecn):
        self.taken.append((data, segment, peer, local, ecn))


class Worker:
    """One side: in a gate each is a process with descriptors of its own, so each gets duplicates here."""

    def __init__(self, room, slot):
        self.poller = Poller()
        self.values = [0] * SIZE
        self.crashes = []
        copy = MailRoom(0)
        copy.boxes = [box.dup() for box in room.boxes]
        copy.slots = [sock.dup() for sock in room.slots]
        self.mailbox = Mailbox(
            copy, slot, self.poller, self.values, lambda where, error: self.crashes.append((where, error))
        )
        self.receivers = [Receiver(), Receiver()]
        self.mailbox.receivers.extend(self.receivers)
        self.mailbox.start()

    def forwarder(self, place):
        return Forwarder(self.mailbox, place)

    def close(self):
        self.mailbox.close()
        self.poller.close()


@pytest.fixture
def room():
    room = MailRoom(2)
    yield room
    room.close()


@pytest.fixture
def pair(room):
    workers = [Worker(room, slot) for slot in range(2)]
    yield workers
    for worker in workers:
        worker.close()


@pytest.mark.parametrize("peer", [PEER, ("2001:db8::7", 50_000, 5, 0), ("fe80::1", 443, 0, 3)])
@pytest.mark.parametrize("local", [b"", b"l" * 12, b"m" * 20])
def test_it_arrives_as_the_socket_told_it(pair, peer, local):
    first, second = pair
    assert first.forwarder(1)(1, b"a" * 1200 + b"b" * 7, 1200, peer, local, 2)
    second.poller.dispatch()
    assert second.receivers[1].taken == [(b"a" * 1200 + b"b" * 7, 1200, peer, local, 2)]
    assert second.receivers[0].taken == []
    assert first.values[QUIC_HANDED_OVER] == second.values[QUIC_TAKEN_OVER] == 2


def test_the_largest_batch_fits(pair):
    first, second = pair
    data = os.urandom(65_000)
    assert first.forwarder(0)(1, data, 1250, PEER, b"", 0)
    second.poller.dispatch()
    assert second.receivers[0].taken[0][0] == data


def test_a_slot_that_is_not_there_and_our_own_are_refused(pair):
    first, _ = pair
    assert not first.forwarder(0)(2, b"x", 1, PEER, b"", 0)
    assert not first.forwarder(0)(0, b"x", 1, PEER, b"", 0)
    assert first.values[QUIC_HANDED_OVER] == 0


def test_a_full_box_drops_and_counts_and_never_blocks(pair):
    first, second = pair
    forward = first.forwarder(0)
    for _ in range(1000):
        assert forward(1, b"x" * 12_000, 1200, PEER, b"", 0)
    sent, dropped = first.values[QUIC_HANDED_OVER], first.values[FULL]
    assert sent + dropped == 10_000
    # The limit is the kernel's: about 200 KiB for each sender, and no 12 MB.
    assert 0 < sent * 1200 < 2_000_000
    while second.values[QUIC_TAKEN_OVER] < sent:
        second.poller.dispatch()
    assert forward(1, b"y", 1, PEER, b"", 0)
    assert first.values[FULL] == dropped


def test_one_wake_up_takes_so_many_at_most(pair):
    first, second = pair
    for _ in range(MAX_READS + 1):
        first.forwarder(0)(1, b"x", 1, PEER, b"", 0)
    second.poller.dispatch()
    assert len(second.receivers[0].taken) == MAX_READS
    second.poller.dispatch()
    assert len(second.receivers[0].taken) == MAX_READS + 1


def test_who_comes_after_a_dead_worker_reads_what_was_meant_for_it(room):
    first, dead = Worker(room, 0), Worker(room, 1)
    dead.close()
    assert first.forwarder(0)(1, b"late", 4, PEER, b"", 0)
    successor = Worker(room, 1)
    successor.poller.dispatch()
    assert successor.receivers[0].taken[0][0] == b"late"
    first.close()
    successor.close()


@pytest.mark.parametrize(
    "message",
    [b"", b"short", bytes(16), b"\x05" + bytes(3) + bytes([1] * 12), b"\x00\x00\x00\x01" + b"\xff" * 12],
)
def test_what_is_no_message_is_counted_and_dropped(room, pair, message):
    _, second = pair
    room.slots[1].send(message)
    second.poller.dispatch()
    assert second.values[MALFORMED] == 1
    assert second.crashes == []
    assert all(receiver.taken == [] for receiver in second.receivers)


def test_a_defect_of_a_receiver_is_told(pair):
    first, second = pair

    def broken(*_arguments):
        raise ValueError("defect")

    second.receivers[0].receive_forwarded = broken
    first.forwarder(0)(1, b"x", 1, PEER, b"", 0)
    second.poller.dispatch()
    assert second.crashes[0][0] == "hand-over"
