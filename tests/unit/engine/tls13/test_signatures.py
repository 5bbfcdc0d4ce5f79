"""Signatures: each key makes and checks those that go with it, and no other."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from headgate.engine.tls13.signatures import SCHEMES, is_signed, schemes_of, sign

KEYS = {
    "p256": (ec.generate_private_key(ec.SECP256R1()), (0x0403,)),
    "p384": (ec.generate_private_key(ec.SECP384R1()), (0x0503,)),
    "p521": (ec.generate_private_key(ec.SECP521R1()), (0x0603,)),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), (0x0807,)),
    "ed448": (ed448.Ed448PrivateKey.generate(), (0x0808,)),
    "rsa": (rsa.generate_private_key(65537, 2048), (0x0804, 0x0805, 0x0806)),
}


@pytest.mark.parametrize("kind", KEYS)
def test_what_a_key_signs_its_public_key_checks(kind):
    key, schemes = KEYS[kind]
    public = key.public_key()
    assert schemes_of(key) == schemes_of(public) == schemes
    for scheme in schemes:
        signature = sign(key, scheme, b"content")
        assert is_signed(public, scheme, signature, b"content")
        assert not is_signed(public, scheme, signature, b"other content")
        assert not is_signed(public, scheme, signature[:-1], b"content")


def test_every_scheme_that_we_take_goes_with_some_key():
    assert {scheme for _, schemes in KEYS.values() for scheme in schemes} == set(SCHEMES)


def test_an_rsa_signature_has_the_salt_of_its_hash():
    key, _ = KEYS["rsa"]
    assert not is_signed(key.public_key(), 0x0805, sign(key, 0x0804, b"content"), b"content")


def test_curves_that_tls_1_3_does_not_sign_with_have_no_scheme():
    assert schemes_of(ec.generate_private_key(ec.SECP224R1())) == ()
