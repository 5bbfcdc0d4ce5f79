"""CRYPTO data in any order: what goes up, and how little of it can be made to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic import errors
from headgate.engine.quic.crypto_buffer import (
    MAX_CRYPTO_AHEAD,
    MAX_CRYPTO_REPEATS,
    MAX_CRYPTO_TOTAL,
    CryptoBuffer,
)
from headgate.engine.quic.errors import QuicError

HELLO = bytes((n * 31 + n // 256) % 256 for n in range(300))


def test_in_order_it_goes_up_as_it_came():
    buffer = CryptoBuffer()
    assert buffer.receive(0, HELLO) is HELLO
    view = memoryview(HELLO)
    assert buffer.receive(300, view) is view
    assert buffer.receive(100, HELLO) == b""
    assert repr(buffer) == "<CryptoBuffer 600 read, 0 waiting>"


def test_each_octet_counts_once():
    buffer = CryptoBuffer()
    buffer.receive(10, HELLO[10:20])
    buffer.receive(12, HELLO[12:22])
    assert (buffer.received, buffer.position) == (12, 0)
    buffer.receive(0, HELLO[:5])
    assert (buffer.received, buffer.position) == (17, 5)
    buffer.receive(0, HELLO[:10])
    assert buffer.received == buffer.position == 22


@given(
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 60)), max_size=60),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_any_split_order_and_repetition_means_the_same(pieces, random, is_view):
    spans = [(start, min(300, start + length)) for start, length in pieces]
    spans += [(start, min(300, start + 37)) for start in range(0, 300, 37)]  # nothing is missing in the end
    random.shuffle(spans)
    buffer, got = CryptoBuffer(), b""
    for start, end in spans:
        data = HELLO[start:end]
        got += bytes(buffer.receive(start, memoryview(data) if is_view else data))
        assert got == HELLO[: buffer.position]
        assert len(buffer._flat) == int.from_bytes(buffer._bits, "little").bit_length()
        assert len(buffer._bits) == (len(buffer._flat) + 7) // 8
    assert got == HELLO
    assert not buffer._flat
    assert not buffer._bits


def test_rfc9000_7_5_a_hello_in_single_octets_backwards():
    buffer = CryptoBuffer()
    hello = HELLO * 60
    for offset in range(MAX_CRYPTO_AHEAD - 1, 0, -1):
        assert buffer.receive(offset, hello[offset : offset + 1]) == b""
    assert buffer.receive(0, hello[:1]) == hello[:MAX_CRYPTO_AHEAD]
    assert not buffer._flat


def test_rfc9000_7_5_ahead_at_the_limit_and_one_more():
    buffer = CryptoBuffer()
    assert buffer.receive(MAX_CRYPTO_AHEAD - 1, b"x") == b""
    held = len(buffer._flat) + len(buffer._bits)
    assert held < 19 * 1024
    with pytest.raises(QuicError) as caught:
        buffer.receive(MAX_CRYPTO_AHEAD, b"x")
    assert caught.value.code == errors.CRYPTO_BUFFER_EXCEEDED
    assert len(buffer._flat) + len(buffer._bits) == held
    assert buffer.receive(0, b"y") == b"y"
    assert buffer.receive(MAX_CRYPTO_AHEAD, b"x") == b""


@pytest.mark.parametrize("total", [0, 100, MAX_CRYPTO_TOTAL])
def test_rfc9000_7_5_all_of_a_level_at_the_limit_and_one_more(total):
    buffer = CryptoBuffer(total)
    for offset in range(0, total, 1000):
        size = min(1000, total - offset)
        assert len(buffer.receive(offset, bytes(size))) == size
    assert buffer.receive(total, b"") == b""
    for offset, data in ((total, b"x"), (0, bytes(total + 1)), ((1 << 62) - 2, b"x")):
        with pytest.raises(QuicError) as caught:
            buffer.receive(offset, data)
        assert caught.value.code == errors.CRYPTO_BUFFER_EXCEEDED
        assert caught.value.frame_type == 0x06


@pytest.mark.parametrize("start", [0, 5, 10, 12])
def test_octets_that_wait_must_not_change(start):
    buffer = CryptoBuffer()
    buffer.receive(10, HELLO[10:20])
    buffer.receive(30, HELLO[30:40])
    wrong = bytearray(HELLO[:60])
    wrong[15] ^= 0x80
    with pytest.raises(QuicError, match="differs") as caught:
        buffer.receive(start, bytes(wrong[start:]))
    assert caught.value.code == errors.PROTOCOL_VIOLATION
    gap = bytearray(HELLO[:60])
    gap[25] ^= 0x80  # never seen before: nothing to compare with
    assert buffer.receive(0, bytes(gap)) == bytes(gap)


def nothing(buffer, kind):
    """Let a piece come that brings nothing new."""
    offset, data = {"read": (3, HELLO[3:9]), "waits": (501, b"yz")}[kind]
    assert buffer.receive(offset, data) == b""


@pytest.mark.parametrize("kind", ["read", "waits"])
def test_rfc9000_21_9_pieces_that_bring_nothing_at_the_limit_and_one_more(kind):
    buffer = CryptoBuffer()
    buffer.receive(0, HELLO)
    buffer.receive(500, b"xyz!")
    for _ in range(MAX_CRYPTO_REPEATS + 2 * 3):  # the two that brought something allow three more each
        nothing(buffer, kind)
    with pytest.raises(QuicError, match="nothing new") as caught:
        nothing(buffer, kind)
    assert caught.value.code == errors.PROTOCOL_VIOLATION
    assert caught.value.frame_type == 0x06


@pytest.mark.parametrize("order", [1, -1])
def test_rfc9000_7_5_a_hello_of_16_kib_in_single_octets_four_times_over(order):
    buffer, got = CryptoBuffer(), b""
    hello = (HELLO * 60)[:MAX_CRYPTO_AHEAD]
    for offset in range(MAX_CRYPTO_AHEAD)[::order]:
        for _ in range(4):
            got += buffer.receive(offset, hello[offset : offset + 1])
    assert got == hello


def test_a_piece_far_ahead_touches_no_more_than_itself():
    buffer = CryptoBuffer()
    buffer.receive(MAX_CRYPTO_AHEAD - 1, b"x")
    flat, bits = bytes(buffer._flat), bytes(buffer._bits)
    buffer.receive(8000, b"ab")
    assert bytes(buffer._flat) == flat[:8000] + b"ab" + flat[8002:]
    assert bytes(buffer._bits) == bits[:1000] + b"\x03" + bits[1001:]
    assert repr(buffer) == "<CryptoBuffer 0 read, 3 waiting>"
