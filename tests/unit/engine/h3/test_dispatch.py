"""A request of HTTP/3 through the dispatcher and the reverse proxy as they are, to an origin of HTTP/1.1 and back."""

import pytest
from tests.unit.engine.h3.peers import GET, POST, Peer, data, decode_headers, headers
from tests.unit.proxy.data_path import DataPath

from headgate.build_info import is_compiled
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange
from headgate.engine.events import Data, EndOfMessage, Request
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.pipeline.route import Route, Router
from headgate.proxy.dispatch import Dispatcher

# The driver that will stand here is compiled like everything around it; a stand-in in a test cannot be.
pytestmark = pytest.mark.skipif(is_compiled("headgate.connection.exchange"), reason="only pure: a trait")


class Lane(Downstream):
    """The client's side of an exchange: a stream of an HTTP/3 connection."""

    def __init__(self, peer, stream):
        self.peer = peer
        self.stream = stream
        self.aborted = ""

    def respond(self, response):
        response.stream = self.stream
        self.peer.engine.send(response)

    def write(self, data):
        self.peer.engine.send(Data(data, self.stream))

    def finish(self, trailers):
        self.peer.engine.send(EndOfMessage(trailers, self.stream))

    def flush(self):
        return True

    def abort(self, reason):
        self.aborted = reason

    def resume(self):
        pass


@pytest.fixture
def path():
    path = DataPath()
    route = Route("all", path="/api")
    route.handler = path.proxy
    path.dispatcher = Dispatcher(Router([route]), path.values)
    yield path
    path.close()


def relay(path, peer):
    """Give what the client sent to the dispatcher and whom it picks; return the exchange."""
    exchange = None
    for event in peer.events():
        if isinstance(event, Request):
            forwarder = Forwarder(Networks(())).connection(b"192.0.2.1", b"https", 443)
            context = ConnectionContext("test", "192.0.2.1", 4000, b"https", forwarder)
            exchange = Exchange(Lane(peer, event.stream), context, event, path.poller.now)
            exchange.handler = path.dispatcher
            path.dispatcher.handle(exchange)
        elif isinstance(event, Data):
            exchange.handler.request_data(exchange, event.data)
        elif isinstance(event, EndOfMessage):
            exchange.handler.request_end(exchange, event.trailers)
    return exchange


def asked(pairs, path):
    return tuple((name, path if name == b":path" else value) for name, value in pairs)


def test_a_request_and_its_answer(path):
    peer = Peer()
    peer.take()
    peer.feed(
        0,
        headers(*asked(GET, b"/api/x?y=1"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers")),
        True,
    )
    exchange = relay(path, peer)
    sent = path.sent().split(b"\r\n")
    assert sent[0] == b"GET /api/x?y=1 HTTP/1.1"
    assert b"host: a.test" in sent
    assert b"cookie: a=1; b=2" in sent
    assert sent.count(b"TE: trailers") == 1
    assert not any(line.startswith((b"Transfer-Encoding", b":")) for line in sent)
    path.send(
        path.origin(),
        b"HTTP/1.1 200 OK\r\nServer: o\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    )
    head, rest = decode_headers(peer.take()[0])
    assert head == [(b":status", b"200"), (b"server", b"o"), (b"content-length", b"5")]
    assert rest == data(b"hello")
    assert peer.ended == {0}
    assert exchange.host == b"a.test"


def test_content_in_both_directions(path):
    peer = Peer()
    peer.take()
    peer.feed(0, headers(*asked(POST, b"/api")) + data(b"abc") + headers((b"digest", b"x")), True)
    relay(path, peer)
    path.send(
        path.origin(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nA: b\r\n\r\n"
    )
    assert b"Transfer-Encoding: chunked" in path.sent()
    head, rest = decode_headers(peer.take()[0])
    assert head == [(b":status", b"200")]
    assert rest.startswith(data(b"xyz"))
    assert decode_headers(rest[5:]) == ([(b"a", b"b")], b"")
    assert peer.ended == {0}


def test_an_answer_of_our_own(path):
    peer = Peer()
    peer.take()
    peer.feed(0, headers(*asked(GET, b"/nowhere")), True)
    relay(path, peer)
    head, _ = decode_headers(peer.take()[0])
    assert head[0] == (b":status", b"404")
    assert b"connection" not in dict(head)
    assert peer.ended == {0}
