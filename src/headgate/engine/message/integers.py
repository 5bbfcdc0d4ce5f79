"""Integers and strings of HPACK and QPACK (RFC 7541 sections 5.1 and 5.2, RFC 9204 section 4.1).

An integer begins in the low bits of an octet that also holds something else (its prefix) and goes on in octets of
seven bits. A string is a flag for Huffman coding, a length, and so many octets. Readers return (value, position
behind it). What is missing is an IndexError, because on an encoder stream of QPACK more may come; what is wrong is a
`CodingError`.
"""

from typing import Final

from headgate.engine.huffman import HuffmanError, decode_huffman, encode_huffman, huffman_size

# RFC 9204 section 4.1.1: integers of 62 bits must be read, and nothing in HPACK or QPACK needs more.
MAX_INTEGER: Final = (1 << 62) - 1
_MAX_SHIFT: Final = 63


class CodingError(Exception):
    """An integer of more than 62 bits, a string that is too long, or one whose Huffman code is wrong."""


def decode_integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """Read the integer whose prefix is the low `bits` of `data[at]`. Raises IndexError or `CodingError`."""
    full = (1 << bits) - 1
    value = data[at] & full
    at += 1
    if value < full:
        return value, at
    shift = 0
    while True:
        octet = data[at]
        at += 1
        # Ten octets at most, however they are filled: a long form of a small number is a waste of time.
        if shift >= _MAX_SHIFT:
            raise CodingError("an integer goes on beyond 62 bits")
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            break
        shift += 7
    if value > MAX_INTEGER:
        raise CodingError("an integer has more than 62 bits")
    return value, at


def encode_integer(value: int, bits: int, first: int = 0) -> bytes:
    """Return `value` behind a prefix of `bits`; `first` are the high bits of the first octet."""
    full = (1 << bits) - 1
    if value < full:
        return bytes((first | value,))
    out = bytearray((first | full,))
    value -= full
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_string(data: bytes, at: int, bits: int, longest: int) -> tuple[bytes, int]:
    """Read a string whose Huffman flag and length stand in the low `bits` of `data[at]`.

    `longest` bounds its coded length, which is known before any of it is there. Raises as `decode_integer` does.
    """
    coded = data[at] >> (bits - 1) & 1
    length, at = decode_integer(data, at, bits - 1)
    if length > longest:
        raise CodingError(f"a string of {length} octets, the limit is {longest}")
    end = at + length
    if end > len(data):
        raise IndexError("a string is cut short")
    text = data[at:end]
    if coded:
        try:
            text = decode_huffman(text)
        except HuffmanError as error:
            raise CodingError(str(error)) from error
    return text, end


def encode_string(text: bytes, bits: int, first: int = 0) -> bytes:
    """Return a string, Huffman-coded when that makes it shorter; `first` are the high bits of the first octet."""
    size = huffman_size(text)
    if size < len(text):
        return encode_integer(size, bits - 1, first | 1 << (bits - 1)) + encode_huffman(text)
    return encode_integer(len(text), bits - 1, first) + text
