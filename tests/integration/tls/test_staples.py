"""Staples and certificates as real clients get them: openssl s_client -status and curl --cert-status."""

import pytest

from headgate.tls.identity import StapleRules
from headgate.tls.policy import TlsPolicy

VERSIONS = ["-tls1_2", "-tls1_3"]


@pytest.fixture
def port(site):
    identities = [
        site.identity("a.test"),
        site.identity("a.test", key="rsa"),
        site.identity("b.test", "*.wild.test", key="rsa"),
        site.identity("none.test", staple=""),
        site.identity("old.test", staple="expired"),
        site.identity("revoked.test", staple="revoked"),
        site.identity("told.test", staple="revoked", rules=StapleRules(revoked="staple")),
        site.identity("must.test", staple="", must_staple=True, rules=StapleRules(must_staple="refuse")),
    ]
    return site.serve(TlsPolicy("https"), identities)[0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["a.test", "b.test", "x.wild.test"])
def test_openssl_gets_a_staple_that_it_verifies(site, tools, port, name, version):
    said = tools.s_client(port, "-status", version, "-CAfile", site.ca, "-verify_return_error", name=name)
    assert "OCSP Response Status: successful" in said
    assert "Cert Status: good" in said
    assert "Verify return code: 0 (ok)" in said


@pytest.mark.parametrize("name", ["a.test", "b.test", "x.wild.test"])
def test_curl_insists_on_a_staple_and_gets_it(site, tools, port, name):
    done = tools.curl(port, "--cert-status", "--cacert", site.ca, name=name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("sigalgs", "key"), [("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256:RSA+SHA256", "RSA")]
)
def test_rsa_and_ecdsa_side_by_side_each_with_the_staple_of_its_own(site, tools, port, sigalgs, key, version):
    # The root signs with ECDSA: an RSA-only client of TLS 1.2 takes it in a chain all the same.
    said = tools.s_client(port, "-status", version, "-sigalgs", sigalgs)
    assert f"Peer signature type: {'RSA-PSS' if key == 'RSA' else key}" in said
    serial = said.split("Serial Number: ")[1].split()[0]
    text = said.split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
    assert "Cert Status: good" in said
    leaf = text_serial("-----BEGIN CERTIFICATE-----" + text + "-----END CERTIFICATE-----\n")
    assert int(serial, 16) == leaf


def text_serial(pem: str) -> int:
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["none.test", "old.test", "revoked.test"])
def test_nothing_absent_expired_or_withheld_is_on_the_wire(site, tools, port, name, version, facts):
    said = tools.s_client(port, "-status", version, name=name)
    assert "OCSP response: no response sent" in said
    assert facts(said)["name"] == name  # served all the same
    assert tools.curl(port, "--cert-status", "--cacert", site.ca, name=name).returncode == 91


def test_revoked_is_told_when_configured(tools, port):
    assert "Cert Status: revoked" in tools.s_client(port, "-status", name="told.test")


@pytest.mark.parametrize("version", VERSIONS)
def test_must_staple_refuse(site, tools, port, version, facts):
    said = tools.s_client(port, "-status", version, name="must.test")
    assert "alert internal error" in said
    site.wait_for("must-staple-refused")
    assert facts(tools.s_client(port, version, name="must.test"))["name"] == "must.test"


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("b.test", "b.test"),
        ("B.TEST", "b.test"),
        ("y.wild.test", "b.test"),
        ("unknown.test", "a.test"),
        ("", "a.test"),
    ],
)
def test_subject_by_name(tools, port, name, subject):
    said = tools.s_client(port, name=name)
    assert f"subject=CN = {subject}" in said or f"subject=CN={subject}" in said


def test_unknown_name_rejected(site, tools):
    (port,) = site.serve(TlsPolicy("strict", unknown_name="reject"), [site.identity("a.test")])
    for name in ("unknown.test", ""):
        assert "unrecognized name" in tools.s_client(port, name=name)
    assert "Verification" in tools.s_client(port, name="a.test")
    assert site.reasons().count("unrecognized-name") == 2
