"""CUBIC: RFC 9438, with HyStart++ (RFC 9406) in the first slow start.

After a congestion event the window climbs along a cubic curve whose plateau is where it last broke (`_plateau`,
W_max): fast at first, hardly at all near the plateau, then faster and faster, by time and not by round trips. Where
NewReno would be quicker, on short or slow paths, its window is followed instead (`_reno`, W_est; section 4.3).
Windows are bytes here, the RFC's formulas count segments: C is multiplied by the datagram size.
"""

from typing import Final, final

from headgate.engine.quic.congestion import CongestionController
from headgate.engine.quic.hystart import CSS_GROWTH_DIVISOR, HyStart
from headgate.engine.quic.rtt import NEVER, RttEstimator

# Section 4.6 and 5: 0.7 and 0.4 are the RFC's.
BETA: Final = 0.7
C: Final = 0.4
ALPHA: Final = 3 * (1 - BETA) / (1 + BETA)
# Section 4.2: the target is at most half a window above the window.
STEEPEST: Final = 1.5


@final
class Cubic(CongestionController):
    """The default controller."""

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self.hystart = HyStart()
        self._plateau = 0.0
        self._prior = 0.0  # the window before the last reduction (cwnd_prior)
        self._epoch = NEVER  # when this climb began
        self._duration = 0.0  # seconds from there to the plateau (K)
        self._reno = 0.0
        self._exact = 0.0  # the window with its fractions, while avoiding
        self._limited_since = NEVER

    def set_app_limited(self, now: float, *, is_limited: bool) -> None:
        """As in the base; time without data is no time on the curve (section 5.8)."""
        if is_limited and not self.is_app_limited:
            self._limited_since = now
        elif not is_limited and self.is_app_limited and self._epoch != NEVER:
            self._epoch += now - max(self._limited_since, self._epoch)
        self.is_app_limited = is_limited

    def _slow_start(self, size: int, sent_time: float, now: float, rtt: RttEstimator) -> None:
        if self.threshold != NEVER:  # not the first slow start
            self.window += size
            return
        hystart = self.hystart
        hystart.on_acked(sent_time, rtt.latest, now)
        if hystart.is_over:
            self.threshold = float(self.window)
        elif hystart.is_conservative:
            self.window += size // CSS_GROWTH_DIVISOR
        else:
            self.window += size

    def _begin_climb(self, now: float) -> None:
        window = float(self.window)
        self._epoch = now
        self._exact = window
        self._reno = window
        if window < self._plateau:
            self._duration = ((self._plateau - window) / (C * self.datagram)) ** (1 / 3)
        else:  # slow start ended without a loss: nothing is known of a plateau (section 4.8)
            self._plateau = window
            self._prior = window
            self._duration = 0.0

    def _curve(self, elapsed: float) -> float:
        return C * self.datagram * (elapsed - self._duration) ** 3 + self._plateau

    def _avoid(self, size: int, now: float, rtt: RttEstimator) -> None:
        if self._epoch == NEVER:
            self._begin_climb(now)
        elapsed = now - self._epoch
        window = self._exact
        alpha = ALPHA if self._reno < self._prior else 1.0
        self._reno += alpha * self.datagram * size / window
        if self._curve(elapsed) < self._reno:  # the Reno-friendly region, section 4.3
            window = max(window, self._reno)
        else:
            target = min(max(self._curve(elapsed + rtt.smoothed), window), STEEPEST * window)
            window += (target - window) * size / window
        self._exact = window
        self.window = int(window)

    def _reduce(self) -> None:
        window = float(self.window)
        # Fast convergence (section 4.7): below the last plateau, somebody else wants a share.
        self._plateau = window * (1 + BETA) / 2 if window < self._plateau else window
        self._prior = window
        self.window = max(int(window * BETA), self.minimum_window())
        self.threshold = float(self.window)
        self._epoch = NEVER

    def on_persistent_congestion(self) -> None:
        """As in the base; the next climb begins on its own plateau (section 4.8)."""
        super().on_persistent_congestion()
        self._plateau = 0.0
        self._epoch = NEVER
