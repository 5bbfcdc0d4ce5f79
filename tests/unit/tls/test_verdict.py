"""The words for a chain that is not believed."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509

from headgate.tls.verdict import VERIFY_FAILED, describe, is_address, subject_of, word_for, wrong_name


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (9, "certificate-not-yet-valid"),
        (10, "certificate-expired"),
        (18, "certificate-authority-unknown"),
        (20, "certificate-authority-unknown"),
        (23, "certificate-revoked"),
        (26, "certificate-wrong-purpose"),
        (66, "certificate-too-weak"),
        (7, VERIFY_FAILED),
        (12345, VERIFY_FAILED),
    ],
)
def test_each_check_has_its_word(number, word):
    assert word_for(number) == word


def test_each_check_tells_what_helps(root):
    leaf = X509.from_cryptography(root.leaf("a.test").certificate)
    assert describe(10, "expired", 0, leaf).startswith("expired: depth 0, CN=a.test, valid until 2")
    assert describe(9, "early", 2, leaf).startswith("early: depth 2, CN=a.test, valid from 2")
    assert describe(20, "who?", 0, leaf) == "who?: depth 0, CN=a.test, issued by CN=Headgate Test Root"
    assert describe(26, "purpose", 1, leaf) == "purpose: depth 1, CN=a.test"
    assert describe(2, "gone", 0, None) == "gone: depth 0, no certificate"


def nameless(common="") -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def test_names(root):
    leaf = root.leaf("a.test", "*.b.test", "192.0.2.1", "2001:db8::1").certificate
    for host in ("a.test", "x.b.test", "192.0.2.1", "2001:db8::1"):
        assert wrong_name(leaf, host) == ""
    assert (
        wrong_name(leaf, "c.test")
        == "the certificate is not for c.test: depth 0, CN=a.test, which is for a.test, *.b.test, 192.0.2.1, "
        "2001:db8::1"
    )
    many = root.leaf(*(f"n{index}.test" for index in range(20))).certificate
    assert wrong_name(many, "c.test").endswith("n6.test, n7.test and 12 more")
    assert wrong_name(None, "a.test") == "no certificate was shown for a.test"


def test_rfc9525_a_common_name_is_no_name():
    assert wrong_name(nameless("a.test"), "a.test").endswith("depth 0, CN=a.test, which has no names")
    assert subject_of(X509.from_cryptography(nameless())) == "no subject"


def test_addresses():
    assert [is_address(host) for host in ("1.2.3.4", "::1", "a.test", "1.2.3")] == [True, True, False, False]
