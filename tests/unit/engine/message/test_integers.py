import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.message.integers import (
    MAX_INTEGER,
    CodingError,
    decode_integer,
    decode_string,
    encode_integer,
    encode_string,
)


@pytest.mark.parametrize(
    ("value", "bits", "code"),
    [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (31, 5, "1f00"), (0, 3, "00")],
)
def test_rfc7541_appendix_c_1(value, bits, code):
    assert encode_integer(value, bits).hex() == code
    assert decode_integer(bytes.fromhex(code), 0, bits) == (value, len(code) // 2)


@given(st.integers(0, MAX_INTEGER), st.integers(3, 8), st.binary(max_size=3))
def test_integers_survive(value, bits, before):
    data = before + encode_integer(value, bits, 0xFF << bits & 0xFF)
    assert decode_integer(data, len(before), bits) == (value, len(data))
    assert data[len(before)] >> bits == 0xFF >> bits


def test_rfc9204_4_1_1_62_bits_and_one_more():
    data = encode_integer(MAX_INTEGER, 6)
    assert decode_integer(data, 0, 6) == (MAX_INTEGER, len(data))
    with pytest.raises(CodingError):
        decode_integer(encode_integer(MAX_INTEGER + 1, 6), 0, 6)


def test_an_integer_of_endless_zeros_is_refused():
    assert decode_integer(b"\x1f" + b"\x80" * 8 + b"\0", 0, 5)[0] == 31
    with pytest.raises(CodingError):
        decode_integer(b"\x1f" + b"\x80" * 9 + b"\0", 0, 5)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\x1f\x80", b"\x1f\xff\xff"])
def test_what_is_missing_is_an_index_error(data):
    with pytest.raises(IndexError):
        decode_integer(data, 0, 5)


@given(st.binary(max_size=200), st.integers(4, 8))
def test_strings_survive(text, bits):
    data = encode_string(text, bits)
    assert len(data) <= len(text) + 4
    assert decode_string(data, 0, bits, 300) == (text, len(data))
    for cut in range(len(data)):
        with pytest.raises(IndexError):
            decode_string(data[:cut], 0, bits, 300)


def test_a_string_that_is_too_long_is_refused_before_it_is_there():
    assert decode_string(b"\x05hello", 0, 8, 5) == (b"hello", 6)
    with pytest.raises(CodingError):
        decode_string(b"\x06", 0, 8, 5)


def test_a_wrong_huffman_code_is_no_string():
    with pytest.raises(CodingError, match="EOS"):
        decode_string(b"\x84\xff\xff\xff\xff", 0, 8, 10)
