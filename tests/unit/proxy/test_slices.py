"""Slices: what is remembered, what is held for a client that takes nothing, and what is left when all is over."""

import gc
from collections import Counter

import pytest

from headgate.cache.fill import WINDOW
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_FIRST, CACHE_HELD, CACHE_OUTCOMES, CACHE_SLICES_FIRST, TABLE
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.download import OVER, Download
from headgate.proxy.on_behalf import Nobody
from headgate.proxy.serving import PIECE
from headgate.proxy.slice import Slice
from headgate.proxy.slice_requests import MAX_LOOKED
from headgate.proxy.slices import MAX_UNSLICED, SliceHandler

FORWARDER = Forwarder(Networks(()))
SIZE = 512 * 1024
BODY = bytes(range(256)) * 4096  # two slices
CHUNK = 16 * 1024


def client_of(handler):
    """A client that takes WINDOW octets until somebody reads them: a slice of a download that does nothing."""
    download = Download(handler, exchange_of(Nobody()))
    download.state = OVER
    return Slice(download, 0, False)


class Origin(Handler):
    """Answers ranges of BODY as far as they are taken."""

    def __init__(self, *lines):
        super().__init__()
        self.lines = list(lines)  # Cache-Control of one answer after the other
        self.asked = []
        self.sent = {}  # by exchange: where it is, and where it ends
        self.closed = []

    def handle(self, exchange):
        asked = exchange.request.fields.get(b"range")
        self.asked.append(asked)
        first, last = (int(at) for at in asked[6:].split(b"-")) if asked else (0, len(BODY))
        end = min(last + 1, len(BODY))
        fields = Fields([], [])
        fields.add(b"cache-control", self.lines.pop(0) if len(self.lines) > 1 else self.lines[0])
        fields.add(b"etag", b'"one"')
        if asked:
            fields.add(b"content-range", b"bytes %d-%d/%d" % (first, end - 1, len(BODY)))
        fields.add(b"content-length", b"%d" % (end - first))
        self.sent[exchange] = [first, end]
        exchange.downstream.respond(Response(206 if asked else 200, b"Said", 11, fields, end - first))
        self.downstream_drained(exchange)

    def downstream_drained(self, exchange):
        place = self.sent[exchange]
        while place[0] < place[1]:
            data = BODY[place[0] : min(place[0] + CHUNK, place[1])]
            place[0] += len(data)
            exchange.downstream.write(data)
            if not exchange.downstream.flush() or exchange not in self.sent:
                return
        del self.sent[exchange]
        exchange.downstream.finish(None)
        exchange.downstream.flush()

    def downstream_closed(self, exchange):
        self.closed.append(exchange)
        del self.sent[exchange]


def slicing(origin, prefetch=0):
    policy = Policy("a")
    policy.slice_size = SIZE
    policy.slice_prefetch = prefetch
    cache = Cache(MemoryStore(16 << 20), [0] * len(TABLE), shows=True)
    return SliceHandler(CacheHandler(cache, policy, origin, Poller()))


def exchange_of(client, target=b"/a", **lines):
    context = ConnectionContext(
        "test", "192.0.2.1", 4000, b"http", FORWARDER.connection(b"192.0.2.1", b"http", 80)
    )
    fields = Fields([b"host"], [b"Host: a.example"])
    for name, value in lines.items():
        fields.add(name.encode(), value)
    request = Request(b"GET", target, 11, fields, 0)
    request.host = b"a.example"
    exchange = Exchange(client, context, request, 1.0)
    exchange.host = b"a.example"
    return exchange


def test_objects_that_are_remembered_at_the_limit_and_one_more():
    handler = slicing(Origin(b"max-age=60"))
    for number in range(MAX_UNSLICED):
        handler.remember(exchange_of(Nobody(), b"/%d" % number), 60.0)
    first = b"http://a.example/0"
    assert (len(handler.unsliced), first in handler.unsliced) == (MAX_UNSLICED, True)
    handler.remember(exchange_of(Nobody(), b"/one-more"), 60.0)
    assert (len(handler.unsliced), first in handler.unsliced) == (MAX_UNSLICED, False)


def test_an_origin_waits_for_a_client_that_takes_nothing():
    origin = Origin(b"max-age=60", b"no-store")  # the second slice may not be stored any more
    handler = slicing(origin, prefetch=1)
    client = client_of(handler)
    exchange = exchange_of(client)
    handler.handle(exchange)
    assert [place[0] - SIZE <= WINDOW + CHUNK for place in origin.sent.values()] == [True]
    assert client.held <= WINDOW + CHUNK * 4
    held = sum(one.held for one in exchange.attempt.slices.values())
    assert 0 < held <= 2 * (WINDOW + PIECE)
    got = b""
    while data := client.take(len(got), CHUNK):
        got += data
        if client.held <= CHUNK and not client.is_over:
            handler.downstream_drained(exchange)
    assert client.is_over
    assert got == BODY
    assert not origin.sent
    assert not origin.closed


