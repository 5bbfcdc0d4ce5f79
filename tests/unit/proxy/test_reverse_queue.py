"""Requests beyond what the endpoints may have at a time: they wait for room, are answered, or give up."""

import gc
import resource

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.connection.exchange import Exchange
from headgate.counters import (
    GATEWAY_NO_ENDPOINT,
    GATEWAY_QUEUE_FULL,
    GATEWAY_QUEUE_TIMEOUT,
    UPSTREAM_QUEUED,
    UPSTREAM_WAITING,
)
from headgate.errors import TransportError
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.reverse import ReverseProxy
from headgate.upstream.deadlines import Deadlines
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.queue import RoomQueue
from headgate.upstream.sticky import Sticky
from headgate.upstream.upstream import Balance, Upstream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class LimitedPath(DataPath):
    """A data path whose endpoints have so many requests at a time."""

    def __init__(self, max_requests=1, size=8, timeout=5.0, sticky=None, **settings):
        super().__init__(**settings)
        for endpoint in self.endpoints:
            endpoint.max_requests = max_requests
        queue = RoomQueue(self.values, size=size, timeout=timeout) if size else None
        balance = Balance(queue=queue, sticky=sticky)
        self.upstream = Upstream("u", self.endpoints, RoundRobin(), balance=balance, poller=self.poller)
        self.proxy = ReverseProxy(self.upstream, self.poller, self.values, FieldEdits(), 3600.0)

    def ask(self, head=GET):
        client = self.client()
        self.send(client, head)
        return client


@pytest.fixture
def make():
    made = []

    def one(**settings):
        made.append(LimitedPath(**settings))
        return made[-1]

    yield one
    for path in made:
        path.close()
        assert path.seen.crashes == []


def test_one_more_than_max_requests_waits_for_room(make):
    path = make(max_requests=2)
    clients = [path.ask() for _ in range(3)]
    assert (path.active, path.values[UPSTREAM_WAITING], len(path.dials.transports)) == ([2], 1, 2)
    path.send(path.origin(0), OK)
    assert (path.active, path.values[UPSTREAM_WAITING]) == ([2], 0)
    assert path.sent(0).count(b"GET / HTTP/1.1") == 2  # on the connection that has just become free
    path.send(path.origin(1), OK)
    path.send(path.origin(0), OK)
    assert [client.transport.outgoing.startswith(b"HTTP/1.1 200") for client in clients] == [True] * 3
    assert path.active == [0]
    assert path.values[UPSTREAM_QUEUED] == 1


def test_content_is_not_read_while_its_request_waits(make):
    path = make()
    path.ask()
    client = path.client()
    path.send(client, POST + b"cont")
    client.transport.incoming.append(b"X")
    path.send(path.origin(), OK)
    while client.transport.incoming:
        client.on_readable()
    assert path.sent().endswith(b"\r\n\r\ncontX")


def test_one_more_than_the_queue_takes_is_told_when_to_come_back(make):
    path = make(size=2, timeout=4.2)
    for _ in range(3):
        path.ask()
    client = path.ask()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503")
    assert b"\r\nRetry-After: 5\r\n" in client.transport.outgoing
    assert client.transport.outgoing.endswith(b"\nqueue-full\n")
    assert path.values[GATEWAY_QUEUE_FULL] == 1
    assert path.seen.exchanges[-1].reason == "queue-full"
    assert "2 requests wait" in path.seen.exchanges[-1].detail
    path.send(client, GET)  # its connection is good for another try
    assert client.transport.outgoing.count(b"HTTP/1.1 503") == 2


def test_without_a_queue_it_is_told_at_once(make):
    path = make(size=0)
    path.ask()
    assert b"queue-full" in path.ask().transport.outgoing


def test_who_waits_too_long_is_answered(make):
    path = make(timeout=5.0)
    path.ask()
    late, upload = path.ask(), path.ask(POST)
    path.poller.now += 5.0
    path.upstream.sweep(path.poller.now)
    for client in (late, upload):
        assert client.transport.outgoing.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 5\r\n" in client.transport.outgoing
        assert b"queue-timeout" in client.transport.outgoing
    assert (path.values[GATEWAY_QUEUE_TIMEOUT], path.values[UPSTREAM_WAITING]) == (2, 0)
    path.send(path.origin(), OK)
    assert path.active == [0]


