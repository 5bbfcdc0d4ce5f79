"""The search for larger datagrams (RFC 8899, RFC 9000 section 14.3), against roads that a test makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.mtu import (
    BASE,
    BLACK_HOLE_SECONDS,
    MAX_SIZE_PROBES,
    MAX_SUSPICIONS,
    RAISE_SECONDS,
    STEP,
    MtuSearch,
)
from headgate.engine.quic.rtt import NEVER


def search(found, road, now=0.0):
    """Let probes go over a road that takes so much; return their sizes."""
    sizes = []
    while found.next_at <= now:
        size = found.probe()
        sizes.append(size)
        assert found.next_at == NEVER  # one at a time
        if size <= road:
            found.on_acked(size, now)
        else:
            found.on_lost(size, now)
    return sizes


def test_most_roads_take_the_largest_at_once():
    found = MtuSearch(1452, 0.0)
    assert search(found, 1472) == [1452]
    assert (found.size, found.next_at) == (1452, NEVER)
    assert repr(found) == "<MtuSearch 1452 of 1452, below 1453>"


def test_rfc8899_5_1_2_three_probes_of_a_size_and_no_more():
    found = MtuSearch(1452, 0.0)
    sizes = search(found, 1300)
    assert sizes[: MAX_SIZE_PROBES + 1] == [1452, 1452, 1452, 1326]
    assert all(sizes.count(size) <= MAX_SIZE_PROBES for size in sizes)
    assert 1300 - STEP <= found.size <= 1300
    assert found.next_at == RAISE_SECONDS


def test_rfc8899_5_3_2_the_search_begins_again_when_the_road_may_be_wider():
    found = MtuSearch(1452, 0.0)
    search(found, 1300)
    assert search(found, 1452, RAISE_SECONDS) == [1452]
    assert found.size == 1452


def test_one_probe_lost_is_no_proof():
    found = MtuSearch(1452, 0.0)
    found.on_lost(found.probe(), 0.0)
    assert search(found, 1452) == [1452]


def test_rfc9000_14_3_below_1200_there_is_nothing_to_search():
    found = MtuSearch(BASE, 0.0)
    assert found.next_at == NEVER
    assert not found.suspect(0.0)


def test_rfc8899_4_3_a_black_hole_after_three_suspicions_and_no_sooner():
    found = MtuSearch(1452, 0.0)
    search(found, 1452)
    for _ in range(MAX_SUSPICIONS - 1):
        assert not found.suspect(1.0)
    assert found.size == 1452
    assert found.suspect(1.0)
    assert (found.size, found.black_holes, found.next_at) == (BASE, 1, 1.0 + BLACK_HOLE_SECONDS)
    assert search(found, 1252, found.next_at)[0] == 1452
    assert found.size > 1252 - STEP


def test_a_large_packet_that_arrives_ends_the_suspicion():
    found = MtuSearch(1452, 0.0)
    search(found, 1452)
    found.suspect(1.0)
    found.suspect(1.0)
    found.suspicions = 0
    assert not found.suspect(2.0)


def test_a_late_answer_changes_nothing():
    found = MtuSearch(1452, 0.0)
    assert search(found, 1300)[0] == 1452
    size = found.size
    assert not found.on_acked(size, 1.0)
    found.on_lost(1452, 1.0)
    assert found.size == size


@given(st.integers(BASE, 9000), st.integers(BASE, 9000))
def test_whatever_the_road_the_search_ends_just_below(ceiling, road):
    found = MtuSearch(ceiling, 0.0)
    sizes = search(found, road)
    assert len(sizes) <= MAX_SIZE_PROBES * 14
    assert found.size <= min(road, ceiling)
    assert found.size > min(road, ceiling) - STEP - 1


@pytest.mark.parametrize("road", [1200, 1201, 1215, 1217])
def test_roads_that_are_hardly_wider(road):
    found = MtuSearch(1452, 0.0)
    search(found, road)
    assert BASE <= found.size <= road
