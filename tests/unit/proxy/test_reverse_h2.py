"""What is particular to a request that goes to an origin of HTTP/2, all in memory: what of it does not fit, what says
nothing about the endpoint, and conversations."""

import pytest
from tests.unit.proxy.h2_path import H2Path

from headgate.engine.h2.settings import H2Settings

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n"


@pytest.fixture
def make():
    made = []

    def one(**more):
        made.append(H2Path(**more))
        return made[-1]

    yield one
    for path in made:
        path.close()
        path.run()
        assert path.seen.crashes == []
        assert path.active == [0]


def status_of(client):
    return int(client.transport.outgoing.split(b" ", 2)[1])


def test_fields_that_an_origin_does_not_take_are_the_clients_fault(make):
    path = make(server_settings=H2Settings(max_section=1000))
    client, _ = path.ask(GET)
    path.origins[0].respond(204)
    path.run()
    for _ in range(6):
        client, _ = path.ask(LARGE)
        path.poller.dispatch()  # out of a round it is told in the next one
        path.run()
        assert status_of(client) == 431
    assert path.endpoint.health.failures_in_row == 0
    assert path.endpoint.health.is_up


def test_an_origin_without_room_is_busy_and_not_broken(make):
    path = make(server_settings=H2Settings(max_streams=0))
    client, _ = path.ask(GET)
    path.pass_time(6.0)
    assert status_of(client) == 503
    assert b"retry-after: 1\r\n" in client.transport.outgoing.lower()
    assert path.endpoint.health.failures_in_row == 0


def test_a_request_that_is_refused_each_time_says_nothing_of_the_endpoint(make):
    path = make()
    client, _ = path.ask(GET)
    while not client.transport.outgoing:
        for origin in path.origins:
            for request in origin.requests:
                if request.stream in origin.h2.streams:
                    origin.refuse(request.stream)
        path.run()
    assert status_of(client) == 502
    assert path.endpoint.health.failures_in_row == 0


def test_rfc9113_8_3_1_a_request_that_names_nobody_asks_for_the_endpoint(make):
    path = make()
    _, origin = path.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert origin.requests[0].host == b"a.test:443"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nUpgrade: foo\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: foo, websocket\r\n",
        b"POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
    ],
)
@pytest.mark.parametrize("connect", [True, False])
def test_rfc9110_7_8_an_upgrade_that_http2_cannot_say_is_ignored(make, head, connect):
    path = make(server_settings=H2Settings(connect_protocol=connect))
    content = b"hello" if head.startswith(b"POST") else b""
    client, origin = path.ask(head + b"Connection: upgrade\r\nHost: x\r\n\r\n" + content)
    request = origin.requests[0]
    assert request.method == head.split(b" ")[0]
    assert request.upgrade == b""
    assert request.fields.get(b"upgrade") is None
    origin.respond(200, 2)
    origin.send(b"ok", end=True)
    path.run()
    assert status_of(client) == 200
    assert client.transport.outgoing.endswith(b"ok"), "an answer, and no tunnel"


def test_a_silent_conversation_is_no_failure_of_the_endpoint(make):
    path = make()
    client = path.client()
    path.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    path.run()
    path.origins[0].respond(200, -1)
    path.run()
    path.pass_time(path.upstream.body_idle + 2.0)
    assert client.closed or path.origins[0].resets
    assert path.endpoint.health.failures_in_row == 0
