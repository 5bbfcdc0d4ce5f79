"""RFC 7541, HPACK: what an encoder and a decoder must do, and the vectors of appendix C.

What is asked of others than the codec, and where it is tested:

| section | who | rule | tested in |
|---|---|---|---|
| 2.3.1 | both | the static table is that of appendix A | |
| | | | unit/engine/h2/test_hpack_static.py: `test_rfc7541_appendix_a` |
| 2.3.3 | both | the dynamic table counts from the newest entry | |
| | | | unit/engine/message/test_table.py: `test_rfc7541_2_3_3_the_newest_comes_first` |
| | | | unit/engine/h2/test_hpack_table.py: `test_the_newest_entry_has_the_first_index_behind_the_static_table` |
| 4.3, 4.4 | encoder | evicts as the decoder does | |
| | | | unit/engine/h2/test_hpack_table.py: `test_rfc7541_4_3_a_smaller_capacity_evicts` |
| | | | unit/engine/h2/test_hpack_table.py: `test_rfc7541_4_4_the_oldest_entries_make_room` |
| 5.2, B | both | the Huffman code | unit/engine/test_huffman.py: `test_rfc7541_appendix_c` |
| | | | unit/engine/test_huffman.py: `test_known_codes_of_rfc7541_appendix_b` |
| 7.3 | decoder | memory is bounded by its own choice of a table size | |
| | | | unit/engine/h2/test_hpack_decoder.py: `test_a_smaller_table_is_due_when_the_settings_are_acknowledged` |
| 7.4 | decoder | values of integers, of strings and of sections are limited | |
| | | | unit/engine/h2/test_hpack_decoder.py: `test_an_integer_beyond_62_bits` |
| | | | unit/engine/h2/test_hpack_decoder.py: `test_octets_of_a_section_at_the_limit_and_one_more` |
| | | | unit/engine/h2/test_hpack_decoder.py: `test_lines_of_a_section_at_the_limit_and_one_more` |
| | | | unit/engine/h2/test_hpack_decoder.py: `test_a_bomb_of_references_is_bounded_by_the_section` |
"""

import pytest
from tests.unit.engine.h2 import rfc7541 as vectors

from headgate.engine.h2.errors import COMPRESSION_ERROR, H2ConnectionError
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.hpack_encoder import HpackEncoder
from headgate.engine.huffman import encode_huffman
from headgate.engine.message.integers import decode_integer, encode_integer
from headgate.engine.message.messages import read_response, read_trailers, write_response
from headgate.http.fields import Fields

# A literal of each form, with the name `x` and the value `v`.
INSERTED = b"\x40\x01x\x01v"
PLAIN = b"\x00\x01x\x01v"
NEVER = b"\x10\x01x\x01v"
MARK = 0xF0


def pairs(lines):
    return [(line.name, line.value) for line in lines]


def table_of(decoder):
    """Return what the table holds, newest first, as references to it tell."""
    held = []
    while True:
        try:
            held += pairs(decoder.decode(encode_integer(62 + len(held), 7, 0x80)))
        except H2ConnectionError:
            return held


def size_of(decoder):
    return int(repr(decoder).split(" ")[3].split("/")[0])


def fails(block, decoder=None):
    """A decoding error is an error of the whole connection (RFC 9113 section 4.3)."""
    with pytest.raises(H2ConnectionError) as caught:
        (decoder or HpackDecoder()).decode(block)
    assert caught.value.code == COMPRESSION_ERROR
    return caught.value.detail


def section(*lines):
    return Fields([line[: line.index(b":", 1)] for line in lines], list(lines))


# -- appendix C


def test_rfc7541_c_1_integers():
    assert encode_integer(10, 5) == b"\x0a"
    assert encode_integer(1337, 5) == b"\x1f\x9a\x0a"
    assert encode_integer(42, 8) == b"\x2a"
    assert decode_integer(b"\xea", 0, 5) == (10, 1)
    assert decode_integer(b"\xff\x9a\x0a", 0, 5) == (1337, 3)
    assert decode_integer(b"\x2a", 0, 8) == (42, 1)


