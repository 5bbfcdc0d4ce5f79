"""The data path with an origin of HTTP/3, all in memory: a client's driver, a reverse proxy, a pool, and a server
that the test plays by events. Datagrams go to and fro in `run`, and the clock moves only in `pass_time`."""

import socket

from tests.unit.engine.quic.peers import CLIENT, SERVER, SETTINGS, flushed, new_client, new_server
from tests.unit.proxy.data_path import DataPath, Held

from headgate.connection.quic_socket import QuicSocket
from headgate.connection.quic_upstream import QuicUpstream
from headgate.connection.upstream_stream import SharedOwner
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.quic.closing import State
from headgate.engine.tls13.groups import X25519
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.net.udp import UdpSocket
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.h3_pool import H3Pool


def fields(**lines):
    made = Fields([], [])
    for name, value in lines.items():
        made.add(name.replace("_", "-").encode(), value)
    return made


class Origin:
    """A server for one connection. `log` are the events of HTTP/3 that were not taken yet."""

    def __init__(self, first, now, settings):
        self.quic = new_server(first, now=now, settings=settings)
        self.h3 = None
        self.log = []
        self.requests = []
        self.resets = []
        self.reads = True  # what comes is consumed at once
        self.says_stop = True  # where it needs no more of a request

    def receive(self, datagram, now):
        quic = self.quic
        quic.receive_batch(datagram, len(datagram), CLIENT, b"", 0, now)
        if quic.is_complete and self.h3 is None:
            self.h3 = H3Connection(False, now)
            for _ in range(3):
                quic.streams.open(is_uni=True)
        if self.h3 is None:
            return
        for stream, piece, fin in quic.streams.take_arrived():
            self.h3.receive_stream(stream, bytes(piece), fin, now)
        for stream, code in quic.resets:
            self.resets.append((stream, code))
            self.h3.receive_reset(stream, code, now)
        quic.resets = []
        self.resets += quic.stops
        quic.stops = []
        while (event := self.h3.next_event()) is not None:
            if isinstance(event, Request):
                self.requests.append(event)
            elif isinstance(event, Data) and self.reads:
                quic.streams.consumed(event.stream, len(event.data))
            self.log.append(event)

    def carry(self):
        if self.h3 is None:
            return
        streams = self.quic.streams
        for stream, data, fin in self.h3.take_writes():
            if stream in streams.table:
                assert streams.write(stream, data, fin=fin) == len(data)
        for stream, code in self.h3.take_resets():
            streams.reset(stream, code)
        for stream, code in self.h3.take_stops():
            if self.says_stop:
                streams.stop(stream, code)
        for stream, count in self.h3.take_consumed():
            streams.consumed(stream, count)
        for request in self.requests:
            if request.stream not in self.h3.streams:
                streams.release(request.stream)

    # -- what the test says

    def respond(self, status=200, body=0, *, stream=None, **lines):
        stream = self.requests[-1].stream if stream is None else stream
        self.h3.send(Response(status, b"", 11, fields(**lines), body, stream))

    def send(self, data, *, stream=None, end=False, trailers=None):
        stream = self.requests[-1].stream if stream is None else stream
        self.h3.send(Data(data, stream))
        if end or trailers is not None:
            self.h3.send(EndOfMessage(trailers, stream))

    def content(self, stream):
        return b"".join(
            event.data for event in self.log if isinstance(event, Data) and event.stream == stream
        )


