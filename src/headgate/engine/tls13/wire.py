"""Reading and writing the presentation language of TLS (RFC 8446 section 3): numbers and vectors with a length.

What does not fit, and what is left over, is the peer's `decode_error`.
"""

import struct
from typing import final

from headgate.engine.tls13.alerts import DECODE_ERROR, TlsAlertError, refusal


@final
class Reader:
    """A place in some bytes of the peer. Every method raises `TlsAlertError` where the bytes end too early."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    @property
    def left(self) -> int:
        """How many octets have not been read."""
        return len(self._data) - self._at

    def number(self, size: int) -> int:
        """Read an unsigned number of `size` octets."""
        return int.from_bytes(self.take(size), "big")

    def take(self, count: int) -> bytes:
        """Read `count` octets."""
        end = self._at + count
        if end > len(self._data):
            raise _truncated()
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def vector(self, size: int, least: int = 0) -> bytes:
        """Read a vector whose length takes `size` octets and is not below `least`."""
        length = self.number(size)
        if length < least:
            raise refusal(DECODE_ERROR, f"a vector of {length} octets where {least} are the least")
        return self.take(length)

    def finish(self) -> None:
        """Refuse what is left over."""
        if self.left:
            raise refusal(DECODE_ERROR, f"{self.left} octets behind the end")


def vector(size: int, data: bytes) -> bytes:
    """Return a vector whose length takes `size` octets."""
    return len(data).to_bytes(size, "big") + data


def numbers(data: bytes) -> tuple[int, ...]:
    """Split the content of a vector of two-octet numbers."""
    if len(data) % 2:
        raise refusal(DECODE_ERROR, "a list of two-octet numbers has half a number")
    return struct.unpack(f">{len(data) // 2}H", data)


def number_list(values: tuple[int, ...]) -> bytes:
    """Return two-octet numbers one behind the other, without a length."""
    return struct.pack(f">{len(values)}H", *values)


def _truncated() -> TlsAlertError:
    return refusal(DECODE_ERROR, "it ends too early")
