"""Loss detection, probe timeouts, persistent congestion: RFC 9002 sections 6 and 7, appendix A."""

import pytest

from headgate.engine.quic.ecn import EcnState
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.recovery import MAX_FRAME_LOSSES, MAX_PTO_BACKOFF, Recovery
from headgate.engine.quic.rtt import NEVER, RttEstimator
from headgate.engine.quic.sent_packets import MAX_TRACKED, SentPacket

SIZE = 1200


def late(count):
    """Randomness that skips no number early."""
    return b"\xff" * count


class Peer:
    """Drives a `Recovery` by hand."""

    def __init__(self, *, is_client=False, is_confirmed=True, is_ecn_enabled=False):
        self.recovery = Recovery(NewReno(SIZE), late, is_client=is_client, is_ecn_enabled=is_ecn_enabled)
        self.recovery.is_confirmed = is_confirmed

    def send(self, now, count=1, level=APPLICATION, *, is_eliciting=True, losses=0, is_size_probe=False):
        numbers = []
        for _ in range(count):
            number = self.recovery.take_number(level)
            packet = SentPacket(number, now, SIZE, is_eliciting, is_eliciting, (f"frame {number}",))
            packet.losses = losses
            packet.is_size_probe = is_size_probe
            packet.is_marked = self.recovery.ecn.is_marking()
            self.recovery.on_sent(level, packet)
            numbers.append(number)
        return numbers

    def ack(self, now, *ranges, level=APPLICATION, delay=0.0, counts=(-1, -1, -1)):
        self.recovery.on_ack(level, list(ranges), delay, now, *counts)
        return [packet.number for packet in self.recovery.take_acked()]

    def lost(self):
        return [packet.number for packet in self.recovery.take_lost()]

    def sampled(self, rtt=0.1):
        """Send and acknowledge one packet, so that the round trip is known."""
        (number,) = self.send(0.0)
        self.ack(rtt, number, number)
        return self


# --- samples, section 5 ---


def test_rfc9002_5_1_a_sample_needs_the_largest_to_be_new():
    peer = Peer()
    peer.send(0.0, 3)
    peer.ack(0.1, 2, 2)
    assert peer.recovery.rtt.latest == pytest.approx(0.1)
    peer.ack(0.5, 2, 1)
    assert peer.recovery.rtt.latest == pytest.approx(0.1)


def test_rfc9002_5_1_a_sample_needs_something_that_asked():
    peer = Peer()
    peer.send(0.0, 1, is_eliciting=False)
    peer.ack(0.3, 0, 0)
    assert peer.recovery.rtt.first_sample_at == NEVER
    peer.send(1.0)
    peer.send(1.0, is_eliciting=False)
    peer.ack(1.2, 2, 1)
    assert peer.recovery.rtt.latest == pytest.approx(0.2)


def test_rfc9002_5_3_the_delay_is_capped_once_the_handshake_is_confirmed():
    smoothed = {}
    for is_confirmed in (True, False):
        peer = Peer(is_confirmed=is_confirmed).sampled(0.1)
        peer.send(1.0)
        peer.ack(1.3, 1, 1, delay=0.150)
        smoothed[is_confirmed] = peer.recovery.rtt.smoothed
    assert smoothed[True] == pytest.approx(0.875 * 0.1 + 0.125 * 0.275)
    assert smoothed[False] == pytest.approx(0.875 * 0.1 + 0.125 * 0.150)


def test_rfc9002_5_3_the_delay_of_initial_packets_is_ignored():
    peer = Peer(is_confirmed=False)
    peer.send(0.0, 2, INITIAL)
    peer.ack(0.1, 0, 0, level=INITIAL)
    peer.ack(0.2, 1, 1, level=INITIAL, delay=0.1)
    assert peer.recovery.rtt.smoothed == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)


# --- losses, section 6.1 ---


def test_rfc9002_6_1_1_three_later_packets_make_a_loss():
    peer = Peer()
    peer.send(0.0, 5)
    assert peer.ack(0.1, 3, 1) == [1, 2, 3]
    assert peer.lost() == [0]
    assert peer.recovery.bytes_in_flight == SIZE
    assert peer.recovery.lost_packets == 1


