"""Batches of datagrams over real loopback sockets, both families."""

import contextlib
import errno
import select
import socket

import pytest

from headgate.errors import LocalProtocolError, TransportError
from headgate.net.udp import MAX_SEGMENTS, RECEIVE_BUFFER, UdpSocket

SO_NO_CHECK = 11  # segmentation needs the kernel to write checksums
DEADLINE = 5000

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", LOOPBACK, ids=["ipv4", "ipv6"])


def bound(family, host=None):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host or LOOPBACK[family], 0))
    return sock


@pytest.fixture
def pair(family):
    with contextlib.closing(bound(family)) as one, contextlib.closing(bound(family)) as other:
        yield UdpSocket(one), UdpSocket(other)


def address(udp, family):
    port = udp._sock.getsockname()[1]
    return (LOOPBACK[family], port) if family == socket.AF_INET else (LOOPBACK[family], port, 0, 0)


def wait(udp):
    poller = select.poll()
    poller.register(udp.fileno(), select.POLLIN)
    assert poller.poll(DEADLINE), "nothing arrived"


def collect(udp, count):
    """Receive until `count` datagrams are there; return them and the number of reads."""
    buffer = bytearray(RECEIVE_BUFFER)
    found, reads = [], 0
    while len(found) < count:
        wait(udp)
        size = udp.receive(buffer)
        reads += 1
        if size == 0:
            found.append(b"")
        found += [bytes(buffer[at : min(at + udp.segment, size)]) for at in range(0, size, udp.segment or 1)]
    return found, reads


def datagrams(count, size, last=None):
    made = [bytes([number % 256]) * size for number in range(count)]
    if last is not None:
        made[-1] = made[-1][:last]
    return made


@FAMILIES
def test_a_batch_goes_out_and_comes_in_by_one_call_each(pair, family):
    sender, receiver = pair
    sent = datagrams(50, 1200, last=77)
    data = memoryview(b"".join(sent))
    assert sender.send(data, 1200, address(receiver, family), b"", 0) == len(data)
    found, reads = collect(receiver, 50)
    assert found == sent
    assert receiver.peer == address(sender, family)
    assert reads == 1
    assert (sender.has_gso, sender.unsegmented, sender.refused) == (True, 0, 0)


@FAMILIES
def test_more_than_one_call_can_carry_is_split(pair, family):
    sender, receiver = pair
    sent = datagrams(2 * MAX_SEGMENTS + 3, 300)
    data = memoryview(b"".join(sent))
    assert sender.send(data, 300, address(receiver, family), b"", 0) == len(data)
    assert collect(receiver, len(sent))[0] == sent
    assert sender.unsegmented == 0


@FAMILIES
def test_more_than_an_ip_packet_can_say_is_split(pair, family):
    sender, receiver = pair
    sent = datagrams(60, 1400)
    assert sender.send(memoryview(b"".join(sent)), 1400, address(receiver, family), b"", 0) == 84_000
    assert collect(receiver, 60)[0] == sent
    assert sender.unsegmented == 0


@FAMILIES
def test_single_and_empty_datagrams(pair, family):
    sender, receiver = pair
    assert sender.send(memoryview(b"hello"), 1200, address(receiver, family), b"", 0) == 5
    sender._sock.sendto(b"", address(receiver, family))
    assert collect(receiver, 2)[0] == [b"hello", b""]
    assert receiver.receive(bytearray(RECEIVE_BUFFER)) == -1


@FAMILIES
@pytest.mark.parametrize("mark", [0, 1, 2, 3])
def test_marks_arrive(pair, family, mark):
    sender, receiver = pair
    sender.send(memoryview(b"x" * 2400), 1200, address(receiver, family), b"", mark)
    collect(receiver, 2)
    assert receiver.ecn == mark


def test_an_answer_comes_from_the_address_that_was_asked():
    """Bound to all addresses of a machine with several: 127.0.0.0/8 is all ours."""
    with (
        contextlib.closing(bound(socket.AF_INET, "0.0.0.0")) as one,
        contextlib.closing(bound(socket.AF_INET)) as other,
    ):
        server, client = UdpSocket(one), UdpSocket(other)
        port = one.getsockname()[1]
        client.send(memoryview(b"?"), 1200, ("127.0.0.7", port), b"", 0)
        collect(server, 1)
        assert server.local[4:8] == bytes((127, 0, 0, 7))
        server.send(memoryview(b"!" * 2000), 1200, server.peer, server.local, 2)
        collect(client, 2)
        assert client.peer == ("127.0.0.7", port)


def test_an_ipv6_datagram_tells_its_local_address():
    with (
        contextlib.closing(bound(socket.AF_INET6, "::")) as one,
        contextlib.closing(bound(socket.AF_INET6)) as other,
    ):
        server, client = UdpSocket(one), UdpSocket(other)
        client.send(memoryview(b"?"), 1200, ("::1", one.getsockname()[1], 0, 0), b"", 0)
        collect(server, 1)
        assert server.local[:16] == socket.inet_pton(socket.AF_INET6, "::1")
        assert server.local[16:] == bytes(4)  # the way back may lead over another interface
        server.send(memoryview(b"!"), 1200, server.peer, server.local, 0)
        assert collect(client, 1)[0] == [b"!"]


def test_a_link_local_address_keeps_its_interface():
    with contextlib.closing(bound(socket.AF_INET6)) as sock:
        udp = UdpSocket(sock)
        told = bytes.fromhex("fe80") + bytes(13) + b"\x01" + (7).to_bytes(4, "little")
        udp._read_control(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, told)
        assert udp.local == told


