"""Connection IDs (RFC 9000 section 5.1): ours, which name the worker that has the connection, and the peer's.

What a worker gives out says which slot and which generation of that slot it was, so that a datagram that the kernel
hands to another worker can be handed on, and one for a worker that is gone can be answered with a stateless reset.
Outsiders must not read that, nor link two IDs of one connection (section 5.1: no information that an observer could
use): the eight octets are a counter and the names, under a permutation that has a key (a Feistel network of four
rounds, whose function is AES). Two IDs of one worker are never the same, and nobody remembers any.

    slot (1)  generation (1)  zero (1)  counter (5)

The zero tells most of what never was an ID of ours. Both pools are bounded, in what they hold and in how fast a peer
can make us change it: the limits are below, each with its reason.
"""

from collections.abc import Callable
from typing import Final, final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from headgate.engine.quic.errors import CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.frames import (
    FRAME_NEW_CONNECTION_ID,
    FRAME_RETIRE_CONNECTION_ID,
    encode_new_connection_id,
)
from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.rtt import NEVER
from headgate.errors import LocalProtocolError

CID_LENGTH: Final = 8
MAX_SLOT: Final = 255  # one octet of the ID
_ROUNDS: Final = (1, 2, 3, 4)
_COUNTERS: Final = 1 << 40

# Peer's IDs that we hold, which is what we send as active_connection_id_limit: one in use, one for a new path, and
# two more while they are replaced (section 5.1.1; aioquic 8).
MAX_PEER_IDS: Final = 4
# RETIRE_CONNECTION_ID frames that are not acknowledged. Section 5.1.2 wants twice the IDs held at least; a peer that
# has us retire for ever and acknowledges nothing made others grow without end (CVE-2024-22189; quinn 50).
MAX_RETIRING: Final = 12
# Our IDs that a peer may hold, however many it would take: each stands in the worker's table.
MAX_OWN_IDS: Final = 4
# IDs retired by the peer that are replaced in a minute, and never two in one round trip (section 5.1.1: an endpoint
# may limit that); and how many retirements in a minute are an attack.
MAX_REPLACED: Final = 64
MAX_RETIRED: Final = 256
_MINUTE: Final = 60.0
# Sequence numbers seen are kept as ranges: an honest peer counts up, with gaps only where packets were lost.
_SEEN_RANGES: Final = 16


@final
class ConnectionIdCodec:
    """Makes IDs and reads them; `key` are 16 secret octets that all workers share."""

    __slots__ = ("_context",)

    def __init__(self, key: bytes) -> None:
        self._context: CipherContext = Cipher(algorithms.AES(key), modes.ECB()).encryptor()

    def encode(self, slot: int, generation: int, counter: int) -> bytes:
        """Return the ID of a worker; `counter` is another for each, `generation` counts modulo 256."""
        if not 0 <= slot <= MAX_SLOT:
            raise LocalProtocolError(f"slot {slot} has no place in a connection ID")
        low = counter % _COUNTERS
        left = slot << 24 | (generation & 0xFF) << 16 | low >> 32
        right = low & 0xFFFF_FFFF
        for turn in _ROUNDS:
            left, right = right, left ^ self._mix(turn, right)
        return (left << 32 | right).to_bytes(CID_LENGTH, "big")

    def decode(self, connection_id: bytes) -> tuple[int, int] | None:
        """Return slot and generation of the worker, or None for what is no ID of ours."""
        if len(connection_id) != CID_LENGTH:
            return None
        left = int.from_bytes(connection_id[:4], "big")
        right = int.from_bytes(connection_id[4:], "big")
        for turn in reversed(_ROUNDS):
            left, right = right ^ self._mix(turn, left), left
        return None if left >> 8 & 0xFF else (left >> 24, left >> 16 & 0xFF)

    def _mix(self, turn: int, half: int) -> int:
        block = self._context.update((turn << 32 | half).to_bytes(16, "big"))
        return int.from_bytes(block[:4], "big")


