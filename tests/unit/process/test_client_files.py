"""Client authorities and CRLs: read, watched, kept while they are broken, told, and taken up from a Snapshot."""

import datetime
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headgate.config.loader import load
from headgate.errors import ConfigError
from headgate.process.client_files import ClientFiles, with_client_files
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority
from headgate.tls.policy import TlsPolicy

PEOPLE = Authority.root("People")
ALICE = PEOPLE.leaf("alice", client=True)
NOW = 1_800_000_000.0


def crl(*revoked, until=NOW + 86400):
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(PEOPLE.certificate.subject)
        .last_update(datetime.datetime.fromtimestamp(NOW - 86400, datetime.UTC))
        .next_update(datetime.datetime.fromtimestamp(until, datetime.UTC))
    )
    for leaf in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(leaf.certificate.serial_number)
            .revocation_date(datetime.datetime.fromtimestamp(NOW - 100, datetime.UTC))
            .build()
        )
    return builder.sign(PEOPLE.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Events:
    def __init__(self):
        self.seen = []

    def event(self, name, level="info", *, limit_key="", **fields):
        self.seen.append((name, fields.get("file")))


@pytest.fixture
def made(tmp_path):
    (tmp_path / "people.pem").write_bytes(PEOPLE.pem)
    (tmp_path / "people.crl").write_bytes(crl())
    leaf = Authority.root().leaf("a.test")
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    (tmp_path / "headgate.toml").write_text(
        '[[listener]]\naddresses = ["127.0.0.1:8080"]\nmode = "http"\n'
        '[[listener]]\naddresses = ["127.0.0.1:8443"]\n[listener.tls]\nclient_auth = "required"\n'
        'client_ca = "people.pem"\nclient_crl = "people.crl"\n'
        '[[certificate]]\nfiles = "a.pem"\n[[route]]\nrespond = { status = 204 }\n'
    )
    events = Events()
    files = ClientFiles(load(tmp_path / "headgate.toml"), FakeClock(wall=NOW), events)
    return types.SimpleNamespace(
        files=files, events=events, folder=tmp_path, crl=str(tmp_path / "people.crl")
    )


def test_they_are_in_the_snapshot_by_listener(made):
    made.files.load()
    value = made.files.to_json()
    assert set(value) == {"1"}
    policy = TlsPolicy("x", client_auth="required")
    taken = with_client_files(policy, value, 1)
    assert (taken.client_ca, taken.client_crl) == (PEOPLE.pem, crl_text(made))
    assert with_client_files(policy, value, 0) is policy
    assert made.events.seen == []


def crl_text(made):
    return (made.folder / "people.crl").read_bytes()


def test_a_change_is_seen_once(made):
    made.files.load()
    assert not made.files.poll()
    (made.folder / "people.crl").write_bytes(crl(ALICE))
    assert made.files.poll()
    assert not made.files.poll()
    assert made.files.to_json()["1"]["crl"].encode() == crl_text(made)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", None])
def test_what_cannot_be_used_keeps_the_one_before_and_is_told_once(made, content):
    made.files.load()
    before = made.files.to_json()
    path = made.folder / "people.crl"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    # Empty, too, is not "no CRL": whoever is on the one of before would be let in.
    assert not made.files.poll()
    assert not made.files.poll()
    assert made.files.to_json() == before
    (file,) = made.files.problems()
    assert made.crl in file
    assert "still used" in made.files.problems()[file]
    assert made.events.seen == [("client-files-problem", file)]
    path.write_bytes(crl(ALICE))
    assert made.files.poll()
    assert made.events.seen[1:] == [("client-files-mended", file)]
    assert made.files.problems() == {}


def test_at_the_start_what_cannot_be_used_ends_it(made):
    (made.folder / "people.pem").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"people\.pem"):
        made.files.load()


def test_an_expired_crl_is_told_though_no_file_changes(made, tmp_path):
    (tmp_path / "people.crl").write_bytes(crl(until=NOW - 1))
    made.files.load()
    assert made.events.seen == [("client-files-problem", made.crl)]
    assert "expired" in made.files.problems()[made.crl]
