"""From files to Snapshot text and back, and what is told on the way."""

import pytest

from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.ocsp.settings import OcspSettings
from headgate.process.certificates import ShelfSource, decode_identity, rules_of, tables_of
from headgate.process.subjects import decode_subject
from headgate.testing.pki import Authority

ISSUER = Authority.root().intermediate()


class Events(list):
    def event(self, name, level="info", *, limit_key="", **fields):
        self.append((name, level, fields))


@pytest.fixture
def config(tmp_path):
    leaf = ISSUER.leaf("a.test", "*.a.test", ocsp=["http://ocsp.test/"], must_staple=True)
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    (tmp_path / "a.pem.ocsp").write_bytes(b"\x30\x00")
    other = ISSUER.leaf("b.test")
    (tmp_path / "b.pem").write_bytes(other.chain_pem)
    (tmp_path / "b.key").write_bytes(other.key_pem)
    (tmp_path / "issuer.pem").write_bytes(ISSUER.pem)
    return loads(
        f"""
        [[listener]]
        addresses = ["127.0.0.1:0"]
        [[certificate]]
        files = "{tmp_path}/a.pem"
        [[certificate]]
        files = "{tmp_path}/b.pem"
        key = "{tmp_path}/b.key"
        issuer = "{tmp_path}/issuer.pem"
        [certificate.ocsp]
        stapling = "off"
        must_staple = "refuse"
        max_interval = "1h"
        [[route]]
        respond = {{ status = 200 }}
        """
    )


@pytest.fixture
def source(config):
    events = Events()
    source = ShelfSource(config, SystemClock(), events)
    source.events = events
    return source


def test_an_identity_survives_the_trip(config, source):
    first, second = source.load()
    before = source.identities()[0]
    after = decode_identity(first, config)
    for name in ("name", "names", "chain_pem", "key_pem", "fingerprint", "must_staple", "section", "rules"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.response == first.response == b"\x30\x00"
    assert decode_identity(second, config).rules == rules_of(config, 1)
    assert rules_of(config, 1).must_staple == "refuse"


def test_a_subject_has_its_issuer_and_its_rules(config, source):
    first, second = (decode_subject(item, config) for item in source.load())
    assert first.must_staple
    assert first.responders == ("http://ocsp.test/",)
    assert first.issuer == ISSUER.certificate
    assert first.file_response == b"\x30\x00"
    assert second.issuer == ISSUER.certificate
    assert second.stapling == "off"
    assert second.file_response is None
    assert first.settings is None, "the general ones hold"
    assert second.settings == OcspSettings(max_interval=3600.0)


def test_a_subject_needs_no_key(config, source):
    [first, _] = source.load()
    assert "PRIVATE" in first.key
    assert "PRIVATE" not in first.chain


def test_nothing_changed_is_none_and_a_change_is_everything(config, source, tmp_path):
    source.load()
    assert source.poll() is None
    leaf = ISSUER.leaf("a.test", fresh_key=True)
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    changed = source.poll()
    assert [item.name for item in changed] == [f"{tmp_path}/a.pem", f"{tmp_path}/b.pem"]


def test_a_problem_is_told_once_and_so_is_its_end(source, tmp_path):
    source.load()
    good = (tmp_path / "b.key").read_bytes()
    (tmp_path / "b.key").write_bytes(b"junk")
    assert source.poll() is None
    source.poll()
    told = [(name, fields["file"]) for name, _, fields in source.events]
    assert told == [("certificate-problem", f"{tmp_path}/b.pem")]
    assert list(source.problems()) == [f"{tmp_path}/b.pem"]
    (tmp_path / "b.key").write_bytes(good)
    source.poll()
    assert source.events[-1][0] == "certificate-mended"
    assert source.problems() == {}


def test_tables_follow_the_configuration(config, tmp_path):
    first, second = tables_of(config)
    assert (first.files, first.key, first.section) == (f"{tmp_path}/a.pem", "", 0)
    assert (second.key, second.issuer, second.section) == (f"{tmp_path}/b.key", f"{tmp_path}/issuer.pem", 1)


def test_rings_are_tended_at_each_poll(config):
    tended = []
    source = ShelfSource(config, SystemClock(), Events(), lambda: tended.append(1))
    source.load()
    source.poll()
    assert tended == [1]
