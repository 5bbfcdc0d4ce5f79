"""A forward proxy between clients in memory and whatever it dials, which the test plays."""

import base64

from tests.unit.proxy.data_path import Dials, Front, Held

from headgate.counters import FORWARD_DESTINATIONS, TUNNELS_OPEN, UPSTREAM_OPEN
from headgate.errors import HeadgateError
from headgate.http.networks import Networks
from headgate.pipeline.matchers import HostPatterns
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.authentication import Authenticator
from headgate.proxy.connect import ConnectProxy, Parents, TunnelCounts
from headgate.proxy.destinations import Destination, DestinationMaker, Destinations
from headgate.proxy.forward import DirectProxy, FallBack, ForwardProxy
from headgate.proxy.guard import Guard
from headgate.proxy.reverse import ReverseProxy
from headgate.testing.memory import MemoryTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.upstream import Upstream


def login(user="alice", password="pw"):
    return b"Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode())


def status(driver):
    return int(driver.transport.outgoing[9:12] or 0)


class Refused(HeadgateError):
    def __init__(self, reason):
        super().__init__(f"no connection: {reason}")
        self.reason = reason


class GuardedDials(Dials):
    """Dials that ask the guard as a dialer does, about the addresses that the test gives to names."""

    def __init__(self, guard):
        super().__init__()
        self.guard = guard
        self.names = {}
        self.failing = {}

    def _check(self, host, port):
        self.dialled.append(f"{host}:{port}")
        if host in self.failing:
            raise Refused(self.failing[host])
        addresses = self.names.get(host, [host])
        if not any(self.guard.allows(address, port) for address in addresses):
            raise Refused("refused-address")
        transport = MemoryTransport()
        self.transports.append(transport)
        return transport

    async def connect(self, endpoint):
        return self._check(endpoint.host, endpoint.port)

    async def open(self, host, port):
        return self._check(host, port), f"{host}:{port}"


class Checks(Held):
    """A checker whose threads end when the test says so."""

    def __init__(self):
        super().__init__()
        self.count = 0

    async def check(self, users, user, password):
        self.count += 1
        return users.verify(user, password)


class People:
    def __init__(self, **passwords):
        self.passwords = {name.encode(): password.encode() for name, password in passwords.items()}

    def verify(self, user, password):
        return self.passwords.get(user) == password


class Maker(DestinationMaker):
    def __init__(self, path):
        self.path = path
        self.made = []

    def make(self, host, port):
        endpoint = self.path.endpoint(host, port, self.path.dials)
        upstream = Upstream("", [endpoint], RoundRobin(0.0))
        proxy = ReverseProxy(upstream, self.path.poller, self.path.values, FieldEdits(), 3600.0)
        self.made.append(endpoint)
        return Destination(endpoint, proxy)


class ForwardPath(Front):
    def __init__(
        self,
        *,
        users=None,
        clients=("192.0.2.0/24",),
        limit=16,
        per_client=4,
        per_user=4,
        parents=0,
        direct=False,
        bypass=(),
        **rules,
    ):
        super().__init__()
        guard = Guard([(443, 443)], [(80, 80), (1024, 65535)], **rules)
        self.dials = GuardedDials(guard)
        self.parent_dials = Dials()
        self.checks = Checks()
        self.maker = Maker(self)
        self.counts = TunnelCounts(per_client, per_user)
        self.destinations = Destinations(self.maker, self.values, limit, 15.0)
        ways = DirectProxy(self.destinations, self.poller, self.values)
        self.parents = self.parent_proxy = None
        if parents:
            endpoints = [self.endpoint(f"parent{n}", 3128, self.parent_dials) for n in range(parents)]
            group = Upstream("parents", endpoints, RoundRobin(0.0))
            self.parents = Parents(group, b"Basic cGFyZW50OnB3", HostPatterns(bypass), direct)
            self.parent_proxy = ReverseProxy(group, self.poller, self.values, FieldEdits(), 3600.0)
            if direct:
                self.parent_proxy.otherwise = FallBack(ways)
        self.auth = Authenticator(users, self.checks, self.values) if users is not None else None
        self.proxy = ForwardProxy(
            guard,
            Networks(clients),
            ways,
            ConnectProxy(self.dials, self.poller, self.values, self.counts, 900.0, self.parents),
            self.values,
            authenticator=self.auth,
            parents=self.parents,
            parent_proxy=self.parent_proxy,
        )

    def endpoint(self, host, port, dials):
        return Endpoint(
            f"http://{host}:{port}",
            "http",
            host,
            port,
            poller=self.poller,
            connector=dials,
            values=self.values,
            defect=self.seen.crashed,
        )

    def client(self, address="192.0.2.1"):
        driver = super().client(address)
        driver.context.network = address
        return driver

    def ask(self, data, address="192.0.2.1"):
        """Send a request on a connection of its own; return its driver."""
        driver = self.client(address)
        self.send(driver, data)
        return driver

    def upstream(self, transport):
        """Return the driver of a transport that was dialled for a destination or a parent."""
        groups = [*self.maker.made, *(self.parents.upstream.endpoints if self.parents else [])]
        return next(c for e in groups for c in e.connections if c.transport is transport)

    def answer(self, transport, data):
        driver = self.upstream(transport)
        transport.incoming.append(data)
        driver.on_readable()

    def close(self):
        super().close()
        self.destinations.close()
        if self.parents is not None:
            for endpoint in self.parents.upstream.endpoints:
                endpoint.close()
        self.poller.close()
        for transport in (*self.dials.transports, *self.parent_dials.transports):
            assert transport.closed, transport
        assert self.seen.crashes == []
        assert self.values[TUNNELS_OPEN] == 0
        assert self.values[UPSTREAM_OPEN] == 0
        assert self.values[FORWARD_DESTINATIONS] == 0
        assert len(self.counts) == 0


def paths():
    """A fixture's generator: what makes paths, of which nothing may be left at the end."""
    made = []

    def path(**options):
        made.append(ForwardPath(**options))
        return made[-1]

    yield path
    for one in made:
        one.close()
