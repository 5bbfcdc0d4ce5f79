"""Purges and invalidations that come while a request is under way; and what the answer to one says of others."""

import pytest

from headgate.build_info import is_compiled
from headgate.cache.entry import SOFT_PURGED
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange, Handler
from headgate.counters import CACHE_HELD, TABLE
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.answers import answer_error
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache

pytestmark = pytest.mark.skipif(is_compiled("headgate.connection.exchange"), reason="only pure: a trait")

FORWARDER = Forwarder(Networks(()))
URL = b"http://a.example/x"


class Origin(Handler):
    """Keeps what it is asked, until a test answers."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.drained = 0

    def handle(self, exchange):
        self.asked.append(exchange)

    def downstream_closed(self, exchange):
        return

    def downstream_drained(self, exchange):
        self.drained += 1

    def answer(self, at, *lines, status=200, body=b"", length=None):
        """Send head and content, and the end where all of it is there."""
        to = self.asked[at].downstream
        length = len(body) if length is None else length
        lines = [*lines, b"Content-Length: %d" % length]
        names = [line.split(b":")[0].lower() for line in lines]
        fields = Fields([], [])
        for name, line in zip(names, lines, strict=True):
            fields.add(name, line.split(b": ", 1)[1])
        to.respond(Response(status, b"Said", 11, fields, length))
        if body:
            self.send(at, body)
        if length == len(body):
            self.end(at)

    def send(self, at, data):
        to = self.asked[at].downstream
        to.write(data)
        return to.flush()

    def end(self, at):
        to = self.asked[at].downstream
        to.finish(None)
        to.flush()


class Client(Downstream):
    """Remembers what it gets; takes nothing more while it is `slow`."""

    def __init__(self):
        self.status = 0
        self.cache = b""
        self.body = b""
        self.over = False
        self.aborted = ""
        self.slow = False

    def respond(self, response):
        self.status = response.status
        self.cache = response.fields.get(b"cache-status") or b""

    def write(self, data):
        self.body += data

    def finish(self, trailers):
        self.over = True

    def abort(self, reason):
        self.aborted = reason

    def flush(self):
        return not self.slow

    def resume(self):
        return


class Bench:
    """A cache before that origin. `parts`: keys may have more than a URI."""

    def __init__(self, parts=False, budget=1 << 20):
        self.values = [0] * len(TABLE)
        self.store = MemoryStore(budget)
        self.cache = Cache(self.store, self.values, shows=True)
        self.cache.has_parts = parts
        self.origin = Origin()
        self.handler = CacheHandler(self.cache, Policy("r"), self.origin, Poller())

    def ask(self, *lines, method=b"GET", slow=False):
        """Ask for /x; return client and exchange."""
        context = ConnectionContext(
            "test", "192.0.2.1", 4000, b"http", FORWARDER.connection(b"192.0.2.1", b"http", 80)
        )
        fields = Fields([], [])
        for line in (b"Host: a.example", *lines):
            name, value = line.split(b": ", 1)
            fields.add(name.lower(), value)
        request = Request(method, b"/x", 11, fields, 0)
        request.host = b"a.example"
        client = Client()
        client.slow = slow
        exchange = Exchange(client, context, request, 1.0)
        exchange.host = b"a.example"
        client.exchange = exchange
        exchange.handler = self.handler
        self.handler.handle(exchange)
        return client

    def drained(self, client):
        client.slow = False
        client.exchange.handler.downstream_drained(client.exchange)

    def post(self):
        """Let an unsafe request go by that is answered at once."""
        self.ask(method=b"POST")
        self.origin.answer(-1, status=204)

    def stale(self, *lines):
        """Store what is to be confirmed from now on."""
        self.ask()
        self.origin.answer(-1, b"Cache-Control: max-age=60", b'ETag: "1"', *lines, body=b"old")
        entry = self.store.peek(URL)
        assert entry is not None
        (variant,) = entry.variants
        variant.fresh_until = variant.born - 1.0
        return variant


WAYS = {
    "purge": lambda bench: bench.cache.purge(3, URL, False, 0),
    "soft": lambda bench: bench.cache.purge(3, URL, True, 0),
    "tag": lambda bench: bench.cache.purge(4, b"t", False, 0),
    "prefix": lambda bench: bench.cache.purge(2, b"http://a.", False, 0),
    "post": Bench.post,
}


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_who_comes_after_a_purge_gets_nothing_that_was_asked_for_before(way, has_head, parts):
    """RFC 9111 section 4.4 for the POST. Who asked before gets that answer, and it is not stored."""
    bench = Bench(parts)
    before = bench.ask()
    lines = [b"Cache-Control: max-age=60", b"Cache-Tag: t"]
    if has_head:
        bench.origin.answer(0, *lines, body=b"old", length=6)
    WAYS[way](bench)
    count = len(bench.origin.asked)
    after = bench.ask()
    also = bench.ask()
    assert len(bench.origin.asked) == count + 1  # those who come later wait for one another
    bench.origin.answer(-1, *lines, body=b"new")
    if has_head:
        bench.origin.send(0, b"old")
        bench.origin.end(0)
    else:
        bench.origin.answer(0, *lines, body=b"oldold")
    assert (before.body, after.body, also.body) == (b"oldold", b"new", b"new")
    assert bench.ask().body == b"new"
    assert len(bench.origin.asked) == count + 1
    assert bench.cache.flights == {}


def test_a_purge_of_something_else_lets_them_wait():
    bench = Bench()
    bench.ask()
    bench.cache.purge(3, b"http://a.example/y", False, 0)
    bench.ask()
    assert len(bench.origin.asked) == 1


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_confirmed_by_a_request_from_before_a_purge_is_confirmed_again(way, parts):
    bench = Bench(parts)
    bench.stale(b"Cache-Tag: t")
    bench.ask()  # is under way
    WAYS[way](bench)
    asked = len(bench.origin.asked)
    bench.ask()  # finds it purged
    assert len(bench.origin.asked) == asked + 1
    lines = [b"Cache-Control: max-age=60", b'ETag: "1"']
    bench.origin.answer(1, *lines, status=304)
    third = bench.ask()
    assert third.status == 0  # it waits
    bench.origin.answer(-1, *lines, body=b"new")
    assert third.body == b"new"
    assert b"hit" in bench.ask().cache
    assert bench.ask().body == b"new"


def test_a_part_from_before_a_soft_purge_makes_nothing_good_again():
    bench = Bench()
    lines = [b"Cache-Control: max-age=60", b'ETag: "1"']
    first, second = b"Range: bytes=0-2", b"Range: bytes=3-5"
    bench.ask(first)
    bench.origin.answer(0, *lines, b"Content-Range: bytes 0-2/9", status=206, body=b"abc")
    bench.ask(second)
    bench.cache.purge(3, URL, True, 0)
    assert bench.store.peek(URL).variants[0].flags & SOFT_PURGED
    bench.origin.answer(1, *lines, b"Content-Range: bytes 3-5/9", status=206, body=b"def")
    assert bench.store.peek(URL).variants[0].flags & SOFT_PURGED


def test_what_was_purged_under_way_leaves_what_is_newer():
    bench = Bench()
    bench.ask()
    bench.cache.purge(3, URL, False, 0)
    bench.ask()
    bench.origin.answer(1, b"Cache-Control: max-age=60", body=b"new")
    bench.origin.answer(0, b"Cache-Control: max-age=60", body=b"old")
    assert bench.ask().body == b"new"


def test_head_that_finds_something_stale_has_it_replaced():
    """RFC 5861 section 3, where the client that is served has asked for the head alone."""
    bench = Bench()
    variant = bench.stale()
    variant.stale_while_revalidate = 60.0
    assert bench.ask(method=b"HEAD").status == 200
    assert bench.origin.asked[1].request.method == b"GET"
    bench.origin.answer(1, b"Cache-Control: max-age=60", b'ETag: "2"', body=b"new")
    reply = bench.ask()
    assert (reply.body, b"hit" in reply.cache) == (b"new", True)


@pytest.mark.parametrize(
    ("line", "status", "answer"),
    [
        (b"Authorization: Basic eDp5", 401, b"X-A: b"),
        (b"Authorization: Basic eDp5", 200, b"Cache-Control: max-age=60"),
        (b"X-Large: 1", 431, b"X-A: b"),
        (b"X-Often: 1", 429, b"X-A: b"),
    ],
)
def test_an_answer_to_one_client_takes_nothing_from_others(line, status, answer):
    bench = Bench()
    variant = bench.stale()
    asking = bench.ask(line, b"Cache-Control: no-cache")
    bench.origin.answer(1, answer, status=status, body=b"own")
    assert (asking.status, asking.body) == (status, b"own")
    assert bench.store.peek(URL).variants == (variant,)
    assert bench.store.peek(URL).uncacheable_until == 0.0


def passing(bench, client_of):
    """Let content come in whose length is known until there is no more room for it; return the clients."""
    clients = client_of()
    bench.origin.answer(0, b"Cache-Control: max-age=60", body=bytes(100_000), length=400_000)
    bench.values[CACHE_HELD] += bench.cache.max_held  # others are being stored
    return clients


def test_whoever_has_all_of_its_range_holds_nobody_up():
    bench = Bench(budget=1 << 23)

    def clients():
        whole = bench.ask()
        some = bench.ask(b"Range: bytes=0-999", slow=True)
        return whole, some

    whole, some = passing(bench, clients)
    sent = 100_000
    while bench.origin.send(0, bytes(20_000)):
        sent += 20_000
        assert sent < 400_000, "the slow one should have stopped it"
    sent += 20_000
    assert len(whole.body) == sent
    bench.drained(some)
    assert some.over
    assert len(some.body) == 1_000
    assert bench.origin.drained == 1
    bench.origin.send(0, bytes(400_000 - sent))
    bench.origin.end(0)
    assert (len(whole.body), whole.over) == (400_000, True)


def test_ranges_out_of_order_break_off_where_content_is_not_kept():
    bench = Bench(budget=1 << 23)

    def clients():
        return (
            bench.ask(),
            bench.ask(b"Range: bytes=300000-300999,0-999"),
            bench.ask(b"Range: bytes=0-9,999-1999"),
        )

    whole, back, forth = passing(bench, clients)
    for _ in range(15):
        bench.origin.send(0, bytes(20_000))
    bench.origin.end(0)
    assert (len(whole.body), whole.over, forth.over) == (400_000, True, True)
    assert (back.aborted, back.over) == ("cache-room", False)


def failed(bench, at, status, reason):
    """Let a request end as the reverse proxy ends one that the origin has no answer to."""
    answer_error(bench.origin.asked[at], status, reason)


@pytest.mark.parametrize(
    "reason", ["connect", "connect-timeout", "no-endpoint", "queue-full", "total-timeout", "upstream-timeout"]
)
def test_an_error_about_the_origin_is_everybodys(reason):
    bench = Bench()
    clients = [bench.ask() for _ in range(4)]
    failed(bench, 0, 504, reason)
    assert [client.status for client in clients] == [504] * 4
    assert len(bench.origin.asked) == 1
    assert bench.cache.flights == {}


@pytest.mark.parametrize(
    "reason", ["upstream-closed", "upstream-bad-status-line", "app-error", "app-no-answer"]
)
def test_an_error_that_the_first_client_may_have_caused_is_everybodys_the_second_time(reason):
    bench = Bench()
    clients = [bench.ask() for _ in range(4)]
    failed(bench, 0, 502, reason)
    assert [client.status for client in clients] == [502, 0, 0, 0]
    assert len(bench.origin.asked) == 2
    failed(bench, 1, 502, reason)
    assert [client.status for client in clients] == [502] * 4
    assert len(bench.origin.asked) == 2
    assert bench.cache.flights == {}


def test_who_waits_behind_an_error_of_the_first_client_reads_what_the_second_gets():
    bench = Bench()
    clients = [bench.ask() for _ in range(4)]
    failed(bench, 0, 502, "upstream-closed")
    bench.origin.answer(1, b"Cache-Control: max-age=60", body=b"new")
    assert [client.status for client in clients] == [502, 200, 200, 200]
    assert [client.body for client in clients[1:]] == [b"new"] * 3
    assert (len(bench.origin.asked), bench.store.variants, bench.values[CACHE_HELD]) == (2, 1, 0)


def test_more_fields_than_the_origin_takes_are_one_clients_own_however_often():
    bench = Bench()
    clients = [bench.ask() for _ in range(4)]
    for at in range(2):
        failed(bench, at, 431, "upstream-peer-field-limit")
    assert [client.status for client in clients] == [431, 431, 0, 0]
    assert len(bench.origin.asked) == 4, "each asks for itself"
    for at in (2, 3):
        bench.origin.answer(at, b"Cache-Control: max-age=60", body=b"new")
    assert [client.status for client in clients] == [431, 431, 200, 200]


def test_more_fields_than_the_origin_takes_are_no_silence_of_it():
    """What is stale stands in for nothing: the others have it confirmed."""
    bench = Bench()
    bench.stale()
    clients = [bench.ask() for _ in range(3)]
    failed(bench, 1, 431, "upstream-peer-field-limit")
    assert [client.status for client in clients] == [431, 0, 0]
    asked = bench.origin.asked[2].request.fields
    assert asked.get(b"if-none-match") == b'"1"'
    bench.origin.answer(2, b'ETag: "1"', status=304)
    assert [client.body for client in clients[1:]] == [b"old"] * 2
    assert len(bench.origin.asked) == 3


def test_whoever_comes_when_answers_are_stored_again_reads_along():
    """A file that was missing, and is there now: the first who gets it fetches it for all, though nobody waits."""
    bench = Bench()
    bench.ask()
    bench.origin.answer(-1, b"Cache-Control: no-store", status=404)
    clients = [bench.ask() for _ in range(2)]
    assert len(bench.origin.asked) == 3, "nobody waits for anybody"
    bench.origin.answer(1, b"Cache-Control: max-age=60", length=6)
    bench.origin.send(1, b"abc")
    clients += [bench.ask() for _ in range(3)]
    assert len(bench.origin.asked) == 3
    bench.origin.send(1, b"def")
    bench.origin.end(1)
    assert [client.body for client in clients] == [b"abcdef", b"", b"abcdef", b"abcdef", b"abcdef"]
    bench.origin.answer(2, b"Cache-Control: max-age=60", body=b"uvwxyz")
    assert clients[1].body == b"uvwxyz"
    assert bench.ask().body == b"uvwxyz"
    assert (bench.cache.flights, bench.values[CACHE_HELD], len(bench.origin.asked)) == ({}, 0, 3)
