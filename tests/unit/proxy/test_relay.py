"""A relay between two ends in memory, and one between real sockets, where the kernel moves the octets."""

import os
import socket

import pytest

from headgate.connection.stream_driver import READ_MIN
from headgate.counters import (
    DOWNSTREAM_READ,
    DOWNSTREAM_WRITTEN,
    RELAY_SPLICED,
    SIZE,
    UPSTREAM_READ,
    UPSTREAM_WRITTEN,
)
from headgate.errors import TransportError
from headgate.net.pipe import PIPE_SIZE, PIPES
from headgate.net.poller import READ, Poller
from headgate.net.tcp import TcpTransport
from headgate.proxy import relay as relays
from headgate.proxy.relay import Relay, RelayHalf, RelayOwner
from headgate.testing.memory import MemoryTransport

MiB = 1 << 20


class Owner(RelayOwner):
    def __init__(self):
        self.moves = 0
        self.reasons = []
        self.crashes = []

    def relay_moved(self):
        self.moves += 1

    def relay_over(self, reason):
        self.reasons.append(reason)

    def relay_crashed(self, error):
        self.crashes.append(error)


class Bench:
    """A relay and both transports."""

    def __init__(self, client, origin):
        self.poller = Poller()
        self.values = [0] * SIZE
        self.owner = Owner()
        self.client = RelayHalf(client, self.poller)
        self.origin = RelayHalf(origin, self.poller)
        self.relay = Relay(self.client, self.origin, self.owner, self.values)

    def close(self):
        self.relay.close("")
        self.poller.close()
        assert self.owner.crashes == []
        assert len(self.owner.reasons) == 1


class Sockets(Bench):
    """A relay over loopback: `left` is the client, `right` the origin."""

    def __init__(self, buffer=0):
        self.left, client = connected(buffer)
        self.right, origin = connected(buffer)
        self.fds = (client.fileno(), origin.fileno())
        super().__init__(TcpTransport(client), TcpTransport(origin))

    def close(self):
        super().close()
        self.left.close()
        self.right.close()

    def pump(self, sender, receiver, data):
        """Send all of `data`, and return what comes out."""
        at = 0
        received = bytearray()
        while len(received) < len(data):
            try:
                at += sender.send(data[at : at + MiB])
            except BlockingIOError:
                pass
            self.poller.dispatch()
            try:
                received += receiver.recv(MiB)
            except BlockingIOError:
                pass
        return bytes(received)


