"""Resolver and dialer together, on a real DNS server and real sockets: the DNS and IPv6 rows of the fault table."""

import asyncio
import errno
import time

import pytest
import uvloop

from headgate.net.dialer import Dialer, DialError
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.testing.dns import DnsServer
from headgate.testing.relay import BlackHole, Relay, bind_same_port


@pytest.fixture
def server():
    with DnsServer() as server:
        server.add("app.example", "A", "127.0.0.1")
        server.add("app.example", "AAAA", "::1")
        yield server


def dial(server, port, *, times=1, pause=None, timeout=20.0, nameservers=None, **settings):
    """Dial app.example `times` times, calling `pause` in between; the last outcome is the result."""

    async def run():
        resolver = Resolver(
            ResolverSettings(
                nameservers=nameservers or (server.address,), hosts_path="/nonexistent", **settings
            )
        )
        dialer = Dialer(resolver)
        try:
            for n in range(times):
                if n and pause is not None:
                    pause()
                    await asyncio.sleep(1.0)  # as long as a failure is remembered
                try:
                    dialed = await dialer.dial("app.example", port, timeout=timeout)
                    dialed.sock.close()
                    outcome = dialed
                except DialError as error:
                    outcome = error
        finally:
            await resolver.close()
        return outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def tried(outcome):
    return [(a.address, errno.errorcode.get(a.errno, a.errno)) for a in outcome.attempts]


@pytest.mark.parametrize("dead", [0, 1], ids=["ipv6", "ipv4"])
def test_one_family_black_holed(server, dead):
    """W3: whichever family has no road, the other one serves, whatever leads."""
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[dead]), Relay(sock=socks[1 - dead]) as relay:
        assert dial(server, relay.port).address == relay.address


def test_both_black_holed_ends_in_time_and_tells_both(server):
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[0]) as six, BlackHole(sock=socks[1]) as four:
        began = time.monotonic()
        outcome = dial(server, six.port, timeout=0.5)
        assert time.monotonic() - began < 5
    assert tried(outcome) == [(six.address, "ETIMEDOUT"), (four.address, "ETIMEDOUT")]


def test_question_for_ipv6_swallowed(server):
    """A home router that drops AAAA questions: the answer for A and 50 ms are enough."""
    server.fault("AAAA", silent=True)
    with Relay() as relay:
        assert dial(server, relay.port).address == relay.address


def test_dns_slow(server):
    server.fault(delay=0.5)
    with Relay() as relay:
        outcome = dial(server, relay.port)
    assert tried(outcome)[-1] == (relay.address, 0)


def test_dns_slower_than_the_deadline_names_the_server(server):
    server.fault(silent=True)
    outcome = dial(server, 80, timeout=0.3)
    assert outcome.reason == "resolve"
    assert f"{server.address} no answer in" in str(outcome)
    assert outcome.attempts == ()


def test_dns_failing_then_healing(server):
    server.fault(rcode="SERVFAIL")
    with Relay() as relay:
        assert dial(server, relay.port, times=2, pause=server.heal).address == relay.address


def test_first_of_two_nameservers_dead(server):
    with DnsServer() as dead, Relay() as relay:
        dead.fault(silent=True)
        outcome = dial(server, relay.port, nameservers=(dead.address, server.address), stagger=0.05)
        assert outcome.address == relay.address


def test_many_addresses_most_of_them_dead(server):
    """An answer too large for UDP: 20 refusing addresses of IPv4, and the good one behind them all."""
    hosts = [f"127.0.1.{n}" for n in range(1, 21)]
    server.add("app.example", "A", *hosts, "127.0.0.1")
    server.fault("A", truncate=True)
    with Relay() as relay:
        outcome = dial(server, relay.port)
    assert outcome.address == relay.address
    assert {transport for a in server.asked if a.record == "A" for transport in [a.transport]} == {
        "udp",
        "tcp",
    }