@pytest.mark.parametrize(
    ("block", "name", "value", "size"),
    [one[1:] for one in vectors.SINGLES],
    ids=[s[0] for s in vectors.SINGLES],
)
def test_rfc7541_c_2_representations(block, name, value, size):
    decoder = HpackDecoder()
    assert pairs(decoder.decode(bytes.fromhex(block))) == [(name, value)]
    assert table_of(decoder) == ([(name, value)] if size else [])
    assert size_of(decoder) == size


@pytest.mark.parametrize("name", list(vectors.DIALOGS))
def test_rfc7541_c_3_to_c_6_dialogs(name):
    """Requests and responses, without and with Huffman coding; after each block the table is compared."""
    decoder = HpackDecoder()
    if name in ("C.5", "C.6"):
        decoder.decode(encode_integer(vectors.RESPONSE_TABLE, 5, 0x20))
    for block, fields, table, size in zip(*vectors.DIALOGS[name], strict=True):
        assert pairs(decoder.decode(bytes.fromhex(block))) == fields
        assert table_of(decoder) == table
        assert size_of(decoder) == size


# -- the format


def test_rfc7541_2_2_each_direction_has_a_table_of_its_own():
    one, other = HpackDecoder(), HpackDecoder()
    one.decode(INSERTED)
    assert table_of(one) == [(b"x", b"v")]
    assert table_of(other) == []


def test_rfc7541_2_3_2_duplicates_are_no_error():
    decoder = HpackDecoder()
    decoder.decode(INSERTED * 2)
    assert table_of(decoder) == [(b"x", b"v")] * 2


@pytest.mark.parametrize("first", [0x80, 0x40, 0x00, 0x10])
def test_rfc7541_2_3_3_an_index_beyond_both_tables(first):
    """Section 2.3.3, 6.1 and 6.2: as a line, and as a name of each form of literal."""
    bits = {0x80: 7, 0x40: 6}.get(first, 4)
    value = b"" if first == 0x80 else b"\x01v"
    assert fails(encode_integer(62, bits, first) + value) == "an index beyond the table"
    decoder = HpackDecoder()
    decoder.decode(INSERTED)
    assert len(decoder.decode(encode_integer(62, bits, first) + value)) == 1
    assert fails(encode_integer(64, bits, first) + value, decoder) == "an index beyond the table"


def test_rfc7541_3_2_the_order_of_lines_is_kept():
    """Sections 2.1 and 3.2; also for lines of the same name, and an encoder's lines come as they were given."""
    lines = [b"b: 1", b"a: 2", b"b: 0", b"a: 1"]
    encoder, decoder = HpackEncoder(), HpackDecoder()
    for _ in range(3):
        assert [line.line for line in decoder.decode(encoder.encode(section(*lines)))] == lines


def test_rfc7541_4_1_an_entry_counts_32_more_than_its_octets():
    decoder = HpackDecoder()
    decoder.decode(b"\x40\x00\x00")
    assert size_of(decoder) == 32
    decoder.decode(b"\x40" + b"\x85" + bytes.fromhex("f2b24a84ff") + b"\x00")
    assert size_of(decoder) == 32 + 32 + len(table_of(decoder)[0][0]), "decoded octets, not coded ones"


def test_rfc7541_4_2_a_change_stands_at_the_beginning_of_the_next_block():
    encoder = HpackEncoder()
    encoder.apply_table_size(100)
    assert encoder.encode(section(b":status: 200")) == encode_integer(100, 5, 0x20) + b"\x88"
    assert encoder.encode(section(b":status: 200")) == b"\x88"


