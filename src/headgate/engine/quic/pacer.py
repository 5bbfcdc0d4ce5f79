"""Sending evenly instead of in bursts: RFC 9002 section 7.7, as a token bucket.

The bucket fills with a little more than a window for each round trip, so that the pace never keeps the window from
being filled, and twice that while slow start doubles it. It holds what the initial window would, or two
milliseconds' worth where that is more: timers are no finer, and one `sendmsg` with segmentation wants a batch. What
goes out unpaced (probes, acknowledgements that ask for nothing) does not wait, and probes are paid back.
"""

from typing import Final, final

from headgate.engine.quic.congestion import INITIAL_PACKETS

GAIN: Final = 1.25
GAIN_SLOW_START: Final = 2.0
# A wake-up comes up to this late.
TIMER_SLACK: Final = 0.002
# A round trip within one machine is shorter than any timer; and no rate is infinite.
SHORTEST_ROUND: Final = 0.000_05


@final
class Pacer:
    """`budget` says how many bytes may go now, `ready_at` when there are enough for the next datagram."""

    __slots__ = ("_capacity", "_filled_at", "_rate", "_tokens")

    def __init__(self, window: int, smoothed: float, datagram: int) -> None:
        self._filled_at = -1.0
        self._rate = 0.0
        self._capacity = 0.0
        self.set_pace(window, smoothed, datagram, in_slow_start=True)
        self._tokens = self._capacity

    def __repr__(self) -> str:
        return f"<Pacer {self._tokens:.0f} of {self._capacity:.0f} B at {self._rate:.0f} B/s>"

    def set_pace(self, window: int, smoothed: float, datagram: int, *, in_slow_start: bool) -> None:
        """Take a new window or round trip; what is in the bucket stays there."""
        gain = GAIN_SLOW_START if in_slow_start else GAIN
        self._rate = gain * window / max(smoothed, SHORTEST_ROUND)
        self._capacity = max(float(INITIAL_PACKETS * datagram), self._rate * TIMER_SLACK)

    def budget(self, now: float) -> int:
        """Return how many bytes may be sent now, 0 or more."""
        if self._filled_at >= 0.0 and now > self._filled_at:
            self._tokens += self._rate * (now - self._filled_at)
        if self._tokens > self._capacity:
            self._tokens = self._capacity
        self._filled_at = now
        return max(int(self._tokens + 0.5), 0)  # half a byte: `ready_at` and its sums are rounded too

    def spend(self, size: int) -> None:
        """Take out what was sent; never deeper into debt than one bucket."""
        self._tokens = max(self._tokens - size, -self._capacity)

    def ready_at(self, size: int) -> float:
        """Return when `size` bytes may go: a time in the past where they may go now. Ask after `budget`."""
        missing = min(float(size), self._capacity) - self._tokens
        return self._filled_at + missing / self._rate
