"""What is believed: one rule set for every OCSP response, whether from the network, a file or the store.

RFC 6960 sections 3.2, 4.2.2.2 and 4.4, RFC 5019 section 2.2 (the times). In the order in which they are tried:

 1. it parses as DER to the last byte and has the status "successful" (others raise `ResponderError`);
 2. no critical extension that we do not know;
 3. the signature and the delegate's are no MD5 or SHA-1, and of a kind that we verify (RSA, ECDSA, EdDSA);
 4. the signer is named by key or by name, and is the issuer, or a delegate in the response that the issuer's key
    signed directly, that is valid now and has the extended key usage OCSPSigning (anyExtendedKeyUsage is not it);
 5. the signature verifies;
 6. a SingleResponse speaks of our certificate, in its own hash;
 7. thisUpdate is not more than 5 minutes ahead, nextUpdate is there, after it, and still to come;
 8. the issuer's certificate has not ended;
 9. the status is good or revoked.

A staple ends with whatever ends first: nextUpdate, the delegate, or the issuer. It is judged again only when it is
read anew, so a later end would let a running gate serve what it refuses after a restart.

A response may hold several SingleResponses, even several about one certificate. Which one a client reads is its
own choice (most take the first), so all of ours must be believable, the worst status counts, and the staple ends
with the first that ends.

Cost is bounded: 64 KiB at most are parsed, and at most `MAX_SIGNERS` keys are tried.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from headgate.errors import HeadgateError
from headgate.ocsp.settings import MAX_BODY
from headgate.ocsp.subject import BAD_CERTIFICATE, Subject
from headgate.tls.identity import parser_words
from headgate.tls.staple import Staple

CLOCK_SKEW: Final = 300.0
"""How far thisUpdate may lie ahead of our clock; OpenSSL's callers and HAProxy use the same five minutes."""

MAX_SIGNERS: Final = 8
"""Certificates in a response that are tried as its signer. One is usual; two happen around a delegate's renewal."""


class Reason(StrEnum):
    """Why a response was not believed: stable words for logs, metrics and `headgate ocsp`."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    CRITICAL_EXTENSION = "critical-extension"
    WEAK_SIGNATURE = "weak-signature"
    UNSUPPORTED_SIGNATURE = "unsupported-signature"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_SIGNER = "unknown-signer"
    DELEGATE_NOT_ISSUED = "delegate-not-issued"
    DELEGATE_EXPIRED = "delegate-expired"
    DELEGATE_NOT_FOR_OCSP = "delegate-not-for-ocsp"
    DELEGATE_WEAK_SIGNATURE = "delegate-weak-signature"
    ISSUER_EXPIRED = "issuer-expired"
    WRONG_CERTIFICATE = "wrong-certificate"
    FROM_THE_FUTURE = "from-the-future"
    NO_NEXT_UPDATE = "no-next-update"
    BAD_WINDOW = "bad-window"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    NO_ISSUER = "no-issuer"
    # Of ResponderError:
    MALFORMED_REQUEST = "malformed-request"
    INTERNAL_ERROR = "internal-error"
    TRY_LATER = "try-later"
    SIG_REQUIRED = "sig-required"
    UNAUTHORIZED = "unauthorized"


class NotBelieved(HeadgateError):
    """A response was refused: `reason` is a stable word, `detail` tells a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ResponderError(NotBelieved):
    """The responder itself says that it does not answer; another request or a later one may fare better."""


_RESPONDER_ERRORS: Final = {
    ocsp.OCSPResponseStatus.MALFORMED_REQUEST: Reason.MALFORMED_REQUEST,
    ocsp.OCSPResponseStatus.INTERNAL_ERROR: Reason.INTERNAL_ERROR,
    ocsp.OCSPResponseStatus.TRY_LATER: Reason.TRY_LATER,
    ocsp.OCSPResponseStatus.SIG_REQUIRED: Reason.SIG_REQUIRED,
    ocsp.OCSPResponseStatus.UNAUTHORIZED: Reason.UNAUTHORIZED,
}

