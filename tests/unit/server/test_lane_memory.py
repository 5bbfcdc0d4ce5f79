"""What lanes hold together for clients that do not read: the limit and one more."""

import pytest
from tests.unit.proxy.h2_path import H2Path

from headgate.counters import UPSTREAM_LANES_SHED
from headgate.server.lane_memory import settle_lanes

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def path():
    made = H2Path()
    yield made
    made.close()
    made.run()
    assert made.seen.crashes == []
    assert made.active == [0]


def waiting(path, size):
    """A client that reads nothing of an answer of which so much waits in its lane; return it and its stream."""
    client, origin = path.ask(GET)
    client.transport.take = 0
    stream = origin.requests[-1].stream
    origin.respond(200, 1 << 20)
    origin.send(b"x", stream=stream)
    path.run()
    origin.send(bytes(size), stream=stream)
    path.run()
    return client, stream


def test_what_lanes_hold_at_the_limit_and_one_more(path):
    small, _ = waiting(path, 10_000)
    large, stream = waiting(path, 20_000)
    held = sum(lane.held() for lane in path.pool.lanes())
    assert held == 30_000
    settle_lanes(path.endpoints, path.values, held)
    assert path.values[UPSTREAM_LANES_SHED] == 0
    settle_lanes(path.endpoints, path.values, held - 1)
    assert path.values[UPSTREAM_LANES_SHED] == 1
    assert large.closed
    assert not small.closed
    path.run()
    assert [entry[0] for entry in path.origins[0].resets] == [stream]
    assert path.seen.exchanges[-1].reason == "memory"
    assert path.endpoint.health.failures == 0, "it did nothing wrong"
    small.transport.take = 1 << 40
    small.on_writable()
    path.run()
    assert sum(lane.held() for lane in path.pool.lanes()) == 0


def test_a_tunnel_is_given_up_too(path):
    client, origin = path.ask(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    origin.respond(200, -1)
    path.run()
    client.transport.take = 0
    origin.send(b"x")
    path.run()
    origin.send(bytes(5000))
    path.run()
    settle_lanes(path.endpoints, path.values, 4999)
    assert client.closed
    assert path.seen.exchanges[-1].reason == "memory"
