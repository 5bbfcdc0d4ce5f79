"""Tokens that were shown already: one for later connections is good for one of them (RFC 9000 section 8.1.4).

Their nonces are random, so that their own bits are the hashes of a Bloom filter. Two filters take turns: the one in
use is set aside when it is a day old or full, and forgotten with the next turn, so that a token is remembered for as
long as it lives. A nonce that is mistaken for one that was seen costs its client a round trip, and nothing else.
"""

from typing import Final, final

from headgate.engine.quic.retry import NEW_TOKEN_SECONDS

# Two filters of 2^22 bits make 1 MiB. With so many nonces in one, four bits each, one in a thousand is mistaken.
MAX_SEEN: Final = 200_000
_BITS: Final = 22
_MASK: Final = (1 << _BITS) - 1
_HASHES: Final = 4


@final
class SeenTokens:
    """Nonces of 12 octets. Memory is taken only once the first token is shown."""

    __slots__ = ("_count", "_new", "_old", "_since")

    def __init__(self) -> None:
        self._new = bytearray()
        self._old = bytearray()
        self._count = 0
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<SeenTokens {self._count}>"

    def use(self, nonce: bytes, now: float) -> bool:
        """Remember a nonce; False where it was shown before."""
        if not self._new or self._count >= MAX_SEEN or now - self._since >= NEW_TOKEN_SECONDS:
            self._old = self._new
            self._new = bytearray(1 << _BITS - 3)
            self._count = 0
            self._since = now
        bits = int.from_bytes(nonce[:11], "big")
        places = [bits >> _BITS * turn & _MASK for turn in range(_HASHES)]
        if _holds(self._new, places) or (self._old and _holds(self._old, places)):
            return False
        for place in places:
            self._new[place >> 3] |= 1 << (place & 7)
        self._count += 1
        return True


def _holds(bits: bytearray, places: list[int]) -> bool:
    return all(bits[place >> 3] & 1 << (place & 7) for place in places)