# Signature algorithms that are verified, with the kind of key that they need. RSASSA-PSS is not among them: the
# parser does not hand out its parameters, and no responder is known to use it.
_SIGNATURES: Final[dict[x509.ObjectIdentifier, str]] = {
    SignatureAlgorithmOID.RSA_WITH_SHA224: "rsa",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "rsa",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "rsa",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "rsa",
    SignatureAlgorithmOID.ECDSA_WITH_SHA224: "ecdsa",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa",
    SignatureAlgorithmOID.ED25519: "ed25519",
    SignatureAlgorithmOID.ED448: "ed448",
}
_WEAK_SIGNATURES: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_MD5,
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        x509.ObjectIdentifier("1.3.14.3.2.29"),  # sha1WithRSASignature, the older name
        SignatureAlgorithmOID.ECDSA_WITH_SHA1,
        SignatureAlgorithmOID.DSA_WITH_SHA1,
    }
)

_KNOWN_EXTENSIONS: Final = (x509.OCSPNonce, x509.OCSPAcceptableResponses)

_CertIdHash = hashes.SHA1 | hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_CERT_ID_HASHES: Final[dict[str, _CertIdHash]] = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one SingleResponse says about our certificate; times are seconds since the epoch."""

    status: Literal["good", "revoked", "unknown"]
    this_update: float
    next_update: float | None


def verify(der: bytes, subject: Subject, wall: float) -> Staple:
    """Return the staple that `der` is for `subject` at the time `wall` (seconds since the epoch).

    Raises: ResponderError when the responder refused to answer, NotBelieved for every other reason."""
    answers, signer_ends = _authenticate(der, subject, wall)
    for answer in answers:
        _check_times(answer, wall)
    if signer_ends <= wall:
        raise NotBelieved(Reason.ISSUER_EXPIRED, f"the issuer's certificate ended at {_text(signer_ends)}")
    worst = next((a for a in answers if a.status == "revoked"), None)
    if worst is None and any(a.status == "unknown" for a in answers):
        raise NotBelieved(Reason.UNKNOWN, "the responder does not know this certificate")
    # Several good answers: the newest replaces what is held, the first to end ends them all, its signer included.
    this_update = worst.this_update if worst is not None else max(a.this_update for a in answers)
    next_update = min(signer_ends, *(a.next_update for a in answers if a.next_update is not None))
    return Staple(der, this_update, next_update, "revoked" if worst is not None else "good")


def remembered_revocation(der: bytes, subject: Subject) -> float | None:
    """Return when a kept response says that `subject` was revoked, even if its time is over; None if it does not.

    An expired response is never served, but that a certificate was revoked does not expire: without this, an older
    `good` could come back after a long stop. It is verified as of its own thisUpdate. None also for garbage."""
    try:
        single = next(iter(_singles(_parse(der), subject)), None)
        if single is None:
            return None
        answers, _ = _authenticate(der, subject, single.this_update)
    except NotBelieved:
        return None
    revoked = [answer.this_update for answer in answers if answer.status == "revoked"]
    return max(revoked, default=None)


def _authenticate(der: bytes, subject: Subject, wall: float) -> tuple[list[Answer], float]:
    """Return every answer about `subject` in a response that its CA signed, and when its signer ends (the issuer or,
    if that ends sooner, its delegate). The answers' times are unchecked, and so is the issuer's end."""
    issuer = subject.issuer
    if issuer is None:
        raise NotBelieved(
            Reason.NO_ISSUER, "the issuer's certificate is not known, so no signature can be verified"
        )
    response = _parse(der)
    _check_extensions(response)
    algorithm = response.signature_algorithm_oid
    _check_algorithm(algorithm, Reason.WEAK_SIGNATURE, "the response")
    signer = _find_signer(response, issuer, wall)
    answers = list(_singles(response, subject))
    if not answers:
        raise NotBelieved(Reason.WRONG_CERTIFICATE, "no SingleResponse speaks of this certificate")
    return answers, min(_end_of(signer), _end_of(issuer))


def _parse(der: bytes) -> ocsp.OCSPResponse:
    if len(der) > MAX_BODY:
        raise NotBelieved(Reason.TOO_LARGE, f"{len(der)} bytes, more than {MAX_BODY}")
    try:
        response = ocsp.load_der_ocsp_response(der)
        status = response.response_status
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.MALFORMED, parser_words(error)) from error
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ResponderError(_RESPONDER_ERRORS[status], "the responder does not answer this request")
    return response


def _check_extensions(response: ocsp.OCSPResponse) -> None:
    try:
        for extension in response.extensions:
            if extension.critical and not isinstance(extension.value, _KNOWN_EXTENSIONS):
                raise NotBelieved(Reason.CRITICAL_EXTENSION, f"unknown: {extension.oid.dotted_string}")
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.MALFORMED, f"extensions: {parser_words(error)}") from error


def _check_algorithm(algorithm: x509.ObjectIdentifier, weak: Reason, whose: str) -> None:
    if algorithm in _WEAK_SIGNATURES:
        raise NotBelieved(weak, f"{whose} is signed with MD5 or SHA-1 ({algorithm.dotted_string})")
    if algorithm not in _SIGNATURES:
        raise NotBelieved(
            Reason.UNSUPPORTED_SIGNATURE,
            f"{whose} is signed with {algorithm.dotted_string}, which is not supported",
        )


# -- who signed


def _find_signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, wall: float) -> x509.Certificate:
    """Return the issuer or the proper delegate that signed the response; the last failure is what is raised."""
    failure = NotBelieved(
        Reason.UNKNOWN_SIGNER, "the responder id names neither the issuer nor a certificate sent along"
    )
    if is_named(response, issuer):
        try:
            _check_signature(response, issuer)
            return issuer
        except NotBelieved as error:
            failure = error  # an authority and its delegate may share a name
    for candidate in _candidates(response, issuer):
        try:
            _check_delegate(candidate, issuer, wall)
            _check_signature(response, candidate)
            return candidate
        except NotBelieved as error:
            failure = error
    raise failure


def _candidates(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> list[x509.Certificate]:
    """Return the certificates sent along that the responder id names, but for the issuer's own: its key was tried."""
    try:
        sent = response.certificates[:MAX_SIGNERS]
        return [c for c in sent if is_named(response, c) and c.public_key() != issuer.public_key()]
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.MALFORMED, f"certificates: {parser_words(error)}") from error


