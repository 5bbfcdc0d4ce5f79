"""Key exchange: X25519, P-256, P-384 (RFC 8446 section 4.2.8) and X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem).

The hybrid sends the ML-KEM part first, then X25519, and the shared secret is both in that order. ML-KEM came to
`cryptography` after the oldest version that Headgate runs with: without it `GROUPS` just lacks the hybrid. This file
is the one place that knows.
"""

from typing import Final, Protocol, final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from headgate.engine.tls13.alerts import ILLEGAL_PARAMETER, TlsAlertError, refusal

try:
    from cryptography.hazmat.primitives.asymmetric import mlkem

    mlkem.MLKEM768PrivateKey.generate()
    HAS_MLKEM = True
except (ImportError, UnsupportedAlgorithm):
    HAS_MLKEM = False

SECP256R1: Final = 0x0017
SECP384R1: Final = 0x0018
X25519: Final = 0x001D
X25519MLKEM768: Final = 0x11EC

_CLASSICAL: Final = (X25519, SECP256R1, SECP384R1)
# What can be done here, in the order of preference.
GROUPS: Final[tuple[int, ...]] = (X25519MLKEM768, *_CLASSICAL) if HAS_MLKEM else _CLASSICAL
# What a later quantum computer cannot read: worth another round trip.
POST_QUANTUM: Final = frozenset([X25519MLKEM768])
# One share of each is sent by our client: servers know one of them, and a HelloRetryRequest costs a round trip.
DEFAULT_SHARES: Final[tuple[int, ...]] = GROUPS[:2] if HAS_MLKEM else GROUPS[:1]

_CURVES: Final[dict[int, ec.EllipticCurve]] = {SECP256R1: ec.SECP256R1(), SECP384R1: ec.SECP384R1()}
_POINT_SIZES: Final[dict[int, int]] = {SECP256R1: 65, SECP384R1: 97}
_X25519_SIZE: Final = 32
_ENCAPSULATION_KEY_SIZE: Final = 1184
_CIPHERTEXT_SIZE: Final = 1088
_UNCOMPRESSED: Final = 4


class KeyShare(Protocol):
    """One side's half of a key exchange: `public` goes on the wire."""

    public: bytes

    def shared(self, peer: bytes) -> bytes:
        """Return the shared secret. Raises `TlsAlertError` when the peer's value is none (section 7.4)."""


@final
class _Montgomery:
    def __init__(self) -> None:
        self._key = x25519.X25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        try:
            return self._key.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:  # the wrong length, or a point of low order
            raise _bad_share(X25519) from error


@final
class _Weierstrass:
    def __init__(self, group: int) -> None:
        self._group = group
        self._key = ec.generate_private_key(_CURVES[group])
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def shared(self, peer: bytes) -> bytes:
        if len(peer) != _POINT_SIZES[self._group] or peer[0] != _UNCOMPRESSED:
            raise _bad_share(self._group)
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[self._group], peer)
        except ValueError as error:
            raise _bad_share(self._group) from error
        return self._key.exchange(ec.ECDH(), point)


@final
class _Hybrid:
    """The client's half; a server answers with `answer_share`."""

    def __init__(self) -> None:
        self._classical = _Montgomery()
        self._key = mlkem.MLKEM768PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw() + self._classical.public

    def shared(self, peer: bytes) -> bytes:
        if len(peer) != _CIPHERTEXT_SIZE + _X25519_SIZE:
            raise _bad_share(X25519MLKEM768)
        secret = self._key.decapsulate(peer[:_CIPHERTEXT_SIZE])
        return secret + self._classical.shared(peer[_CIPHERTEXT_SIZE:])


def new_share(group: int) -> KeyShare:
    """Make a key pair of one of `GROUPS`."""
    if group == X25519:
        return _Montgomery()
    return _Weierstrass(group) if group in _CURVES else _Hybrid()


def answer_share(group: int, peer: bytes) -> tuple[bytes, bytes]:
    """Answer a client's public value: return (what goes on the wire, the shared secret). Raises `TlsAlertError`."""
    if group != X25519MLKEM768:
        share = new_share(group)
        return share.public, share.shared(peer)
    if len(peer) != _ENCAPSULATION_KEY_SIZE + _X25519_SIZE:
        raise _bad_share(group)
    classical = _Montgomery()
    shared = classical.shared(peer[_ENCAPSULATION_KEY_SIZE:])
    try:
        key = mlkem.MLKEM768PublicKey.from_public_bytes(peer[:_ENCAPSULATION_KEY_SIZE])
    except ValueError as error:
        raise _bad_share(group) from error
    secret, ciphertext = key.encapsulate()
    return ciphertext + classical.public, secret + shared


def _bad_share(group: int) -> TlsAlertError:
    return refusal(ILLEGAL_PARAMETER, f"the key share is no public value of group {group:#06x}")
