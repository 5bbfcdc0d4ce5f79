"""The stapler and what it did not fetch now: revocations, stored staples, files, disks, and issuers."""

import asyncio
import os
from pathlib import Path

import pytest

from headgate import counters as slots
from headgate.ocsp.entry import Source, StapleState
from headgate.ocsp.subject import staple_key

URL = "http://ocsp.test/"
DAY = 86_400.0


def files_in(directory: Path):
    return list(directory.iterdir())


# -- revocation


def test_revoked_replaces_at_once_and_no_older_good_comes_back_from_anywhere(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=DAY)
        b.world.host("ocsp.test", responder)
        older_good = b.authority.ocsp(
            leaf, this_update=b.clock.wall() - 60, next_update=b.clock.wall() + 9 * DAY
        )
        await b.start(b.subject(leaf), run_for=0.1)
        responder.statuses[leaf.certificate.serial_number] = "revoked"
        responder.age = 30.0  # even though it was produced before the good that is held
        b.stapler.refresh("a.test")
        await b.clock.advance(1)
        assert b.last("a.test").status == "revoked"
        assert b.status("a.test").state is StapleState.REVOKED
        assert b.kinds()["certificate-revoked"] == 1
        # from the network
        responder.statuses.clear()
        responder.age = 40.0
        b.stapler.refresh("a.test")
        await b.clock.advance(1)
        assert b.last("a.test").status == "revoked"
        assert b.status("a.test").last_failure.reason == "older-than-revocation"
        # from a file and the store, after a restart with every responder dead
        await b.stop()
        b.world.hosts.clear()
        b.published.clear()
        await b.start(b.subject(leaf, file_response=older_good), run_for=1)
        assert b.last("a.test").status == "revoked"
        assert b.event("staple-source-refused")["reason"] == "older-than-revocation"
        # ... and after a stop that was longer than the revocation's own life
        await b.stop()
        b.published.clear()
        b.clock.jump(2 * DAY)
        await b.start(b.subject(leaf, file_response=older_good), run_for=1)
        assert b.last("a.test") is None
        assert b.status("a.test").state is StapleState.REVOKED
        # only what is newer than the revocation: a hold that was lifted
        b.world.host("ocsp.test", b.responder(leaf))
        b.stapler.refresh("a.test")
        await b.clock.advance(1)
        assert b.last("a.test").status == "good"

    scenario(body)


# -- restart, files, disk


def test_restart_serves_what_was_stored_before_any_network_and_asks_in_its_time(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path / "staples"
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=1)
        held = b.last("a.test")
        await b.stop()
        b.world.hosts.clear()
        b.published.clear()
        stapler = b.build(b.subject(leaf))
        stapler.load()
        assert b.last("a.test").der == held.der
        assert stapler.staples()["a.test"].der == held.der
        assert b.status("a.test").source is Source.STORE
        await stapler.first_round(["a.test"])
        b.task = asyncio.ensure_future(stapler.run())
        await b.clock.advance(3600)
        assert b.status("a.test").failures == 0, "fresh enough not to be asked for"
        await b.clock.advance(DAY / 2)
        assert b.status("a.test").failures > 0
        assert b.last("a.test").der == held.der

    scenario(body)


def test_stored_answer_past_half_its_life_is_refreshed_at_once(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=1)
        await b.stop()
        await b.clock.advance(0.6 * DAY)
        await b.start(b.subject(leaf), run_for=1)
        assert [staple.status for staple in b.published["a.test"]] == ["good"] * 3
        assert len(b.world.requests("ocsp.test")) == 2

    scenario(body)


