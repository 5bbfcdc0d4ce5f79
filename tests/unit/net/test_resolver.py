"""The resolver against a real DNS server on loopback, with every fault that one can have."""

import asyncio
import socket
import threading

import pytest

from headgate.counters import RESOLVE_DROPPED_ADDRESSES, RESOLVE_DROPPED_ENTRIES, RESOLVE_FAILED, Counters
from headgate.net import system_lookup as system_lookup_module
from headgate.net.addresses import Address
from headgate.net.resolver import (
    MAX_ADDRESSES,
    MAX_NEGATIVE_TTL,
    MAX_POSITIVE_TTL,
    ResolveError,
    Resolver,
    ResolverSettings,
)
from headgate.testing.dns import DnsServer


class HandClock:
    def __init__(self):
        self.time = 1000.0

    def now(self):
        return self.time

    def wall(self):
        return self.time


def v4(ip):
    return Address("ipv4", ip)


def v6(ip):
    return Address("ipv6", ip)


@pytest.fixture
def server():
    with DnsServer() as server:
        yield server


@pytest.fixture
def make(tmp_path):
    """Make a resolver that knows nothing of this machine's own files."""

    def make(*nameservers, counters=None, clock=None, max_entries=4096, **settings):
        settings.setdefault("hosts_path", str(tmp_path / "hosts"))
        settings.setdefault("resolv_conf_path", str(tmp_path / "resolv.conf"))
        chosen = ResolverSettings(nameservers=tuple(nameservers), **settings)
        return Resolver(chosen, counters=counters, clock=clock, max_entries=max_entries)

    return make


def resolve(resolver, *names, timeout=10.0):
    """Resolve names one after the other in a fresh loop; the last one's answer (or error) is the result."""

    async def run():
        try:
            for name in names[:-1]:
                await resolver.resolve(name, timeout=timeout)
            return await resolver.resolve(names[-1], timeout=timeout)
        finally:
            await resolver.close()

    return asyncio.run(run())


# -- without any server


def test_literals_pass_through(make):
    assert resolve(make(), "192.0.2.7") == (v4("192.0.2.7"),)
    assert resolve(make(), "[2001:db8::7]") == (v6("2001:db8::7"),)


def test_rfc6761_6_3_localhost_is_loopback_whatever_the_server_says(make, server, tmp_path):
    server.add("localhost", "A", "192.0.2.66")
    (tmp_path / "hosts").write_text("192.0.2.66 localhost\n")
    resolver = make(server.address)
    assert resolve(resolver, "localhost") == (v6("::1"), v4("127.0.0.1"))
    assert resolve(resolver, "app.localhost.") == (v6("::1"), v4("127.0.0.1"))
    assert server.asked == []


def test_hosts_file_comes_before_the_nameservers(make, server, tmp_path):
    server.add("app.example", "A", "127.0.0.1")
    resolver = make(server.address)
    assert resolve(resolver, "app.example") == (v4("127.0.0.1"),)
    (tmp_path / "hosts").write_text("127.0.0.5 app.example\n")
    assert resolve(resolver, "app.example") == (v4("127.0.0.5"),)


def test_missing_resolv_conf_is_an_error_for_names_only_and_heals(make, server, tmp_path):
    counters = Counters()
    resolver = make(counters=counters)
    assert resolve(resolver, "127.0.0.1") == (v4("127.0.0.1"),)
    with pytest.raises(ResolveError, match=r"resolv\.conf cannot be read: ENOENT") as caught:
        resolve(resolver, "app.example")
    assert caught.value.reason == "no-nameservers"
    assert counters.values[RESOLVE_FAILED] == 1
    (tmp_path / "resolv.conf").write_text("# none yet\n")
    with pytest.raises(ResolveError, match="names none"):
        resolve(resolver, "app.example")
    server.add("app.example", "A", "127.0.0.1")
    (tmp_path / "resolv.conf").write_text(f"nameserver {server.address}\n")
    assert resolve(resolver, "app.example") == (v4("127.0.0.1"),)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".example", ".".join(["x" * 60] * 5)])
def test_bad_names_never_reach_a_server(make, server, name):
    with pytest.raises(ResolveError) as caught:
        resolve(make(server.address), name)
    assert caught.value.reason == "bad-name"
    assert server.asked == []


def test_bad_nameserver_is_named_at_once(make):
    with pytest.raises(ValueError, match=r"dns\.example"):
        make("dns.example")


