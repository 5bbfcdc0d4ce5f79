"""The asking side of workers that ask one another: what it holds at most, and what it forgets."""

import errno
import gc
import os

import pytest
from tests.unit.proxy.data_path import Dials

from headgate.cache.claims import NOBODY, Claims
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.home import FULL
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import CACHE_ALONE_FIRST, CACHE_CLAIMS_FAILED, SIZE
from headgate.engine.events import Request
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.proxy.cached import CacheHandler
from headgate.proxy.caching import Cache
from headgate.proxy.claimed import MAX_CLAIMS, TOLD_EVERY
from headgate.proxy.lead import Lead
from headgate.proxy.on_behalf import Nobody
from headgate.proxy.peer_gate import MAX_CONNECTIONS
from headgate.proxy.peers import MAX_ASKED, Peer, Peers
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.pool import IdleTotal, Pool, PoolSettings

FORWARDER = Forwarder(Networks(()))


class Never:
    """Opens nothing: who asks waits."""

    def begin(self, name, work):
        work.close()


class Silent(Handler):
    """An origin that is asked and does not answer."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def handle(self, exchange):
        self.asked.append(exchange.request)

    def downstream_closed(self, exchange):
        pass


class Worker:
    """Worker 0 of two, whose other one never answers."""

    def __init__(self):
        self.values = [0] * SIZE
        self.told = []
        poller = Poller()
        endpoint = Endpoint(
            "unix:/nowhere",
            "http",
            "unix:/nowhere",
            0,
            poller=poller,
            connector=Never(),
            values=[0] * SIZE,
            defect=lambda where, error: None,
        )
        self.claims = Claims()
        self.claims.belong(0)
        self.peers = Peers(self.claims, [None, Peer(1, endpoint)], poller, None, self.values, self.tell)
        self.cache = Cache(MemoryStore(1 << 20), self.values, shows=True)
        self.cache.peers = self.peers
        self.origin = Silent()
        self.handler = CacheHandler(self.cache, Policy("r"), self.origin, poller)
        self.handler.number = 0
        self.peers.idle[0] = 60.0

    def tell(self, name, level="info", *, limit_key="", **fields):
        self.told.append((name, level, fields))

    def close(self):
        self.peers.close()
        self.peers.poller.close()

    def ask_other(self, path, *lines):
        """Ask for what the other worker has."""
        self.claims.slot = 1
        self.claims.hold(b"http://a.example" + path)
        self.claims.slot = 0
        return self.ask(path, *lines)

    def ask(self, path, *lines):
        peer = FORWARDER.connection(b"192.0.2.1", b"http", 80)
        context = ConnectionContext("test", "192.0.2.1", 4000, b"http", peer)
        names = [line.partition(b":")[0].lower() for line in lines]
        request = Request(b"GET", path, 11, Fields([b"host", *names], [b"Host: a.example", *lines]), 0)
        request.host = b"a.example"
        exchange = Exchange(Nobody(), context, request, 1.0)
        exchange.host = b"a.example"
        exchange.handler = self.handler
        self.handler.handle(exchange)
        return exchange


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


def test_only_what_another_worker_has_is_asked_of_it(worker):
    worker.ask(b"/0")
    assert (len(worker.origin.asked), worker.peers.asked) == (1, 0)
    worker.ask_other(b"/1")
    assert (len(worker.origin.asked), worker.peers.asked) == (1, 1)
    # What its client says of caching is that client's affair.
    worker.ask_other(b"/200", b"Cache-Control: max-stale=5")
    assert (len(worker.origin.asked), worker.peers.asked) == (2, 1)


def test_one_question_more_than_may_be_under_way_goes_to_the_origin(worker):
    worker.peers.homes[1].asked = MAX_ASKED - 1
    worker.ask_other(b"/1")
    assert (len(worker.origin.asked), worker.values[CACHE_ALONE_FIRST + FULL]) == (0, 0)
    worker.ask_other(b"/200")
    assert (len(worker.origin.asked), worker.values[CACHE_ALONE_FIRST + FULL]) == (1, 1)
    # Nothing that is for the other worker gets to the origin.
    assert b"headgate-peer" not in worker.origin.asked[0].fields.names
    # Nothing is wrong with that one: it is asked again as soon as there is room.
    worker.peers.homes[1].asked -= 1
    worker.ask_other(b"/400")
    assert (len(worker.origin.asked), worker.values[CACHE_ALONE_FIRST + FULL]) == (1, 1)


def test_all_that_others_may_ask_a_worker_at_once_it_takes(worker):
    peer = worker.peers.homes[1]
    for workers in (2, 3, 4, 7, 64):
        peers = Peers(
            worker.claims, [None, *[peer] * (workers - 1)], worker.peers.poller, None, [0] * SIZE, worker.tell
        )
        assert 0 < (workers - 1) * peers.share <= MAX_CONNECTIONS
        assert (workers - 1) * peers.share <= MAX_ASKED


def test_a_client_that_leaves_takes_its_question_with_it(worker):
    exchange = worker.ask_other(b"/1")
    worker.handler.downstream_closed(exchange)
    assert (worker.peers.asked, len(worker.cache.flights)) == (0, 0)
    del exchange
    gc.collect()
    gc.disable()
    try:
        worker.handler.downstream_closed(worker.ask_other(b"/1"))
        assert sum(type(one).__name__ in ("Flight", "Ask", "Exchange") for one in gc.get_objects()) == 0
    finally:
        gc.enable()


def test_a_home_that_cannot_be_reached_is_left_alone_for_a_moment(worker):
    exchange = worker.ask_other(b"/1")
    flight = next(iter(worker.cache.flights.values()))
    flight.exchange.attempt.connect_failed(flight.exchange, "connect", "refused")
    assert (len(worker.origin.asked), worker.peers.asked) == (1, 0)
    assert exchange.attempt is flight, "who waits goes on waiting"
    worker.ask_other(b"/200")
    assert (len(worker.origin.asked), worker.peers.asked) == (2, 0)


def test_one_claim_more_than_there_may_be_is_fetched_unclaimed(worker):
    worker.ask(b"/0")
    (flight,) = worker.peers.claimed.flights.values()
    for number in range(MAX_CLAIMS - 2):
        worker.peers.claimed.flights[b"%d" % number] = flight
    worker.ask(b"/1")
    assert b"http://a.example/1" in worker.peers.claimed.flights
    worker.ask(b"/2")
    assert b"http://a.example/2" not in worker.peers.claimed.flights
    assert (len(worker.origin.asked), worker.values[CACHE_ALONE_FIRST + FULL]) == (3, 1)


def test_a_claim_is_given_back_when_nobody_may_wait_any_more(worker):
    exchange = worker.ask(b"/0")
    assert worker.peers.claimed.home(b"http://a.example/0") == 0
    worker.handler.downstream_closed(exchange)
    assert (worker.peers.claimed.flights, worker.peers.claimed.home(b"http://a.example/0")) == ({}, NOBODY)


def test_a_miss_that_nobody_else_has_is_its_clients_own_and_claimed(worker):
    worker.origin.hands_over = True
    exchange = worker.ask(b"/0")
    (lead,) = worker.peers.claimed.flights.values()
    assert isinstance(lead, Lead)
    assert worker.peers.claimed.home(b"http://a.example/0") == 0
    lead.downstream_closed(exchange)
    assert (worker.peers.claimed.flights, worker.peers.claimed.home(b"http://a.example/0")) == ({}, NOBODY)
    worker.ask_other(b"/1")
    assert (len(worker.origin.asked), worker.peers.asked) == (1, 1)
    # What its client says of caching is that client's affair: unclaimed.
    worker.ask(b"/2", b"Cache-Control: max-stale=5")
    assert (len(worker.origin.asked), worker.peers.claimed.flights) == (2, {})


def test_what_memory_lets_go_of_is_asked_of_nobody(worker):
    worker.cache.store.claims = worker.claims
    for number in range(3000):
        key = b"http://a.example/%d" % number
        worker.claims.hold(key)
        stored = StoredResponse(key, 200, b"OK", Fields([], []), MemoryBody([bytes(1000)]))
        stored.length = 1000
        stored.is_complete = True
        worker.cache.store.put(stored)
    kept = sum(worker.claims.holder(b"http://a.example/%d" % number) == 0 for number in range(3000))
    assert worker.cache.store.evictions > 1000
    assert kept == 3000 - worker.cache.store.evictions


def test_a_connection_that_comes_too_late_is_not_taken_for_the_next_homes(worker):
    poller = worker.peers.poller
    dials = Dials()
    dials.hold = True
    homes = [None]
    for slot in (1, 2):
        endpoint = Endpoint(
            f"unix:/{slot}",
            "http",
            f"unix:/{slot}",
            0,
            poller=poller,
            connector=dials,
            values=[0] * SIZE,
            defect=lambda where, error: None,
            pool=Pool(PoolSettings(), poller, [0] * SIZE, IdleTotal()),
        )
        homes.append(Peer(slot, endpoint))
    worker.peers.homes = homes
    worker.ask_other(b"/1")
    worker.claims.slot = 2
    worker.claims.hold(b"http://a.example/1")
    worker.claims.slot = 0
    (flight,) = worker.cache.flights.values()
    flight.exchange.attempt.late()
    dials.release()
    assert dials.dialled == ["unix:/1", "unix:/2"]
    assert [b"GET /1 " in transport.outgoing for transport in dials.transports] == [False, True]


def test_locks_that_the_kernel_refuses_are_counted_and_told_now_and_then(worker):
    for descriptor in worker.claims._files:
        nothing = os.open("/", os.O_PATH)
        os.dup2(nothing, descriptor)
        os.close(nothing)
    worker.peers.poller.now = 1000.0
    worker.ask(b"/0")
    worker.ask(b"/1")
    assert len(worker.origin.asked) == 2, "both are fetched"
    assert worker.peers.claimed.flights == {}
    assert worker.values[CACHE_CLAIMS_FAILED] == 4, "each lock, and the question whose it is"
    ((name, level, fields),) = worker.told
    assert (name, level, fields["errno"], fields["count"]) == (
        "cache-claims-failed",
        "warning",
        errno.EBADF,
        2,
    )
    assert fields["next"].startswith("such keys are fetched unclaimed")
    worker.peers.poller.now = 1000.0 + TOLD_EVERY
    worker.ask(b"/2")
    assert [fields["count"] for _, _, fields in worker.told] == [2, 4]
