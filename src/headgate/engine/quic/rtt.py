"""How long a round trip takes: RFC 9002 section 5.

Three numbers from samples: the minimum (what the path costs when nothing queues), a smoothed average and its mean
variation. An acknowledgement says how long the peer held it back; that time is taken off, but never so far that a
sample falls below the minimum, because the peer may lie and the minimum is ours alone (section 5.3). All times are
seconds.
"""

import math
from typing import Final, final

NEVER: Final = math.inf
# Section 6.2.2: before the first sample, PTO is a second.
INITIAL_RTT: Final = 0.333
# Section 6.1.2: no timer is finer than this.
GRANULARITY: Final = 0.001


@final
class RttEstimator:
    """The estimate of one path. `first_sample_at` is `NEVER` until there is one."""

    __slots__ = ("first_sample_at", "latest", "minimum", "smoothed", "variation")

    def __init__(self) -> None:
        self.reset()

    def __repr__(self) -> str:
        if self.first_sample_at == NEVER:
            return "<RttEstimator no sample>"
        smoothed, variation, minimum = self.smoothed * 1e3, self.variation * 1e3, self.minimum * 1e3
        return f"<RttEstimator {smoothed:.1f} ±{variation:.1f} ms, min {minimum:.1f}>"

    def reset(self) -> None:
        """Begin anew: another path has another round trip (RFC 9000 section 9.4)."""
        self.first_sample_at = NEVER
        self.latest = 0.0
        self.minimum = 0.0
        self.smoothed = INITIAL_RTT
        self.variation = INITIAL_RTT / 2

    def update(self, sample: float, ack_delay: float, now: float) -> None:
        """Take in a sample and how long the peer says it held the acknowledgement back (0: not believed)."""
        if sample < 0.0:
            sample = 0.0
        self.latest = sample
        if self.first_sample_at == NEVER:
            self.first_sample_at = now
            self.minimum = sample
            self.smoothed = sample
            self.variation = sample / 2
            return
        if sample < self.minimum:
            self.minimum = sample
        adjusted = sample
        if sample >= self.minimum + ack_delay:
            adjusted = sample - ack_delay
        self.variation = 0.75 * self.variation + 0.25 * abs(self.smoothed - adjusted)
        self.smoothed = 0.875 * self.smoothed + 0.125 * adjusted

    def restart_minimum(self) -> None:
        """Believe the newest sample: after persistent congestion the path may be another one (section 5.2)."""
        self.minimum = self.latest

    def probe_timeout(self) -> float:
        """Return PTO without the peer's delay and without backoff (section 6.2.1)."""
        return self.smoothed + max(4 * self.variation, GRANULARITY)

    def loss_delay(self) -> float:
        """Return after how long a packet older than an acknowledged one is lost (section 6.1.2)."""
        return max(1.125 * max(self.latest, self.smoothed), GRANULARITY)
