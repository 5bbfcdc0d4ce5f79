"""The issuer's certificate, when the chain lacks it: fetched from where the leaf says it lies (RFC 5280 section
4.2.2.1, caIssuers). What arrives may be DER, PEM or a certs-only PKCS #7; nothing of it is trusted but a
certificate whose name and key did issue the leaf.
"""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from headgate.clock import Clock
from headgate.http.fetch import Fetch, FetchError, FetchRequest
from headgate.ocsp.conversation import ConversationFailed, Failure
from headgate.ocsp.redirect import Trail, follow
from headgate.ocsp.settings import MAX_BODY
from headgate.ocsp.subject import BAD_CERTIFICATE, find_issuer

MAX_CANDIDATES: Final = 16
"""Certificates in one PKCS #7 that are tried."""


async def fetch_issuer(
    fetch: Fetch, clock: Clock, leaf: x509.Certificate, url: str, timeout: float
) -> x509.Certificate:
    """Return the certificate at `url` that issued `leaf`.

    Raises: ConversationFailed."""
    trail = Trail()
    try:
        response = await follow(fetch, clock, FetchRequest("GET", url, timeout, max_body=MAX_BODY), trail)
    except FetchError as error:
        raise _failed(url, trail, error.stage, error.stage, error.detail, error.errno) from error
    if response.status != 200:
        reason = f"http-{response.status}"
        raise _failed(url, trail, "status", reason, f"status {response.status}, expected 200")
    issuer = find_issuer(leaf, decode_certificates(response.body))
    if issuer is None:
        raise _failed(url, trail, "answer", "no-issuer", "no certificate in it issued this leaf")
    return issuer


def decode_certificates(data: bytes) -> list[x509.Certificate]:
    """Return the certificates in DER, PEM or PKCS #7; none when it is neither."""
    if len(data) > MAX_BODY:
        return []
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return x509.load_pem_x509_certificates(data)[:MAX_CANDIDATES]
        return [x509.load_der_x509_certificate(data)]
    except BAD_CERTIFICATE:
        pass
    try:
        return pkcs7.load_der_pkcs7_certificates(data)[:MAX_CANDIDATES]
    except BAD_CERTIFICATE:
        return []


def _failed(
    url: str, trail: Trail, stage: str, reason: str, detail: str, errno: int = 0
) -> ConversationFailed:
    return ConversationFailed(
        Failure(url, stage, reason, detail, trail.address, errno, trail.milliseconds, trail.attempts)
    )
