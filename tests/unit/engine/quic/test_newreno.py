"""NewReno, RFC 9002 section 7.3 and appendix B."""

from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.rtt import RttEstimator

RTT = RttEstimator()


def avoiding():
    controller = NewReno(1200)
    controller.on_congestion(1.0, 2.0)
    return controller


def test_rfc9002_7_3_2_a_loss_halves_the_window():
    controller = avoiding()
    assert (controller.window, controller.threshold) == (6000, 6000)
    assert not controller.in_slow_start()
    assert "avoidance" in repr(controller)


def test_rfc9002_7_3_3_one_datagram_for_each_window_acknowledged():
    controller = avoiding()
    for _ in range(4):
        controller.on_acked(1200, 3.0, 3.1, RTT)
    assert controller.window == 6000
    controller.on_acked(1200, 3.0, 3.1, RTT)
    assert controller.window == 7200


def test_rfc9002_7_3_1_slow_start_again_up_to_the_threshold():
    controller = avoiding()
    controller.on_persistent_congestion()
    controller.on_acked(2400, 3.0, 3.1, RTT)
    assert controller.window == 4800
    controller.on_acked(2400, 3.0, 3.1, RTT)
    assert controller.window == 7200
    controller.on_acked(2400, 3.0, 3.1, RTT)
    assert controller.window == 7200
