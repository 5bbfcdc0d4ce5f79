"""What the cache adds to a request that it has no answer for: `python -m bench.micro.cache_miss`.

From a route's handler to an origin that answers at once and back to a client that throws away what it gets: without a
cache, with an answer that is not stored, with one that is, and with one whose content comes in a later turn than its
head. A proxied request takes some 18 µs in all; the goals are 1.1 and 1.4 times as much.
"""

import gc
import statistics
import time

from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import Counters
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy import cached as module
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.on_behalf import NOBODY

LOOKS = 50_000
ROUNDS = 7
HOST = b"127.0.0.1:8080"
PROXIED_US = 18.0
NAMES = [b"server", b"date", b"content-type", b"content-length", b"cache-control"]
BODY = b"x" * 100


class Origin(Handler):
    """Answers at once, with one Cache-Control; not `in_one`: content in a turn of its own."""

    def __init__(self, said: bytes, *, in_one: bool = True) -> None:
        self.lines = [
            b"Server: nginx/1.22.1",
            b"Date: Sun, 29 Nov 2026 06:00:00 GMT",
            b"Content-Type: application/octet-stream",
            b"Content-Length: 100",
            b"Cache-Control: " + said,
        ]
        self.flags = Fields(NAMES, self.lines).flags
        self.hands_over = True  # as a reverse proxy does
        self.in_one = in_one
        self.own: Exchange | None = None  # what is answered now, of a flight

    def hand_over(self, exchange: Exchange, own: Exchange) -> bool:
        self.own = own
        return True

    def handle(self, exchange: Exchange) -> None:
        response = Response(200, b"OK", 11, Fields(NAMES[:], self.lines[:], self.flags), 100)
        downstream = exchange.downstream
        downstream.respond(response)
        if not self.in_one:
            downstream.flush()
            if self.own is not None:
                exchange = self.own
                downstream = exchange.downstream
                self.own = None
        downstream.write(BODY)
        exchange.handler = None
        downstream.finish(None)
        downstream.flush()


def requests(first: int) -> list[Request]:
    made = []
    for number in range(first, first + LOOKS):
        fields = Fields([b"host", b"via"], [b"Host: " + HOST, b"via: 1.1 headgate"])
        made.append(Request(b"GET", b"/missing/%d" % number, 11, fields))
        made[-1].host = HOST
    return made


def costs(handler: Handler) -> float:
    """Return microseconds of a request."""
    peer = Forwarder(Networks([])).connection(b"127.0.0.1", b"http", 8080)
    context = ConnectionContext("bench", "127.0.0.1", 1234, b"http", peer)
    rounds = []
    for turn in range(ROUNDS):
        waiting = requests(turn * LOOKS)
        begin = time.process_time()
        for request in waiting:
            exchange = Exchange(NOBODY, context, request, 0.0)
            exchange.host = HOST
            exchange.handler = handler
            handler.handle(exchange)
        rounds.append(time.process_time() - begin)
    return statistics.median(rounds) / LOOKS * 1e6


def main() -> None:
    gc.set_threshold(20_000, 20, 20)  # a worker's own
    print(f"{module.__file__}\n")
    bare = costs(Origin(b"no-store"))
    print(f"{'no cache':<14}{bare:8.2f} us")
    for label, said, goal, in_one in (
        ("not stored", b"no-store", 1.1, True),
        ("stored", b"max-age=86400", 1.4, True),
        ("two turns", b"max-age=86400", 1.4, False),
    ):
        # Enough for none to be evicted, then so little that each evicts another.
        for budget in (8 << 30, 64 << 20):
            cache = Cache(MemoryStore(budget), Counters().values, shows=True)
            more = costs(CacheHandler(cache, Policy(), Origin(said, in_one=in_one), Poller())) - bare
            verdict = "met" if more <= (goal - 1) * PROXIED_US else "MISSED"
            room = f"{budget >> 20} MiB"
            print(f"{label:<14}{more:8.2f} us more, {room} (goal {(goal - 1) * PROXIED_US:.1f}: {verdict})")


if __name__ == "__main__":
    main()
