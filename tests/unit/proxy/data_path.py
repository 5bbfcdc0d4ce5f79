"""The data path between two ends in memory: a client's driver, a reverse proxy, and origins that the test plays."""

from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.counters import SIZE
from headgate.errors import TransportError
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.reverse import ReverseProxy
from headgate.testing.memory import MemoryTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.pool import IdleTotal, Pool, PoolSettings
from headgate.upstream.upstream import Upstream


class Recorder(DownstreamObserver):
    def __init__(self):
        self.exchanges = []
        self.failures = []
        self.closed = 0
        self.crashes = []

    def exchange_over(self, exchange, now):
        self.exchanges.append(exchange)

    def connection_failed(self, context, reason, detail):
        self.failures.append(reason)

    def connection_closed(self, connection):
        self.closed += 1

    def crashed(self, where, error):
        self.crashes.append(error)


class Held:
    """Does work at once, or while `hold` is set when the test releases it."""

    def __init__(self):
        self.hold = False
        self.held = []

    def begin(self, name, work):
        if self.hold:
            self.held.append(work)
        else:
            self._run(work)

    def release(self):
        held, self.held = self.held, []
        for work in held:
            self._run(work)

    def _run(self, work):
        try:
            work.send(None)
        except StopIteration:
            return
        raise AssertionError("nothing here waits")


class Dials(Held):
    """A connector whose dials end when the test says so; `refuse` names endpoints that cannot be reached."""

    def __init__(self):
        super().__init__()
        self.refuse = set()
        self.broken = None  # what every new transport raises
        self.error = None
        self.dialled = []
        self.transports = []
        self.make = MemoryTransport

    async def connect(self, endpoint):
        self.dialled.append(endpoint.url)
        if self.error is not None:
            raise self.error
        if endpoint.url in self.refuse:
            raise TransportError("econnrefused", 111, f"{endpoint.host} refused")
        transport = self.make()
        transport.broken = self.broken
        self.transports.append(transport)
        return transport


class Front:
    """Clients in memory that come to `proxy`, as many as the test makes."""

    def __init__(self, **settings):
        self.poller = Poller()
        self.poller.now = 1000.0
        self.values = [0] * SIZE
        self.seen = Recorder()
        self.settings = ConnectionSettings(**settings)
        self.clients = []
        self.proxy = None

    def client(self, address="192.0.2.1"):
        peer = Forwarder(Networks(())).connection(address.encode(), b"http", 80)
        context = ConnectionContext("test", address, 4000, b"http", peer)
        driver = DownstreamConnection(
            MemoryTransport(), self.poller, self.proxy, self.seen, self.settings, self.values, context
        )
        driver.start(secure=False)
        self.clients.append(driver)
        return driver

    def send(self, driver, data):
        """Let the peer of a driver send; what is not read at once wakes the driver again, as a poller does."""
        driver.transport.incoming.append(data)
        driver.on_readable()
        while driver.transport.incoming and driver.reading and not driver.closed:
            driver.on_readable()

    def close(self):
        for driver in self.clients:
            if driver.tunnel is not None:
                driver.tunnel.close("")
            driver.close()


class DataPath(Front):
    """One upstream of `endpoints` origins, and as many clients as the test makes."""

    def __init__(
        self,
        endpoints=1,
        response_edits=None,
        request_edits=None,
        pool=None,
        idle_total=None,
        upstream=None,
        **settings,
    ):
        super().__init__(**settings)
        self.dials = Dials()
        self.told = []
        self.idle_total = idle_total or IdleTotal()
        self.endpoints = [
            Endpoint(
                f"http://10.0.0.{index}",
                "http",
                f"10.0.0.{index}",
                80,
                poller=self.poller,
                connector=self.dials,
                values=self.values,
                defect=self.seen.crashed,
                pool=Pool(pool or PoolSettings(), self.poller, self.values, self.idle_total),
                tell=self.tell,
            )
            for index in range(endpoints)
        ]
        self.upstream = Upstream("u", self.endpoints, RoundRobin(), **(upstream or {}))
        self.proxy = ReverseProxy(
            self.upstream,
            self.poller,
            self.values,
            response_edits or FieldEdits(),
            3600.0,
            request_edits=request_edits or FieldEdits(),
        )

    def tell(self, name, level="info", *, limit_key="", **told):
        self.told.append((name, told))

    def origin(self, index=-1):
        """Return the upstream driver of a dialled transport, or None when it is closed."""
        transport = self.dials.transports[index]
        for endpoint in self.endpoints:
            for connection in endpoint.connections:
                if connection.transport is transport:
                    return connection
        return None

    def sent(self, index=-1):
        """Return what an origin was sent."""
        return self.dials.transports[index].outgoing

    def pass_time(self, seconds):
        self.poller.now += seconds
        for endpoint in self.endpoints:
            endpoint.tend(self.poller.now)
            for connection in endpoint.connections:
                if connection.is_due(self.poller.now):
                    connection.on_deadline(self.poller.now)
        self.upstream.sweep(self.poller.now)

    @property
    def active(self):
        return [endpoint.active for endpoint in self.endpoints]

    def close(self):
        super().close()
        for endpoint in self.endpoints:
            endpoint.close()
        self.poller.close()
