"""OCSP requests: RFC 6960 section 4.1 and appendix A.1, and the lightweight profile of RFC 5019 section 2.1.1.

One certificate per request, no nonce, no signature: such requests can be answered from a cache, and all public
responders answer in advance. The CertID is hashed with SHA-1, which every responder understands (nothing depends
on its strength: the answer is matched in whatever hash it came in), and with SHA-256 for those that refuse that.
"""

import base64
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

CONTENT_TYPE: Final = "application/ocsp-request"
ACCEPT: Final = "application/ocsp-response"

MAX_GET_URL: Final = 255
"""RFC 5019 section 5: a GET's URL, encoded, of at most 255 bytes; anything longer is asked with POST."""


class CertIdHash(StrEnum):
    """In which hash a certificate's issuer is named."""

    SHA1 = "sha1"
    SHA256 = "sha256"


_HASHES: Final[dict[CertIdHash, hashes.SHA1 | hashes.SHA256]] = {
    CertIdHash.SHA1: hashes.SHA1(),
    CertIdHash.SHA256: hashes.SHA256(),
}


def encode_request(leaf: x509.Certificate, issuer: x509.Certificate, cert_id: CertIdHash) -> bytes:
    """Return the OCSPRequest about `leaf` in DER."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, _HASHES[cert_id])
    return builder.build().public_bytes(serialization.Encoding.DER)


def get_url(responder: str, request: bytes) -> str | None:
    """Return the URL that asks `request` (DER) of `responder` by GET, or None when it must be a POST.

    Base64 has "/", "+" and "=", all of which are percent-encoded: a "/" left alone makes path segments, and
    "//" among them is merged by some servers. A URL with a query has no path to append to: POST."""
    if "?" in responder or "#" in responder:
        return None
    encoded = quote(base64.b64encode(request).decode("ascii"), safe="")
    url = f"{responder}{encoded}" if responder.endswith("/") else f"{responder}/{encoded}"
    return url if len(url) <= MAX_GET_URL else None