# -- answers


def test_both_families(make, server):
    server.add("app.example", "A", "192.0.2.1", "192.0.2.2")
    server.add("app.example", "AAAA", "2001:db8::1")
    assert set(resolve(make(server.address), "app.example")) == {
        v6("2001:db8::1"),
        v4("192.0.2.1"),
        v4("192.0.2.2"),
    }
    assert {(a.record, a.transport) for a in server.asked} == {("A", "udp"), ("AAAA", "udp")}


def test_server_on_ipv6():
    with DnsServer("::1") as server:
        server.add("app.example", "A", "192.0.2.1")
        resolver = Resolver(ResolverSettings(nameservers=(server.address,), hosts_path="/nonexistent"))
        assert resolve(resolver, "app.example") == (v4("192.0.2.1"),)


def test_aliases_are_followed(make, server):
    server.add("www.example", "CNAME", "edge.example.")
    server.add("edge.example", "A", "192.0.2.1")
    assert resolve(make(server.address), "www.example") == (v4("192.0.2.1"),)


def test_mapped_addresses_are_shown_as_what_they_are(make, server):
    server.add("app.example", "AAAA", "::ffff:10.0.0.1")
    assert resolve(make(server.address), "app.example") == (v4("10.0.0.1"),)


def test_rfc8305_3_each_family_is_delivered_when_it_comes(make, server):
    """The slow family does not hold back the quick one."""
    server.add("app.example", "A", "192.0.2.1")
    server.add("app.example", "AAAA", "2001:db8::1")
    slow = server.fault("AAAA", silent=True)

    async def run():
        resolver = make(server.address, stagger=0.05)
        first = asyncio.Event()
        order = []

        def deliver(family, addresses):
            order.append((family, addresses))
            first.set()

        looking = asyncio.ensure_future(resolver.lookup("app.example", deliver, timeout=10))
        async with asyncio.timeout(10):
            await first.wait()
            assert order == [("ipv4", (v4("192.0.2.1"),))]
            assert not looking.done()
            slow.silent = False  # heals: the repeated question is answered
            assert await looking == ()
        assert order[1:] == [("ipv6", (v6("2001:db8::1"),))]
        await resolver.close()

    asyncio.run(run())


def test_one_family_failing_is_told_but_no_failure(make, server):
    server.add("app.example", "A", "192.0.2.1")
    server.fault("AAAA", rcode="SERVFAIL")

    async def run():
        resolver = make(server.address)
        found = {}
        notes = await resolver.lookup("app.example", found.__setitem__, timeout=10)
        await resolver.close()
        return found, notes

    found, notes = asyncio.run(run())
    assert found == {"ipv4": (v4("192.0.2.1"),), "ipv6": ()}
    assert notes == (f"AAAA app.example.: {server.address} SERVFAIL",)


def test_truncated_answer_is_asked_again_over_tcp(make, server):
    server.add("app.example", "A", "192.0.2.1")
    server.fault("A", truncate=True)
    assert resolve(make(server.address), "app.example") == (v4("192.0.2.1"),)
    assert [a.transport for a in server.asked if a.record == "A"] == ["udp", "tcp"]


def test_answer_too_large_for_udp_and_limit_of_addresses(make, server):
    counters = Counters()
    server.add("many.example", "A", *(f"192.0.2.{n}" for n in range(1, MAX_ADDRESSES + 2)))
    found = resolve(make(server.address, counters=counters), "many.example")
    assert len(found) == MAX_ADDRESSES
    assert counters.values[RESOLVE_DROPPED_ADDRESSES] == 1


# -- failures


def test_nxdomain_names_the_server_and_is_kept_only_briefly(make, server):
    clock = HandClock()
    counters = Counters()
    resolver = make(server.address, clock=clock, counters=counters)
    for _ in range(2):
        with pytest.raises(ResolveError, match=f"NXDOMAIN from {server.address}") as caught:
            resolve(resolver, "app.example")
        assert caught.value.reason == "not-found"
    assert server.questions("app.example", "A") == 1
    assert counters.values[RESOLVE_FAILED] == 2
    server.add("app.example", "A", "192.0.2.1")
    clock.time += MAX_NEGATIVE_TTL
    assert resolve(resolver, "app.example") == (v4("192.0.2.1"),)


def test_name_without_addresses(make, server):
    server.add("app.example", "TXT", "hello")
    with pytest.raises(ResolveError, match="no such record at") as caught:
        resolve(make(server.address), "app.example")
    assert caught.value.reason == "no-address"


