"""Endpoints from DNS: answers that change, vanish and lie, asked of a real DNS server on loopback."""

import asyncio

import pytest
from tests.unit.upstream.test_hash_key import exchange
from tests.unit.upstream.test_policies import NoConnector

from headgate.counters import NAMES_ANSWERED, NAMES_KEPT, SIZE
from headgate.net.addresses import parse_ip
from headgate.net.poller import Poller
from headgate.net.resolver import MAX_ADDRESSES, Resolver, ResolverSettings
from headgate.testing.dns import DnsServer
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.names import CEILING, FLOOR, MAX_DELAY, Member, Names, Source, is_somewhere
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.pool import IdleTotal, Pool, PoolSettings
from headgate.upstream.upstream import Upstream

NAME = "api.test"
SERVICE = "_http._tcp.api.test"


class World:
    """A DNS server, a resolver that keeps nothing for long, and an upstream of one name."""

    def __init__(self, server, name=NAME, is_srv=False, static=(), dns_first=False):
        self.server = server
        self.poller = Poller()
        self.values = [0] * SIZE
        self.told = []
        self.defects = []
        self.idle_total = IdleTotal()
        self.time = 1000.0
        self.resolver = Resolver(ResolverSettings(nameservers=(server.address,)), clock=self)
        source = Source(name, 80, is_srv, self.make, lambda member: f"http://{member.host}:{member.port}")
        group = [*(self.make(Member(host, 80)) for host in static), source]
        if dns_first:
            group.reverse()
        self.upstream = Upstream(
            "u", [entry for entry in group if isinstance(entry, Endpoint)], RoundRobin(), poller=self.poller
        )
        self.names = Names(
            self.upstream,
            group,
            self.resolver,
            values=self.values,
            tell=self.tell,
            defect=lambda where, error: self.defects.append((where, error)),
        )
        self.source = source

    def now(self):
        return self.time

    wall = now

    def make(self, member):
        return Endpoint(
            f"http://{member.host}:{member.port}",
            "http",
            member.host,
            member.port,
            poller=self.poller,
            connector=NoConnector(),
            values=self.values,
            defect=lambda where, error: None,
            pool=Pool(PoolSettings(), self.poller, self.values, self.idle_total),
        )

    def tell(self, name, level="info", *, limit_key="", **told):
        self.told.append((name, told))

    def ask(self, times=1):
        """Ask once more, when the last answer has run out; return the pause before the next question."""

        async def run():
            self.time += 10_000.0
            return await self.names.ask(self.source)

        return [asyncio.run(run()) for _ in range(times)][-1]

    @property
    def urls(self):
        return [endpoint.url.removeprefix("http://") for endpoint in self.upstream.endpoints]

    def close(self):
        self.poller.close()


@pytest.fixture
def server():
    with DnsServer() as server:
        yield server


@pytest.fixture
def make(server):
    made = []

    def one(**settings):
        made.append(World(server, **settings))
        return made[-1]

    yield one
    for world in made:
        world.close()
        assert world.defects == []


def test_each_address_of_both_families_is_an_endpoint(make, server):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2", ttl=60)
    server.add(NAME, "AAAA", "2001:db8::1", ttl=40)
    world = make()
    assert world.upstream.is_expected
    assert world.ask() == 40.0
    assert sorted(world.urls) == ["192.0.2.1:80", "192.0.2.2:80", "2001:db8::1:80"]
    assert not world.upstream.is_expected
    assert world.values[NAMES_ANSWERED] == 1


@pytest.mark.parametrize(("ttl", "pause"), [(0, FLOOR), (86400, CEILING), (17, 17.0)])
def test_the_pause_is_the_ttl_within_bounds(make, server, ttl, pause):
    server.add(NAME, "A", "192.0.2.1", ttl=ttl)
    assert make().ask() == pause


