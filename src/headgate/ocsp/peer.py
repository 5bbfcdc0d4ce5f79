"""The staple of a server that we are the client of (RFC 6066 section 8): the rules of `response`, other consequences.

A staple that is there must be believable and say good, or the handshake ends with bad_certificate_status_response,
or certificate_revoked. One that is missing matters where the certificate promises it (RFC 7633 section 4.2.3), and
where the configuration asks for it.
"""

from collections.abc import Sequence

from cryptography import x509

from headgate.engine.tls13.alerts import BAD_CERTIFICATE_STATUS, CERTIFICATE_REVOKED, TlsAlertError
from headgate.ocsp.response import NotBelieved, verify
from headgate.ocsp.subject import BAD_CERTIFICATE, Subject, find_issuer, has_must_staple

REVOKED = "certificate-revoked"
NOT_BELIEVED = "staple-not-believed"
MISSING = "staple-missing"


def check_staple(
    chain: Sequence[x509.Certificate], staple: bytes, wall: float, *, is_required: bool = False
) -> None:
    """Judge a peer's staple, b"" for none, at `wall`; `chain` is verified, leaf first. Raises `TlsAlertError`."""
    leaf = chain[0]
    name = f"{leaf.subject.rfc4514_string()[:200]} (depth 0)"
    try:
        is_promised = has_must_staple(leaf)
    except BAD_CERTIFICATE as error:
        raise TlsAlertError(BAD_CERTIFICATE_STATUS, NOT_BELIEVED, f"{name}: {error}") from error
    if not staple:
        if is_promised:
            detail = f"{name} promises a staple, and the server sent none"
            raise TlsAlertError(BAD_CERTIFICATE_STATUS, MISSING, detail)
        if is_required:
            detail = f"{name}: the server sent no staple, and one is required"
            raise TlsAlertError(BAD_CERTIFICATE_STATUS, MISSING, detail)
        return
    subject = Subject(name, leaf, find_issuer(leaf, list(chain[1:])), (), is_promised)
    try:
        believed = verify(staple, subject, wall)
    except NotBelieved as error:
        raise TlsAlertError(BAD_CERTIFICATE_STATUS, NOT_BELIEVED, f"{name}: {error}") from error
    if believed.status == "revoked":
        raise TlsAlertError(CERTIFICATE_REVOKED, REVOKED, f"{name} is revoked, says the server's own staple")
