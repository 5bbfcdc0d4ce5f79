"""What all controllers share, RFC 9002 section 7, through the simplest of them."""

import pytest

from headgate.engine.quic.congestion import MAX_WINDOW, CongestionController, initial_window
from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.rtt import RttEstimator

RTT = RttEstimator()


@pytest.mark.parametrize(
    ("datagram", "window"), [(1200, 12_000), (1452, 14_520), (1472, 14_720), (1500, 14_720), (9000, 18_000)]
)
def test_rfc9002_7_2_the_initial_window(datagram, window):
    assert initial_window(datagram) == window
    assert NewReno(datagram).window == window


def test_rfc9002_7_3_1_slow_start_adds_what_was_acknowledged():
    controller = NewReno(1200)
    controller.on_acked(3600, 0.0, 0.1, RTT)
    assert controller.window == 15_600
    assert controller.in_slow_start()


def test_rfc9002_7_8_a_window_that_is_not_filled_does_not_grow():
    controller = NewReno(1200)
    controller.set_app_limited(0.0, is_limited=True)
    controller.on_acked(3600, 0.0, 0.1, RTT)
    assert controller.window == 12_000
    controller.set_app_limited(0.2, is_limited=False)
    controller.on_acked(3600, 0.0, 0.3, RTT)
    assert controller.window == 15_600


def test_rfc9002_7_3_2_one_episode_reduces_once():
    controller = NewReno(1200)
    assert controller.on_congestion(1.0, 2.0)
    assert controller.window == 6000
    assert not controller.on_congestion(1.9, 2.1)
    assert not controller.on_congestion(2.0, 2.2)
    assert controller.window == 6000
    assert controller.on_congestion(2.1, 2.3)
    assert (controller.window, controller.events) == (3000, 2)


def test_rfc9002_7_2_the_minimum_window():
    controller = NewReno(1200)
    for at in range(10):
        controller.on_congestion(at + 0.5, at + 1.0)
    assert controller.window == 2400


def test_rfc9002_7_6_2_persistent_congestion_collapses_the_window():
    controller = NewReno(1200)
    controller.on_congestion(1.0, 2.0)
    controller.on_persistent_congestion()
    assert controller.window == 2400
    assert controller.in_slow_start()
    assert controller.recovery_start == 2.0


def test_rfc9002_7_2_a_smaller_datagram_before_anything_was_learnt_starts_over():
    controller = NewReno(1452)
    controller.set_datagram(1200)
    assert controller.window == 12_000
    controller = NewReno(1452)
    controller.on_congestion(1.0, 2.0)
    controller.set_datagram(1200)
    assert controller.window == 7260
    controller.set_datagram(9000)
    assert controller.window == 18_000


def test_the_window_at_its_limit_and_one_more():
    controller = NewReno(1200)
    controller.on_acked(MAX_WINDOW - controller.window, 0.0, 0.1, RTT)
    assert controller.window == MAX_WINDOW
    controller.on_acked(1, 0.0, 0.1, RTT)
    assert controller.window == MAX_WINDOW


def test_the_base_alone_is_no_controller():
    controller = CongestionController(1200)
    with pytest.raises(NotImplementedError):
        controller.on_congestion(1.0, 2.0)
