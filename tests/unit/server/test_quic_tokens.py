"""Tokens that were shown already."""

import random

from headgate.engine.quic.retry import NEW_TOKEN_SECONDS
from headgate.server.quic_tokens import MAX_SEEN, SeenTokens

NONCE = b"twelve bytes"


def test_rfc9000_8_1_4_a_token_is_good_once():
    seen = SeenTokens()
    assert seen.use(NONCE, 0.0)
    assert not seen.use(NONCE, 0.0)
    assert seen.use(b"TWELVE BYTES", 0.0)


def test_a_token_is_remembered_for_as_long_as_it_lives():
    seen = SeenTokens()
    assert seen.use(NONCE, 0.0)
    assert seen.use(b"another nonc", NEW_TOKEN_SECONDS)
    assert not seen.use(NONCE, NEW_TOKEN_SECONDS)


def test_nothing_is_held_before_the_first_and_no_more_than_a_mebibyte_after_many():
    seen = SeenTokens()
    assert len(seen._new) == 0
    nonces = random.Random(1)
    mistaken = 0
    for _ in range(MAX_SEEN + MAX_SEEN // 500):
        mistaken += not seen.use(nonces.randbytes(12), 1.0)
    assert len(seen._new) + len(seen._old) == 1 << 20
    assert seen._count < MAX_SEEN // 100
    assert mistaken < MAX_SEEN / 1000
