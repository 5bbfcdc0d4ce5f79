import pytest

from headgate.engine.h2 import hpack_decoder
from headgate.engine.h2.errors import COMPRESSION_ERROR, H2ConnectionError
from headgate.engine.h2.hpack_decoder import (
    DEFAULT_TABLE,
    MAX_REMEMBERED_LINES,
    MAX_REMEMBERED_OCTETS,
    HpackDecoder,
)
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.integers import encode_integer, encode_string
from headgate.engine.message.lines import MAX_FIELD_SECTION, MAX_SECTION_LINES
from headgate.http.fields import NEVER_INDEXED

INSERT, PLAIN, NEVER = (0x40, 6), (0x00, 4), (0x10, 4)


def literal(name, value, form=PLAIN):
    """`name` is an index, or the name itself."""
    first, bits = form
    if isinstance(name, int):
        return encode_integer(name, bits, first) + encode_string(value, 8)
    return encode_integer(0, bits, first) + encode_string(name, 8) + encode_string(value, 8)


def pairs(lines):
    return [(line.name, line.value) for line in lines]


def fails(decoder, block):
    with pytest.raises(H2ConnectionError) as caught:
        decoder.decode(block)
    assert (caught.value.code, caught.value.reason) == (COMPRESSION_ERROR, "hpack-decompression")
    return caught.value.detail


def too_large(decoder, block):
    with pytest.raises(SectionTooLargeError):
        decoder.decode(block)


def test_literals_of_every_form_with_names_of_every_kind():
    decoder = HpackDecoder()
    block = literal(b"x-a", b"1", INSERT)
    for form in (PLAIN, NEVER, INSERT):
        block += literal(62, b"2", form) + literal(4, b"/p", form) + literal(b"x-b", b"3", form)
    three = [(b"x-a", b"2"), (b":path", b"/p"), (b"x-b", b"3")]
    assert pairs(decoder.decode(block)) == [(b"x-a", b"1"), *three, *three, *three]
    assert pairs(decoder.decode(b"\xbe\xbf\xc0\xc1")) == [*three[::-1], (b"x-a", b"1")]
    assert repr(decoder) == "<HpackDecoder <DynamicTable 0..4 147/4096>>"


def test_an_index_in_many_octets():
    decoder = HpackDecoder()
    decoder.decode(b"".join(literal(b"x", b"%d" % n, INSERT) for n in range(100)))
    assert pairs(decoder.decode(encode_integer(62 + 99, 7, 0x80))) == [(b"x", b"0")]
    assert pairs(decoder.decode(encode_integer(62 + 65, 7, 0x80))) == [(b"x", b"34")]
    assert fails(decoder, encode_integer(62 + 100, 7, 0x80)) == "an index beyond the table"


def test_lines_are_shared_between_connections_by_the_memory():
    block = literal(b"x-shared", b"v", INSERT)
    assert HpackDecoder().decode(block)[0] is HpackDecoder().decode(block)[0]


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"])
def test_secrets_are_not_remembered(name):
    for form in (INSERT, PLAIN, NEVER):
        block = literal(name, b"secret", form)
        assert HpackDecoder().decode(block)[0] is not HpackDecoder().decode(block)[0]
        assert block not in hpack_decoder._seen


def test_marked_and_long_lines_are_not_remembered():
    marked = literal(b"x-a", b"marked", NEVER)
    assert HpackDecoder().decode(marked)[0] is not HpackDecoder().decode(marked)[0]
    for extra, remembered in ((0, True), (1, False)):
        block = b"\x00\x01x\x7f" + encode_integer(MAX_REMEMBERED_OCTETS - 5 + extra - 127, 8)
        block += b"*" * (MAX_REMEMBERED_OCTETS - 5 + extra)
        HpackDecoder().decode(block)
        assert len(block) == MAX_REMEMBERED_OCTETS + extra
        assert (block in hpack_decoder._seen) == remembered


def test_representations_of_a_block_are_remembered_up_to_a_bound():
    decoder = HpackDecoder()
    for number in range(MAX_REMEMBERED_LINES + 2):
        decoder.decode(literal(b"x-many", b"%d" % number))
        assert len(hpack_decoder._seen) <= MAX_REMEMBERED_LINES


def test_a_mark_stays_with_the_line():
    decoder = HpackDecoder()
    marked, plain, secret = decoder.decode(
        literal(b"x-token", b"s", NEVER) + literal(b"x-token", b"s") + literal(b"cookie", b"s", NEVER)
    )
    assert marked.flags & NEVER_INDEXED
    assert not plain.flags & NEVER_INDEXED
    assert not secret.flags & NEVER_INDEXED, "its name says as much"
    decoder.decode(literal(b"x-token", b"", INSERT))
    assert decoder.decode(literal(62, b"s", NEVER))[0].flags & NEVER_INDEXED


