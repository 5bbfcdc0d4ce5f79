import pytest

from headgate.engine.h3.errors import (
    H3_EXCESSIVE_LOAD,
    QPACK_DECOMPRESSION_FAILED,
    QPACK_ENCODER_STREAM_ERROR,
    H3ConnectionError,
)
from headgate.engine.h3.qpack_decoder import (
    MAX_BLOCKED_OCTETS,
    MAX_BLOCKED_STREAMS,
    MAX_REMEMBERED_LINES,
    MAX_TABLE,
    QpackDecoder,
    _seen,
)
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.integers import encode_integer, encode_string
from headgate.engine.message.lines import MAX_FIELD_SECTION, MAX_SECTION_LINES


def pairs(lines):
    return [(line.name, line.value) for line in lines]


def literal(name, value, first=0x20):
    return encode_string(name, 4, first) + encode_string(value, 8)


def fails(code, call, *arguments):
    with pytest.raises(H3ConnectionError) as caught:
        call(*arguments)
    assert caught.value.code == code
    return caught.value.detail


def test_rfc9204_appendix_b():
    """The whole dialog of the appendix, in one go, with the decoder's own instructions compared."""
    decoder = QpackDecoder(220, 2)
    # B.1: a literal with a static name
    assert pairs(decoder.decode(0, bytes.fromhex("0000510b2f696e6465782e68746d6c"))) == [
        (b":path", b"/index.html")
    ]
    assert decoder.take_output() == b""
    # B.2: the section comes before the entries it refers to
    section = bytes.fromhex("03811011")
    assert decoder.decode(4, section) is None
    decoder.receive(bytes.fromhex("3fbd01c00f7777772e6578616d706c652e636f6d"))
    assert decoder.unblocked() == []
    assert decoder.take_output() == b"\x01"
    decoder.receive(bytes.fromhex("c10c2f73616d706c652f70617468"))
    assert decoder.unblocked() == [(4, section)]
    assert decoder.unblocked() == []
    decoder.take_output()
    assert pairs(decoder.decode(4, section)) == [
        (b":authority", b"www.example.com"),
        (b":path", b"/sample/path"),
    ]
    assert decoder.take_output() == b"\x84"
    # B.3: an entry with a literal name
    decoder.receive(bytes.fromhex("4a637573746f6d2d6b65790c637573746f6d2d76616c7565"))
    assert decoder.take_output() == b"\x01"
    # B.4: a section that waits is cancelled, another one with the same references is decoded
    section = bytes.fromhex("050080c181")
    assert decoder.decode(8, section) is None
    decoder.cancel(8)
    assert decoder.take_output() == b"\x48"
    decoder.receive(b"\x02")
    assert decoder.unblocked() == []
    assert pairs(decoder.decode(12, section)) == [
        (b":authority", b"www.example.com"),
        (b":path", b"/"),
        (b"custom-key", b"custom-value"),
    ]
    # B.5: an insertion that evicts the oldest entry
    decoder.receive(bytes.fromhex("810d637573746f6d2d76616c756532"))
    assert repr(decoder) == "<QpackDecoder <DynamicTable 1..5 215/220> blocked=0>"


def test_instructions_in_single_octets():
    data = bytes.fromhex(
        "3fbd01c00f7777772e6578616d706c652e636f6d4a637573746f6d2d6b65790c637573746f6d2d76616c7565"
    )
    decoder = QpackDecoder(220, 2)
    for i in range(len(data)):
        decoder.receive(data[i : i + 1])
    assert decoder.take_output() == b"\x01\x01"
    assert pairs(decoder.decode(0, bytes.fromhex("03008081"))) == [
        (b"custom-key", b"custom-value"),
        (b":authority", b"www.example.com"),
    ]


def test_names_from_the_dynamic_table():
    decoder = QpackDecoder(220, 2)
    decoder.receive(bytes.fromhex("3fbd014a637573746f6d2d6b65790c637573746f6d2d76616c7565"))
    # Base 1: relative index 0 is the entry; with and without N
    assert pairs(decoder.decode(0, b"\x02\x00\x40\x011\x60\x012")) == [
        (b"custom-key", b"1"),
        (b"custom-key", b"2"),
    ]
    # Base 0: post-base index 0 is the entry
    assert pairs(decoder.decode(0, b"\x02\x80\x00\x013\x08\x014")) == [
        (b"custom-key", b"3"),
        (b"custom-key", b"4"),
    ]


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\0",
        b"\0\0\xff",  # an integer without an end
        b"\0\0\xff\x24",  # static index 99
        b"\0\0\x80",  # the dynamic table, with a Required Insert Count of 0
        b"\0\0\x10",
        b"\0\0\x40\0",
        b"\0\0\0\0",
        b"\0\0\x5f\x54\0",  # a name beyond the static table
        b"\0\0\x51\x05/abc",  # a value cut short
        b"\0\0\x51\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length beyond 62 bits
        b"\0\0\x51\x84\xff\xff\xff\xff",  # EOS
        b"\x01\0\xd1",  # a Required Insert Count of 0, in the long form
        b"\x0e\0\xd1",  # beyond twice the entries
        b"\0\x80\xd1",  # section 4.5.1.2: a negative Base
    ],
)
def test_rfc9204_2_2_3_sections_that_cannot_be_decoded(section):
    fails(QPACK_DECOMPRESSION_FAILED, QpackDecoder(220, 0).decode, 0, section)


