"""The dialer on real sockets: refused, swallowed, late, many, none. Both event loops that it meets are used."""

import asyncio
import errno
import os
import resource
import select
import socket
import time

import pytest
import uvloop

from headgate.counters import DIAL_ERRORS, DIAL_FAILED_FIRST, Counters
from headgate.net.addresses import Address
from headgate.net.dialer import Dialer, DialError
from headgate.net.resolver import ResolveError
from headgate.testing.relay import BlackHole, Refusing, Relay, bind_same_port

NEVER = 3600.0


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine to its end, and insist that no descriptor is left open."""

    def run(coro):
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.sleep(0))
            before = open_files()
            try:
                return runner.run(coro)
            finally:
                # The relays live in this process, too: they accept and close a moment later. The reading that ends
                # the wait is the one that is judged, since another one may find a relay in the middle of that.
                deadline = time.monotonic() + 5
                while (left := open_files() - before) and time.monotonic() < deadline:
                    time.sleep(0.001)
                assert left == set()

    return run


def open_files():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # closed since, such as the descriptor of the listing itself
        found.add((fd, what))
    return found


class Names:
    """A resolver that delivers what it was told, family by family; an Event between them is waited for."""

    def __init__(self, *script, notes=()):
        self.script = script
        self.notes = notes
        self.cancelled = False

    async def lookup(self, host, deliver, *, timeout):
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    family, ips = step
                    deliver(family, tuple(Address(family, ip) for ip in ips))
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return tuple(self.notes)


def v4(*ips):
    return ("ipv4", ips)


def v6(*ips):
    return ("ipv6", ips)


async def connect(names, port, host="app.example", **options):
    """Dial, look at the socket, close it; return the result."""
    settings = {
        key: options.pop(key)
        for key in ("counters", "prefer", "attempt_delay", "resolution_delay")
        if key in options
    }
    options.setdefault("timeout", 10.0)
    dialed = await Dialer(names, **settings).dial(host, port, **options)
    with dialed.sock as sock:
        assert not sock.getblocking()
        assert sock.getpeername()
    return dialed


def tried(attempts):
    return [(a.address, errno.errorcode.get(a.errno, a.errno)) for a in attempts]


def failures(counters):
    found = {}
    for f, family in enumerate(("ipv4", "ipv6", "unix")):
        for e, name in enumerate(DIAL_ERRORS):
            if count := counters.values[DIAL_FAILED_FIRST + f * len(DIAL_ERRORS) + e]:
                found[family, name] = count
    return found


@pytest.fixture
def both():
    """Relays on ::1 and 127.0.0.1 with one port."""
    six, four = bind_same_port("::1", "127.0.0.1")
    with Relay(sock=six) as six, Relay(sock=four) as four:
        yield six, four


# -- the plain cases


def test_connects_and_tells_where(run):
    with Relay() as relay:
        dialed = run(connect(Names(v6(), v4("127.0.0.1")), relay.port))
    assert dialed.address == relay.address
    assert tried(dialed.attempts) == [(relay.address, 0)]
    assert dialed.attempts[0].milliseconds >= 0


def test_nagle_is_off(run):
    async def dial(port):
        dialed = await Dialer(Names(v6(), v4("127.0.0.1"))).dial("app.example", port, timeout=10)
        with dialed.sock as sock:
            return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with Relay() as relay:
        assert run(dial(relay.port))


def test_unix_socket(run, tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        dialed = run(connect(Names(), 0, host=f"unix:{path}"))
    assert dialed.address == f"unix:{path}"


def test_unix_socket_with_a_full_queue_is_tried_until_there_is_room(run, tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as filler:
        listening.bind(path)
        listening.listen(0)
        filler.connect(path)

        async def dial():
            dialing = asyncio.ensure_future(connect(Names(), 0, host=f"unix:{path}"))
            done, _ = await asyncio.wait([dialing], timeout=0.1)
            assert not done
            listening.accept()[0].close()
            return await dialing

        assert tried(run(dial()).attempts) == [(f"unix:{path}", 0)]


@pytest.mark.parametrize(
    ("path", "name"), [("/nonexistent/app.sock", "ENOENT"), ("/" + "x" * 200, "ENAMETOOLONG")]
)
def test_unix_socket_failures_are_named(run, path, name):
    counters = Counters()
    with pytest.raises(DialError, match=name) as caught:
        run(connect(Names(), 0, host=f"unix:{path}", counters=counters))
    assert caught.value.reason == "connect"
    assert failures(counters) == {("unix", "other"): 1}


@pytest.mark.parametrize(
    ("ip", "port", "name"), [("127.0.0.1", 65536, "EINVAL"), ("fe80::1%nowhere", 80, "ENODEV")]
)
def test_addresses_that_cannot_be_are_failures_like_others(run, ip, port, name):
    names = Names(v6(ip), v4()) if ":" in ip else Names(v6(), v4(ip))
    with pytest.raises(DialError, match=name):
        run(connect(names, port))


# -- order


def test_rfc8305_4_ipv6_leads(run, both):
    dialed = run(connect(Names(v4("127.0.0.1"), v6("::1")), both[0].port))
    assert dialed.address == both[0].address


@pytest.mark.parametrize(("prefer", "leads"), [("auto", 0), ("ipv6", 0), ("ipv4", 1)])
def test_prefer_is_the_order(run, both, prefer, leads):
    for where in ("dialer", "call"):
        options = {"prefer": prefer} if where == "dialer" else {}
        dialer = Dialer(Names(v6("::1"), v4("127.0.0.1")), **options)

        async def dial(dialer=dialer, where=where):
            call = {"prefer": prefer} if where == "call" else {}
            dialed = await dialer.dial("app.example", both[0].port, timeout=10, **call)
            dialed.sock.close()
            return dialed

        assert run(dial()).address == both[leads].address


@pytest.mark.parametrize(("prefer", "good"), [("ipv4", 0), ("ipv6", 1)])
def test_prefer_is_the_order_only(run, prefer, good):
    socks = bind_same_port("::1", "127.0.0.1")
    with Relay(sock=socks[good]) as relay, Refusing(sock=socks[1 - good]) as refusing:
        dialed = run(connect(Names(v6("::1"), v4("127.0.0.1")), relay.port, prefer=prefer))
    assert tried(dialed.attempts) == [(refusing.address, "ECONNREFUSED"), (relay.address, 0)]


def test_rfc8305_4_families_take_turns(run):
    socks = bind_same_port("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")
    port = socks[0].getsockname()[1]
    with pytest.raises(DialError) as caught:
        run(connect(Names(v4("127.0.0.1", "127.0.0.2", "127.0.0.3"), v6("::1")), port, attempt_delay=NEVER))
    for sock in socks:
        sock.close()
    hosts = [attempt.address.rpartition(":")[0] for attempt in caught.value.attempts]
    assert hosts == ["[::1]", "127.0.0.1", "127.0.0.2", "127.0.0.3"]


def test_avoided_addresses_come_last(run):
    socks = bind_same_port("127.0.0.1", "127.0.0.2", "::1")
    port = socks[0].getsockname()[1]
    for sock in socks:
        sock.listen()
    avoid = frozenset({f"[::1]:{port}", f"127.0.0.1:{port}"})
    names = Names(v6("::1"), v4("127.0.0.1", "127.0.0.2"))
    assert run(connect(names, port, avoid=avoid)).address == f"127.0.0.2:{port}"
    for sock in socks:
        sock.close()


def test_avoided_addresses_are_tried_all_the_same(run):
    bad, good = bind_same_port("127.0.0.1", "::1")
    with Refusing(sock=bad) as refusing, Relay(sock=good) as relay:
        names = Names(v6("::1"), v4("127.0.0.1"))
        dialed = run(connect(names, relay.port, avoid=frozenset({relay.address})))
    assert tried(dialed.attempts) == [(refusing.address, "ECONNREFUSED"), (relay.address, 0)]


def test_the_same_address_twice_is_tried_once(run):
    with Refusing() as refusing, pytest.raises(DialError) as caught:
        run(connect(Names(v6(), v4("127.0.0.1", "127.0.0.1")), refusing.port))
    assert len(caught.value.attempts) == 1


# -- when the next attempt begins


def test_rfc8305_5_failure_starts_the_next_at_once(run):
    """Attempt delay and deadline are hours here: only the failure can have started the second attempt."""
    socks = bind_same_port("::1", "127.0.0.1")
    with Refusing(sock=socks[0]) as refusing, Relay(sock=socks[1]) as relay:
        counters = Counters()
        names = Names(v6("::1"), v4("127.0.0.1"))
        dialed = run(connect(names, relay.port, attempt_delay=NEVER, timeout=4 * NEVER, counters=counters))
    assert tried(dialed.attempts) == [(refusing.address, "ECONNREFUSED"), (relay.address, 0)]
    assert failures(counters) == {("ipv6", "ECONNREFUSED"): 1}


@pytest.mark.parametrize("dead", [0, 1], ids=["ipv6", "ipv4"])
def test_rfc8305_5_black_holed_family_costs_one_attempt_delay(run, dead):
    socks = bind_same_port("::1", "127.0.0.1")
    counters = Counters()
    with BlackHole(sock=socks[dead]) as hole, Relay(sock=socks[1 - dead]) as relay:
        names = Names(v6("::1"), v4("127.0.0.1"))
        prefer = "ipv6" if dead == 0 else "ipv4"
        dialed = run(connect(names, relay.port, prefer=prefer, timeout=30, counters=counters))
    assert tried(dialed.attempts) == [(hole.address, "ECANCELED"), (relay.address, 0)]
    assert 250 <= dialed.attempts[0].milliseconds < 5000
    assert failures(counters) == {("ipv6" if dead == 0 else "ipv4", "overtaken"): 1}


def test_first_address_cannot_eat_a_short_deadline(run):
    """The attempt delay is longer than the deadline; the second address must get its half of it."""
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[0]), Relay(sock=socks[1]) as relay:
        names = Names(v6("::1"), v4("127.0.0.1"))
        dialed = run(connect(names, relay.port, timeout=1.0, attempt_delay=NEVER))
    assert dialed.address == relay.address


def test_many_black_holes_before_the_good_address(run):
    """Twelve dead addresses, one second: with a fixed delay of 250 ms the good one would never be tried."""
    hosts = [f"127.0.0.{n}" for n in range(2, 14)]
    *dead, good = bind_same_port(*hosts, "127.0.0.1")
    holes = [BlackHole(sock=sock) for sock in dead]
    with Relay(sock=good) as relay:
        dialed = run(connect(Names(v6(), v4(*hosts, "127.0.0.1")), relay.port, timeout=1.0))
    assert dialed.address == relay.address
    assert len(dialed.attempts) == 13
    for hole in holes:
        hole.close()


def test_slow_attempts_go_on_while_others_begin(run):
    """The first address answers late: it still wins over later ones that never do."""
    dead, late = bind_same_port("127.0.0.2", "127.0.0.1")
    with BlackHole(sock=dead) as hole, late:
        late.listen(0)
        with socket.socket() as filler:
            filler.connect(late.getsockname())

            async def dial():
                names = Names(v6(), v4("127.0.0.1", "127.0.0.2"))
                dialing = asyncio.ensure_future(connect(names, hole.port, attempt_delay=0.02, timeout=20))
                done, _ = await asyncio.wait([dialing], timeout=0.3)
                assert not done
                late.accept()[0].close()  # room in the queue: the repeated SYN (after 1 s) is answered
                return await dialing

            dialed = run(dial())
    assert dialed.address == f"127.0.0.1:{hole.port}"
    assert tried(dialed.attempts)[0] == (hole.address, "ECANCELED")


# -- names that come late


def test_rfc8305_3_leading_family_gets_the_resolution_delay(run, both):
    async def dial():
        gate = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, gate.set)
        return await connect(Names(v4("127.0.0.1"), gate, v6("::1")), both[0].port, resolution_delay=NEVER)

    dialed = run(dial())
    assert tried(dialed.attempts) == [(both[0].address, 0)]


def test_rfc8305_3_and_no_more_than_that(run, both):
    async def dial():
        names = Names(v4("127.0.0.1"), asyncio.Event(), v6("::1"))
        dialed = await connect(names, both[0].port)
        await asyncio.sleep(0)
        return dialed, names.cancelled

    began = time.monotonic()
    dialed, cancelled = run(dial())
    assert dialed.address == both[1].address
    assert time.monotonic() - began >= 0.05
    assert cancelled


def test_leading_family_that_has_nothing_is_not_waited_for(run, both):
    async def dial():
        names = Names(v6(), v4("127.0.0.1"), asyncio.Event())
        return await connect(names, both[0].port, resolution_delay=NEVER, timeout=4 * NEVER)

    assert run(dial()).address == both[1].address


def test_addresses_that_come_while_another_hangs_are_used(run):
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[1]) as hole, Relay(sock=socks[0]) as relay:

        async def dial():
            gate = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, gate.set)
            return await connect(Names(v4("127.0.0.1"), gate, v6("::1")), relay.port, timeout=30)

        dialed = run(dial())
    assert tried(dialed.attempts) == [(hole.address, "ECANCELED"), (relay.address, 0)]


# -- failure


def test_all_refused_lists_every_address(run):
    socks = bind_same_port("::1", "127.0.0.1")
    with Refusing(sock=socks[0]) as six, Refusing(sock=socks[1]) as four, pytest.raises(DialError) as caught:
        run(connect(Names(v6("::1"), v4("127.0.0.1")), six.port))
    error = caught.value
    assert (error.reason, error.address, error.errno) == ("connect", four.address, errno.ECONNREFUSED)
    assert f"cannot connect to app.example:{six.port}: {six.address} ECONNREFUSED" in str(error)
    assert f"{four.address} ECONNREFUSED (Connection refused) after" in str(error)
    assert "free ports" not in str(error)


def test_deadline_ends_every_attempt(run):
    counters = Counters()
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[0]) as six, BlackHole(sock=socks[1]) as four:
        names = Names(v6("::1"), v4("127.0.0.1"), notes=["a note of the resolver"])
        with pytest.raises(DialError, match=r"gave up after 1\.0 s") as caught:
            run(connect(names, six.port, timeout=1.0, counters=counters))
    assert caught.value.reason == "timeout"
    assert tried(caught.value.attempts) == [(six.address, "ETIMEDOUT"), (four.address, "ETIMEDOUT")]
    assert caught.value.attempts[0].milliseconds >= 900
    assert "a note of the resolver" in str(caught.value)
    assert failures(counters) == {("ipv6", "ETIMEDOUT"): 1, ("ipv4", "ETIMEDOUT"): 1}


def test_no_name_no_attempt(run):
    problem = ResolveError("app.example", "not-found", "NXDOMAIN from 10.0.0.53:53")
    with pytest.raises(DialError, match=r"NXDOMAIN from 10\.0\.0\.53:53") as caught:
        run(connect(Names(problem), 80))
    assert (caught.value.reason, caught.value.attempts, caught.value.errno) == ("resolve", (), 0)


def test_name_that_never_resolves_ends_with_the_deadline(run):
    async def dial():
        return await connect(Names(asyncio.Event()), 80, timeout=0.05)

    with pytest.raises(DialError) as caught:
        run(dial())
    assert caught.value.reason == "resolve"


def test_resolver_with_a_defect_is_told(run):
    with pytest.raises(DialError, match="the resolver broke: RuntimeError"):
        run(connect(Names(RuntimeError("oops")), 80))


def test_half_of_the_name_failing_is_told_with_the_attempts(run):
    names = Names(v6(), v4("127.0.0.1"), notes=["AAAA app.example: 10.0.0.53:53 SERVFAIL"])
    with (
        Refusing() as refusing,
        pytest.raises(DialError, match=r"ECONNREFUSED.*AAAA app\.example: 10\.0\.0\.53:53 SERVFAIL"),
    ):
        run(connect(names, refusing.port))


def test_allow_removes_addresses_before_they_are_dialled(run, both):
    names = Names(v6("::1"), v4("127.0.0.1"))
    dialed = run(connect(names, both[0].port, allow=lambda ip: ip != "::1"))
    assert tried(dialed.attempts) == [(both[1].address, 0)]


def test_nothing_allowed(run, both):
    names = Names(v6("::1"), v4("127.0.0.1"))
    with pytest.raises(DialError, match=r"not allowed: \[::1\]:\d+, 127\.0\.0\.1:\d+") as caught:
        run(connect(names, both[0].port, allow=lambda ip: False))
    assert caught.value.reason == "refused-address"
    assert [relay.accepted for relay in both] == [0, 0]


def test_out_of_descriptors_says_so(run):
    counters = Counters()

    async def dial():
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            await connect(Names(v6(), v4("127.0.0.1")), 80, counters=counters)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    with pytest.raises(DialError, match=r"EMFILE \(Too many open files\)") as caught:
        run(dial())
    assert caught.value.reason == "descriptors"
    assert failures(counters) == {("ipv4", "EMFILE"): 1}


# -- cleaning up (the `run` fixture counts the descriptors of every test above, too)


def test_cancelled_dial_closes_everything(run):
    socks = bind_same_port("::1", "127.0.0.1")
    with BlackHole(sock=socks[0]) as hole, BlackHole(sock=socks[1]):

        async def dial():
            names = Names(v6("::1"), v4("127.0.0.1"), asyncio.Event())
            dialing = asyncio.ensure_future(connect(names, hole.port, attempt_delay=0.01, timeout=60))
            await asyncio.wait([dialing], timeout=0.1)
            dialing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialing
            await asyncio.sleep(0)
            assert names.cancelled

        run(dial())


def test_two_that_connect_at_once_leave_one(run):
    """Both queues get room while the loop is held up: it finds both attempts connected in the same turn."""
    socks = bind_same_port("::1", "127.0.0.1")
    fillers = [socket.socket(sock.family) for sock in socks]
    for sock, filler in zip(socks, fillers, strict=True):
        sock.listen(0)
        filler.connect(sock.getsockname())
    port = socks[0].getsockname()[1]

    async def dial():
        names = Names(v6("::1"), v4("127.0.0.1"))
        dialing = asyncio.ensure_future(connect(names, port, attempt_delay=0.01, timeout=40))
        done, _ = await asyncio.wait([dialing], timeout=0.3)
        assert not done
        for sock in socks:
            sock.accept()[0].close()
        for sock in socks:
            # The kernel repeats the SYN after a second; the loop must not see one before the other.
            assert select.select([sock], [], [], 20)[0]
        return await dialing

    dialed = run(dial())
    assert [name for _, name in tried(dialed.attempts)] == ["ECANCELED", 0]
    assert {address for address, _ in tried(dialed.attempts)} == {f"[::1]:{port}", f"127.0.0.1:{port}"}
    for sock in (*socks, *fillers):
        sock.close()


class Word:
    """An attempt that is no TCP connection: it ends as the test says, in words of its own."""

    made = ()

    def __init__(self, loop, address, port, ended):
        self.address = address
        self.text = address.text(port)
        self.began = loop.time()
        self.problem = ""
        self.closed = False
        self._ended = ended
        Word.made = (*Word.made, self)

    def begin(self):
        if self.address.family == "ipv6":
            self.problem = "no common version"
            self._ended(self, errno.EPROTO)
        else:
            self._ended(self, 0)

    def close(self):
        self.closed = True


def test_attempts_of_any_kind_race_and_say_in_words_why_they_failed(run):
    Word.made = ()
    names = Names(v6("2001:db8::1"), v4("192.0.2.1"))
    won, attempts = run(Dialer(names).race(Word, "a.test", 443, timeout=5.0))
    assert won.text == "192.0.2.1:443"
    assert not won.closed
    assert [(a.address, a.errno, a.error) for a in attempts] == [
        ("[2001:db8::1]:443", errno.EPROTO, "no common version"),
        ("192.0.2.1:443", 0, ""),
    ]
    assert [one.closed for one in Word.made] == [True, False]
