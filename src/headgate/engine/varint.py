"""Variable-length integers of QUIC and HTTP/3 (RFC 9000 section 16).

The two high bits of the first octet say how long the integer is: 1, 2, 4 or 8 octets; the other bits are the value,
in network order. Readers take a whole buffer and a position, so that nothing is sliced but the integer itself; the
caller moves on by `length_of_varint(data[at])`. A value may stand in a longer form than it needs: only frame types
must not (section 12.4), and engine/quic/frames checks that.
"""

from typing import Final

MAX_VARINT: Final = (1 << 62) - 1  # section 16: two of 64 bits say the length


def length_of_varint(first: int) -> int:
    """Return how many octets the integer has whose first octet is `first`: 1, 2, 4 or 8."""
    return 1 << (first >> 6)


def decode_varint(data: bytes, at: int) -> int:
    """Return the integer that begins at `at` (not negative).

    Raises IndexError when octets are missing: the caller knows what was being read and blames the peer.
    """
    first = data[at]
    if first < 0x40:
        return first
    if first < 0x80:
        return (first & 0x3F) << 8 | data[at + 1]
    length = 1 << (first >> 6)
    octets = data[at : at + length]
    if len(octets) < length:
        raise IndexError(f"an integer of {length} octets is cut short")
    return int.from_bytes(octets, "big") & (0x3FFF_FFFF if length == 4 else MAX_VARINT)


def size_of_varint(value: int) -> int:
    """Return how many octets the shortest form of `value` has.

    Raises ValueError when `value` is negative or above `MAX_VARINT`: our own mistake.
    """
    if value < 0x40:
        if value < 0:
            raise ValueError(f"{value} is negative")
        return 1
    if value < 0x4000:
        return 2
    if value < 0x4000_0000:
        return 4
    if value <= MAX_VARINT:
        return 8
    raise ValueError(f"{value} has more than 62 bits")


def encode_varint(value: int) -> bytes:
    """Return the shortest form of `value`. Raises ValueError as `size_of_varint` does."""
    if 0 <= value < 0x40:
        return value.to_bytes(1, "big")
    size = size_of_varint(value)
    if size == 2:
        return (value | 0x4000).to_bytes(2, "big")
    if size == 4:
        return (value | 0x8000_0000).to_bytes(4, "big")
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
