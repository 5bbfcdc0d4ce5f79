"""NewReno: RFC 9002 section 7.3 and appendix B. One datagram more each round trip, half of it after a loss."""

from typing import Final, final

from headgate.engine.quic.congestion import CongestionController
from headgate.engine.quic.rtt import RttEstimator

REDUCTION: Final = 0.5


@final
class NewReno(CongestionController):
    """The simplest controller that shares a path with TCP fairly."""

    def __init__(self, datagram: int) -> None:
        super().__init__(datagram)
        self._credit = 0  # bytes acknowledged towards the next datagram of window

    def _avoid(self, size: int, now: float, rtt: RttEstimator) -> None:
        self._credit += size
        if self._credit >= self.window:
            self._credit -= self.window
            self.window += self.datagram

    def _reduce(self) -> None:
        self.window = max(int(self.window * REDUCTION), self.minimum_window())
        self.threshold = float(self.window)
        self._credit = 0