@final
class OwnConnectionIds:
    """The IDs that the peer sends to, by sequence number; number 0 is the one of the handshake.

    `make` gives a new ID and its stateless reset token: the endpoint's, which routes datagrams by it.
    """

    __slots__ = (
        "_last",
        "_limit",
        "_make",
        "_minute",
        "_replaced",
        "_retired",
        "_tokens",
        "_waiting",
        "active",
        "next",
    )

    def __init__(self, first: bytes, make: Callable[[], tuple[bytes, bytes]]) -> None:
        self.active: dict[int, bytes] = {0: first}
        self.next = 1
        self._tokens: dict[int, bytes] = {}
        self._make = make
        self._limit = 1
        self._waiting = 0  # retired IDs without a replacement
        self._minute = 0.0
        self._retired = 0
        self._replaced = 0
        self._last = 0.0

    def __repr__(self) -> str:
        return f"<OwnConnectionIds {sorted(self.active)} of {self._limit}>"

    def set_limit(self, peer_limit: int) -> None:
        """Take the peer's active_connection_id_limit."""
        self._limit = min(peer_limit, MAX_OWN_IDS)

    def has(self, connection_id: bytes) -> bool:
        """Tell whether the peer may send to this ID: asked when it is another than that of the packet before."""
        return connection_id in self.active.values()

    def adopt(self, connection_id: bytes, token: bytes) -> int:
        """Take in the next ID and return its number: that of a preferred address, which no frame announces."""
        sequence = self.next
        self.active[sequence] = connection_id
        self._tokens[sequence] = token
        self.next += 1
        return sequence

    def take_new(self, now: float, rtt: float) -> list[tuple[int, bytes, bytes]]:
        """Return (sequence, ID, token) of each ID that is to be announced now, in NEW_CONNECTION_ID frames."""
        self._begin_minute(now)
        new: list[tuple[int, bytes, bytes]] = []
        while len(self.active) < self._limit:
            if self._waiting > 0:
                if self._replaced >= MAX_REPLACED or (self._replaced and now < self._last + rtt):
                    break
                self._waiting -= 1
                self._replaced += 1
                self._last = now
            connection_id, token = self._make()
            new.append((self.adopt(connection_id, token), connection_id, token))
        return new

    def next_at(self, rtt: float) -> float:
        """Return when `take_new` gives an ID that it held back, `NEVER` where it holds back none.

        By the very sums that it compares with, or rounding lets a timer go off without effect, again and again.
        """
        if not self._waiting or len(self.active) >= self._limit:
            return NEVER
        return self._minute + _MINUTE if self._replaced >= MAX_REPLACED else self._last + rtt

    def frame(self, sequence: int) -> bytes:
        """Return the NEW_CONNECTION_ID frame of an ID, nothing where it is out of use by now."""
        if sequence not in self.active:
            return b""
        return encode_new_connection_id(sequence, 0, self.active[sequence], self._tokens[sequence])

    def retire(self, sequence: int, destination: bytes, now: float) -> bytes:
        """Take in a RETIRE_CONNECTION_ID; return the ID that is out of use, or nothing when it was already.

        `destination` is where the packet with this frame was sent. Raises QuicError with PROTOCOL_VIOLATION.
        """
        if sequence >= self.next:
            raise _violation("retires an ID that was never given out", FRAME_RETIRE_CONNECTION_ID)
        if self.active.get(sequence) == destination:
            raise _violation("retires the ID that it is sent to", FRAME_RETIRE_CONNECTION_ID)
        self._begin_minute(now)
        self._retired += 1
        if self._retired > MAX_RETIRED:
            raise _violation(f"more than {MAX_RETIRED} IDs retired in a minute", FRAME_RETIRE_CONNECTION_ID)
        retired = self.active.pop(sequence, b"")
        if retired:
            self._tokens.pop(sequence, None)
            self._waiting += 1
        return retired

    def _begin_minute(self, now: float) -> None:
        if now >= self._minute + _MINUTE:
            self._minute = now
            self._retired = 0
            self._replaced = 0