def test_rfc9002_6_1_1_two_are_reordering():
    peer = Peer()
    peer.send(0.0, 5)
    peer.ack(0.1, 2, 1)
    assert peer.lost() == []


def test_rfc9002_6_1_2_what_stays_away_too_long_is_lost_when_the_timer_goes_off():
    peer = Peer()
    peer.send(0.0, 2)
    peer.ack(0.1, 1, 1)
    assert peer.lost() == []
    due = peer.recovery.deadline()
    assert due == pytest.approx(0.1 * 9 / 8)
    assert peer.recovery.on_deadline(due - 0.001) == -1
    assert peer.lost() == []
    assert peer.recovery.on_deadline(due) == -1
    assert peer.lost() == [0]
    assert peer.recovery.deadline() == NEVER
    assert peer.recovery.pto_count == 0


def test_what_was_lost_and_arrives_after_all_changes_nothing():
    peer = Peer()
    peer.send(0.0, 5)
    peer.ack(0.1, 4, 1)
    assert peer.lost() == [0]
    window = peer.recovery.controller.window
    assert peer.ack(0.2, 4, 0) == []
    assert (peer.recovery.bytes_in_flight, peer.recovery.controller.window) == (0, window)


def test_frames_come_back_with_their_packets():
    peer = Peer()
    peer.send(0.0, 4)
    peer.recovery.on_ack(APPLICATION, [3, 3], 0.0, 0.1)
    assert [packet.frames for packet in peer.recovery.take_acked()] == [("frame 3",)]
    assert [packet.frames for packet in peer.recovery.take_lost()] == [("frame 0",)]
    assert peer.recovery.take_lost() == []


def test_a_frame_lost_as_often_as_allowed_and_once_more():
    peer = Peer()
    peer.send(0.0, losses=MAX_FRAME_LOSSES - 2)
    peer.send(0.0, 4)
    peer.ack(0.1, 4, 1)
    assert peer.lost() == [0]
    peer = Peer()
    peer.send(0.0, losses=MAX_FRAME_LOSSES - 1)
    peer.send(0.0, 4)
    with pytest.raises(QuicError) as caught:
        peer.ack(0.1, 4, 1)
    assert caught.value.code == 0x01


def test_packets_tracked_at_the_limit_and_one_more():
    peer = Peer()
    peer.send(0.0)
    peer.send(0.0, MAX_TRACKED - 2, is_eliciting=False)
    tracked = len(peer.recovery.spaces[APPLICATION])
    while tracked < MAX_TRACKED:
        assert peer.recovery.has_room(APPLICATION)
        peer.send(0.0, is_eliciting=False)
        tracked = len(peer.recovery.spaces[APPLICATION])
    assert not peer.recovery.has_room(APPLICATION)
    peer.ack(0.1, 20, 0)
    assert peer.recovery.has_room(APPLICATION)


def test_rfc9000_14_4_a_lost_size_probe_is_no_congestion():
    peer = Peer()
    peer.send(0.0, is_size_probe=True)
    peer.send(0.0, 4)
    peer.ack(0.1, 4, 1)
    assert peer.lost() == [0]
    assert peer.recovery.controller.events == 0


# --- probe timeouts, section 6.2 ---


def test_rfc9002_6_2_1_the_probe_timeout_counts_from_the_last_packet_that_asks():
    peer = Peer().sampled(0.1)
    peer.send(1.0)
    peer.send(1.5)
    peer.send(1.6, is_eliciting=False)
    assert peer.recovery.deadline() == pytest.approx(1.5 + 0.1 + 4 * 0.05 + 0.025)


def test_rfc9002_6_2_1_it_doubles_with_each_one_and_an_answer_resets_it():
    peer = Peer().sampled(0.1)
    peer.send(1.0)
    now, waits = 1.0, []
    for _ in range(5):
        waits.append(peer.recovery.deadline() - now)
        now = peer.recovery.deadline()
        assert peer.recovery.on_deadline(now) == APPLICATION
        assert peer.recovery.probes[APPLICATION] == 2
        (number, _) = peer.send(now, 2)
        assert peer.recovery.probes[APPLICATION] == 0
    assert waits == pytest.approx([0.325 * 2**power for power in range(5)])
    assert peer.lost() == []  # a probe timeout is a question, not a loss
    peer.ack(now + 0.1, number, number)
    assert peer.recovery.pto_count == 0