def is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Tell whether the responder id names this certificate, by key hash or by name: who signed is one of those."""
    try:
        key_hash = response.responder_key_hash
        if key_hash is not None:
            # SHA-1 of the key's bits is how RFC 5280 section 4.2.1.2 makes a key identifier, too.
            return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest == key_hash
        return response.responder_name == certificate.subject
    except BAD_CERTIFICATE:
        return False


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, wall: float) -> None:
    """RFC 6960 section 4.2.2.2: issued directly by the certificate's own issuer, for OCSP signing. The *key* of the
    issuer decides, not a name that anyone can put into a certificate."""
    _check_algorithm(delegate.signature_algorithm_oid, Reason.DELEGATE_WEAK_SIGNATURE, "the delegate")
    try:
        delegate.verify_directly_issued_by(issuer)
    except (*BAD_CERTIFICATE, InvalidSignature) as error:
        raise NotBelieved(
            Reason.DELEGATE_NOT_ISSUED, "the certificate's issuer did not sign the delegate"
        ) from error
    try:
        _check_delegate_usage(delegate)
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.MALFORMED, f"the delegate's extensions: {parser_words(error)}") from error
    start, end = delegate.not_valid_before_utc.timestamp(), _end_of(delegate)
    # notAfter's own second is left out, as nextUpdate's is: what ends then is not served in it either.
    if not start <= wall < end:
        window = f"{_text(start)} to {_text(end)}"
        raise NotBelieved(Reason.DELEGATE_EXPIRED, f"the delegate is valid from {window}")


def _check_delegate_usage(delegate: x509.Certificate) -> None:
    may_sign = False
    for extension in delegate.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage):
            may_sign = ExtendedKeyUsageOID.OCSP_SIGNING in value
        elif isinstance(value, x509.KeyUsage):
            if not (value.digital_signature or value.content_commitment):
                raise NotBelieved(Reason.DELEGATE_NOT_FOR_OCSP, "the delegate's key usage forbids signatures")
        elif extension.critical and isinstance(value, x509.UnrecognizedExtension):
            raise NotBelieved(Reason.CRITICAL_EXTENSION, f"in the delegate: {extension.oid.dotted_string}")
    if not may_sign:
        raise NotBelieved(
            Reason.DELEGATE_NOT_FOR_OCSP, "the delegate lacks the extended key usage OCSPSigning"
        )


def _check_signature(response: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    kind = _SIGNATURES[response.signature_algorithm_oid]
    try:
        key = signer.public_key()
        algorithm = response.signature_hash_algorithm
        signature, signed = response.signature, response.tbs_response_bytes
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            return key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        if kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            return key.verify(signature, signed, ec.ECDSA(algorithm))
        if kind == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            return key.verify(signature, signed)
        if kind == "ed448" and isinstance(key, ed448.Ed448PublicKey):
            return key.verify(signature, signed)
    except InvalidSignature as error:
        raise NotBelieved(Reason.BAD_SIGNATURE, "the signature does not verify") from error
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.UNSUPPORTED_SIGNATURE, parser_words(error)) from error
    raise NotBelieved(Reason.BAD_SIGNATURE, f"a signature of kind {kind} cannot be of the signer's key")


# -- what it says


def _singles(response: ocsp.OCSPResponse, subject: Subject) -> Iterable[Answer]:
    """Yield every answer about `subject`; a SingleResponse in a hash that we do not know speaks of nobody."""
    ids: dict[str, tuple[bytes, bytes]] = {}
    try:
        for single in response.responses:
            if single.serial_number == subject.leaf.serial_number and _is_ours(single, subject, ids):
                yield _answer(single)
    except BAD_CERTIFICATE as error:
        raise NotBelieved(Reason.MALFORMED, f"SingleResponse: {parser_words(error)}") from error


def _is_ours(single: ocsp.OCSPSingleResponse, subject: Subject, ids: dict[str, tuple[bytes, bytes]]) -> bool:
    """Tell whether a CertID names our issuer; `ids` keeps what was computed, one entry for each hash."""
    try:
        algorithm = single.hash_algorithm.name
    except UnsupportedAlgorithm:
        return False
    if algorithm not in ids:
        if algorithm not in _CERT_ID_HASHES or subject.issuer is None:
            return False
        builder = ocsp.OCSPRequestBuilder()
        request = builder.add_certificate(subject.leaf, subject.issuer, _CERT_ID_HASHES[algorithm]).build()
        ids[algorithm] = (request.issuer_name_hash, request.issuer_key_hash)
    return ids[algorithm] == (single.issuer_name_hash, single.issuer_key_hash)


def _answer(single: ocsp.OCSPSingleResponse) -> Answer:
    next_update = single.next_update_utc
    status: Literal["good", "revoked", "unknown"] = "unknown"
    if single.certificate_status is ocsp.OCSPCertStatus.GOOD:
        status = "good"
    elif single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        status = "revoked"
    return Answer(
        status,
        single.this_update_utc.timestamp(),
        None if next_update is None else next_update.timestamp(),
    )


def _check_times(answer: Answer, wall: float) -> None:
    if answer.this_update > wall + CLOCK_SKEW:
        ahead = answer.this_update - wall
        raise NotBelieved(
            Reason.FROM_THE_FUTURE,
            f"thisUpdate {_text(answer.this_update)} is {ahead:.0f} s ahead of our clock",
        )
    if answer.next_update is None:
        raise NotBelieved(Reason.NO_NEXT_UPDATE, "it does not say when it ends")
    if answer.next_update <= answer.this_update:
        raise NotBelieved(Reason.BAD_WINDOW, "nextUpdate is not after thisUpdate")
    if answer.next_update <= wall:
        raise NotBelieved(Reason.EXPIRED, f"it ended at {_text(answer.next_update)}")


def _end_of(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
