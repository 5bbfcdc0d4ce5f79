"""CRYPTO data of one encryption level, put in order (RFC 9000 sections 7.5 and 19.6).

CRYPTO frames have no flow control: whoever can send a packet can send them, in Initial packets before anybody has
proved anything. So what waits lies in one flat buffer that ends `MAX_CRYPTO_AHEAD` octets behind what has been read,
with one bit for each octet that has come: 18 KiB at most, however it is cut up, and a ClientHello that comes in
single octets, last one first, is read all the same. There is no limit of gaps because gaps cost nothing here. A
second limit, `total`, bounds what a level can make TLS read from its beginning to its end.

Data that comes in order goes up as it is, and no buffer is made.
"""

from typing import Final, final

from headgate.engine.quic.errors import CRYPTO_BUFFER_EXCEEDED, PROTOCOL_VIOLATION, QuicError

_CRYPTO_FRAME: Final = 0x06

# RFC 9000 section 7.5 asks for 4096 at least; quinn and quic-go hold 16 KiB, ngtcp2 64.
MAX_CRYPTO_AHEAD: Final = 16 * 1024
# A chain with its staple has 5 KB and may have 64 KiB in tls13/messages; ngtcp2 and quiche read 64 KiB, quic-go 16.
MAX_CRYPTO_TOTAL: Final = 64 * 1024

# '0' and '1' of a printed bitmap as a byte that masks nothing or everything.
_MASKS: Final = bytes.maketrans(b"01", b"\x00\xff")


@final
class CryptoBuffer:
    """One level. `position` is how much has gone up."""

    __slots__ = ("_bits", "_flat", "position", "total")

    def __init__(self, total: int = MAX_CRYPTO_TOTAL) -> None:
        self.position = 0
        self.total = total  # 0 for the 1-RTT level of a server: no client has anything to say there
        self._flat = bytearray()  # from `position` on; as long as the last octet that has come needs
        self._bits = 0  # bit n: octet n of `_flat` has come

    def __repr__(self) -> str:
        return f"<CryptoBuffer {self.position} read, {self._bits.bit_count()} waiting>"

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
        if end <= position or end == offset:
            return b""
        if offset < position:
            data = data[position - offset :]
            offset = position
        if offset == position and self._bits == 0:
            self.position = end
            return data
        if end - position > MAX_CRYPTO_AHEAD:
            raise QuicError(
                CRYPTO_BUFFER_EXCEEDED,
                f"CRYPTO data {end - position} octets ahead of what has come",
                _CRYPTO_FRAME,
            )
        self._keep(offset - position, data)
        return self._ready() if self._bits & 1 else b""

    def _keep(self, at: int, data: bytes | memoryview) -> None:
        size = len(data)
        everything = (1 << size) - 1
        came = (self._bits >> at) & everything
        if came:
            self._compare(at, data, came)
        missing = at + size - len(self._flat)
        if missing > 0:
            self._flat += bytes(missing)
        self._flat[at : at + size] = data
        self._bits |= everything << at

    def _compare(self, at: int, data: bytes | memoryview, came: int) -> None:
        """Hold those octets of a piece that have come before against what came, all at once."""
        size = min(len(data), len(self._flat) - at)
        mask = f"{came:0{size}b}".encode().translate(_MASKS)  # bit 0, the first octet, is printed last
        old = int.from_bytes(self._flat[at : at + size], "little")
        if (old ^ int.from_bytes(data[:size], "little")) & int.from_bytes(mask, "big"):
            start = self.position + at
            raise QuicError(
                PROTOCOL_VIOLATION,
                f"CRYPTO data from {start} to {start + size} came twice and differs",
                _CRYPTO_FRAME,
            )

    def _ready(self) -> bytes:
        """Take out what now stands in order at the front."""
        bits = self._bits
        length = (~bits & (bits + 1)).bit_length() - 1  # the ones at the low end
        piece = bytes(self._flat[:length])
        del self._flat[:length]
        self._bits = bits >> length
        self.position += length
        return piece
