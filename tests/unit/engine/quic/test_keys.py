"""Keys of packets: nonces of all numbers, ciphers that come and go. The vectors of the RFCs are in test_protect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.keys import HeaderMask, PacketKey
from headgate.engine.tls13.suites import SUITES, TLS_AES_128_GCM_SHA256


@given(st.binary(min_size=12, max_size=12), st.integers(0, (1 << 62) - 1))
def test_rfc9001_5_3_nonces_of_all_numbers(iv, number):
    key = PacketKey(TLS_AES_128_GCM_SHA256, bytes(16), iv)
    assert int.from_bytes(key.nonce(number), "big") == int.from_bytes(iv, "big") ^ number


@pytest.mark.parametrize("suite", SUITES)
def test_a_cipher_is_kept_until_it_rests_and_is_the_same_afterwards(suite):
    key = PacketKey(suite, bytes(16 if suite == TLS_AES_128_GCM_SHA256 else 32), bytes(12))
    assert "at rest" in repr(key)
    first = key.aead()
    assert key.aead() is first
    sealed = first.encrypt(key.nonce(1), b"content", b"header")
    key.rest()
    assert "at rest" in repr(key)
    again = key.aead()
    assert again is not first
    assert again.decrypt(key.nonce(1), sealed, b"header") == b"content"


@pytest.mark.parametrize("suite", SUITES)
def test_masks_are_the_same_before_and_after_a_rest(suite):
    mask = HeaderMask(suite, bytes(range(16 if suite == TLS_AES_128_GCM_SHA256 else 32)))
    samples = bytes(range(32))
    before = mask.masks(samples)
    assert before[:16] != before[16:]
    mask.rest()
    assert mask.masks(samples) == before
