"""A certificate authority for one machine, so that `headgate serve` has https without anybody's help.

The authority is bound to this machine's own names (RFC 5280 section 4.2.1.10, name constraints): who trusts
it does not have to trust whoever reads its key with the rest of the web. It lives ten years, its
certificates 90 days, and whatever is about to end, or lacks a name, is made anew at the next start.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headgate.errors import HeadgateError

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 90
RENEW_DAYS: Final = 30
_LOOPBACK: Final = ("127.0.0.1", "::1")


class LocalCaError(HeadgateError):
    """The local CA cannot be read or written."""


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """Paths of PEM files: the authority to trust, the leaf's chain, and its key."""

    ca: Path
    chain: Path
    key: Path


def ensure_certificate(
    directory: Path, names: Sequence[str], hosts: Sequence[str], now: datetime.datetime | None = None
) -> LocalCertificate:
    """Return a certificate for `names` and the IP addresses `hosts` (loopback is always there), made if
    need be.

    Raises `LocalCaError`.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    made = LocalCertificate(directory / "ca.pem", directory / "leaf.pem", directory / "leaf.key")
    wanted = _alternative_names(names, hosts)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca, ca_key = _ensure_ca(directory, wanted, now)
        if not _leaf_is_good(made, ca, wanted, now):
            _make_leaf(made, ca, ca_key, wanted, now)
    except OSError as exc:
        raise LocalCaError(f"local CA in {directory}: {exc.strerror} (errno {exc.errno})") from exc
    return made


def _alternative_names(names: Sequence[str], hosts: Sequence[str]) -> list[x509.GeneralName]:
    addresses = dict.fromkeys((*_LOOPBACK, *(host for host in hosts if host not in ("0.0.0.0", "::"))))
    # A host name that is no DNS name (an underscore, an umlaut) is left out: nobody could verify it.
    plain = [
        name.lower() for name in names if name.isascii() and name.replace("-", "").replace(".", "").isalnum()
    ]
    return [
        *(x509.DNSName(name) for name in dict.fromkeys(plain)),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
    ]


def _ensure_ca(
    directory: Path, wanted: list[x509.GeneralName], now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        ca = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        lasts = ca.not_valid_after_utc - now > datetime.timedelta(days=LEAF_DAYS)
        fits = lasts and _permits(ca, wanted) and key.public_key() == ca.public_key()
        if fits and isinstance(key, ec.EllipticCurvePrivateKey):
            return ca, key
    except (FileNotFoundError, ValueError, TypeError, x509.ExtensionNotFound):
        pass
    return _make_ca(directory, wanted, now)


def _subtree(name: x509.GeneralName) -> x509.GeneralName:
    """Return a name as a constraint: a DNS name permits itself and what is below it, an address itself."""
    if isinstance(name, x509.IPAddress):
        return x509.IPAddress(ipaddress.ip_network(str(name.value)))
    return name


def _permits(ca: x509.Certificate, wanted: list[x509.GeneralName]) -> bool:
    constraints = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    return all(_subtree(name) in (constraints.permitted_subtrees or ()) for name in wanted)


def _make_ca(
    directory: Path, wanted: list[x509.GeneralName], now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    host = next((name.value for name in reversed(wanted) if isinstance(name, x509.DNSName)), "localhost")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Headgate local CA on {host}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.NameConstraints([_subtree(name) for name in wanted], None)
    ca = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a certificate without its key would be trusted and useless.
    _write(directory / "ca.key", _key_pem(key), 0o600)
    _write(directory / "ca.pem", ca.public_bytes(serialization.Encoding.PEM), 0o644)
    return ca, key


def _leaf_is_good(
    made: LocalCertificate, ca: x509.Certificate, wanted: list[x509.GeneralName], now: datetime.datetime
) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(made.chain.read_bytes())
        key = serialization.load_pem_private_key(made.key.read_bytes(), None)
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    lasts = leaf.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
    covers = all(name in list(names) for name in wanted)
    return lasts and covers and leaf.not_valid_before_utc <= now and key.public_key() == leaf.public_key()


def _make_leaf(
    made: LocalCertificate,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    wanted: list[x509.GeneralName],
    now: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = (
        _builder(subject, ca.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(made.key, _key_pem(key), 0o600)
    _write(made.chain, leaf.public_bytes(serialization.Encoding.PEM), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    # An hour back: clocks of clients in containers are late.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole: a temporary name with the final mode, flushed, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode
    )
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