def test_servfail_is_not_kept_beyond_a_second(make, server):
    clock = HandClock()
    resolver = make(server.address, clock=clock)
    server.add("app.example", "A", "192.0.2.1")
    server.fault(rcode="SERVFAIL")
    with pytest.raises(ResolveError, match=f"{server.address} SERVFAIL") as caught:
        resolve(resolver, "app.example")
    assert caught.value.reason == "failure"
    server.heal()
    clock.time += 1.0
    assert resolve(resolver, "app.example") == (v4("192.0.2.1"),)


def test_one_servfail_is_asked_of_the_next_server(make, server):
    with DnsServer() as sick:
        sick.fault(rcode="REFUSED")
        server.add("app.example", "A", "192.0.2.1")
        assert resolve(make(sick.address, server.address, stagger=60), "app.example") == (v4("192.0.2.1"),)
        assert sick.questions("app.example", "A") == 1


def test_closed_port_is_noticed_at_once(make):
    # Bound, so that nobody else can take the port, and connected elsewhere: what comes from us finds no socket.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.connect(("127.0.0.1", 9))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ResolveError, match=f"{address} ECONNREFUSED") as caught:
            resolve(make(address, stagger=60, try_timeout=60), "app.example")
    assert caught.value.reason == "failure"


def test_silent_server_costs_one_stagger_and_then_comes_second(make, server):
    with DnsServer() as silent:
        silent.fault(silent=True)
        server.add("a.example", "A", "192.0.2.1")
        server.add("b.example", "A", "192.0.2.2")
        resolver = make(silent.address, server.address, stagger=0.05, try_timeout=3600)
        assert resolve(resolver, "a.example", "b.example") == (v4("192.0.2.2"),)
        assert silent.questions("a.example", "A") == 1
        assert silent.questions("b.example") == 0  # rotation: who answered is asked first


def test_lost_datagrams_are_sent_again(make, server):
    server.add("app.example", "A", "192.0.2.1")
    server.fault("A", silent=True, times=1)
    assert resolve(make(server.address, stagger=0.05, try_timeout=3600), "app.example") == (v4("192.0.2.1"),)
    assert server.questions("app.example", "A") == 2


def test_slow_server_still_gets_to_answer(make, server):
    """Its answer to the first try counts, though later tries have begun since."""
    server.add("app.example", "A", "192.0.2.1")
    server.fault(delay=0.3)
    resolver = make(server.address, stagger=0.05, try_timeout=10)
    assert resolve(resolver, "app.example") == (v4("192.0.2.1"),)


def test_silence_ends_with_the_tries(make, server):
    server.fault(silent=True)
    resolver = make(server.address, stagger=0.02, try_timeout=0.05)
    with pytest.raises(ResolveError, match=f"{server.address} no answer in") as caught:
        resolve(resolver, "app.example")
    assert caught.value.reason == "failure"


def test_deadline_says_who_kept_us_waiting(make, server):
    server.fault(silent=True)
    with pytest.raises(
        ResolveError, match=f"no answer within 0.1 s .*{server.address} no answer in"
    ) as caught:
        resolve(make(server.address), "app.example", timeout=0.1)
    assert caught.value.reason == "timeout"


def test_garbage_is_told(make, server):
    server.fault(garbage=True)
    resolver = make(server.address, stagger=0.02, try_timeout=0.05)
    with pytest.raises(ResolveError, match=f"{server.address} sent a malformed answer"):
        resolve(resolver, "app.example")


def test_tcp_that_closes_is_told(make, server):
    server.add("app.example", "A", "192.0.2.1")
    server.fault(truncate=True, close_tcp=True)
    with pytest.raises(ResolveError, match="closed after 0 of 2 bytes, over TCP"):
        resolve(make(server.address), "app.example")


def test_healing_at_boot(make, server):
    """Every question fails until the network is up; the first one after that is answered."""
    clock = HandClock()
    resolver = make(server.address, clock=clock)
    server.add("app.example", "A", "192.0.2.1")
    server.fault(rcode="SERVFAIL", times=6)
    failures = 0
    for _ in range(10):
        try:
            assert resolve(resolver, "app.example") == (v4("192.0.2.1"),)
            break
        except ResolveError:
            failures += 1
            clock.time += 1.0
    assert failures == 3


# -- the cache


