"""Variable-length integers against the examples of RFC 9000, and both ways against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.varint import MAX_VARINT, decode_varint, encode_varint, length_of_varint, size_of_varint

EXAMPLES = (
    ("c2197c5eff14e88c", 151_288_809_941_952_652),
    ("9d7f3e7d", 494_878_333),
    ("7bbd", 15_293),
    ("25", 37),
)


@pytest.mark.parametrize(("octets", "value"), EXAMPLES)
def test_rfc9000_a_1_examples(octets, value):
    data = bytes.fromhex(octets)
    assert decode_varint(data, 0) == value
    assert encode_varint(value) == data
    assert length_of_varint(data[0]) == size_of_varint(value) == len(data)


def test_rfc9000_a_1_a_longer_form_is_read_too():
    assert decode_varint(bytes.fromhex("4025"), 0) == 37


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), (2**30 - 1, 4), (2**30, 8), (MAX_VARINT, 8)],
)
def test_rfc9000_16_table_4_borders(value, size):
    octets = encode_varint(value)
    assert len(octets) == size_of_varint(value) == length_of_varint(octets[0]) == size
    assert decode_varint(octets, 0) == value


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_what_cannot_be_written_is_refused(value):
    with pytest.raises(ValueError, match=str(value)):
        encode_varint(value)
    with pytest.raises(ValueError, match=str(value)):
        size_of_varint(value)


@given(st.integers(0, MAX_VARINT), st.binary(max_size=9), st.binary(max_size=9))
def test_any_value_at_any_place(value, before, behind):
    octets = encode_varint(value)
    data = before + octets + behind
    assert decode_varint(data, len(before)) == value
    assert length_of_varint(data[len(before)]) == len(octets)


@given(st.integers(0, MAX_VARINT))
def test_missing_octets_are_told(value):
    octets = encode_varint(value)
    for end in range(len(octets)):
        with pytest.raises(IndexError):
            decode_varint(octets[:end], 0)