class MemoryConnector(Held):
    """Dials that end at once, or when the test says so; `refuse` is an error to fail with."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.refuse = None
        self.ports = []
        self.forgotten = []

    async def connect(self, pool, port):
        self.ports.append(port)
        if self.refuse is not None:
            raise self.refuse
        return self.path.connect(pool)

    def forget(self, driver):
        self.forgotten.append(driver)


class Nobody(SharedOwner):
    """Owns a driver until its handshake is over."""

    def connection_ready(self, driver):
        pass

    def connection_ended(self, driver, reason, detail):
        self.detail = detail

    def room_changed(self, driver):
        pass


class Clockwork:
    """A loop whose timers ring when the test says so."""

    def __init__(self, path):
        self.path = path
        self.calls = []

    def time(self):
        return self.path.poller.now

    def call_at(self, when, callback):
        handle = Handle(when, callback)
        self.calls.append(handle)
        return handle

    def ring(self):
        due = [call for call in self.calls if call.when <= self.path.poller.now and not call.cancelled]
        self.calls = [call for call in self.calls if call not in due and not call.cancelled]
        for call in due:
            call.callback()


class Handle:
    def __init__(self, when, callback):
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class H3Path(DataPath):
    """One upstream with one endpoint that has HTTP/3; `is_only`: without being asked."""

    def __init__(self, *, is_only=True, server_settings=SETTINGS, client_settings=SETTINGS, **settings):
        super().__init__(**settings)
        self.server_settings = server_settings
        self.client_settings = client_settings
        self.drivers = []
        self.origins = []
        self.sockets = []
        self.connector = MemoryConnector(self)
        self.timers = Clockwork(self)
        url = "https://a.test"
        self.pool = H3Pool(
            url,
            "a.test",
            443,
            is_only=is_only,
            connector=self.connector,
            poller=self.poller,
            values=self.values,
            tell=self.tell,
        )
        self.endpoint = Endpoint(
            url,
            "https",
            "a.test",
            443,
            poller=self.poller,
            connector=self.dials,
            values=self.values,
            defect=self.seen.crashed,
            h3=self.pool,
            timers=self.timers,
        )
        self.endpoints[:] = [self.endpoint]
        self.upstream.set_endpoints(self.endpoints)
        self.proxy.learns = True

    def connect(self, pool):
        now = self.poller.now
        quic = new_client(
            seed=len(self.drivers) + 1,
            now=now,
            settings=self.client_settings,
            groups=(X25519,),
            shares=(X25519,),
        )
        driver = QuicUpstream(
            quic, self._socket().owner, self.poller, Nobody(), self.values, "https://a.test", 64 * 1024
        )
        first, *rest = flushed(quic, now)
        origin = Origin(first, now, self.server_settings)
        self.drivers.append(driver)
        self.origins.append(origin)
        for datagram in (first, *rest):
            origin.receive(datagram, now)
        self.run()
        if not driver.is_ready or driver.closed:
            raise TransportError("closed", 0, driver.pool.detail)
        driver.pool = pool
        return driver

    def _socket(self):
        """A socket that nothing goes through: what a driver tells it is of no consequence here."""
        sock = UdpSocket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sockets.append(sock)
        return QuicSocket(sock, self.poller, Clockwork(self), bytearray(1), self.values)

    def close(self):
        super().close()
        for sock in self.sockets:
            sock.close()

    def run(self):
        """Carry datagrams until nobody has any."""
        now = self.poller.now
        moved = True
        while moved:
            moved = False
            for driver, origin in zip(self.drivers, self.origins, strict=True):
                for datagram in flushed(driver.quic, now):
                    moved = True
                    origin.receive(datagram, now)
                if driver.quic.state is not State.OPEN and not driver.closed:
                    driver.advance()  # as its socket does
                origin.carry()
                for datagram in flushed(origin.quic, now):
                    moved = True
                    if not driver.closed:
                        driver.receive(datagram, len(datagram), SERVER, b"", 0)

    def pass_time(self, seconds):
        """Let time go by, in steps of 10 ms at most 400 of them; timers ring, deadlines are swept."""
        step = max(seconds / 400, 0.01)
        until = self.poller.now + seconds
        while self.poller.now < until:
            self.poller.now = min(self.poller.now + step, until)
            now = self.poller.now
            for driver, origin in zip(self.drivers, self.origins, strict=True):
                if not driver.closed:
                    if now >= driver.quic.deadline():
                        driver.on_timer()
                    driver.keep_alive(now)
                if origin.quic.state is State.OPEN and now >= origin.quic.deadline():
                    origin.quic.on_deadline(now)
            self.timers.ring()
            self.run()
        for connection in self.endpoint.connections:
            if connection.is_due(self.poller.now):
                connection.on_deadline(self.poller.now)
        self.pool.sweep(self.poller.now)
        self.run()

    def ask(self, request, client=None):
        """Let a client send; return its driver and the newest origin."""
        client = client or self.client()
        self.send(client, request)
        self.run()
        return client, self.origins[-1] if self.origins else None
