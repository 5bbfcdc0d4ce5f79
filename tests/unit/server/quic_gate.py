"""A QUIC endpoint on a real socket whose clock a test turns, and clients of our own engine that come to it."""

import errno
import os
import socket

from tests.unit.engine.quic.peers import new_client
from tests.unit.engine.tls13.peers import credential
from tests.unit.proxy.data_path import Recorder

from headgate.connection.exchange import Handler
from headgate.connection.settings import ConnectionSettings
from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS, SIZE
from headgate.engine.events import Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.quic.closing import State
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ServerSettings
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.net.udp import UdpSocket
from headgate.server.limits import ConnectionLimits
from headgate.server.quic_endpoint import QuicEndpoint
from headgate.server.quic_memory import MemoryBudget
from headgate.server.quic_parts import EndpointKeys
from headgate.testing.clock import FakeClock

KEYS = EndpointKeys(b"i" * 16, b"r" * 32, b"t" * 32)


class Tls:
    """The TLS of a listener, without one."""

    def __init__(self, **changes):
        self.settings = ServerSettings(**{"select": lambda name: [credential()], **changes})
        self.done = []
        self.lost = []

    def finished(self, handshake):
        self.done.append(handshake)

    def failed(self, handshake):
        self.lost.append(handshake)


class Script(Handler):
    """A handler that answers when the test says so; `exchanges` are those it was given."""

    def __init__(self, status=0, body=b""):
        self.status = status
        self.body = body
        self.exchanges = []
        self.data = []
        self.ends = []
        self.closed = []
        self.drained = 0
        self.accepting = True

    def handle(self, exchange):
        self.exchanges.append(exchange)
        exchange.accepting = self.accepting
        if self.status:
            self.answer(exchange, self.status, self.body)

    def answer(self, exchange, status, body=b"", **fields):
        exchange.handler = None
        section = Fields([], [])
        for name, value in fields.items():
            section.add(name.encode(), value)
        exchange.downstream.respond(Response(status, b"", 11, section, len(body)))
        if body:
            exchange.downstream.write(body)
            exchange.downstream.finish(None)
        return exchange.downstream.flush()

    def request_data(self, exchange, data):
        self.data.append(data)

    def request_end(self, exchange, trailers):
        self.ends.append(trailers)

    def downstream_drained(self, exchange):
        self.drained += 1

    def downstream_closed(self, exchange):
        self.closed.append(exchange)


class Visitor:
    """A client of our own engine on a socket of its own."""

    def __init__(self, gate, seed=1, **changes):
        self.gate = gate
        self.sock = bound()
        # One group with a small key share, so that a ClientHello fits into one datagram.
        options = {"groups": (X25519,), "shares": (X25519,), "wall": gate.clock.wall(), **changes}
        self.quic = new_client(seed=seed, now=gate.clock.now(), peer=gate.address, **options)
        self.http = None
        self.answers = {}
        self.resets = {}
        self.stops = {}
        self.strays = set()  # streams that HTTP/3 knows nothing of
        self.takes = True
        self.got = []
        gate.visitors.append(self)

    def send(self):
        """Send what there is to send; return how many datagrams it was."""
        count = 0
        while (batch := self.quic.take_batch(self.gate.clock.now())) is not None:
            for datagram in batch.datagrams():
                self.sock.sendto(datagram, self.gate.address)
                count += 1
        return count

    def receive(self):
        count = 0
        while True:
            try:
                data, peer = self.sock.recvfrom(65536)
            except BlockingIOError:
                return count
            count += 1
            self.got.append(data)
            self.quic.receive_batch(data, len(data), peer, b"", 0, self.gate.clock.now())
            self.advance()

    def advance(self):
        quic = self.quic
        if self.http is None:
            if not quic.is_complete:
                return
            self.http = H3Connection(True, 0.0)
        http = self.http
        now = self.gate.clock.now()
        for stream, piece, fin in quic.streams.take_arrived():
            http.receive_stream(stream, bytes(piece), fin, now)
            if self.takes:
                quic.streams.consumed(stream, len(piece))
        for stream, code in quic.resets:
            self.resets[stream] = code
            http.receive_reset(stream, code, now)
        quic.resets.clear()
        for stream, code in quic.stops:
            self.stops[stream] = code
            if stream not in self.strays:
                http.receive_stop(stream, code)
        quic.stops.clear()
        while (event := http.next_event()) is not None:
            stream = getattr(event, "stream", -1)
            self.answers.setdefault(stream, []).append(event)
        http.take_consumed()
        self.carry()

    def carry(self):
        streams = self.quic.streams
        for stream, data, fin in self.http.take_writes():
            while stream not in streams.table:
                assert streams.open(is_uni=bool(stream & 2)) != NOBODY
            assert streams.write(stream, data, fin=fin) == len(data)
        for stream, code in self.http.take_resets():
            streams.reset(stream, code)
        for stream, code in self.http.take_stops():
            streams.stop(stream, code)

    def ask(self, method=b"GET", path=b"/", *, body=0, **fields):
        section = Fields([], [])
        section.add(b"host", b"a.test")
        for name, value in fields.items():
            section.add(name.replace("_", "-").encode(), value)
        request = Request(method, path, 11, section, body)
        self.http.send(request)
        self.carry()
        return request.stream

    def reset(self, stream, code=0x10C):
        self.http.abort(stream, code)
        self.carry()


