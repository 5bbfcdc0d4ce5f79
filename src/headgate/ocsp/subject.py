"""A subject: one certificate as the stapler sees it (who issued it, whom to ask about it, what it demands).

RFC 5280 section 4.2.2.1 (Authority Information Access names responders and where the issuer's certificate lies),
RFC 7633 (must-staple). A certificate that names no responder is a normal subject with nothing to do: since 2025
that is what the largest public CA issues.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from headgate.errors import HeadgateError
from headgate.ocsp.settings import MAX_RESPONDERS, MAX_URL, OcspSettings
from headgate.tls.identity import parser_words

Stapling = Literal["auto", "off"]

# What reading a certificate's extensions may raise when it was made badly.
BAD_CERTIFICATE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)


class SubjectError(HeadgateError):
    """The PEM text holds no certificate that can be read."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One certificate to keep a staple for. `name` is unique among subjects and is what logs and admin show.

    `file_response` is the content of CHAIN.ocsp, if there was one; `issuer_urls` say where the issuer's certificate
    can be had when the chain lacks it; `hosts` are the names that it is for, DNS names in lower case and addresses;
    `problem` says what could not be read from the certificate, else "".
    `settings` are the durations of this certificate where it has its own.
    """

    name: str
    leaf: x509.Certificate
    issuer: x509.Certificate | None
    responders: tuple[str, ...]
    must_staple: bool
    file_response: bytes | None = None
    stapling: Stapling = "auto"
    issuer_urls: tuple[str, ...] = ()
    problem: str = ""
    settings: OcspSettings | None = None
    hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Subject {self.name}: {len(self.responders)} responders, issuer {self.issuer is not None}>"

    @classmethod
    def from_pem(
        cls,
        name: str,
        chain_pem: bytes,
        *,
        issuer_pem: bytes | None = None,
        file_response: bytes | None = None,
        stapling: Stapling = "auto",
    ) -> "Subject":
        """Read a PEM chain, leaf first; other PEM blocks (the key) are skipped. The issuer is looked for in the chain
        and in `issuer_pem`.

        Raises: SubjectError when no leaf can be read."""
        chain = _certificates(chain_pem, name)
        if not chain:
            raise SubjectError(f"{name}: no certificate in the PEM text")
        others = chain[1:] + (_certificates(issuer_pem, name) if issuer_pem is not None else [])
        leaf = chain[0]
        try:
            responders, issuer_urls = _authority_information(leaf)
            must_staple, hosts, problem = has_must_staple(leaf), _hosts(leaf), ""
        except BAD_CERTIFICATE as error:
            responders, issuer_urls, must_staple, hosts = (), (), False, ()
            problem = f"extensions cannot be read: {parser_words(error)}"
        issuer = find_issuer(leaf, [*others, leaf])
        return cls(
            name,
            leaf,
            issuer,
            responders,
            must_staple,
            file_response,
            stapling,
            issuer_urls,
            problem,
            hosts=hosts,
        )


def _certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except BAD_CERTIFICATE as error:
        raise SubjectError(
            f"{name}: a certificate in the PEM text cannot be read: {parser_words(error)}"
        ) from error


def has_must_staple(leaf: x509.Certificate) -> bool:
    """Tell whether the certificate demands a staple (RFC 7633: TLS feature status_request)."""
    try:
        feature = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in feature


def _authority_information(leaf: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (OCSP responder URLs, issuer URLs), http and https only, without repetitions."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return (), ()
    found: dict[str, list[str]] = {"ocsp": [], "issuer": []}
    for description in access:
        location = description.access_location
        if not isinstance(location, x509.UniformResourceIdentifier) or not is_usable_url(location.value):
            continue
        if description.access_method == AuthorityInformationAccessOID.OCSP:
            found["ocsp"].append(location.value)
        elif description.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            found["issuer"].append(location.value)
    ocsp_urls, issuer_urls = (tuple(dict.fromkeys(urls))[:MAX_RESPONDERS] for urls in found.values())
    return ocsp_urls, issuer_urls


def _hosts(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]
    hosts += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(hosts))


def is_usable_url(url: str) -> bool:
    """Tell whether a URL may be fetched: http or https, a host, no user information, printable ASCII, bounded."""
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and port != 0
    )


def find_issuer(leaf: x509.Certificate, candidates: list[x509.Certificate]) -> x509.Certificate | None:
    """Return the candidate whose name and key issued `leaf`, or None. The key decides: a cross-signed or renewed
    authority has several certificates, and any of them will do."""
    return next((c for c in candidates if is_issuer(leaf, c)), None)


def is_issuer(leaf: x509.Certificate, candidate: x509.Certificate) -> bool:
    """Tell whether `candidate`'s name and key issued `leaf`."""
    try:
        leaf.verify_directly_issued_by(candidate)
    except (*BAD_CERTIFICATE, InvalidSignature):
        return False
    return True


def fingerprint(leaf: x509.Certificate) -> str:
    """Return the hexadecimal SHA-256 of the certificate: which certificate it is, whoever issued it."""
    return leaf.fingerprint(hashes.SHA256()).hex()


def staple_key(leaf: x509.Certificate, issuer: x509.Certificate) -> str:
    """Return the hexadecimal key of a certificate's staple: SHA-256 over issuer name, issuer key and serial number.

    The issuer's key is part of it: a CA that changes its key may number its certificates from the start again."""
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256()).build()
    spki = issuer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    serial = leaf.serial_number
    digest = hashlib.sha256(request.issuer_name_hash)
    digest.update(hashlib.sha256(spki).digest())
    digest.update(serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True))
    return digest.hexdigest()
