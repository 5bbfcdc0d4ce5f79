"""A miss that is one client's alone goes to the origin as without a cache; all else is a flight's."""

import gc
import re

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.cache.claims import NOBODY, Claims
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.cache.purges import EVERYTHING
from headgate.connection.exchange import HeadHandler
from headgate.counters import CACHE_FETCHED, CACHE_FILLS, CACHE_HELD, CACHE_PASSED, CACHE_SERVED
from headgate.errors import TransportError
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.flight import Flight
from headgate.proxy.lead import Lead
from headgate.proxy.peers import Peers

GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
LIVES = b"Cache-Control: max-age=60\r\n"
NO_STORE = b"Cache-Control: no-store\r\n"


def answer(body=b"content", said=LIVES, length=None):
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (said, size, body)


class Routes(HeadHandler):
    """What the dispatcher does of a request, as far as the cache looks at it."""

    def __init__(self, cached):
        super().__init__()
        self.cached = cached

    def handle(self, exchange):
        exchange.host = exchange.request.host
        exchange.path = exchange.request.target
        exchange.handler = self.cached
        self.cached.handle(exchange)


class CachedPath(DataPath):
    """One origin behind a cache; all counters are settled in the end."""

    def __init__(self, policy=None, **settings):
        super().__init__(**settings)
        self.store = MemoryStore(1 << 20)
        self.cache = Cache(self.store, self.values, shows=True)
        self.cached = CacheHandler(self.cache, policy or Policy("r"), self.proxy, self.poller)
        self.proxy = Routes(self.cached)

    def ask(self, data=GET):
        client = self.client()
        self.send(client, data)
        return client

    def said(self, client):
        """Return what a client got: status line, Cache-Status, content."""
        head, _, body = client.transport.outgoing.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = [line[14:] for line in lines if line.lower().startswith(b"cache-status: ")]
        return lines[0], b" | ".join(status), body

    def answer(self, data, index=-1):
        self.send(self.origin(index), data)


@pytest.fixture
def path():
    made = CachedPath()
    yield made
    made.close()
    assert made.cache.flights == {}
    assert made.values[CACHE_HELD] == 0
    assert made.active == [0]
    assert not made.seen.crashes


def lead_of(path):
    (found,) = path.cache.flights.values()
    return found


def test_an_answer_that_comes_at_once_is_stored_on_its_way(path):
    client = path.ask()
    assert isinstance(lead_of(path), Lead)
    path.answer(answer())
    line, status, body = path.said(client)
    assert (line, body) == (b"HTTP/1.1 200 OK", b"content")
    assert re.fullmatch(
        rb"headgate; fwd=uri-miss; fwd-status=200; ttl=(59|60); stored; detail=not-stored", status
    )
    assert [path.values[one] for one in (CACHE_FILLS, CACHE_FETCHED, CACHE_SERVED)] == [1, 7, 7]
    assert path.said(path.ask())[1].startswith(b"headgate; hit")
    assert len(path.dials.dialled) == 1
    assert path.seen.exchanges[0].cache == "MISS"


def test_nothing_is_left_to_the_collector(path):
    gc.collect()
    gc.disable()
    try:
        for said in (LIVES, NO_STORE):
            client = path.ask(GET.replace(b"/x", b"/" + said[15:18]))
            path.answer(answer(said=said))
            client.close()
        path.clients.clear()
        path.seen.exchanges.clear()
        del client
        names = ("Lead", "Flight", "Exchange", "Reader")
        assert sum(type(one).__name__ in names for one in gc.get_objects()) == 0
    finally:
        gc.enable()


def test_an_answer_that_is_not_stored_goes_through_and_is_remembered(path):
    client = path.ask()
    path.answer(answer(said=NO_STORE))
    assert path.said(client)[1:] == (b"headgate; fwd=uri-miss; fwd-status=200; detail=not-stored", b"content")
    assert path.values[CACHE_PASSED] == 7
    assert path.seen.exchanges[0].cache_stored == "no-store"
    second = path.ask()
    assert path.cache.flights == {}  # nobody waits for that one
    path.answer(answer(said=NO_STORE))
    assert b"detail=known-uncacheable" in path.said(second)[1]


def test_where_answers_are_stored_again_who_comes_later_reads_along(path):
    path.ask()
    path.answer(answer(said=NO_STORE))
    clients = [path.ask()]
    assert path.cache.flights == {}
    path.answer(answer(b"con", length=7))
    clients.append(path.ask())
    path.answer(b"tent")
    assert [path.said(client)[2] for client in clients] == [b"content"] * 2
    assert len(path.dials.dialled) == 1


