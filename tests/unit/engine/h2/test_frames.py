import pytest

from headgate.engine.h2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR, H2ConnectionError
from headgate.engine.h2.frames import (
    FLAG_PADDED,
    FLAG_PRIORITY,
    HEADERS,
    decode_number,
    encode_frame,
    encode_head,
    fragment_of,
)


def test_rfc9113_4_1_the_head_of_a_frame():
    assert encode_head(0x10, 0x29, 0x7FFFFFFF, 0xABCDEF) == bytes.fromhex("abcdef 10 29 7fffffff")
    assert encode_frame(HEADERS, 4, 1, b"ab") == bytes.fromhex("000002 01 04 00000001") + b"ab"


def test_numbers():
    assert decode_number(b"\0\x80\1\2\3", 1) == 0x80010203


def fragment(flags, payload):
    return fragment_of(b"head" + payload + b"tail", 4, 4 + len(payload), flags)


def test_rfc9113_6_2_padding_and_priority_are_taken_off():
    assert fragment(0, b"abc") == b"abc"
    assert fragment(0, b"") == b""
    assert fragment(FLAG_PADDED, b"\2abc\0\0") == b"abc"
    assert fragment(FLAG_PADDED, b"\3\0\0\0") == b""
    assert fragment(FLAG_PRIORITY, b"\0\0\0\0\0abc") == b"abc"
    assert fragment(FLAG_PADDED | FLAG_PRIORITY, b"\1\0\0\0\0\0a\0") == b"a"


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [
        (FLAG_PADDED, b"", FRAME_SIZE_ERROR),
        (FLAG_PADDED, b"\3\0\0", PROTOCOL_ERROR),
        (FLAG_PRIORITY, b"\0\0\0\0", FRAME_SIZE_ERROR),
        (FLAG_PADDED | FLAG_PRIORITY, b"\1\0\0\0\0\0", PROTOCOL_ERROR),
    ],
)
def test_rfc9113_6_2_payloads_that_are_too_short(flags, payload, code):
    with pytest.raises(H2ConnectionError) as caught:
        fragment(flags, payload)
    assert caught.value.code == code
