"""A staple: an immutable, verified OCSP response, ready to be sent.

It is a plain value that hangs on the `Identity`. TCP and QUIC read the same attribute; nothing in a handshake
reaches for a transport, a counter or a clock of its own (invariant W1).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Staple:
    """One verified OCSP response in DER, with the times (seconds since the epoch) between which it may be sent."""

    der: bytes
    this_update: float
    next_update: float
    status: Literal["good", "revoked"]

    def usable(self, wall: float) -> bool:
        """Tell whether it may go on the wire now; an expired staple is never served (invariant W2)."""
        return wall < self.next_update
