"""Who may begin a QUIC connection: each limit, and one more."""

import pytest

from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS, QUIC_HALF_OPEN, SIZE
from headgate.server.quic_admission import (
    MAX_HALF_OPEN,
    MAX_HANDSHAKES,
    MAX_NETWORK_HANDSHAKES,
    MAX_STARTS,
    RESERVED_STARTS,
    Admission,
    Verdict,
)

ADMIT, RETRY, DROP = Verdict.ADMIT, Verdict.RETRY, Verdict.DROP


@pytest.fixture
def values():
    return [0] * SIZE


@pytest.fixture
def admission(values):
    return Admission(values, 0.0)


def dropped(values, reason):
    return values[QUIC_DROPPED_FIRST + QUIC_DROPS.index(reason)]


def test_rfc9000_8_1_2_beyond_so_many_half_open_a_client_proves_its_address(admission, values):
    for number in range(MAX_HALF_OPEN):
        assert admission.decide(f"192.0.2.{number}", False, 0.0) == ADMIT
    assert values[QUIC_HALF_OPEN] == MAX_HALF_OPEN
    assert admission.decide("198.51.100.1", False, 0.0) == RETRY
    assert admission.decide("198.51.100.1", True, 0.0) == ADMIT
    admission.settled("192.0.2.0", False)
    assert admission.decide("198.51.100.2", False, 0.0) == ADMIT


def test_so_many_handshakes_and_one_more(admission, values):
    for number in range(MAX_HANDSHAKES):
        assert admission.decide(f"network {number}", True, number / MAX_STARTS * 2) == ADMIT
    assert admission.decide("another", True, 100.0) == DROP
    assert dropped(values, "handshakes") == 1
    admission.settled("network 0", True)
    assert admission.decide("another", True, 100.0) == ADMIT


def test_so_many_handshakes_of_one_network_and_one_more(admission, values):
    for _ in range(MAX_NETWORK_HANDSHAKES):
        assert admission.decide("192.0.2.1", True, 0.0) == ADMIT
    assert admission.decide("192.0.2.1", True, 0.0) == DROP
    assert admission.decide("192.0.2.2", True, 0.0) == ADMIT
    assert dropped(values, "handshakes") == 1
    for _ in range(MAX_NETWORK_HANDSHAKES):
        admission.settled("192.0.2.1", True)
    assert admission.decide("192.0.2.1", True, 0.0) == ADMIT


def test_so_many_that_are_not_proved_do_not_keep_out_one_that_is(admission, values):
    """Whoever sends in the name of others must not lock them out."""
    for _ in range(MAX_NETWORK_HANDSHAKES):
        assert admission.decide("192.0.2.1", False, 0.0) == ADMIT
    assert admission.decide("192.0.2.1", False, 0.0) == RETRY
    assert admission.decide("192.0.2.1", True, 0.0) == ADMIT
    assert admission.decide("192.0.2.2", False, 0.0) == ADMIT
    assert dropped(values, "handshakes") == 0
    admission.settled("192.0.2.1", False)
    assert admission.decide("192.0.2.1", False, 0.0) == ADMIT


def test_starts_are_left_for_those_that_are_proved(admission, values):
    """Who is not may begin and end handshakes as fast as it likes."""
    for _ in range(MAX_STARTS - RESERVED_STARTS):
        assert admission.decide("192.0.2.1", False, 0.0) == ADMIT
        admission.settled("192.0.2.1", False)
    assert admission.decide("192.0.2.1", False, 0.0) == RETRY
    for number in range(RESERVED_STARTS):
        assert admission.decide(f"network {number}", True, 0.0) == ADMIT
    assert admission.decide("192.0.2.1", True, 0.0) == DROP
    assert dropped(values, "handshake-rate") == 1


def test_so_many_handshakes_begun_in_a_second_and_one_more(admission, values):
    for number in range(MAX_STARTS):
        network = f"network {number}"
        assert admission.decide(network, True, 0.0) == ADMIT
        admission.settled(network, True)
    assert admission.decide("another", False, 0.0) == RETRY
    assert admission.decide("another", True, 0.0) == DROP
    assert dropped(values, "handshake-rate") == 1
    assert admission.decide("another", True, 0.1) == ADMIT


def test_what_is_over_is_not_counted(admission, values):
    assert admission.decide("a", False, 0.0) == ADMIT
    admission.settled("a", False)
    assert (admission.handshakes, admission.half_open, values[QUIC_HALF_OPEN]) == (0, 0, 0)
    assert not admission._unproved
    assert admission.decide("a", True, 0.0) == ADMIT
    admission.settled("a", True)
    assert not admission._proved