def connected(buffer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far = server.accept()[0]
    for sock in (near, far):
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return near, far


def drained(sock):
    """Read to the end, and say how it ended."""
    try:
        while sock.recv(MiB):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


@pytest.fixture
def sockets():
    made = []

    def make(**options):
        made.append(Sockets(**options))
        made[-1].relay.begin()
        return made[-1]

    before = PIPES.made - len(PIPES._spare) if hasattr(PIPES, "_spare") else 0
    yield make
    for one in made:
        one.close()
    if hasattr(PIPES, "_spare"):
        assert PIPES.made - len(PIPES._spare) == before, "every pipe is back, or closed"


@pytest.fixture
def memory():
    made = []

    def make():
        made.append(Bench(MemoryTransport(), MemoryTransport()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_both_directions_and_what_came_before(memory):
    bench = memory()
    bench.relay.begin(b"early", b"late")
    bench.client.transport.incoming.append(b" up")
    bench.client.on_readable()
    bench.origin.transport.incoming.append(b" down")
    bench.origin.on_readable()
    assert bench.origin.transport.outgoing == b"early up"
    assert bench.client.transport.outgoing == b"late down"
    assert (bench.client.moved, bench.origin.moved, bench.owner.moves) == (3, 5, 2)
    counted = [
        bench.values[row] for row in (DOWNSTREAM_READ, UPSTREAM_WRITTEN, UPSTREAM_READ, DOWNSTREAM_WRITTEN)
    ]
    assert counted == [3, 3, 5, 5]


def test_a_broken_side_resets_the_other(memory):
    bench = memory()
    bench.relay.begin()
    client, origin = bench.client.transport, bench.origin.transport
    client.broken = TransportError("econnreset", 104, "read")
    bench.client.on_readable()
    assert bench.owner.reasons == ["econnreset"]
    assert origin.reset
    assert origin.closed
    assert client.closed


def test_a_proper_end_resets_nobody(memory):
    bench = memory()
    bench.relay.begin()
    client, origin = bench.client.transport, bench.origin.transport
    client.incoming.append(b"")
    bench.client.on_readable()
    assert origin.ended
    assert not origin.closed
    origin.incoming.append(b"")
    bench.origin.on_readable()
    assert bench.owner.reasons == [""]
    assert not origin.reset
    assert not client.reset


def test_after_the_end_nothing_wakes_it(memory):
    bench = memory()
    bench.relay.begin()
    bench.relay.close("idle-timeout")
    bench.client.on_readable()
    bench.client.on_writable()
    bench.client.on_deadline(0.0)
    assert bench.owner.reasons == ["idle-timeout"]


def test_a_watch_that_the_kernel_refuses_ends_it():
    bench = Bench(MemoryTransport(), MemoryTransport())
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, bench.origin.transport.fileno())  # epoll takes none of this kind
    os.close(null)
    bench.relay.begin()
    assert bench.owner.reasons == ["internal"]
    assert isinstance(bench.owner.crashes[0], OSError)
    bench.poller.close()


def test_little_data_takes_no_pipe(sockets):
    bench = sockets()
    assert bench.pump(bench.left, bench.right, b"little") == b"little"
    assert bench.values[RELAY_SPLICED] == 0


@pytest.mark.parametrize("up", [True, False])
def test_much_data_is_moved_by_the_kernel(sockets, up):
    bench = sockets()
    ends = (bench.left, bench.right) if up else (bench.right, bench.left)
    data = os.urandom(16 * MiB)
    assert bench.pump(*ends, data) == data
    assert bench.values[RELAY_SPLICED] > 8 * MiB
    assert bench.values[DOWNSTREAM_READ if up else UPSTREAM_READ] == len(data)


def test_a_slow_reader_stops_the_other_and_nothing_is_lost(sockets):
    bench = sockets(buffer=32 * 1024)
    data = os.urandom(4 * MiB)
    at = 0
    for _ in range(200):
        try:
            at += bench.left.send(data[at : at + PIPE_SIZE])
        except BlockingIOError:
            pass
        bench.poller.dispatch()
    assert at < len(data), "the sender feels it"
    assert 0 < bench.origin.held <= PIPE_SIZE
    assert not bench.client.reading
    bench.left.setblocking(False)
    received = bytearray()
    while len(received) < len(data):
        try:
            at += bench.left.send(data[at : at + MiB])
        except BlockingIOError:
            pass
        try:
            received += bench.right.recv(MiB)
        except BlockingIOError:
            pass
        bench.poller.dispatch()
    assert bytes(received) == data
    assert bench.origin.held == 0


def test_an_end_behind_octets_in_a_pipe_is_passed_on_after_them(sockets):
    bench = sockets(buffer=32 * 1024)
    data = os.urandom(2 * MiB)
    at = 0
    received = bytearray()
    done = False
    while not done:
        if at < len(data):
            try:
                at += bench.left.send(data[at : at + MiB])
            except BlockingIOError:
                pass
            if at == len(data):
                bench.left.shutdown(socket.SHUT_WR)
        bench.poller.dispatch()
        try:
            piece = bench.right.recv(10_000)
            received += piece
            done = not piece
        except BlockingIOError:
            pass
    assert bytes(received) == data
    assert bench.owner.reasons == []
    bench.right.sendall(b"still here")
    bench.right.close()
    bench.poller.dispatch()
    bench.poller.dispatch()
    assert bench.left.recv(100) == b"still here"
    assert bench.owner.reasons == [""]


def test_what_waits_in_a_pipe_goes_with_the_relay(sockets):
    bench = sockets(buffer=32 * 1024)
    for _ in range(200):
        try:
            bench.left.send(bytes(PIPE_SIZE))
        except BlockingIOError:
            pass
        bench.poller.dispatch()
    assert bench.origin.held > 0
    bench.relay.close("idle-timeout")
    assert bench.origin.held == 0
    assert drained(bench.right) == "reset"


def test_one_wake_up_splices_so_often_and_no_more(sockets):
    bench = sockets()
    data = bytes(8 * MiB)
    bench.client._bulk = True
    bench.left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MiB)
    at = 0
    while at < 4 * MiB:
        try:
            at += bench.left.send(data[: 4 * MiB - at])
        except BlockingIOError:
            break
    bench.client.on_readable()
    assert 0 < bench.client.moved <= relays.MAX_SPLICES * PIPE_SIZE


class Odd(MemoryTransport):
    """Its descriptor is an event: the kernel does not splice those."""


@pytest.mark.parametrize("odd", ["client", "origin"])
def test_a_kind_that_does_not_splice_is_read_and_written(odd):
    near, far = connected(0)
    real, event = TcpTransport(far), Odd()
    bench = Bench(real, event) if odd == "origin" else Bench(event, real)
    bench.relay.splices = True
    bench.relay.begin()
    data = os.urandom(READ_MIN * 2)
    if odd == "origin":
        bench.client._bulk = True
        near.sendall(data)
        while len(event.outgoing) < len(data):
            bench.client.on_readable()
        assert event.outgoing == data
    else:
        bench.client._bulk = True
        event.incoming.append(data)
        while event.incoming:
            bench.client.on_readable()
        near.setblocking(True)
        assert near.recv(len(data), socket.MSG_WAITALL) == data
    assert not bench.relay.splices
    bench.close()
    near.close()


def test_a_descriptor_that_waits_in_a_pipe_and_does_not_splice_is_written(sockets):
    bench = sockets(buffer=32 * 1024)
    for _ in range(200):
        try:
            bench.left.send(bytes(PIPE_SIZE))
        except BlockingIOError:
            pass
        bench.poller.dispatch()
    waiting = bench.origin.held
    assert waiting > 0
    fd, bench.origin._fd = bench.origin._fd, os.eventfd(0)
    assert not bench.origin._drain(bench.relay)
    assert bench.origin.unsent > 0
    assert not bench.relay.splices
    os.close(bench.origin._fd)
    bench.origin._fd = fd


def test_hung_up_behind_its_end_is_noticed_once(memory):
    bench = memory()
    bench.relay.begin()
    bench.client.transport.incoming.append(b"")
    bench.client.on_readable()
    assert bench.client._interest & READ == 0
    bench.client.on_readable()
    assert bench.owner.reasons == ["hung-up"]
