"""HTTP/2: requests, large bodies, streams that are open and do nothing, idle connections, and h2 to the origin."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import certs, h2_client, h2_load, load, measure
from bench.h2_client import H2Client
from bench.h2_load import H2Load
from bench.lab import Lab, Lane, Sample
from bench.load import FIFTEEN_FIELDS, LoadError
from bench.proxies import Profile, Proxy
from bench.rows.base import Row

SIZES: Final = {"/": 100, "/1m": 1 << 20, "/stored/100": 100, "/stored/1m": 1 << 20}
# Requests on a connection at least: its handshake is to be lost among them.
FIRST: Final = {"/": 500, "/1m": 8, "/stored/100": 500, "/stored/1m": 8}
COUNT: Final = 1000
# Held open beside the counted ones: closing them would leave free memory for the counted ones to hide in.
# So many, and after a second of rest, because what processes share at first they copy when they begin to work.
WARM: Final = 500
QUIET: Final = 1.0
# Everybody allows 100 streams on a connection; one of them is left to be asked on.
CONNECTIONS: Final = 100
HELD: Final = 99
WARM_ROUNDS: Final = 5
PATIENCE: Final = 60.0
_H1: Final = load.client_context()
_H2: Final = h2_client.client_context()


class H2Row(Row):
    """A row of HTTP/2."""

    version = "h2"
    profile = Profile(h2=True)


class H2Requests(H2Row):
    """Requests on streams of kept connections; `busy` adds 15 request fields and the access log, `h2c_origin` HTTP/2
    in the clear towards the origin."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        goal: float,
        path: str = "/",
        busy: bool = False,
        h2c_origin: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.goal = goal
        self.profile = Profile(h2=True, access_log=busy, h2c_origin=h2c_origin)
        self.load = H2Load(path, headers=FIFTEEN_FIELDS if busy else ())
        if h2c_origin:
            self.version = "h2c"
        self._each: dict[Lane, int] = {}

    def baseline(self, label: str) -> str:
        return "haproxy"

    def absent(self, rivals: Path | None) -> str | None:
        return h2_load.absent()

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        path = self.load.path
        with H2Client(h2_client.client_context(), lab.running(lane).job.tls_port, certs.host(0)) as client:
            if (size := client.get(path)) != SIZES[path]:
                raise LoadError(f"{path}: {size} of {SIZES[path]} octets")
        each = FIRST[path]
        for _ in range(2):  # the first has too few to tell the rate
            outcome = h2_load.requests(lab.running(lane).job.tls_port, self.load, each, lab.load_core)
            wanted = outcome.requests / outcome.seconds * lab.seconds / self.load.connections
            each = min(max(round(wanted), FIRST[path]), h2_load.MOST)
        self._each[lane] = each

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        running = lab.running(lane)
        pids = running.pids()
        before = measure.cpu_ns(pids)
        outcome = h2_load.requests(running.job.tls_port, self.load, self._each[lane], lab.load_core)
        return lab.sample(outcome, measure.cpu_ns(pids) - before)


class OpenStreams(H2Row):
    """A request at a time on each of 100 connections, with 9,900 others open on them whose origin does not answer,
    against the same without the others."""

    name = "h2-streams"
    title = "h2, 10,000 streams open over 100"
    goal = 1.2
    profile = Profile(h2=True, held=True)
    word = "×100"

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        return [
            Lane(p.name + word, p, self.profile)
            for p in proxies
            if self.version in p.versions
            for word in ("", f" {self.word}")
        ]

    def baseline(self, label: str) -> str:
        return label.removesuffix(f" {self.word}")

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._ask(lab, lane, min(lab.seconds, 0.5), held=0)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._ask(lab, lane, lab.seconds, held=HELD if lane.label.endswith(self.word) else 0)

    @staticmethod
    def _ask(lab: Lab, lane: Lane, seconds: float, *, held: int) -> Sample:
        running = lab.running(lane)
        context = h2_client.client_context()
        with contextlib.ExitStack() as open_:
            clients = [
                open_.enter_context(H2Client(context, running.job.tls_port, certs.host(0)))
                for _ in range(CONNECTIONS)
            ]
            for client in clients if held else ():
                client.begin("/hold", held)
                client.settle()
            _wait_held(lab, CONNECTIONS * held)
            for _ in range(WARM_ROUNDS):
                for client in clients:
                    client.get("/")
            pids = running.pids()
            before, begin, rounds = measure.cpu_ns(pids), time.perf_counter(), 0
            while time.perf_counter() - begin < seconds:
                asked = [(client, client.begin("/")) for client in clients]
                for client, stream in asked:
                    client.end(stream)
                rounds += 1
            outcome = load.Outcome(rounds * CONNECTIONS, time.perf_counter() - begin, 0.0, 0.0, 0)
            used = measure.cpu_ns(pids) - before
        lab.held.drop()
        return lab.sample(outcome, used)


def _wait_held(lab: Lab, count: int) -> None:
    """Wait until exactly `count` requests have come to the origin that does not answer."""
    end = time.monotonic() + PATIENCE
    while lab.held.count != count:
        if time.monotonic() > end:
            raise LoadError(f"{lab.held.count} of {count} streams are open after {PATIENCE:.0f} s")
        time.sleep(0.05)


class IdleH2(H2Row):
    """Opens 1,000 connections beside 500 warm ones, asks once on every one, and takes what one of them holds: of
    HTTP/1.1 over TLS and of HTTP/2, each in a proxy of its own; KiB of proportional memory by which one of HTTP/2 is
    above one of HTTP/1.1."""

    name = "idle-h2"
    title = "idle h2 connection, above TLS with h1"
    unit = "KiB"
    goal = 16.0
    goal_is_ratio = False
    max_rounds = 1
    fresh = True

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        above = self._held(lab, lane, _ask_h2) - self._held(lab, lane, _ask_h1)
        return Sample(max(above, 1.0) / 1024)

    @staticmethod
    def _held(lab: Lab, lane: Lane, ask: Callable[[contextlib.ExitStack, int], None]) -> float:
        """Return octets of one connection, in a proxy that has just been started."""
        running = lane.proxy.start(lab.job(lane), lab.proxy_core)
        try:
            with contextlib.ExitStack() as held:

                def hold(count: int) -> int:
                    for _ in range(count):
                        ask(held, running.job.tls_port)
                    pids = running.pids()
                    measure.settle(pids, QUIET)
                    return measure.pss_bytes(pids)

                before = hold(WARM)
                return (hold(COUNT) - before) / COUNT
        finally:
            running.stop()


def _ask_h1(held: contextlib.ExitStack, port: int) -> None:
    stream = held.enter_context(load.handshake(_H1, port, certs.host(0)))
    load.exchange(stream, certs.host(0))


def _ask_h2(held: contextlib.ExitStack, port: int) -> None:
    client = held.enter_context(H2Client(_H2, port, certs.host(0)))
    client.get("/")
    client.settle()
