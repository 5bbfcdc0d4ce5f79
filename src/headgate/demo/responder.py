"""The demo's OCSP responder (RFC 6960, over HTTP by GET and POST): an hour of `good` for every certificate of the
demo, `revoked` for those that have a file of their label in the folder `revoked`."""

import base64
import binascii
import datetime
import socket
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from headgate.demo.authority import Authority, Issued
from headgate.demo.web import Answer, Request, serve_forever

LIFETIME: Final = datetime.timedelta(hours=1)
_TYPE: Final = "application/ocsp-response"
_DER: Final = Encoding.DER


class Responder:
    """Answers for the leaves of one authority."""

    def __init__(self, authority: Authority, revoked: Path) -> None:
        self._issuer = authority.issuer
        self._leaves = {leaf.certificate.serial_number: leaf for leaf in authority.leaves}
        self._revoked = revoked

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        try:
            question = ocsp.load_der_ocsp_request(_question(request))
        except (ValueError, binascii.Error):
            return _refuse(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        leaf = self._leaves.get(question.serial_number)
        if leaf is None:
            return _refuse(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        return self._certify(leaf, question.hash_algorithm)

    def _certify(self, leaf: Issued, algorithm: hashes.HashAlgorithm) -> Answer:
        now = datetime.datetime.now(datetime.UTC)
        gone = (self._revoked / leaf.label).exists()
        key = self._issuer.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=leaf.certificate,
                issuer=self._issuer.certificate,
                algorithm=algorithm,
                cert_status=ocsp.OCSPCertStatus.REVOKED if gone else ocsp.OCSPCertStatus.GOOD,
                this_update=now,
                next_update=now + LIFETIME,
                revocation_time=now if gone else None,
                revocation_reason=x509.ReasonFlags.superseded if gone else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self._issuer.certificate)
            .sign(key, hashes.SHA256())
        )
        return Answer(response.public_bytes(_DER), _TYPE)


def _question(request: Request) -> bytes:
    if request.method == "POST":
        return request.body
    # RFC 6960 appendix A.1: the URL's path ends in the request, base64 and percent-encoded.
    return base64.b64decode(unquote(request.target).lstrip("/"), validate=True)


def _refuse(status: ocsp.OCSPResponseStatus) -> Answer:
    return Answer(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(_DER), _TYPE)


def run_responder(sock: socket.socket, authority: Authority, revoked: Path) -> int:
    """Be the responder: the whole life of its process."""
    return serve_forever(sock, Responder(authority, revoked).answer)