def test_where_nobody_is_there_it_says_so(make):
    path = make()
    path.upstream.set_endpoints([])
    client = path.ask()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503")
    assert b"no-endpoint" in client.transport.outgoing
    assert path.values[GATEWAY_NO_ENDPOINT] == 1


def exchanges():
    gc.collect()
    return len([held for held in gc.get_objects() if isinstance(held, Exchange)])


@pytest.fixture
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_gives_up_leaves_nothing_behind(make, descriptors):
    """Ten thousand wait and leave; what they waited for is as it was."""
    before = exchanges()
    path = make(size=10_000)
    first = path.ask()
    waiting = [path.ask() for _ in range(10_000)]
    assert path.values[UPSTREAM_WAITING] == 10_000
    for client in waiting:
        client.transport.broken = TransportError("econnreset", 104, "read")
        client.on_readable()
    assert all(client.closed for client in waiting)
    assert (path.active, path.values[UPSTREAM_WAITING], len(path.dials.transports)) == ([1], 0, 1)
    path.send(path.origin(), OK)
    assert first.transport.outgoing.startswith(b"HTTP/1.1 200")
    assert path.active == [0]
    path.clients.clear()
    path.seen.exchanges.clear()
    del waiting, client
    assert exchanges() <= before + 1


def test_a_dial_that_fails_serves_the_next(make):
    path = make()
    path.dials.hold = True
    clients = [path.ask() for _ in range(3)]
    path.dials.refuse.add(path.endpoints[0].url)
    path.dials.hold = False
    path.dials.release()
    assert [client.transport.outgoing[:12] for client in clients] == [b"HTTP/1.1 502"] * 3
    assert (path.active, path.values[UPSTREAM_WAITING]) == ([0], 0)


def test_the_cookie_of_an_endpoint_is_set_once(make):
    path = make(endpoints=3, sticky=Sticky("srv", b"k" * 32))
    client = path.ask()
    path.send(path.origin(), OK)
    line = next(
        line for line in client.transport.outgoing.split(b"\r\n") if line.startswith(b"Set-Cookie: srv=")
    )
    cookie = line.removeprefix(b"Set-Cookie: ").partition(b";")[0]
    again = path.ask(GET[:-2] + b"Cookie: " + cookie + b"\r\n\r\n")
    path.send(path.origin(), OK)
    assert again.transport.outgoing.startswith(b"HTTP/1.1 200")
    assert b"Set-Cookie" not in again.transport.outgoing
    assert len(path.dials.transports) == 1


def test_who_waits_is_bound_by_the_total_timeout_too(make):
    path = make(timeout=60.0)
    path.proxy.deadlines = path.upstream.deadlines = Deadlines(3.0)
    path.ask()
    client = path.ask()
    path.poller.now += 3.0
    path.upstream.sweep(path.poller.now)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504")
    assert (path.active, path.values[UPSTREAM_WAITING], len(path.upstream.deadlines)) == ([0], 0, 0)


def test_who_found_no_room_in_the_total_timeout_is_told_so_in_the_log(make):
    path = make(timeout=60.0)
    path.proxy.deadlines = path.upstream.deadlines = Deadlines(3.0)
    path.ask()
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    path.ask()
    path.poller.now += 3.0
    path.upstream.sweep(path.poller.now)
    assert [each.detail for each in path.seen.exchanges] == ["no endpoint of u had room within 3 s"]


def test_who_waited_where_nobody_came_is_told_so(make):
    path = make(timeout=5.0)
    path.upstream.set_endpoints([])
    path.upstream.is_expected = True  # by the first answer of a name server
    client = path.ask()
    path.poller.now += 5.0
    path.upstream.sweep(path.poller.now)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503")
    assert b"no-endpoint" in client.transport.outgoing
    assert (path.values[GATEWAY_NO_ENDPOINT], path.values[GATEWAY_QUEUE_TIMEOUT]) == (1, 0)


def test_who_was_told_to_come_back_has_no_deadline_left(make):
    path = make(size=0)
    path.proxy.deadlines = path.upstream.deadlines = Deadlines(3.0)
    path.ask()
    path.ask()
    assert len(path.upstream.deadlines) == 1
