"""A QUIC endpoint on a real UDP socket in a thread of its own, and clients of aioquic that come to it."""

import asyncio
import os
import socket
import ssl
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset
from tests.unit.proxy.data_path import Recorder
from tests.unit.server.quic_gate import KEYS, Tls

from headgate.clock import SystemClock
from headgate.connection.exchange import Handler
from headgate.connection.settings import ConnectionSettings
from headgate.counters import SIZE
from headgate.engine.events import Response
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.net.udp import UdpSocket
from headgate.server.limits import ConnectionLimits
from headgate.server.quic_endpoint import QuicEndpoint
from headgate.server.quic_memory import MemoryBudget
from headgate.testing.loop_thread import LoopThread


class Echo(Handler):
    """Answers with what it is sent, as it comes."""

    def handle(self, exchange):
        fields = Fields([], [])
        fields.add(b"x-version", b"%d" % exchange.request.version)
        exchange.downstream.respond(Response(200, b"OK", 11, fields, -1 if exchange.request.body else 0))
        exchange.downstream.flush()

    def request_data(self, exchange, data):
        exchange.downstream.write(data)
        exchange.accepting = exchange.downstream.flush()

    def request_end(self, exchange, trailers):
        exchange.downstream.finish(trailers)
        exchange.downstream.flush()

    def downstream_drained(self, exchange):
        exchange.accepting = True
        exchange.downstream.resume()

    def downstream_closed(self, exchange):
        return


class Door:
    """The endpoint; everything about it is done in its thread, by `do`."""

    def __init__(self, handler=None, *, tls=None, quic=None, limits=None, poller=None, **settings):
        self.thread = LoopThread("quic")
        self.poller = poller or Poller()
        self.values = [0] * SIZE
        self.seen = Recorder()
        self.tls = tls or Tls()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.limits = limits or ConnectionLimits(self.values, 0, 0, 0, 0)
        self.memory = MemoryBudget()
        self.endpoint = QuicEndpoint(
            f"127.0.0.1:{self.port}",
            UdpSocket(sock),
            poller=self.poller,
            handler=handler or Echo(),
            observer=self.seen,
            settings=ConnectionSettings(**settings),
            limits=self.limits,
            memory=self.memory,
            forwarder=Forwarder(Networks(())),
            values=self.values,
            tls=self.tls,
            quic=quic or QuicSettings(),
            keys=KEYS,
            slot=0,
            generation=1,
            clock=SystemClock(),
            random=os.urandom,
            timers=self.thread.loop,
            port=self.port,
        )
        self.do(self._start)

    def _start(self):
        self.thread.loop.add_reader(self.poller.fileno(), self.poller.dispatch)
        self.endpoint.start()

    def do(self, call, *arguments):
        """Call something in the endpoint's thread and return its result."""

        async def work():
            return call(*arguments)

        return self.thread.call(work())

    def sweep(self):
        def work():
            self.poller.now = time.monotonic()
            self.endpoint.sweep(self.poller.now)
            self.memory.settle([self.endpoint])

        self.do(work)

    def close(self):
        def work():
            self.endpoint.close()
            self.thread.loop.remove_reader(self.poller.fileno())

        self.do(work)
        self.thread.stop()
        self.poller.close()
        assert not self.seen.crashes, self.seen.crashes


class Client(QuicConnectionProtocol):
    """HTTP/3 of aioquic; `ask` returns status, fields and content."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.ended = None
        self.resets = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = event
            for future, _, _ in self.answers.values():
                if not future.done():
                    future.set_exception(ConnectionError(repr(event)))
        if isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
            if event.stream_id in self.answers:
                future = self.answers[event.stream_id][0]
                if not future.done():
                    future.set_exception(ConnectionResetError(event.error_code))
        if isinstance(event, StopSendingReceived):
            return
        for heard in self.http.handle_event(event):
            if heard.stream_id not in self.answers:
                continue
            future, heads, pieces = self.answers[heard.stream_id]
            if isinstance(heard, HeadersReceived):
                heads.append(dict(heard.headers))
            elif isinstance(heard, DataReceived):
                pieces.append(heard.data)
            if heard.stream_ended and not future.done():
                future.set_result((heads, b"".join(pieces)))

    def begin(self, method="GET", path="/", *, fields=(), body=None, fin=True):
        """Send a request; return its stream."""
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = (asyncio.get_running_loop().create_future(), [], [])
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", b"a.test"),
            (b":path", path.encode()),
            *fields,
        ]
        self.http.send_headers(stream, head, end_stream=body is None and fin)
        if body is not None:
            self.http.send_data(stream, body, end_stream=fin)
        self.transmit()
        return stream

    async def answer(self, stream):
        heads, content = await asyncio.wait_for(self.answers[stream][0], 20)
        return int(heads[-1][b":status"]), heads[-1], content

    async def ask(self, *arguments, **options):
        return await self.answer(self.begin(*arguments, **options))


def visit(door, work, **changes):
    """Run `work(client)` with a connection to the door; return its result."""

    async def run():
        configuration = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            server_name="a.test",
            verify_mode=ssl.CERT_NONE,
            max_stream_data=changes.pop("max_stream_data", 1 << 20),
            max_data=changes.pop("max_data", 1 << 22),
            **changes,
        )
        async with connect(
            "127.0.0.1", door.port, configuration=configuration, create_protocol=Client
        ) as client:
            return await work(client)

    return asyncio.run(run())
