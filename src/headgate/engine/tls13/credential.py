"""A credential: an identity made ready for handshakes, its chain in DER and its key loaded, once.

It does not copy the staple. It asks the rule that TCP asks, about the identity itself, at each handshake: both read
one attribute and compare it with the wall clock of the moment (invariants W1 and W2).
"""

import functools
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from headgate.counters import STAPLE_OFF
from headgate.engine.tls13.compression import ZLIB
from headgate.engine.tls13.messages import encode_certificate, encode_compressed_certificate, encode_entry
from headgate.engine.tls13.signatures import SigningKey, schemes_of, sign
from headgate.errors import LocalProtocolError

# What becomes of a staple now: the counter of the outcome, and the DER or b"".
StapleRule = Callable[[float], tuple[int, bytes]]


class HandshakeIdentity(Protocol):
    """What a handshake needs of an identity; `headgate.tls.identity.Identity` has it."""

    @property
    def name(self) -> str:
        """The name to use when something is wrong with it."""

    @property
    def chain_pem(self) -> bytes:
        """The certificates, leaf first."""

    @property
    def key_pem(self) -> bytes:
        """The leaf's private key, unencrypted."""


_Identity = TypeVar("_Identity", bound=HandshakeIdentity)


@final
class Credential:
    """A chain with its key. Made by `load`; immutable and shared by all handshakes of a worker.

    `schemes` are the signatures that the key can make. What was compressed last is kept: a staple changes seldom.
    """

    __slots__ = ("_compressed", "_key", "_leaf", "_others", "_rule", "name", "schemes")

    def __init__(self, name: str, chain: tuple[bytes, ...], key: SigningKey, rule: StapleRule) -> None:
        self.name: Final = name
        self.schemes: Final = schemes_of(key)
        self._leaf = chain[0]
        self._others = b"".join(encode_entry(certificate) for certificate in chain[1:])
        self._key = key
        self._rule = rule
        self._compressed = (b"", b"")  # the staple in it, and the message; b"": none yet

    def __repr__(self) -> str:
        return f"<Credential {self.name}>"

    def scheme_for(self, offered: tuple[int, ...]) -> int:
        """Return the signature scheme for a peer that takes `offered`, 0 when there is none."""
        for scheme in self.schemes:
            if scheme in offered:
                return scheme
        return 0

    def sign(self, scheme: int, content: bytes) -> bytes:
        """Sign with one of `schemes`."""
        return sign(self._key, scheme, content)

    def staple(self, wall: float) -> tuple[int, bytes]:
        """Return what a peer that asked for a staple gets now: the counter of the outcome, and the DER or b""."""
        return self._rule(wall)

    def entries(self, staple: bytes) -> bytes:
        """Return the entries of a Certificate message, the leaf's with `staple` if there is one."""
        return encode_entry(self._leaf, staple) + self._others

    def message(self, staple: bytes, compressions: tuple[int, ...]) -> bytes:
        """Return the Certificate message for a peer that takes it in these `compressions`."""
        if ZLIB not in compressions:
            return encode_certificate(self.entries(staple))
        held, message = self._compressed
        if not message or held != staple:
            plain = encode_certificate(self.entries(staple))
            message = encode_compressed_certificate(ZLIB, plain)
            if len(message) >= len(plain):
                message = plain
            self._compressed = (staple, message)
        return message


def load(
    identity: _Identity, rule: Callable[[_Identity, float], tuple[int, bytes]] | None = None
) -> Credential:
    """Make a credential of an identity, whose staple `rule` decides on at each handshake; none: no staple ever.

    Costs up to a millisecond, so whoever selects identities keeps it. Raises `LocalProtocolError` when chain or key
    cannot be used: an identity was checked when it was made.
    """
    try:
        certificates = x509.load_pem_x509_certificates(identity.chain_pem)
        key = serialization.load_pem_private_key(identity.key_pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise LocalProtocolError(f"{identity.name} cannot be used in a handshake: {error}") from error
    if not isinstance(
        key,
        rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey,
    ):
        raise LocalProtocolError(f"{identity.name} has a private key that TLS 1.3 does not sign with")
    if certificates[0].public_key() != key.public_key():
        raise LocalProtocolError(f"{identity.name} has a private key that is not its certificate's")
    chain = tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates)
    return Credential(
        identity.name, chain, key, functools.partial(rule, identity) if rule is not None else _no_staple
    )


def _no_staple(wall: float) -> tuple[int, bytes]:
    return STAPLE_OFF, b""
