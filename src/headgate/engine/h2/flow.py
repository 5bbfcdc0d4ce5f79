"""Windows, both ways, of a stream and of a connection alike (RFC 9113 sections 5.2 and 6.9).

What a peer may send is a window less what it has sent and we have not *consumed*: data that is not used opens
nothing. A WINDOW_UPDATE goes out when half the window is used up, as h2o does, not for every piece.

HTTP/2 tells nobody the round trip, so we take the longest one for which one stream shall still run at full speed:
where half a window is used up in less than that, the window itself may be what holds the peer back, and it doubles,
up to its maximum. So windows grow where data really flows and is really taken, and a slow stream or an idle
connection never costs more than the first window.

What we may send is a plain number, which SETTINGS may even make negative (section 6.9.2); `widened` adds to it.
"""

from typing import Final, final

LARGEST_WINDOW: Final = (1 << 31) - 1  # section 6.9.1
OVERFLOW: Final = -LARGEST_WINDOW - 1  # below every window there can be

# Across an ocean; within a continent a third. Growth asks for twice the rate times this.
_ROUND_TRIP: Final = 0.1
_NEVER: Final = -1.0


def widened(window: int, increment: int) -> int:
    """Return a window for sending with `increment` octets more, or `OVERFLOW` where it has grown too large."""
    window += increment
    return window if window <= LARGEST_WINDOW else OVERFLOW


@final
class ReceiveWindow:
    """What the peer may send. `left` of `window` it has not used, `unread` octets came and are not consumed.

    The rest of the window is consumed, and the peer was not told yet.
    """

    __slots__ = ("left", "max_window", "told_at", "unread", "window")

    def __init__(self, window: int, max_window: int) -> None:
        self.window = window
        self.max_window = max(window, max_window)
        self.left = window
        self.unread = 0
        self.told_at = _NEVER

    def __repr__(self) -> str:
        return f"<ReceiveWindow {self.left} of {self.window} left, {self.unread} unread>"

    def receive(self, count: int) -> bool:
        """Take note that `count` octets came; False: more than was allowed (section 6.9.1, FLOW_CONTROL_ERROR)."""
        if count > self.left:
            return False
        self.left -= count
        self.unread += count
        return True

    def consume(self, count: int, now: float, most: int = LARGEST_WINDOW) -> int:
        """Take note that `count` octets are used up; return by how much to open the window, often 0.

        It does not grow beyond `most`.
        """
        self.unread -= count
        return self.opened(now, most)

    def opened(self, now: float, most: int = LARGEST_WINDOW) -> int:
        """Return the increment that is due, and count it as told; 0 when half the window is still open or unread."""
        window = self.window
        used = window - self.left - self.unread
        if used < window >> 1 or used == 0:
            return 0
        if window < self.max_window and self.told_at != _NEVER and now - self.told_at < _ROUND_TRIP:
            doubled = max(min(2 * window, self.max_window, most), window)
            self.window = doubled
            used += doubled - window
        self.told_at = now
        self.left += used
        return used

    def bound(self, max_window: int) -> None:
        """Set another maximum, because memory is short or is no longer: what was granted stays granted."""
        self.max_window = max_window
        self.window = min(self.window, max_window)
