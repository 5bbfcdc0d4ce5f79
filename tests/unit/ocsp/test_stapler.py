"""The stapler by a timetable: what is fetched when, what is served meanwhile, and what is said about it."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from headgate import counters as slots
from headgate.ocsp.entry import Source, StapleState
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.subject import staple_key
from headgate.testing.clock import settle
from headgate.testing.pki import Authority

URL = "http://ocsp.test/"
DAY = 86_400.0


def count(bench, slot):
    return bench.counters.values[slot]


def failures(bench):
    values = bench.counters.values
    return {r: n for i, r in enumerate(slots.OCSP_FAILURES) if (n := values[slots.OCSP_FAILURES_FIRST + i])}


def files_in(directory: Path):
    return list(directory.iterdir())


def states(bench):
    values = bench.counters.values
    return {s: n for i, s in enumerate(slots.STAPLE_STATES) if (n := values[slots.STAPLES_FIRST + i])}


def test_first_fetch_is_at_once_and_refreshes_follow_while_half_is_left(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL, must_staple=True)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        first = b.last("a.test")
        assert first.status == "good"
        row = b.status("a.test")
        assert (row.state, row.source, row.must_staple, row.successes) == (
            StapleState.FRESH,
            Source.NETWORK,
            True,
            1,
        )
        assert 0.4 * DAY < row.next_attempt - b.clock.wall() < 0.6 * DAY
        assert states(b) == {"fresh": 1}
        event = b.event("staple-updated")
        assert event["address"] == "203.0.113.1:80"
        assert event["asked"] == ["GET sha1: good"]
        assert 0.4 * DAY < event["next_seconds"] < 0.6 * DAY
        for _ in range(6):
            await b.clock.advance(DAY / 2)
            assert b.last("a.test").usable(b.clock.wall() + 0.3 * DAY)
        assert 6 <= len(b.world.requests("ocsp.test")) <= 8
        assert count(b, slots.OCSP_FETCH_OK) == len(b.world.requests("ocsp.test"))
        assert None not in b.published["a.test"]

    scenario(body)


def test_no_responder_and_off_are_quiet(scenario):
    async def body(b):
        quiet = b.subject(b.leaf("quiet.test"))
        off = b.subject(b.leaf("off.test", URL), stapling="off", file_response=b"never read")
        await b.start(quiet, off, run_for=DAY)
        assert b.published == {}
        assert b.events == []
        assert [row.state for row in b.stapler.status()] == [StapleState.OFF, StapleState.NO_RESPONDER]
        assert b.stapler.refresh() == ()
        await b.stapler.first_round(["quiet.test", "off.test", "gone.test"])

    scenario(body)


def test_five_minute_answers_are_served_without_a_gap(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=300.0))
        await b.start(b.subject(leaf), run_for=0.1)
        for _ in range(60):
            await b.clock.advance(60)
            assert b.last("a.test").usable(b.clock.wall())
        assert None not in b.published["a.test"]

    scenario(body)


def test_schedule_follows_the_end_of_the_delegate_that_signed(scenario):
    async def body(b):
        leaf, start = b.leaf("a.test", URL), b.clock.wall()
        short, long = (
            b.authority.delegate(not_before=start - 60, not_after=start + life) for life in (300, DAY)
        )
        responder = b.responder(leaf, lifetime=DAY, certificates=[short.certificate, long.certificate])
        responder.authority = short
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=1)
        row = b.status("a.test")
        assert row.next_update == start + 300
        assert row.next_attempt < start + 300
        responder.authority = long
        for _ in range(10):
            await b.clock.advance(60)
            assert b.last("a.test").usable(b.clock.wall())
        assert None not in b.published["a.test"]

    scenario(body)


def test_pre_produced_answer_past_its_half_life_is_served_and_asked_for_again_in_time(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=DAY)
        responder.age = 0.9 * DAY
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=0.1)
        assert b.status("a.test").state is StapleState.FRESH
        left = 0.1 * DAY
        assert b.status("a.test").next_attempt - b.clock.wall() <= 0.75 * left

    scenario(body)


def test_the_same_answer_again_is_no_failure(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        der = b.authority.ocsp(leaf, this_update=b.clock.wall(), next_update=b.clock.wall() + DAY)
        b.world.host("ocsp.test", lambda r: (200, {"content-type": "application/ocsp-response"}, der))
        await b.start(b.subject(leaf), run_for=0.75 * DAY)
        row = b.status("a.test")
        assert row.failures == 0
        assert row.successes >= 2
        assert len(b.published["a.test"]) == 1
        assert b.event("staple-unchanged")["verdict"] == "same"

    scenario(body)


def test_an_older_answer_does_not_replace_a_newer_one(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=DAY)
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=0.1)
        held = b.last("a.test")
        responder.age = DAY / 2
        b.stapler.refresh("a.test")
        await b.clock.advance(1)
        assert b.last("a.test") is held
        assert b.event("staple-unchanged")["verdict"] == "older"
        assert b.status("a.test").failures == 0

    scenario(body)


def test_max_age_of_the_responder_delays_the_refresh(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY, headers={"cache-control": "max-age=60000"}))
        await b.start(b.subject(leaf), run_for=0.1)
        assert round(b.status("a.test").next_attempt - b.clock.wall()) == 60_000

    scenario(body)


# -- failures


def test_failure_says_address_errno_reason_and_when_next_and_retries_with_backoff(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL, must_staple=True)
        b.world.host("ocsp.test", "refuse")
        await b.start(b.subject(leaf), run_for=0.1)
        event = b.event("staple-failed")
        assert (event["certificate"], event["responder"]) == ("a.test", URL)
        assert (event["address"], event["errno"], event["stage"]) == ("203.0.113.1:80", 111, "connect")
        assert event["attempts"] == ["203.0.113.1:80: Connection refused (errno 111) after 1 ms"]
        assert (event["holds"], event["must_staple"], event["failures_in_a_row"]) == ("nothing", True, 1)
        assert 30 <= event["next_seconds"] <= 45
        row = b.status("a.test")
        assert (row.state, row.last_failure.errno, row.failures) == (StapleState.NONE, 111, 1)
        assert states(b) == {"none": 1}
        await b.clock.advance(3600)
        assert 5 <= b.status("a.test").failures_in_a_row <= 7
        assert count(b, slots.OCSP_FETCH_FAILED) == b.status("a.test").failures
        b.world.host("ocsp.test", b.responder(leaf))
        await b.clock.advance(3600)
        row = b.status("a.test")
        assert (row.state, row.failures_in_a_row) == (StapleState.FRESH, 0)
        assert states(b) == {"fresh": 1}

    scenario(body)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuse", "connect"),
        ("silent", "head"),
        (lambda q: (503, {}, b""), "http-5xx"),
        (lambda q: (404, {}, b""), "http-4xx"),
        (lambda q: (304, {}, b""), "http-3xx"),
        (lambda q: (204, {}, b""), "http-2xx"),
        (lambda q: (999, {}, b""), "other"),
        (lambda q: (302, {}, b""), "redirect"),
        (lambda q: (200, {"content-type": "text/html"}, b""), "content-type"),
        (lambda q: (200, {"content-type": "application/ocsp-response"}, b"junk"), "malformed"),
        (None, "resolve"),
    ],
)
def test_failures_are_counted_by_a_bounded_set_of_reasons(scenario, behaviour, reason):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        if behaviour is not None:
            b.world.host("ocsp.test", behaviour)
        await b.start(b.subject(leaf), run_for=60)
        assert list(failures(b)) == [reason]
        both = (slots.OCSP_FETCH_FAILED, slots.OCSP_FETCH_REFUSED)
        assert sum(failures(b).values()) == sum(count(b, slot) for slot in both) > 0

    scenario(body)


def test_answers_that_are_not_believed_are_counted_by_reason(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, corrupt_signature=True)
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=1)
        assert failures(b) == {"bad-signature": 1}
        responder.options.clear()
        responder.age = 2 * DAY
        b.stapler.refresh("a.test")
        await b.clock.advance(1)
        assert failures(b) == {"bad-signature": 1, "expired": 1}

    scenario(body)


@pytest.mark.parametrize(
    "change",
    [
        lambda b, leaf, r: b.world.host("ocsp.test", "silent"),
        lambda b, leaf, r: b.world.host("ocsp.test", "refuse"),
        lambda b, leaf, r: b.world.hosts.clear(),
        lambda b, leaf, r: b.world.host("ocsp.test", lambda q: (503, {}, b"")),
        lambda b, leaf, r: b.world.host("ocsp.test", lambda q: (200, {}, b"<html>")),
        lambda b, leaf, r: r.statuses.update({leaf.certificate.serial_number: "unknown"}),
        lambda b, leaf, r: r.leaves.clear(),
        lambda b, leaf, r: setattr(r, "lifetime", None),
        lambda b, leaf, r: setattr(r, "age", -3600.0),
        lambda b, leaf, r: setattr(r, "age", 2 * DAY),
        lambda b, leaf, r: r.options.update(corrupt_signature=True),
        lambda b, leaf, r: r.options.update(signature_hash="sha1"),
    ],
    ids=[
        "silent",
        "refuse",
        "dns",
        "503",
        "garbage",
        "unknown",
        "unauthorized",
        "no-next-update",
        "future",
        "expired",
        "bad-signature",
        "sha1",
    ],
)
def test_no_failure_removes_what_is_held_and_it_ends_at_next_update(scenario, change):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=7200.0)
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=0.1)
        held = b.last("a.test")
        change(b, leaf, responder)
        await b.clock.advance(held.next_update - b.clock.wall() - 1)
        assert b.published["a.test"] == [held]
        assert b.status("a.test").failures >= 3
        assert b.status("a.test").state is StapleState.EXPIRING
        assert b.event("staple-failed")["holds"].startswith("good until ")
        await b.clock.advance(1.01)
        assert b.published["a.test"] == [held, None]
        assert b.event("staple-withdrawn")["certificate"] == "a.test"
        assert count(b, slots.OCSP_WITHDRAWN) == 1
        assert b.status("a.test").state is StapleState.EXPIRED
        await b.clock.advance(600)
        assert b.published["a.test"] == [held, None]

    scenario(body)


def test_as_the_end_nears_failures_are_repeated_faster(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        b.world.host("ocsp.test", "refuse")
        await b.clock.advance(DAY - 600)
        left = b.last("a.test").next_update - b.clock.wall()
        assert b.status("a.test").next_attempt - b.clock.wall() <= left / 4 + 60

    scenario(body)


def test_dns_that_fails_at_boot_and_heals_is_retried_within_seconds(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf))
        b.world.resolver_down = True
        await b.start(b.subject(leaf), run_for=5)
        assert b.status("a.test").failures >= 2
        assert b.event("staple-failed")["stage"] == "resolve"
        b.world.resolver_down = False
        await b.clock.advance(5)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_a_name_that_never_resolves_falls_back_to_the_long_schedule(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        await b.start(b.subject(leaf), run_for=3 * 3600)
        assert 8 <= b.status("a.test").failures <= 16

    scenario(body)


def test_a_name_that_does_not_resolve_while_others_do_is_not_retried_within_seconds(scenario):
    async def body(b):
        good, bad = b.leaf("good.test", URL), b.leaf("bad.test", "http://nowhere.test/")
        b.world.host("ocsp.test", b.responder(good), latency=0.001)
        await b.start(b.subject(good), b.subject(bad), run_for=20)
        assert b.status("bad.test").failures == 1

    scenario(body)


def test_failing_address_is_passed_over_in_the_next_round(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        host = b.world.host(
            "ocsp.test", **{"[2001:db8::1]:80": "silent", "203.0.113.1:80": b.responder(leaf)}
        )
        await b.start(b.subject(leaf), run_for=11)
        assert b.status("a.test").last_failure.address == "[2001:db8::1]:80"
        await b.clock.advance(50)
        assert b.last("a.test").status == "good"
        assert host.requests[-1].avoid == {"[2001:db8::1]:80"}

    scenario(body)


# -- many


@pytest.mark.parametrize("dead", ["silent", "stuck"])
@pytest.mark.parametrize("hosts", [1, 99])
def test_99_dead_responders_do_not_delay_the_hundredth(scenario, hosts, dead):
    async def body(b):
        leaves = [b.leaf(f"{i}.test", f"http://dead{i % hosts}.test/") for i in range(99)]
        for i in range(hosts):
            b.world.host(f"dead{i}.test", dead)
        living = b.leaf("living.test", URL)
        b.world.host("ocsp.test", b.responder(living, lifetime=3600.0))
        subjects = [b.subject(leaf) for leaf in leaves]
        await b.start(*subjects, b.subject(living), run_for=2.5)
        assert b.last("living.test").status == "good"
        assert b.world.peak <= 64 + (b.stapler._lanes.displaced if dead == "stuck" else 0)
        assert max(b.world.hosts[f"dead{i}.test"].peak for i in range(hosts)) <= 2
        for _ in range(4):
            await b.clock.advance(1800)
            assert b.last("living.test").usable(b.clock.wall()), "nor is it delayed later on"
        assert None not in b.published["living.test"]
        assert b.status("0.test").failures >= 1
        if dead == "silent":
            assert sum(row.failures > 0 for row in b.stapler.status()) == 99
            assert count(b, slots.OCSP_FETCH_DISPLACED) == (0 if hosts == 1 else 36)

    scenario(body)


def test_a_certificate_with_a_living_second_responder_does_not_queue_behind_a_dead_host(scenario):
    async def body(b):
        dead, living = "http://dead.test/", URL
        leaves = [b.leaf(f"{i}.test", dead) for i in range(20)]
        both = b.leaf("both.test", dead, living)
        b.world.host("dead.test", "silent")
        b.world.host("ocsp.test", b.responder(both))
        await b.start(*(b.subject(leaf) for leaf in leaves), b.subject(both), run_for=10.5)
        assert b.last("both.test").status == "good"

    scenario(body)


def test_sixty_four_at_once_two_per_host(scenario):
    async def body(b):
        leaves = [b.leaf(f"{i}.test", f"http://h{i % 50}.test/") for i in range(200)]
        for i in range(50):
            b.world.host(f"h{i}.test", b.responder(*leaves), latency=0.5)
        await b.start(*(b.subject(leaf) for leaf in leaves), run_for=5)
        assert states(b) == {"fresh": 200}
        assert b.world.peak == 64
        assert max(host.peak for host in b.world.hosts.values()) == 2

    scenario(body)


def test_one_certificate_under_two_names_is_fetched_once_and_published_twice(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf))
        await b.start(b.subject(leaf, "one"), b.subject(leaf, "two"), run_for=1)
        assert b.last("one") is b.last("two") is not None
        assert len(b.world.requests("ocsp.test")) == 1
        assert [row.name for row in b.stapler.status()] == ["one", "two"]
        assert b.stapler.held("one") is b.last("one")
        assert b.stapler.held("three") is None

    scenario(body)


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
        assert count(b, slots.OCSP_SOURCE_REFUSED) == 1
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
        assert count(b, slots.OCSP_STORE_FAILED) >= 1
        b.directory.unlink()
        await b.clock.advance(31)
        (file,) = files_in(b.directory)
        assert file.read_bytes() == b.last("a.test").der
        said = b.kinds()["staple-store-failed"]
        await b.clock.advance(120)
        assert b.kinds()["staple-store-failed"] == said

    scenario(body)


# -- clocks


def test_wall_clock_that_jumps_forward_withdraws_what_ended_and_refreshes(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        first = b.last("a.test")
        b.clock.jump(2 * DAY)
        assert not first.usable(b.clock.wall()), "a worker would not serve it from this moment on"
        await b.clock.advance(31)
        assert b.published["a.test"][1] is None
        assert b.last("a.test").usable(b.clock.wall())
        assert round(b.event("clock-jumped")["seconds"]) == 2 * DAY

    scenario(body)


def test_a_jump_within_the_life_of_a_staple_makes_the_refresh_due(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        b.clock.jump(0.7 * DAY)
        await b.clock.advance(31)
        assert len(b.world.requests("ocsp.test")) == 2

    scenario(body)


def test_wall_clock_that_jumps_back_delays_nothing_and_restores_what_had_ended(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=DAY)
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=0.1)
        first = b.last("a.test")
        b.world.hosts.clear()
        b.clock.jump(2 * DAY)
        await b.clock.advance(31)
        assert b.last("a.test") is None
        b.clock.jump(-2 * DAY)
        await b.clock.advance(31)
        assert b.last("a.test") is first
        assert b.kinds()["staple-restored"] == 1
        b.world.host("ocsp.test", responder)
        b.clock.jump(-30 * DAY)
        responder.clock = type(b.clock)(wall=b.clock.wall())
        await b.clock.advance(0.7 * DAY)
        assert len(b.world.requests("ocsp.test")) >= 1, "monotonic time goes on"

    scenario(body)


def test_the_queue_of_alarms_does_not_grow_with_time(scenario):
    async def body(b):
        leaves = [b.leaf(f"{i}.test", URL) for i in range(5)]
        b.world.host("ocsp.test", b.responder(*leaves, lifetime=7 * DAY))
        await b.start(*(b.subject(leaf) for leaf in leaves), run_for=2 * DAY)
        assert len(b.stapler._queue) <= 5 * 8

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


# -- what the keeper calls


def test_refresh_by_name_of_all_and_while_one_is_under_way(scenario):
    async def body(b):
        one, two = b.leaf("one.test", URL), b.leaf("two.test", URL)
        b.world.host("ocsp.test", b.responder(one, two))
        stapler = await b.start(b.subject(one), b.subject(two), run_for=1)
        asked = b.world.requests("ocsp.test")
        assert len(asked) == 2
        assert stapler.refresh("one.test") == ("one.test",)
        ended = asyncio.ensure_future(stapler.rounds_ended(["one.test"]))
        await settle()
        assert not ended.done()
        assert stapler.refresh("one.test") == ("one.test",)
        await b.clock.advance(1)
        assert ended.done()
        assert len(asked) == 4, "asked again because the first round was under way already"
        assert set(stapler.refresh()) == {"one.test", "two.test"}
        await b.clock.advance(1)
        assert len(asked) == 6
        assert stapler.refresh("nobody.test") == ()

    scenario(body)


def test_first_round_ends_when_each_was_tried_or_holds_a_staple(scenario):
    async def body(b):
        good, silent = b.leaf("good.test", URL), b.leaf("silent.test", "http://dead.test/")
        b.world.host("ocsp.test", b.responder(good))
        b.world.host("dead.test", "silent")
        stapler = await b.start(b.subject(good), b.subject(silent))
        both = asyncio.ensure_future(stapler.first_round(["good.test", "silent.test"]))
        one = asyncio.ensure_future(stapler.first_round(["good.test"]))
        await b.clock.advance(1)
        assert (one.done(), both.done()) == (True, False)
        await b.clock.advance(10)
        assert both.done()
        waiting = asyncio.ensure_future(stapler.first_round(["silent.test"]))
        await settle()
        assert waiting.done()

    scenario(body)


def test_first_round_may_be_waited_for_before_the_stapler_runs(scenario):
    async def body(b):
        leaf, now = b.leaf("a.test"), b.clock.wall()
        file = b.authority.ocsp(leaf, this_update=now, next_update=now + DAY)
        asked = b.leaf("b.test", URL)
        held = b.authority.ocsp(asked, this_update=now, next_update=now + DAY)
        stapler = b.build(b.subject(leaf, file_response=file), b.subject(asked, file_response=held))
        waiting = asyncio.ensure_future(stapler.first_round(["a.test", "b.test"]))
        await settle()
        assert not waiting.done()
        b.task = asyncio.ensure_future(stapler.run())
        await settle()
        assert waiting.done()
        assert b.world.hosts == {}, "nothing was asked"

    scenario(body)


def test_changed_certificate_loses_its_old_staple_at_once_and_gets_its_own(scenario):
    async def body(b):
        old, new, other = b.leaf("a.test", URL), b.leaf("a.test", URL), b.leaf("o.test", URL)
        b.world.host("ocsp.test", b.responder(old, new, other))
        await b.start(b.subject(old), b.subject(other), run_for=1)
        kept = b.last("o.test")
        b.stapler.update_subjects([b.subject(new), b.subject(other)])
        assert b.last("a.test") is None
        await b.clock.advance(1)
        assert b.last("a.test").status == "good"
        assert b.published["o.test"] == [kept], "what stays is not touched"
        assert len(b.world.requests("ocsp.test")) == 3
        assert states(b) == {"fresh": 2}
        b.stapler.update_subjects([b.subject(other)])
        assert b.last("a.test") is None
        assert [row.name for row in b.stapler.status()] == ["o.test"]
        assert states(b) == {"fresh": 1}

    scenario(body)


def test_certificate_that_is_removed_during_its_round_is_not_heard_of_again(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf), latency=5.0)
        await b.start(b.subject(leaf), run_for=1)
        waiting = asyncio.ensure_future(b.stapler.first_round(["a.test"]))
        await settle()
        b.stapler.update_subjects([])
        await b.clock.advance(10)
        assert waiting.done()
        assert b.published == {"a.test": [None]}
        assert (states(b), b.events) == ({}, [])

    scenario(body)


def test_file_that_changes_on_disk_is_taken_up(scenario):
    async def body(b):
        leaf, now = b.leaf("a.test"), b.clock.wall()
        await b.start(b.subject(leaf), run_for=1)
        file = b.authority.ocsp(leaf, this_update=now, next_update=now + 3600)
        b.stapler.update_subjects([b.subject(leaf, file_response=file)])
        assert b.last("a.test").der == file

    scenario(body)


def test_names_must_be_unique(scenario):
    async def body(b):
        with pytest.raises(ValueError, match="unique"):
            b.build(b.subject(b.leaf("a.test"), "x"), b.subject(b.leaf("b.test"), "x"))

    scenario(body)


# -- defects elsewhere


def test_a_fetch_that_is_broken_costs_a_round_and_is_said(scenario):
    async def body(b):
        leaf, other = b.leaf("a.test", URL), b.leaf("b.test", "http://b.test/")

        def broken(request):
            raise ZeroDivisionError("oops")

        b.world.host("ocsp.test", broken)
        b.world.host("b.test", b.responder(other))
        await b.start(b.subject(leaf), b.subject(other), run_for=1)
        event = b.event("staple-failed")
        assert (event["stage"], event["reason"], event["detail"]) == ("defect", "ZeroDivisionError", "oops")
        assert b.last("b.test").status == "good"
        b.world.host("ocsp.test", b.responder(leaf))
        await b.clock.advance(60)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_a_stuck_fetch_is_given_up_and_tried_again(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", "stuck")
        await b.start(b.subject(leaf), run_for=12)
        assert b.event("staple-failed")["stage"] == "overran"
        b.world.host("ocsp.test", b.responder(leaf))
        await b.clock.advance(60)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_whoever_cannot_take_a_staple_does_not_stop_the_stapler(scenario):
    async def body(b):
        leaf, other = b.leaf("a.test", URL), b.leaf("b.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, other))
        stapler = b.build(b.subject(leaf), b.subject(other))
        taken = []

        def publish(name, staple):
            if name == "a.test":
                raise BrokenPipeError("worker is gone")
            taken.append(name)

        stapler._publish = publish
        b.task = asyncio.ensure_future(stapler.run())
        await b.clock.advance(1)
        assert taken == ["b.test"]
        assert "worker is gone" in b.event("defect")["error"]

    scenario(body)


def test_ending_the_task_ends_its_rounds(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", "silent")
        await b.start(b.subject(leaf), run_for=1)
        assert b.world.running == 1
        await b.stop()
        await settle()
        assert b.world.running == 0

    scenario(body)


def test_settings_bound_the_refresh(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=7 * DAY))
        await b.start(b.subject(leaf), settings=OcspSettings(max_interval=3600.0), run_for=1)
        assert round(b.status("a.test").next_attempt - b.clock.wall()) in range(3598, 3601)

    scenario(body)


def test_an_authority_below_a_root_works_the_same(scenario):
    async def body(b):
        b.authority = Authority.root().intermediate()
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf))
        await b.start(b.subject(leaf), run_for=1)
        assert b.last("a.test").status == "good"

    scenario(body)


def test_a_certificate_may_have_durations_of_its_own(scenario):
    async def body(b):
        own, general = b.leaf("own.test", URL), b.leaf("general.test", URL)
        silent = b.leaf("silent.test", "http://silent.test/")
        b.world.host("ocsp.test", b.responder(own, general, lifetime=DAY))
        b.world.host("silent.test", "silent")
        await b.start(
            replace(b.subject(own), settings=OcspSettings(max_interval=600.0)),
            replace(b.subject(silent), settings=OcspSettings(timeout=2.0)),
            b.subject(general),
            run_for=2.5,
        )
        assert b.status("own.test").next_attempt - b.clock.wall() <= 600.0
        assert b.status("general.test").next_attempt - b.clock.wall() > 0.4 * DAY - 10.0
        assert b.status("silent.test").last_failure.milliseconds == pytest.approx(2000.0, abs=50.0)

    scenario(body)
