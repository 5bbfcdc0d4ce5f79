"""Client certificates: who gets in, who does not, and the second look after a resumption."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import SSL

from headgate.errors import ConfigError
from headgate.testing.pki import Authority
from headgate.tls.client_auth import ClientVerifier
from headgate.tls.policy import TlsPolicy

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]


def crl_of(authority: Authority, *revoked: int, days: float = 365.0) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(days=400))
        .next_update(now + datetime.timedelta(days=days))
    )
    for serial in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root("Client Authority")


@pytest.fixture(scope="module")
def alice(authority):
    return authority.leaf("alice", client=True)


def policy(authority, auth="required", crl=b"", name="a") -> TlsPolicy:
    return TlsPolicy(name, client_auth=auth, client_ca=authority.pem, client_crl=crl)


@pytest.mark.parametrize("version", VERSIONS)
def test_verified_client_is_known_in_full_and_resumed_handshakes(kit, ecdsa, authority, alice, version):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority))
    client = kit.Client(max_version=version, certificate=alice)
    for resumed in (False, True):
        outcome = gate.connect(client)
        assert outcome.done, (outcome.server_error, outcome.client_error)
        assert outcome.resumed is resumed
        known = gate.tls.client_certificate(outcome.server.connection)
        assert known.subject == "CN=alice"
        assert known.issuer == "CN=Client Authority"
        assert known.serial == f"{alice.certificate.serial_number:x}"
        assert known.der == alice.der
        assert repr(known) == f"<ClientCertificate CN=alice, serial {known.serial}>"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("auth", "let_in"), [("required", False), ("optional", True), ("off", True)])
def test_no_certificate(kit, ecdsa, authority, version, auth, let_in):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, auth))
    outcome = gate.connect(kit.Client(max_version=version))
    assert outcome.server_done is let_in
    if let_in:
        assert gate.tls.client_certificate(outcome.server.connection) is None
    else:
        assert outcome.server_error.reason == "client-certificate-missing"
        assert "handshake failure" in outcome.alert() or "certificate required" in outcome.alert()


@pytest.mark.parametrize("auth", ["required", "optional"])
@pytest.mark.parametrize("version", VERSIONS)
def test_strangers_expired_and_server_certificates_are_refused(kit, ecdsa, authority, version, auth):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, auth))
    for leaf, alert in [
        (Authority.root("Somebody").leaf("eve", client=True), "unknown ca"),
        (authority.leaf("late", client=True, not_after=1_600_000_000), "certificate expired"),
        (authority.leaf("server.test"), "certificate"),
    ]:
        outcome = gate.connect(kit.Client(max_version=version, certificate=leaf))
        assert outcome.server_error.reason == "certificate-verify-failed"
        assert alert in outcome.alert()


@pytest.mark.parametrize("version", VERSIONS)
def test_revoked_client_is_refused(kit, ecdsa, authority, alice, version):
    bob = authority.leaf("bob", client=True)
    crl = crl_of(authority, bob.certificate.serial_number)
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, crl=crl))
    assert gate.connect(kit.Client(max_version=version, certificate=alice)).done
    outcome = gate.connect(kit.Client(max_version=version, certificate=bob))
    assert outcome.server_error.reason == "certificate-verify-failed"
    assert "revoked" in outcome.alert()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", ["revoked", "authority removed", "CRL expired"])
def test_resumed_session_is_checked_against_the_files_of_today(kit, ecdsa, authority, alice, version, change):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, crl=crl_of(authority)))
    client = kit.Client(max_version=version, certificate=alice)
    assert gate.connect(client).done
    assert gate.connect(client).resumed
    other = Authority.root("Another")
    renewed = {
        "revoked": policy(authority, crl=crl_of(authority, alice.certificate.serial_number)),
        "authority removed": policy(other, crl=crl_of(other)),
        "CRL expired": policy(authority, crl=crl_of(authority, days=-1)),
    }[change]
    gate.tls.set_client_files(renewed, [kit.identity_of(ecdsa)])
    outcome = gate.connect(client)
    assert outcome.server_error.reason == "client-certificate-refused"
    assert "CN=alice" in outcome.server_error.detail
    client.session = None
    assert gate.connect(client).server_error.reason == "certificate-verify-failed"


def test_resumed_session_of_an_expired_certificate_is_refused(kit, ecdsa, authority):
    # The ticket is of a time when it was valid: what recheck sees is a certificate that is over.
    verifier = ClientVerifier(policy(authority))
    late = authority.leaf("late", client=True, not_after=1_600_000_000)
    with pytest.raises(Exception, match=r"client-certificate-refused: .*expired.*CN=late") as caught:
        verifier.recheck(late.certificate)
    assert caught.value.reason == "client-certificate-refused"
    with pytest.raises(Exception, match="client-certificate-missing"):
        verifier.recheck(None)
    ClientVerifier(policy(authority, "optional")).recheck(None)


def test_a_chain_that_needs_the_clients_own_intermediate(kit, ecdsa, authority):
    between = authority.intermediate("Client Intermediate")
    carol = between.leaf("carol", client=True)
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority))
    # TLS 1.3: no ticket that works, so the second handshake is a full one.
    client = kit.Client(certificate=carol, along=[between])
    for _ in range(2):
        outcome = gate.connect(client)
        assert outcome.done
        assert not outcome.resumed
    # TLS 1.2: the ticket is promised before the certificate is seen; the resumed session is refused.
    client = kit.Client(max_version=SSL.TLS1_2_VERSION, certificate=carol, along=[between])
    assert gate.connect(client).done
    assert gate.connect(client).server_error.reason == "client-certificate-refused"
    # The remedy: the intermediate in client_ca.
    both = TlsPolicy("a", client_auth="required", client_ca=authority.pem + between.pem)
    gate = kit.Gate([kit.identity_of(ecdsa)], both)
    for version in VERSIONS:
        client = kit.Client(max_version=version, certificate=carol, along=[between])
        gate.connect(client)
        assert gate.connect(client).resumed


def test_the_client_is_told_which_authorities_count(kit, ecdsa, authority, alice):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority))
    outcome = gate.connect(kit.Client(certificate=alice))
    names = outcome.client.get_client_ca_list()
    assert [name.CN for name in names] == ["Client Authority"]


def test_a_ticket_of_a_listener_without_client_auth_opens_none_with(kit, ecdsa, authority):
    open_gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a"))
    closed_gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, "required"))
    for version in VERSIONS:
        client = kit.Client(max_version=version)
        assert open_gate.connect(client).done
        assert closed_gate.connect(client).server_error.reason == "client-certificate-missing"


def test_files_that_cannot_be_used(authority):
    garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for ca, crl, words in [
        (b"", b"", "no certificate in client_ca"),
        (garbage, b"", "authority cannot be read"),
        (authority.pem, b"nothing", "no CRL in client_crl"),
        (
            authority.pem,
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "CRL in client_crl cannot",
        ),
    ]:
        with pytest.raises(ConfigError, match=words):
            ClientVerifier(TlsPolicy("a", client_auth="required", client_ca=ca, client_crl=crl))


def test_an_expired_crl_is_told(authority):
    now = datetime.datetime.now(datetime.UTC).timestamp()
    assert ClientVerifier(policy(authority, crl=crl_of(authority))).problems(now) == []
    verifier = ClientVerifier(policy(authority, crl=crl_of(authority, days=-2)))
    assert "Client Authority" in verifier.problems(now)[0]
    assert repr(verifier) == "<ClientVerifier 1 authorities, 1 CRLs>"
