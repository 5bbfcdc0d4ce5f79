"""Why a server's certificate is not believed, in words: which check, at which certificate of the chain, its dates.

OpenSSL has a number for each check that fails (X509_V_ERR_…, x509_vfy.h, the same in every release) and counts depth
from the leaf, which is 0. Names are service-identity's to judge (RFC 9525). Both are the same for TLS over TCP and
over QUIC, so that an operator reads the same words whichever way was tried.
"""

import ipaddress
from typing import Final

from cryptography import x509
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

VERIFY_FAILED: Final = "certificate-verify-failed"
NAME_MISMATCH: Final = "certificate-name-mismatch"
EXPIRED: Final = "certificate-expired"
UNKNOWN_AUTHORITY: Final = "certificate-authority-unknown"
TOO_WEAK: Final = "certificate-too-weak"

_NOT_YET: Final = 9
_EXPIRED: Final = 10
_WORDS: Final[dict[int, str]] = {
    2: UNKNOWN_AUTHORITY,  # unable to get issuer certificate
    _NOT_YET: "certificate-not-yet-valid",
    _EXPIRED: EXPIRED,
    18: UNKNOWN_AUTHORITY,  # self-signed certificate
    19: UNKNOWN_AUTHORITY,  # self-signed certificate in certificate chain
    20: UNKNOWN_AUTHORITY,  # unable to get local issuer certificate
    21: UNKNOWN_AUTHORITY,  # unable to verify the first certificate
    23: "certificate-revoked",
    26: "certificate-wrong-purpose",
    66: TOO_WEAK,  # key of the leaf
    67: TOO_WEAK,  # key of an authority
    68: TOO_WEAK,  # digest of a signature
}
_MOST_NAMES: Final = 8


def word_for(number: int) -> str:
    """Return the stable word for a check of OpenSSL's that failed."""
    return _WORDS.get(number, VERIFY_FAILED)


def describe(number: int, said: str, depth: int, certificate: X509 | None) -> str:
    """Return a line on the check that failed: `said` is OpenSSL's text for `number`."""
    parts = [f"{said}: depth {depth}", subject_of(certificate)]
    parsed = _parsed(certificate)
    if parsed is not None:
        if number == _EXPIRED:
            parts.append(f"valid until {parsed.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
        elif number == _NOT_YET:
            parts.append(f"valid from {parsed.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}")
        elif _WORDS.get(number) == UNKNOWN_AUTHORITY:
            parts.append(f"issued by {parsed.issuer.rfc4514_string()[:200] or 'nobody'}")
    return ", ".join(parts)


def subject_of(certificate: X509 | None) -> str:
    """Return a certificate's subject, at most 200 characters of it."""
    if certificate is None:
        return "no certificate"
    parsed = _parsed(certificate)
    if parsed is None:
        return "unreadable subject"
    return parsed.subject.rfc4514_string()[:200] or "no subject"


def _parsed(certificate: X509 | None) -> x509.Certificate | None:
    if certificate is None:
        return None
    try:
        parsed = certificate.to_cryptography()
        parsed.subject.rfc4514_string()
        parsed.issuer.rfc4514_string()
    except ValueError:  # one that OpenSSL reads, and the other parser does not
        return None
    return parsed


def wrong_name(certificate: x509.Certificate | None, host: str) -> str:
    """Return why a leaf is not for `host`, a name or an IP address; "" when it is."""
    if certificate is None:
        return f"no certificate was shown for {host}"
    try:
        if is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return f"the certificate is not for {host}: depth 0, {_subject_and_names(certificate)}"
    return ""


def _subject_and_names(certificate: x509.Certificate) -> str:
    try:
        subject = certificate.subject.rfc4514_string()[:200] or "no subject"
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [str(name.value)[:253] for name in names]
    except x509.ExtensionNotFound:
        return f"{subject}, which has no names"
    except ValueError:
        return "unreadable names"
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return f"{subject}, which is for {', '.join(found[:_MOST_NAMES])}{more}"


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, which is never sent as a name (RFC 6066 section 3)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
