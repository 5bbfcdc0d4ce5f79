"""HPACK against the package hpack, both ways: the same blocks give the same lines and tables, or both refuse.

Blocks are what hpack's encoder makes, what ours makes, representations put together at random, and all of them
mutated. A dialog ends with the first refusal, as a connection does. Where the two may differ is told by `explained`.
"""

import os
import re

import hpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.engine.h2 import rfc7541

from headgate.engine.h2.errors import COMPRESSION_ERROR, H2ConnectionError
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.hpack_encoder import HpackEncoder
from headgate.engine.h2.hpack_static import STATIC_TABLE
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.integers import encode_integer, encode_string
from headgate.engine.message.lines import SENSITIVE
from headgate.http.fields import Fields

# The same examples in every run: a disagreement is a finding, not a flake. `make soak` draws many more.
MANY = settings(
    max_examples=max(300, settings.default.max_examples),
    derandomize=os.environ.get("HEADGATE_SOAK") != "1",
)
SMALL = 2000  # octets of a section, so that the limit is met

STATIC_NAMES = sorted({name for name, _ in STATIC_TABLE})
NAMES = st.sampled_from([*STATIC_NAMES, b"x-a", b"x-b", b"x-custom"])
VALUES = st.one_of(
    st.sampled_from([b"", b"a", b"gzip", b"https://www.example.com/", b"/", b"200", b"GET"]),
    st.binary(max_size=40),
    st.integers(1, 4100).map(lambda size: b"v" * size),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
TABLE_SIZES = st.sampled_from([0, 31, 32, 64, 100, 256, 1000, 4095, 4096, 8192])


def ours(decoder, block):
    """Return the lines, or why there are none."""
    try:
        return [(line.name, line.value) for line in decoder.decode(block)]
    except SectionTooLargeError:
        return "too large"
    except H2ConnectionError as error:
        return str(error) if error.code == COMPRESSION_ERROR else repr(error.code)


def theirs(decoder, block):
    try:
        return [tuple(pair) for pair in decoder.decode(block, raw=True)]
    except hpack.OversizedHeaderListError:
        return "too large"
    except hpack.HPACKError as error:
        return f"{type(error).__name__}: {error}"


def explained(mine, other, block):
    """Tell whether the two may differ.

    - hpack stops at the limit of a section, and its connection is over; we read on, because the next block needs the
      table, and may find an error behind the limit.
    - Integers: hpack reads five octets behind the prefix, we ten. What is larger is beyond every table and every
      block, so both refuse; a long form of a small number is read by us alone.
    - Section 4.2 has two table size updates in front of a block at most; hpack takes any number.
    """
    if other == "too large":
        return isinstance(mine, str)
    if isinstance(mine, str) and "table size updates" in mine:
        return re.match(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}", block) is not None
    return "representation is too long" in other and re.search(rb"[\x80-\xff]{5}", block) is not None


def tables(mine, other):
    return (
        [(line.name, line.value) for line in reversed(mine._table._entries)],
        [(bytes(name), bytes(value)) for name, value in other.header_table.dynamic_entries],
    )


def compare(blocks, limit=65536):
    """Decode a dialog with both; return how it ended: None, or why it was refused."""
    mine = HpackDecoder(max_section=limit, max_lines=1 << 20)
    other = hpack.Decoder(max_header_list_size=limit)
    for block in blocks:
        first, second = ours(mine, block), theirs(other, block)
        if isinstance(first, str) or isinstance(second, str):
            both = isinstance(first, str) and isinstance(second, str)
            same = both and (first == "too large") == (second == "too large")
            assert same or explained(first, second, block), (block.hex(), first, second)
            return first
        assert first == second, block.hex()
        assert len(set(map(str, tables(mine, other)))) == 1, block.hex()
    return None


@st.composite
def dialogs_of_hpack(draw):
    """What hpack's encoder makes of a few sections, with changes of the table's size between them."""
    encoder = hpack.Encoder()
    blocks = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            encoder.header_table_size = min(4096, draw(TABLE_SIZES))
        section = [
            hpack.NeverIndexedHeaderTuple(name, value) if draw(st.booleans()) else (name, value)
            for name, value in draw(FIELDS)
        ]
        blocks.append(encoder.encode(section, huffman=draw(st.booleans())))
    return blocks


def string(value, huffman):
    return encode_string(value, 8) if huffman else encode_integer(len(value), 7) + value


@st.composite
def representations(draw):
    """One representation, right or wrong; indexes are often those of entries that may be there."""
    kind = draw(st.sampled_from(["indexed", "insert", "plain", "never", "resize", "raw"]))
    index = draw(st.one_of(st.integers(0, 70), st.integers(60, 66), st.integers(0, 300)))
    if kind == "raw":
        return draw(st.binary(max_size=4))
    if kind == "resize":
        return encode_integer(draw(TABLE_SIZES), 5, 0x20)
    if kind == "indexed":
        return encode_integer(index, 7, 0x80)
    bits, first = {"insert": (6, 0x40), "plain": (4, 0), "never": (4, 0x10)}[kind]
    if draw(st.booleans()):
        named = encode_integer(index, bits, first)
    else:
        named = bytes((first,)) + string(draw(NAMES), draw(st.booleans()))
    return named + string(draw(VALUES), draw(st.booleans()))


DIALOGS = st.lists(st.lists(representations(), max_size=12).map(b"".join), min_size=1, max_size=4)
RFC = st.sampled_from([[bytes.fromhex(block) for block in one[0]] for one in rfc7541.DIALOGS.values()])


@st.composite
def mutated(draw):
    """A good dialog with octets changed, taken out, put in, or said twice."""
    blocks = list(draw(st.one_of(dialogs_of_hpack(), RFC)))
    for _ in range(draw(st.integers(1, 4))):
        which = draw(st.integers(0, len(blocks) - 1))
        block = blocks[which]
        at = draw(st.integers(0, len(block)))
        to = min(len(block), at + draw(st.integers(0, 3)))
        piece = draw(st.one_of(st.binary(max_size=3), st.just(block[at:to] * 2), representations()))
        blocks[which] = block[:at] + piece + block[to:]
    return blocks


@MANY
@given(dialogs_of_hpack())
def test_what_hpack_encodes_means_the_same(blocks):
    assert compare(blocks, 1 << 20) is None


@MANY
@given(DIALOGS, st.sampled_from([SMALL, 65536]))
@example([b"\x40\x01x\x7f\xf0\x00" + b"v" * 367, b"\xbe" * 4, b"\xbe" * 5], SMALL)
@example([b"\xff" + b"\x80" * 9 + b"\x00"], 65536)
@example([b"\x20\x3f\xe1\x1f\x82", b"\x20\x20\x3f\xe1\x1f\x82"], 65536)
@example([b"\x7f" + b"\x80" * 10 + b"\x00\x00"], 65536)
@example([b"\x82", b"\x7f" + b"\x80" * 6 + b"\x00\x00"], 65536)
def test_representations_at_random_mean_the_same(blocks, limit):
    compare(blocks, limit)


@MANY
@given(mutated())
def test_mutated_blocks_mean_the_same(blocks):
    compare(blocks)


@MANY
@given(st.binary(max_size=60))
@pytest.mark.parametrize("first", [b"\x04", b"\x40\x01x", b"\x00"])
def test_huffman_coding_at_random_means_the_same(first, octets):
    compare([first + encode_integer(len(octets), 7, 0x80) + octets + b"\x01v"])


@MANY
@given(st.lists(st.tuples(st.one_of(st.none(), TABLE_SIZES), FIELDS), min_size=1, max_size=8), st.booleans())
def test_what_we_encode_is_read_by_hpack(turns, shared):
    """Values without white space at their ends, as the engines hold them; nothing secret is ever in the table."""
    encoder = HpackEncoder(shared=shared)
    other = hpack.Decoder(max_header_list_size=1 << 20)
    for size, section in turns * 2:
        if size is not None:
            encoder.apply_table_size(size)
            other.max_allowed_table_size = size
        pairs = [(name, value.strip(b" \t")) for name, value in section]
        fields = Fields([name for name, _ in pairs], [name + b": " + value for name, value in pairs])
        block = encoder.encode(fields)
        assert [tuple(pair) for pair in other.decode(block, raw=True)] == pairs
        held = other.header_table.dynamic_entries
        assert len(held) == len(encoder._table.places)
        assert not {bytes(name) for name, _ in held} & SENSITIVE
        assert not (shared and held)


def test_a_disagreement_is_found():
    """One table of the two forgets an entry: the comparison has to see it."""
    mine, other = HpackDecoder(), hpack.Decoder()
    for decode in (mine.decode, other.decode):
        decode(b"\x40\x01x\x01v")
    assert len(set(map(str, tables(mine, other)))) == 1
    mine.decode(b"\x20\x3f\xe1\x1f")
    assert len(set(map(str, tables(mine, other)))) == 2
    assert ours(mine, b"\xbe") != theirs(other, b"\xbe")
