"""A tunnel between two ends in memory: both directions, ends one after the other, slow and broken peers."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import TUNNELS_OPEN, UPSTREAM_OPEN
from headgate.proxy.tunnel import Tunnel

UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n"


class Ends:
    """An open tunnel: `client` and `origin` are its halves."""

    def __init__(self, early=b"", late=b""):
        self.path = DataPath()
        driver = self.path.client()
        self.path.send(driver, UPGRADE + early)
        self.path.send(self.path.origin(), SWITCH + late)
        tunnel = driver.tunnel
        assert isinstance(tunnel, Tunnel)
        self.tunnel = tunnel
        self.driver = driver
        self.client = tunnel.relay.client
        self.origin = tunnel.relay.origin

    def send(self, half, data):
        half.transport.incoming.append(data)
        half.on_readable()


@pytest.fixture
def make():
    made = []

    def ends(**options):
        made.append(Ends(**options))
        return made[-1]

    yield ends
    for one in made:
        one.path.close()
        assert one.path.seen.crashes == []
        assert one.path.values[TUNNELS_OPEN] == 0
        assert one.path.values[UPSTREAM_OPEN] == 0
        assert one.path.seen.closed == 1


def test_both_directions_and_early_bytes(make):
    ends = make(early=b"early", late=b"late")
    assert ends.client.transport.outgoing.endswith(b"\r\n\r\nlate")
    assert ends.origin.transport.outgoing.endswith(b"\r\n\r\nearly")
    ends.send(ends.client, b" up")
    ends.send(ends.origin, b" down")
    assert ends.client.transport.outgoing.endswith(b"late down")
    assert ends.origin.transport.outgoing.endswith(b"early up")
    assert ends.path.values[TUNNELS_OPEN] == 1


def test_an_end_in_one_direction_leaves_the_other_open(make):
    ends = make()
    ends.send(ends.client, b"")
    assert ends.origin.transport.ended
    ends.send(ends.origin, b"still here")
    assert ends.client.transport.outgoing.endswith(b"still here")
    ends.send(ends.origin, b"")
    assert ends.client.transport.closed
    assert ends.origin.transport.closed
    assert ends.path.seen.exchanges[0].reason == ""


def test_what_a_slow_side_has_not_taken_is_delivered_before_the_end(make):
    ends = make()
    ends.send(ends.client, b"")
    ends.client.transport.take = 3
    ends.send(ends.origin, b"goodbye")
    assert not ends.origin.reading
    ends.client.transport.take = 0
    ends.client.on_writable()
    ends.origin.on_readable()  # both sides of the origin are over: a hang-up that waits
    assert not ends.client.transport.closed
    ends.client.transport.take = 100
    ends.client.on_writable()
    assert ends.client.transport.outgoing.endswith(b"goodbye")
    ends.send(ends.origin, b"")
    assert ends.client.transport.ended
    assert ends.client.transport.closed


def test_an_end_behind_bytes_that_wait_is_passed_on_after_them(make):
    ends = make()
    ends.send(ends.client, b"")
    ends.client.transport.take = 3
    ends.origin.transport.incoming += [b"goodbye", b""]
    ends.origin.on_readable()
    ends.client.transport.take = 100
    ends.client.on_writable()
    ends.origin.on_readable()
    assert ends.client.transport.outgoing.endswith(b"goodbye")
    assert ends.client.transport.closed


def test_a_slow_side_stops_the_other(make):
    ends = make()
    ends.origin.transport.take = 10
    ends.send(ends.client, b"x" * 1000)
    assert not ends.client.reading
    assert ends.origin.unsent == 990
    ends.origin.transport.take = 1000
    ends.origin.on_writable()
    assert ends.client.reading


def test_a_peer_that_breaks_after_its_end_is_noticed_once(make):
    """Its end was read already, so that only the hang-up is left: it must not wake us for ever."""
    ends = make()
    ends.send(ends.client, b"")
    ends.client.on_readable()
    assert ends.origin.transport.closed
    assert ends.path.seen.exchanges[0].reason == "hung-up"


def test_silence_in_both_directions_ends_it(make):
    ends = make()
    ends.path.poller.now += 3599
    ends.send(ends.client, b"ping")
    assert ends.driver.deadline == ends.path.poller.now + 3600
    ends.path.poller.now += 3601
    ends.driver.on_deadline(ends.path.poller.now)
    assert ends.origin.transport.closed
    assert ends.path.seen.exchanges[0].reason == "idle-timeout"


def test_the_log_counts_what_went_through(make):
    ends = make()
    ends.send(ends.client, b"12345")
    ends.send(ends.origin, b"123")
    ends.tunnel.close("")
    exchange = ends.path.seen.exchanges[0]
    assert (exchange.status, exchange.bytes_in, exchange.bytes_out) == (101, 5, 3)
