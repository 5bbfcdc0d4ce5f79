"""Connections that are passed on: names, dials and their failures, ends, and what is counted and logged."""

import contextlib
import socket

import pytest
from tests.unit.proxy.data_path import Dials, Recorder
from tests.unit.tls.test_client_hello import hello_of

from headgate.connection.context import ConnectionContext
from headgate.counters import (
    REFUSED_HELLO,
    REFUSED_NAME,
    SIZE,
    TCP_OPEN,
    TCP_RELAYED,
    TCP_UNAVAILABLE,
    TCP_UNREACHABLE,
    TIMEOUT_HANDSHAKE,
    UPSTREAM_OPEN,
)
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.server_names import ServerNames, TcpRoute
from headgate.proxy.tcp import DIALLING, HELLO, RELAYING, WAITING, TcpProxy
from headgate.tls.client_hello import ALERT_UNRECOGNIZED_NAME, MAX_HELLO
from headgate.upstream.endpoint import MAX_DIALLING, Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.queue import RoomQueue
from headgate.upstream.upstream import Balance, Upstream


class Passage:
    """One tcp listener with `endpoints` origins of one upstream; `names` makes it look at server names."""

    def __init__(self, *, endpoints=1, names=None):
        self.poller = Poller()
        self.poller.now = 1000.0
        self.values = [0] * SIZE
        self.dials = Dials()
        self.seen = Recorder()
        self.endpoints = [
            Endpoint(
                f"tcp://10.0.0.{index}:1",
                "tcp",
                f"10.0.0.{index}",
                1,
                poller=self.poller,
                connector=self.dials,
                values=self.values,
                defect=self.seen.crashed,
            )
            for index in range(endpoints)
        ]
        self.upstream = Upstream("u", self.endpoints, RoundRobin())
        found = None
        if names is not None:
            found = ServerNames()
            for hosts in names:
                found.add(hosts, TcpRoute(",".join(hosts) or "*", self.upstream))
        route = TcpRoute("", self.upstream) if names is None else None
        self.proxy = TcpProxy(self.poller, self.seen, self.values, route=route, names=found)
        self.ends = contextlib.ExitStack()

    def client(self):
        """Return the client's socket and the connection."""
        near, far = socket.socketpair()
        near.settimeout(5.0)
        far.setblocking(False)
        self.ends.enter_context(near)
        self.ends.enter_context(far)
        peer = Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80)
        connection = self.proxy.open(far, ConnectionContext("test", "192.0.2.1", 4000, b"http", peer))
        connection.start(secure=False)
        return near, connection

    @property
    def origin(self):
        """The transport that was dialled last."""
        return self.dials.transports[-1]

    @property
    def log(self):
        return self.seen.exchanges[-1]

    def close(self):
        self.ends.close()
        self.poller.close()


@pytest.fixture
def make():
    made = []

    def passage(**options):
        made.append(Passage(**options))
        return made[-1]

    yield passage
    for one in made:
        assert one.seen.crashes == []
        assert all(endpoint.active == 0 and endpoint.dialling == 0 for endpoint in one.endpoints)
        assert one.values[TCP_OPEN] == one.values[UPSTREAM_OPEN] == 0
        one.close()


def gone(client):
    with contextlib.suppress(ConnectionResetError):
        return client.recv(100) == b""
    return True


def end(passage, connection):
    """Close from outside, as a worker that ends."""
    connection.close()
    assert passage.seen.closed >= 1


