"""CRYPTO data of one encryption level, put in order (RFC 9000 sections 7.5 and 19.6).

CRYPTO frames have no flow control: whoever can send a packet can send them, in Initial packets before anybody has
proved anything. So what waits lies in one flat buffer that ends `MAX_CRYPTO_AHEAD` octets behind what has been read,
with one bit for each octet that has come: 18 KiB at most, however it is cut up, and a ClientHello that comes in
single octets, last one first, is read all the same. There is no limit of gaps because gaps cost nothing here: work
follows the length of a piece, never that of the buffer. A second limit, `total`, bounds what a level can make TLS
read from its beginning to its end, and with that how many pieces can bring anything; pieces that bring nothing have a
budget, and each that brought something allows some more of them (section 21.9).

Data that comes in order goes up as it is, and no buffer is made.
"""

from typing import Final, final

from headgate.engine.quic.errors import CRYPTO_BUFFER_EXCEEDED, PROTOCOL_VIOLATION, QuicError

_CRYPTO_FRAME: Final = 0x06

# RFC 9000 section 7.5 asks for 4096 at least; quinn and quic-go hold 16 KiB, ngtcp2 64.
MAX_CRYPTO_AHEAD: Final = 16 * 1024
# A chain with its staple has 5 KB and may have 64 KiB in tls13/messages; ngtcp2 and quiche read 64 KiB, quic-go 16.
MAX_CRYPTO_TOTAL: Final = 64 * 1024

# Pieces that bring nothing new, of one level; a lost flight that is sent again has a dozen.
MAX_CRYPTO_REPEATS: Final = 1000
# So many more for each piece that did: a hello in single octets may come four times over.
_REPEATS_EARNED: Final = 3

# '0' and '1' of a printed bitmap as a byte that masks nothing or everything.
_MASKS: Final = bytes.maketrans(b"01", b"\x00\xff")


@final
class CryptoBuffer:
    """One level. `position` is how much has gone up."""

    __slots__ = ("_bits", "_flat", "_read", "_repeats", "position", "total")

    def __init__(self, total: int = MAX_CRYPTO_TOTAL) -> None:
        self.position = 0
        self.total = total  # 0 for the 1-RTT level of a server: no client has anything to say there
        self._repeats = MAX_CRYPTO_REPEATS
        self._flat = bytearray()  # as long as the last octet that has come needs; empty when nothing waits
        self._bits = bytearray()  # bit n, from the lowest of the first octet on: octet n of `_flat` has come
        self._read = 0  # so many at the front of `_flat` have gone up: bits go in whole octets

    def __repr__(self) -> str:
        return f"<CryptoBuffer {self.position} read, {self.received - self.position} waiting>"

    @property
    def received(self) -> int:
        """How many octets have come, each counted once."""
        return self.position + int.from_bytes(self._bits, "little").bit_count() - self._read

    def receive(self, offset: int, data: bytes | memoryview) -> bytes | memoryview:
        """Take a piece in; return what goes up now: `data` itself where it is just the next piece.

        Raises `QuicError` CRYPTO_BUFFER_EXCEEDED, or PROTOCOL_VIOLATION where octets that wait have changed.
        """
        end = offset + len(data)
        if end > self.total:
            raise QuicError(
                CRYPTO_BUFFER_EXCEEDED, f"{end} octets of CRYPTO, {self.total} are allowed", _CRYPTO_FRAME
            )
        position = self.position
        if end == offset:
            return b""  # counted with frames that carry nothing: engine/quic/glitches
        if end <= position:
            self._repeat()
            return b""
        if offset < position:
            data = data[position - offset :]
            offset = position
        if offset == position and not self._flat:
            self.position = end
            self._repeats += _REPEATS_EARNED
            return data
        if end - position > MAX_CRYPTO_AHEAD:
            raise QuicError(
                CRYPTO_BUFFER_EXCEEDED,
                f"CRYPTO data {end - position} octets ahead of what has come",
                _CRYPTO_FRAME,
            )
        if not self._keep(offset - position + self._read, data):
            self._repeat()
            return b""
        self._repeats += _REPEATS_EARNED
        return self._ready() if offset == position else b""

    def _repeat(self) -> None:
        """Count a piece that brought nothing."""
        self._repeats -= 1
        if self._repeats < 0:
            raise QuicError(
                PROTOCOL_VIOLATION,
                f"CRYPTO frames that bring nothing new, more than {MAX_CRYPTO_REPEATS}",
                _CRYPTO_FRAME,
            )

    def _keep(self, at: int, data: bytes | memoryview) -> bool:
        """Put a piece where it belongs; False where all of it has come before."""
        size = len(data)
        first, last = at >> 3, (at + size + 7) >> 3
        bits = self._bits
        if last > len(bits):
            bits += bytes(last - len(bits))
        window = int.from_bytes(bits[first:last], "little")
        everything = ((1 << size) - 1) << (at & 7)
        came = window & everything
        flat = self._flat
        if came:
            self._compare(at, data, came >> (at & 7))
            if came == everything:
                return False
        missing = at + size - len(flat)
        if missing > 0:
            flat += bytes(missing)
        flat[at : at + size] = data
        bits[first:last] = (window | everything).to_bytes(last - first, "little")
        return True

    def _compare(self, at: int, data: bytes | memoryview, came: int) -> None:
        """Hold those octets of a piece that have come before against what came, all at once."""
        size = min(len(data), len(self._flat) - at)
        old = self._flat[at : at + size]
        if old.startswith(data[:size]):
            return
        mask = f"{came:0{size}b}".encode().translate(_MASKS)  # bit 0, the first octet, is printed last
        if (int.from_bytes(old, "little") ^ int.from_bytes(data[:size], "little")) & int.from_bytes(
            mask, "big"
        ):
            start = self.position - self._read + at
            raise QuicError(
                PROTOCOL_VIOLATION,
                f"CRYPTO data from {start} to {start + size} came twice and differs",
                _CRYPTO_FRAME,
            )

    def _ready(self) -> bytes:
        """Take out what now stands in order at the front."""
        bits, flat, read = self._bits, self._flat, self._read
        whole = len(bits) - len(bits.lstrip(b"\xff"))
        end = whole << 3
        if whole < len(bits):
            end += (~bits[whole] & (bits[whole] + 1)).bit_length() - 1  # the ones at the low end
        piece = bytes(flat[read:end])
        self.position += end - read
        if end == len(flat):
            flat.clear()
            bits.clear()
            self._read = 0
        else:
            del flat[: whole << 3]
            del bits[:whole]
            self._read = end & 7
        return piece
