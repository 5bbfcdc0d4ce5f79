"""Round-trip estimation, RFC 9002 section 5 and appendix A.7."""

import pytest

from headgate.engine.quic.rtt import GRANULARITY, INITIAL_RTT, NEVER, RttEstimator


def sampled(*samples):
    rtt = RttEstimator()
    for at, (sample, delay) in enumerate(samples):
        rtt.update(sample, delay, float(at))
    return rtt


def test_rfc9002_6_2_2_before_a_sample_the_probe_timeout_is_a_second():
    rtt = RttEstimator()
    assert rtt.probe_timeout() == pytest.approx(3 * INITIAL_RTT)
    assert rtt.first_sample_at == NEVER
    assert "no sample" in repr(rtt)


def test_rfc9002_5_3_the_first_sample_sets_everything_and_ignores_the_delay():
    rtt = sampled((0.100, 0.050))
    assert (rtt.minimum, rtt.latest, rtt.smoothed, rtt.variation) == (0.100, 0.100, 0.100, 0.050)
    assert rtt.first_sample_at == 0.0


def test_rfc9002_5_3_moving_averages():
    rtt = sampled((0.100, 0.0), (0.180, 0.020))
    assert rtt.variation == pytest.approx(0.75 * 0.050 + 0.25 * 0.060)
    assert rtt.smoothed == pytest.approx(0.875 * 0.100 + 0.125 * 0.160)
    assert rtt.latest == 0.180


def test_rfc9002_5_3_a_delay_that_would_undercut_the_minimum_is_not_believed():
    rtt = sampled((0.100, 0.0), (0.110, 0.020))
    assert rtt.smoothed == pytest.approx(0.875 * 0.100 + 0.125 * 0.110)


def test_rfc9002_5_2_the_minimum_ignores_the_delay():
    assert sampled((0.100, 0.0), (0.090, 0.080)).minimum == 0.090


def test_rfc9002_5_2_the_minimum_starts_over():
    rtt = sampled((0.010, 0.0), (0.500, 0.0))
    rtt.restart_minimum()
    assert rtt.minimum == 0.500


def test_rfc9002_6_2_1_the_probe_timeout_keeps_the_granularity():
    rtt = sampled(*[(0.020, 0.0)] * 60)
    assert rtt.probe_timeout() == pytest.approx(0.020 + GRANULARITY)


def test_rfc9002_6_1_2_the_loss_delay_is_nine_eighths_of_the_longer():
    rtt = sampled((0.080, 0.0), (0.160, 0.0))
    assert rtt.loss_delay() == pytest.approx(0.160 * 9 / 8)
    assert sampled((0.0001, 0.0)).loss_delay() == GRANULARITY


def test_a_clock_that_goes_back_makes_no_negative_round_trip():
    assert sampled((-0.5, 0.0)).minimum == 0.0


def test_rfc9000_9_4_another_path_begins_anew():
    rtt = sampled((0.100, 0.0))
    rtt.reset()
    assert rtt.probe_timeout() == pytest.approx(3 * INITIAL_RTT)
