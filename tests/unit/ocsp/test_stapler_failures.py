"""The stapler when fetches fail: what is said and counted, when it is tried again, and what goes on being served."""

import asyncio

import pytest

from headgate import counters as slots
from headgate.ocsp.entry import StapleState
from headgate.testing.clock import settle

URL = "http://ocsp.test/"
DAY = 86_400.0


def failures(bench):
    values = bench.counters.values
    return {r: n for i, r in enumerate(slots.OCSP_FAILURES) if (n := values[slots.OCSP_FAILURES_FIRST + i])}


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
        assert b.states() == {"none": 1}
        await b.clock.advance(3600)
        assert 5 <= b.status("a.test").failures_in_a_row <= 7
        assert b.count(slots.OCSP_FETCH_FAILED) == b.status("a.test").failures
        b.world.host("ocsp.test", b.responder(leaf))
        await b.clock.advance(3600)
        row = b.status("a.test")
        assert (row.state, row.failures_in_a_row) == (StapleState.FRESH, 0)
        assert b.states() == {"fresh": 1}

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
        assert sum(failures(b).values()) == sum(b.count(slot) for slot in both) > 0

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
        assert b.count(slots.OCSP_WITHDRAWN) == 1
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