def test_the_backoff_at_its_limit_and_one_more():
    peer = Peer().sampled(0.1)
    peer.send(1.0)
    for count in (MAX_PTO_BACKOFF, MAX_PTO_BACKOFF + 1, 10_000):
        peer.recovery.pto_count = count
        assert peer.recovery.deadline() == pytest.approx(1.0 + 0.325 * 1024)


def test_rfc9002_6_2_1_no_probe_of_1_rtt_packets_before_the_handshake_is_confirmed():
    peer = Peer(is_confirmed=False)
    peer.send(1.0)
    assert peer.recovery.deadline() == NEVER
    peer.send(1.1, level=HANDSHAKE)
    assert peer.recovery.deadline() == pytest.approx(1.1 + 0.999)
    assert peer.recovery.on_deadline(2.5) == HANDSHAKE


def test_rfc9002_6_2_1_the_earliest_space_is_probed():
    peer = Peer(is_confirmed=False)
    peer.send(1.0, level=HANDSHAKE)
    peer.send(1.1, level=INITIAL)
    assert peer.recovery.on_deadline(3.0) == HANDSHAKE


def test_rfc9002_6_2_1_handshake_packets_are_not_held_back_so_nothing_is_added():
    peer = Peer(is_confirmed=False)
    peer.recovery.max_ack_delay = 5.0
    peer.send(1.0, level=INITIAL)
    assert peer.recovery.deadline() == pytest.approx(1.999)


def test_rfc9002_6_2_2_1_a_client_probes_though_nothing_is_in_flight():
    peer = Peer(is_client=True, is_confirmed=False)
    peer.send(0.0, level=INITIAL)
    peer.ack(0.1, 0, 0, level=INITIAL)
    due = peer.recovery.deadline()
    assert due == pytest.approx(0.1 + 0.3)
    assert peer.recovery.on_deadline(due) == INITIAL
    assert peer.recovery.probes[INITIAL] == 1
    # An acknowledgement of Initial packets does not reset a client's backoff.
    peer.send(due, level=INITIAL)
    peer.ack(due + 0.1, 1, 1, level=INITIAL)
    assert peer.recovery.pto_count == 1
    peer.recovery.has_handshake_keys = True
    assert peer.recovery.on_deadline(peer.recovery.deadline()) == HANDSHAKE


def test_rfc9002_6_2_2_1_an_acknowledged_handshake_packet_validates():
    peer = Peer(is_client=True, is_confirmed=False)
    peer.send(0.0, level=HANDSHAKE)
    peer.ack(0.1, 0, 0, level=HANDSHAKE)
    assert peer.recovery.is_peer_validated
    assert peer.recovery.deadline() == NEVER


def test_rfc9002_6_2_2_1_a_server_that_may_not_send_sets_no_timer():
    peer = Peer(is_confirmed=False)
    peer.send(0.0, level=INITIAL)
    peer.recovery.is_blocked = True
    assert peer.recovery.deadline() == NEVER
    assert peer.recovery.on_deadline(9.0) == -1
    peer.recovery.is_blocked = False
    assert peer.recovery.on_deadline(9.0) == INITIAL


def test_rfc9002_6_2_4_nothing_is_probed_before_its_time():
    peer = Peer().sampled(0.1)
    peer.send(1.0)
    assert peer.recovery.on_deadline(1.2) == -1
    assert peer.recovery.pto_count == 0


def test_rfc9002_7_5_probes_go_past_a_full_window():
    peer = Peer().sampled(0.1)
    peer.send(1.0, 11)
    assert peer.recovery.budget(1.0) == 0
    assert peer.recovery.ready_at() == NEVER
    peer.recovery.on_deadline(peer.recovery.deadline())
    peer.send(2.0, 2)
    assert peer.recovery.bytes_in_flight == 13 * SIZE


# --- keys that go, section 6.4; Retry, section 6.3 ---


