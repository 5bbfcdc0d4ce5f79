"""A QUIC connection on a real socket: what the network tells, what one wake-up reads, and the one timer."""

import socket

import pytest
from tests.unit.engine.quic.peers import new_client
from tests.unit.proxy.h3_path import Handle

from headgate.connection.quic_socket import FULL, MAX_READS, QuicSocket
from headgate.connection.quic_upstream import QuicUpstream
from headgate.connection.upstream_stream import SharedOwner
from headgate.counters import SIZE, UPSTREAM_READ, UPSTREAM_WRITTEN
from headgate.engine.quic.closing import State
from headgate.net.poller import Poller
from headgate.net.udp import RECEIVE_BUFFER, UdpSocket


class Pool(SharedOwner):
    def __init__(self):
        self.ended = []
        self.crashes = []

    def connection_ready(self, driver):
        raise AssertionError("nobody shakes hands here")

    def connection_ended(self, driver, reason, detail):
        self.ended.append((reason, detail))

    def room_changed(self, driver):
        pass

    def crashed(self, where, error):
        self.crashes.append(error)


class Timers:
    def __init__(self, poller):
        self.poller = poller
        self.calls = []

    def time(self):
        return self.poller.now

    def call_at(self, when, callback):
        self.calls.append(Handle(when, callback))
        return self.calls[-1]

    @property
    def due(self):
        return [call for call in self.calls if not call.cancelled]


class Wire:
    """A client's connection on a socket, and the socket of a peer that says nothing by itself."""

    def __init__(self):
        self.poller = Poller()
        self.timers = Timers(self.poller)
        self.values = [0] * SIZE
        self.pool = Pool()
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.peer.settimeout(5.0)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(self.peer.getsockname())
        self.address = sock.getsockname()
        self.sock = sock
        buffer = bytearray(RECEIVE_BUFFER)
        self.held = QuicSocket(UdpSocket(sock), self.poller, self.timers, buffer, self.values)
        self.driver = QuicUpstream(
            new_client(now=self.poller.now),
            self.held.owner,
            self.poller,
            self.pool,
            self.values,
            "https://a.test",
            65536,
        )

    def close(self):
        self.held.close()
        self.held.close()
        self.peer.close()
        self.poller.close()


@pytest.fixture
def wire():
    made = Wire()
    yield made
    made.close()


def test_the_first_flight_goes_out_and_a_timer_waits_for_the_answer(wire):
    wire.held.begin(wire.driver)
    sizes = [len(wire.peer.recv(65535)) for _ in range(2)]
    assert set(sizes) == {1200}, "ML-KEM takes two"
    assert wire.values[UPSTREAM_WRITTEN] == 2400
    (timer,) = wire.timers.due
    assert timer.when == wire.driver.quic.deadline()
    wire.poller.now = timer.when - 0.5
    timer.callback()
    assert wire.values[UPSTREAM_WRITTEN] == 2400, "too early: it looks again"
    (again,) = [call for call in wire.timers.due if call is not timer]
    wire.poller.now = again.when
    again.callback()
    assert wire.values[UPSTREAM_WRITTEN] > 2400


def test_nobody_listens_and_the_connection_ends_at_once(wire):
    wire.peer.close()
    wire.held.begin(wire.driver)
    wire.held.on_readable()
    assert [reason for reason, _ in wire.pool.ended] == ["closed"]
    assert "econnrefused" in wire.pool.ended[0][1]
    assert wire.driver.closed
    assert wire.sock.fileno() == -1
    assert wire.timers.due == []


def test_one_wake_up_reads_so_many_batches(wire):
    wire.held.begin(wire.driver)
    for _ in range(MAX_READS + 1):
        wire.peer.sendto(bytes(FULL), wire.address)
    wire.held.on_readable()
    assert wire.values[UPSTREAM_READ] == MAX_READS * FULL
    wire.held.on_readable()
    assert wire.values[UPSTREAM_READ] == (MAX_READS + 1) * FULL


def test_one_wake_up_reads_one_empty_datagram(wire):
    wire.held.begin(wire.driver)
    for _ in range(2):
        wire.peer.sendto(b"", wire.address)
    wire.held.on_readable()
    assert wire.sock.recv(10) == b"", "one is left"
    with pytest.raises(BlockingIOError):
        wire.sock.recv(10)


def test_noise_is_dropped(wire):
    wire.held.begin(wire.driver)
    wire.peer.sendto(bytes(100), wire.address)
    wire.peer.sendto(b"\xff" * 1200, wire.address)
    wire.held.on_readable()
    wire.held.on_readable()
    assert wire.values[UPSTREAM_READ] == 1300
    assert wire.driver.quic.state is State.OPEN


def test_an_end_is_said_and_the_socket_closed(wire):
    wire.held.begin(wire.driver)
    sent = wire.values[UPSTREAM_WRITTEN]
    wire.driver.close(0x100, "")
    assert wire.values[UPSTREAM_WRITTEN] > sent
    assert wire.sock.fileno() == -1
    assert wire.timers.due == []


def test_a_defect_ends_this_connection_and_is_told(wire):
    wire.held.begin(wire.driver)
    wire.held.on_crash(ValueError("why"))
    assert [str(error) for error in wire.pool.crashes] == ["why"]
    assert wire.driver.closed
    assert wire.sock.fileno() == -1
