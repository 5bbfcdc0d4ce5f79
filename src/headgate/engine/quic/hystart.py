"""Leaving slow start before the queue overflows: HyStart++, RFC 9406.

Slow start doubles the window each round trip. When the smallest round trip of a round is clearly longer than that of
the round before, a queue builds up: growth goes down to a quarter (conservative slow start, CSS). Was it jitter, so
that round trips become short again, slow start goes on; else it is over after five rounds. Only the first slow
start of a connection uses it (section 4.3).

A round ends when something is acknowledged that was sent after the round began. Sending times tell that as well as
packet numbers, and across all three number spaces.
"""

from typing import Final, final

from headgate.engine.quic.rtt import NEVER

# Section 4.3. Growth in CSS is divided by the fourth; L is infinite because we pace.
RTT_THRESHOLD_LOW: Final = 0.004
RTT_THRESHOLD_HIGH: Final = 0.016
MIN_RTT_DIVISOR: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
SAMPLES: Final = 8
CSS_ROUNDS: Final = 5


@final
class HyStart:
    """`is_conservative`: grow by a quarter. `is_over`: begin congestion avoidance."""

    __slots__ = (
        "_baseline",
        "_css_rounds",
        "_last_minimum",
        "_minimum",
        "_round_start",
        "_samples",
        "is_conservative",
        "is_over",
    )

    def __init__(self) -> None:
        self._round_start = -NEVER
        self._last_minimum = NEVER
        self._minimum = NEVER
        self._samples = 0
        self._baseline = NEVER
        self._css_rounds = 0
        self.is_conservative = False
        self.is_over = False

    def __repr__(self) -> str:
        state = "over" if self.is_over else "conservative" if self.is_conservative else "slow start"
        return f"<HyStart {state}>"

    def on_acked(self, sent_time: float, rtt: float, now: float) -> None:
        """Take in one acknowledgement: when its newest packet was sent, and its round trip (section 4.2)."""
        if sent_time >= self._round_start:
            self._begin_round(now)
        self._minimum = min(self._minimum, rtt)
        self._samples += 1
        if self._samples < SAMPLES:
            return
        if self.is_conservative:
            if self._minimum < self._baseline:  # it was jitter
                self.is_conservative = False
                self._baseline = NEVER
        elif self._last_minimum != NEVER:
            threshold = max(RTT_THRESHOLD_LOW, min(self._last_minimum / MIN_RTT_DIVISOR, RTT_THRESHOLD_HIGH))
            if self._minimum >= self._last_minimum + threshold:
                self.is_conservative = True
                self._baseline = self._minimum
                self._css_rounds = 0

    def _begin_round(self, now: float) -> None:
        self._round_start = now
        self._last_minimum = self._minimum
        self._minimum = NEVER
        self._samples = 0
        if self.is_conservative:
            self._css_rounds += 1
            if self._css_rounds >= CSS_ROUNDS:
                self.is_over = True
