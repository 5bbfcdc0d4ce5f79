"""The end of a connection (RFC 9000 section 10): closing, draining, closed.

After our CONNECTION_CLOSE a connection is `CLOSING`: all that is left of it is one datagram, ready to be sent again
when more packets come in, each time after twice as many as the time before. After the peer's it is `DRAINING`: it
says nothing more. Both last three probe timeouts, so that late packets find an end and no stranger.
An idle timeout or a stateless reset leaves nobody to say anything to.
"""

from enum import Enum
from typing import Final, final

# Section 10.2: so many probe timeouts.
CLOSING_PROBE_TIMEOUTS: Final = 3
# Section 8.1: of what came from an address that has proved nothing, this many times as much goes there.
AMPLIFICATION: Final = 3


class State(Enum):
    """Where a connection stands."""

    OPEN = "open"
    CLOSING = "closing"
    DRAINING = "draining"
    CLOSED = "closed"


# Looked at for each packet: compiled code finds a constant faster than a member of an Enum.
OPEN: Final = State.OPEN


class End(Enum):
    """What ends it."""

    OURS = "ours"  # CONNECTION_CLOSE of ours goes out
    THEIRS = "theirs"  # CONNECTION_CLOSE of the peer, or its stateless reset
    TIME = "time"  # idle for too long, or three probe timeouts behind the end


TABLE: Final[dict[tuple[State, End], State]] = {
    (State.OPEN, End.OURS): State.CLOSING,
    (State.OPEN, End.THEIRS): State.DRAINING,
    (State.OPEN, End.TIME): State.CLOSED,
    (State.CLOSING, End.TIME): State.CLOSED,
    (State.DRAINING, End.TIME): State.CLOSED,
}


@final
class CloseReason:
    """Why a connection ended: a code on the wire and words. `is_ours`: we found the reason."""

    __slots__ = ("code", "frame_type", "is_application", "is_ours", "reason")

    def __init__(
        self, code: int, reason: str, *, is_application: bool, is_ours: bool, frame_type: int = 0
    ) -> None:
        self.code = code
        self.reason = reason
        self.is_application = is_application
        self.is_ours = is_ours
        self.frame_type = frame_type

    def __repr__(self) -> str:
        who = "we" if self.is_ours else "peer"
        kind = "application" if self.is_application else "transport"
        return f"<CloseReason {who}, {kind} {self.code:#x} {self.reason!r}>"


@final
class Closing:
    """What is kept of a connection that has ended: when that ends too, and what to answer until then.

    `allowance`: octets that may go to an address that is not validated; below zero: no limit.
    """

    __slots__ = ("_allowance", "_count", "_datagram", "_next", "until")

    def __init__(self, datagram: bytes, until: float, allowance: int) -> None:
        self.until = until
        self._datagram = datagram
        self._allowance = allowance
        self._count = 0
        self._next = 1

    def __repr__(self) -> str:
        return f"<Closing {len(self._datagram)} octets, {self._count} packets since>"

    def receive(self, size: int) -> bool:
        """Count a datagram of `size` octets; True where `answer` is to be sent now (section 10.2.1)."""
        if self._allowance >= 0:
            self._allowance += AMPLIFICATION * size
        self._count += 1
        if self._count < self._next:
            return False
        self._next *= 2
        return True

    def answer(self) -> bytes:
        """Return the datagram that ends the connection, or nothing where nothing may be sent."""
        datagram = self._datagram
        if self._allowance >= 0:
            if len(datagram) > self._allowance:
                return b""
            self._allowance -= len(datagram)
        return datagram
