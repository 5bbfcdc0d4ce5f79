"""The dispatcher in memory: what is decided before an endpoint is picked."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import REFUSED_MISDIRECTED
from headgate.net.poller import READ
from headgate.pipeline.route import Route, Router
from headgate.proxy.dispatch import Dispatcher


@pytest.fixture
def path():
    path = DataPath()
    route = Route("all", path="/api")
    route.handler = path.proxy
    path.proxy = Dispatcher(Router([route]), path.values)
    yield path
    path.close()
    assert path.seen.crashes == []


@pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"websocket, h2c", b"TLS/1.0", b"HTTP/2.0"])
def test_an_upgrade_to_another_http_is_ignored(path, protocol):
    client = path.client()
    head = (
        b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n" % protocol
    )
    path.send(client, head + b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    sent = path.sent().lower()
    assert b"upgrade" not in sent
    assert b"http2-settings" not in sent
    path.send(
        path.origin(), b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    )
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502 ")


def test_a_websocket_may_be_asked_for(path):
    client = path.client()
    path.send(client, b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"upgrade: websocket" in path.sent().lower()
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_client_that_sends_and_never_reads_holds_one_answer(path):
    client = path.client()
    client.transport.take = 0
    one = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    for _ in range(50):
        client.transport.incoming.append(one * 20)
        if client.reading:
            client.on_readable()
    assert client.requests == 1
    assert client.unsent < 1024
    assert not client._interest & READ
    assert client.deadline <= path.poller.now + path.settings.write_idle, "the stalled answer has its timeout"


@pytest.fixture
def outside():
    """A listener with a route for any host, beside one that owns inside.test."""
    path = DataPath()
    here, there = Route("any"), Route("inside", ["inside.test"])
    here.handler = there.handler = path.proxy
    path.proxy = Dispatcher(Router([here], [there]), path.values)
    yield path
    path.close()
    assert path.seen.crashes == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: inside.test\r\n",
        b"GET /x HTTP/1.1\r\nHost: INSIDE.TEST.:8443\r\n",
        b"GET http://inside.test/ HTTP/1.1\r\nHost: other.test\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: inside.test\r\n",
        b"GET / HTTP/1.0\r\nHost: inside.test\r\nConnection: keep-alive\r\n",
    ],
)
def test_a_host_of_another_listener_is_421_and_no_origin_hears_of_it(outside, head):
    client = outside.client()
    outside.send(client, head + b"\r\n")
    assert client.transport.outgoing.split(b"\r\n")[0].endswith(b" 421 Misdirected Request")
    assert b"\r\n\r\n421 Misdirected Request\nmisdirected: " in client.transport.outgoing
    assert outside.dials.dialled == []
    assert outside.values[REFUSED_MISDIRECTED] == 1
    (exchange,) = outside.seen.exchanges
    assert (exchange.reason, exchange.route) == ("misdirected", "")
    # RFC 9110 section 15.5.20: it is the request that came to the wrong place; the connection may go on.
    outside.send(client, b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert outside.sent().startswith(b"GET / HTTP/1.1\r\n")
    outside.send(outside.origin(), b"HTTP/1.1 204 No Content\r\n\r\n")
