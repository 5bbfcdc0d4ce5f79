"""Frames both ways, where they may stand, and what no peer may write (RFC 9000 sections 12.4, 12.5 and 19)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic import frames
from headgate.engine.quic.errors import FRAME_ENCODING_ERROR, NAMES, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.frames import (
    FRAME_ACK,
    FRAME_ACK_ECN,
    FRAME_APPLICATION_CLOSE,
    FRAME_CONNECTION_CLOSE,
    FRAME_CRYPTO,
    FRAME_DATA_BLOCKED,
    FRAME_DATAGRAM,
    FRAME_HANDSHAKE_DONE,
    FRAME_MAX_DATA,
    FRAME_MAX_STREAM_DATA,
    FRAME_MAX_STREAMS_BIDI,
    FRAME_MAX_STREAMS_UNI,
    FRAME_NEW_CONNECTION_ID,
    FRAME_NEW_TOKEN,
    FRAME_PADDING,
    FRAME_PATH_CHALLENGE,
    FRAME_PATH_RESPONSE,
    FRAME_PING,
    FRAME_RESET_STREAM,
    FRAME_RETIRE_CONNECTION_ID,
    FRAME_STOP_SENDING,
    FRAME_STREAM,
    FRAME_STREAM_DATA_BLOCKED,
    FRAME_STREAMS_BLOCKED_BIDI,
    FRAME_STREAMS_BLOCKED_UNI,
    HANDSHAKE_DONE_FRAME,
    MAX_REASON,
    PING_FRAME,
    FrameReader,
    crypto_header,
    datagram_header,
    encode_ack,
    encode_application_close,
    encode_connection_close,
    encode_credit,
    encode_new_connection_id,
    encode_new_token,
    encode_path,
    encode_reset_stream,
    encode_retire_connection_id,
    encode_stop_sending,
    encode_stream_credit,
    stream_header,
    stream_header_size,
)
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.sent_packets import MAX_RANGES_READ
from headgate.engine.varint import MAX_VARINT, encode_varint

V = st.integers(0, MAX_VARINT)
COUNT = st.integers(0, 1 << 60)
CONTENT = st.binary(max_size=60)
LEVELS = (INITIAL, EARLY, HANDSHAKE, APPLICATION)


@st.composite
def ranges(draw):
    """The largest and the smallest of each range, highest first."""
    steps = draw(
        st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), min_size=1, max_size=20)
    )
    flat = []
    low = -2
    for gap, length in steps:
        smallest = low + 2 + gap
        low = smallest + length
        flat = [low, smallest, *flat]
    return flat


@st.composite
def frame(draw):
    """One frame as (octets, what the reader must say of it)."""
    kind = draw(st.sampled_from(sorted(BUILDERS)))
    octets, said = draw(BUILDERS[kind])
    return octets, {"kind": kind, **said}


def built(function, **fields):
    """Draw the arguments and say which attributes they come back as."""
    return st.fixed_dictionaries(fields).map(lambda drawn: (function(**drawn), drawn))


def stream_frame(drawn):
    stream, offset, content, fin = drawn
    octets = stream_header(stream, offset, len(content), fin=fin) + content
    return octets, {"stream": stream, "offset": offset, "fin": fin, "in_place": content}


BUILDERS = {
    FRAME_PING: st.just((PING_FRAME, {})),
    FRAME_ACK: st.tuples(ranges(), V).map(
        lambda drawn: (encode_ack(drawn[0], drawn[1], None, 2000), {"ranges": drawn[0], "delay": drawn[1]})
    ),
    FRAME_ACK_ECN: st.tuples(ranges(), V, V, V, V).map(
        lambda drawn: (
            encode_ack(drawn[0], drawn[1], drawn[2:], 2000),
            {"ranges": drawn[0], "delay": drawn[1], "ect0": drawn[2], "ect1": drawn[3], "ce": drawn[4]},
        )
    ),
    FRAME_STREAM: st.tuples(V, st.integers(0, MAX_VARINT - 60), CONTENT, st.booleans()).map(stream_frame),
    FRAME_CRYPTO: st.tuples(st.integers(0, MAX_VARINT - 60), CONTENT).map(
        lambda drawn: (
            crypto_header(drawn[0], len(drawn[1])) + drawn[1],
            {"offset": drawn[0], "in_place": drawn[1]},
        )
    ),
    FRAME_DATAGRAM: CONTENT.map(
        lambda content: (datagram_header(len(content)) + content, {"in_place": content})
    ),
    FRAME_RESET_STREAM: st.tuples(V, V, V).map(
        lambda drawn: (
            encode_reset_stream(*drawn),
            {"stream": drawn[0], "code": drawn[1], "value": drawn[2]},
        )
    ),
    FRAME_STOP_SENDING: built(encode_stop_sending, stream=V, code=V),
    FRAME_NEW_TOKEN: st.binary(min_size=1, max_size=60).map(
        lambda token: (encode_new_token(token), {"content": token})
    ),
    **{
        kind: built(lambda value, kind=kind: encode_credit(kind, value), value=COUNT)
        for kind in (
            FRAME_MAX_DATA,
            FRAME_DATA_BLOCKED,
            FRAME_MAX_STREAMS_BIDI,
            FRAME_MAX_STREAMS_UNI,
            FRAME_STREAMS_BLOCKED_BIDI,
            FRAME_STREAMS_BLOCKED_UNI,
        )
    },
    **{
        kind: built(
            lambda stream, value, kind=kind: encode_stream_credit(kind, stream, value),
            stream=V,
            value=V,
        )
        for kind in (FRAME_MAX_STREAM_DATA, FRAME_STREAM_DATA_BLOCKED)
    },
    FRAME_NEW_CONNECTION_ID: st.tuples(
        V, V, st.binary(min_size=1, max_size=20), st.binary(min_size=16, max_size=16)
    ).map(
        lambda drawn: (
            encode_new_connection_id(max(drawn[:2]), min(drawn[:2]), drawn[2], drawn[3]),
            {
                "sequence": max(drawn[:2]),
                "retire_prior_to": min(drawn[:2]),
                "content": drawn[2],
                "token": drawn[3],
            },
        )
    ),
    FRAME_RETIRE_CONNECTION_ID: built(encode_retire_connection_id, sequence=V),
    **{
        kind: st.binary(min_size=8, max_size=8).map(
            lambda data, kind=kind: (encode_path(kind, data), {"content": data})
        )
        for kind in (FRAME_PATH_CHALLENGE, FRAME_PATH_RESPONSE)
    },
    FRAME_CONNECTION_CLOSE: st.tuples(V, V, CONTENT).map(
        lambda drawn: (
            encode_connection_close(*drawn),
            {"code": drawn[0], "value": drawn[1], "content": drawn[2]},
        )
    ),
    FRAME_APPLICATION_CLOSE: st.tuples(V, CONTENT).map(
        lambda drawn: (encode_application_close(*drawn), {"code": drawn[0], "value": 0, "content": drawn[1]})
    ),
    FRAME_HANDSHAKE_DONE: st.just((HANDSHAKE_DONE_FRAME, {})),
}
# One honest frame of each kind.
SAMPLES = {
    FRAME_PADDING: b"\0",
    FRAME_PING: PING_FRAME,
    FRAME_ACK: encode_ack([9, 7, 4, 2], 100, None, 100),
    FRAME_ACK_ECN: encode_ack([9, 7, 4, 2], 100, (70, 80, 1), 100),
    FRAME_RESET_STREAM: encode_reset_stream(4, 0x10C, 1000),
    FRAME_STOP_SENDING: encode_stop_sending(4, 0x10C),
    FRAME_CRYPTO: crypto_header(70, 3) + b"abc",
    FRAME_NEW_TOKEN: encode_new_token(b"token"),
    FRAME_STREAM: stream_header(4, 70, 3, fin=True) + b"abc",
    FRAME_MAX_DATA: encode_credit(FRAME_MAX_DATA, 1 << 20),
    FRAME_MAX_STREAM_DATA: encode_stream_credit(FRAME_MAX_STREAM_DATA, 4, 1 << 20),
    FRAME_MAX_STREAMS_BIDI: encode_credit(FRAME_MAX_STREAMS_BIDI, 100),
    FRAME_MAX_STREAMS_UNI: encode_credit(FRAME_MAX_STREAMS_UNI, 100),
    FRAME_DATA_BLOCKED: encode_credit(FRAME_DATA_BLOCKED, 1 << 20),
    FRAME_STREAM_DATA_BLOCKED: encode_stream_credit(FRAME_STREAM_DATA_BLOCKED, 4, 1 << 20),
    FRAME_STREAMS_BLOCKED_BIDI: encode_credit(FRAME_STREAMS_BLOCKED_BIDI, 100),
    FRAME_STREAMS_BLOCKED_UNI: encode_credit(FRAME_STREAMS_BLOCKED_UNI, 100),
    FRAME_NEW_CONNECTION_ID: encode_new_connection_id(1, 0, b"ABCDEFGH", bytes(16)),
    FRAME_RETIRE_CONNECTION_ID: encode_retire_connection_id(300),
    FRAME_PATH_CHALLENGE: encode_path(FRAME_PATH_CHALLENGE, b"12345678"),
    FRAME_PATH_RESPONSE: encode_path(FRAME_PATH_RESPONSE, b"12345678"),
    FRAME_CONNECTION_CLOSE: encode_connection_close(0x0A, FRAME_STREAM, b"why"),
    FRAME_APPLICATION_CLOSE: encode_application_close(0x100, b"why"),
    FRAME_HANDSHAKE_DONE: HANDSHAKE_DONE_FRAME,
    FRAME_DATAGRAM: datagram_header(3) + b"abc",
}


def reader(data, level=APPLICATION, *, is_server=False, max_datagram=1200):
    it = FrameReader(is_server=is_server, max_datagram=max_datagram)
    it.begin(data, level)
    return it


def walk(data, level=APPLICATION, **settings):
    """Return the kinds of all frames of a packet."""
    it = reader(data, level, **settings)
    kinds = []
    while it.next():
        kinds.append(it.kind)
    return kinds


def refused(data, level=APPLICATION, **settings):
    """Return the code that a packet is refused with."""
    with pytest.raises(QuicError) as caught:
        walk(data, level, **settings)
    assert caught.value.reason in NAMES.values()
    return caught.value.code


@given(st.lists(st.tuples(frame(), st.integers(0, 3)), min_size=1, max_size=8))
def test_frames_both_ways(drawn):
    data = b"".join(octets + bytes(padding) for (octets, _), padding in drawn)
    it = reader(data)
    for (octets, said), _ in drawn:
        assert it.next()
        for name, value in said.items():
            if name == "in_place":
                assert it.data[it.start : it.start + it.length] == value
            else:
                assert getattr(it, name) == value
        assert it.frame_type == octets[0]
    assert not it.next()
    assert not it.next()


@given(st.binary(min_size=1, max_size=100), st.sampled_from(LEVELS), st.booleans())
def test_garbage_raises_only_the_documented_error(data, level, is_server):
    it = reader(data, level, is_server=is_server)
    try:
        while it.next():
            assert it.at <= len(data)
            assert 0 <= it.start <= it.start + it.length <= len(data)
    except QuicError as error:
        code = error.code
        assert code in (FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION)


@pytest.mark.parametrize("kind", sorted(set(SAMPLES) - {FRAME_PADDING, FRAME_PING, FRAME_HANDSHAKE_DONE}))
def test_rfc9000_12_4_a_frame_that_is_cut_short(kind):
    octets = SAMPLES[kind]
    assert walk(octets) == [kind]
    for end in range(1, len(octets)):
        assert refused(octets[:end]) == FRAME_ENCODING_ERROR


# Table 3 of section 12.4, and DATAGRAM from RFC 9221 section 5; section 12.5 for RETIRE_CONNECTION_ID.
TABLE_3 = {
    "IH01": (FRAME_PADDING, FRAME_PING, FRAME_CONNECTION_CLOSE),
    "IH_1": (FRAME_ACK, FRAME_ACK_ECN, FRAME_CRYPTO),
    "___1": (FRAME_NEW_TOKEN, FRAME_PATH_RESPONSE, FRAME_HANDSHAKE_DONE, FRAME_RETIRE_CONNECTION_ID),
    "__01": (
        FRAME_RESET_STREAM,
        FRAME_STOP_SENDING,
        FRAME_STREAM,
        FRAME_MAX_DATA,
        FRAME_MAX_STREAM_DATA,
        FRAME_MAX_STREAMS_BIDI,
        FRAME_MAX_STREAMS_UNI,
        FRAME_DATA_BLOCKED,
        FRAME_STREAM_DATA_BLOCKED,
        FRAME_STREAMS_BLOCKED_BIDI,
        FRAME_STREAMS_BLOCKED_UNI,
        FRAME_NEW_CONNECTION_ID,
        FRAME_PATH_CHALLENGE,
        FRAME_APPLICATION_CLOSE,
        FRAME_DATAGRAM,
    ),
}


@pytest.mark.parametrize(("packets", "kind"), [(key, kind) for key in TABLE_3 for kind in TABLE_3[key]])
def test_rfc9000_12_4_table_3(packets, kind):
    for letter, level in zip("IH01", (INITIAL, HANDSHAKE, EARLY, APPLICATION), strict=True):
        if letter in packets:
            assert walk(SAMPLES[kind], level) == ([] if kind == FRAME_PADDING else [kind])
        else:
            assert refused(SAMPLES[kind], level) == PROTOCOL_VIOLATION


def test_table_3_names_every_kind():
    assert sorted(kind for kinds in TABLE_3.values() for kind in kinds) == sorted(SAMPLES)
    kinds = {vars(frames)[name] for name in vars(frames) if re.match("FRAME_(?!ENCODING)", name)}
    assert kinds == set(SAMPLES)


@pytest.mark.parametrize("level", LEVELS)
def test_rfc9000_12_4_a_packet_without_frames(level):
    with pytest.raises(QuicError) as caught:
        reader(b"", level)
    assert caught.value.code == PROTOCOL_VIOLATION


@pytest.mark.parametrize("kind", [b"\x1f", b"\x2f", b"\x32", b"\x3f", b"\x40\x40", b"\xff" * 8])
def test_rfc9000_12_4_unknown_types(kind):
    assert refused(b"\x01" + kind + bytes(40)) == FRAME_ENCODING_ERROR


@pytest.mark.parametrize("kind", [b"\x40\x01", b"\x80\x00\x00\x08", b"\xc0" + bytes(6) + b"\x30"])
def test_rfc9000_12_4_a_type_in_a_longer_form_than_it_needs(kind):
    assert refused(kind + bytes(40)) == PROTOCOL_VIOLATION


@pytest.mark.parametrize("kind", [FRAME_NEW_TOKEN, FRAME_HANDSHAKE_DONE])
def test_rfc9000_19_7_19_20_only_servers_send_these(kind):
    assert refused(SAMPLES[kind], is_server=True) == PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("kind", "is_eliciting", "is_probing"),
    [(kind, kind not in (0, 2, 3, 0x1C, 0x1D), kind in (0, 0x18, 0x1A, 0x1B)) for kind in sorted(SAMPLES)],
)
def test_rfc9000_13_2_and_9_1_what_a_packet_asks_for(kind, is_eliciting, is_probing):
    it = reader(b"\0" + SAMPLES[kind] + b"\0\0")
    while it.next():
        pass
    assert (it.is_eliciting, it.is_probing) == (is_eliciting, is_probing)
    it.begin(SAMPLES[FRAME_ACK] + SAMPLES[kind], APPLICATION)
    while it.next():
        pass
    assert (it.is_eliciting, it.is_probing) == (is_eliciting, False)


# ACK


def test_rfc9000_19_3_1_numbers_below_zero():
    assert refused(bytes([2, 3, 0, 0, 4])) == FRAME_ENCODING_ERROR
    assert walk(bytes([2, 3, 0, 0, 3])) == [FRAME_ACK]
    # One range down to 5, then a gap to 3 and one number more: 2 is what is left.
    assert walk(bytes([2, 6, 0, 1, 1, 0, 3])) == [FRAME_ACK]
    assert refused(bytes([2, 6, 0, 1, 1, 0, 4])) == FRAME_ENCODING_ERROR
    assert refused(bytes([2, 6, 0, 1, 1, 4, 0])) == FRAME_ENCODING_ERROR


def test_limit_of_ack_ranges_read_and_one_more():
    for count in (MAX_RANGES_READ, MAX_RANGES_READ + 1):
        flat = [number for number in range(4 * count, 0, -4) for _ in range(2)]
        it = reader(encode_ack(flat, 0, None, 5000) + PING_FRAME)
        assert it.next()
        assert it.ranges == flat[: 2 * MAX_RANGES_READ]
        assert it.next()
        assert it.kind == FRAME_PING


def test_an_ack_that_announces_more_ranges_than_it_has():
    assert refused(b"\x02\x3f\0" + encode_varint(MAX_VARINT) + bytes(20)) == FRAME_ENCODING_ERROR


@given(ranges(), V, st.none() | st.tuples(V, V, V), st.integers(0, 120))
def test_an_ack_takes_no_more_room_than_it_is_given(flat, delay, counts, room):
    octets = encode_ack(flat, delay, counts, room)
    assert len(octets) <= room
    if octets:
        it = reader(octets)
        assert it.next()
        assert it.ranges == flat[: len(it.ranges)]


# STREAM and CRYPTO


@given(V, st.integers(0, MAX_VARINT - 60), CONTENT, st.booleans())
def test_rfc9000_19_8_a_stream_frame_without_a_length_ends_with_its_packet(stream, offset, content, fin):
    header = stream_header(stream, offset, -1, fin=fin)
    assert len(header) == stream_header_size(stream, offset, -1)
    it = reader(PING_FRAME + header + content)
    assert it.next()
    assert it.next()
    assert (it.kind, it.stream, it.offset, it.fin) == (FRAME_STREAM, stream, offset, fin)
    assert it.data[it.start : it.start + it.length] == content
    assert not it.next()


@given(V, V, st.integers(0, 1 << 20), st.booleans())
def test_the_size_of_a_stream_header_is_known_before(stream, offset, length, fin):
    assert stream_header_size(stream, offset, length) == len(stream_header(stream, offset, length, fin=fin))


@pytest.mark.parametrize(
    "header", [lambda at: stream_header(0, at, 1, fin=False), lambda at: crypto_header(at, 1)]
)
def test_rfc9000_19_6_19_8_no_stream_reaches_beyond_62_bits(header):
    assert walk(header(MAX_VARINT - 1) + b"x")
    assert refused(header(MAX_VARINT) + b"x") == FRAME_ENCODING_ERROR


# Others


def test_rfc9000_19_7_an_empty_token():
    assert refused(b"\x07\x00") == FRAME_ENCODING_ERROR


@pytest.mark.parametrize("kind", [0x12, 0x13, 0x16, 0x17])
def test_rfc9000_19_11_19_14_limit_of_stream_counts_and_one_more(kind):
    assert walk(encode_credit(kind, 1 << 60)) == [kind]
    assert refused(encode_credit(kind, (1 << 60) + 1)) == FRAME_ENCODING_ERROR


@pytest.mark.parametrize("size", [0, 21, 255])
def test_rfc9000_19_15_connection_ids_of_no_or_too_many_octets(size):
    octets = encode_new_connection_id(1, 0, bytes(size), bytes(16))
    assert refused(octets) == FRAME_ENCODING_ERROR


def test_rfc9000_19_15_retire_prior_to_above_the_sequence_number():
    assert walk(encode_new_connection_id(7, 7, b"x", bytes(16)))
    assert refused(encode_new_connection_id(7, 8, b"x", bytes(16))) == FRAME_ENCODING_ERROR


def test_limit_of_a_reason_and_one_more():
    for size in (MAX_REASON, MAX_REASON + 1):
        raw = b"\x1d\x00" + encode_varint(size) + b"r" * size
        it = reader(raw + PING_FRAME)
        assert it.next()
        assert it.content == b"r" * MAX_REASON
        assert it.next()
        assert len(encode_application_close(0, b"r" * size)) == 4 + MAX_REASON
        assert len(encode_connection_close(0, 0, b"r" * size)) == 5 + MAX_REASON


# DATAGRAM


def test_rfc9221_3_no_datagram_beyond_what_we_offered():
    octets = datagram_header(3) + b"abc"
    assert walk(octets, max_datagram=5) == [FRAME_DATAGRAM]
    assert refused(octets, max_datagram=4) == PROTOCOL_VIOLATION
    assert refused(octets, max_datagram=0) == PROTOCOL_VIOLATION


def test_rfc9221_4_a_datagram_without_a_length_ends_with_its_packet():
    it = reader(b"\x30abc", max_datagram=4)
    assert it.next()
    assert (it.kind, it.data[it.start :], it.length) == (FRAME_DATAGRAM, b"abc", 3)
    assert refused(b"\x30abc", max_datagram=3) == PROTOCOL_VIOLATION


def test_an_error_names_the_frame_that_was_at_fault():
    with pytest.raises(QuicError) as caught:
        walk(b"\x01" + b"\x0e\x04")
    assert (caught.value.frame_type, caught.value.code) == (0x0E, FRAME_ENCODING_ERROR)
