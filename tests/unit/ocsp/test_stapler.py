"""The stapler by a timetable: what is fetched when, what is served meanwhile, and what is said about it.

What fails, what is stored, and clocks that jump are in files of their own beside this one.
"""

import asyncio
from dataclasses import replace

import pytest

from headgate import counters as slots
from headgate.ocsp.entry import Source, StapleState
from headgate.ocsp.settings import OcspSettings
from headgate.testing.clock import settle
from headgate.testing.pki import Authority

URL = "http://ocsp.test/"
DAY = 86_400.0


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
        assert b.states() == {"fresh": 1}
        event = b.event("staple-updated")
        assert event["address"] == "203.0.113.1:80"
        assert event["asked"] == ["GET sha1: good"]
        assert 0.4 * DAY < event["next_seconds"] < 0.6 * DAY
        for _ in range(6):
            await b.clock.advance(DAY / 2)
            assert b.last("a.test").usable(b.clock.wall() + 0.3 * DAY)
        assert 6 <= len(b.world.requests("ocsp.test")) <= 8
        assert b.count(slots.OCSP_FETCH_OK) == len(b.world.requests("ocsp.test"))
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
            assert b.count(slots.OCSP_FETCH_DISPLACED) == (0 if hosts == 1 else 36)

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
        assert b.states() == {"fresh": 200}
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
        assert b.states() == {"fresh": 2}
        b.stapler.update_subjects([b.subject(other)])
        assert b.last("a.test") is None
        assert [row.name for row in b.stapler.status()] == ["o.test"]
        assert b.states() == {"fresh": 1}

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
        assert (b.states(), b.events) == ({}, [])

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
