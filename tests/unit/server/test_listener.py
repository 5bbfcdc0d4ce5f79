"""A listener on a real socket: what it admits, how much in one wake-up, and what a defect on the way in costs."""

import contextlib
import socket

import pytest

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Handler
from headgate.connection.h2_downstream import H2Downstream
from headgate.connection.settings import ConnectionSettings
from headgate.counters import CONNECTIONS, CONNECTIONS_OPEN, SIZE
from headgate.engine.h2.settings import H2Settings
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

    def __init__(self, *, per_client=0, secure=None, **options):
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
            **options,
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


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)


def settle(door):
    door.poller.dispatch()
    door.poller.dispatch()


def test_a_client_that_begins_with_the_preface_gets_another_driver_in_its_place(make):
    door = make(h2=H2Settings())
    (client,) = door.connect()
    settle(door)
    (before,) = door.listener.connections
    client.sendall(PREFACE)
    settle(door)
    (driver,) = door.listener.connections
    assert isinstance(before, DownstreamConnection)
    assert isinstance(driver, H2Downstream)
    assert (driver.transport, driver.context) == (before.transport, before.context)
    assert before.closed
    assert door.values[CONNECTIONS_OPEN] == door.limits.open == 1
    assert client.recv(100)[3] == 4  # SETTINGS
    client.close()
    settle(door)
    assert door.listener.connections == set()
    assert door.values[CONNECTIONS_OPEN] == 0


def test_without_http_1_1_there_is_nothing_to_choose(make):
    door = make(h1=False, h2=H2Settings())
    door.connect()
    settle(door)
    (driver,) = door.listener.connections
    assert isinstance(driver, H2Downstream)


@pytest.mark.parametrize(
    ("h1", "alpn", "is_h2"), [(True, b"", False), (True, b"h2", True), (False, b"", True)]
)
def test_what_a_handshake_says_of_the_version(make, h1, alpn, is_h2):
    assert make(h1=h1, h2=H2Settings()).listener.is_h2(alpn) is is_h2


def test_a_client_that_turns_out_to_speak_http_2_while_the_gate_leaves_is_told_at_once(make):
    door = make(h2=H2Settings())
    (client,) = door.connect()
    client.sendall(PREFACE[:3])
    settle(door)
    (before,) = door.listener.connections
    before.draining = True  # as during a handshake
    client.sendall(PREFACE[3:])
    settle(door)
    (driver,) = door.listener.connections
    assert driver.h2.is_going_away
