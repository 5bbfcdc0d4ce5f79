"""Certificates and OCSP responses for tests: authorities, leaves, delegates, and every response one may meet.

Certificates come from `cryptography`; OCSP responses are written here, field by field (RFC 6960 section 4.2.1),
because a builder refuses to make exactly what a verifier must refuse to believe: several SingleResponses, SHA-1
signatures, foreign signers, unknown hashes, a missing nextUpdate, bytes behind the end.

    authority = Authority.root()
    leaf = authority.leaf("a.test", ocsp=("http://127.0.0.1:8888/",), must_staple=True)
    der = authority.ocsp(leaf, this_update=now - 60, next_update=now + 3600)

Keys are made once per process and kind and then shared in turn, since making an RSA key takes a while; an
authority or leaf that must not share its key says `fresh_key=True`.
"""

import datetime
import functools
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

KeyKind = Literal["rsa", "p256", "p384", "ed25519"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
CertStatus = Literal["good", "revoked", "unknown"]
SignatureHash = Literal["md5", "sha1", "sha256", "sha384", "sha512"]

_DAY: Final = 86_400.0
_KEYS_PER_KIND: Final = 6

# -- DER, as much of it as an OCSP response needs


def der(tag: int, *parts: bytes) -> bytes:
    """Encode one TLV with a definite length; `parts` are its content, already encoded."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def der_integer(value: int) -> bytes:
    """Encode an INTEGER."""
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def der_oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        content += bytes(reversed(groups))
    return der(0x06, bytes(content))


def der_time(seconds: float) -> bytes:
    """Encode a GeneralizedTime, cut to whole seconds."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return der(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def der_children(data: bytes) -> list[bytes]:
    """Split the content of one constructed TLV into its elements, each with its header. Trusted input only."""

    def header(at: int) -> tuple[int, int]:
        if data[at + 1] < 0x80:
            return at + 2, data[at + 1]
        count = data[at + 1] & 0x7F
        return at + 2 + count, int.from_bytes(data[at + 2 : at + 2 + count], "big")

    start, size = header(0)
    children, at = [], start
    while at < start + size:
        body, length = header(at)
        children.append(data[at : body + length])
        at = body + length
    return children


# -- keys and signatures


@functools.cache
def _shared_key(kind: KeyKind, index: int) -> PrivateKey:
    return new_key(kind)


_next_shared: dict[str, int] = {}


def new_key(kind: KeyKind) -> PrivateKey:
    """Make a private key of its own."""
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()


def _take_key(kind: KeyKind, *, fresh: bool) -> PrivateKey:
    if fresh or kind != "rsa":
        return new_key(kind)
    _next_shared[kind] = index = (_next_shared.get(kind, -1) + 1) % _KEYS_PER_KIND
    return _shared_key(kind, index)


_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_RSA_OIDS: Final = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
_ECDSA_OIDS: Final = {
    "sha1": "1.2.840.10045.4.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_CERT_ID_OIDS: Final = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}


def _sign(key: PrivateKey, data: bytes, algorithm: SignatureHash) -> tuple[bytes, bytes]:
    """Return (AlgorithmIdentifier, signature) over `data`; Ed25519 has no hash of its own choice."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return der(0x30, der_oid("1.3.101.112")), key.sign(data)
    chosen = _HASHES[algorithm]()
    if isinstance(key, rsa.RSAPrivateKey):
        identifier = der(0x30, der_oid(_RSA_OIDS[algorithm]), der(0x05))
        return identifier, key.sign(data, padding.PKCS1v15(), chosen)
    return der(0x30, der_oid(_ECDSA_OIDS[algorithm])), key.sign(data, ec.ECDSA(chosen))


# -- certificates


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its private key and the authority that issued it (None: it signed itself)."""

    certificate: x509.Certificate
    key: PrivateKey
    issuer: "Authority | None" = None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its intermediates, leaf first, without the root."""
        chain, above = self.pem, self.issuer
        while above is not None and above.issuer is not None:
            chain += above.pem
            above = above.issuer
        return chain


@dataclass(frozen=True, slots=True)
class Single:
    """One SingleResponse: what is said about which certificate, in which hash."""

    leaf: Leaf
    status: CertStatus = "good"
    this_update: float = 0.0
    next_update: float | None = None
    hash: SignatureHash = "sha1"
    revoked_at: float = 0.0
    issuer: "Authority | None" = None
    """Whose name and key go into the CertID; the leaf's own issuer unless a test wants a wrong one."""
    hash_oid: str = ""
    """Another object identifier in place of the hash's own."""

    def encode(self) -> bytes:
        """Return the SingleResponse in DER."""
        issuer = self.issuer or self.leaf.issuer
        if issuer is None:
            raise ValueError("a self-signed leaf needs an explicit issuer")
        parts = [_cert_id(self, issuer), self._status(), der_time(self.this_update)]
        if self.next_update is not None:
            parts.append(der(0xA0, der_time(self.next_update)))
        return der(0x30, *parts)

    def _status(self) -> bytes:
        if self.status == "revoked":
            return der(0xA1, der_time(self.revoked_at or self.this_update), der(0xA0, der(0x0A, b"\x01")))
        return der(0x80 if self.status == "good" else 0x82)


def key_bits(certificate: x509.Certificate) -> bytes:
    """Return the subjectPublicKey without its tag, length and unused-bits octet: what OCSP hashes."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bits = der_children(spki)[1]
    return bits[len(bits) - _content_size(bits) + 1 :]


def _content_size(tlv: bytes) -> int:
    if tlv[1] < 0x80:
        return tlv[1]
    count = tlv[1] & 0x7F
    return int.from_bytes(tlv[2 : 2 + count], "big")


def _cert_id(single: Single, issuer: "Authority") -> bytes:
    name = issuer.certificate.subject.public_bytes()
    return der(
        0x30,
        der(0x30, der_oid(single.hash_oid or _CERT_ID_OIDS[single.hash]), der(0x05)),
        der(0x04, hashlib.new(single.hash, name).digest()),
        der(0x04, hashlib.new(single.hash, key_bits(issuer.certificate)).digest()),
        der_integer(single.leaf.certificate.serial_number),
    )


@dataclass(frozen=True, slots=True)
class Authority(Leaf):
    """A certificate authority: signs leaves, intermediates, OCSP delegates and OCSP responses."""

    _serials: list[int] = field(default_factory=lambda: [0x1000], repr=False, compare=False)

    @classmethod
    def root(
        cls, name: str = "Headgate Test Root", key: KeyKind = "p256", *, fresh_key: bool = False
    ) -> "Authority":
        """Make a self-signed authority."""
        private = _take_key(key, fresh=fresh_key)
        certificate = _certificate(name, private, name, private, 1, ca=True)
        return cls(certificate, private)

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def _serial(self) -> int:
        self._serials[0] += 1
        return self._serials[0]

    def intermediate(
        self, name: str = "Headgate Test Intermediate", key: KeyKind = "p256", *, fresh_key: bool = False
    ) -> "Authority":
        """Make an authority below this one."""
        private = _take_key(key, fresh=fresh_key)
        certificate = _certificate(name, private, self.name, self.key, self._serial(), ca=True)
        return Authority(certificate, private, self)

    def rekeyed(self, key: KeyKind = "p256") -> "Authority":
        """Make an authority of the same name with another key: what a forger, or a CA's key change, looks like."""
        private = new_key(key)
        return Authority(
            _certificate(self.name, private, self.name, private, 2, ca=True), private, self.issuer
        )

    def leaf(
        self,
        *names: str,
        key: KeyKind = "p256",
        ocsp: Sequence[str] = (),
        issuer_urls: Sequence[str] = (),
        must_staple: bool = False,
        serial: int | None = None,
        not_before: float | None = None,
        not_after: float | None = None,
        client: bool = False,
        fresh_key: bool = False,
    ) -> Leaf:
        """Make a server (or client) certificate for `names` (DNS names or IP addresses), the first one its CN."""
        private = _take_key(key, fresh=fresh_key)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([usage])]
        if names:
            extensions.append(x509.SubjectAlternativeName([_general_name(name) for name in names]))
        if ocsp or issuer_urls:
            extensions.append(_authority_information(ocsp, issuer_urls))
        if must_staple:
            extensions.append(x509.TLSFeature([x509.TLSFeatureType.status_request]))
        certificate = _certificate(
            names[0] if names else "leaf",
            private,
            self.name,
            self.key,
            serial if serial is not None else self._serial(),
            extensions=extensions,
            not_before=not_before,
            not_after=not_after,
        )
        return Leaf(certificate, private, self)

    def delegate(
        self,
        name: str = "Headgate Test OCSP Delegate",
        key: KeyKind = "p256",
        *,
        ocsp_signing: bool = True,
        any_usage: bool = False,
        digital_signature: bool = True,
        not_before: float | None = None,
        not_after: float | None = None,
        signature_hash: SignatureHash = "sha256",
    ) -> Leaf:
        """Make a certificate that may (or, to be refused, may not) sign OCSP responses for this authority."""
        usages = [ExtendedKeyUsageOID.OCSP_SIGNING] if ocsp_signing else [ExtendedKeyUsageOID.SERVER_AUTH]
        if any_usage:
            usages = [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]
        private = new_key(key) if key != "rsa" else _take_key(key, fresh=False)
        certificate = _certificate(
            name,
            private,
            self.name,
            self.key,
            self._serial(),
            extensions=[x509.ExtendedKeyUsage(usages), x509.OCSPNoCheck()],
            not_before=not_before,
            not_after=not_after,
            digital_signature=digital_signature,
        )
        if signature_hash in ("md5", "sha1"):
            certificate = resigned(certificate, self.key, signature_hash)
        return Leaf(certificate, private, self)

    def ocsp(
        self,
        leaf: Leaf,
        status: CertStatus = "good",
        *,
        this_update: float,
        next_update: float | None,
        hash: SignatureHash = "sha1",
        signer: Leaf | None = None,
        responder_id: Literal["key", "name"] = "key",
        signature_hash: SignatureHash = "sha256",
    ) -> bytes:
        """Return a response about one leaf, signed by this authority or by `signer`, whose certificate is sent."""
        single = Single(leaf, status, this_update, next_update, hash)
        return ocsp_response(
            [single],
            signer or self,
            certificates=[] if signer is None else [signer.certificate],
            responder_id=responder_id,
            signature_hash=signature_hash,
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority_information(ocsp: Sequence[str], issuers: Sequence[str]) -> x509.AuthorityInformationAccess:
    descriptions = [(AuthorityInformationAccessOID.OCSP, url) for url in ocsp]
    descriptions += [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in issuers]
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in descriptions]
    )


