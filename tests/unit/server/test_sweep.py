"""The sweep: what is past its deadline ends, a defect there costs nobody else, and what is held is added up."""

import socket

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.build_info import is_compiled
from headgate.counters import HELD_DOWNSTREAM, HELD_HEADS, HELD_UPSTREAM, TIMEOUT_HEAD, TUNNELS_OPEN
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.proxy.tunnel import Tunnel
from headgate.server.limits import ConnectionLimits
from headgate.server.listener import Listener
from headgate.server.sweep import sweep

UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n"


class Swept:
    """A data path whose clients stand in a listener, as if they had come through it."""

    def __init__(self):
        self.path = DataPath()
        self.values = self.path.values
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.listener = Listener(
            "test",
            sock,
            poller=self.path.poller,
            handler=self.path.proxy,
            observer=self.path.seen,
            settings=self.path.settings,
            limits=ConnectionLimits(self.values, 0, 0, 0.0, 0.0),
            forwarder=Forwarder(Networks(())),
            values=self.values,
        )

    def client(self):
        driver = self.path.client()
        self.listener.connections.add(driver)
        return driver

    def sweep(self, later=0.0):
        self.path.poller.now += later
        sweep([self.listener], self.path.endpoints, self.values, self.path.poller.now)

    @property
    def held(self):
        """What is held: heads, for clients, for origins."""
        return self.values[HELD_HEADS], self.values[HELD_DOWNSTREAM], self.values[HELD_UPSTREAM]


@pytest.fixture
def swept():
    one = Swept()
    yield one
    one.listener.close()
    one.path.close()
    assert one.path.seen.crashes == []


def test_bytes_that_wait_are_added_up_by_owner(swept):
    head, slow = swept.client(), swept.client()
    swept.path.send(head, b"GET / HTT")
    swept.path.send(slow, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    slow.transport.take = 0
    date = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    answer = b"HTTP/1.1 200 OK\r\n" + date + b"Content-Length: 5\r\n\r\nhello"
    swept.path.send(swept.path.origin(), answer)
    swept.sweep()
    assert swept.held == (9, len(answer), 0)


def test_a_deadline_ends_its_connection_and_no_other(swept):
    late, busy = swept.client(), swept.client()
    swept.path.send(busy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    swept.sweep(later=11.0)
    assert late.closed
    assert not busy.closed
    assert swept.values[TIMEOUT_HEAD] == 1


def test_what_waits_in_a_tunnel_is_held_like_anything_else(swept):
    driver = swept.client()
    swept.path.send(driver, UPGRADE)
    origin = swept.path.origin()
    origin.transport.take = 3
    driver.transport.take = len(SWITCH)
    swept.path.send(origin, SWITCH)
    tunnel = driver.tunnel
    assert isinstance(tunnel, Tunnel)
    swept.sweep()
    assert swept.held == (0, 0, 0)
    for half, data in ((tunnel.relay.client, b"up" * 10), (tunnel.relay.origin, b"down" * 10)):
        half.transport.incoming.append(data)
        half.on_readable()
    swept.sweep()
    assert swept.held == (0, 40, 17)
    driver.transport.take = origin.transport.take = 100
    tunnel.relay.client.on_writable()
    tunnel.relay.origin.on_writable()
    swept.sweep()
    assert swept.held == (0, 0, 0)


def test_an_answer_that_was_not_taken_before_the_switch_is_held_once(swept):
    """It goes over to the tunnel with everything else, and leaves when the tunnel ends."""
    driver = swept.client()
    swept.path.send(driver, UPGRADE + b"early")
    driver.transport.take = 10
    origin = swept.path.origin()
    origin.transport.take = 2
    swept.path.send(origin, SWITCH + b"late")
    swept.sweep()
    assert swept.held[1:] == (len(SWITCH + b"late") - 10, 3)
    assert driver.unsent == origin.unsent == 0
    swept.sweep(later=3601.0)
    assert swept.values[TUNNELS_OPEN] == 0
    assert swept.held == (0, 0, 0)
    assert driver.tunnel.relay.client.unsent == 0, "let go of at once"


class DefectivePool:
    """What one endpoint has of HTTP/2, with a defect."""

    def sweep(self, now):
        raise RuntimeError("a defect")

    def lanes(self):
        return []

    def close(self):
        pass


@pytest.mark.skipif(is_compiled("headgate.upstream.endpoint"), reason="only pure: stand-ins")
def test_a_defect_in_one_endpoints_sweep_keeps_no_others_from_theirs():
    path = DataPath(endpoints=2)
    swept = []
    bad, good = path.endpoints
    bad.h2 = DefectivePool()
    good.h2 = DefectivePool()
    good.h2.sweep = lambda now: swept.append(now) or 7
    values = path.values
    sweep([], path.endpoints, values, 1000.0)
    assert swept == [1000.0]
    assert values[HELD_UPSTREAM] == 7
    assert [repr(error) for error in path.seen.crashes] == ["RuntimeError('a defect')"]
    path.close()
