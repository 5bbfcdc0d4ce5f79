"""WebSocket over HTTP/3 (RFC 9220) to an origin of HTTP/1.1 and back."""

import base64
import hashlib

import pytest
from tests.unit.proxy.data_path import DataPath
from tests.unit.server.quic_gate import Gate, is_over

from headgate.counters import TUNNELS_OPEN
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h3.errors import H3_CONNECT_ERROR
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.pipeline.route import Route, Router
from headgate.proxy.dispatch import Dispatcher

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Place:
    """A gate whose handler is a reverse proxy to an origin in memory."""

    def __init__(self):
        self.path = DataPath()
        route = Route("all", path="/")
        route.handler = self.path.proxy
        self.gate = Gate(Dispatcher(Router([route]), self.path.values))
        self.visitor = self.gate.visit()
        self.path.poller.now = self.gate.poller.now

    def connect(self, protocol=b"websocket", **lines):
        fields = Fields([], [])
        fields.add(b"host", b"a.test")
        fields.add(b"sec-websocket-version", b"13")
        for name, value in lines.items():
            fields.add(name.replace("_", "-").encode(), value)
        request = Request(b"CONNECT", b"/chat", 11, fields, -1)
        request.upgrade = protocol
        self.visitor.http.send(request)
        self.visitor.carry()
        self.stream = request.stream
        self.gate.settle()

    def send(self, data, fin=False):
        http = self.visitor.http
        if data:
            http.send(Data(data, self.stream))
        if fin:
            http.send(EndOfMessage(None, self.stream))
        self.visitor.carry()
        self.gate.settle()

    @property
    def transport(self):
        return self.path.dials.transports[-1]

    def origin(self, data):
        """Let the origin send; "" ends it."""
        owner = self.path.poller._owners[self.transport.fileno()]
        self.transport.incoming.append(data)
        owner.on_readable()
        self.gate.settle()

    def switch(self, accept=None, more=b""):
        key = next(
            line[19:]
            for line in self.transport.outgoing.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key: ")
        )
        accept = accept or base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        self.origin(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: %b\r\n\r\n%b" % (accept, more)
        )
        self.transport.outgoing = b""

    def heads(self):
        return [event for event in self.visitor.answers.get(self.stream, []) if isinstance(event, Response)]

    def content(self):
        events = self.visitor.answers.get(self.stream, [])
        return b"".join(event.data for event in events if isinstance(event, Data))

    def ended(self):
        return any(isinstance(event, EndOfMessage) for event in self.visitor.answers[self.stream])

    @property
    def lanes(self):
        return next(iter(self.gate.endpoint.connections)).lanes

    def close(self):
        self.gate.close()
        self.path.close()


@pytest.fixture
def place():
    made = Place()
    yield made
    made.close()


def test_rfc8441_5_an_extended_connect_is_an_upgrade_to_the_origin(place):
    place.connect()
    lines = place.transport.outgoing.split(b"\r\n")
    assert lines[0] == b"GET /chat HTTP/1.1"
    assert b"host: a.test" in lines
    assert b"Upgrade: websocket" in lines
    assert b"Connection: upgrade" in lines
    assert b"sec-websocket-version: 13" in lines
    assert not any(line.lower().startswith((b"transfer-encoding", b"content-length")) for line in lines)
    place.switch()
    (head,) = place.heads()
    assert head.status == 200
    assert head.fields.get(b"sec-websocket-protocol") == b"chat"
    assert head.fields.get(b"sec-websocket-accept") is None
    assert place.path.values[TUNNELS_OPEN] == 1


def test_octets_go_both_ways_those_that_came_early_too(place):
    place.connect()
    place.send(b"early")
    assert b"early" not in place.transport.outgoing
    place.switch(more=b"late")
    assert place.content() == b"late"
    assert place.transport.outgoing == b""
    place.send(b"!")
    assert place.transport.outgoing == b"!"
    place.origin(b"more")
    assert place.content() == b"latemore"


def test_each_end_is_passed_on_and_both_end_the_tunnel(place):
    place.connect()
    place.switch()
    place.send(b"bye", fin=True)
    assert (place.transport.outgoing, place.transport.ended) == (b"bye", True)
    place.origin(b"you too")
    place.origin(b"")
    assert place.content() == b"you too"
    assert place.ended()
    assert place.transport.closed
    assert not place.lanes
    assert place.path.values[TUNNELS_OPEN] == 0
    (exchange,) = place.gate.seen.exchanges
    assert (exchange.status, exchange.bytes_in, exchange.bytes_out, exchange.reason) == (200, 3, 7, "")


def test_the_origin_may_end_first(place):
    place.connect()
    place.switch()
    place.origin(b"")
    assert place.ended()
    assert place.lanes
    place.send(b"last", fin=True)
    assert place.transport.outgoing == b"last"
    assert not place.lanes
    assert not is_over(place.visitor)


def test_an_origin_that_breaks_resets_the_stream(place):
    place.connect()
    place.switch()
    place.transport.broken = TransportError("econnreset", 104)
    place.origin(b"")
    assert place.visitor.resets == {place.stream: H3_CONNECT_ERROR}
    assert place.path.values[TUNNELS_OPEN] == 0
    assert [exchange.reason for exchange in place.gate.seen.exchanges] == ["econnreset"]


def test_a_client_that_resets_ends_the_origin_s_side(place):
    place.connect()
    place.switch()
    place.visitor.reset(place.stream)
    place.gate.settle()
    assert place.transport.closed
    assert place.path.values[TUNNELS_OPEN] == 0
    assert not place.lanes


def test_a_slow_origin_stops_the_client(place):
    place.connect()
    place.switch()
    place.transport.take = 2
    place.send(b"abcdef")
    place.send(b"ghi")
    (lane,) = place.lanes.values()
    assert (place.transport.outgoing, lane.held_size, lane.tunnel.held()) == (b"ab", 3, 4)
    place.transport.take = 100
    place.path.poller._owners[place.transport.fileno()].on_writable()
    assert place.transport.outgoing == b"abcdefghi"
    assert lane.held_size == 0


def test_silence_in_both_directions_ends_it(place):
    place.connect()
    place.switch()
    (lane,) = place.lanes.values()
    assert lane.deadline == place.gate.poller.now + 3600
    lane.on_deadline(lane.deadline)
    place.gate.settle()
    assert place.transport.closed
    assert [exchange.reason for exchange in place.gate.seen.exchanges] == ["idle-timeout"]


def test_rfc6455_4_1_a_switch_that_does_not_answer_the_key_is_502(place):
    place.connect()
    place.switch(accept=b"wrong")
    assert [head.status for head in place.heads()] == [502]
    assert place.transport.closed
    assert place.path.active == [0]


def test_an_origin_that_does_not_switch_is_502_and_its_refusal_is_passed_on(place):
    place.connect()
    place.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert [head.status for head in place.heads()] == [502]
    assert place.path.active == [0]
    place.connect()
    place.origin(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert [head.status for head in place.heads()] == [403]
    assert place.content() == b"no"


def test_rfc9220_3_another_protocol_is_501(place):
    place.connect(b"smtp")
    assert [head.status for head in place.heads()] == [501]
    assert place.path.dials.transports == []
