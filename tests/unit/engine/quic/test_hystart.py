"""HyStart++, RFC 9406 section 4."""

from headgate.engine.quic.hystart import CSS_ROUNDS, SAMPLES, HyStart


class Rounds:
    """Feeds rounds of acknowledgements; each round's packets are sent when it begins."""

    def __init__(self):
        self.hystart = HyStart()
        self.now = 0.0

    def round(self, *rtts):
        sent = self.now
        for at, rtt in enumerate(rtts):
            self.now += 0.001
            # The first of a round was sent after the last round began; the others with it.
            self.hystart.on_acked(sent if at == 0 else sent - 0.0005, rtt, self.now)
        return self.hystart


def test_rfc9406_4_2_a_longer_round_begins_conservative_slow_start():
    rounds = Rounds()
    assert not rounds.round(*[0.100] * SAMPLES).is_conservative
    assert rounds.round(*[0.113] * SAMPLES).is_conservative
    assert not rounds.hystart.is_over


def test_rfc9406_4_2_too_few_samples_prove_nothing():
    rounds = Rounds()
    rounds.round(*[0.100] * SAMPLES)
    assert not rounds.round(*[0.200] * (SAMPLES - 1)).is_conservative


def test_rfc9406_4_2_the_smallest_of_a_round_counts():
    rounds = Rounds()
    rounds.round(*[0.100] * SAMPLES)
    assert not rounds.round(0.101, *[0.300] * SAMPLES).is_conservative


def test_rfc9406_4_2_the_threshold_lies_between_4_and_16_milliseconds():
    for base, below, above in ((0.001, 0.0045, 0.0055), (0.100, 0.112, 0.113), (1.0, 1.015, 1.017)):
        for rtt, is_found in ((below, False), (above, True)):
            rounds = Rounds()
            rounds.round(*[base] * SAMPLES)
            assert rounds.round(*[rtt] * SAMPLES).is_conservative is is_found, (base, rtt)


def test_rfc9406_4_2_jitter_resumes_slow_start():
    rounds = Rounds()
    rounds.round(*[0.100] * SAMPLES)
    rounds.round(*[0.130] * SAMPLES)
    assert not rounds.round(*[0.110] * SAMPLES).is_conservative


def test_rfc9406_4_2_slow_start_is_over_after_five_conservative_rounds():
    rounds = Rounds()
    rounds.round(*[0.100] * SAMPLES)
    rounds.round(*[0.130] * SAMPLES)
    for _ in range(CSS_ROUNDS - 1):
        assert not rounds.round(*[0.130] * SAMPLES).is_over
    assert rounds.round(0.130).is_over
    assert "over" in repr(rounds.hystart)