def test_what_was_asked_for_is_given_up_when_the_client_goes():
    origin = Origin(b"max-age=60", b"no-store")
    handler = slicing(origin, prefetch=1)
    exchange = exchange_of(client_of(handler))
    handler.handle(exchange)
    handler.downstream_closed(exchange)
    assert len(origin.closed) == 1
    assert not origin.sent


def counted(handler, first):
    values = handler.cache.values[first : first + len(CACHE_OUTCOMES)]
    return {word: count for word, count in zip(CACHE_OUTCOMES, values, strict=True) if count}


def test_requests_and_slices_are_counted_each_by_themselves():
    handler = slicing(Origin(b"max-age=60"))
    for _ in range(3):
        handler.handle(exchange_of(Nobody()))
    assert counted(handler, CACHE_FIRST) == {"MISS": 1, "HIT": 2}
    assert counted(handler, CACHE_SLICES_FIRST) == {"MISS": 2, "HIT": 4}


@pytest.mark.parametrize("line", [b"no-store", b"private"])
def test_what_may_not_be_stored_is_asked_for_as_a_whole(line):
    origin = Origin(line)
    handler = slicing(origin, prefetch=1)
    handler.handle(exchange_of(Nobody()))
    assert origin.asked == [b"bytes=0-%d" % (SIZE - 1), None]
    assert not origin.sent
    handler.handle(exchange_of(Nobody()))
    assert origin.asked[2:] == [None]
    assert sum(counted(handler, CACHE_FIRST).values()) == 2


def test_a_client_whose_answer_is_its_own_ends_no_slices_of_others():
    origin = Origin(b"max-age=60")
    handler = slicing(origin)
    handler.handle(exchange_of(Nobody(), authorization=b"Basic YTpi"))
    assert origin.asked == [b"bytes=0-%d" % (SIZE - 1), None]
    assert not handler.unsliced
    handler.handle(exchange_of(Nobody()))
    assert [asked is None for asked in origin.asked[2:]] == [False, False]


@pytest.mark.parametrize(("count", "status"), [(MAX_LOOKED, 206), (MAX_LOOKED + 1, 504)])
def test_slices_that_are_looked_for_at_the_limit_and_one_more(count, status):
    handler = slicing(Origin(b"max-age=60"))
    handler.size = 64
    for line in (b"max-age=9", b"only-if-cached"):
        client = client_of(handler)
        asked = {"range": b"bytes=0-%d" % (64 * count - 1), "cache-control": line}
        handler.handle(exchange_of(client, b"/a", **asked))
        assert client.head.status == (status if line == b"only-if-cached" else 206)
        assert client.is_over


@pytest.mark.parametrize(("count", "status"), [(MAX_LOOKED, 416), (MAX_LOOKED + 1, 504)])
def test_slices_that_are_looked_for_to_know_the_end_at_the_limit_and_one_more(count, status):
    handler = slicing(Origin(b"max-age=60"))
    handler.size = 64
    last = len(BODY) // 64 - 1
    handler.handle(exchange_of(Nobody(), range=b"bytes=%d-" % (64 * last)))  # the last slice, and no other
    client = client_of(handler)
    # The one that is asked for is looked for, the first of all, and those before it.
    asked = b"bytes=%d-" % (64 * (last + count - 2))
    handler.handle(exchange_of(client, **{"range": asked, "cache-control": b"only-if-cached"}))
    assert (client.head.status, client.is_over) == (status, True)
    assert len(handler.inner.inner.asked) == 1
    if status == 416:
        assert client.head.fields.get(b"content-range") == b"bytes */%d" % len(BODY)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"bytes=%d-" % len(BODY), 416),
        (b"bytes=%d-" % (1 << 60), 416),
        (b"bytes=%d-%d,5-9" % (len(BODY) + 5, len(BODY) + 9), 206),
        (b"bytes=%d-" % SIZE, 504),  # within, and not stored
    ],
)
def test_rfc9111_5_2_1_7_what_is_stored_says_that_a_range_is_beyond_the_end(asked, status):
    origin = Origin(b"max-age=60")
    handler = slicing(origin)
    only = {"range": asked, "cache-control": b"only-if-cached"}
    client = client_of(handler)
    handler.handle(exchange_of(client, **only))
    assert client.head.status == 504  # nothing is known of it
    handler.handle(exchange_of(Nobody(), range=b"bytes=0-9"))
    client = client_of(handler)
    handler.handle(exchange_of(client, **only))
    assert (client.head.status, len(origin.asked)) == (status, 1)


def alive():
    """How many there are of what serves one request."""
    kinds = ("Download", "Slice", "Flight", "Exchange")
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in kinds)


def test_nothing_is_left_for_the_collector_of_cycles():
    handler = slicing(Origin(b"max-age=60"), prefetch=1)
    gc.collect()
    others = alive()  # of other tests: what is asked is what these requests leave
    gc.disable()
    try:
        for lines in ({}, {}, {"range": b"bytes=5-9"}, {"if-none-match": b'"one"'}):
            exchange = exchange_of(Nobody(), **lines)
            handler.handle(exchange)
            assert (exchange.attempt, exchange.handler) == (None, None)
        del exchange
        left = alive()
    finally:
        gc.enable()
    assert left == others
    assert handler.cache.values[CACHE_HELD] == 0
