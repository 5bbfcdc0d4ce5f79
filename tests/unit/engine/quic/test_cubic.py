"""CUBIC, RFC 9438."""

import itertools

import pytest

from headgate.engine.quic.cubic import BETA, C, Cubic
from headgate.engine.quic.hystart import CSS_ROUNDS, SAMPLES
from headgate.engine.quic.rtt import RttEstimator

DATAGRAM = 1200


def path(rtt):
    estimator = RttEstimator()
    estimator.update(rtt, 0.0, 0.0)
    return estimator


def at_window(packets):
    controller = Cubic(DATAGRAM)
    controller.window = packets * DATAGRAM
    return controller


def drive(controller, rtt, start, rounds):
    """Acknowledge a window each round trip, a datagram at a time; return the time."""
    estimator = path(rtt)
    now = start
    for _ in range(rounds):
        packets = controller.window // DATAGRAM
        for at in range(packets):
            controller.on_acked(DATAGRAM, now, now + rtt * at / packets, estimator)
        now += rtt
    return now


def test_rfc9438_4_6_a_loss_leaves_seven_tenths():
    controller = at_window(100)
    controller.on_congestion(1.0, 2.0)
    assert controller.window == int(100 * DATAGRAM * BETA)
    assert controller.threshold == controller.window


def test_rfc9438_4_2_the_plateau_is_reached_after_k_seconds():
    controller = at_window(1000)
    controller.on_congestion(0.5, 1.0)
    k = (1000 * (1 - BETA) / C) ** (1 / 3)
    drive(controller, 0.1, 1.0, round(k / 0.1))
    assert controller.window == pytest.approx(1000 * DATAGRAM, rel=0.01)


def test_rfc9438_4_4_and_4_5_concave_below_the_plateau_and_convex_above():
    controller = at_window(1000)
    controller.on_congestion(0.5, 1.0)
    windows, now = [], 1.0
    for _ in range(180):
        now = drive(controller, 0.1, now, 1)
        windows.append(controller.window)
    steps = [second - first for first, second in itertools.pairwise(windows)]
    assert steps[5] > steps[40] > steps[80]
    assert steps[120] < steps[150] < steps[178]


def test_rfc9438_4_3_on_a_short_path_it_is_as_quick_as_reno():
    controller = at_window(20)
    controller.on_congestion(0.5, 1.0)
    rounds = 40
    drive(controller, 0.005, 1.0, rounds)
    # By the curve alone it would have stood still: 0.2 s are far from the plateau.
    reno = 14 + rounds * 3 * (1 - BETA) / (1 + BETA)
    assert controller.window >= 0.9 * reno * DATAGRAM


def test_rfc9438_4_2_it_never_grows_by_more_than_half_in_a_round():
    controller = at_window(100)
    controller.on_congestion(0.5, 1.0)
    controller.on_acked(DATAGRAM, 2.0, 2.0, path(0.1))
    before = controller.window
    now = 60.0
    for _ in range(before // DATAGRAM):
        controller.on_acked(DATAGRAM, now, now, path(0.1))
    assert before < controller.window <= before * 1.66  # (1 + 0.5/n)^n


def test_rfc9438_4_7_fast_convergence_gives_way_below_the_last_plateau():
    controller = at_window(1000)
    controller.on_congestion(0.5, 1.0)
    controller.on_congestion(1.5, 2.0)
    assert controller.window == int(700 * DATAGRAM * BETA)
    drive(controller, 0.1, 2.0, 1)
    plateau = 700 * (1 + BETA) / 2
    k = ((plateau - 490) / C) ** (1 / 3)
    drive(controller, 0.1, 2.1, round(k / 0.1) - 1)
    assert controller.window == pytest.approx(plateau * DATAGRAM, rel=0.02)


def test_rfc9438_4_8_after_persistent_congestion_the_climb_begins_at_its_own_plateau():
    controller = at_window(100)
    controller.on_congestion(0.5, 1.0)
    controller.on_persistent_congestion()
    assert controller.window == 2 * DATAGRAM
    now = drive(controller, 0.1, 2.0, 6)
    assert not controller.in_slow_start()
    before = controller.window
    drive(controller, 0.1, now, 3)
    assert before <= controller.window < before * 1.1


def test_rfc9438_5_8_time_without_data_is_no_time_on_the_curve():
    busy, idle = at_window(1000), at_window(1000)
    for controller in (busy, idle):
        controller.on_congestion(0.5, 1.0)
        drive(controller, 0.1, 1.0, 20)
    drive(busy, 0.1, 3.0, 20)
    idle.set_app_limited(3.0, is_limited=True)
    drive(idle, 0.1, 3.0, 50)
    idle.set_app_limited(63.0, is_limited=False)
    drive(idle, 0.1, 63.0, 20)
    assert idle.window == pytest.approx(busy.window, rel=0.01)


def test_rfc9406_4_3_only_the_first_slow_start_watches_the_round_trip():
    controller = at_window(10)
    estimator = path(0.1)
    now = 1.0
    for rtt in [0.100] + [0.150] * (CSS_ROUNDS + 2):
        estimator.latest = rtt
        for at in range(SAMPLES):
            controller.on_acked(DATAGRAM, now if at == 0 else now - 0.001, now + 0.01, estimator)
        now += 0.2
    assert controller.hystart.is_over
    assert not controller.in_slow_start()
    controller.on_congestion(now, now + 0.1)
    controller.on_persistent_congestion()
    before = controller.window
    controller.on_acked(DATAGRAM, now + 1.0, now + 1.1, estimator)
    assert controller.window == before + DATAGRAM


def test_rfc9406_4_2_conservative_slow_start_grows_by_a_quarter():
    controller = at_window(10)
    controller.hystart.is_conservative = True
    controller.on_acked(DATAGRAM, 1.0, 1.1, path(0.1))
    assert controller.window == 10 * DATAGRAM + DATAGRAM // 4