def test_octets_of_a_section_at_the_limit_and_one_more():
    room = MAX_FIELD_SECTION - 32 - 1
    assert len(HpackDecoder().decode(b"\0\x01x" + encode_integer(room, 7) + b"v" * room)) == 1
    too_large(HpackDecoder(), b"\0\x01x" + encode_integer(room + 1, 7) + b"v" * (room + 1))
    assert len(HpackDecoder(max_section=34).decode(b"\0\x01x\x01v")) == 1
    too_large(HpackDecoder(max_section=33), b"\0\x01x\x01v")


def test_lines_of_a_section_at_the_limit_and_one_more():
    block = b"\x90" * MAX_SECTION_LINES
    assert len(HpackDecoder().decode(block)) == MAX_SECTION_LINES
    too_large(HpackDecoder(), block + b"\x90")
    assert len(HpackDecoder().decode(block + literal(32, b"a=b") * 200)) == MAX_SECTION_LINES + 200
    too_large(HpackDecoder(max_lines=1), b"\x90\x90")


def test_a_bomb_of_references_is_bounded_by_the_section():
    """One entry as large as the table, and a reference in each octet: 4096 times its size."""
    decoder = HpackDecoder()
    value = b"v" * (DEFAULT_TABLE - 33)
    assert len(decoder.decode(b"\x40\x01x" + encode_integer(len(value), 7) + value)) == 1
    assert len(decoder.decode(b"\xbe" * 16)) == 16
    too_large(decoder, b"\xbe" * 17)
    too_large(decoder, b"\xbe" * 500)
    assert len(decoder.decode(b"\xbe")) == 1


def test_the_table_is_in_step_behind_a_section_that_was_given_up():
    decoder = HpackDecoder(max_lines=1)
    too_large(decoder, b"\x90\x90" + literal(b"x-late", b"1", INSERT) + literal(b"x-later", b"2", INSERT))
    assert pairs(decoder.decode(b"\xbf")) == [(b"x-late", b"1")]
    decoder = HpackDecoder(max_section=40)
    too_large(decoder, b"\x90" + literal(b"x-late", b"1", INSERT))
    assert pairs(decoder.decode(b"\xbe")) == [(b"x-late", b"1")]


def test_an_error_behind_the_limit_is_an_error():
    assert fails(HpackDecoder(max_lines=1), b"\x90\x90\x80") == "an index of 0"


@pytest.mark.parametrize(
    "block",
    [
        b"\x40",
        b"\x40\x01",
        b"\x40\x01x",
        b"\x40\x01x\x02v",
        b"\x41\x02v",
        b"\x00\x02x",
        b"\x04\x7f",
        b"\x04\x7f\x80",
        b"\xff",
        b"\xff\x80",
        b"\x3f",
        b"\x3f\x80",
        b"\x04\x7f\x81\xff\xff\xff\x07v",
    ],
)
def test_a_block_that_is_cut_short(block):
    assert fails(HpackDecoder(), block) == "a field block is cut short"
    assert fails(HpackDecoder(), b"\x82" + block) != "" or block[:1] == b"\x3f"


@pytest.mark.parametrize("first", [b"\xff", b"\x7f", b"\x0f", b"\x1f", b"\x04\x7f", b"\x3f"])
def test_an_integer_beyond_62_bits(first):
    assert "62 bits" in fails(HpackDecoder(), first + b"\xff" * 9 + b"\x01")
    assert "62 bits" in fails(HpackDecoder(), first + b"\x80" * 20 + b"\x00")


def test_updates_stand_at_the_beginning_only():
    decoder = HpackDecoder()
    assert decoder.decode(b"\x20\x3f\xe1\x1f") == []
    assert fails(decoder, b"\x82\x20") == "a table size update behind a field line"


def test_a_smaller_table_is_due_when_the_settings_are_acknowledged():
    decoder = HpackDecoder(max_table=0)
    decoder.decode(literal(b"x-a", b"1", INSERT))
    assert pairs(decoder.decode(b"\xbe")) == [(b"x-a", b"1")], "the peer has not heard of it"
    decoder.settings_acknowledged()
    assert "no table size update" in fails(decoder, b"\x82")
    assert pairs(decoder.decode(b"\x20\x82")) == [(b":method", b"GET")]
    assert pairs(decoder.decode(b"\x82")) == [(b":method", b"GET")]
    assert fails(decoder, b"\x21\x82") == "a table of 1 octets, the limit is 0"


def test_a_larger_table_may_be_used_when_the_settings_are_acknowledged():
    update = encode_integer(8192, 5, 0x20)
    assert "8192" in fails(HpackDecoder(max_table=8192), update)
    decoder = HpackDecoder(max_table=8192)
    decoder.settings_acknowledged()
    assert decoder.decode(update + b"\x82") != []
    assert "8193" in fails(decoder, encode_integer(8193, 5, 0x20))
