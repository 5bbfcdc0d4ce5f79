"""Rounds: which responder is asked when."""

import asyncio

import pytest

from headgate.ocsp.exchange import Exchange, Memory, RoundFailed, host_of
from headgate.ocsp.lanes import Lanes, Urgency
from headgate.ocsp.settings import OcspSettings

FIRST = Urgency(0, 0.0, 1)
A, B, C = (f"http://{name}.test/" for name in "abc")


@pytest.fixture
def rounds(bench):
    """Return (exchange, run): `run(subject, memory)` holds one round with time turned by hand."""
    settings = OcspSettings()
    lanes = Lanes(bench.clock, settings, lambda: None)
    exchange = Exchange(bench.world.fetch, bench.clock, settings, lanes)

    def run(subject, memory):
        async def whole():
            held = asyncio.ensure_future(exchange.round(subject, memory, FIRST))
            await bench.clock.advance(60)
            return await held

        return asyncio.run(whole())

    run.lanes = lanes
    return run


def hosts_asked(bench):
    return {name.partition(".")[0]: len(host.requests) for name, host in bench.world.hosts.items()}


def test_first_of_two_responders_silent(bench, rounds):
    leaf, memory = bench.leaf("x.test", A, B), Memory()
    bench.world.host("a.test", "silent")
    bench.world.host("b.test", bench.responder(leaf))
    success = rounds(bench.subject(leaf), memory)
    assert success.responder == B
    assert [failure.responder for failure in success.failures] == [A]
    assert success.failures[0].stage == "head"
    rounds(bench.subject(leaf), memory)
    assert hosts_asked(bench) == {"a": 1, "b": 2}, "the next round begins with the one that answered"


def test_all_fail_and_each_is_named_in_order(bench, rounds):
    leaf, memory = bench.leaf("x.test", A, B, C), Memory(start=1)
    for name in "abc":
        bench.world.host(f"{name}.test", "refuse")
    with pytest.raises(RoundFailed) as caught:
        rounds(bench.subject(leaf), memory)
    assert [failure.responder for failure in caught.value.failures] == [B, C, A]
    assert memory.start % 3 == 1


def test_a_failing_host_is_left_for_the_end(bench, rounds):
    leaf, memory = bench.leaf("x.test", A, B), Memory()
    bench.world.host("a.test", bench.responder(leaf))
    bench.world.host("b.test", bench.responder(leaf))
    rounds.lanes.report("a.test", failed=True)
    assert rounds(bench.subject(leaf), memory).responder == B
    rounds.lanes.report("b.test", failed=True)
    assert rounds(bench.subject(leaf), Memory()).responder == A, "when all fail, they are asked all the same"


def test_responders_may_become_fewer(bench, rounds):
    leaf = bench.leaf("x.test", A)
    bench.world.host("a.test", bench.responder(leaf))
    assert rounds(bench.subject(leaf), Memory(start=7)).responder == A


def test_host_of():
    assert host_of("http://OCSP.Test:80/x") == "ocsp.test"
    assert host_of("http://[::1]:80/x") == "::1"
