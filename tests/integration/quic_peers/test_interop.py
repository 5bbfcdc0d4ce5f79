"""The cases of the QUIC interop runner, by its names, over real sockets through a relay with weather.

Each runs between us and others, in the roles that the other can play. A case passes when every octet of every file
is right and what gives the case its name was seen: on the wire, in the peer's log, or in the connection's own state.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.gate import wait_for
from tests.integration.quic_peers.ours import OurServer, content_of
from tests.integration.quic_peers.peers import (
    AioClient,
    AioServer,
    GtlsClient,
    GtlsServer,
    OurFetch,
)

from headgate.testing.udp_relay import UdpRelay, Weather

pytestmark = pytest.mark.slow

# client, server: one of the two is ours.
CLIENTS = {"ours": OurFetch, "gtls": GtlsClient, "aioquic": AioClient}
SERVERS = {"ours": lambda names, **options: OurServer(**options), "gtls": GtlsServer, "aioquic": AioServer}
PAIRS = [("gtls", "ours"), ("aioquic", "ours"), ("ours", "gtls"), ("ours", "aioquic"), ("ours", "ours")]
KIB, MIB = 1024, 1 << 20


def pairs(*chosen):
    chosen = chosen or PAIRS
    return pytest.mark.parametrize(("client", "server"), chosen, ids=[f"{a}-to-{b}" for a, b in chosen])


def run(client, server, names, *, host="127.0.0.1", seed=1, up=None, down=None, timeout=40.0):
    """Fetch through the weather and check every octet; return the relay, closed, with what it saw."""
    weather = {key: value for key, value in (("up", up), ("down", down)) if value is not None}
    names = [f"b{name}" for name in names]
    with SERVERS[server](names, host=host) as serving:
        with UdpRelay(serving.address, host=host, seed=seed, **weather) as relay:
            bodies = CLIENTS[client]().fetch(relay.address, names, timeout=timeout)
        check(bodies, names)
        return relay


def check(bodies, names):
    got = [None if body is None else len(body) for body in bodies]
    assert got == [len(content_of(name)) for name in names]
    assert bodies == [content_of(name) for name in names]


@pairs()
def test_handshake(client, server):
    run(client, server, [KIB])


@pairs()
def test_transfer(client, server):
    run(client, server, [2 * MIB, MIB])


@pairs()
def test_longrtt(client, server):
    relay = run(client, server, [64 * KIB], up=Weather(delay=0.3), down=Weather(delay=0.3))
    # Nobody sends its first flight again and again while the answer is on the road.
    early = [seen for seen in relay.seen if seen.is_up and seen.at - relay.seen[0].at < 0.25]
    assert len(early) <= 4


@pairs()
def test_multiplexing(client, server):
    """More requests than streams may be open at a time: the other side has to grant new ones, again and again."""
    run(client, server, [f"32-{number}" for number in range(400)])


@pairs()
def test_http3(client, server):
    run(client, server, [f"{100 * KIB}-{number}" for number in range(6)])


@pairs()
def test_ipv6(client, server):
    run(client, server, [100 * KIB], host="::1")


@pairs()
def test_transferloss(client, server):
    relay = run(
        client, server, [512 * KIB], seed=11, up=Weather(loss=0.02, delay=0.005), down=Weather(loss=0.02)
    )
    assert relay.lost


@pairs()
def test_transfercorruption(client, server):
    weather = Weather(corrupt=0.02, delay=0.005)
    relay = run(client, server, [512 * KIB], seed=12, up=weather, down=weather)
    assert any(seen.fate == "corrupted" for seen in relay.seen)


@pairs()
def test_disorder(client, server):
    """Not among the runner's names: some late, some twice."""
    weather = Weather(reorder=0.05, late=0.01, duplicate=0.05, delay=0.005)
    run(client, server, [512 * KIB], seed=13, up=weather, down=weather)


def many(client, server, weather, count=6, timeout=50.0):
    """Shake hands `count` times at once, each for a file of its own."""
    names = [f"b{KIB}-{number}" for number in range(count)]
    with (
        SERVERS[server](names) as serving,
        UdpRelay(serving.address, seed=14, up=weather, down=weather) as relay,
        ThreadPoolExecutor(count) as pool,
    ):
        done = [
            pool.submit(CLIENTS[client]().fetch, relay.address, [name], timeout=timeout) for name in names
        ]
        check([one.result()[0] for one in done], names)
        return relay


@pairs()
def test_handshakeloss(client, server):
    relay = many(client, server, Weather(loss=0.15, delay=0.01))
    assert relay.lost


@pairs()
def test_handshakecorruption(client, server):
    relay = many(client, server, Weather(corrupt=0.15, delay=0.01))
    assert any(seen.fate == "corrupted" for seen in relay.seen)


@pairs()
def test_blackhole(client, server):
    """All goes dark for a second in the midst of a transfer; the same connection ends it."""
    names = [f"b{2 * MIB}"]
    with SERVERS[server](names) as serving:
        slow = Weather(rate=4 * MIB)
        with UdpRelay(serving.address, up=slow, down=slow) as relay, ThreadPoolExecutor(1) as pool:
            done = pool.submit(CLIENTS[client]().fetch, relay.address, names)
            wait_for("a quarter of it", lambda: relay.octets(is_up=False) > MIB // 2)
            relay.up = relay.down = Weather(loss=1.0)
            time.sleep(1.0)  # the darkness itself
            relay.up = relay.down = slow
            check(done.result(), names)
            assert len(relay.sources()) == 1
