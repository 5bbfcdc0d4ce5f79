"""SRV records of a real DNS server on loopback: what is taken, what is left out, and what goes wrong."""

import asyncio

import pytest

from headgate.net.resolver import ResolveError, Resolver, ResolverSettings
from headgate.net.srv import MAX_SERVICES, Service, lookup_srv
from headgate.testing.dns import DnsServer

NAME = "_http._tcp.api.test"


@pytest.fixture
def server():
    with DnsServer() as server:
        yield server


def look_up(server, name=NAME, timeout=10.0):
    async def run():
        resolver = Resolver(ResolverSettings(nameservers=(server.address,)))
        try:
            return await lookup_srv(resolver, name, timeout=timeout)
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_rfc2782_records_by_priority(server):
    server.add(NAME, "SRV", "20 1 81 spare.test.", "10 5 8080 B.test.", "10 0 8080 a.test.", ttl=45)
    assert look_up(server) == (
        [
            Service("a.test", 8080, 10, 0),
            Service("b.test", 8080, 10, 5),
            Service("spare.test", 81, 20, 1),
        ],
        45.0,
    )


def test_rfc2782_the_root_says_that_there_is_none(server):
    server.add(NAME, "SRV", "0 0 0 .", "1 1 0 a.test.")
    assert look_up(server)[0] == []


def test_an_answer_without_records_is_empty(server):
    server.add(NAME, "TXT", "x")
    assert look_up(server)[0] == []


def test_an_alias_is_followed(server):
    server.add(NAME, "CNAME", "_http._tcp.other.test.")
    server.add("_http._tcp.other.test", "SRV", "1 1 80 a.test.")
    assert look_up(server)[0] == [Service("a.test", 80, 1, 1)]


def test_so_many_services_and_not_one_more(server):
    server.add(NAME, "SRV", *[f"1 1 80 h{number:03}.test." for number in range(MAX_SERVICES + 1)])
    found = look_up(server)[0]  # over TCP: it does not fit into a datagram
    assert len(found) == MAX_SERVICES
    assert found[-1].host == f"h{MAX_SERVICES - 1:03}.test"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"rcode": "SERVFAIL"}, "failure"),
        ({"silent": True}, "timeout"),
        ({"garbage": True}, "timeout"),
        (None, "not-found"),
    ],
)
def test_what_goes_wrong(server, fault, reason):
    if fault is not None:
        server.add(NAME, "SRV", "1 1 80 a.test.")
        server.fault(**fault)
    with pytest.raises(ResolveError) as caught:
        look_up(server, timeout=0.3)
    assert caught.value.reason == reason