def test_content_that_comes_later_goes_to_its_client_as_it_comes(path):
    client = path.ask()
    path.answer(answer(b"", length=7))
    assert path.said(client)[0] == b"HTTP/1.1 200 OK"
    path.answer(b"con")
    assert path.said(client)[2] == b"con"
    assert isinstance(lead_of(path), Lead)
    path.answer(b"tent")
    assert path.said(client)[2] == b"content"
    assert [path.values[one] for one in (CACHE_FILLS, CACHE_FETCHED, CACHE_SERVED)] == [1, 7, 7]
    hit = path.said(path.ask())
    assert hit[1].startswith(b"headgate; hit")
    assert hit[2] == b"content"
    assert path.seen.exchanges[0].cache == "MISS"


def test_what_is_held_until_more_comes_is_counted(path):
    path.ask()
    path.answer(answer(b"con", length=9))
    path.answer(b"ten")
    assert path.values[CACHE_HELD] == 6
    path.answer(b"ts!")
    assert path.values[CACHE_HELD] == 0
    assert path.store.variants == 1


def test_what_would_be_more_than_may_be_held_is_not_kept(path):
    path.cache.max_held = 6
    client = path.ask()
    path.answer(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n6\r\nconten\r\n" % LIVES)
    assert isinstance(lead_of(path), Lead)
    path.answer(b"1\r\nt\r\n")
    path.answer(b"0\r\n\r\n")
    assert client.transport.outgoing.endswith(b"conten\r\n1\r\nt\r\n0\r\n\r\n")
    assert path.seen.exchanges[0].cache_stored == "no-room"
    assert path.store.variants == 0


def test_who_comes_while_content_does_reads_along(path):
    first = path.ask()
    path.answer(answer(b"con", length=7))
    second = path.ask()
    assert path.said(second)[2] == b"con"
    path.answer(b"tent")
    for client in (first, second):
        assert path.said(client)[2] == b"content"
    assert path.store.variants == 1
    assert [one.cache for one in path.seen.exchanges] == ["MISS", "COLLAPSED"]


def test_a_client_that_takes_nothing_holds_up_nobody_who_comes_later(path):
    first = path.client()
    first.transport.take = 0
    path.send(first, GET)
    path.answer(answer(b"con", length=7))
    second = path.ask()
    path.answer(b"tent")
    assert path.said(second)[2] == b"content"
    first.transport.take = 1 << 30
    first.on_writable()
    assert path.said(first)[2] == b"content"


def test_a_client_whose_connection_breaks_as_it_is_written_to_leaves_the_rest_to_be_stored(path):
    client = path.ask()
    path.answer(answer(b"con", length=7))
    client.transport.broken = TransportError("reset", 104, "")
    path.answer(b"te")
    path.answer(b"nt")
    assert path.store.variants == 1
    assert path.said(path.ask())[2] == b"content"


@pytest.mark.parametrize("turns", [(b"content",), (b"con", b"tent")])
def test_an_answer_that_a_purge_has_refused_leaves_no_word_that_none_is_stored(path, turns):
    path.ask()
    path.answer(answer(said=NO_STORE))
    path.ask()
    path.store.purge(EVERYTHING, b"")
    path.answer(answer(turns[0], length=7))
    for piece in turns[1:]:
        path.answer(piece)
    assert path.store.variants == 0
    clients = [path.ask() for _ in range(2)]
    assert len(path.dials.dialled) == 1
    path.answer(answer())
    assert [path.said(client)[2] for client in clients] == [b"content"] * 2


def test_others_wait_and_read_along(path):
    clients = [path.ask() for _ in range(3)]
    assert len(path.dials.dialled) == 1
    path.answer(answer())
    assert [path.said(client)[2] for client in clients] == [b"content"] * 3
    assert sorted(one.cache for one in path.seen.exchanges) == ["COLLAPSED", "COLLAPSED", "MISS"]


def test_an_answer_without_content_ends_for_all_who_wait_and_leaves_its_connection(path):
    clients = [path.ask() for _ in range(2)]
    path.answer(answer(b""))
    assert [path.said(client)[0] for client in clients] == [b"HTTP/1.1 200 OK"] * 2
    assert len(path.seen.exchanges) == 2
    path.ask(GET.replace(b"/x", b"/y"))
    assert len(path.dials.dialled) == 1
    path.answer(answer(b""))


def test_others_ask_for_themselves_when_it_is_not_stored(path):
    clients = [path.ask() for _ in range(3)]
    path.answer(answer(said=NO_STORE))
    assert path.said(clients[0])[2] == b"content"
    assert len(path.dials.dialled) == 3
    for index in (1, 2):
        path.answer(answer(b"another", NO_STORE), index)
    assert [path.said(client)[2] for client in clients] == [b"content", b"another", b"another"]


@pytest.mark.parametrize("dials", [False, True])
@pytest.mark.parametrize("way", ["closes", "resets"])
def test_its_client_may_leave_while_others_wait(path, dials, way):
    path.dials.hold = dials
    first, second = path.ask(), path.ask()
    if way == "resets":
        first.transport.broken = TransportError("reset", 104, "")
        first.on_readable()
    else:
        first.close()
    path.dials.release()
    assert [path.sent(index).count(b"GET") for index in range(len(path.dials.transports))].count(1) == 1
    path.answer(answer())
    assert path.said(second)[2] == b"content"
    assert path.store.variants == 1
    assert [one.status for one in path.seen.exchanges] == [0, 200]


def test_a_request_that_its_only_client_has_left_is_given_up(path):
    path.ask().close()
    assert path.dials.transports[0].closed
    assert path.seen.exchanges[0].cache == ""


def test_its_client_may_leave_once_the_head_is_there(path):
    first = path.ask()
    path.answer(answer(b"con", length=7))
    first.close()
    path.answer(b"tent")
    assert path.store.variants == 1


def test_who_waits_may_leave(path):
    first, second = path.ask(), path.ask()
    second.close()
    path.answer(answer())
    assert path.said(first)[2] == b"content"


@pytest.mark.parametrize("said", [LIVES, NO_STORE])
def test_an_answer_that_breaks_off_is_cut_short(path, said):
    client = path.ask()
    path.answer(answer(b"con", said, length=7))
    path.answer(b"")
    assert path.said(client)[2] == b"con"
    assert "4 octets before" in path.seen.exchanges[0].detail
    assert client.closed
    assert path.store.variants == 0


def test_an_answer_that_breaks_off_with_its_head_is_cut_short(path):
    client = path.ask()
    path.answer(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\ncon\r\nno size\r\n" % LIVES)
    assert path.said(client)[0] == b"HTTP/1.1 200 OK"
    assert client.closed
    assert path.store.variants == 0


@pytest.mark.parametrize("count", [1, 16, 17, 500])
def test_content_in_many_pieces_is_stored_as_it_came(path, count):
    client = path.ask()
    chunks = b"".join(b"2\r\n%02d\r\n" % (number % 100) for number in range(count))
    path.answer(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (LIVES, chunks))
    whole = b"".join(b"%02d" % (number % 100) for number in range(count))
    assert client.transport.outgoing.endswith(b"\r\n0\r\n\r\n")
    hit = path.said(path.ask())
    assert hit[1].startswith(b"headgate; hit")
    assert hit[2] == whole


def test_content_beyond_the_largest_object_goes_through():
    policy = Policy("r")
    policy.max_object = 10
    path = CachedPath(policy)
    client = path.ask()
    chunk = b"6\r\nabcdef\r\n"
    path.answer(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (LIVES, chunk * 2))
    assert path.said(client)[2].count(b"abcdef") == 2
    assert path.seen.exchanges[0].cache_stored == "too-large"
    assert path.store.variants == 0
    assert path.cache.flights == {}
    path.close()


def test_an_origin_that_cannot_be_reached_is_said_to_all(path):
    path.dials.hold = True
    clients = [path.ask() for _ in range(2)]
    path.dials.refuse.add("http://10.0.0.0")
    path.dials.release()
    path.dials.hold = False
    clients.append(path.ask())
    assert [path.said(client)[:2] for client in clients] == [(b"HTTP/1.1 502 Bad Gateway", b"")] * 3
    assert path.values[CACHE_PASSED] == 0
    assert {one.reason for one in path.seen.exchanges} == {"connect"}


def test_a_slow_client_sets_the_pace_of_what_is_not_stored(path):
    client = path.client()
    client.transport.take = 1000
    path.send(client, GET)
    path.answer(answer(bytes(2000), NO_STORE, length=4000))
    assert not path.origin().reading
    client.transport.take = 1 << 30
    client.on_writable()
    assert path.origin().reading
    path.answer(bytes(2000))
    assert len(path.said(client)[2]) == 4000


def test_a_slow_client_gets_the_rest_of_what_is_stored(path):
    client = path.client()
    client.transport.take = 1000
    path.send(client, GET)
    path.answer(answer(bytes(5000)))
    assert path.store.variants == 1
    client.transport.take = 1 << 30
    client.on_writable()
    assert len(path.said(client)[2]) == 5000


def test_what_is_said_of_http3_to_one_client_is_not_stored(path):
    client = path.client()
    client.context.alt_svc = b'h3=":443"'
    path.send(client, GET)
    path.answer(answer())
    assert client.transport.outgoing.count(b"Alt-Svc") == 1
    hit = path.ask()
    assert b"; hit" in path.said(hit)[1]
    assert b"Alt-Svc" not in hit.transport.outgoing


def test_interim_answers_go_through(path):
    client = path.ask()
    path.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert client.transport.outgoing.startswith(b"HTTP/1.1 103")
    path.answer(answer())
    assert client.transport.outgoing.count(b"content") == 1
    assert path.store.variants == 1


def test_who_still_waits_when_the_first_has_left_has_a_deadline():
    path = CachedPath(upstream={"total_timeout": 10.0})
    first, second = path.ask(), path.ask()
    first.close()
    path.pass_time(10.5)
    assert path.said(second)[0] == b"HTTP/1.1 504 Gateway Timeout"
    assert path.cache.flights == {}
    path.close()


def test_the_total_timeout_ends_with_the_head_also_where_others_have_waited():
    path = CachedPath(upstream={"total_timeout": 10.0})
    clients = [path.ask(), path.ask()]
    path.answer(answer(b"con", length=7))
    assert len(path.upstream.deadlines) == 0
    path.pass_time(10.5)
    path.answer(b"tent")
    assert [path.said(client)[2] for client in clients] == [b"content"] * 2
    path.close()


def test_a_client_that_takes_no_interim_answer_holds_up_nobody_who_waits():
    path = CachedPath()
    first = path.client()
    first.transport.take = 0
    path.send(first, GET)
    second = path.ask()
    path.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    path.answer(answer())
    assert path.said(second)[2] == b"content"
    first.transport.take = 1 << 30
    first.on_writable()
    assert first.transport.outgoing.startswith(b"HTTP/1.1 103")
    assert first.transport.outgoing.endswith(b"content")
    path.close()


class SharedPath(CachedPath):
    """The same in one of two workers; the other one is idle."""

    def __init__(self):
        super().__init__()
        self.claims = Claims()
        self.claims.belong(0)
        self.peers = Peers(self.claims, [None, None], self.poller, None, self.values, None)
        self.peers.idle[0] = 60.0
        self.cache.peers = self.peers
        self.cached.number = 0

    def close(self):
        super().close()
        assert self.peers.claimed.flights == {}
        self.peers.close()


@pytest.fixture
def shared():
    made = SharedPath()
    yield made
    made.close()
    assert made.cache.flights == {}
    assert made.values[CACHE_HELD] == 0


KEY = b"http://a.example/x"


@pytest.mark.parametrize(("said", "holder"), [(LIVES, 0), (NO_STORE, NOBODY)])
def test_its_key_is_claimed_until_the_answer_is_there(shared, said, holder):
    client = shared.ask()
    assert isinstance(shared.peers.claimed.flights[KEY], Lead)
    assert shared.peers.claimed.home(KEY) == 0
    shared.answer(answer(said=said))
    assert shared.said(client)[2] == b"content"
    assert shared.peers.claimed.flights == {}
    assert shared.claims.holder(KEY) == holder


def test_a_claim_goes_on_with_the_flight_that_it_becomes(shared):
    clients = [shared.ask()]
    shared.answer(answer(b"con", length=7))
    assert isinstance(shared.peers.claimed.flights[KEY], Lead)
    clients.append(shared.ask())
    assert isinstance(shared.peers.claimed.flights[KEY], Flight)
    assert shared.cache.flights[KEY] is shared.peers.claimed.flights[KEY]
    shared.answer(b"tent")
    assert [shared.said(client)[2] for client in clients] == [b"content"] * 2
    assert shared.claims.holder(KEY) == 0
