"""A small internet in memory: hosts with addresses, each answering, refusing, or keeping silent by a fake clock."""

import asyncio
import base64
import contextlib
import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import pytest
from cryptography.x509 import ocsp

from headgate import counters as slots
from headgate.counters import Counters
from headgate.http.fetch import DialAttempt, FetchError, FetchRequest, FetchResponse
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.stapler import Stapler
from headgate.ocsp.store import StapleStore
from headgate.ocsp.subject import Subject
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority, Leaf, Single, ocsp_error, ocsp_response

TYPE = "application/ocsp-response"


def answer(body: bytes, status: int = 200, content_type: str = TYPE, **headers: str):
    """A behaviour: always this."""

    def behave(_request: FetchRequest):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return status, {"content-type": content_type, **named}, body

    return behave


@dataclass
class Host:
    """Addresses in the order in which a dialler would try them, each with its behaviour: a callable, "refuse",
    "silent" (accepts, never answers), "stuck" (a fetch that heeds neither timeout nor cancellation) or "nxdomain"."""

    addresses: dict[str, object]
    latency: float = 0.02
    requests: list[FetchRequest] = field(default_factory=list)
    peak: int = 0
    running: int = 0


class World:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.hosts: dict[str, Host] = {}
        self.running = 0
        self.peak = 0
        self.resolver_down = False
        self.ending = False

    def host(
        self, name: str, behaviour: object = "silent", *, latency: float = 0.02, **addresses: object
    ) -> Host:
        self.hosts[name] = Host(addresses or {"203.0.113.1:80": behaviour}, latency)
        return self.hosts[name]

    def requests(self, name: str) -> list[FetchRequest]:
        return self.hosts[name].requests

    async def fetch(self, request: FetchRequest) -> FetchResponse:
        name = urlsplit(request.url).hostname or ""
        host = self.hosts.get(name)
        if self.resolver_down or host is None:
            await self.clock.sleep(0.01)
            raise FetchError("resolve", f"no address for {name}", milliseconds=10.0)
        host.requests.append(request)
        self.running += 1
        host.running += 1
        self.peak, host.peak = max(self.peak, self.running), max(host.peak, host.running)
        try:
            return await self._answer(request, host)
        finally:
            self.running -= 1
            host.running -= 1

    async def _answer(self, request: FetchRequest, host: Host) -> FetchResponse:
        ordered = sorted(host.addresses, key=lambda address: address in request.avoid)
        if request.allow is not None:
            ordered = [a for a in ordered if request.allow(a.rpartition(":")[0].strip("[]"))]
            if not ordered:
                raise FetchError("refused-address", "no address is allowed")
        attempts: list[DialAttempt] = []
        for address in ordered:
            behaviour = host.addresses[address]
            if behaviour == "refuse":
                attempts.append(DialAttempt(address, errno.ECONNREFUSED, "Connection refused", 1.0))
                continue
            attempts.append(DialAttempt(address, 0, "", 1.0))
            return await self._talk(request, host, address, behaviour, tuple(attempts))
        last = attempts[-1]
        raise FetchError("connect", "all refused", last.address, last.errno, 1.0, tuple(attempts))

    async def _talk(self, request, host, address, behaviour, attempts) -> FetchResponse:
        if behaviour == "stuck":
            while not self.ending:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.get_running_loop().create_future()
            raise asyncio.CancelledError
        if behaviour == "silent" or host.latency > request.timeout:
            await self.clock.sleep(request.timeout)
            milliseconds = request.timeout * 1000.0
            raise FetchError("head", "no answer in time", address, errno.ETIMEDOUT, milliseconds, attempts)
        await self.clock.sleep(host.latency)
        status, headers, body = behaviour(request)
        return FetchResponse(status, headers, body, address, host.latency * 1000.0, attempts)


