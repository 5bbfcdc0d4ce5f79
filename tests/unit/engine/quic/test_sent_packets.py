"""The ring of sent packets: what acknowledgements take out, what they may not name, what they cost."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.sent_packets import (
    MAX_RANGES_READ,
    SKIP_FIRST,
    SKIP_LONGEST,
    SentPacket,
    SentPackets,
)


def late(count):
    """Randomness that skips as late as it can."""
    return b"\xff" * count


def early(count):
    return bytes(count)


def filled(count, random=late):
    space = SentPackets(random)
    for _ in range(count):
        number = space.take_number()
        space.add(SentPacket(number, number / 1000, 1200, True, True, (number,)))
    return space


def numbers(packets):
    return [packet.number for packet in packets]


def test_acknowledged_packets_come_back_once_in_rising_order():
    space = filled(10)
    assert numbers(space.take_acked([9, 8, 5, 3])) == [3, 4, 5, 8, 9]
    assert space.take_acked([9, 8, 5, 3]) == []
    assert numbers(space.take_acked([9, 0])) == [0, 1, 2, 6, 7]
    assert (space.largest_acked, space.eliciting_in_flight, len(space)) == (9, 0, 0)


def test_an_acknowledgement_of_nothing():
    assert filled(3).take_acked([]) == []


def test_rfc9000_13_1_a_number_that_was_never_sent():
    space = filled(10)
    with pytest.raises(QuicError) as caught:
        space.take_acked([10, 9])
    assert (caught.value.code, caught.value.frame_type) == (0x0A, 0x02)
    assert numbers(space.take_acked([9, 9])) == [9]


def test_rfc9000_21_4_a_skipped_number_catches_an_optimist():
    space = filled(10, early)
    skipped = sorted(set(range(space.next_number)) - set(numbers(space.take_all())))
    assert skipped == [3, 7, 11]
    for number in skipped:
        space = filled(10, early)
        with pytest.raises(QuicError) as caught:
            space.take_acked([12, number])
        assert (caught.value.code, caught.value.frame_type) == (0x0A, 0x02)


def test_rfc9000_21_4_a_skipped_number_is_remembered_when_its_neighbours_left():
    space = filled(10, early)
    space.take_acked([12, 12, 10, 8, 6, 4, 2, 0])
    with pytest.raises(QuicError, match="skipped"):
        space.take_acked([12, 0])


def test_an_honest_peer_is_never_accused():
    space = filled(10, early)
    assert len(space.take_acked([12, 12, 10, 8, 6, 4, 2, 0])) == 10


def test_skips_become_rare():
    space = SentPackets(late)
    before, distances = 0, []
    for _ in range(40_000):
        previous = space.next_number
        number = space.take_number()
        if number != previous:
            distances.append(number - before)
            before = number
    assert len(distances) < 9
    assert all(second > first for first, second in itertools.pairwise(distances))
    assert max(distances) <= SKIP_LONGEST + 3
    assert distances[0] <= SKIP_FIRST + 3


def test_ranges_beyond_the_limit_are_not_read():
    space = filled(2 * MAX_RANGES_READ + 4)
    top = space.next_number - 1
    chosen = [number for number in range(top, -1, -2) if number not in space._skipped]
    assert len(chosen) > MAX_RANGES_READ
    acked = space.take_acked([number for number in chosen for _ in "hl"])
    assert numbers(acked) == sorted(chosen[:MAX_RANGES_READ])


def test_repeated_ranges_touch_only_what_waits():
    """The cost is by what is newly acknowledged: old ranges end before the first slot."""
    space = filled(150)
    space.take_acked([149, 0])
    for _ in range(100):
        number = space.take_number()
        space.add(SentPacket(number, 1.0, 1200, True, True, ()))
    assert len(space) == 100
    assert space.take_acked([149, 0]) == []
    assert len(space._slots) == 100


def test_rfc9002_6_1_1_packets_are_lost_by_number():
    space = filled(10)
    space.take_acked([6, 6])
    assert numbers(space.take_lost(0.0, 3, 100.0)) == [0, 1, 2, 3]
    assert space.loss_time == pytest.approx(100.004)


def test_rfc9002_6_1_2_packets_are_lost_by_time():
    space = filled(4)
    space.take_acked([3, 3])
    assert numbers(space.take_lost(0.0505, 3, 0.05)) == [0]
    assert space.loss_time == 0.001 + 0.05
    assert numbers(space.take_lost(space.loss_time, 3, 0.05)) == [1]
    assert numbers(space.take_lost(space.loss_time, 3, 0.05)) == [2]
    assert space.loss_time == NEVER


def test_rfc9002_6_1_nothing_newer_than_the_largest_acknowledged_is_lost():
    space = filled(10)
    space.take_acked([0, 0])
    assert space.take_lost(1000.0, 3, 0.05) == []
    assert len(space) == 9


def test_packets_that_ask_for_nothing_are_not_counted():
    space = SentPackets(late)
    space.add(SentPacket(space.take_number(), 1.0, 40, False, False, ()))
    assert (space.eliciting_in_flight, space.last_eliciting_time, len(space)) == (0, -NEVER, 1)
    assert numbers(space.take_acked([0, 0])) == [0]


def test_everything_at_once():
    space = filled(5)
    space.take_acked([2, 2])
    assert numbers(space.take_all()) == [0, 1, 3, 4]
    assert (len(space), space.eliciting_in_flight) == (0, 0)
    space.add(SentPacket(space.take_number(), 1.0, 40, True, True, ()))
    assert numbers(space.take_acked([5, 5])) == [5]


def test_the_oldest_that_waits():
    space = filled(3)
    space.take_acked([0, 0])
    assert space.oldest().number == 1
    space.take_acked([2, 0])
    assert space.oldest() is None
    space.add(SentPacket(space.take_number(), 1.0, 40, False, False, ()))  # nobody waits for that one
    assert space.oldest() is None
    space.add(SentPacket(space.take_number(), 1.0, 40, True, True, ()))
    assert space.oldest().number == 4


@given(st.lists(st.sets(st.integers(0, 119), max_size=60), max_size=8))
def test_it_agrees_with_a_set(rounds):
    space = filled(120)
    waiting = set(range(120))
    for chosen in rounds:
        ranges = []
        for number in sorted(chosen, reverse=True):
            if ranges and ranges[-1] == number + 1:
                ranges[-1] = number
            else:
                ranges += [number, number]
        acked = numbers(space.take_acked(ranges))
        assert acked == sorted(waiting & chosen)
        waiting -= chosen
        lost = numbers(space.take_lost(-1000.0, 3, 0.0))
        assert lost == sorted(number for number in waiting if number <= space.largest_acked - 3)
        waiting -= set(lost)
        assert space.eliciting_in_flight == len(waiting)
    assert numbers(space.take_all()) == sorted(waiting)
