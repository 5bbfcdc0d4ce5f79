"""The public key of a peer's certificate (RFC 5280 section 4.1), and nothing else of it.

Who the peer is, and whether to believe it, is asked of `verify` with the whole chain. Before that only the key is
needed, so the certificate is walked to its subjectPublicKeyInfo: parsing all of it costs more, and warns on the
standard error stream about oddities that any peer may send.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from headgate.engine.tls13.alerts import BAD_CERTIFICATE, UNSUPPORTED_CERTIFICATE, TlsAlertError, refusal
from headgate.engine.tls13.signatures import PublicKey

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_LENGTH_OCTETS: Final = 3  # of a length: a message is no longer than that


def public_key_of(certificate: bytes) -> PublicKey:
    """Return the key of a certificate in DER.

    Raises `TlsAlertError`: bad_certificate when it cannot be read, unsupported_certificate for a key that signs
    nothing in TLS 1.3.
    """
    try:
        key = serialization.load_der_public_key(_key_info(certificate))
    except (ValueError, IndexError) as error:
        raise _unreadable(str(error)) from error
    except UnsupportedAlgorithm as unknown:
        raise refusal(UNSUPPORTED_CERTIFICATE, f"the certificate's key: {unknown}") from unknown
    if not isinstance(
        key,
        rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey,
    ):
        raise refusal(UNSUPPORTED_CERTIFICATE, "the certificate's key signs nothing in TLS 1.3")
    return key


def _key_info(data: bytes) -> bytes:
    """Return subjectPublicKeyInfo, the field behind version, serial, signature, issuer, validity and subject."""
    at = _enter(data, _enter(data, 0))
    if data[at] == _VERSION:
        at = _end(data, at)
    for _ in range(5):
        at = _end(data, at)
    return data[at : _end(data, at)]


def _enter(data: bytes, at: int) -> int:
    """Return where the content of a SEQUENCE begins."""
    if data[at] != _SEQUENCE:
        raise _unreadable("no SEQUENCE where one belongs")
    return _content(data, at)[0]


def _end(data: bytes, at: int) -> int:
    """Return where the element at `at` ends."""
    begin, length = _content(data, at)
    if begin + length > len(data):
        raise _unreadable("it ends too early")
    return begin + length


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return (where the content of the element at `at` begins, its length)."""
    length = data[at + 1]
    if length < 0x80:
        return at + 2, length
    count = length & 0x7F
    if not 0 < count <= _LENGTH_OCTETS:
        raise _unreadable("a length that no certificate has")
    return at + 2 + count, int.from_bytes(data[at + 2 : at + 2 + count], "big")


def _unreadable(why: str) -> TlsAlertError:
    return refusal(BAD_CERTIFICATE, f"the certificate cannot be read: {why}")