class Responder:
    """A behaviour that answers like a real responder about the certificates of one authority."""

    def __init__(
        self, clock: FakeClock, authority: Authority, *, lifetime: float = 86_400.0, **options
    ) -> None:
        self.clock = clock
        self.authority = authority
        self.lifetime = lifetime
        self.leaves: dict[int, Leaf] = {}
        self.statuses: dict[int, str] = {}
        self.hashes = options.pop("hashes", ("sha1", "sha256"))
        self.methods = options.pop("methods", ("GET", "POST"))
        self.headers: dict[str, str] = options.pop("headers", {})
        self.options = options
        self.age = 0.0
        self.asked: list[str] = []

    def knows(self, *leaves: Leaf) -> "Responder":
        self.leaves |= {leaf.certificate.serial_number: leaf for leaf in leaves}
        return self

    def __call__(self, request: FetchRequest):
        if request.method not in self.methods:
            self.asked.append(f"{request.method} refused")
            return 405, {"content-type": "text/plain"}, b"no"
        asked = decode_request(request)
        self.asked.append(f"{request.method} {asked.hash_algorithm.name}")
        return 200, {"content-type": TYPE, **self.headers}, self.respond(asked)

    def respond(self, asked) -> bytes:
        leaf = self.leaves.get(asked.serial_number)
        if leaf is None or asked.hash_algorithm.name not in self.hashes:
            return ocsp_error("unauthorized")
        this_update = int(self.clock.wall()) - self.age
        single = Single(
            leaf,
            self.statuses.get(asked.serial_number, "good"),
            this_update,
            this_update + self.lifetime if self.lifetime else None,
            asked.hash_algorithm.name,
        )
        return ocsp_response([single], self.authority, **self.options)


def decode_request(request: FetchRequest):
    if request.method == "POST":
        assert request.content_type == "application/ocsp-request"
        return ocsp.load_der_ocsp_request(request.body)
    return ocsp.load_der_ocsp_request(base64.b64decode(unquote(request.url.rpartition("/")[2])))


@dataclass
class Bench:
    """A stapler with everything that it is handed, and the record of what it did."""

    clock: FakeClock
    world: World
    authority: Authority
    counters: Counters
    published: dict[str, list] = field(default_factory=dict)
    events: list[tuple[str, dict]] = field(default_factory=list)
    stapler: Stapler | None = None
    task: asyncio.Task | None = None
    directory: object = None
    rng: Callable[[], float] = lambda: 0.5

    def leaf(self, name: str, *urls: str, **options) -> Leaf:
        return self.authority.leaf(name, ocsp=urls, **options)

    def subject(self, leaf: Leaf, name: str = "", **options) -> Subject:
        return Subject.from_pem(
            name or leaf.certificate.subject.rfc4514_string()[3:],
            leaf.chain_pem,
            issuer_pem=self.authority.pem,
            **options,
        )

    def responder(self, *leaves: Leaf, **options) -> Responder:
        return Responder(self.clock, self.authority, **options).knows(*leaves)

    def count(self, slot: int) -> int:
        return self.counters.values[slot]

    def states(self) -> dict[str, int]:
        """How many staples are in each state that any is in."""
        found = {s: self.count(slots.STAPLES_FIRST + i) for i, s in enumerate(slots.STAPLE_STATES)}
        return {state: count for state, count in found.items() if count}

    def build(self, *subjects: Subject, settings: OcspSettings | None = None) -> Stapler:
        self.stapler = Stapler(
            subjects,
            self.world.fetch,
            StapleStore(self.directory),
            self.clock,
            self.rng,
            lambda name, staple: self.published.setdefault(name, []).append(staple),
            lambda kind, fields: self.events.append((kind, fields)),
            self.counters,
            settings or OcspSettings(),
            timers=self.clock,
        )
        return self.stapler

    async def start(
        self, *subjects: Subject, settings: OcspSettings | None = None, run_for: float = 0.0
    ) -> Stapler:
        stapler = self.build(*subjects, settings=settings)
        self.task = asyncio.get_running_loop().create_task(stapler.run())
        await self.clock.advance(run_for)
        return stapler

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            assert self.task.cancelled(), self.task.exception()
            self.task = None

    def last(self, name: str):
        return self.published.get(name, [None])[-1]

    def status(self, name: str):
        return next(row for row in self.stapler.status() if row.name == name)

    def kinds(self) -> Counter:
        return Counter(kind for kind, _ in self.events)

    def event(self, kind: str) -> dict:
        return [fields for k, fields in self.events if k == kind][-1]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def world(clock):
    return World(clock)


@pytest.fixture(scope="session")
def shared_authority():
    return Authority.root("Stapler Test CA")


@pytest.fixture
def bench(clock, world, shared_authority):
    return Bench(clock, world, shared_authority, Counters())


@pytest.fixture
def scenario(bench):
    """Run one coroutine with a `Bench`, and stop the stapler whatever happens."""

    def run(body):
        async def whole():
            try:
                async with asyncio.timeout(50):
                    await body(bench)
            finally:
                bench.world.ending = True
                await bench.stop()

        asyncio.run(whole())

    return run


@pytest.fixture
def replies():
    """The helpers above, for tests that build their own behaviours."""
    return answer
