"""An OCSP response as text, for `headgate ocsp show NAME --text`: what is on the wire, spelled out (RFC
6960)."""

import datetime
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from headgate.ocsp.response import is_named
from headgate.tls.identity import parser_words


def describe_response(der: bytes) -> str:
    """Return a DER response as lines of text; whatever cannot be read is said in its place."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        return "\n".join(_lines(response, len(der)))
    except (ValueError, UnsupportedAlgorithm) as exc:
        return f"OCSP response, {len(der)} bytes, cannot be read: {parser_words(exc)}"


def _lines(response: ocsp.OCSPResponse, size: int) -> Iterator[str]:
    status = response.response_status
    yield f"OCSP response, {size} bytes"
    yield f"    Response status: {status.name.lower()} ({status.value})"
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return
    yield f"    Responder: {_responder(response)}"
    yield f"    Produced at: {_time(response.produced_at_utc)}"
    for number, single in enumerate(response.responses, 1):
        yield f"    Answer {number}"
        yield f"        Certificate: serial {single.serial_number:x}"
        algorithm = single.hash_algorithm.name
        yield f"        Issuer name hash ({algorithm}): {single.issuer_name_hash.hex()}"
        yield f"        Issuer key hash ({algorithm}): {single.issuer_key_hash.hex()}"
        yield f"        Status: {single.certificate_status.name.lower()}"
        if single.revocation_time_utc is not None:
            reason = single.revocation_reason.value if single.revocation_reason is not None else "not given"
            yield f"        Revoked at: {_time(single.revocation_time_utc)}, reason: {reason}"
        yield f"        This update: {_time(single.this_update_utc)}"
        yield f"        Next update: {_time(single.next_update_utc)}"
    yield f"    Signature: {_signature(response)}, {len(response.signature)} bytes"
    for certificate in response.certificates:
        yield f"    {_role(response, certificate)}: {certificate.subject.rfc4514_string()}"
        yield f"        Issuer: {certificate.issuer.rfc4514_string()}"
        before, after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        yield f"        Valid: {_time(before)} to {_time(after)}"
        yield f"        SHA-256: {certificate.fingerprint(hashes.SHA256()).hex()}"
        yield from _key(certificate)


def _responder(response: ocsp.OCSPResponse) -> str:
    if response.responder_name is not None:
        return f"name {response.responder_name.rfc4514_string()}"
    return f"key hash {(response.responder_key_hash or b'').hex()}"


def _role(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> str:
    """Return what a certificate that was sent along is to the response, as far as the response itself tells."""
    if not is_named(response, certificate):
        return "Sent along, not the signer"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return "Signed by"
    return "Signed by the delegate" if ExtendedKeyUsageOID.OCSP_SIGNING in usage else "Signed by"


def _signature(response: ocsp.OCSPResponse) -> str:
    # An algorithm without a name must not cost the rest of the text.
    try:
        algorithm = response.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"algorithm {response.signature_algorithm_oid.dotted_string}"
    name = getattr(response.signature_algorithm_oid, "_name", "") or "algorithm"
    return f"{name} ({algorithm.name})" if algorithm is not None else name


def _key(certificate: x509.Certificate) -> Iterator[str]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    yield f"        Key SHA-256: {digest.finalize().hex()}"


def _time(value: datetime.datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if value is not None else "not given"
