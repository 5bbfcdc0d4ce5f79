"""A hit from memory between its head and its answer, among few stored responses and among many:
`python -m bench.micro.cache_hit [COUNT ...]`.

From the dispatcher to a client that throws away what it gets, so without sockets and without the engine. What grows
with COUNT is what the processor's caches do not hold: each object that a hit touches costs some 0.1 µs there.
"""

import argparse
import gc
import random
import statistics
import time

from headgate.cache.entry import MemoryBody
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.cache.storing import build
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import Counters
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.pipeline.route import Route, Router
from headgate.proxy import cached as module
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.dispatch import Dispatcher
from headgate.proxy.on_behalf import NOBODY

COUNTS = (1000, 20_000, 1_000_000)
LOOKS = 100_000
HIT_US = 10.0  # all of a hit, with sockets and engine
GOAL_SHARE = 0.15
HOST = b"127.0.0.1:8080"
NAMES = (b"server", b"date", b"content-type", b"content-length", b"connection", b"cache-control")


def target_of(number: int) -> bytes:
    return b"/stored/%d" % number


def answer(number: int) -> Response:
    """Return an answer as an origin's parser leaves it: names are shared, lines are not."""
    lines = [
        bytes(bytearray(line))
        for line in (
            b"Server: nginx/1.22.1",
            b"Date: Sun, 29 Nov 2026 06:00:%02d GMT" % (number % 60),
            b"Content-Type: application/octet-stream",
            b"Content-Length: 100",
            b"Connection: keep-alive",
            b"Cache-Control: max-age=86400",
        )
    ]
    return Response(200, b"OK", 11, Fields(list(NAMES), lines), 100)


class Gate:
    """A route with a cache that holds `count` responses."""

    def __init__(self, count: int) -> None:
        store = MemoryStore(8 << 30)
        policy = Policy()
        cache = Cache(store, Counters().values, shows=True)
        route = Route("root", (), "/")
        route.handler = CacheHandler(cache, policy, Handler(), Poller())
        self.dispatcher = Dispatcher(Router([route]), cache.values)
        peer = Forwarder(Networks([])).connection(b"127.0.0.1", b"http", 8080)
        self.context = ConnectionContext("bench", "127.0.0.1", 1234, b"http", peer)
        self.hits = cache.values
        now = time.time()
        for number in range(count):
            request = Request(b"GET", target_of(number), 11, Fields([], []))
            stored = build(b"http://" + HOST + target_of(number), request, answer(number), policy, now, now)
            stored.body = MemoryBody([b"%0100d" % number])
            stored.length = 100
            stored.is_complete = True
            store.put(stored)
        self.store = store

    def requests(self, count: int) -> list[Request]:
        made = []
        for _ in range(LOOKS):
            fields = Fields([b"host"], [b"Host: " + HOST])
            made.append(Request(b"GET", target_of(random.randrange(count)), 11, fields))
            made[-1].host = HOST
        return made


def hits(gate: Gate, count: int) -> float:
    """Return microseconds of a hit, spread evenly."""
    rounds = []
    for _ in range(3):
        requests = gate.requests(count)
        begin = time.process_time()
        for request in requests:
            gate.dispatcher.handle(Exchange(NOBODY, gate.context, request, 0.0))
        rounds.append(time.process_time() - begin)
    if gate.store.hits != 3 * LOOKS:
        raise SystemExit(f"{gate.store.hits} hits of {3 * LOOKS}")
    return statistics.median(rounds) / LOOKS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    options = parser.parse_args()
    gc.set_threshold(20_000, 20, 20)  # a worker's own
    print(f"{module.__file__}\n")
    few = 0.0
    for count in options.counts:
        gate = Gate(count)
        cost = hits(gate, count)
        few = few or cost
        more = (cost - few) / HIT_US
        said = "met" if more <= GOAL_SHARE else "MISSED"
        print(f"{count:>9,} stored   {cost:6.2f} us   {more:+.1%} of a hit ({said})", flush=True)
        del gate


if __name__ == "__main__":
    main()
