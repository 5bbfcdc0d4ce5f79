"""The Huffman code of header compression (RFC 7541 appendix B), shared by HPACK and QPACK.

The code is canonical: symbols sorted by the length of their code, then by value, count upwards. So the lengths are
the whole table, and everything else is worked out from them once, at import.

Decoding walks the tree four bits at a time. The tree of 257 symbols has 256 inner nodes, and a nibble moves from one
to another, past at most one leaf, because no code is shorter than five bits. That makes two `bytes` of 4096 entries:
the node that follows, and the symbol that was passed. What the walk ends on tells whether the padding is right.
"""

from typing import Final

SHORTEST: Final = 5  # bits of the shortest code: an octet becomes 1.6 at most

EOS: Final = 256
# (length, symbols in order) by runs: how long the code of each symbol is, 0 to 255 and then EOS.
_RUNS: Final[tuple[tuple[int, int], ...]] = (
    (13, 1), (23, 1), (28, 7), (24, 1), (30, 1), (28, 2), (30, 1), (28, 8), (30, 1), (28, 9),
    (6, 1), (10, 2), (12, 1), (13, 1), (6, 1), (8, 1), (11, 1), (10, 2), (8, 1), (11, 1), (8, 1), (6, 3),
    (5, 3), (6, 7), (7, 1), (8, 1), (15, 1), (6, 1), (12, 1), (10, 1), (13, 1),
    (6, 1), (7, 22), (8, 1), (7, 1), (8, 1), (13, 1), (19, 1), (13, 1), (14, 1), (6, 1), (15, 1),
    (5, 1), (6, 1), (5, 1), (6, 1), (5, 1), (6, 3), (5, 1), (7, 2), (6, 3), (5, 1), (6, 1), (7, 1), (6, 1),
    (5, 2), (6, 1), (7, 5), (15, 1), (11, 1), (14, 1), (13, 1), (28, 1),
    (20, 1), (22, 1), (20, 2), (22, 3), (23, 1), (22, 1), (23, 5), (24, 1), (23, 1), (24, 2), (22, 1), (23, 1),
    (24, 1), (23, 4), (21, 1), (22, 1), (23, 1), (22, 1), (23, 2), (24, 1), (22, 1), (21, 1), (20, 1), (22, 2),
    (23, 2), (21, 1), (23, 1), (22, 2), (24, 1), (21, 1), (22, 1), (23, 2), (21, 2), (22, 1), (21, 1), (23, 1),
    (22, 1), (23, 2), (20, 1), (22, 3), (23, 1), (22, 2), (23, 1), (26, 2), (20, 1), (19, 1), (22, 1), (23, 1),
    (22, 1), (25, 1), (26, 3), (27, 2), (26, 1), (24, 1), (25, 1), (19, 1), (21, 1), (26, 1), (27, 2), (26, 1),
    (27, 1), (24, 1), (21, 2), (26, 2), (28, 1), (27, 3), (20, 1), (24, 1), (20, 1), (21, 1), (22, 1), (21, 2),
    (23, 1), (22, 2), (25, 2), (24, 2), (26, 1), (23, 1), (26, 1), (27, 1), (26, 2), (27, 5), (28, 1), (27, 5),
    (26, 1), (30, 1),
)  # fmt: skip
_LENGTHS: Final = bytes(length for length, count in _RUNS for _ in range(count))
_LENGTHS_OF_OCTETS: Final = _LENGTHS[:256]

# What a step of the walk did, in _PASSED: 0 to 255 a symbol (then _KIND says 1), else nothing, or what cannot be.
_NOTHING: Final = 0
_SYMBOL: Final = 1
_WRONG: Final = 2


class HuffmanError(Exception):
    """A string that is no Huffman code: EOS inside, or padding that is too long or not the beginning of EOS."""


def _codes() -> list[int]:
    """Return the code of each symbol, counted upwards in canonical order."""
    codes = [0] * 257
    code = 0
    length = 0
    for symbol in sorted(range(257), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        codes[symbol] = code
        code += 1
    return codes


_CODES: Final[list[int]] = _codes()


def _tree() -> tuple[list[int], list[int]]:
    """Return the two children of each inner node: a node's number, or -1 - symbol for a leaf."""
    zeros = [0]
    ones = [0]
    for symbol in range(257):
        node = 0
        for shift in range(_LENGTHS[symbol] - 1, -1, -1):
            side = ones if _CODES[symbol] >> shift & 1 else zeros
            if shift == 0:
                side[node] = -1 - symbol
            elif side[node] == 0:
                zeros.append(0)
                ones.append(0)
                side[node] = len(zeros) - 1
            node = side[node]
    return zeros, ones


def _steps() -> tuple[bytes, bytes, bytes, bytes]:
    """Return the tables of the walk: next node, symbol passed and kind of each step, and the good ends."""
    zeros, ones = _tree()
    following = bytearray(256 * 16)
    passed = bytearray(256 * 16)
    kinds = bytearray(256 * 16)
    for start in range(256):
        for nibble in range(16):
            node = start
            at = start * 16 + nibble
            for shift in (3, 2, 1, 0):
                node = ones[node] if nibble >> shift & 1 else zeros[node]
                if node < 0:
                    symbol = -1 - node
                    node = 0
                    if symbol == EOS:
                        kinds[at] = _WRONG
                        break
                    kinds[at] = _SYMBOL
                    passed[at] = symbol
            following[at] = node
    # RFC 7541 section 5.2: padding is the beginning of EOS, all ones, and shorter than an octet.
    ends = bytearray(256)
    node = 0
    for _ in range(8):
        ends[node] = 1
        node = ones[node]
    return bytes(following), bytes(passed), bytes(kinds), bytes(ends)


_STEPS: Final = _steps()
_NEXT: Final = _STEPS[0]
_PASSED: Final = _STEPS[1]
_KINDS: Final = _STEPS[2]
_ENDS: Final = _STEPS[3]


def huffman_size(data: bytes) -> int:
    """Return how many octets `encode_huffman(data)` has."""
    return (sum(data.translate(_LENGTHS_OF_OCTETS)) + 7) >> 3


def encode_huffman(data: bytes) -> bytes:
    """Encode octets, padded with ones to a whole octet."""
    out: list[int] = []
    held = 0
    bits = 0
    for i in range(len(data)):
        octet = data[i]
        length = _LENGTHS[octet]
        held = held << length | _CODES[octet]
        bits += length
        while bits >= 8:
            bits -= 8
            out.append(held >> bits)
            held &= (1 << bits) - 1
    if bits > 0:
        out.append((held << (8 - bits)) | (0xFF >> bits))
    return bytes(out)


def decode_huffman(data: bytes) -> bytes:
    """Decode octets; at most 1.6 times as many come out. Raises `HuffmanError`."""
    out: list[int] = []  # mypyc appends to a list at once, and to a bytearray by a call
    node = 0
    for i in range(len(data)):
        octet = data[i]
        at = node << 4 | octet >> 4
        kind = _KINDS[at]
        if kind != _NOTHING:
            if kind == _WRONG:
                raise HuffmanError("EOS inside a string")
            out.append(_PASSED[at])
        at = _NEXT[at] << 4 | octet & 15
        kind = _KINDS[at]
        if kind != _NOTHING:
            if kind == _WRONG:
                raise HuffmanError("EOS inside a string")
            out.append(_PASSED[at])
        node = _NEXT[at]
    if _ENDS[node] == 0:
        raise HuffmanError("padding that is not the beginning of EOS, or too long")
    return bytes(out)