def test_answers_are_kept_for_their_ttl(make, server):
    clock = HandClock()
    resolver = make(server.address, clock=clock)
    server.add("app.example", "A", "192.0.2.1", ttl=30)
    server.add("app.example", "AAAA", "2001:db8::1", ttl=30)
    resolve(resolver, "app.example", "APP.example.")
    clock.time += 29.9
    resolve(resolver, "app.example")
    assert len(server.asked) == 2
    server.add("app.example", "A", "192.0.2.9", ttl=30)
    clock.time += 0.2
    assert v4("192.0.2.9") in resolve(resolver, "app.example")


def test_long_ttls_are_capped(make, server):
    clock = HandClock()
    resolver = make(server.address, clock=clock)
    server.add("app.example", "A", "192.0.2.1", ttl=86400)
    resolve(resolver, "app.example")
    clock.time += MAX_POSITIVE_TTL
    resolve(resolver, "app.example")
    assert server.questions("app.example", "A") == 2


def test_zero_ttl_is_not_kept(make, server):
    server.add("app.example", "A", "192.0.2.1", ttl=0)
    resolve(make(server.address, clock=HandClock()), "app.example", "app.example")
    assert server.questions("app.example", "A") == 2


def test_limit_of_entries(make, server):
    """One more name than fits: the one that was used longest ago goes, and is counted."""
    counters = Counters()
    for name in ("a.example", "b.example", "c.example"):
        server.add(name, "A", "192.0.2.1")
    resolver = make(server.address, counters=counters, max_entries=4)
    resolve(resolver, "a.example", "b.example", "a.example", "c.example")
    assert counters.values[RESOLVE_DROPPED_ENTRIES] == 2
    resolve(resolver, "a.example")
    assert server.questions("a.example") == 2
    resolve(resolver, "b.example")
    assert server.questions("b.example") == 4


def test_equal_questions_at_one_time_are_one(make, server):
    server.add("app.example", "A", "192.0.2.1")

    async def run():
        resolver = make(server.address)
        answers = await asyncio.gather(*(resolver.resolve("app.example", timeout=10) for _ in range(20)))
        await resolver.close()
        return answers

    assert asyncio.run(run()) == [(v4("192.0.2.1"),)] * 20
    assert len(server.asked) == 2


def test_who_gives_up_does_not_end_the_question(make, server):
    server.add("app.example", "A", "192.0.2.1")
    server.fault(delay=0.2)

    async def run():
        resolver = make(server.address, stagger=60)
        with pytest.raises(ResolveError):
            await resolver.resolve("app.example", timeout=0.01)
        answer = await resolver.resolve("app.example", timeout=10)
        await resolver.close()
        return answer

    assert asyncio.run(run()) == (v4("192.0.2.1"),)
    assert len(server.asked) == 2


def test_close_ends_what_waits(make, server):
    server.fault(silent=True)

    async def run():
        resolver = make(server.address)
        waiting = asyncio.ensure_future(resolver.resolve("app.example", timeout=60))
        await asyncio.wait([waiting], timeout=0.05)
        assert "2 being asked" in repr(resolver)
        await resolver.close()
        with pytest.raises(ResolveError, match="closed"):
            await waiting

    asyncio.run(run())


# -- search domains


def search(tmp_path, server, options=""):
    text = f"nameserver {server.address}\nsearch one.example two.example\n{options}"
    (tmp_path / "resolv.conf").write_text(text)


def names(server):
    return list(dict.fromkeys(asked.name for asked in server.asked))


def test_short_name_is_searched_first(make, server, tmp_path):
    search(tmp_path, server)
    server.add("app.two.example", "A", "192.0.2.2")
    assert resolve(make(), "app") == (v4("192.0.2.2"),)
    assert names(server) == ["app.one.example.", "app.two.example."]


def test_name_with_dots_is_tried_as_it_is_first(make, server, tmp_path):
    search(tmp_path, server)
    server.add("app.example", "A", "192.0.2.3")
    assert resolve(make(), "app.example") == (v4("192.0.2.3"),)
    assert names(server) == ["app.example."]


def test_ndots_puts_the_search_first(make, server, tmp_path):
    search(tmp_path, server, "options ndots:2\n")
    server.add("app.svc.one.example", "A", "192.0.2.4")
    assert resolve(make(), "app.svc") == (v4("192.0.2.4"),)
    assert names(server) == ["app.svc.one.example."]