def test_rfc9204_2_2_3_an_entry_that_was_evicted_or_is_not_covered():
    decoder = QpackDecoder(64, 2)
    decoder.receive(b"\x3f\x21" + b"\x42ab\x011" + b"\x42ab\x012")
    decoder.take_output()
    # Required Insert Count 2, Base 2: relative index 0 is there, 1 was evicted
    assert pairs(decoder.decode(0, b"\x03\0\x80")) == [(b"ab", b"2")]
    fails(QPACK_DECOMPRESSION_FAILED, decoder.decode, 0, b"\x03\0\x81")
    # Required Insert Count 1: the second entry is not covered by it
    fails(QPACK_DECOMPRESSION_FAILED, decoder.decode, 0, b"\x02\x00\x10")


@pytest.mark.parametrize(
    "data",
    [
        b"\x3f\xbe\x01",  # a capacity of 221
        b"\xff\x24\x01a",  # static index 99
        b"\x80\x01a",  # the newest entry of none
        b"\x00",
        b"\x3f\xbd\x01\x00",
        b"\x42ab\x011",  # while the capacity is still 0
        b"\x3f\x01\x42ab\x011",  # 35 octets into 32
        b"\x5f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x5f\xbe\x01",  # a name of 221 octets, refused before it is there
        b"\xc0\x7f\x5e",  # a value of 221 octets
    ],
)
def test_rfc9204_4_3_instructions_that_are_wrong(data):
    fails(QPACK_ENCODER_STREAM_ERROR, QpackDecoder(220, 0).receive, data)


def test_the_default_has_no_table_and_waits_for_nothing():
    decoder = QpackDecoder()
    decoder.receive(b"\x20")  # a capacity of 0 is allowed
    fails(QPACK_ENCODER_STREAM_ERROR, decoder.receive, b"\x21")
    fails(QPACK_DECOMPRESSION_FAILED, decoder.decode, 0, b"\x02\0\x80")
    decoder.cancel(0)
    assert decoder.take_output() == b""


def test_more_capacity_than_there_is_is_not_given():
    decoder = QpackDecoder(10**9, 10**9)
    assert (decoder.max_capacity, decoder.max_blocked) == (MAX_TABLE, MAX_BLOCKED_STREAMS)


def test_blocked_streams_and_one_more():
    decoder = QpackDecoder(4096, MAX_BLOCKED_STREAMS)
    for stream in range(MAX_BLOCKED_STREAMS):
        assert decoder.decode(stream * 4, b"\x02\0\x80") is None
    fails(QPACK_DECOMPRESSION_FAILED, decoder.decode, 4 * MAX_BLOCKED_STREAMS, b"\x02\0\x80")


def test_blocked_octets_and_one_more():
    decoder = QpackDecoder(4096, 2)
    section = b"\x02\0" + b"\x80" * (MAX_BLOCKED_OCTETS // 2 - 2)
    assert decoder.decode(0, section) is None
    assert decoder.decode(4, section) is None
    decoder.cancel(4)
    fails(H3_EXCESSIVE_LOAD, decoder.decode, 4, section + b"\x80")


def test_a_section_at_the_limit_of_octets_and_one_more():
    room = MAX_FIELD_SECTION - 32 - 1
    assert len(QpackDecoder().decode(0, b"\0\0" + literal(b"x", b"\xff" * room))) == 1
    with pytest.raises(SectionTooLargeError):
        QpackDecoder().decode(0, b"\0\0" + literal(b"x", b"\xff" * (room + 1)))


def test_a_small_section_that_decodes_to_much_is_given_up_on_the_way():
    """References of one octet to an entry of four thousand: the count stops at the limit, not at the end."""
    decoder = QpackDecoder(4096, 0)
    decoder.receive(b"\x3f\xe1\x1f" + encode_string(b"x", 6, 0x40) + encode_string(b"\xff" * 4000, 8))
    with pytest.raises(SectionTooLargeError):
        decoder.decode(0, b"\x02\0" + b"\x80" * 20000)


def test_lines_at_the_limit_and_one_more():
    section = b"\0\0" + b"\xdd" * MAX_SECTION_LINES
    assert len(QpackDecoder().decode(0, section)) == MAX_SECTION_LINES
    with pytest.raises(SectionTooLargeError):
        QpackDecoder().decode(0, section + b"\xdd")
    # cookies are one field in many lines
    assert (
        len(QpackDecoder().decode(0, section + literal(b"cookie", b"a=b") * 200)) == MAX_SECTION_LINES + 200
    )


def test_representations_are_remembered_up_to_a_bound():
    _seen.clear()
    decoder = QpackDecoder()
    first = decoder.decode(0, b"\0\0" + literal(b"x", b"1"))[0]
    assert decoder.decode(4, b"\0\0" + literal(b"x", b"1"))[0] is first
    for i in range(MAX_REMEMBERED_LINES):
        decoder.decode(0, b"\0\0" + literal(b"y", b"%d" % i))
    assert 0 < len(_seen) <= MAX_REMEMBERED_LINES
    assert decoder.decode(4, b"\0\0" + literal(b"x", b"1"))[0] is not first


def test_secrets_and_long_lines_are_not_remembered():
    _seen.clear()
    never = literal(b"x", b"marked by N", 0x30)
    section = never + literal(b"authorization", b"Basic eA==") + literal(b"x", b"\xff" * 256)
    assert len(QpackDecoder().decode(0, b"\0\0" + section)) == 3
    assert _seen == {}


def test_a_static_name_may_have_a_long_index():
    section = b"\0\0" + encode_integer(95, 4, 0x50) + encode_string(b"curl/8", 8)
    assert pairs(QpackDecoder().decode(0, section)) == [(b"user-agent", b"curl/8")]
