"""Packet headers, packet numbers, Version Negotiation and stateless resets (RFC 9000 section 17, RFC 8999)."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.engine.quic.errors import UnreadablePacketError
from headgate.engine.quic.levels import EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    MAX_CID,
    MAX_VERSIONS,
    NEGOTIATION,
    RETRY,
    UNKNOWN_VERSION,
    VERSION_1,
    VERSION_2,
    VERSIONS,
    check_short_header,
    decode_number,
    destination_of,
    encode_long_header,
    encode_short_header,
    encode_stateless_reset,
    encode_version_negotiation,
    is_stateless_reset,
    length_of_number,
    long_header_size,
    parse_long_header,
    stateless_reset_token,
)
from headgate.errors import LocalProtocolError

CIDS = st.binary(max_size=MAX_CID)


def parse(packet):
    return parse_long_header(packet, 0, len(packet))


# Packet numbers


@pytest.mark.parametrize(
    ("number", "acked", "length"),
    [(0xAC5C02, 0xABE8B3, 2), (0xACE8FE, 0xABE8B3, 3), (0, -1, 1), (127, -1, 1), (128, -1, 2)],
)
def test_rfc9000_a_2_length_of_a_number(number, acked, length):
    assert length_of_number(number, acked) == length


def test_rfc9000_a_2_a_number_that_is_too_far_ahead():
    assert length_of_number(1 << 31, 0) == 4
    with pytest.raises(LocalProtocolError):
        length_of_number((1 << 31) + 1, 0)


def test_rfc9000_a_3_the_example():
    assert decode_number(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32


@given(st.integers(0, (1 << 62) - 1), st.integers(0, 1 << 31), st.data())
@example(0, 1, None)
def test_rfc9000_a_any_number_that_is_sent_is_understood(acked, ahead, data):
    """Whatever arrived since the last acknowledgement: the receiver's largest lies between it and the number."""
    number = min(acked + max(ahead, 1), (1 << 62) - 1)
    if number == acked:
        return
    length = length_of_number(number, acked)
    largest = data.draw(st.integers(acked, number - 1)) if data else acked
    assert decode_number(number & (1 << 8 * length) - 1, length, largest) == number


# Long headers


@given(
    st.sampled_from(VERSIONS),
    st.sampled_from([INITIAL, EARLY, HANDSHAKE]),
    CIDS,
    CIDS,
    st.binary(max_size=100),
    st.integers(0, (1 << 62) - 1),
    st.integers(1, 4),
    st.integers(4, 1400),
    st.binary(max_size=30),
    st.binary(max_size=30),
)
def test_long_headers_both_ways(
    version, kind, destination, source, token, number, length, size, before, behind
):
    header = encode_long_header(kind, version, destination, source, token, number, length, size)
    assert len(header) == long_header_size(destination, source, token, kind, length)
    data = before + header + bytes(size + 16) + behind
    parsed = parse_long_header(data, len(before), len(data))
    assert (parsed.kind, parsed.version) == (kind, version)
    assert (parsed.destination, parsed.source) == (destination, source)
    assert parsed.token == (token if kind == INITIAL else b"")
    assert (parsed.start, parsed.end) == (len(before), len(data) - len(behind))
    shortened = number & (1 << 8 * length) - 1
    assert int.from_bytes(data[parsed.number_at : parsed.number_at + length], "big") == shortened
    assert parsed.number_at + length == len(before) + len(header)
    assert data[parsed.start] & 3 == length - 1
    assert destination_of(data, len(before), len(data), 0) == destination
    # A datagram that ends earlier holds none of it, whatever lies behind it in the buffer.
    for end in range(len(before), parsed.end, 7):
        with pytest.raises(UnreadablePacketError):
            parse_long_header(data, len(before), end)


