"""A flight that is over leaves nothing for the collector of cycles, however it ends; and what it fetches for nobody
has a bound."""

import gc

import pytest

from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_FILLS_LEFT, CACHE_HELD, TABLE
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.on_behalf import Nobody

FORWARDER = Forwarder(Networks(()))


MOST = 1000


class SlowOrigin(Handler):
    """Sends a head at once, and content when it is told to."""

    def __init__(self, length):
        super().__init__()
        self.length = length  # -1: it does not say
        self.exchange = None
        self.closed = False

    def handle(self, exchange):
        fields = Fields([b"cache-control"], [b"Cache-Control: max-age=60"])
        if self.length >= 0:
            fields.add(b"content-length", b"%d" % self.length)
        self.exchange = exchange
        exchange.downstream.respond(Response(200, b"OK", 11, fields, self.length))

    def send(self, count):
        """Send a piece; tell whether more is wanted."""
        self.exchange.downstream.write(bytes(count))
        self.exchange.downstream.flush()
        return not self.closed

    def end(self):
        self.exchange.downstream.finish(None)
        self.exchange.downstream.flush()

    def downstream_closed(self, exchange):
        self.closed = True


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
    return exchange


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


def filling(origin):
    cache = Cache(MemoryStore(1 << 20), [0] * len(TABLE), shows=True, background_fill=MOST)
    return CacheHandler(cache, Policy("r"), origin, Poller())


@pytest.mark.parametrize(("missing", "goes_on"), [(MOST, True), (MOST + 1, False)])
def test_an_answer_that_all_clients_have_left_is_fetched_if_no_more_than_that_is_missing(missing, goes_on):
    origin = SlowOrigin(5000)
    handler = filling(origin)
    client = asked(handler, 1)
    came = 5000 - missing
    assert origin.send(came - 10)
    handler.downstream_closed(client)
    assert origin.send(10) is goes_on
    values = handler.cache.values
    assert values[CACHE_FILLS_LEFT] == (0 if goes_on else 1)
    if goes_on:
        assert origin.send(missing)
        origin.end()
    assert handler.cache.store.variants == (1 if goes_on else 0)
    assert (handler.cache.flights, values[CACHE_HELD]) == ({}, 0)


@pytest.mark.parametrize(("more", "goes_on"), [(MOST, True), (MOST + 1, False)])
def test_of_an_answer_without_a_length_so_much_more_is_fetched_for_nobody(more, goes_on):
    origin = SlowOrigin(-1)
    handler = filling(origin)
    client = asked(handler, 1)
    assert origin.send(5000)
    handler.downstream_closed(client)
    assert origin.send(0)
    assert origin.send(more) is goes_on
    assert handler.cache.values[CACHE_FILLS_LEFT] == (0 if goes_on else 1)


def test_whoever_comes_meanwhile_is_read_for_again():
    origin = SlowOrigin(-1)
    handler = filling(origin)
    first = asked(handler, 1)
    assert origin.send(100)
    handler.downstream_closed(first)
    assert origin.send(MOST)
    second = asked(handler, 1)
    assert second.attempt is not None
    assert origin.send(5 * MOST)
    handler.downstream_closed(second)
    assert origin.send(MOST)
    origin.end()
    assert handler.cache.store.variants == 1