def test_who_stays_is_the_same_object_and_who_leaves_ends_what_it_has(make, server):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
    world = make()
    world.ask()
    stays, leaves = sorted(world.upstream.endpoints, key=lambda endpoint: endpoint.url)
    stays.health.failures = 7
    world.upstream.began(leaves)
    server.add(NAME, "A", "192.0.2.1", "192.0.2.3")
    world.ask()
    assert sorted(world.urls) == ["192.0.2.1:80", "192.0.2.3:80"]
    assert stays in world.upstream.endpoints
    assert stays.health.failures == 7
    assert world.upstream.leaving == [leaves]
    assert leaves.pool.closed
    assert not stays.pool.closed
    world.upstream.ended(leaves)
    world.upstream.sweep(1.0)
    assert world.upstream.leaving == []
    changed = {
        "upstream": "u",
        "dns": NAME,
        "came": ["http://192.0.2.3:80"],
        "left": ["http://192.0.2.2:80"],
        "endpoints": 2,
    }
    assert world.told[-1] == ("upstream-dns-changed", changed)


def test_the_same_answer_in_another_order_changes_nothing(make, server):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
    world = make()
    world.ask()
    server.add(NAME, "A", "192.0.2.2", "192.0.2.1")
    world.ask()
    assert len(world.told) == 1


@pytest.mark.parametrize(
    "break_it",
    [
        lambda server: server.remove(NAME),  # NXDOMAIN
        lambda server: server.add(NAME, "A"),  # empty
        lambda server: server.fault(rcode="SERVFAIL"),
        lambda server: server.fault(rcode="REFUSED"),
        lambda server: server.add(NAME, "A", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
        lambda server: server.close(),
    ],
    ids=["gone", "empty", "servfail", "refused", "nowhere", "closed"],
)
def test_what_fails_or_is_empty_keeps_the_last_good_set(make, server, break_it):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
    world = make()
    world.ask()
    held = list(world.upstream.endpoints)
    break_it(server)
    pauses = [world.ask() for _ in range(7)]
    assert world.upstream.endpoints == held
    assert world.values[NAMES_KEPT] == 7
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_DELAY, MAX_DELAY]
    kept = [told for name, told in world.told if name == "upstream-dns-kept"]
    assert len({told["reason"] for told in kept}) == len(kept) == 1  # once, however long it lasts
    assert kept[0]["endpoints"] == 2
    assert kept[0]["reason"]


def test_it_is_told_when_a_name_works_again(make, server):
    server.add(NAME, "A", "192.0.2.1")
    world = make()
    world.ask()
    server.fault(rcode="SERVFAIL")
    world.ask(times=3)
    server.heal()
    assert world.ask() == 60.0
    assert world.told[-1][0] == "upstream-dns-recovered"
    server.fault(rcode="SERVFAIL")
    assert world.ask() == FLOOR  # from the start again


def test_while_one_family_fails_what_is_known_of_it_holds(make, server):
    server.add(NAME, "A", "192.0.2.1")
    server.add(NAME, "AAAA", "2001:db8::1")
    world = make()
    world.ask()
    server.fault("AAAA", rcode="SERVFAIL")
    server.add(NAME, "A", "192.0.2.9")
    world.ask()
    assert sorted(world.urls) == ["192.0.2.9:80", "2001:db8::1:80"]
    assert "SERVFAIL" in world.told[-1][1]["reason"]
    server.heal()
    server.add(NAME, "AAAA")  # it has none any more, says the answer
    world.ask()
    assert world.urls == ["192.0.2.9:80"]


def test_an_answer_of_thousands_is_bounded(make, server):
    server.add(NAME, "A", *[f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1500)])
    world = make()
    world.ask()
    assert len(world.urls) == MAX_ADDRESSES


def test_lies_among_truths_are_left_out_and_told(make, server):
    server.add(NAME, "A", "192.0.2.1", "0.0.0.0", "192.0.2.1")
    server.add(NAME, "AAAA", "::", "ff02::1", "::ffff:192.0.2.1")
    world = make()
    world.ask()
    assert world.urls == ["192.0.2.1:80"]
    assert "nobody can be" in world.told[-1][1]["reason"]


def test_who_is_expected_no_more(make, server):
    world = make()
    world.ask()
    assert not world.upstream.is_expected
    assert world.upstream.endpoints == []


def test_names_stand_beside_addresses_of_the_file(make, server):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
    world = make(static=("192.0.2.1", "192.0.2.5"))
    world.ask()
    assert world.urls == ["192.0.2.1:80", "192.0.2.5:80", "192.0.2.2:80"]
    server.add(NAME, "A", "192.0.2.2")
    world.ask()
    assert world.urls == ["192.0.2.1:80", "192.0.2.5:80", "192.0.2.2:80"]


