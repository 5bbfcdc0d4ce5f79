"""When to acknowledge and what: RFC 9000 section 13.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.acks import (
    CE,
    ECT_0,
    ECT_1,
    MAX_ACK_DELAY,
    MAX_ACKS_ALONE,
    MAX_RANGES_KEPT,
    MAX_RANGES_SENT,
    NOT_ECT,
    ReceivedPackets,
)
from headgate.engine.quic.rtt import NEVER


def received(*arrived, is_prompt=False, is_eliciting=True):
    packets = ReceivedPackets(is_prompt=is_prompt)
    for number in arrived:
        packets.receive(number, NOT_ECT, 1.0, is_eliciting=is_eliciting)
    return packets


def test_rfc9000_13_2_1_the_first_waits_no_longer_than_promised():
    packets = received(0)
    assert not packets.is_due(1.0)
    assert packets.ack_at == 1.0 + MAX_ACK_DELAY
    assert packets.is_due(1.0 + MAX_ACK_DELAY)
    assert packets.has_news


def test_rfc9000_13_2_1_a_later_packet_does_not_put_it_off():
    packets = received(0)
    packets.take(1.0, is_alone=True)
    packets.receive(1, NOT_ECT, 2.0, is_eliciting=True)
    packets.receive(2, NOT_ECT, 2.01, is_eliciting=False)
    assert packets.ack_at == 2.0 + MAX_ACK_DELAY


def test_rfc9000_13_2_2_every_second_packet_is_acknowledged():
    assert received(0, 1).is_due(1.0)
    packets = received(0, 1)
    packets.take(1.0, is_alone=True)
    assert packets.ack_at == NEVER
    packets.receive(2, NOT_ECT, 1.0, is_eliciting=True)
    assert not packets.is_due(1.0)


def test_rfc9000_13_2_1_packets_that_ask_for_nothing_cause_nothing():
    packets = received(0, 1, 2, 7, is_eliciting=False)
    assert packets.ack_at == NEVER
    assert packets.has_news


def test_rfc9000_13_2_1_handshake_packets_are_acknowledged_at_once():
    packets = received(0, is_prompt=True)
    assert packets.is_due(1.0)
    assert packets.take(9.0, is_alone=False) == (0, 0, [0, 0])


def test_rfc9000_13_2_1_a_gap_is_told_at_once():
    packets = received(0, 1)
    packets.take(1.0, is_alone=True)
    packets.receive(3, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.is_due(1.0)


def test_rfc9000_13_2_1_a_late_packet_is_told_at_once():
    packets = received(0, 1, 3)
    packets.take(1.0, is_alone=True)
    packets.receive(2, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.is_due(1.0)


def test_a_packet_that_was_overtaken_by_one_that_asks_for_nothing_is_told_at_once():
    """The gap may have been told with another acknowledgement, and the peer's time threshold is short."""
    packets = received(0, 1)
    packets.receive(3, NOT_ECT, 1.0, is_eliciting=False)
    packets.take(1.0, is_alone=True)
    packets.receive(2, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.is_due(1.0)


def test_rfc9000_13_2_1_packets_in_between_that_ask_for_nothing_are_no_gap():
    packets = received(0, 1)
    packets.take(1.0, is_alone=True)
    packets.receive(2, NOT_ECT, 1.0, is_eliciting=False)
    packets.receive(3, NOT_ECT, 1.0, is_eliciting=True)
    assert not packets.is_due(1.0)


def test_rfc9000_13_2_1_congestion_is_told_at_once():
    packets = ReceivedPackets(is_prompt=False)
    packets.receive(0, CE, 1.0, is_eliciting=True)
    assert packets.is_due(1.0)


def test_rfc9000_13_4_1_marks_are_counted():
    packets = ReceivedPackets(is_prompt=False)
    for number, mark in enumerate((ECT_0, ECT_0, CE, ECT_1, NOT_ECT)):
        packets.receive(number, mark, 1.0, is_eliciting=True)
    assert (packets.ect_0, packets.ect_1, packets.ce) == (2, 1, 1)


def test_rfc9000_13_2_5_the_delay_is_that_of_the_largest():
    packets = received(0, 5)
    packets.receive(3, NOT_ECT, 1.010, is_eliciting=True)
    largest, delay, ranges = packets.take(1.020, is_alone=True)
    assert (largest, ranges) == (5, [5, 5, 3, 3, 0, 0])
    assert delay == pytest.approx(20_000, abs=1)


def test_rfc9000_13_2_3_duplicates_are_known():
    packets = received(0, 1, 5)
    assert [number for number in range(8) if packets.is_known(number)] == [0, 1, 5]
    assert packets.duplicates == 3


def test_ranges_kept_at_the_limit_and_one_more():
    packets = received(*range(0, 2 * MAX_RANGES_KEPT, 2))
    assert len(packets.ranges) == MAX_RANGES_KEPT
    assert not packets.is_known(1)
    packets.receive(2 * MAX_RANGES_KEPT, NOT_ECT, 1.0, is_eliciting=True)
    assert len(packets.ranges) == MAX_RANGES_KEPT
    # What was forgotten cannot be told from a duplicate any more.
    assert packets.floor == 2
    assert packets.is_known(0)
    assert packets.is_known(1)
    assert not packets.is_known(3)


def test_a_range_too_many_below_all_others_is_dropped():
    packets = received(*range(10, 10 + 2 * MAX_RANGES_KEPT, 2))
    assert packets.is_known(5)
    assert not packets.is_known(9)  # it makes the lowest range longer
    packets.receive(9, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.ranges.starts[0] == 9


def test_ranges_sent_at_the_limit():
    packets = received(*range(0, 2 * MAX_RANGES_KEPT, 2))
    _, _, ranges = packets.take(1.0, is_alone=True)
    assert len(ranges) == 2 * MAX_RANGES_SENT
    top = 2 * MAX_RANGES_KEPT - 2
    assert ranges[::2] == list(range(top, top - 2 * MAX_RANGES_SENT, -2))


def test_rfc9000_13_2_4_what_the_peer_knows_is_not_repeated():
    packets = received(0, 1, 4, 5)
    packets.on_ack_acked(4)
    assert packets.take(1.0, is_alone=True)[2] == [5, 5]
    packets.receive(9, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.take(1.0, is_alone=True)[2] == [9, 9, 5, 5]


def test_rfc9000_13_2_1_a_late_packet_is_told_though_the_peer_knows_what_surrounds_it():
    packets = received(0, 1, 4, 5)
    packets.on_ack_acked(5)
    assert not packets.is_known(2)
    packets.receive(2, NOT_ECT, 1.0, is_eliciting=True)
    assert packets.take(1.0, is_alone=True)[2] == [5, 4, 2, 2]


def test_the_largest_is_said_even_if_the_peer_knows_it():
    packets = received(0, 1)
    packets.on_ack_acked(1)
    assert packets.take(1.0, is_alone=True) == (1, 0, [1, 1])


def test_rfc9000_13_2_4_after_so_many_acks_alone_a_ping_asks():
    packets = ReceivedPackets(is_prompt=False)
    for number in range(MAX_ACKS_ALONE):
        assert not packets.wants_ping()
        packets.receive(number, NOT_ECT, 1.0, is_eliciting=True)
        packets.take(1.0, is_alone=True)
    assert packets.wants_ping()
    packets.take(1.0, is_alone=False)
    assert not packets.wants_ping()


@given(st.lists(st.integers(0, 100), max_size=80))
def test_what_arrived_is_what_is_said(arrivals):
    packets = ReceivedPackets(is_prompt=False)
    seen = set()
    for number in arrivals:
        known = packets.is_known(number)
        assert known == (number in seen)
        if not known:
            packets.receive(number, NOT_ECT, 1.0, is_eliciting=True)
            seen.add(number)
    if not seen:
        return
    largest, _, ranges = packets.take(1.0, is_alone=True)
    said = [set(range(low, high + 1)) for high, low in zip(ranges[::2], ranges[1::2], strict=True)]
    assert largest == max(seen) == ranges[0]
    assert ranges == sorted(ranges, reverse=True)
    whole = set().union(*said)
    assert whole <= seen
    assert len(said) == MAX_RANGES_SENT or whole == seen
