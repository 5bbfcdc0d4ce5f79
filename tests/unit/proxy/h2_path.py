"""The data path with an origin of HTTP/2, all in memory: a client's driver, a reverse proxy, a pool, and a server
that the test plays by events. Octets go to and fro in `run`, and the clock moves only in `pass_time`."""

from tests.unit.proxy.data_path import DataPath
from tests.unit.proxy.h3_path import Clockwork, fields

from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import REFUSED_STREAM, H2ConnectionError
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import StreamFailed
from headgate.testing.memory import MemoryTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.h2_pool import H2Pool


class AlpnTransport(MemoryTransport):
    """A transport on which a protocol was picked."""

    picked = b""

    def alpn(self):
        return self.picked


class Origin:
    """A server for one connection. `log` are its events, `resets` the streams that the gate gave up."""

    def __init__(self, transport, now, settings, scheme):
        self.transport = transport
        self.h2 = H2Connection(False, now, settings, scheme)
        self.log = []
        self.requests = []
        self.resets = []
        self.fault = None
        self.read = 0
        self.reads = True  # what comes is consumed at once
        self.speaks = True

    def receive(self, now):
        data = self.transport.outgoing[self.read :]
        self.read += len(data)
        if data and self.fault is None:
            try:
                self.h2.receive(data, now)
            except H2ConnectionError as error:
                self.fault = error
        while (event := self.h2.next_event()) is not None:
            if isinstance(event, Request):
                self.requests.append(event)
            elif isinstance(event, Data) and self.reads:
                self.h2.consumed(event.stream, len(event.data))
            elif isinstance(event, StreamFailed):
                self.resets.append((event.stream, event.code))
            self.log.append(event)
        return bool(data)

    def output(self):
        return self.h2.take_output(1 << 20) if self.speaks else b""

    # -- what the test says

    def respond(self, status=200, body=0, *, stream=None, **lines):
        stream = self.requests[-1].stream if stream is None else stream
        self.h2.send(Response(status, b"", 11, fields(**lines), body, stream))

    def send(self, data, *, stream=None, end=False, trailers=None):
        stream = self.requests[-1].stream if stream is None else stream
        self.h2.send(Data(data, stream))
        if end or trailers is not None:
            self.h2.send(EndOfMessage(trailers, stream))

    def refuse(self, stream=None, code=REFUSED_STREAM):
        self.h2.abort(self.requests[-1].stream if stream is None else stream, code)

    def content(self, stream):
        return b"".join(
            event.data for event in self.log if isinstance(event, Data) and event.stream == stream
        )

    def ended(self, stream):
        return any(isinstance(event, EndOfMessage) and event.stream == stream for event in self.log)


class H2Path(DataPath):
    """One upstream with one endpoint that has HTTP/2; `is_only`: and nothing else. `picks` is what the next origins
    pick in ALPN, b"" where there is no TLS: then `is_only` is prior knowledge."""

    def __init__(
        self, *, is_only=True, picks=b"h2", server_settings=None, coalescing=None, place=None, **settings
    ):
        super().__init__(**settings)
        self.picks = picks
        self.dials.make = self.transport
        self.server_settings = server_settings
        self.origins = []
        self.pools = []
        self.old_dials = []
        self.endpoints[:] = [self.make("a.test", is_only, coalescing, place)]
        self.endpoint = self.endpoints[0]
        self.pool = self.pools[0]
        self.upstream.set_endpoints(self.endpoints)

    def make(self, host, is_only, coalescing=None, place=None):
        scheme = "https" if self.picks else "http"
        pool = H2Pool(
            f"{scheme}://{host}",
            host,
            is_only=is_only,
            prior=not self.picks,
            poller=self.poller,
            values=self.values,
            tell=self.tell,
            coalescing=coalescing,
            place=place,
        )
        self.pools.append(pool)
        self.timers = Clockwork(self)
        return Endpoint(
            f"{scheme}://{host}",
            scheme,
            host,
            443,
            poller=self.poller,
            connector=self.dials,
            values=self.values,
            defect=self.seen.crashed,
            tell=self.tell,
            h2=pool,
            timers=self.timers,
            old=OldDials(self),
        )

    def transport(self):
        made = AlpnTransport()
        made.picked = self.picks
        return made

    def dialled(self, transport):
        """A transport was opened: let a server stand behind it if HTTP/2 was picked."""
        if transport.picked in (b"h2", b""):
            settings = self.server_settings or H2Settings(connect_protocol=True)
            scheme = b"https" if transport.picked else b"http"
            self.origins.append(Origin(transport, self.poller.now, settings, scheme))

    def run(self):
        """Carry octets until nobody has any."""
        moved = True
        while moved:
            moved = False
            for transport in self.dials.transports:
                if not hasattr(transport, "is_met"):
                    transport.is_met = True
                    self.dialled(transport)
            for origin in self.origins:
                moved |= origin.receive(self.poller.now)
                output = origin.output()
                driver = self.driver_of(origin)
                if output and driver is not None:
                    moved = True
                    self.send(driver, output)
            if self.poller._deferred:
                moved = True
                self.poller._end_round()

    def driver_of(self, origin):
        for pool in self.pools:
            for driver in (*pool.connections, *pool._opening):
                if driver.transport is origin.transport:
                    return driver
        return None

    def ask(self, request, client=None):
        """Let a client send; return its driver and the newest origin."""
        client = client or self.client()
        self.send(client, request)
        self.run()
        return client, self.origins[-1] if self.origins else None

    def pass_time(self, seconds):
        until = self.poller.now + seconds
        while self.poller.now < until:
            self.poller.now = min(self.poller.now + 0.5, until)
            for endpoint in self.endpoints:
                for connection in endpoint.connections:
                    if connection.is_due(self.poller.now):
                        connection.on_deadline(self.poller.now)
            for pool in self.pools:
                pool.sweep(self.poller.now)
            self.run()


class OldDials:
    """Dials that offer HTTP/1.1 alone."""

    def __init__(self, path):
        self.path = path

    async def connect(self, endpoint):
        self.path.old_dials.append(endpoint.url)
        transport = await self.path.dials.connect(endpoint)
        transport.picked = b"http/1.1"
        transport.is_met = True
        return transport