class Bottleneck:
    """A socket that takes no more while the test says so."""

    def __init__(self, sock):
        self.sock = sock
        self.full = False

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def sendmsg(self, *what):
        if self.full:
            raise BlockingIOError(errno.EAGAIN, "full")
        return self.sock.sendmsg(*what)


def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


class Gate:
    """The endpoint; `settle` carries datagrams until nobody has any."""

    def __init__(self, handler=None, *, slot=0, limits=(0, 0, 0, 0), forward=None, quic=None, **settings):
        self.clock = FakeClock()
        self.poller = Poller()
        self.poller.now = self.clock.now()
        self.values = [0] * SIZE
        self.seen = Recorder()
        self.tls = Tls()
        self.handler = handler or Script(200, b"hello")
        self.visitors = []
        self.sock = sock = Bottleneck(bound())
        self.address = sock.getsockname()
        self.limits = ConnectionLimits(self.values, *limits)
        self.memory = MemoryBudget()
        self.endpoint = QuicEndpoint(
            "127.0.0.1:443",
            UdpSocket(sock),
            poller=self.poller,
            handler=self.handler,
            observer=self.seen,
            settings=ConnectionSettings(**settings),
            limits=self.limits,
            memory=self.memory,
            forwarder=Forwarder(Networks(())),
            values=self.values,
            tls=self.tls,
            quic=quic or QuicSettings(),
            keys=KEYS,
            slot=slot,
            generation=1,
            clock=self.clock,
            random=os.urandom,
            timers=self.clock,
            port=443,
            forward=forward,
        )
        self.endpoint.start()

    def visit(self, **changes):
        """Return a client whose handshake is over."""
        visitor = Visitor(self, len(self.visitors) + 1, **changes)
        self.settle()
        return visitor

    def read(self):
        """Let the endpoint take what has come."""
        self.poller.now = self.clock.now()
        self.endpoint.on_readable()

    def settle(self):
        moved = 1
        while moved:
            moved = sum(visitor.send() for visitor in self.visitors)
            self.read()
            moved += sum(visitor.receive() for visitor in self.visitors)

    def pass_time(self, seconds, *, sweep=True):
        """Move the clocks on, wake who is due, and sweep."""
        self.clock._move_to(self.clock.now() + seconds)
        self.poller.now = self.clock.now()
        self.endpoint._on_time()
        for visitor in self.visitors:
            if visitor.quic.deadline() <= self.clock.now():
                visitor.quic.on_deadline(self.clock.now())
        if sweep:
            self.endpoint.sweep(self.poller.now)
            self.memory.settle([self.endpoint])
        self.settle()

    def dropped(self, reason):
        return self.values[QUIC_DROPPED_FIRST + QUIC_DROPS.index(reason)]

    def close(self):
        self.endpoint.close()
        self.poller.close()
        for visitor in self.visitors:
            visitor.sock.close()
        assert not self.seen.crashes, self.seen.crashes


def gates():
    """A fixture's generator: what makes gates, which are closed at the end."""
    made = []

    def gate(*arguments, **options):
        made.append(Gate(*arguments, **options))
        return made[-1]

    yield gate
    for one in made:
        one.close()


def is_over(visitor):
    return visitor.quic.state is not State.OPEN
