"""Chains that an OpenSSL store is asked about outside of OpenSSL's handshakes: the alert of each refusal."""

import datetime
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL._util import lib
from OpenSSL.crypto import X509, X509Store

from headgate.engine.tls13 import alerts
from headgate.testing.pki import Authority, Leaf
from headgate.tls.chain import _ALERTS, _BAD, verify_chain
from headgate.tls.openssl import require_purpose


def store_of(*trusted: Leaf, of_server: bool = True) -> X509Store:
    store = X509Store()
    for each in trusted:
        store.add_cert(X509.from_cryptography(each.certificate))
    require_purpose(store, of_server=of_server)
    return store


def refused(store: X509Store, *chain: bytes) -> alerts.TlsAlertError:
    with pytest.raises(alerts.TlsAlertError) as caught:
        verify_chain(store, chain)
    assert caught.value.reason.startswith("certificate-")
    return caught.value


def test_a_chain_with_its_intermediates_is_believed(root):
    between = root.intermediate()
    leaf = between.leaf("a.test")
    verify_chain(store_of(root), (leaf.der, between.der))
    verify_chain(store_of(root), (leaf.der, root.der, between.der))


def test_rfc8446_6_2_the_alert_says_what_is_wrong(root):
    store = store_of(root)
    between = root.intermediate()
    for chain, alert, words in [
        ((Authority.root("Somebody").leaf("a.test").der,), alerts.UNKNOWN_CA, "local issuer"),
        ((between.leaf("a.test").der,), alerts.UNKNOWN_CA, "local issuer"),
        ((Authority.root("Self").der,), alerts.UNKNOWN_CA, "self"),
        (
            (root.leaf("late", not_after=1_600_000_000).der,),
            alerts.CERTIFICATE_EXPIRED,
            "expired: .*CN=late, valid until 2020",
        ),
        ((root.leaf("soon", not_before=4e9, not_after=4.1e9).der,), alerts.BAD_CERTIFICATE, "not yet valid"),
        ((root.leaf("c", client=True).der,), alerts.UNSUPPORTED_CERTIFICATE, "purpose"),
        ((root.rekeyed().leaf("forged").der,), alerts.UNKNOWN_CA, "local issuer"),
        ((root.leaf("b.test").der.replace(b"b.test", b"c.test"),), alerts.DECRYPT_ERROR, "signature"),
        ((b"\x30\x00",), alerts.BAD_CERTIFICATE, "cannot be read"),
    ]:
        error = refused(store, *chain)
        assert error.alert == alert, (error, alert)
        assert error.code == 0x100 + alert
        assert re.search(words, error.detail), error.detail


def test_a_server_certificate_is_no_client_and_the_other_way_round(root):
    server, client = root.leaf("a.test"), root.leaf("a.test", client=True)
    verify_chain(store_of(root, of_server=True), (server.der,))
    verify_chain(store_of(root, of_server=False), (client.der,))
    assert refused(store_of(root, of_server=True), client.der).alert == alerts.UNSUPPORTED_CERTIFICATE
    assert refused(store_of(root, of_server=False), server.der).alert == alerts.UNSUPPORTED_CERTIFICATE


def certificate(
    key, issuer_key, *, issuer="Weak", name="a.test", algorithm=None, ca=False
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, algorithm or hashes.SHA256())


def test_security_level_2_refuses_short_keys():
    authority = ec.generate_private_key(ec.SECP256R1())
    trusted = Leaf(certificate(authority, authority, name="Weak", ca=True), authority)
    for key, is_strong in [
        (rsa.generate_private_key(65537, 1024), False),
        (rsa.generate_private_key(65537, 2048), True),
        (ec.generate_private_key(ec.SECP192R1()), False),
        (ec.generate_private_key(ec.SECP224R1()), True),
    ]:
        leaf = Leaf(certificate(key, authority), key)
        if is_strong:
            verify_chain(store_of(trusted), (leaf.der,))
        else:
            error = refused(store_of(trusted), leaf.der)
            assert error.alert == alerts.BAD_CERTIFICATE
            assert "EE certificate key too weak: depth 0, CN=a.test" in error.detail


def test_security_level_2_refuses_a_short_key_of_an_authority():
    short = rsa.generate_private_key(65537, 1024)
    trusted = Leaf(certificate(short, short, name="Weak", ca=True), short)
    leaf = certificate(ec.generate_private_key(ec.SECP256R1()), short)
    assert "CA certificate key too weak" in refused(store_of(trusted), Leaf(leaf, short).der).detail


def test_every_alert_belongs_to_its_number():
    """OpenSSL's own table, by name; numbers that have no name here are those of newer releases."""
    named = {getattr(lib, name): name for name in dir(lib) if name.startswith("X509_V_ERR_")}
    words = {
        "HAS_EXPIRED": alerts.CERTIFICATE_EXPIRED,
        "CERT_REVOKED": alerts.CERTIFICATE_REVOKED,
        "SIGNATURE_FAILURE": alerts.DECRYPT_ERROR,
        "PURPOSE": alerts.UNSUPPORTED_CERTIFICATE,
        "UNABLE_TO_GET": alerts.UNKNOWN_CA,
        "SELF_SIGNED": alerts.UNKNOWN_CA,
    }
    for number, name in named.items():
        for word, alert in words.items():
            if word in name:
                assert _ALERTS[number] == alert, name
    assert set(_BAD) <= set(named)
    assert not _BAD & set(_ALERTS)