@FAMILIES
def test_where_the_kernel_cannot_cut_datagrams_go_one_by_one(pair, family):
    sender, receiver = pair
    sender._sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    if family == socket.AF_INET6:  # a checksum is not optional there
        sender._sock.setsockopt(socket.IPPROTO_UDP, 101, 1)  # UDP_NO_CHECK6_TX
        receiver._sock.setsockopt(socket.IPPROTO_UDP, 102, 1)  # UDP_NO_CHECK6_RX
    sent = datagrams(10, 1200, last=5)
    data = memoryview(b"".join(sent))
    for attempt in (1, 2):
        assert sender.send(data, 1200, address(receiver, family), b"", 2) == len(data)
        assert collect(receiver, 10)[0] == sent
        assert (sender.has_gso, sender.unsegmented, sender.refused) == (False, attempt, 0)


class NoOffload:
    """A socket on a device that cannot write checksums: whatever is to be cut fails with EIO."""

    def __init__(self, sock, limit=1000):
        self.sock = sock
        self.limit = limit  # datagrams until the socket is full

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def sendmsg(self, buffers, control, *rest):
        if any(level == socket.IPPROTO_UDP for level, _, _ in control):
            raise OSError(errno.EIO, "Input/output error")
        if self.limit == 0:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.limit -= 1
        return self.sock.sendmsg(buffers, control, *rest)


@FAMILIES
def test_a_device_without_offload(pair, family):
    sender, receiver = UdpSocket(NoOffload(pair[0]._sock)), pair[1]
    sent = datagrams(3, 1200)
    assert sender.send(memoryview(b"".join(sent)), 1200, address(receiver, family), b"", 0) == 3600
    assert collect(receiver, 3)[0] == sent
    assert (sender.has_gso, sender.unsegmented) == (False, 1)


def test_a_full_socket_says_how_far_it_came():
    with contextlib.closing(bound(socket.AF_INET)) as one, contextlib.closing(bound(socket.AF_INET)) as other:
        sender, receiver = UdpSocket(NoOffload(one, limit=2)), UdpSocket(other)
        data = memoryview(b"".join(datagrams(5, 1200)))
        assert sender.send(data, 1200, address(receiver, socket.AF_INET), b"", 0) == 2400
        assert sender.send(data[2400:], 1200, address(receiver, socket.AF_INET), b"", 0) == 0
        assert len(collect(receiver, 2)[0]) == 2
        assert sender.refused == 0


def test_rfc9000_14_datagrams_are_never_fragmented():
    """Larger than the loopback device carries: refused and counted, though IP could cut it."""
    with contextlib.closing(bound(socket.AF_INET)) as one, contextlib.closing(bound(socket.AF_INET)) as other:
        sender, receiver = UdpSocket(one), UdpSocket(other)
        whole = memoryview(bytes(65_508))
        assert sender.send(whole, 65_508, address(receiver, socket.AF_INET), b"", 0) == 65_508
        assert sender.refused == 1
        assert one.getsockopt(socket.IPPROTO_IP, 10) == 3
        assert receiver.receive(bytearray(RECEIVE_BUFFER)) == -1


def test_what_has_no_route_is_counted_and_the_socket_serves_on():
    with contextlib.closing(bound(socket.AF_INET)) as one, contextlib.closing(bound(socket.AF_INET)) as other:
        sender, receiver = UdpSocket(one), UdpSocket(other)
        # From 127.0.0.1 nothing leaves the machine.
        assert sender.send(memoryview(bytes(3000)), 1200, ("192.0.2.1", 9), b"", 0) == 3000
        assert sender.refused == 3
        assert sender.has_gso
        sender.send(memoryview(b"x"), 1200, address(receiver, socket.AF_INET), b"", 0)
        assert collect(receiver, 1)[0] == [b"x"]


def test_a_datagram_larger_than_the_buffer_is_dropped_and_counted():
    with contextlib.closing(bound(socket.AF_INET)) as one, contextlib.closing(bound(socket.AF_INET)) as other:
        sender, receiver = UdpSocket(one), UdpSocket(other)
        for content in (b"x" * 101, b"y" * 100):
            sender.send(memoryview(content), 1200, address(receiver, socket.AF_INET), b"", 0)
        wait(receiver)
        buffer = bytearray(100)
        assert receiver.receive(buffer) == 100
        assert buffer == b"y" * 100
        assert receiver.truncated == 1


def test_a_connected_socket_learns_that_its_peer_is_not_there():
    with contextlib.closing(bound(socket.AF_INET)) as one:
        with contextlib.closing(bound(socket.AF_INET)) as other:
            one.connect(other.getsockname())
        client = UdpSocket(one)
        client.send(memoryview(b"anybody?"), 1200, None, b"", 0)
        wait(client)
        with pytest.raises(TransportError) as caught:
            client.receive(bytearray(RECEIVE_BUFFER))
        assert (caught.value.reason, caught.value.errno) == ("econnrefused", errno.ECONNREFUSED)


def test_a_segment_of_no_length_is_refused():
    with contextlib.closing(bound(socket.AF_INET)) as one, pytest.raises(LocalProtocolError):
        UdpSocket(one).send(memoryview(b"x"), 0, ("127.0.0.1", 9), b"", 0)


def test_it_says_what_it_can():
    with contextlib.closing(bound(socket.AF_INET)) as one:
        udp = UdpSocket(one)
        assert repr(udp) == f"<UdpSocket fd={one.fileno()} gso gro, 0 refused>"
        assert udp.receive_queue() > 200_000
        udp.close()
        assert udp.fileno() == -1
