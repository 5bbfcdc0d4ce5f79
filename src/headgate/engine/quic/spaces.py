"""What a connection keeps for each encryption level, and packets that came before their keys (RFC 9001 section 5.7).

A level has its keys, the packets that arrived, and the handshake's octets both ways. When its keys are discarded
(section 4.9) nothing of it is used any more: neither its acknowledgements nor what waits to be sent again.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic.acks import ReceivedPackets
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_TOTAL, CryptoBuffer
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL, NAMES
from headgate.engine.quic.packet import VERSION_1
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.send_buffer import SendBuffer

# Packets that overtook the handshake: quiche keeps 10, ngtcp2 4, quic-go 32. Whoever has not shown that it can
# receive at its address makes us keep two.
MAX_AHEAD_PACKETS: Final = 10
MAX_AHEAD_UNVALIDATED: Final = 2
MAX_AHEAD_OCTETS: Final = 12 * 1024
# 0-RTT packets that overtook their ClientHello, where early data is taken at all.
MAX_EARLY_AHEAD: Final = 64 * 1024
# No client has anything to say in 1-RTT packets: so much goes up that TLS can name what it refuses, as RFC 9001
# section 6 asks for a KeyUpdate.
MAX_MUTE_CRYPTO: Final = 64


@final
class Space:
    """One level. `losses`: how often the handshake's octets or frames that go out next were lost before."""

    __slots__ = ("crypto_in", "crypto_out", "is_discarded", "keys", "level", "losses", "received")

    def __init__(self, level: int, version: int, *, is_client: bool) -> None:
        self.level: Final = level
        self.keys = KeySet(level, version)
        self.received = ReceivedPackets(is_prompt=level != APPLICATION)
        is_mute = level == APPLICATION and not is_client
        self.crypto_in = CryptoBuffer(MAX_MUTE_CRYPTO if is_mute else MAX_CRYPTO_TOTAL)
        self.crypto_out = SendBuffer()
        self.is_discarded = False
        self.losses = 0

    def __repr__(self) -> str:
        state = "discarded" if self.is_discarded else repr(self.keys)
        return f"<Space {NAMES[self.level]} {state}>"

    def can_write(self) -> bool:
        """Tell whether packets of this level can go out."""
        return not self.is_discarded and self.keys.can_write

    def has_crypto(self) -> bool:
        """Tell whether octets of the handshake wait to be sent, for the first time or again."""
        out = self.crypto_out
        return out.sent < out.end or out.can_send_without_credit()

    def repeat_crypto(self) -> None:
        """Have everything that is not acknowledged sent again: for probes.

        A server may close when the first Initial that reaches it has nothing of a ClientHello (RFC 9000 section
        17.2.2), and where a whole flight was lost, half of it brings no answer.
        """
        out = self.crypto_out
        if out.sent > out.base:
            out.on_loss(out.base, out.sent - out.base, False)

    def discard(self) -> None:
        """Let go of the keys and of everything that only they could send."""
        self.is_discarded = True
        self.keys = KeySet(self.level, self.keys.version)
        # The packet that ended the level may go on, with octets that have come before.
        position = self.crypto_in.position
        self.crypto_in = CryptoBuffer(position)
        self.crypto_in.position = position
        self.crypto_out = SendBuffer()
        self.received.ack_at = NEVER
        self.received.has_news = False


def _gone(level: int) -> Space:
    space = Space(level, VERSION_1, is_client=False)
    space.discard()
    return space


# What stands for a level whose keys are gone, in all connections: nothing is ever put into it.
GONE: Final[tuple[Space, ...]] = tuple([_gone(level) for level in range(4)])


def new_spaces(version: int, *, is_client: bool) -> list[Space]:
    """Return the spaces by level; 0-RTT and 1-RTT packets share the last one."""
    application = Space(APPLICATION, version, is_client=is_client)
    spaces = [application] * 4
    spaces[INITIAL] = Space(INITIAL, version, is_client=is_client)
    spaces[HANDSHAKE] = Space(HANDSHAKE, version, is_client=is_client)
    spaces[EARLY] = application
    return spaces


@final
class AheadOfKeys:
    """Packets that wait for keys, in the order in which they came."""

    __slots__ = ("_early", "_held", "_octets")

    def __init__(self) -> None:
        self._held: list[tuple[int, bytes, int]] = []  # level, packet, ECN mark
        self._octets = 0
        self._early = 0

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<AheadOfKeys {len(self._held)} packets, {self._octets} octets>"

    def keep(self, level: int, packet: bytes, ecn: int, *, is_validated: bool) -> bool:
        """Keep a packet; False where there is no room for it."""
        if level == EARLY:
            if self._early + len(packet) > MAX_EARLY_AHEAD:
                return False
            self._early += len(packet)
            self._held.append((level, packet, ecn))
            return True
        most = MAX_AHEAD_PACKETS if is_validated else MAX_AHEAD_UNVALIDATED
        if len(self._held) >= most or self._octets + len(packet) > MAX_AHEAD_OCTETS:
            return False
        self._held.append((level, packet, ecn))
        self._octets += len(packet)
        return True

    def take(self, can_read: Callable[[int], bool]) -> list[tuple[int, bytes, int]]:
        """Return those whose level can be read now."""
        ready = [held for held in self._held if can_read(held[0])]
        if ready:
            self._held = [held for held in self._held if not can_read(held[0])]
            self._octets = sum([len(packet) for level, packet, _ in self._held if level != EARLY])
            self._early = sum([len(packet) for level, packet, _ in self._held if level == EARLY])
        return ready
