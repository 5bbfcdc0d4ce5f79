"""An identity: a certificate chain, its private key, and the staple that goes with it.

Everything about an identity is fixed when it is made, but for one attribute: `staple`. Whoever has a newer one
assigns it; that is atomic, and the handshakes that follow, on TCP and on QUIC, read the same attribute (W1).

`from_pem` reads only what choosing a certificate needs (names, key type, dates) and checks that key and chain belong
together; OpenSSL sees the PEM when the first client asks for one of the names. That costs some 0.1 ms a certificate
instead of 1 ms and 20 KiB, which is what a start with 10,000 of them can afford.
"""

import binascii
import functools
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from headgate.errors import HeadgateError
from headgate.tls.staple import Staple

KeyType = Literal["rsa", "ecdsa", "ed25519", "ed448", "other"]

# OpenSSL's default security level 2 refuses smaller ones when a context is built: better said at start.
MIN_RSA_BITS: Final = 2048
MIN_EC_BITS: Final = 224
_WEAK_HASHES: Final = ("md5", "sha1")
# What no chain needs: five intermediates are already unheard of.
MAX_CHAIN: Final = 16

_BEGIN: Final = b"-----BEGIN "
_DASHES: Final = b"-----"
# The object identifier of the TLS feature extension (RFC 7633), in DER.
_TLS_FEATURE: Final = bytes.fromhex("06082b06010505070118")
_QUOTED: Final = re.compile(r'"([^"]+)"')
_CERTIFICATES: Final = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_KEYS: Final = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"ENCRYPTED PRIVATE KEY")


class IdentityError(HeadgateError):
    """A certificate cannot be used; the message says why, without naming the file."""


@dataclass(frozen=True, slots=True)
class StapleRules:
    """What is done with the staple of one certificate; the words of the configuration's [ocsp]."""

    stapling: Literal["auto", "off"] = "auto"
    must_staple: Literal["warn", "refuse"] = "warn"
    revoked: Literal["withhold", "staple"] = "withhold"


DEFAULT_RULES: Final = StapleRules()


