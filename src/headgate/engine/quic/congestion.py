"""What every congestion controller shares: the window, slow start, recovery periods (RFC 9002 section 7).

A controller says how many bytes may be in flight. Recovery tells it what was acknowledged, once for each ACK
frame, and what went wrong. One loss episode is one event: what was sent before the window shrank does not shrink
it again (section 7.3.2). A window that the application does not fill proves nothing and does not grow (section 7.8).
"""

from typing import Final

from headgate.engine.quic.rtt import NEVER, RttEstimator

# Precedents: HAProxy 480 KiB, quiche 20,000 packets. 16 MiB fill 1 Gbit/s over 134 ms.
MAX_WINDOW: Final = 16 * 1024 * 1024
INITIAL_PACKETS: Final = 10
INITIAL_BYTES: Final = 14_720
MINIMUM_PACKETS: Final = 2


def initial_window(datagram: int) -> int:
    """Return the window of a new path for datagrams of this size (section 7.2)."""
    return min(INITIAL_PACKETS * datagram, max(INITIAL_BYTES, MINIMUM_PACKETS * datagram))


class CongestionController:
    """The shared part. `threshold` is NEVER until the first congestion; `window` counts bytes.

    Packets sent at or before `recovery_start` neither grow nor shrink the window.
    """

    def __init__(self, datagram: int) -> None:
        self.datagram = datagram
        self.window = initial_window(datagram)
        self.threshold = NEVER
        self.recovery_start = -NEVER
        self.is_app_limited = False
        self.events = 0

    def __repr__(self) -> str:
        phase = "slow start" if self.in_slow_start() else "avoidance"
        return f"<{type(self).__name__} {self.window} B, {phase}, {self.events} congestion events>"

    def in_slow_start(self) -> bool:
        """Tell whether each acknowledged byte still adds a byte."""
        return self.window < self.threshold

    def minimum_window(self) -> int:
        """Return the size that no event goes below (section 7.2)."""
        return MINIMUM_PACKETS * self.datagram

    def set_datagram(self, datagram: int) -> None:
        """Take the path's new datagram size.

        A larger one leaves the window in bytes. One that shrinks in order to complete the handshake starts over with
        the initial window for that size (section 7.2): nothing was learnt yet.
        """
        if datagram < self.datagram and self.threshold == NEVER:
            self.window = min(self.window, initial_window(datagram))
        self.datagram = datagram
        self.window = max(self.window, self.minimum_window())

    def set_app_limited(self, now: float, *, is_limited: bool) -> None:
        """Say whether the last flush ended for want of data, not of window or pace (section 7.8)."""
        self.is_app_limited = is_limited

    def on_acked(self, size: int, sent_time: float, now: float, rtt: RttEstimator) -> None:
        """Grow by `size` acknowledged bytes, all sent after `recovery_start`, the newest at `sent_time`."""
        if self.is_app_limited:
            return
        if self.in_slow_start():
            self._slow_start(size, sent_time, now, rtt)
        else:
            self._avoid(size, now, rtt)
        self.window = min(self.window, MAX_WINDOW)

    def on_congestion(self, sent_time: float, now: float) -> bool:
        """A packet sent at `sent_time` was lost or marked; False when this episode has been answered already."""
        if sent_time <= self.recovery_start:
            return False
        self.recovery_start = now
        self.events += 1
        self._reduce()
        return True

    def on_persistent_congestion(self) -> None:
        """Nothing came through for so long that all that was learnt is void (section 7.6.2).

        Appendix B.8 ends the recovery period too. Here it goes on for what was sent before: where only
        acknowledgements were lost, the first that comes through names a whole old window, which would open the
        new one at once.
        """
        self.window = self.minimum_window()

    def _slow_start(self, size: int, sent_time: float, now: float, rtt: RttEstimator) -> None:
        self.window += size

    def _avoid(self, size: int, now: float, rtt: RttEstimator) -> None:
        raise NotImplementedError

    def _reduce(self) -> None:
        raise NotImplementedError
