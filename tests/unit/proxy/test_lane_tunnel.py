"""WebSocket whose origin speaks HTTP/2: an Upgrade becomes an extended CONNECT (RFC 8441), all in memory."""

import base64
import hashlib

import pytest
from tests.unit.proxy.h2_path import H2Path

from headgate.counters import TUNNELS_OPEN
from headgate.engine.h2.errors import CANCEL, INTERNAL_ERROR
from headgate.engine.h2.settings import H2Settings

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASK = (
    b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def path():
    made = H2Path()
    yield made
    made.close()
    made.run()
    assert made.seen.crashes == []
    assert made.active == [0]
    assert made.values[TUNNELS_OPEN] == 0
    assert made.endpoint.dialling == 0


def agreed(path):
    client, origin = path.ask(ASK)
    origin.respond(200, -1, sec_websocket_protocol=b"chat")
    path.run()
    return client, origin


def test_rfc8441_5_an_upgrade_becomes_an_extended_connect(path):
    client, origin = agreed(path)
    request = origin.requests[0]
    assert (request.method, request.upgrade, request.target) == (b"CONNECT", b"websocket", b"/chat")
    for name in (b"sec-websocket-key", b"connection", b"upgrade"):
        assert request.fields.get(name) is None, "RFC 8441 section 5.1: of no use here"
    assert request.fields.get(b"sec-websocket-version") == b"13"
    head = client.transport.outgoing
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    proof = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = head.lower().split(b"\r\n")
    assert b"sec-websocket-accept: " + proof.lower() in lines
    assert b"connection: upgrade" in lines
    assert b"upgrade: websocket" in lines
    assert b"sec-websocket-protocol: chat" in lines


def test_octets_go_both_ways(path):
    client, origin = agreed(path)
    path.send(client.tunnel.client, b"up")
    path.run()
    assert origin.content(1) == b"up"
    origin.send(b"down")
    path.run()
    assert client.transport.outgoing.endswith(b"\r\n\r\ndown")
    assert path.values[TUNNELS_OPEN] == 1


def test_what_the_client_sent_behind_its_request_goes_first(path):
    client, origin = path.ask(ASK + b"early")
    assert origin.content(1) == b""
    origin.respond(200, -1)
    path.run()
    path.send(client.tunnel.client, b"late")
    path.run()
    assert origin.content(1) == b"earlylate"


def test_ends_are_passed_on_in_each_direction(path):
    client, origin = agreed(path)
    path.send(client.tunnel.client, b"")
    path.run()
    assert origin.ended(1)
    assert not client.closed
    origin.send(b"last", end=True)
    path.run()
    assert client.transport.outgoing.endswith(b"last")
    assert client.closed
    assert origin.resets == []
    assert path.seen.exchanges[-1].reason == ""
    assert path.seen.exchanges[-1].status == 101


def test_a_client_that_breaks_off_resets_the_stream(path):
    client, origin = agreed(path)
    client.tunnel.close("econnreset")
    path.run()
    assert origin.resets == [(1, CANCEL)]
    assert client.transport.reset


def test_an_origin_that_resets_breaks_the_clients_connection(path):
    client, origin = agreed(path)
    origin.refuse(code=INTERNAL_ERROR)
    path.run()
    assert client.closed
    assert client.transport.reset
    assert path.seen.exchanges[-1].reason == "upstream-reset"


def test_silence_ends_it(path):
    client, origin = agreed(path)
    path.poller.now += 3601.0
    assert client.deadline < path.poller.now
    client.on_deadline(path.poller.now)
    path.run()
    assert client.closed
    assert origin.resets == [(1, CANCEL)]


def test_a_refusal_is_an_ordinary_answer(path):
    client, origin = path.ask(ASK)
    origin.respond(403, 2)
    origin.send(b"no", end=True)
    path.run()
    assert client.transport.outgoing.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert client.transport.outgoing.endswith(b"no")


def test_a_slow_client_stops_the_origin(path):
    client, origin = agreed(path)
    client.transport.take = 100
    origin.send(b"x" * 500_000)
    path.run()
    assert origin.h2.queued(1) > 0
    client.transport.take = 1 << 40
    while client.tunnel.client.unsent or origin.h2.queued(1):
        client.tunnel.client.on_writable()
        path.run()
    assert client.transport.outgoing.count(b"x") >= 500_000


def test_a_slow_origin_stops_the_client(path):
    client, origin = agreed(path)
    origin.reads = False
    socket = client.tunnel.client
    client.transport.incoming += [b"x" * 10_000] * 30
    while socket.reading and client.transport.incoming:
        socket.on_readable()
        path.run()
    assert not socket.reading
    assert client.transport.incoming
    origin.reads = True
    origin.h2.consumed(1, len(origin.content(1)))
    path.run()
    while socket.reading and client.transport.incoming:
        socket.on_readable()
        path.run()
    assert len(origin.content(1)) == 300_000


def test_without_extended_connect_and_without_h1_it_is_a_502_in_words():
    path = H2Path(server_settings=H2Settings(connect_protocol=False))
    client, origin = path.ask(ASK)
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "allow no extended CONNECT (RFC 8441), and h1 is not allowed" in path.seen.exchanges[-1].detail
    assert origin.requests == []
    path.close()


def test_without_extended_connect_h1_does_it():
    path = H2Path(is_only=False, server_settings=H2Settings(connect_protocol=False))
    _, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    client, _ = path.ask(ASK)
    assert path.old_dials == ["https://a.test"]
    assert b"Upgrade: websocket" in path.sent()
    path.send(path.origin(), b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"101 Switching" in client.transport.outgoing
    path.close()


def test_an_origin_known_to_understand_it_gets_it_by_h2_beside_h1():
    path = H2Path(is_only=False)
    first, _ = path.ask(ASK)
    assert path.old_dials == ["https://a.test"], "nobody knows yet"
    first.close()
    client, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    client, origin = path.ask(ASK, client)
    assert origin.requests[-1].method == b"CONNECT"
    origin.respond(200, -1)
    path.run()
    assert b"101 Switching" in client.transport.outgoing
    path.close()