@final
class Identity:
    """One certificate chain with its key. Made by `from_pem`; only `staple` is ever assigned afterwards.

    `name` is the path of its chain file, `section` its place among the [[certificate]] tables, `names` the DNS names
    in lower case, `fingerprint` the leaf's SHA-256 in hex; times are seconds since the epoch. `issuer_pem` and
    `response` are what lay beside it on disk for its staple, or b"". `warnings` says what is odd about it.
    """

    __slots__ = (
        "chain_pem",
        "fingerprint",
        "issuer_pem",
        "key_pem",
        "key_type",
        "must_staple",
        "name",
        "names",
        "not_after",
        "not_before",
        "response",
        "rules",
        "section",
        "staple",
        "warnings",
    )

    def __init__(
        self,
        name: str,
        chain_pem: bytes,
        key_pem: bytes,
        *,
        names: tuple[str, ...],
        key_type: KeyType,
        fingerprint: str,
        not_before: float,
        not_after: float,
        must_staple: bool = False,
        rules: StapleRules = DEFAULT_RULES,
        section: int = 0,
        issuer_pem: bytes = b"",
        response: bytes = b"",
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name: Final = name
        self.chain_pem: Final = chain_pem
        self.key_pem: Final = key_pem
        self.names: Final = names
        self.key_type: Final[KeyType] = key_type
        self.fingerprint: Final = fingerprint
        self.not_before: Final = not_before
        self.not_after: Final = not_after
        self.must_staple: Final = must_staple
        self.rules: Final = rules
        self.section: Final = section
        self.issuer_pem: Final = issuer_pem
        self.response: Final = response
        self.warnings: Final = warnings
        self.staple: Staple | None = None

    def __repr__(self) -> str:
        covers = ", ".join(self.names[:3]) + (", …" if len(self.names) > 3 else "")
        staple = self.staple.status if self.staple is not None else "no staple"
        return f"<Identity {self.name}: {covers or 'no names'}, {self.key_type}, {staple}>"

    @property
    def stapling(self) -> bool:
        """Whether a staple is sent at all."""
        return self.rules.stapling == "auto"

    def is_valid(self, wall: float) -> bool:
        """Tell whether the leaf's dates cover `wall`."""
        return self.not_before <= wall < self.not_after


def from_pem(
    name: str,
    chain_pem: bytes,
    key_pem: bytes,
    *,
    rules: StapleRules = DEFAULT_RULES,
    section: int = 0,
    issuer_pem: bytes = b"",
    response: bytes = b"",
    warning: str = "",
) -> Identity:
    """Make an identity from PEM: the certificates in `chain_pem`, the first private key in `key_pem`.

    A chain in the wrong order is put right, certificates that do not belong to it are left out, both with a
    warning. Raises `IdentityError` when there is no usable certificate or the key is not its own.
    """
    blocks = [block for kind, block in split_pem(chain_pem) if kind in _CERTIFICATES]
    if not blocks:
        raise IdentityError("there is no certificate in it")
    if len(blocks) > MAX_CHAIN:
        raise IdentityError(f"more than {MAX_CHAIN} certificates in one chain")
    key_block = _key_block(key_pem)
    key = _private_key(key_block)
    warnings = [warning] if warning else []
    try:
        chain = _chain_for(key, [_link(block) for block in blocks], issuer_pem, warnings)
        leaf = chain[0].certificate
        return Identity(
            name,
            b"".join(link.pem for link in chain),
            key_block,
            names=_names(leaf, warnings),
            key_type=_key_type(key),
            fingerprint=hashlib.sha256(chain[0].der).hexdigest(),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            must_staple=_TLS_FEATURE in chain[0].der and _must_staple(leaf),
            rules=rules,
            section=section,
            issuer_pem=issuer_pem,
            response=response,
            warnings=tuple(warnings),
        )
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise IdentityError(f"the certificate is malformed: {parser_words(error)}") from error


def parser_words(error: BaseException) -> str:
    """Return what a parser of certificates, keys and responses says, in one line of at most 200 characters.

    The ASN.1 parser prints its own data structure (`ParseError { kind: … }`): what of it helps a reader is whether
    the end is missing, and in which field. That of keys guesses at length before it tells the details."""
    line = (str(error).splitlines() or [type(error).__name__])[0].rpartition(" Details: ")[2]
    _, found, printed = line.partition("ParseError {")
    if found:
        fields = [name.rpartition("::")[2] for name in _QUOTED.findall(printed)]
        where = f", in {'/'.join(fields)}" if fields else ""
        line = f"{'cut short' if 'kind: ShortData' in printed else 'not well-formed'} (ASN.1{where})"
    return line[:200]


def split_pem(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the PEM blocks of `data` as (label, block), in order; text between them is dropped (RFC 7468)."""
    blocks: list[tuple[bytes, bytes]] = []
    at = data.find(_BEGIN)
    while at >= 0:
        label_end = data.find(_DASHES, at + len(_BEGIN))
        if label_end < 0:
            break
        label = data[at + len(_BEGIN) : label_end]
        last = b"-----END " + label + _DASHES
        end = data.find(last, label_end)
        if end < 0 or b"\n" in label:
            at = data.find(_BEGIN, at + 1)
            continue
        end += len(last)
        blocks.append((label, data[at:end] + b"\n"))
        at = data.find(_BEGIN, end)
    return blocks


def has_key(data: bytes) -> bool:
    """Tell whether there is a private key in this PEM text."""
    return any(_BEGIN + kind + _DASHES in data for kind in _KEYS)


def has_certificate(data: bytes) -> bool:
    """Tell whether there is a certificate in this PEM text."""
    return any(_BEGIN + kind + _DASHES in data for kind in _CERTIFICATES)


def date_warnings(identity: Identity, wall: float) -> list[str]:
    """Say what is wrong with the leaf's dates at `wall`; it is served all the same, and clients will complain."""
    if wall < identity.not_before:
        return ["the certificate is not valid yet"]
    if wall >= identity.not_after:
        return [f"the certificate expired {(wall - identity.not_after) / 86400:.1f} days ago"]
    return []


# -- parts


@final
class _Link:
    """One certificate of a chain: its PEM and DER, and the names of issuer and subject in DER."""

    __slots__ = ("certificate", "der", "issuer", "pem", "subject")

    def __init__(self, pem: bytes, der: bytes) -> None:
        self.pem: Final = pem
        self.der: Final = der
        self.certificate: Final = x509.load_der_x509_certificate(der)
        self.issuer, self.subject = _raw_names(self.certificate.tbs_certificate_bytes)

    @property
    def is_self_issued(self) -> bool:
        return self.issuer == self.subject


# A thousand certificates have a handful of intermediates between them.
@functools.lru_cache(maxsize=256)
def _link(block: bytes) -> _Link:
    try:
        body = b"".join(
            line for line in block.splitlines() if not line.startswith(_DASHES) and b":" not in line
        )
        return _Link(block, binascii.a2b_base64(body))
    except (ValueError, IndexError) as error:
        raise IdentityError(f"a certificate in it cannot be read: {parser_words(error)}") from error


def _raw_names(tbs: bytes) -> tuple[bytes, bytes]:
    """Return issuer and subject of a TBSCertificate in DER, to be compared byte by byte (RFC 5280 section 4.1).

    A parsed name costs 40 us, and a chain is put in order by four of them.
    """
    _, at = _header(tbs, 0)
    if tbs[at] == 0xA0:
        at = _end(tbs, at)  # version
    at = _end(tbs, _end(tbs, at))  # serialNumber, signature
    issuer_end = _end(tbs, at)
    subject_at = _end(tbs, issuer_end)  # validity
    return tbs[at:issuer_end], tbs[subject_at : _end(tbs, subject_at)]


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Return (length, where the content begins) of the DER element at `at`."""
    length = data[at + 1]
    if length < 0x80:
        return length, at + 2
    count = length & 0x7F
    return int.from_bytes(data[at + 2 : at + 2 + count], "big"), at + 2 + count


def _end(data: bytes, at: int) -> int:
    length, content = _header(data, at)
    return content + length


def _key_block(key_pem: bytes) -> bytes:
    for kind, block in split_pem(key_pem):
        if kind in _KEYS:
            if kind == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block:
                raise IdentityError(
                    "the private key is encrypted; Headgate starts without asking for a passphrase"
                )
            return block
    raise IdentityError("there is no private key in it")


def load_key(key_pem: bytes) -> "PrivateKey":
    """Read one unencrypted private key. Raises `IdentityError`."""
    return _private_key(_key_block(key_pem))


PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


def _private_key(block: bytes) -> PrivateKey:
    try:
        # Checking that an RSA key's primes are prime takes 70 ms; that the key is the certificate's is checked below.
        key = serialization.load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"the private key cannot be read: {parser_words(error)}") from error
    if not isinstance(
        key,
        rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey,
    ):
        raise IdentityError("the private key is of a kind that TLS servers do not use")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise IdentityError(
            f"an RSA key of {key.key_size} bits: TLS libraries refuse less than {MIN_RSA_BITS}"
        )
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size < MIN_EC_BITS:
        raise IdentityError(f"an EC key of {key.key_size} bits: TLS libraries refuse less than {MIN_EC_BITS}")
    return key


def _key_type(key: PrivateKey) -> KeyType:
    if isinstance(key, rsa.RSAPrivateKey):
        return "rsa"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "ecdsa"
    return "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "ed448"


def _chain_for(key: PrivateKey, links: list[_Link], issuer_pem: bytes, warnings: list[str]) -> list[_Link]:
    """Return the leaf that the key belongs to, then its issuers as far as they are here."""
    public = key.public_key()
    leaf = next((link for link in links if link.certificate.public_key() == public), None)
    if leaf is None:
        raise IdentityError("the private key does not belong to the certificate")
    chain = [leaf]
    left = [link for link in links if link is not leaf]
    while not chain[-1].is_self_issued:
        above = next((link for link in left if link.subject == chain[-1].issuer), None)
        if above is None:
            break
        left.remove(above)
        chain.append(above)
    for link in chain:
        _refuse_weak(link)
    if chain != links[: len(chain)]:
        warnings.append("the certificates were not in order, leaf first: put right")
    if left:
        warnings.append(f"{len(left)} certificate(s) in it are not part of the chain: left out")
    if len(chain) == 1 and not leaf.is_self_issued and not _is_below(leaf, issuer_pem):
        warnings.append("there is no intermediate certificate: clients may not find the way to their root")
    return chain


def _is_below(leaf: _Link, issuer_pem: bytes) -> bool:
    """Tell whether the issuer that was named is a root which signed the leaf: then there is nothing in between."""
    try:
        issuers = [_link(block) for kind, block in split_pem(issuer_pem) if kind in _CERTIFICATES]
    except IdentityError:
        return False  # whoever needs the issuer says what is wrong with it
    return any(link.is_self_issued and link.subject == leaf.issuer for link in issuers)


def _refuse_weak(link: _Link) -> None:
    algorithm = link.certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK_HASHES and not link.is_self_issued:
        raise IdentityError(f"a certificate in it is signed with {algorithm.name}: TLS libraries refuse that")


def _names(leaf: x509.Certificate, warnings: list[str]) -> tuple[str, ...]:
    """Return the DNS names, lower case, without duplicates; the common name when there is no list (RFC 6125)."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = [str(common[0].value)] if common else []
        warnings.append("it has no subjectAltName: clients of this century will not accept it")
    return tuple(dict.fromkeys(name.lower().rstrip(".") for name in found))


def _must_staple(leaf: x509.Certificate) -> bool:
    """Tell whether the certificate promises a staple (RFC 7633)."""
    try:
        feature = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in feature
