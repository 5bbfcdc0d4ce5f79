"""Throw-away certificates: ECDSA P-256 leaves signed by a CA that lives as long as the run.

The leaves name no responder, so that stapling stays out of the figures, and each has a key of its own, as the
certificates of 1,000 customers would.
"""

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DOMAIN: Final = "bench.test"
_DAY: Final = datetime.timedelta(days=1)


def host(index: int) -> str:
    """Return the host name of certificate `index`."""
    return f"c{index:05d}.{DOMAIN}"


class Authority:
    """A CA made on the spot."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headgate bench CA")])
        self._now = datetime.datetime.now(datetime.UTC)
        self._root = (
            self._builder("Headgate bench CA", self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _DAY)
            .not_valid_after(self._now + 30 * _DAY)
        )

    def leaf(self, name: str) -> bytes:
        """Return one PEM: leaf, CA, private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(name, key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        return (
            certificate.public_bytes(pem)
            + self._root.public_bytes(pem)
            + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


def write(directory: Path, count: int) -> None:
    """Fill `directory` with `count` PEM files, named after their hosts."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority()
    for index in range(count):
        name = host(index)
        (directory / f"{name}.pem").write_bytes(authority.leaf(name))


def certificates(directory: Path) -> bytes:
    """Return what the first PEM of `directory` holds beside its key: leaf and CA."""
    return (directory / f"{host(0)}.pem").read_bytes().partition(b"-----BEGIN PRIVATE KEY")[0]
