"""A listener on a real socket: what it admits, how much in one wake-up, and what a defect on the way in costs."""

import contextlib
import socket

import pytest

from headgate.connection.exchange import Handler
from headgate.connection.settings import ConnectionSettings
from headgate.counters import CONNECTIONS, CONNECTIONS_OPEN, SIZE
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.net.tcp import TcpTransport
from headgate.server.limits import ConnectionLimits
from headgate.server.listener import MAX_ACCEPTS, Listener
from headgate.server.observer import Observer
from headgate.telemetry.access_log import AccessLog


class Door:
    """A listener with everything around it; `events` is what its observer tells."""

    def __init__(self, *, per_client=0, secure=None):
        self.poller = Poller()
        self.values = [0] * SIZE
        self.events = []
        self.limits = ConnectionLimits(self.values, 0, per_client, 0.0, 0.0)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.address = sock.getsockname()
        self.listener = Listener(
            "test",
            sock,
            poller=self.poller,
            handler=Handler(),
            observer=Observer(AccessLog(None), self.told),
            settings=ConnectionSettings(),
            limits=self.limits,
            forwarder=Forwarder(Networks(())),
            values=self.values,
            secure=secure,
        )
        self.listener.start()
        self.clients = contextlib.ExitStack()

    def told(self, name, level="info", *, limit_key="", **fields):
        self.events.append((name, fields))

    def connect(self, count=1):
        """Return clients whose handshakes are over: they wait in the queue."""
        return [self.clients.enter_context(socket.create_connection(self.address, 10)) for _ in range(count)]

    def close(self):
        for connection in list(self.listener.connections):
            connection.close()
        self.listener.close()
        self.clients.close()
        self.poller.close()


@pytest.fixture
def make():
    made = []

    def door(**options):
        made.append(Door(**options))
        return made[-1]

    yield door
    for one in made:
        one.close()
        assert one.limits.open == one.values[CONNECTIONS_OPEN] == 0


def test_one_wake_up_accepts_so_many_and_no_more(make):
    door = make()
    door.connect(MAX_ACCEPTS + 1)
    door.poller.dispatch()
    assert len(door.listener.connections) == MAX_ACCEPTS
    door.poller.dispatch()
    assert len(door.listener.connections) == door.values[CONNECTIONS_OPEN] == MAX_ACCEPTS + 1


def test_a_defect_before_there_is_a_connection_costs_no_place(make):
    """The first transport cannot be made; with one place for each client, the second shows that it was given back."""
    failures = [MemoryError("no room for another SSL")]

    def secure(sock):
        if failures:
            raise failures.pop()
        return TcpTransport(sock)

    door = make(per_client=1, secure=secure)
    first, _second = door.connect(2)
    door.poller.dispatch()
    assert [(name, fields["error"]) for name, fields in door.events] == [
        ("defect", "MemoryError('no room for another SSL')")
    ]
    assert first.recv(1) == b"", "closed, not left to its timeout"
    assert (door.limits.open, door.values[CONNECTIONS], door.values[CONNECTIONS_OPEN]) == (0, 1, 0)
    door.poller.dispatch()
    assert len(door.listener.connections) == door.limits.open == 1


def test_a_connection_that_cannot_be_watched_costs_no_place(make):
    """The kernel refuses one more watch; here because the set is closed already."""
    door = make()
    (client,) = door.connect()
    door.poller.close()
    door.listener.accepting = False  # it cannot be taken out of a set that is closed
    with pytest.raises(ValueError, match="closed epoll"):
        door.listener.on_readable()
    assert door.listener.connections == set()
    assert door.limits.open == door.values[CONNECTIONS_OPEN] == 0
    assert client.recv(1) == b""