def test_rfc7541_4_2_the_smallest_size_and_then_the_last_are_told():
    encoder, decoder = HpackEncoder(), HpackDecoder()
    head = section(b"server: a")
    for _ in range(2):
        decoder.decode(encoder.encode(head))
    assert table_of(decoder) == [(b"server", b"a")]
    for limit in (3000, 20, 50, 2000):
        encoder.apply_table_size(limit)
    block = encoder.encode(section(b":status: 200"))
    assert block == encode_integer(20, 5, 0x20) + encode_integer(2000, 5, 0x20) + b"\x88"
    decoder.decode(block)
    assert table_of(decoder) == [], "the small size has evicted what was there, in both tables"
    assert encoder.encode(head)[0] & 0x80 == 0


def test_rfc7541_4_2_several_changes_that_end_where_they_began_are_told():
    encoder = HpackEncoder()
    encoder.apply_table_size(0)
    encoder.apply_table_size(4096)
    assert encoder.encode(section(b":status: 200")) == b"\x20\x3f\xe1\x1f\x88"


def test_rfc7541_4_2_an_update_behind_a_line_is_an_error():
    assert fails(b"\x82\x20") == "a table size update behind a field line"
    assert fails(INSERTED + b"\x20") == "a table size update behind a field line"


def test_rfc7541_4_2_a_reduction_has_to_be_answered():
    """RFC 9113 section 4.3.1 says what happens to a peer that does not."""
    decoder = HpackDecoder(max_table=100)
    decoder.settings_acknowledged()
    assert fails(b"\x82", decoder) == "no table size update after SETTINGS made the table smaller"
    assert fails(encode_integer(101, 5, 0x20) + b"\x82", decoder) == "a table of 101 octets, the limit is 100"
    assert len(decoder.decode(encode_integer(100, 5, 0x20) + b"\x82")) == 1


def test_rfc7541_4_3_a_smaller_table_evicts_the_oldest():
    decoder = HpackDecoder()
    decoder.decode(b"\x40\x01x\x011" + b"\x40\x01x\x012" + b"\x40\x01x\x013")
    decoder.decode(encode_integer(2 * 34 + 33, 5, 0x20))
    assert table_of(decoder) == [(b"x", b"3"), (b"x", b"2")]
    decoder.decode(b"\x20" + encode_integer(4096, 5, 0x20))
    assert table_of(decoder) == []


def test_rfc7541_4_4_an_entry_evicts_the_oldest_before_it_is_added():
    decoder = HpackDecoder()
    decoder.decode(encode_integer(100, 5, 0x20) + b"\x40\x01x\x011" + b"\x40\x01x\x012" + b"\x40\x01x\x013")
    assert table_of(decoder) == [(b"x", b"3"), (b"x", b"2")]
    assert size_of(decoder) == 68


def test_rfc7541_4_4_an_entry_may_refer_to_a_name_that_it_evicts():
    decoder = HpackDecoder()
    decoder.decode(encode_integer(40, 5, 0x20) + b"\x40\x01x\x011")
    assert pairs(decoder.decode(b"\x7e\x012")) == [(b"x", b"2")]
    assert table_of(decoder) == [(b"x", b"2")]


def test_rfc7541_4_4_an_entry_larger_than_the_table_empties_it_and_is_no_error():
    decoder = HpackDecoder()
    decoder.decode(encode_integer(68, 5, 0x20) + INSERTED * 2)
    assert pairs(decoder.decode(b"\x40\x01x\x24" + b"v" * 36)) == [(b"x", b"v" * 36)]
    assert table_of(decoder) == []
    decoder.decode(b"\x40\x01x\x23" + b"v" * 35)
    assert table_of(decoder) == [(b"x", b"v" * 35)]


# -- integers and strings


@pytest.mark.parametrize("first", [b"\xff", b"\x7f", b"\x3f", b"\x0f", b"\x1f", b"\x00\x7f", b"\x04\xff"])
def test_rfc7541_5_1_an_integer_beyond_the_limit(first):
    """In value or in octets: also zeros that go on for ever."""
    assert "62 bits" in fails(first + b"\xff" * 8 + b"\x7f")
    assert "62 bits" in fails(first + b"\x80" * 100)