def test_final_dot_ends_the_search(make, server, tmp_path):
    search(tmp_path, server)
    with pytest.raises(ResolveError):
        resolve(make(), "app.")
    assert names(server) == ["app."]


def test_both_families_come_from_one_candidate(make, server, tmp_path):
    """The first candidate has IPv4 only; the second one's IPv6 addresses belong to another machine."""
    search(tmp_path, server)
    server.add("app.one.example", "A", "192.0.2.1")
    server.add("app.two.example", "AAAA", "2001:db8::2")
    server.fault("A", delay=0.1)
    assert resolve(make(), "app") == (v4("192.0.2.1"),)


def test_failed_search_tells_all_candidates(make, server, tmp_path):
    search(tmp_path, server)
    with pytest.raises(ResolveError) as caught:
        resolve(make(), "app")
    for name in ("app.one.example.", "app.two.example.", "A app."):
        assert name in str(caught.value)


# -- getaddrinfo


def fake_getaddrinfo(monkeypatch, call):
    monkeypatch.setattr(system_lookup_module.socket, "getaddrinfo", call)


def test_system_asks_getaddrinfo_once(make, monkeypatch):
    calls = []

    def answer(host, port, type):
        calls.append(host)
        return [(10, 1, 6, "", ("2001:db8::1", 0, 0, 0)), (2, 1, 6, "", ("192.0.2.1", 0))]

    fake_getaddrinfo(monkeypatch, answer)
    assert resolve(make(system=True), "app.example", "app.example") == (v6("2001:db8::1"), v4("192.0.2.1"))
    assert calls == ["app.example"]


def test_system_errors_are_told(make):
    with pytest.raises(ResolveError, match="getaddrinfo: "):
        resolve(make(system=True), "no such name")


def test_hanging_getaddrinfo_delays_neither_us_nor_the_exit(make, monkeypatch):
    release = threading.Event()
    fake_getaddrinfo(monkeypatch, lambda *_, **__: release.wait(30) and [])
    try:
        with pytest.raises(ResolveError) as caught:
            resolve(make(system=True), "app.example", timeout=0.05)
        assert caught.value.reason == "timeout"
        assert all(t.daemon for t in threading.enumerate() if t.name.startswith("getaddrinfo"))
    finally:
        release.set()


# -- who keeps asking


def watch(resolver, name, timeout=10.0):
    async def run():
        try:
            return await resolver.watch(name, timeout=timeout)
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_a_watched_name_says_for_how_long_it_is_good(make, server):
    server.add("both.test", "A", "192.0.2.1", "192.0.2.2", ttl=30)
    server.add("both.test", "AAAA", "2001:db8::1", ttl=90)
    watched = watch(make(server.address, clock=HandClock()), "both.test")
    assert watched.addresses["ipv6"] == (v6("2001:db8::1"),)
    assert set(watched.addresses["ipv4"]) == {v4("192.0.2.1"), v4("192.0.2.2")}
    assert (watched.seconds, watched.problem) == (30.0, "")


def test_a_watched_name_tells_a_family_that_failed_from_one_that_is_empty(make, server):
    server.add("half.test", "A", "192.0.2.1")
    assert watch(make(server.address), "half.test").addresses["ipv6"] == ()
    server.fault("AAAA", rcode="SERVFAIL")
    watched = watch(make(server.address), "half.test")
    assert watched.addresses == {"ipv6": None, "ipv4": (v4("192.0.2.1"),)}
    assert "SERVFAIL" in watched.problem


@pytest.mark.parametrize(("name", "reason"), [("absent.test", "not-found"), ("empty.test", "no-address")])
def test_a_watched_name_without_addresses(make, server, name, reason):
    server.add("empty.test", "TXT", "x")
    with pytest.raises(ResolveError) as caught:
        watch(make(server.address), name)
    assert caught.value.reason == reason


def test_a_watched_name_of_silence(make, server):
    server.fault(silent=True)
    with pytest.raises(ResolveError) as caught:
        watch(make(server.address), "x.test", timeout=0.2)
    assert caught.value.reason == "timeout"


def test_a_watched_literal_and_localhost(make):
    assert watch(make(), "192.0.2.7").addresses == {"ipv6": (), "ipv4": (v4("192.0.2.7"),)}
    assert watch(make(), "localhost").addresses == {"ipv6": (v6("::1"),), "ipv4": (v4("127.0.0.1"),)}
