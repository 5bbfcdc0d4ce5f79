"""Client certificates and CRLs with curl and openssl, in full and in resumed handshakes."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headgate.testing.pki import Authority
from headgate.tls.policy import TlsPolicy


@pytest.fixture
def people(site):
    authority = Authority.root("People")
    alice, bob = authority.leaf("alice", client=True), authority.leaf("bob", client=True)
    now = datetime.datetime.now(datetime.UTC)
    revoked = (
        x509.RevokedCertificateBuilder()
        .serial_number(bob.certificate.serial_number)
        .revocation_date(now)
        .build()
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(days=1))
        .next_update(now + datetime.timedelta(days=1))
        .add_revoked_certificate(revoked)
        .sign(authority.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    files = {
        leaf: site.write(f"{leaf}.pem", made.pem + made.key_pem)
        for leaf, made in [("alice", alice), ("bob", bob)]
    }
    return authority, crl, files


def port_of(site, authority, crl, auth="required") -> int:
    policy = TlsPolicy(f"people-{auth}", client_auth=auth, client_ca=authority.pem, client_crl=crl)
    return site.serve(policy, [site.identity("a.test")], workers=2)


@pytest.mark.parametrize("version", ["--tlsv1.3", "--tls-max=1.2"])
def test_curl_with_without_and_revoked(site, tools, people, version, facts):
    authority, crl, files = people
    port = port_of(site, authority, crl)[0]
    options = ["--cacert", site.ca, *version.split("=")]
    done = tools.curl(port, *options, "--cert", files["alice"])
    assert facts(done.stdout)["client"] == "CN=alice"
    assert tools.curl(port, *options).returncode != 0
    assert tools.curl(port, *options, "--cert", files["bob"]).returncode != 0
    site.wait_for("client-certificate-missing")
    site.wait_for("certificate-verify-failed")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_resumed_on_another_worker_the_client_is_still_known(site, tools, people, version, facts):
    authority, crl, files = people
    ports = port_of(site, authority, crl)
    path = str(site.folder / "session")
    tools.s_client(ports[0], version, "-cert", files["alice"], "-key", files["alice"], "-sess_out", path)
    said = tools.s_client(ports[1], version, "-sess_in", path)
    assert facts(said)["resumed"]
    assert facts(said)["client"] == "CN=alice"


def test_optional_lets_in_without_but_not_with_a_revoked_one(site, tools, people, facts):
    authority, crl, files = people
    port = port_of(site, authority, crl, "optional")[0]
    assert facts(tools.curl(port, "--cacert", site.ca).stdout)["client"] is None
    assert (
        facts(tools.curl(port, "--cacert", site.ca, "--cert", files["alice"]).stdout)["client"] == "CN=alice"
    )
    assert tools.curl(port, "--cacert", site.ca, "--cert", files["bob"]).returncode != 0