def test_an_address_of_the_file_that_dns_has_for_a_while_keeps_connections_again_afterwards(make, server):
    server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
    world = make(static=("192.0.2.1",), dns_first=True)
    (static,) = world.upstream.endpoints
    world.upstream.began(static)
    world.ask()
    assert static not in world.upstream.endpoints
    assert static.pool.closed
    assert world.upstream.leaving == [static]
    server.add(NAME, "A", "192.0.2.2")
    world.ask()
    assert static in world.upstream.endpoints
    assert not static.pool.closed
    assert static not in world.upstream.leaving
    assert len(world.idle_total.pools) == 2
    world.upstream.ended(static)


def test_who_was_never_in_the_group_leaves_no_pool_behind(make, server):
    """An address of the file stands before the same one from DNS, which comes and goes unseen."""
    world = make(static=("192.0.2.1",))
    for _ in range(3):
        server.add(NAME, "A", "192.0.2.1", "192.0.2.2")
        world.ask()
        server.add(NAME, "A", "192.0.2.2")
        world.ask()
    assert world.urls == ["192.0.2.1:80", "192.0.2.2:80"]
    assert world.idle_total.pools == [endpoint.pool for endpoint in world.upstream.endpoints]


@pytest.mark.parametrize("other", [("2001:db8::2",), ()], ids=["good", "empty"])
def test_lies_alone_do_not_replace_what_is_known_of_a_family(make, server, other):
    server.add(NAME, "A", "192.0.2.1")
    server.add(NAME, "AAAA", "2001:db8::1")
    world = make()
    world.ask()
    server.add(NAME, "A", "0.0.0.0")
    server.add(NAME, "AAAA", *other)
    world.ask()
    assert "nobody can be" in world.told[-1][1]["reason"] or other
    expected = other[0] if other else "2001:db8::1"  # the lie makes the whole answer worth nothing
    assert sorted(world.urls) == ["192.0.2.1:80", f"{expected}:80"]
    server.fault("A", rcode="SERVFAIL")
    server.add(NAME, "AAAA", "2001:db8::3")
    world.ask()
    assert sorted(world.urls) == ["192.0.2.1:80", "2001:db8::3:80"]


# -- SRV


def test_srv_gives_ports_weights_and_backups(make, server):
    server.add(SERVICE, "SRV", "10 5 8080 a.test.", "10 0 8081 b.test.", "20 1 8082 c.test.", ttl=20)
    world = make(name=SERVICE, is_srv=True)
    assert world.ask() == 20.0
    found = {endpoint.url: (endpoint.weight, endpoint.is_backup) for endpoint in world.upstream.endpoints}
    assert found == {
        "http://a.test:8080": (5, False),
        "http://b.test:8081": (1, False),
        "http://c.test:8082": (1, True),
    }


def test_srv_may_weigh_anew_and_promote_a_backup(make, server):
    server.add(SERVICE, "SRV", "10 1 80 a.test.", "20 1 80 b.test.")
    world = make(name=SERVICE, is_srv=True)
    world.ask()
    first, second = world.upstream.endpoints
    assert {world.upstream.pick(exchange(), []) for _ in range(8)} == {first}
    server.add(SERVICE, "SRV", "10 1 80 a.test.", "10 3 80 b.test.")
    world.ask()
    assert world.upstream.endpoints == [first, second]
    assert [world.upstream.pick(exchange(), []) for _ in range(8)].count(second) == 6
    server.add(SERVICE, "SRV", "0 0 0 .")
    world.ask()
    assert world.upstream.endpoints == [first, second]


# -- the task


def test_a_defect_is_told_and_does_not_end_the_questions(make, server, monkeypatch):
    world = make()
    pauses = []

    async def ask(source):
        raise ZeroDivisionError

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(world.names, "ask", ask)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    ((name, watch),) = world.names.watches()
    assert name == "names u api.test"
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch)
    assert pauses == [0.0, MAX_DELAY, MAX_DELAY]
    assert [type(error) for _, error in world.defects] == [ZeroDivisionError] * 2
    world.defects.clear()


@pytest.mark.parametrize(
    ("address", "somewhere"),
    [("192.0.2.1", True), ("127.0.0.1", True), ("10.0.0.1", True), ("0.0.0.0", False), ("239.1.1.1", False)],
)
def test_where_somebody_can_be(address, somewhere):
    assert is_somewhere(parse_ip(address)) is somewhere
