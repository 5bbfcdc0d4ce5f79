"""Clients that come through a proxy: who is heard, what is refused, and whose limits hold."""

import contextlib
import socket

import pytest
from tests.unit.server.test_listener import Door

from headgate.connection.downstream import DownstreamConnection
from headgate.counters import (
    CONNECTIONS,
    CONNECTIONS_OPEN,
    REFUSED_PER_CLIENT,
    REFUSED_PROXY_HEADER,
    TIMEOUT_HANDSHAKE,
)
from headgate.http.networks import Networks
from headgate.net.proxy_protocol import encode_v1, encode_v2
from headgate.net.tcp import TcpTransport
from headgate.server.proxy_header import ProxyHeaderReader

NAMED = ("192.0.2.1", 4000, "198.51.100.2", 443)
LOCAL = encode_v2("", 0, "", 0)


@pytest.fixture
def make():
    made = []

    def door(*, proxies=("127.0.0.0/8",), **options):
        made.append(Door(**options))
        made[-1].listener._proxies = Networks(proxies)
        return made[-1]

    yield door
    for one in made:
        one.close()
        assert one.limits.open == one.values[CONNECTIONS_OPEN] == 0


def send(door, *pieces):
    """Connect and send, each piece in a wake-up of its own; return the client."""
    (client,) = door.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    door.poller.dispatch()
    for piece in pieces:
        client.sendall(piece)
        door.poller.dispatch()
    return client


def only(door):
    (connection,) = door.listener.connections
    return connection


def gone(client):
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


@pytest.mark.parametrize("header", [encode_v1(*NAMED), encode_v2(*NAMED), encode_v2(*NAMED, b"a.example")])
def test_the_client_is_who_the_header_says(make, header):
    door = make()
    send(door, header)
    connection = only(door)
    assert isinstance(connection, DownstreamConnection)
    context = connection.context
    assert (context.peer, context.port, context.network) == ("192.0.2.1", 4000, "192.0.2.1")
    assert (context.destination, context.destination_port) == ("198.51.100.2", 443)
    assert door.limits.open == door.values[CONNECTIONS] == 1


@pytest.mark.parametrize("header", [encode_v1(*NAMED), encode_v2(*NAMED)])
def test_a_header_in_single_octets_does_not_spin(make, header):
    door = make()
    (client,) = door.connect()
    door.poller.dispatch()
    for at in range(len(header)):
        reader = only(door)
        assert isinstance(reader, ProxyHeaderReader)
        client.sendall(header[at : at + 1])
        door.poller.dispatch()
        assert door.poller._epoll.poll(0) == [] if hasattr(door.poller, "_epoll") else True
    assert only(door).context.peer == "192.0.2.1"


def test_what_stands_behind_the_header_is_left_for_the_next(make):
    seen = []

    def secure(sock):
        seen.append(sock.recv(100, socket.MSG_PEEK))
        return TcpTransport(sock)

    door = make(secure=secure)
    send(door, encode_v2(*NAMED)[:20], encode_v2(*NAMED)[20:] + b"\x16\x03\x01")
    assert seen == [b"\x16\x03\x01"]


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 1 2 3 4\r\n"])
def test_a_proxy_that_speaks_for_itself_is_the_client(make, header):
    door = make()
    client = send(door, header)
    context = only(door).context
    assert (context.peer, context.port) == client.getsockname()
    assert context.destination == ""


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PROXY TCP4 x\r\n"]
)
def test_a_proxy_without_a_header_is_refused(make, data):
    door = make()
    client = send(door, data)
    assert gone(client)
    assert door.listener.connections == set()
    assert door.values[REFUSED_PROXY_HEADER] == 1
    assert [fields["reason"] for name, fields in door.events if name == "connection-failed"] == [
        "proxy-header"
    ]


def test_who_is_no_proxy_is_a_client_and_its_header_is_a_malformed_request(make):
    door = make(proxies=("192.0.2.0/24",))
    (client,) = door.connect()
    door.poller.dispatch()
    context = only(door).context
    assert (context.peer, context.port) == client.getsockname()
    assert context.destination == ""


def test_the_limits_are_those_of_the_client(make):
    door = make(per_client=1)
    send(door, encode_v1("192.0.2.1", 1, "192.0.2.9", 2))
    send(door, encode_v1("192.0.2.2", 1, "192.0.2.9", 2))
    assert len(door.listener.connections) == 2, "one proxy, two clients"
    refused = send(door, encode_v1("192.0.2.1", 3, "192.0.2.9", 2))
    assert gone(refused)
    assert door.values[REFUSED_PER_CLIENT] == 1
    assert door.limits.open == 2
    for connection in list(door.listener.connections):
        connection.close()
    send(door, encode_v1("192.0.2.1", 3, "192.0.2.9", 2))
    assert len(door.listener.connections) == 1, "its place was given back"


def test_proxies_that_say_nothing_have_a_place_each_and_no_more(make):
    door = make()
    door.limits.connections = 2
    door.connect(3)
    door.poller.dispatch()
    assert len(door.listener.connections) == door.limits.open == 2


def test_a_header_that_does_not_come_in_time(make):
    door = make()
    client = send(door, b"PROXY ")
    reader = only(door)
    assert reader.buffered() == 6
    assert reader.deadline == pytest.approx(door.poller.now + 10.0, abs=5.0)
    reader.on_deadline(reader.deadline)
    assert gone(client)
    assert door.values[TIMEOUT_HANDSHAKE] == 1
    assert [fields["reason"] for _, fields in door.events] == ["proxy-header-timeout"]


def test_a_probe_that_only_connects_is_no_failure(make):
    door = make()
    client = send(door)
    client.close()
    door.poller.dispatch()
    assert door.listener.connections == set()
    assert door.events == []


def test_a_drain_ends_who_said_nothing_yet(make):
    door = make()
    client = send(door)
    only(door).drain()
    assert gone(client)
