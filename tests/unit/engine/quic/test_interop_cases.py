"""The cases of quic-interop-runner that are about networks, by its names, in memory with a seeded clock.

Others of its names: handshake, retry, chacha20, versionnegotiation and resumption have tests beside their modules;
keyupdate and ecn are in test_upkeep, amplificationlimit in test_connection; tests/integration/quic_peers has them
over sockets, with other implementations.
"""

import pytest
from tests.unit.engine.quic.peers import Link, new_client
from tests.unit.engine.quic.test_migration import exchange, settled


def transfer(link, size=500_000):
    link.run(exchange(link, size), steps=400_000)
    assert link.is_open()


@pytest.mark.parametrize("seed", range(3))
def test_rebind_port(seed):
    link = Link(new_client(), loss=0.02, seed=seed).shake()
    done = exchange(link, 1_000_000)
    at = link.now + 0.2
    for _ in range(4):
        link.run(lambda at=at: link.now >= at or done())
        link.rebind()
        at = link.now + 1.2
    link.run(done)
    assert link.is_open()


@pytest.mark.parametrize("seed", range(3))
def test_rebind_addr(seed):
    link = Link(new_client(), loss=0.02, seed=seed).shake()
    done = exchange(link, 1_000_000)
    link.run(lambda: link.client.streams.sender.held > 100_000)
    link.rebind(address=("203.0.113.77", 6000 + seed))
    link.run(done)
    assert link.is_open()
    assert link.server.path.peer == ("203.0.113.77", 6000 + seed)


@pytest.mark.parametrize("seed", range(3))
def test_connectionmigration(seed):
    link = Link(new_client(), loss=0.02, seed=seed).shake()
    link.rest(1.0)
    done = exchange(link, 1_000_000)
    link.addresses[b"lte"] = ("203.0.113.78", 7000)
    assert link.client.migrate(b"lte", link.now)
    link.run(done)
    link.rest(4.0)
    assert link.is_open()
    assert link.server.path.peer == ("203.0.113.78", 7000)


def test_blackhole():
    link = settled()
    done = exchange(link, 1_000_000)
    link.run(lambda: link.client.streams.sender.held > 100_000)
    link.is_up = False
    link.rest(3.0)
    link.is_up = True
    link.run(done)
    assert link.is_open()


def test_longrtt():
    link = Link(new_client(), delay=0.75).shake()
    assert link.now < 5.0
    transfer(link)


@pytest.mark.parametrize("seed", range(5))
def test_handshakeloss(seed):
    link = Link(new_client(), loss=0.3, seed=seed).shake()
    transfer(link, 1000)


@pytest.mark.parametrize("seed", range(3))
def test_transferloss(seed):
    transfer(Link(new_client(), loss=0.02, seed=seed).shake())


@pytest.mark.parametrize("seed", range(3))
def test_handshakecorruption_and_transfercorruption(seed):
    transfer(Link(new_client(), corruption=0.3, seed=seed).shake(), 1000)
    transfer(Link(new_client(), corruption=0.02, seed=seed).shake())
