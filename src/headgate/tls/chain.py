"""Whether a chain is believed, asked of an OpenSSL store outside of OpenSSL's handshakes: for TLS over QUIC.

TCP and QUIC must believe the same peers. So the store is the one that OpenSSL's own handshakes use, with its purpose
and flags, and what they add to it is added here: the strength of keys and signatures that security level 2 asks for
(SSL_CTX_set_security_level(3), RFC 9325 section 4.3), and the alert that says what is wrong (RFC 8446 section 6.2).
"""

from typing import Final

from OpenSSL.crypto import (
    FILETYPE_ASN1,
    TYPE_DSA,
    TYPE_RSA,
    X509,
    Error,
    X509Store,
    X509StoreContext,
    X509StoreContextError,
    load_certificate,
)

from headgate.engine.tls13.alerts import (
    BAD_CERTIFICATE,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNKNOWN,
    DECRYPT_ERROR,
    UNKNOWN_CA,
    UNSUPPORTED_CERTIFICATE,
    TlsAlertError,
)
from headgate.tls.identity import MIN_EC_BITS, MIN_RSA_BITS
from headgate.tls.verdict import TOO_WEAK, VERIFY_FAILED, describe, subject_of, word_for

# X509_V_ERR_…, which have these numbers in every release (x509_vfy.h).
_ALERTS: Final[dict[int, int]] = {
    2: UNKNOWN_CA,  # unable to get issuer certificate
    3: UNKNOWN_CA,  # unable to get certificate CRL
    7: DECRYPT_ERROR,  # certificate signature failure
    8: DECRYPT_ERROR,  # CRL signature failure
    10: CERTIFICATE_EXPIRED,  # certificate has expired
    12: CERTIFICATE_EXPIRED,  # CRL has expired
    18: UNKNOWN_CA,  # self-signed certificate
    19: UNKNOWN_CA,  # self-signed certificate in certificate chain
    20: UNKNOWN_CA,  # unable to get local issuer certificate
    21: UNKNOWN_CA,  # unable to verify the first certificate
    22: UNKNOWN_CA,  # certificate chain too long
    23: CERTIFICATE_REVOKED,  # certificate revoked
    24: UNKNOWN_CA,  # invalid CA certificate
    25: UNKNOWN_CA,  # path length constraint exceeded
    26: UNSUPPORTED_CERTIFICATE,  # unsuitable certificate purpose
    33: UNKNOWN_CA,  # unable to get CRL issuer certificate
    37: UNKNOWN_CA,  # invalid non-CA certificate
    79: UNKNOWN_CA,  # invalid CA certificate
}
# Malformed or of a time to come, and therefore simply bad.
_BAD: Final = frozenset([4, 6, 9, 11, 13, 14, 15, 16, 27, 28])
_WEAK: Final = ("md5", "sha1")


def verify_chain(store: X509Store, chain: tuple[bytes, ...]) -> list[X509]:
    """Verify a peer's chain in DER, leaf first, as of now; return it as it was built, up to what is trusted.

    Raises `TlsAlertError` when it is not believed.
    """
    try:
        leaf, *others = [load_certificate(FILETYPE_ASN1, certificate) for certificate in chain]
    except Error as error:
        detail = "a certificate of the chain cannot be read"
        raise TlsAlertError(BAD_CERTIFICATE, VERIFY_FAILED, detail) from error
    try:
        verified = X509StoreContext(store, leaf, others).get_verified_chain()
    except X509StoreContextError as error:
        # What OpenSSL hands out: its number, how far above the leaf, and the certificate that it looked at.
        number, depth = (int(error.errors[0]), int(error.errors[1])) if len(error.errors) > 1 else (0, 0)
        alert = BAD_CERTIFICATE if number in _BAD else _ALERTS.get(number, CERTIFICATE_UNKNOWN)
        detail = describe(number, str(error), depth, error.certificate)
        raise TlsAlertError(alert, word_for(number), detail) from error
    _check_strength(verified)
    return verified


def _check_strength(verified: list[X509]) -> None:
    """Refuse what security level 2 refuses; nobody relies on the signature of the last one, which is trusted."""
    for depth, certificate in enumerate(verified):
        key = certificate.get_pubkey()
        least = MIN_RSA_BITS if key.type() in (TYPE_RSA, TYPE_DSA) else MIN_EC_BITS
        if key.bits() < least:
            whose = "CA" if depth else "EE"
            raise _too_weak(f"{whose} certificate key too weak", depth, certificate)
        algorithm = certificate.get_signature_algorithm().decode("ascii", "replace").lower()
        if depth < len(verified) - 1 and any(name in algorithm for name in _WEAK):
            raise _too_weak("CA signature digest algorithm too weak", depth, certificate)


def _too_weak(said: str, depth: int, certificate: X509) -> TlsAlertError:
    return TlsAlertError(BAD_CERTIFICATE, TOO_WEAK, f"{said}: depth {depth}, {subject_of(certificate)}")
