"""What an endpoint answers without a connection, and how often: Version Negotiation, Retry, stateless resets, and
refusals (RFC 9000 sections 6.1, 8.1.2, 10.3 and 5.2.2).

Each answer is one datagram, smaller than its cause or no more than three times as large, made of the cause and keys
alone. None answers an answer. Rates bound what a flood of spoofed datagrams can make us send to others.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.counters import (
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_REFUSALS,
    QUIC_RESETS,
    QUIC_RETRIES,
    QUIC_VERSION_NEGOTIATIONS,
)
from headgate.engine.quic.frames import encode_connection_close
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import (
    VERSIONS,
    LongHeader,
    encode_long_header,
    encode_stateless_reset,
    encode_version_negotiation,
    stateless_reset_token,
)
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import TokenKeys, encode_retry
from headgate.net.udp import Peer
from headgate.server.bucket import Bucket

# Each kind, for each second and endpoint. Who is told nothing asks again (quic-go, quiche: no bound).
MAX_NEGOTIATIONS: Final = 100
MAX_RESETS: Final = 100
MAX_REFUSALS: Final = 100
# One peer gets one stateless reset in so many seconds: with it the connection ends, or it is none of its. A peer is
# address and port: when a worker dies, all clients behind a NAT have lost theirs.
RESET_SECONDS: Final = 10.0
# Peers remembered for that; beyond, all are forgotten.
MAX_RESET_PEERS: Final = 4096
# RFC 9000 section 14.1: what may be answered with a Version Negotiation or a refusal.
LEAST_INITIAL: Final = 1200

_ANSWER_RATE: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("answer-rate")


@final
class Answers:
    """Makes answers; b"" where none is due. `versions` are what connections are accepted in."""

    def __init__(
        self,
        values: list[int],
        random: Callable[[int], bytes],
        reset_key: bytes,
        tokens: TokenKeys,
        now: float,
        versions: tuple[int, ...] = VERSIONS,
    ) -> None:
        self.versions = versions
        self._values = values
        self._random = random
        self._reset_key = reset_key
        self._tokens = tokens
        self._negotiations = Bucket(MAX_NEGOTIATIONS, now)
        self._resets = Bucket(MAX_RESETS, now)
        self._refusals = Bucket(MAX_REFUSALS, now)
        self._reset_at: dict[Peer, float] = {}

    def negotiate(self, header: LongHeader, size: int, now: float) -> bytes:
        """Name our versions to who speaks another (section 6.1)."""
        if size < LEAST_INITIAL or not self._may(self._negotiations, now):
            return b""
        self._values[QUIC_VERSION_NEGOTIATIONS] += 1
        return encode_version_negotiation(
            header.source, header.destination, self.versions, self._random(1)[0]
        )

    def retry(self, header: LongHeader, source: bytes, peer: Peer, now_wall: float) -> bytes:
        """Have a client prove its address (section 8.1.2); `source` is the ID that it is to use."""
        token = self._tokens.seal_retry(
            peer[0].encode(), peer[1], header.destination, source, now_wall, self._random
        )
        self._values[QUIC_RETRIES] += 1
        return encode_retry(
            header.version, header.source, source, header.destination, token, self._random(1)[0]
        )

    def reset(self, connection_id: bytes, size: int, peer: Peer, now: float) -> bytes:
        """Tell a peer that nothing is known of its connection (section 10.3)."""
        last = self._reset_at.get(peer)
        if last is not None and now < last + RESET_SECONDS:
            self._values[_ANSWER_RATE] += 1
            return b""
        token = stateless_reset_token(self._reset_key, connection_id)
        answer = encode_stateless_reset(token, size, self._random(32))
        if not answer or not self._may(self._resets, now):
            return b""
        if len(self._reset_at) >= MAX_RESET_PEERS:
            self._reset_at.clear()
        self._reset_at[peer] = now
        self._values[QUIC_RESETS] += 1
        return answer

    def refuse(self, header: LongHeader, code: int, reason: str, now: float) -> bytes:
        """End what has not begun: a CONNECTION_CLOSE in an Initial (sections 5.2.2 and 8.1.2)."""
        if not self._may(self._refusals, now):
            return b""
        content = encode_connection_close(code, 0, reason.encode())
        keys = KeySet(INITIAL, header.version)
        keys.install_initial(header.destination, is_client=False, is_write=True)
        packet = encode_long_header(
            INITIAL, header.version, header.source, header.destination, b"", 0, 1, len(content)
        )
        keys.seal(packet, 1, 0, content)
        self._values[QUIC_REFUSALS] += 1
        return keys.take_sealed()

    def _may(self, bucket: Bucket, now: float) -> bool:
        if bucket.take(now):
            return True
        self._values[_ANSWER_RATE] += 1
        return False
