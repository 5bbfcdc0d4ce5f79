"""The demo's throw-away authority: a root, an intermediate that signs everything, and certificates for two names.

`app.localhost` has an RSA and an ECDSA certificate side by side, `must-staple.localhost` one that promises a staple
(RFC 7633). All of them name the demo's OCSP responder.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

APP: Final = "app.localhost"
MUST_STAPLE: Final = "must-staple.localhost"
_DAYS: Final = 7

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key; `label` is the stem of its file."""

    label: str
    certificate: x509.Certificate
    key: Key


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs, and what was signed. `ca` is the file to trust, `certificates` the folder of what is served."""

    root: Issued
    issuer: Issued
    leaves: tuple[Issued, ...]
    ca: Path
    certificates: Path


def make_authority(folder: Path, responder: str) -> Authority:
    """Make everything and write it below `folder`; `responder` is the URL of the OCSP responder."""
    root_key, issuer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, issuer_name = _name("Headgate demo root"), _name("Headgate demo CA")
    root = Issued("root", _sign(root_key.public_key(), root_name, root_key, root_name, _ca(1)), root_key)
    issuer = Issued(
        "issuer", _sign(issuer_key.public_key(), issuer_name, root_key, root_name, _ca(0)), issuer_key
    )

    def leaf(label: str, key: Key, names: Sequence[str], *, must_staple: bool = False) -> Issued:
        extensions = _leaf_extensions(names, responder, must_staple=must_staple)
        signed = _sign(key.public_key(), _name(names[0]), issuer_key, issuer_name, extensions)
        return Issued(label, signed, key)

    leaves = (
        leaf("app-ecdsa", ec.generate_private_key(ec.SECP256R1()), [APP, "localhost"]),
        leaf("app-rsa", rsa.generate_private_key(65537, 2048), [APP, "localhost"]),
        leaf("must-staple", ec.generate_private_key(ec.SECP256R1()), [MUST_STAPLE], must_staple=True),
    )
    made = Authority(root, issuer, leaves, folder / "ca.pem", folder / "certs")
    made.certificates.mkdir()
    made.ca.write_bytes(_pem(root))
    for item in leaves:
        _write_private(made.certificates / f"{item.label}.pem", _pem(item) + _pem(issuer) + _key_pem(item))
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _ca(path_length: int) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=path_length), True), (_usage(ca=True), True)]


def _leaf_extensions(
    names: Sequence[str], responder: str, *, must_staple: bool
) -> list[tuple[x509.ExtensionType, bool]]:
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder)
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(ca=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False),
        (x509.AuthorityInformationAccess([access]), False),
    ]
    if must_staple:
        extensions.append((x509.TLSFeature([x509.TLSFeatureType.status_request]), False))
    return extensions


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # of an authority: it signs its OCSP responses itself
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    subject: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(item: Issued) -> bytes:
    return item.certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(item: Issued) -> bytes:
    return item.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
