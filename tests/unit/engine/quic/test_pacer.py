"""The token bucket, RFC 9002 section 7.7."""

import pytest

from headgate.engine.quic.pacer import GAIN, Pacer


def steady(window=120_000, rtt=0.1, datagram=1200):
    pacer = Pacer(window, rtt, datagram)
    pacer.set_pace(window, rtt, datagram, in_slow_start=False)
    return pacer


def test_rfc9002_7_7_a_burst_is_no_larger_than_the_initial_window():
    pacer = steady()
    assert pacer.budget(1.0) == 12_000
    pacer.spend(12_000)
    assert pacer.budget(1.0) == 0
    assert pacer.budget(100.0) == 12_000


def test_rfc9002_7_7_the_pace_is_a_little_more_than_a_window_each_round_trip():
    pacer = steady()
    pacer.budget(0.0)
    pacer.spend(12_000)
    sent, now = 0, 0.0
    while now < 1.0:
        now += 0.001
        while pacer.budget(now) >= 1200:
            pacer.spend(1200)
            sent += 1200
    assert sent == pytest.approx(GAIN * 1_200_000, rel=0.01)


def test_slow_start_is_paced_twice_as_fast():
    slow_start, avoiding = Pacer(120_000, 0.1, 1200), steady()
    for pacer in (slow_start, avoiding):
        pacer.budget(0.0)
        pacer.spend(12_000)
    assert slow_start.budget(0.005) == pytest.approx(12_000)
    assert avoiding.budget(0.005) == pytest.approx(7500)


def test_at_the_time_it_names_there_is_enough():
    pacer = steady(window=99_991, rtt=0.0373)
    now = 12_345.678
    for _ in range(1000):
        while pacer.budget(now) >= 1200:
            pacer.spend(1200)
        ready = pacer.ready_at(1200)
        assert ready > now
        now = ready
        assert pacer.budget(now) >= 1200


def test_probes_are_paid_back_but_not_without_end():
    pacer = steady()
    pacer.budget(0.0)
    for _ in range(100):
        pacer.spend(1200)
    assert pacer.budget(0.0) == 0
    assert pacer.ready_at(1200) == pytest.approx((12_000 + 1200) / (GAIN * 1_200_000))


def test_a_fast_path_gets_two_milliseconds_in_a_burst():
    pacer = steady()
    pacer.set_pace(4_000_000, 0.01, 1200, in_slow_start=False)
    assert pacer.budget(0.0) == 12_000  # what is in the bucket stays; it only became larger
    assert pacer.budget(1.0) == pytest.approx(0.002 * GAIN * 400_000_000, rel=0.001)


def test_no_round_trip_at_all():
    assert steady(rtt=0.0).budget(0.0) >= 12_000


def test_a_datagram_larger_than_the_bucket_does_not_wait_for_ever():
    pacer = steady()
    pacer.budget(0.0)
    assert pacer.ready_at(1_000_000) == 0.0
