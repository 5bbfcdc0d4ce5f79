"""Who may begin a QUIC connection (RFC 9000 sections 8.1 and 21.2).

Asked once for each first Initial, after its tag was found right and before anything is kept of it. What is counted:
connections in handshake, of them those whose client has not shown that it receives at its address (half-open), the
same for one client network, and handshakes begun for each second: each costs a signature. A client beyond the
cheap limits proves its address with a Retry, which costs us nothing but a packet; beyond the others its datagram is
dropped, and it asks again.

Whose address is not proved may be anybody, speaking in another's name. So nothing that such a client does makes us
drop one that is proved: each kind has a count of its own in its network, and some of the handshakes of each second
are left for those who are.

The limits of connections themselves are those of TCP, and counted together with them (server/limits).
"""

from enum import IntEnum
from typing import Final, final

from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS, QUIC_HALF_OPEN
from headgate.server.bucket import Bucket

# Beyond, everybody new proves its address first (HAProxy 100; msquic by memory, quinn 65,536).
MAX_HALF_OPEN: Final = 100
# In all; and for one /32 or /56 proved, and as many not. One that stands still holds some 40 KiB for ten seconds.
MAX_HANDSHAKES: Final = 1000
MAX_NETWORK_HANDSHAKES: Final = 32
# Begun in a second: at 0.5 ms each a quarter of a core (as `connection_rate` of one network over TCP).
MAX_STARTS: Final = 500
# Of them for clients that have proved their address: whoever floods without a proof goes without.
RESERVED_STARTS: Final = 100

_HANDSHAKES: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("handshakes")
_RATE: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("handshake-rate")


class Verdict(IntEnum):
    """What is done with a first Initial."""

    ADMIT = 0
    RETRY = 1
    DROP = 2


@final
class Admission:
    """Counts for one endpoint. Each `ADMIT` is followed by one `settled`, when the handshake is over either way."""

    def __init__(self, values: list[int], now: float) -> None:
        self.half_open = 0
        self.max_half_open = MAX_HALF_OPEN  # 0: everybody proves its address first
        self.handshakes = 0
        self._unproved: dict[str, int] = {}
        self._proved: dict[str, int] = {}
        self._starts = Bucket(MAX_STARTS, now)
        self._values = values

    def __repr__(self) -> str:
        return f"<Admission {self.handshakes} in handshake, {self.half_open} of them half-open>"

    def decide(self, network: str, validated: bool, now: float) -> Verdict:
        """Decide on a client of `network`; `validated`: it has shown a token of ours."""
        networks = self._proved if validated else self._unproved
        is_beyond = networks.get(network, 0) >= MAX_NETWORK_HANDSHAKES
        if self.handshakes >= MAX_HANDSHAKES or (validated and is_beyond):
            self._values[_HANDSHAKES] += 1
            return Verdict.DROP
        if not validated and (is_beyond or self.half_open >= self.max_half_open):
            return Verdict.RETRY
        if not self._starts.take(now, 0 if validated else RESERVED_STARTS):
            if not validated:
                return Verdict.RETRY
            self._values[_RATE] += 1
            return Verdict.DROP
        self.handshakes += 1
        networks[network] = networks.get(network, 0) + 1
        if not validated:
            self.half_open += 1
            self._values[QUIC_HALF_OPEN] += 1
        return Verdict.ADMIT

    def settled(self, network: str, validated: bool) -> None:
        """A handshake is over; `validated` as it was decided on."""
        self.handshakes -= 1
        networks = self._proved if validated else self._unproved
        left = networks.get(network, 0) - 1
        if left > 0:
            networks[network] = left
        else:
            networks.pop(network, None)
        if not validated:
            self.half_open -= 1
            self._values[QUIC_HALF_OPEN] -= 1
