"""ECN validation, RFC 9000 section 13.4.2 and appendix A.4."""

import pytest

from headgate.engine.quic.ecn import MAX_TEST_PACKETS, EcnState, EcnValidator
from headgate.engine.quic.levels import APPLICATION, INITIAL


def marked(sent=MAX_TEST_PACKETS):
    ecn = EcnValidator(is_enabled=True)
    for _ in range(sent):
        ecn.on_sent(APPLICATION)
    return ecn


def test_rfc9000_a_4_ten_packets_are_marked_then_none_until_the_answer():
    ecn = marked(MAX_TEST_PACKETS - 1)
    assert ecn.is_marking()
    ecn.on_sent(APPLICATION)
    assert ecn.state is EcnState.UNKNOWN
    assert not ecn.is_marking()
    assert ecn.on_acked(APPLICATION, 2, 2, 0, 0) == 0
    assert ecn.state is EcnState.CAPABLE
    assert ecn.is_marking()


def test_rfc9000_13_4_2_1_more_congestion_marks_are_returned_once():
    ecn = marked()
    assert ecn.on_acked(APPLICATION, 3, 2, 0, 1) == 1
    assert ecn.on_acked(APPLICATION, 3, 4, 0, 2) == 1
    assert ecn.on_acked(APPLICATION, 1, 5, 0, 2) == 0


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((2, -1, -1, -1), "no-counts"),
        ((2, 1, 0, 0), "marks-removed"),
        ((2, 2, 1, 0), "marks-never-sent"),
        ((2, 8, 0, 3), "marks-never-sent"),
    ],
)
def test_rfc9000_13_4_2_1_wrong_counts_end_marking(counts, reason):
    ecn = marked()
    assert ecn.on_acked(APPLICATION, *counts) == 0
    assert (ecn.state, ecn.reason) == (EcnState.FAILED, reason)
    assert not ecn.is_marking()
    assert ecn.on_acked(APPLICATION, 2, 2, 0, 5) == 0


def test_rfc9000_13_4_2_1_counts_only_grow():
    ecn = marked()
    ecn.on_acked(APPLICATION, 4, 4, 0, 0)
    ecn.on_acked(APPLICATION, 0, 3, 0, 1)
    assert ecn.reason == "counts-shrank"


def test_an_acknowledgement_of_unmarked_packets_proves_nothing():
    ecn = marked()
    assert ecn.on_acked(APPLICATION, 0, -1, -1, -1) == 0
    assert ecn.on_acked(APPLICATION, 0, 0, 0, 0) == 0
    assert ecn.state is EcnState.UNKNOWN


def test_spaces_count_apart():
    ecn = EcnValidator(is_enabled=True)
    ecn.on_sent(INITIAL)
    for _ in range(3):
        ecn.on_sent(APPLICATION)
    assert ecn.on_acked(INITIAL, 1, 1, 0, 0) == 0
    assert ecn.on_acked(APPLICATION, 3, 3, 0, 0) == 0
    assert ecn.state is EcnState.CAPABLE


def test_rfc9000_a_4_when_all_marked_packets_are_lost_the_marks_are_why():
    ecn = marked()
    ecn.on_lost(MAX_TEST_PACKETS - 1)
    assert ecn.state is EcnState.UNKNOWN
    ecn.on_lost(1)
    assert (ecn.state, ecn.reason) == (EcnState.FAILED, "all-marked-lost")


def test_marking_that_is_off():
    ecn = EcnValidator(is_enabled=False)
    assert not ecn.is_marking()
    assert ecn.on_acked(APPLICATION, 0, 5, 0, 5) == 0
    assert repr(ecn) == "<EcnValidator failed: off>"
