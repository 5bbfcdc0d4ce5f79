"""Numbers and vectors of TLS (RFC 8446 section 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.tls13.alerts import DECODE_ERROR, TlsAlertError
from headgate.engine.tls13.wire import Reader, number_list, numbers, vector


@given(st.binary(max_size=300), st.sampled_from([2, 3]))
def test_a_vector_is_read_as_it_was_written(data, size):
    reader = Reader(vector(size, data))
    assert reader.vector(size) == data
    reader.finish()


@given(st.lists(st.integers(0, 0xFFFF)).map(tuple))
def test_numbers_are_read_as_they_were_written(values):
    assert numbers(number_list(values)) == values


@pytest.mark.parametrize(
    "read",
    [
        lambda: Reader(b"\x05abcd").vector(1),
        lambda: Reader(b"\0").number(2),
        lambda: Reader(b"").take(1),
        lambda: Reader(b"\x01a").vector(1, 2),
        lambda: Reader(b"a").finish(),
        lambda: numbers(b"abc"),
    ],
)
def test_what_ends_early_or_late_is_a_decode_error(read):
    with pytest.raises(TlsAlertError) as caught:
        read()
    assert caught.value.alert == DECODE_ERROR
