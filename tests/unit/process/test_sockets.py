"""Binding, and what is said when it fails."""

import errno
import os
import socket

import pytest

from headgate.net.udp import RECEIVE_QUEUE, UdpSocket
from headgate.process.sockets import (
    BindError,
    ask_for_queue,
    bind_slot,
    check_free,
    close_all,
    find_holder,
    likely_cause,
    queue_of,
)
from headgate.process.start import BoundAddress


def test_every_slot_binds_the_same_port():
    [address] = check_free([BoundAddress(0, "127.0.0.1", 0)])
    assert address.port > 0
    slots = [bind_slot([address]) for _ in range(3)]
    assert {sock.getsockname() for slot in slots for _, sock in slot} == {("127.0.0.1", address.port)}
    for slot in slots:
        # Bound, and not listening: nobody is answered before the worker is ready.
        assert slot[0][1].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
        assert not slot[0][1].get_inheritable()
        close_all(slot)


def test_both_families_on_one_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    slot = bind_slot([BoundAddress(0, "0.0.0.0", port), BoundAddress(1, "::", port)])
    assert [listener for listener, _ in slot] == [0, 1]
    assert slot[1][1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    close_all(slot)


def test_a_failed_address_leaves_no_socket_open():
    free = BoundAddress(0, "127.0.0.1", 0)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BindError):
        bind_slot([free, BoundAddress(0, "192.0.2.1", 1)])
    with pytest.raises(BindError):
        check_free([free, BoundAddress(0, "192.0.2.1", 1)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_udp_has_the_port_of_tcp():
    [address] = check_free([BoundAddress(0, "127.0.0.1", 0, "must")])
    slots = [bind_slot([address], kind) for kind in ("tcp", "udp") for _ in range(2)]
    assert {sock.getsockname() for slot in slots for _, sock in slot} == {("127.0.0.1", address.port)}
    kinds = [slot[0][1].type for slot in slots]
    assert kinds == [socket.SOCK_STREAM] * 2 + [socket.SOCK_DGRAM] * 2
    for slot in slots:
        assert not slot[0][1].get_inheritable()
        close_all(slot)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_comes_before_a_worker_looks_tells_as_much_as_what_comes_later(host):
    [address] = check_free([BoundAddress(0, host, 0, "must")])
    [(_, bound)] = bind_slot([address], "udp")
    with socket.socket(bound.family, socket.SOCK_DGRAM) as sender:
        sender.connect(bound.getsockname())
        sender.send(b"early")
        udp, buffer = UdpSocket(bound), bytearray(65535)
        assert udp.receive(buffer) == 5
        early = udp.local
        sender.send(b"late")
        assert udp.receive(buffer) == 4
        assert udp.local == early != b""
        # What the kernel writes there: for IPv4 the address stands behind an interface.
        assert socket.inet_pton(bound.family, host) in (early[4:8], early[:16])
        udp.close()


def test_udp_is_bound_only_where_quic_is_spoken():
    addresses = check_free([BoundAddress(0, "127.0.0.1", 0), BoundAddress(1, "127.0.0.1", 0, "try")])
    slot = bind_slot(addresses, "udp")
    assert [listener for listener, _ in slot] == [1]
    close_all(slot)


@pytest.fixture
def udp_taken():
    """A port that TCP could have, and UDP could not."""
    [address] = check_free([BoundAddress(0, "127.0.0.1", 0, "must")])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", address.port))
        yield address.port


def test_a_taken_udp_port_ends_the_start_where_h3_was_asked_for(udp_taken):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BindError) as caught:
        check_free([BoundAddress(0, "127.0.0.1", udp_taken, "must")])
    assert str(caught.value).startswith(f"cannot bind UDP 127.0.0.1:{udp_taken}: Address already in use")
    assert f"(process {os.getpid()})" in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_taken_udp_port_costs_quic_only_where_it_was_tried(udp_taken):
    lost = []
    [address] = check_free([BoundAddress(0, "127.0.0.1", udp_taken, "try")], lost)
    assert (address.quic, address.port) == ("off", udp_taken)
    assert [problem.errno for problem in lost] == [errno.EADDRINUSE]


def test_the_receive_queue_is_what_quic_wants_or_what_we_may():
    with open("/proc/sys/net/core/rmem_max") as limit:
        allowed = int(limit.read())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert ask_for_queue(sock) in (RECEIVE_QUEUE, min(RECEIVE_QUEUE, allowed))
    [address] = check_free([BoundAddress(0, "127.0.0.1", 0, "must")])
    assert queue_of(address) in (RECEIVE_QUEUE, min(RECEIVE_QUEUE, allowed))


def test_foreign_address():
    with pytest.raises(BindError) as caught:
        check_free([BoundAddress(0, "192.0.2.1", 8080)])
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert str(caught.value) == (
        "cannot bind 192.0.2.1:8080: Cannot assign requested address (EADDRNOTAVAIL, errno 99): "
        "no interface of this machine has that address"
    )


def test_the_holder_of_a_port_is_found_although_it_shares():
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(BindError, match=rf"held by .* \(process {os.getpid()}\)"):
            check_free([BoundAddress(0, "127.0.0.1", port)])
    assert find_holder(port) == ""


@pytest.mark.parametrize(
    ("number", "port", "words"),
    [
        (errno.EACCES, 80, "need root"),
        (errno.EACCES, 8080, "see the error"),
        (errno.EAFNOSUPPORT, 80, "without IPv6"),
        (errno.EADDRINUSE, 1, "another program"),
    ],
)
def test_causes(number, port, words):
    if number == errno.EACCES and port == 80:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as limit:
            words = words if int(limit.read()) > 80 else "see the error"
    assert words in likely_cause(BoundAddress(0, "::1", port), number)


def test_addresses_in_print():
    assert str(BoundAddress(0, "::1", 443)) == "[::1]:443"
    assert str(BoundAddress(0, "127.0.0.1", 80)) == "127.0.0.1:80"