@final
class PeerConnectionIds:
    """The IDs that we send to; `current` is the one of the path in use, `sequence` its number.

    Each path takes an ID of its own (section 9.5) and gives it back when it is left. Retired ones wait in `due` for
    the peer to be told; each comes back by `lost` or `acknowledged`.
    """

    __slots__ = (
        "_held",
        "_retire_prior_to",
        "_retiring",
        "_seen",
        "_used",
        "current",
        "due",
        "sequence",
    )

    def __init__(self, first: bytes) -> None:
        self.current = first
        self.sequence = 0
        self._held: dict[int, tuple[bytes, bytes]] = {0: (first, b"")}
        self._used = [0]
        self._seen = Ranges(_SEEN_RANGES)
        self._seen.add(0, 1)
        self._retire_prior_to = 0
        self.due: list[int] = []
        self._retiring: list[int] = []

    def __repr__(self) -> str:
        return (
            f"<PeerConnectionIds {sorted(self._held)}, uses {self.sequence}, retires {len(self._retiring)}>"
        )

    def replace_first(self, connection_id: bytes, token: bytes) -> None:
        """Put the ID that the server chose in the handshake, and its token, in the place of number 0."""
        self._held[0] = (connection_id, token)
        if self.sequence == 0:
            self.current = connection_id

    def add(self, sequence: int, retire_prior_to: int, connection_id: bytes, token: bytes) -> None:
        """Take in a NEW_CONNECTION_ID, or the ID of a preferred address as number 1 (sections 5.1.1, 19.15).

        Raises QuicError. However far Retire Prior To jumps, the cost is that of the IDs held.
        """
        if not self.current:
            raise _violation("a new ID from a peer that has none", FRAME_NEW_CONNECTION_ID)
        for number, (known, known_token) in self._held.items():
            if (number == sequence) != (known == connection_id) or (
                number == sequence and known_token != token
            ):
                raise _violation("an ID or its number comes twice, and differs", FRAME_NEW_CONNECTION_ID)
        is_new = not self._seen.contains(sequence)
        if is_new:
            while not self._seen.add(sequence, sequence + 1):
                self._seen.close_lowest_hole()
        if retire_prior_to > self._retire_prior_to:
            self._retire_prior_to = retire_prior_to
        if is_new:
            self._held[sequence] = (connection_id, token)
        for number in [number for number in self._held if number < self._retire_prior_to]:
            self._retire(number)
        if len(self._held) > MAX_PEER_IDS:
            raise QuicError(
                CONNECTION_ID_LIMIT_ERROR, f"more than {MAX_PEER_IDS} connection IDs", FRAME_NEW_CONNECTION_ID
            )
        if self.sequence not in self._held and self._held:
            # Of those that no other path uses, where there is one.
            unused = [number for number in self._held if number not in self._used]
            following = min(unused or self._held)
            self._used.append(following)
            self.use(following)

    def count(self) -> int:
        """Return how many are held."""
        return len(self._held)

    def take(self) -> int:
        """Take an ID for another path and return its number; -1: there is none that was not used.

        A peer without IDs is told apart by its address, and has the same one on all paths.
        """
        if not self.current:
            return self.sequence
        unused = [number for number in self._held if number not in self._used]
        if not unused:
            return -1
        self._used.append(min(unused))
        return min(unused)

    def claim(self, sequence: int) -> bool:
        """Take the ID with this number, that of a preferred address; False where it is gone or in use."""
        if sequence not in self._held or sequence in self._used:
            return False
        self._used.append(sequence)
        return True

    def destination(self, sequence: int) -> bytes | None:
        """Return the ID with this number, None where the peer took it back."""
        return self._held[sequence][0] if sequence in self._held else None

    def use(self, sequence: int) -> None:
        """Send to this ID from now on."""
        self.sequence = sequence
        self.current = self._held[sequence][0]

    def give_back(self, sequence: int) -> None:
        """Retire the ID of a path that is left."""
        if sequence in self._held and self.current:
            self._retire(sequence)

    def tokens(self) -> list[bytes]:
        """Return the stateless reset tokens that may end this connection: of the IDs in use (section 10.3.1)."""
        return [
            self._held[number][1] for number in self._used if number in self._held and self._held[number][1]
        ]

    def lost(self, sequence: int) -> None:
        """Say that a RETIRE_CONNECTION_ID was lost: it is due again."""
        if sequence in self._retiring and sequence not in self.due:
            self.due.append(sequence)

    def acknowledged(self, sequence: int) -> None:
        """Say that a RETIRE_CONNECTION_ID arrived."""
        if sequence in self._retiring:
            self._retiring.remove(sequence)

    def _retire(self, sequence: int) -> None:
        del self._held[sequence]
        if sequence in self._used:
            self._used.remove(sequence)
        self._retiring.append(sequence)
        self.due.append(sequence)
        if len(self._retiring) > MAX_RETIRING:
            raise QuicError(
                CONNECTION_ID_LIMIT_ERROR,
                f"more than {MAX_RETIRING} retired connection IDs are not acknowledged",
                FRAME_NEW_CONNECTION_ID,
            )


def _violation(detail: str, frame_type: int) -> QuicError:
    return QuicError(PROTOCOL_VIOLATION, detail, frame_type)
