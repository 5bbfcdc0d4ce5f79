"""A flight that is over leaves nothing for the collector of cycles, however it ends."""

import gc

import pytest

from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import TABLE
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.on_behalf import Nobody

FORWARDER = Forwarder(Networks(()))


class Origin(Handler):
    """Answers at once: with content that may be stored or not, or with its end before the content's."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def handle(self, exchange):
        line = b"Cache-Control: no-store" if self.way == "direct" else b"Cache-Control: max-age=60"
        fields = Fields([b"cache-control", b"content-length"], [line, b"Content-Length: 3"])
        exchange.downstream.respond(Response(200, b"OK", 11, fields, 3))
        exchange.downstream.write(b"abc")
        if self.way == "broken":
            exchange.downstream.abort("upstream-closed")
        else:
            exchange.downstream.finish(None)
            exchange.downstream.flush()


def asked(handler, number, method=b"GET"):
    context = ConnectionContext(
        "test", "192.0.2.1", 4000, b"http", FORWARDER.connection(b"192.0.2.1", b"http", 80)
    )
    request = Request(method, b"/%d" % number, 11, Fields([b"host"], [b"Host: a.example"]), 0)
    request.host = b"a.example"
    exchange = Exchange(Nobody(), context, request, 1.0)
    exchange.host = b"a.example"
    handler.handle(exchange)


def alive(*names):
    return sum(type(one).__name__ in names for one in gc.get_objects())


@pytest.mark.parametrize(
    ("way", "method"), [("stored", b"GET"), ("direct", b"GET"), ("broken", b"GET"), ("passing", b"POST")]
)
def test_nothing_is_left_to_the_collector(way, method):
    values = [0] * len(TABLE)
    store = MemoryStore(1 << 20)
    handler = CacheHandler(Cache(store, values, shows=True), Policy("r"), Origin(way), Poller())
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            asked(handler, number, method)
        assert alive("Flight", "Exchange", "Passing", "Reader", "Fill") == 0
    finally:
        gc.enable()
    assert store.variants == (5 if way == "stored" else 0)