def test_with_one_upstream_it_is_dialled_before_the_client_speaks(make):
    passage = make()
    client, connection = passage.client()
    assert connection.phase == RELAYING
    assert passage.values[TCP_OPEN] == passage.values[UPSTREAM_OPEN] == passage.values[TCP_RELAYED] == 1
    passage.origin.incoming.append(b"220 hello\r\n")
    connection.relay.origin.on_readable()
    assert client.recv(100) == b"220 hello\r\n"
    client.sendall(b"EHLO x\r\n")
    passage.poller.dispatch()
    assert passage.origin.outgoing == b"EHLO x\r\n"
    client.close()
    passage.poller.dispatch()
    passage.origin.incoming.append(b"")
    relay = connection.relay
    if relay is not None:
        relay.origin.on_readable()
    log = passage.log
    assert (log.upstream, log.endpoint, log.bytes_in, log.bytes_out) == ("u", "tcp://10.0.0.0:1", 8, 11)
    assert log.status == 0
    assert passage.seen.closed == 1


@pytest.mark.parametrize("pieces", [1, 2, 700])
def test_the_name_leads_and_the_hello_arrives_whole(make, pieces):
    passage = make(names=[("a.test",), ("*.b.test",)])
    client, connection = passage.client()
    hello = hello_of(b"X.b.TEST")
    step = -(-len(hello) // pieces)
    for at in range(0, len(hello), step):
        assert connection.phase == HELLO
        client.sendall(hello[at : at + step])
        passage.poller.dispatch()
    assert connection.phase == RELAYING
    assert passage.origin.outgoing == hello
    assert connection.context.sni == b"x.b.test"
    end(passage, connection)
    assert (passage.log.route, passage.log.bytes_in) == ("*.b.test", len(hello))


def test_a_name_without_a_route_gets_the_alert(make):
    passage = make(names=[("a.test",)])
    client, _ = passage.client()
    client.sendall(hello_of(b"b.test"))
    passage.poller.dispatch()
    assert client.recv(100) == ALERT_UNRECOGNIZED_NAME
    assert gone(client)
    assert passage.values[REFUSED_NAME] == 1
    assert (passage.log.reason, passage.seen.failures) == ("unknown-name", ["unknown-name"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
        (b"\x16\x05\x01\x00\x10", "not-tls"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "client-hello"),
        (b"\x16\x03\x01\x00\x08\x01\x00\x00\x04abcd", "client-hello"),
        (b"\x16\x03\x01\x40\x00\x01" + (MAX_HELLO - 3).to_bytes(3, "big"), "client-hello"),
    ],
)
def test_garbage_is_refused_and_counted(make, data, reason):
    passage = make(names=[()])
    client, _ = passage.client()
    client.sendall(data)
    passage.poller.dispatch()
    assert gone(client)
    assert passage.values[REFUSED_HELLO] == 1
    assert (passage.log.reason, passage.seen.failures) == (reason, [reason])
    assert passage.dials.dialled == []


def test_a_hello_that_trickles_in_is_refused_in_time(make):
    passage = make(names=[()])
    client, connection = passage.client()
    assert connection.deadline == 1010.0
    client.sendall(b"\x16\x03")
    passage.poller.dispatch()
    assert connection.deadline == 1010.0, "octets do not wind the clock"
    connection.on_deadline(1010.0)
    assert gone(client)
    assert passage.values[TIMEOUT_HANDSHAKE] == 1
    assert passage.log.reason == "handshake-timeout"


def test_who_connects_and_says_nothing_is_not_logged(make):
    passage = make(names=[()])
    client, _ = passage.client()
    client.close()
    passage.poller.dispatch()
    assert passage.seen.exchanges == []
    assert passage.seen.closed == 1


def test_a_failed_dial_is_tried_elsewhere_with_the_same_octets(make):
    passage = make(endpoints=2, names=[()])
    passage.dials.refuse.add(passage.endpoints[0].url)
    hello = hello_of(b"a.test")
    for _ in range(2):
        client, connection = passage.client()
        client.sendall(hello)
        passage.poller.dispatch()
        assert connection.phase == RELAYING
        assert passage.origin.outgoing == hello
        end(passage, connection)
        assert passage.log.endpoint == passage.endpoints[1].url
    retries = sum(exchange.retries for exchange in passage.seen.exchanges)
    assert retries >= 1
    assert passage.endpoints[0].health.failures == retries
    assert passage.endpoints[1].health.requests == 2


def test_where_nobody_is_reached_the_client_is_reset_and_the_log_says_why(make):
    passage = make(endpoints=4)
    passage.dials.refuse.update(endpoint.url for endpoint in passage.endpoints)
    client, _ = passage.client()
    assert gone(client)
    assert len(passage.dials.dialled) == 3, "as retries.attempts says"
    assert passage.values[TCP_UNREACHABLE] == 1
    assert passage.log.reason == "connect"
    assert "refused" in passage.log.detail


def test_without_room_nobody_is_asked(make):
    passage = make()
    passage.endpoints[0].max_requests = 1
    _, first = passage.client()
    client, _ = passage.client()
    assert gone(client)
    assert passage.values[TCP_UNAVAILABLE] == 1
    assert passage.log.reason == "unavailable"
    end(passage, first)
    _, third = passage.client()
    assert third.phase == RELAYING
    end(passage, third)


def test_without_room_it_waits_for_its_turn_where_there_is_a_queue(make):
    passage = make()
    passage.upstream = Upstream(
        "u",
        passage.endpoints,
        RoundRobin(),
        balance=Balance(queue=RoomQueue(passage.values, size=2)),
        poller=passage.poller,
    )
    passage.proxy.route = TcpRoute("", passage.upstream)
    passage.endpoints[0].max_requests = 1
    _, first = passage.client()
    client, second = passage.client()
    late, third = passage.client()
    assert (second.phase, third.phase) == (WAITING, WAITING)
    late.close()
    passage.poller.dispatch()
    assert third.closed, "who leaves gives its turn away"
    end(passage, first)
    assert second.phase == RELAYING
    _, fourth = passage.client()
    fourth.room_timeout(fourth.exchange)
    assert passage.log.reason == "unavailable"
    end(passage, second)
    assert client.fileno() >= 0


def test_dials_at_once_are_bounded(make):
    passage = make()
    passage.endpoints[0].dialling = MAX_DIALLING
    client, _ = passage.client()
    assert gone(client)
    passage.endpoints[0].dialling = 0
    assert passage.log.reason == "unavailable"


def test_a_client_that_leaves_while_it_waits(make):
    passage = make()
    passage.dials.hold = True
    client, connection = passage.client()
    assert connection.phase == DIALLING
    client.close()
    passage.poller.dispatch()
    assert connection.closed
    assert passage.log.reason == "hung-up"
    assert passage.endpoints[0].active == 0
    passage.dials.release()
    assert passage.origin.closed, "nobody wants it"


def test_silence_ends_it_on_both_sides(make):
    passage = make()
    client, connection = passage.client()
    assert connection.deadline == passage.poller.now + 3600.0
    connection.on_deadline(connection.deadline)
    assert passage.origin.reset
    assert gone(client)
    assert passage.log.reason == "idle-timeout"


def test_a_drain_waits_for_what_is_relayed_and_for_nobody_else(make):
    passage = make()
    _, relayed = passage.client()
    relayed.drain()
    assert not relayed.closed
    end(passage, relayed)
    assert passage.log.reason == "closed"
    other = make(names=[()])
    client, waiting = other.client()
    client.sendall(b"\x16")
    other.poller.dispatch()
    waiting.drain()
    assert waiting.closed


def test_what_is_held_is_told_to_the_sweep(make):
    passage = make(names=[()])
    passage.dials.hold = True
    client, connection = passage.client()
    hello = hello_of(b"a.test")
    client.sendall(hello)
    passage.poller.dispatch()
    assert connection.buffered() == len(hello)
    passage.dials.release()
    assert (connection.buffered(), connection.held_for_origin(), connection.held_for_client()) == (0, 0, 0)
    passage.origin.take = 0
    client.sendall(b"waits")
    passage.poller.dispatch()
    assert (connection.held_for_origin(), connection.held_for_client()) == (5, 0)
    end(passage, connection)
