"""Certificates are read in pieces, must-staple first, and only once."""

import asyncio
from dataclasses import replace

import pytest

from headgate.config.loader import loads
from headgate.process.snapshot import Certificate
from headgate.process.subjects import SubjectShelf
from headgate.testing.pki import Authority

ISSUER = Authority.root().intermediate()
TOML = """
[[listener]]
addresses = ["127.0.0.1:0"]
[[certificate]]
files = "/etc/x.pem"
[certificate.ocsp]
stapling = "%s"
[[route]]
respond = { status = 200 }
"""
AUTO, OFF = (loads(TOML % word, files=False) for word in ("auto", "off"))


class Events(list):
    def event(self, name, level="info", *, limit_key="", **fields):
        self.append((name, fields))


def certificate(name, **options):
    leaf = ISSUER.leaf(f"{name}.test", ocsp=["http://ocsp.test/"], **options)
    must_staple = options.get("must_staple", False)
    return Certificate(name, 0, leaf.chain_pem.decode(), name, must_staple=must_staple)


PLAIN = [certificate(f"plain{i}") for i in range(50)]
DEMANDING = [certificate(f"demanding{i}", must_staple=True) for i in range(3)]


@pytest.fixture
def shelf():
    one = SubjectShelf(Events())
    one.decodes = lambda certificates, config, limit: asyncio.run(one.decode(certificates, config, limit))
    return one


def names(subjects):
    return [subject.name for subject in subjects]


def test_must_staple_come_first_and_all_of_them(shelf):
    everything = [*PLAIN, *DEMANDING]
    assert shelf.decodes(everything, AUTO, 2) is False
    assert names(shelf.of(everything)) == names(DEMANDING)
    assert shelf.decodes(everything, AUTO, 40) is False
    assert len(shelf.of(everything)) == 43
    assert shelf.decodes(everything, AUTO, 40) is True
    assert names(shelf.of(everything)) == names(everything)


def test_what_did_not_change_is_not_read_again(shelf):
    shelf.decodes(PLAIN, AUTO, 100)
    before = shelf.of(PLAIN)
    changed = [replace(certificate("plain0", fresh_key=True), fingerprint="new"), *PLAIN[1:]]
    assert shelf.fingerprints()["plain0"] == "plain0"
    assert shelf.decodes(changed, AUTO, 1) is True
    after = shelf.of(changed)
    assert after[0] is not before[0]
    assert shelf.fingerprints()["plain0"] == "new"
    assert all(old is new for old, new in zip(before[1:], after[1:], strict=True))


def test_other_rules_make_another_subject(shelf):
    shelf.decodes(PLAIN[:1], AUTO, 1)
    assert shelf.of(PLAIN[:1])[0].stapling == "auto"
    shelf.decodes(PLAIN[:1], OFF, 1)
    assert shelf.of(PLAIN[:1])[0].stapling == "off"


def test_what_is_gone_is_forgotten(shelf):
    shelf.decodes(PLAIN, AUTO, 100)
    shelf.decodes(PLAIN[:1], AUTO, 100)
    assert names(shelf.of(PLAIN)) == ["plain0"]


def test_one_that_cannot_be_read_is_told_once_and_skipped(shelf):
    broken = [replace(PLAIN[0], chain="nothing"), PLAIN[1]]
    assert shelf.decodes(broken, AUTO, 100) is True
    assert shelf.decodes(broken, AUTO, 100) is True
    assert names(shelf.of(broken)) == ["plain1"]
    assert [(name, fields["file"]) for name, fields in shelf._events] == [("certificate-problem", "plain0")]


def test_others_get_their_turn_meanwhile(shelf):
    async def main():
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await shelf.decode(PLAIN, AUTO, 100)
        counting.cancel()
        return turns

    assert asyncio.run(main()) >= 2