@pytest.mark.parametrize("first", [b"\xff", b"\x7f", b"\x3f", b"\x0f", b"\x1f", b"\x00\x7f", b"\x04\xff"])
def test_rfc7541_5_1_an_integer_that_does_not_end(first):
    assert fails(first) == fails(first + b"\x80") == "a field block is cut short"


def test_rfc7541_5_2_a_string_that_is_longer_than_its_block():
    for length in (b"\x02", b"\x82", b"\x7f\x00", b"\x7f\xff\xff\xff\xff\x0f"):
        assert fails(b"\x04" + length + b"v") == "a field block is cut short"
        assert fails(b"\x40" + length + b"v") == "a field block is cut short"


def coded(octets):
    """A literal whose value is Huffman-coded as these octets."""
    return b"\x04" + bytes((0x80 | len(octets),)) + octets


def test_rfc7541_5_2_padding_is_ones():
    """The code of `/` is 011000, so two bits of padding remain."""
    assert pairs(HpackDecoder().decode(coded(b"\x63"))) == [(b":path", b"/")]
    for padding in (0, 1, 2):
        assert "padding" in fails(coded(bytes((0x60 | padding,))))


def test_rfc7541_5_2_padding_is_shorter_than_an_octet():
    assert encode_huffman(b"*") == b"\xf9"
    assert pairs(HpackDecoder().decode(coded(b"\xf9"))) == [(b":path", b"*")], "no padding"
    assert "padding" in fails(coded(b"\xf9\xff")), "8 bits"
    assert "padding" in fails(coded(b"\x63\xff")), "10 bits"
    assert "padding" in fails(coded(b"\xff"))
    assert encode_huffman(b"0")[0] == 0b00000111, "3 bits"
    assert encode_huffman(b"00000")[-1] & 0x7F == 0b1111111, "7 bits"
    assert pairs(HpackDecoder().decode(coded(encode_huffman(b"00000")))) == [(b":path", b"00000")]


def test_rfc7541_5_2_eos_in_a_string():
    assert "EOS" in fails(coded(b"\xff\xff\xff\xff"))
    assert "EOS" in fails(coded(b"\x63\xff\xff\xff\xff\xff"))
    assert "EOS" in fails(b"\x40\x84\xff\xff\xff\xff\x01v"), "in a name"


# -- representations


def test_rfc7541_6_1_an_index_of_0():
    assert fails(b"\x80") == "an index of 0"


def test_rfc7541_6_2_only_the_first_form_of_a_literal_changes_the_table():
    for block, held in ((INSERTED, [(b"x", b"v")]), (PLAIN, []), (NEVER, [])):
        decoder = HpackDecoder()
        assert pairs(decoder.decode(block)) == [(b"x", b"v")]
        assert table_of(decoder) == held


def test_rfc7541_6_2_3_a_marked_line_is_marked_for_the_next_hop():
    """Sections 6.2.3 and 7.1.3: of a response that one peer sent and another one is sent."""
    head = read_response(HpackDecoder().decode(b"\x88" + NEVER), 1, b"GET", ended=True)
    encoder, decoder = HpackEncoder(), HpackDecoder()
    for _ in range(3):
        block = encoder.encode(write_response(head))
        assert block == b"\x88" + NEVER
    decoder.decode(block)
    assert table_of(decoder) == []
    trailers = read_trailers(HpackDecoder().decode(NEVER))
    assert encoder.encode(trailers.copy()) == NEVER


def test_rfc7541_6_3_a_table_larger_than_was_allowed():
    assert fails(encode_integer(4097, 5, 0x20)) == "a table of 4097 octets, the limit is 4096"
    assert HpackDecoder().decode(encode_integer(4096, 5, 0x20)) == []


def test_rfc7541_7_1_3_secrets_are_never_indexed():
    encoder = HpackEncoder()
    for _ in range(3):
        for line in (b"set-cookie: a=b", b"authorization: Basic eA==", b"cookie: a=b"):
            assert encoder.encode(section(line))[0] & MARK == 0x10