def test_rfc9002_6_4_discarded_keys_take_their_packets_out_of_flight():
    peer = Peer(is_confirmed=False)
    peer.send(0.0, 2, level=INITIAL)
    peer.send(0.0, 1, level=HANDSHAKE)
    peer.recovery.on_deadline(peer.recovery.deadline())
    assert peer.recovery.pto_count == 1
    peer.recovery.discard(INITIAL)
    assert (peer.recovery.bytes_in_flight, peer.recovery.pto_count) == (SIZE, 0)
    assert peer.recovery.probes[INITIAL] == 0
    assert peer.lost() == []


def test_rfc9002_6_3_a_retry_gives_packets_back_without_blame():
    peer = Peer(is_client=True, is_confirmed=False)
    peer.send(0.0, 2, level=INITIAL)
    peer.send(0.0, 1, level=EARLY)
    assert [packet.number for packet in peer.recovery.forget(INITIAL)] == [0, 1]
    assert [packet.number for packet in peer.recovery.forget(EARLY)] == [0]
    assert (peer.recovery.bytes_in_flight, peer.recovery.controller.events) == (0, 0)
    assert peer.send(0.1, level=INITIAL) == [2]


def test_rfc9000_12_3_0_rtt_and_1_rtt_packets_share_one_space():
    peer = Peer()
    assert peer.send(0.0, level=EARLY) == [0]
    assert peer.send(0.0) == [1]
    assert peer.ack(0.1, 1, 0) == [0, 1]


# --- congestion, section 7 ---


