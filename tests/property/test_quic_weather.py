"""Whole connections in bad weather that do at random what a connection may do: all that was written arrives.

The client's NAT forgets it, it moves, both sides take new keys, the road narrows and widens, and packets are lost,
late, doubled and changed. No timer may go off without effect: that shows as a run that does not end.
"""

import random as randomness

import pytest
from tests.unit.engine.quic.peers import Link, new_client
from tests.unit.engine.quic.test_migration import exchange

ROADS = (1200, 1300, 1452, 65_000)
STEPS = 400_000


def somewhere(random):
    return f"198.51.100.{random.randrange(1, 250)}", random.randrange(1, 60_000)


class Storm:
    """A link, and what befalls it."""

    def __init__(self, seed):
        random = self.random = randomness.Random(seed)
        self.link = Link(
            new_client(seed=seed + 1),
            loss=random.choice((0, 0.01, 0.05, 0.1)),
            reorder=random.choice((0, 0.1, 0.3)),
            duplicate=random.choice((0, 0.1)),
            corruption=random.choice((0, 0.02)),
            road=random.choice(ROADS),
            delay=random.choice((0.001, 0.02, 0.2)),
            seed=seed,
        )
        self.moves = 0

    def befall(self):
        link, random = self.link, self.random
        client = link.client
        what = random.randrange(6)
        if what == 0:
            link.rebind(local=client.path.local)
        elif what == 1:
            link.rebind(address=somewhere(random), local=client.path.local)
        elif what == 2:
            self.moves += 1
            local = b"network %d" % self.moves
            link.addresses[local] = somewhere(random)
            client.migrate(local, link.now)
        elif what == 3:
            client.update_keys(link.now)
        elif what == 4:
            link.server.update_keys(link.now)
        else:
            link.road = random.choice(ROADS)

    def exchange(self, size):
        done = exchange(self.link, size)
        for _ in range(STEPS):
            if done():
                return
            if self.random.random() < 0.003:
                self.befall()
            assert self.link.step(self.link.now + 60.0)
            assert self.link.is_open(), (self.link.client.end, self.link.server.end)
        raise AssertionError(f"no end in sight: {self.link.client.stats()} {self.link.server.stats()}")


@pytest.mark.parametrize("seed", range(24))
def test_whatever_befalls_a_connection_everything_arrives(seed):
    storm = Storm(seed)
    storm.link.shake()
    for size in (1000, 200_000, 50_000, 400_000):
        storm.exchange(size)
