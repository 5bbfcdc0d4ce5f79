"""Retry packets against the vectors of RFC 9001 A.4 and RFC 9369 A.4, and tokens against who did not get them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.quic.errors import INVALID_TOKEN, QuicError
from headgate.engine.quic.packet import RETRY, VERSION_1, VERSION_2, parse_long_header
from headgate.engine.quic.retry import (
    FROM_NEW_TOKEN,
    FROM_RETRY,
    NEW_TOKEN_SECONDS,
    RETRY_SECONDS,
    TokenKeys,
    encode_retry,
    is_genuine_retry,
)

ORIGINAL = bytes.fromhex("8394c8f03e515708")
CHOSEN = bytes.fromhex("f067a5502a4262b5")
VECTORS = {
    VERSION_1: "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba",
    VERSION_2: "cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6",
}
HERE = b"\xc0\x00\x02\x01"
NOW = 1_800_000_000.0


def counting():
    """Random octets that never repeat, as far as these tests go."""
    drawn = iter(range(1 << 30))
    return lambda count: next(drawn).to_bytes(count, "big")


def retry_token(keys, now=NOW, address=HERE, port=4433):
    return keys.seal_retry(address, port, ORIGINAL, CHOSEN, now, counting())


@pytest.mark.parametrize("version", VECTORS)
def test_rfc9001_a_4_rfc9369_a_4_retry(version):
    packet = encode_retry(version, b"", CHOSEN, ORIGINAL, b"token", 0xFF)
    assert packet.hex() == VECTORS[version]
    assert is_genuine_retry(version, ORIGINAL, packet)
    parsed = parse_long_header(packet, 0, len(packet))
    assert (parsed.kind, parsed.token, parsed.source) == (RETRY, b"token", CHOSEN)


@given(st.sampled_from(sorted(VECTORS)), st.integers(0, 36 * 8 - 1))
def test_rfc9001_5_8_a_retry_that_was_changed_or_answers_another(version, bit):
    packet = bytearray.fromhex(VECTORS[version])
    assert not is_genuine_retry(version, CHOSEN, bytes(packet))
    packet[bit // 8] ^= 1 << bit % 8
    assert not is_genuine_retry(version, ORIGINAL, bytes(packet))


def test_a_retry_token_says_where_the_client_wanted_to_go_first():
    keys = TokenKeys(b"m" * 32)
    opened = keys.open(retry_token(keys), HERE, 4433, CHOSEN, NOW + 1)
    assert (opened.kind, opened.original_destination) == (FROM_RETRY, ORIGINAL)


@pytest.mark.parametrize(
    ("address", "port", "destination"),
    [
        (b"\xc0\x00\x02\x02", 4433, CHOSEN),
        (HERE + bytes(12), 4433, CHOSEN),
        (HERE, 4434, CHOSEN),
        (HERE, 4433, ORIGINAL),
        (HERE, 4433, CHOSEN + b"x"),
    ],
)
def test_rfc9000_8_1_2_a_retry_token_of_somebody_else(address, port, destination):
    keys = TokenKeys(b"m" * 32)
    with pytest.raises(QuicError) as caught:
        keys.open(retry_token(keys), address, port, destination, NOW)
    assert caught.value.code == INVALID_TOKEN


@pytest.mark.parametrize("issued", [NOW, NOW // 3600 * 3600 - 0.5])
def test_rfc9000_8_1_3_a_retry_token_lives_for_seconds(issued):
    """At any time of the hour: the second one is issued right before the key changes."""
    keys = TokenKeys(b"m" * 32)
    token = retry_token(keys, issued)
    assert keys.open(token, HERE, 4433, CHOSEN, issued + RETRY_SECONDS) is not None
    # A machine whose clock is a little behind.
    assert keys.open(token, HERE, 4433, CHOSEN, issued - 4) is not None
    for now in (issued + RETRY_SECONDS + 0.01, issued + 4000, issued + 256 * 3600, issued - 10):
        with pytest.raises(QuicError) as caught:
            keys.open(token, HERE, 4433, CHOSEN, now)
        assert caught.value.code == INVALID_TOKEN


@pytest.mark.parametrize("issued", [NOW, NOW // 3600 * 3600 - 0.5])
def test_rfc9000_8_1_3_a_new_token_lives_for_a_day_and_for_any_port(issued):
    keys = TokenKeys(b"m" * 32)
    token = keys.seal_new_token(HERE, issued, counting())
    for hours in range(25):
        opened = keys.open(token, HERE, hours, b"any", issued + 3600 * min(hours, 23.99))
        assert (opened.kind, opened.original_destination) == (FROM_NEW_TOKEN, b"")
    assert keys.open(token, HERE, 1, b"any", issued + NEW_TOKEN_SECONDS) is not None
    for now in (issued + NEW_TOKEN_SECONDS + 0.01, issued + 256 * 3600, issued - 3600):
        assert keys.open(token, HERE, 1, b"any", now) is None
    # One that was not given to this address counts as none: the client gets a Retry, if need be.
    assert keys.open(token, b"\xc0\x00\x02\x02", 1, b"any", issued) is None


def test_a_token_is_told_by_its_nonce_when_it_comes_twice():
    keys, random = TokenKeys(b"m" * 32), counting()
    one, two = (keys.seal_new_token(HERE, NOW, random) for _ in range(2))
    assert one != two
    opened = [keys.open(token, HERE, 1, b"", NOW).nonce for token in (one, two, one)]
    assert opened[0] == opened[2] != opened[1]


def test_workers_share_tokens_by_their_master_alone():
    token = retry_token(TokenKeys(b"m" * 32))
    assert TokenKeys(b"m" * 32).open(token, HERE, 4433, CHOSEN, NOW).original_destination == ORIGINAL
    with pytest.raises(QuicError):
        TokenKeys(b"n" * 32).open(token, HERE, 4433, CHOSEN, NOW)


@given(st.binary(max_size=80), st.data())
@settings(deadline=None)
def test_garbage_and_changed_tokens(garbage, data):
    keys = TokenKeys(b"m" * 32)
    token = bytearray(retry_token(keys))
    assert len(token) == 46
    at = data.draw(st.integers(0, len(token) - 1))
    token[at] ^= data.draw(st.integers(1, 255))
    for wrong in (garbage, bytes(token), bytes(token[:at])):
        try:
            assert keys.open(wrong, HERE, 4433, CHOSEN, NOW) is None
        except QuicError as error:
            code = error.code
            assert code == INVALID_TOKEN
            assert wrong[0] == FROM_RETRY