def test_staples_of_certificates_that_are_gone_are_removed_when_they_have_ended(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path
        stays, gone = b.leaf("a.test", URL), b.leaf("b.test", URL)
        b.world.host("ocsp.test", b.responder(stays, gone, lifetime=DAY))
        await b.start(b.subject(stays), b.subject(gone), run_for=1)
        await b.stop()
        assert len(os.listdir(tmp_path)) == 2
        stapler = await b.start(b.subject(stays), run_for=1)
        await stapler.prune()
        assert len(os.listdir(tmp_path)) == 2, "it may come back, and its staple with it"
        assert "staples-pruned" not in b.kinds()
        await b.clock.advance(2 * DAY)
        await stapler.prune()
        assert os.listdir(tmp_path) == [f"{staple_key(stays.certificate, b.authority.certificate)}.der"]
        assert b.event("staples-pruned")["files"] == 1
        assert b.event("staples-pruned")["directory"] == str(tmp_path)

    scenario(body)


@pytest.mark.parametrize("damage", ["truncated", "expired", "foreign", "empty", "huge"])
def test_bad_stored_staple_is_refused_said_and_replaced(scenario, tmp_path: Path, damage):
    async def body(b):
        b.directory = tmp_path
        leaf, other = b.leaf("a.test", URL), b.leaf("b.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=1)
        (file,) = files_in(tmp_path)
        good, now = file.read_bytes(), b.clock.wall()
        await b.stop()
        file.write_bytes(
            {
                "truncated": good[:-10],
                "expired": b.authority.ocsp(leaf, this_update=now - 7200, next_update=now - 3600),
                "foreign": b.authority.ocsp(other, this_update=now, next_update=now + 3600),
                "empty": b"",
                "huge": good + b"\0" * 70_000,
            }[damage]
        )
        b.published.clear()
        stapler = b.build(b.subject(leaf))
        stapler.load()
        assert b.published == {}
        event = b.event("staple-source-refused")
        assert event["source"] == "store"
        expected = {"truncated": "malformed", "foreign": "wrong-certificate", "empty": "malformed"}
        expected |= {"huge": "too-large", "expired": "expired"}
        assert event["reason"] == expected[damage]
        assert b.count(slots.OCSP_SOURCE_REFUSED) == 1
        b.task = asyncio.ensure_future(stapler.run())
        await b.clock.advance(1)
        assert b.last("a.test").status == "good"
        assert file.read_bytes() == b.last("a.test").der

    scenario(body)


def test_expired_file_beside_the_chain_is_never_published_and_the_network_is_asked(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        now = b.clock.wall()
        expired = b.authority.ocsp(leaf, this_update=now - 7200, next_update=now - 1)
        await b.start(b.subject(leaf, file_response=expired), run_for=1)
        assert b.published == {}
        assert b.event("staple-source-refused")["source"] == "file"
        b.world.host("ocsp.test", b.responder(leaf))
        await b.clock.advance(60)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_file_serves_a_certificate_that_names_no_responder_until_it_ends(scenario):
    async def body(b):
        leaf = b.leaf("a.test")
        now = b.clock.wall()
        file = b.authority.ocsp(leaf, this_update=now, next_update=now + 3600)
        await b.start(b.subject(leaf, file_response=file), run_for=3599)
        assert [staple.der for staple in b.published["a.test"]] == [file]
        await b.clock.advance(1.01)
        assert b.last("a.test") is None
        assert b.status("a.test").state is StapleState.EXPIRED

    scenario(body)


def test_a_disk_that_takes_nothing_is_said_and_tried_again_and_memory_goes_on(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path / "staples"
        b.directory.write_bytes(b"a file where the directory should be")
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf))
        await b.start(b.subject(leaf), run_for=1)
        assert b.last("a.test").status == "good"
        event = b.event("staple-store-failed")
        assert event["path"].startswith(str(b.directory))
        assert event["errno"] > 0
        assert event["next_seconds"] == 30.0
        assert b.count(slots.OCSP_STORE_FAILED) >= 1
        b.directory.unlink()
        await b.clock.advance(31)
        (file,) = files_in(b.directory)
        assert file.read_bytes() == b.last("a.test").der
        said = b.kinds()["staple-store-failed"]
        await b.clock.advance(120)
        assert b.kinds()["staple-store-failed"] == said

    scenario(body)


# -- the issuer


def test_issuer_is_fetched_when_the_chain_lacks_it_and_kept_over_a_restart(scenario, tmp_path: Path):
    async def body(b):
        b.directory = tmp_path
        leaf = b.leaf("a.test", URL, issuer_urls=("http://ca.test/issuer.der",))
        subject = b.subject(leaf)
        bare = type(subject).from_pem("a.test", leaf.pem)
        assert bare.issuer is None
        b.world.host("ocsp.test", b.responder(leaf))
        b.world.host("ca.test", "refuse")
        await b.start(bare, run_for=1)
        assert b.status("a.test").state is StapleState.NO_ISSUER
        assert b.event("staple-failed")["responder"] == "http://ca.test/issuer.der"
        b.world.host("ca.test", lambda request: (200, {}, b.authority.der))
        await b.clock.advance(60)
        assert b.last("a.test").status == "good"
        assert b.kinds()["issuer-found"] == 1
        await b.stop()
        b.world.hosts.clear()
        b.published.clear()
        await b.start(bare, run_for=1)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_no_issuer_and_nowhere_to_find_it_is_said_once(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        bare = type(b.subject(leaf)).from_pem("a.test", leaf.pem)
        await b.start(bare, run_for=DAY)
        assert b.kinds() == {"issuer-missing": 1}
        assert b.status("a.test").state is StapleState.NO_ISSUER
        b.world.host("ocsp.test", b.responder(leaf))
        b.stapler.update_subjects([b.subject(leaf)])
        await b.clock.advance(1)
        assert b.last("a.test").status == "good", "a chain that was completed is taken up"

    scenario(body)