def _certificate(
    name: str,
    key: PrivateKey,
    issuer: str,
    issuer_key: PrivateKey,
    serial: int,
    *,
    ca: bool = False,
    extensions: Sequence[x509.ExtensionType] = (),
    not_before: float | None = None,
    not_after: float | None = None,
    digital_signature: bool = True,
) -> x509.Certificate:
    # 2020 to 2037 unless a test says otherwise: a fixed clock and the machine's clock both lie within.
    start = datetime.datetime.fromtimestamp(not_before or 1_577_836_800, datetime.UTC)
    end = datetime.datetime.fromtimestamp(not_after or 2_114_380_800, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(_key_usage(ca=ca, digital_signature=digital_signature), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


def _key_usage(*, ca: bool, digital_signature: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def resigned(certificate: x509.Certificate, key: PrivateKey, algorithm: SignatureHash) -> x509.Certificate:
    """Return the certificate signed anew, in a hash that builders rightly refuse."""
    identifier, _ = _sign(key, b"", algorithm)
    fields = der_children(certificate.tbs_certificate_bytes)
    fields[2] = identifier  # version, serialNumber, signature, …
    tbs = der(0x30, *fields)
    identifier, signature = _sign(key, tbs, algorithm)
    return x509.load_der_x509_certificate(der(0x30, tbs, identifier, der(0x03, b"\x00", signature)))


# -- OCSP responses

UNSUCCESSFUL: Final = {
    "malformedRequest": 1,
    "internalError": 2,
    "tryLater": 3,
    "sigRequired": 5,
    "unauthorized": 6,
}


def ocsp_error(status: str) -> bytes:
    """Return the responder's refusal called `status` (RFC 6960 section 4.2.1), e.g. "tryLater"."""
    return der(0x30, der(0x0A, bytes((UNSUCCESSFUL[status],))))


def ocsp_response(
    singles: Sequence[Single],
    signer: Leaf,
    *,
    certificates: Sequence[x509.Certificate] = (),
    responder_id: Literal["key", "name"] = "key",
    identify_as: x509.Certificate | None = None,
    signature_hash: SignatureHash = "sha256",
    produced_at: float | None = None,
    critical_extension: bool = False,
    corrupt_signature: bool = False,
) -> bytes:
    """Return a successful response with any number of SingleResponses.

    `identify_as` puts another certificate's name or key into the responder id; `corrupt_signature` flips a bit.
    """
    named = identify_as or signer.certificate
    if responder_id == "key":
        identity = der(0xA2, der(0x04, hashlib.sha1(key_bits(named)).digest()))
    else:
        identity = der(0xA1, named.subject.public_bytes())
    produced = produced_at if produced_at is not None else max((s.this_update for s in singles), default=0.0)
    parts = [identity, der_time(produced), der(0x30, *(single.encode() for single in singles))]
    if critical_extension:
        extension = der(0x30, der_oid("1.3.6.1.4.1.99999.1"), der(0x01, b"\xff"), der(0x04, b"\x05\x00"))
        parts.append(der(0xA1, der(0x30, extension)))
    tbs = der(0x30, *parts)
    identifier, signature = _sign(signer.key, tbs, signature_hash)
    if corrupt_signature:
        signature = signature[:-1] + bytes((signature[-1] ^ 1,))
    basic = [tbs, identifier, der(0x03, b"\x00", signature)]
    if certificates:
        encoded = (c.public_bytes(serialization.Encoding.DER) for c in certificates)
        basic.append(der(0xA0, der(0x30, *encoded)))
    body = der(0x30, der_oid("1.3.6.1.5.5.7.48.1.1"), der(0x04, der(0x30, *basic)))
    return der(0x30, der(0x0A, b"\x00"), der(0xA0, body))