@pytest.mark.parametrize(
    ("first", "version", "kind"),
    [
        (0xC0, VERSION_1, INITIAL),
        (0xD0, VERSION_1, EARLY),
        (0xE0, VERSION_1, HANDSHAKE),
        (0xF0, VERSION_1, RETRY),
        (0xD0, VERSION_2, INITIAL),
        (0xE0, VERSION_2, EARLY),
        (0xF0, VERSION_2, HANDSHAKE),
        (0xC0, VERSION_2, RETRY),
    ],
)
def test_rfc9369_3_2_types_by_version(first, version, kind):
    rest = b"\0\0" + (
        b"token" + bytes(16) if kind == RETRY else b"\0" * (kind == INITIAL) + b"\x14" + bytes(20)
    )
    packet = bytes([first]) + version.to_bytes(4, "big") + rest
    parsed = parse(packet)
    assert parsed.kind == kind
    if kind == RETRY:
        assert parsed.token == b"token"
        assert packet[parsed.number_at :] == bytes(16)


def test_rfc9000_12_2_coalesced_packets_follow_each_other():
    one = encode_long_header(INITIAL, VERSION_1, b"A", b"B", b"t", 0, 1, 30) + bytes(46)
    two = encode_long_header(HANDSHAKE, VERSION_1, b"A", b"B", b"", 0, 1, 40) + bytes(56)
    data = one + two
    first = parse(data)
    second = parse_long_header(data, first.end, len(data))
    assert (first.kind, second.kind, first.end, second.end) == (INITIAL, HANDSHAKE, len(one), len(data))
    assert repr(first) == f"<Initial 0x1 to 41 from 42, {len(one)} B>"


def test_rfc9000_17_2_connection_ids_of_20_octets_and_one_more():
    rest = b"\0\x14" + bytes(20)
    for size in (MAX_CID, MAX_CID + 1):
        for ids in (bytes([size]) + bytes(size) + b"\0", b"\0" + bytes([size]) + bytes(size)):
            packet = b"\xc0\0\0\0\x01" + ids + rest
            if size == MAX_CID:
                assert parse(packet).kind == INITIAL
            else:
                with pytest.raises(UnreadablePacketError) as caught:
                    parse(packet)
                assert caught.value.reason == "connection-id"


def test_rfc8999_5_1_unknown_versions_have_ids_of_up_to_255_octets():
    packet = b"\x80\x0a\x0a\x0a\x0a\xff" + bytes(255) + b"\xff" + b"s" * 255 + b"anything"
    parsed = parse(packet)
    assert (parsed.kind, parsed.version) == (UNKNOWN_VERSION, 0x0A0A0A0A)
    assert (parsed.destination, parsed.source) == (bytes(255), b"s" * 255)


def test_rfc9000_17_2_the_fixed_bit_and_rfc9287_3_1():
    packet = encode_long_header(HANDSHAKE, VERSION_1, b"A", b"B", b"", 0, 1, 40) + bytes(56)
    cleared = bytes([packet[0] & ~0x40]) + packet[1:]
    with pytest.raises(UnreadablePacketError) as caught:
        parse(cleared)
    assert caught.value.reason == "fixed-bit"
    assert parse_long_header(cleared, 0, len(cleared), is_greased=True).kind == HANDSHAKE
    with pytest.raises(UnreadablePacketError):
        check_short_header(bytes(60), 0, 60, 8)
    check_short_header(bytes(60), 0, 60, 8, is_greased=True)


def test_rfc9000_17_2_5_2_a_retry_without_a_token():
    packet = b"\xf0\0\0\0\x01\0\0" + bytes(16)
    with pytest.raises(UnreadablePacketError):
        parse(packet)
    assert parse(packet[:7] + b"t" + packet[7:]).token == b"t"


