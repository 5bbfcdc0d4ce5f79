"""Signature schemes (RFC 8446 section 4.2.3): which a key can make, making one, checking one.

RSA only as PSS with the key of an ordinary certificate, ECDSA with the hash that belongs to the curve. PKCS #1 and
SHA-1 are for chains of certificates, where TLS 1.3 still knows them; a CertificateVerify never has them.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

ECDSA_SECP256R1_SHA256: Final = 0x0403
ECDSA_SECP384R1_SHA384: Final = 0x0503
ECDSA_SECP521R1_SHA512: Final = 0x0603
RSA_PSS_RSAE_SHA256: Final = 0x0804
RSA_PSS_RSAE_SHA384: Final = 0x0805
RSA_PSS_RSAE_SHA512: Final = 0x0806
ED25519: Final = 0x0807
ED448: Final = 0x0808

# What we check, in the order in which we would like it.
SCHEMES: Final[tuple[int, ...]] = (
    ECDSA_SECP256R1_SHA256,
    ED25519,
    ECDSA_SECP384R1_SHA384,
    RSA_PSS_RSAE_SHA256,
    RSA_PSS_RSAE_SHA384,
    RSA_PSS_RSAE_SHA512,
    ECDSA_SECP521R1_SHA512,
    ED448,
)
# RSA certificates signed with PKCS #1 are most of the web: what we accept within a chain, said beside `SCHEMES`.
CHAIN_SCHEMES: Final[tuple[int, ...]] = (0x0401, 0x0501, 0x0601)

SigningKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

_HASHES: Final[dict[int, Hash]] = {
    ECDSA_SECP256R1_SHA256: hashes.SHA256(),
    ECDSA_SECP384R1_SHA384: hashes.SHA384(),
    ECDSA_SECP521R1_SHA512: hashes.SHA512(),
    RSA_PSS_RSAE_SHA256: hashes.SHA256(),
    RSA_PSS_RSAE_SHA384: hashes.SHA384(),
    RSA_PSS_RSAE_SHA512: hashes.SHA512(),
}
_RSA_SCHEMES: Final = (RSA_PSS_RSAE_SHA256, RSA_PSS_RSAE_SHA384, RSA_PSS_RSAE_SHA512)
_CURVE_SCHEMES: Final[dict[str, int]] = {
    "secp256r1": ECDSA_SECP256R1_SHA256,
    "secp384r1": ECDSA_SECP384R1_SHA384,
    "secp521r1": ECDSA_SECP521R1_SHA512,
}


def schemes_of(key: SigningKey | PublicKey) -> tuple[int, ...]:
    """Return the schemes that go with a key, the cheapest first; none for a curve that TLS 1.3 does not sign with."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return _RSA_SCHEMES
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        scheme = _CURVE_SCHEMES.get(key.curve.name)
        return (scheme,) if scheme is not None else ()
    return (ED25519,) if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey) else (ED448,)


def sign(key: SigningKey, scheme: int, content: bytes) -> bytes:
    """Sign with one of the key's schemes."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, _pss(scheme), _HASHES[scheme])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(_HASHES[scheme]))
    return key.sign(content)


def is_signed(key: PublicKey, scheme: int, signature: bytes, content: bytes) -> bool:
    """Check a signature made with one of the key's schemes."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, _pss(scheme), _HASHES[scheme])
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(_HASHES[scheme]))
        else:
            key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _pss(scheme: int) -> padding.PSS:
    # The salt is as long as the hash (section 4.2.3).
    return padding.PSS(mgf=padding.MGF1(_HASHES[scheme]), salt_length=_HASHES[scheme].digest_size)