def test_rfc9002_7_3_a_loss_reduces_once_for_all_that_was_in_flight():
    peer = Peer().sampled(0.1)
    window = peer.recovery.controller.window
    peer.send(1.0, 10)
    peer.ack(1.1, 4, 4)
    assert peer.recovery.controller.window == window // 2
    peer.ack(1.11, 8, 8)
    peer.ack(1.12, 10, 10)
    assert len(peer.lost()) == 6
    assert (peer.recovery.controller.events, peer.recovery.controller.window) == (1, window // 2)


def test_rfc9002_7_3_2_what_was_sent_before_recovery_grows_nothing():
    peer = Peer().sampled(0.1)
    peer.send(1.0, 10)
    peer.ack(1.1, 4, 4)
    window = peer.recovery.controller.window
    peer.ack(1.2, 10, 8)
    assert peer.recovery.controller.window == window


def test_rfc9002_7_8_a_flush_that_ran_dry_stops_growth_and_a_full_window_does_not():
    peer = Peer().sampled(0.1)
    window = peer.recovery.controller.window
    peer.send(1.0)
    peer.recovery.on_flushed(1.0, ran_dry=True)
    peer.ack(1.1, 1, 1)
    assert peer.recovery.controller.window == window
    (*_, last) = peer.send(2.0, 12)
    peer.recovery.on_flushed(2.0, ran_dry=True)
    peer.ack(2.1, last, last - 11)
    assert peer.recovery.controller.window == window + 12 * SIZE


def test_rfc9002_7_the_budget_is_what_window_and_pace_leave():
    peer = Peer()
    assert peer.recovery.budget(0.0) == 10 * SIZE
    peer.send(0.0, 4)
    assert peer.recovery.budget(0.0) == 6 * SIZE
    peer.send(0.0, 6)
    assert peer.recovery.budget(0.0) == 0
    peer.ack(0.1, 9, 0)
    assert peer.recovery.window_room() == 20 * SIZE
    assert peer.recovery.budget(0.1) < 20 * SIZE
    ready = peer.recovery.ready_at()
    peer.recovery.budget(ready)
    assert peer.recovery.budget(ready) >= SIZE


def test_packets_not_in_flight_cost_no_window():
    peer = Peer()
    peer.send(0.0, 5, is_eliciting=False)
    assert peer.recovery.bytes_in_flight == 0
    assert peer.recovery.deadline() == NEVER


# --- persistent congestion, section 7.6 ---


def blackout(peer, times):
    """Send at each time without an answer, then four of which the last arrives; tell whether it collapsed."""
    for time in times:
        peer.send(time)
    (*_, last) = peer.send(times[-1] + 0.01, 4)
    peer.ack(times[-1] + 0.11, last, last)
    return peer.recovery.persistent_congestions == 1


def test_rfc9002_7_6_1_the_duration():
    # (0.1 + 4 × 0.05 + 0.025) × 3 s; the acknowledgement that ends it moves the estimate a little.
    peer = Peer().sampled(0.1)
    assert blackout(peer, [1.0, 1.5, 2.0])
    assert peer.recovery.controller.window == 2 * SIZE
    assert not blackout(Peer().sampled(0.1), [1.0, 1.2, 1.5])


def test_a_collapsed_window_is_not_opened_by_what_was_sent_before():
    """Only the acknowledgements were lost of ten packets: the one that ends the silence names them all."""
    peer = Peer().sampled(0.1)
    arrived = peer.send(1.0, 10)
    for time in (1.1, 1.5, 2.0):
        peer.send(time)
    (*_, last) = peer.send(2.01, 4)
    peer.ack(2.11, last, last, arrived[-1], arrived[0])
    assert peer.recovery.persistent_congestions == 1
    assert peer.recovery.controller.window == 2 * SIZE


def test_rfc9002_7_6_2_an_acknowledged_packet_in_between_breaks_the_run():
    peer = Peer().sampled(0.1)
    for time in (1.0, 1.5, 2.0):
        peer.send(time)
    (*_, last) = peer.send(2.1, 4)
    peer.ack(2.2, last, last, 2, 2)
    assert peer.lost() == [1, 3, 4]
    assert peer.recovery.persistent_congestions == 0


def test_rfc9002_7_6_2_nothing_before_the_first_sample_counts():
    assert not blackout(Peer(), [1.0, 2.0, 30.0])


def test_rfc9002_7_6_2_the_ends_must_have_asked():
    peer = Peer().sampled(0.1)
    peer.send(1.0, is_eliciting=False)
    assert not blackout(peer, [2.4, 2.5])


def test_rfc9002_7_6_2_an_acknowledgement_in_another_space_counts_too():
    peer = Peer().sampled(0.1)
    peer.send(1.0)
    peer.send(1.5, level=HANDSHAKE)
    peer.ack(1.6, 0, 0, level=HANDSHAKE)
    assert not blackout(peer, [2.0, 2.5])


def test_rfc9002_5_2_the_minimum_round_trip_starts_over():
    peer = Peer().sampled(0.01)
    assert blackout(peer, [1.0, 1.5, 2.0])
    assert peer.recovery.rtt.minimum == pytest.approx(0.1)


# --- ECN, section 7.1; another path ---


def test_rfc9002_7_1_a_congestion_mark_counts_as_a_loss():
    peer = Peer(is_ecn_enabled=True)
    peer.send(0.0, 4)
    peer.ack(0.1, 3, 0, counts=(3, 0, 1))
    assert peer.recovery.ecn.state is EcnState.CAPABLE
    assert (peer.recovery.controller.events, peer.recovery.controller.window) == (1, 5 * SIZE)


def test_rfc9000_13_4_2_1_counts_of_an_older_acknowledgement_are_not_looked_at():
    peer = Peer(is_ecn_enabled=True)
    peer.send(0.0, 4)
    peer.ack(0.1, 3, 2, counts=(2, 0, 0))
    peer.ack(0.1, 2, 0, counts=(1, 0, 0))
    assert peer.recovery.ecn.state is EcnState.CAPABLE


def test_rfc9000_a_4_marked_packets_that_are_all_lost():
    peer = Peer(is_ecn_enabled=True)
    peer.send(0.0, 10)
    peer.send(0.1, 4)
    peer.ack(0.2, 13, 10)
    assert peer.recovery.ecn.reason == "all-marked-lost"


def test_rfc9000_9_4_another_path_learns_from_its_own_packets_only():
    peer = Peer().sampled(0.5)
    peer.send(1.0, 5)
    peer.recovery.use_path(NewReno(SIZE), RttEstimator(), 1.2)
    assert peer.ack(1.5, 5, 4) == [4, 5]
    assert peer.lost() == [1, 2, 3]
    assert peer.recovery.rtt.first_sample_at == NEVER
    assert (peer.recovery.controller.window, peer.recovery.controller.events) == (10 * SIZE, 0)
    peer.send(2.0)
    peer.ack(2.1, 6, 6)
    assert peer.recovery.rtt.smoothed == pytest.approx(0.1)
    assert peer.recovery.controller.window == 11 * SIZE
