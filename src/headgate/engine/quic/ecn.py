"""May we mark packets? RFC 9000 section 13.4.2 and appendix A.4, for one path.

A network that drops marked packets, or rewrites the marks, must not cost more than a few packets. So the first ten
are marked ECT(0), then none until an acknowledgement proved that the peer saw what we sent. Its counts may only
grow, must cover every marked packet that it newly acknowledges, and cannot exceed what we marked. The first
contradiction ends marking on this path for good.
"""

from enum import Enum
from typing import Final, final

# Appendix A.4; quinn and quic-go test with as many.
MAX_TEST_PACKETS: Final = 10


class EcnState(Enum):
    """TESTING marks, UNKNOWN waits for the answer, CAPABLE marks, FAILED never will."""

    TESTING = "testing"
    UNKNOWN = "unknown"
    CAPABLE = "capable"
    FAILED = "failed"


@final
class EcnValidator:
    """One path. Counts are kept for each packet number space, as the peer's are."""

    __slots__ = ("_ce", "_ect_0", "_lost", "_marked", "_sent", "reason", "state")

    def __init__(self, *, is_enabled: bool) -> None:
        self.state = EcnState.TESTING if is_enabled else EcnState.FAILED
        self.reason = "" if is_enabled else "off"
        self._sent = 0
        self._lost = 0
        # By encryption level, as the packets are.
        self._marked = [0, 0, 0, 0]
        self._ect_0 = [0, 0, 0, 0]
        self._ce = [0, 0, 0, 0]

    def __repr__(self) -> str:
        return f"<EcnValidator {self.state.value}{': ' if self.reason else ''}{self.reason}>"

    def restart(self) -> None:
        """Test anew on another path (section 13.4.2.2); the counts are the connection's and go on."""
        if self.state is not EcnState.FAILED:
            self.state = EcnState.TESTING
            self._sent = 0
            self._lost = 0

    def is_marking(self) -> bool:
        """Tell whether the next packet goes out with ECT(0)."""
        return self.state is EcnState.TESTING or self.state is EcnState.CAPABLE

    def on_sent(self, space: int) -> None:
        """Count a packet that went out marked."""
        self._marked[space] += 1
        self._sent += 1
        if self.state is EcnState.TESTING and self._sent >= MAX_TEST_PACKETS:
            self.state = EcnState.UNKNOWN

    def on_lost(self, count: int) -> None:
        """Count marked packets that were lost: when all of the test are, the marks are why."""
        self._lost += count
        if self.state is EcnState.UNKNOWN and self._lost >= self._sent:
            self._fail("all-marked-lost")

    def on_acked(self, space: int, newly_marked: int, ect_0: int, ect_1: int, ce: int) -> int:
        """Check the counts of an ACK frame that raised the largest acknowledged number.

        `newly_marked`: how many packets it newly acknowledges that we marked; counts are -1 in a frame without them.
        Returns how many more packets than before met congestion.
        """
        if self.state is EcnState.FAILED:
            return 0
        if ect_0 < 0:
            if newly_marked > 0:
                self._fail("no-counts")
            return 0
        more_ect_0 = ect_0 - self._ect_0[space]
        more_ce = ce - self._ce[space]
        if more_ect_0 < 0 or more_ce < 0:
            self._fail("counts-shrank")
        elif more_ect_0 + more_ce < newly_marked:
            self._fail("marks-removed")
        elif ect_0 + ce > self._marked[space] or ect_1 > 0:
            self._fail("marks-never-sent")
        else:
            self._ect_0[space] = ect_0
            self._ce[space] = ce
            if newly_marked > 0:
                self.state = EcnState.CAPABLE
            return more_ce
        return 0

    def _fail(self, reason: str) -> None:
        self.state = EcnState.FAILED
        self.reason = reason
