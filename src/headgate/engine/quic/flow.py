"""Credit, both ways, for a stream and for a connection alike (RFC 9000 sections 4.1 and 4.2).

What a peer may send is what we have *consumed* plus a window: data that goes up and is not used opens nothing, nor
does an offset far ahead. A new limit is told when half the window is used. When that half lasted less than two round
trips, the window itself may be what holds the peer back: it doubles, up to its maximum. So windows grow where data
really flows and is really taken, and an idle or slow stream never costs more than the first window.
"""

from typing import Final, final

from headgate.engine.quic.errors import FLOW_CONTROL_ERROR, QuicError

# A first window of 256 KiB lets 100 Mbit/s through at 20 ms; quiche begins with 1 MiB, msquic with 64 KiB.
STREAM_WINDOW: Final = 256 * 1024
MAX_STREAM_WINDOW: Final = 2 * 1024 * 1024  # 1 Gbit/s at 16 ms; quic-go 6 MiB, quiche 16
CONNECTION_WINDOW: Final = 1024 * 1024
MAX_CONNECTION_WINDOW: Final = 8 * 1024 * 1024  # what one client can make us hold; quic-go 15 MiB, quiche 24

_FAST_ROUND_TRIPS: Final = 2.0
_NEVER: Final = -1.0
_NOT_TOLD: Final = -1


@final
class ReceiveCredit:
    """What the peer may send: up to `limit`. `received` is the highest offset, or the sum of those of all streams."""

    __slots__ = ("consumed", "limit", "max_window", "received", "updated_at", "window")

    def __init__(self, window: int, max_window: int) -> None:
        self.window = window
        self.max_window = max(window, max_window)
        self.limit = window
        self.received = 0
        self.consumed = 0
        self.updated_at = _NEVER

    def __repr__(self) -> str:
        return f"<ReceiveCredit {self.consumed} consumed, {self.received} received, up to {self.limit}>"

    def check(self, count: int) -> None:
        """Raise `QuicError` FLOW_CONTROL_ERROR where `count` octets more are too many."""
        if self.received + count > self.limit:
            raise QuicError(
                FLOW_CONTROL_ERROR, f"{self.received + count} octets sent, {self.limit} were allowed"
            )

    def is_update_due(self) -> bool:
        """Tell whether half the window is used up: time for `update`."""
        return self.limit - self.consumed <= self.window >> 1

    def update(self, now: float, round_trip: float) -> int:
        """Raise the limit to one window behind what is consumed, the window too where it is too small; return it."""
        if self.updated_at != _NEVER and now - self.updated_at < _FAST_ROUND_TRIPS * round_trip:
            self.window = min(2 * self.window, self.max_window)
        self.updated_at = now
        self.limit = max(self.limit, self.consumed + self.window)
        return self.limit

    def bound(self, max_window: int) -> None:
        """Set another maximum, because memory is short or is no longer: what was granted stays granted."""
        self.max_window = max_window
        self.window = min(self.window, max_window)


@final
class SendCredit:
    """What we may send: up to `limit`, of which `used` is gone."""

    __slots__ = ("limit", "told", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.told = _NOT_TOLD

    def __repr__(self) -> str:
        return f"<SendCredit {self.used} of {self.limit} used>"

    def raise_limit(self, limit: int) -> bool:
        """Take a limit in; False where it is not higher, because frames come out of order."""
        if limit <= self.limit:
            return False
        self.limit = limit
        return True

    def must_tell(self) -> bool:
        """Tell whether the peer should hear that this limit blocks us: once for each limit."""
        if self.used < self.limit or self.told == self.limit:
            return False
        self.told = self.limit
        return True