def test_rfc9001_5_4_2_what_is_too_short_for_a_sample():
    for size in (19, 20):
        packet = b"\xe0\0\0\0\x01\0\0" + bytes([size]) + bytes(size)
        if size == 20:
            assert parse(packet).number_at == 8
        else:
            with pytest.raises(UnreadablePacketError):
                parse(packet)
    short = encode_short_header(b"ABCDEFGH", 0, 0, 0, 1) + bytes(19)
    check_short_header(short, 0, len(short), 8)
    with pytest.raises(UnreadablePacketError):
        check_short_header(short, 0, len(short) - 1, 8)


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_garbage_raises_only_the_documented_error(start, behind):
    for data in (
        start + behind,
        b"\xc0\0\0\0\x01" + start + behind,
        b"\xf0\x6b\x33\x43\xcf" + start + behind,
    ):
        end = len(data) - len(behind)
        for function in (
            lambda data, end: parse_long_header(data, 0, end),
            lambda data, end: destination_of(data, 0, end, 8),
            lambda data, end: check_short_header(data, 0, end, 8),
        ):
            with suppress(UnreadablePacketError):
                function(data, end)


def test_a_packet_that_cannot_be_said():
    with pytest.raises(LocalProtocolError):
        encode_long_header(INITIAL, VERSION_1, b"", b"", b"", 0, 4, 0x3FFF - 19)
    assert encode_long_header(INITIAL, VERSION_1, b"", b"", b"", 0, 4, 0x3FFF - 20)


# Short headers


@given(CIDS, st.integers(0, 1), st.integers(0, 1), st.integers(0, 1 << 40), st.integers(1, 4))
def test_short_headers(cid, phase, spin, number, length):
    header = encode_short_header(cid, phase, spin, number, length)
    assert header[0] == 0x40 | spin << 5 | phase << 2 | length - 1
    assert destination_of(header, 0, len(header), len(cid)) == cid
    assert int.from_bytes(header[1 + len(cid) :], "big") == number & (1 << 8 * length) - 1


# Version Negotiation


@given(st.binary(max_size=255), st.binary(max_size=255), st.integers(0, 255))
def test_rfc9000_17_2_1_version_negotiation(destination, source, random):
    packet = encode_version_negotiation(destination, source, VERSIONS, random)
    parsed = parse(packet)
    assert (parsed.kind, parsed.version, parsed.versions) == (NEGOTIATION, 0, VERSIONS)
    assert (parsed.destination, parsed.source) == (destination, source)
    assert packet[0] & 0x40


def test_limit_of_versions_and_one_more():
    for count in (MAX_VERSIONS, MAX_VERSIONS + 1):
        packet = encode_version_negotiation(b"", b"", range(1, count + 1), 0)
        assert len(parse(packet).versions) == MAX_VERSIONS


def test_rfc9000_17_2_1_a_list_of_versions_that_is_cut_short():
    packet = encode_version_negotiation(b"", b"", VERSIONS, 0)
    for cut in (packet[:-1], packet[:7]):
        with pytest.raises(UnreadablePacketError):
            parse(cut)


# Stateless resets


def test_rfc9000_10_3_a_reset_is_shorter_than_its_cause_and_looks_like_a_packet():
    token = stateless_reset_token(b"key", b"connection")
    assert len(token) == 16
    assert token != stateless_reset_token(b"key", b"another")
    for cause in (22, 30, 43, 1200):
        reset = encode_stateless_reset(token, cause, bytes(26))
        assert 21 <= len(reset) < cause
        assert len(reset) <= 42
        assert reset[0] & 0xC0 == 0x40
        assert is_stateless_reset(reset, 0, len(reset), [b"x" * 16, token])
        assert not is_stateless_reset(reset, 0, len(reset), [b"x" * 16])
    assert encode_stateless_reset(token, 21, bytes(26)) == b""
    assert len(encode_stateless_reset(token, 22, bytes(26))) == 21


def test_rfc9000_10_3_1_only_the_last_octets_of_a_datagram_of_21_count():
    token = bytes(range(16))
    data = b"@" + bytes(4) + token
    assert is_stateless_reset(data, 0, 21, [token])
    assert not is_stateless_reset(data, 1, 21, [token])
    assert not is_stateless_reset(data + b"x", 0, 22, [token])
    assert is_stateless_reset(b"before" + data + b"behind", 6, 27, [token])
