"""Whether HTTP/2 is spoken, who gets which connection, and whose may be shared; all in memory."""

from collections import deque

import pytest
from tests.unit.proxy.h2_path import H2Path
from tests.unit.proxy.h3_path import MemoryConnector, fields

from headgate.counters import (
    POOL_WARMED,
    RETRIED_FIRST,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_H2_COALESCED,
    UPSTREAM_H2_CONNECTIONS,
    UPSTREAM_H2_MISDIRECTED,
    UPSTREAM_H2_PLAIN,
    UPSTREAM_H3_BROKEN,
    UPSTREAM_RACE_TCP,
)
from headgate.engine.h2.errors import HTTP_1_1_REQUIRED
from headgate.engine.h2.settings import H2Settings
from headgate.errors import TransportError
from headgate.upstream.endpoint import RACE_DELAY
from headgate.upstream.h2_pool import H1_SECONDS, Place, Trust
from headgate.upstream.h3_pool import H3Pool
from headgate.upstream.lane_pool import MAX_SHARED_CONNECTIONS
from headgate.upstream.pool import PoolSettings
from headgate.upstream.retries import UNTOUCHED

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def make():
    made = []

    def build(**options):
        path = H2Path(**options)
        made.append(path)
        return path

    yield build
    for path in made:
        path.close()
        path.run()
        assert path.seen.crashes == []
        assert path.endpoint.dialling == 0


def answer(path, client, origin, status=204):
    origin.respond(status)
    path.run()
    assert b"HTTP/1.1 %d" % status in client.transport.outgoing


# -- who picks what


def test_an_origin_that_picks_h2(make):
    path = make(is_only=False)
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert path.values[UPSTREAM_H2_CONNECTIONS] == path.values[UPSTREAM_CONNECTIONS] == 1
    assert path.old_dials == []


@pytest.mark.parametrize("picked", [b"http/1.1", b""])
def test_an_origin_that_picks_http1_is_remembered_and_nobody_queues(make, picked):
    path = make(is_only=False)
    path.picks = picked or b"http/1.1"
    path.dials.hold = True
    clients = [path.client() for _ in range(3)]
    for client in clients:
        path.send(client, GET)
    assert len(path.dials.held) == 1, "one dial for all, while nobody knows"
    path.dials.release()
    path.dials.release()
    assert len(path.dials.transports) == 3, "then one for each"
    for index, client in enumerate(clients):
        path.send(path.origin(index), NO_CONTENT)
        assert b"204 No Content" in client.transport.outgoing
    assert path.pool.is_plain
    assert path.values[UPSTREAM_H2_PLAIN] == 1
    path.dials.hold = False
    later = [path.client() for _ in range(4)]
    for client in later:
        path.send(client, GET)
    assert len(path.dials.transports) == 4, "three lay idle"


def test_an_origin_that_changes_its_mind_is_spoken_to_in_h2(make):
    path = make(is_only=False)
    path.picks = b"http/1.1"
    client = path.client()
    path.send(client, GET)
    path.send(path.origin(), b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    path.picks = b"h2"
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert not path.pool.is_plain


@pytest.mark.parametrize(("picked", "word"), [(b"http/1.1", "http/1.1")])
def test_with_h2_alone_another_answer_is_an_error_in_words(make, picked, word):
    path = make()
    path.picks = picked
    client, _ = path.ask(GET)
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert f"of h2 alone the origin picked {word}" in path.seen.exchanges[-1].detail
    assert path.dials.transports[0].closed


def test_prior_knowledge_in_the_clear(make):
    path = make(picks=b"")
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert origin.requests[0].target == b"/"


def test_prior_knowledge_that_was_wrong_is_told_in_words(make):
    path = make(picks=b"")
    path.dials.hold = True
    client = path.client()
    path.send(client, GET)
    path.dials.release()
    path.dials.transports[0].is_met = True
    driver = path.pool._opening[0]
    path.send(driver, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "the origin does not speak HTTP/2 here" in path.seen.exchanges[-1].detail


def test_an_origin_without_settings_is_a_timeout(make):
    path = make(picks=b"")
    client = path.client()
    path.send(client, GET)
    path.dials.transports[0].is_met = True
    path.pass_time(6.0)
    assert b"504 Gateway Timeout" in client.transport.outgoing
    assert path.dials.transports[0].closed


def test_an_origin_that_closes_at_once_is_told_in_words(make):
    path = make(picks=b"")
    client = path.client()
    path.send(client, GET)
    path.dials.transports[0].is_met = True
    path.send(path.pool._opening[0], b"")
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "it may not speak HTTP/2" in path.seen.exchanges[-1].detail


def test_a_dial_that_fails_is_told_to_all_who_wait(make):
    path = make()
    path.dials.error = TransportError("econnrefused", 111, "nobody listens")
    path.dials.hold = True
    clients = [path.client() for _ in range(3)]
    for client in clients:
        path.send(client, GET)
    path.dials.release()
    assert len(path.dials.dialled) == 1
    assert all(b"502 Bad Gateway" in client.transport.outgoing for client in clients)


def test_who_waits_and_leaves_takes_no_lane(make):
    path = make()
    path.dials.hold = True
    client = path.client()
    path.send(client, GET)
    client.close()
    path.dials.release()
    path.run()
    assert path.pool.connections[0].reserved == 0
    assert path.origins[0].requests == []


def test_connections_at_the_limit_and_one_more(make):
    path = make(server_settings=H2Settings(max_streams=1))
    clients = [path.ask(GET)[0] for _ in range(MAX_SHARED_CONNECTIONS + 1)]
    assert len(path.origins) == MAX_SHARED_CONNECTIONS
    path.origins[0].respond(204)
    path.run()
    assert len(path.origins[0].requests) == 2, "who waited has the place that is free again"
    path.origins[0].respond(204)
    path.run()
    assert b"204 No Content" in clients[-1].transport.outgoing
    path.ask(GET)
    late, _ = path.ask(GET)
    path.pass_time(5.5)
    assert b"503 Service Unavailable" in late.transport.outgoing, "busy, and not silent"
    assert f"no room on any of {MAX_SHARED_CONNECTIONS} connections" in path.seen.exchanges[-1].detail


def test_an_origin_that_lets_nobody_ask_is_dialled_once(make):
    path = make(server_settings=H2Settings(max_streams=0))
    client, _ = path.ask(GET)
    path.ask(GET)
    assert len(path.origins) == 1
    path.pass_time(5.5)
    assert b"503 Service Unavailable" in client.transport.outgoing


def test_rfc9113_7_an_origin_that_requires_http1_gets_it_for_a_while(make):
    path = make(is_only=False)
    client, origin = path.ask(POST)
    origin.refuse(code=HTTP_1_1_REQUIRED)
    path.run()
    assert path.old_dials == ["https://a.test"]
    assert b"hello" in path.sent()
    path.send(path.origin(), b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    assert b"204 No Content" in client.transport.outgoing
    path.poller.now += H1_SECONDS + 1
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert len(path.old_dials) == 1


def offer_h3(path):
    """Let the endpoint have an Alt-Svc for HTTP/3; return what dials it."""
    connector = MemoryConnector(path)
    pool = H3Pool(
        "https://a.test",
        "a.test",
        443,
        is_only=False,
        connector=connector,
        poller=path.poller,
        values=path.values,
        tell=path.tell,
    )
    path.endpoint.h3 = pool
    pool.learn(fields(alt_svc=b'h3=":443"; ma=3600'))
    return connector


def test_http3_that_fails_is_followed_by_h2(make):
    path = make()
    offer_h3(path).refuse = TransportError("econnrefused", 111, "nobody listens")
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert path.values[UPSTREAM_H3_BROKEN] == 1


def test_h2_is_dialled_beside_a_slow_http3_and_wins(make):
    path = make()
    slow = offer_h3(path)
    slow.hold = True
    client, _ = path.ask(GET)
    assert path.origins == []
    path.poller.now += RACE_DELAY + 0.01
    path.endpoint._timers.ring()
    path.run()
    answer(path, client, path.origins[0])
    assert path.values[UPSTREAM_RACE_TCP] == 1
    assert path.endpoint.h3._waiters == deque()
    slow.refuse = TransportError("timeout", 110, "no answer")
    slow.release()


def test_spare_connections_are_one_of_h2(make):
    path = make(is_only=False, pool=PoolSettings(spare=3))
    path.endpoint.pool.spare = 3
    path.endpoint.tend(path.poller.now)
    path.endpoint.tend(path.poller.now)
    path.run()
    assert len(path.dials.transports) == len(path.pool.connections) == 1
    assert path.values[POOL_WARMED] == 0


def test_an_endpoint_that_goes_lets_its_connections_end_with_their_last_lane(make):
    path = make()
    client, origin = path.ask(GET)
    path.endpoint.close()
    assert not origin.transport.closed
    answer(path, client, origin)
    assert origin.transport.closed


def test_a_dial_that_ends_after_its_endpoint_has_gone_leaves_nothing(make):
    path = make()
    path.dials.hold = True
    client = path.client()
    path.send(client, GET)
    client.close()
    path.endpoint.close()
    path.dials.release()
    path.run()
    assert path.dials.transports[0].closed
    assert path.pool._opening == path.pool.connections == []
    path.dials.hold = False
    path.endpoint.open()
    client, origin = path.ask(GET)
    answer(path, client, origin)
    assert path.pool.connections != []


def test_settings_that_come_after_its_endpoint_has_gone_serve_who_waits_and_no_more(make):
    path = make()
    client = path.client()
    path.send(client, GET)
    path.endpoint.close()
    path.run()
    answer(path, client, path.origins[0])
    assert path.origins[0].transport.closed


# -- whose connection may be used


class Known:
    """A registry of connections, as the test wants it."""

    def __init__(self):
        self.open = []
        self.asked = []

    async def find(self, pool):
        self.asked.append(pool.host)
        return self.open[0] if self.open else None

    def add(self, pool, driver):
        self.open.append(driver)

    def remove(self, driver):
        self.open.remove(driver)


PLACE = Place(443, "a.test", Trust(b"", "", "ignore", "1.2"))


@pytest.fixture
def pair(make):
    """Two endpoints; the second may use the first's connection."""
    known = Known()
    path = make(coalescing=known, place=PLACE)
    path.endpoints.append(path.make("b.test", True, known, PLACE))
    path.upstream.set_endpoints(path.endpoints)
    return path


def test_rfc9113_9_1_1_two_endpoints_share_a_connection(pair):
    first, origin = pair.ask(GET)
    second, _ = pair.ask(POST)
    assert len(pair.origins) == 1
    assert pair.values[UPSTREAM_H2_COALESCED] == 1
    for request in origin.requests:
        origin.respond(204, stream=request.stream)
    pair.run()
    assert b"204" in first.transport.outgoing
    assert b"204" in second.transport.outgoing
    assert [exchange.endpoint for exchange in pair.seen.exchanges] == ["https://a.test", "https://b.test"]
    assert pair.active == [0, 0]


def test_rfc9110_15_5_20_a_421_is_repeated_on_a_connection_of_its_own_and_not_shared_again(pair):
    pair.ask(GET)
    client, origin = pair.ask(POST)
    origin.respond(421, 4, stream=3)
    pair.run()
    assert len(pair.origins) == 2
    own = pair.origins[1]
    assert own.content(1) == b"hello"
    answer(pair, client, own)
    assert pair.values[UPSTREAM_H2_MISDIRECTED] == pair.values[RETRIED_FIRST + UNTOUCHED] == 1
    assert pair.pools[1].is_alone
    origin.respond(204, stream=1)
    pair.run()
    pair.ask(GET)
    pair.ask(GET)
    assert [len(one.requests) for one in pair.origins] == [3, 2]


def test_a_421_on_its_own_connection_is_the_clients(make):
    path = make()
    client, origin = path.ask(GET)
    answer(path, client, origin, 421)
    assert len(path.origins) == 1


def test_a_shared_connection_that_ends_is_forgotten_by_all(pair):
    first, origin = pair.ask(GET)
    second, _ = pair.ask(POST)
    pair.send(pair.driver_of(origin), b"")
    pair.run()
    assert b"502" in second.transport.outgoing
    assert pair.pools[0].connections == []
    assert [driver for driver in pair.pools[1].connections if driver.closed] == []
    assert len(pair.origins) == 2, "a GET is asked again, on a connection that is fresh"
    assert first.transport.outgoing == b""


def test_an_endpoint_that_goes_leaves_a_shared_connection_to_its_owner(pair):
    first, origin = pair.ask(GET)
    second, _ = pair.ask(GET)
    pair.endpoints[1].close()
    assert not origin.transport.closed
    for request in origin.requests:
        origin.respond(204, stream=request.stream)
    pair.run()
    assert b"204" in first.transport.outgoing
    assert b"204" in second.transport.outgoing
    assert not origin.transport.closed
    assert pair.pools[1].connections == []


def test_time_is_the_owners_to_tell(pair):
    _, origin = pair.ask(GET)
    pair.ask(GET)
    for request in origin.requests:
        origin.respond(204, stream=request.stream)
    pair.run()
    assert len(pair.pools[0].lanes()) == 0
    pair.pass_time(61.0)
    assert origin.transport.closed
    assert pair.pools[0].connections == pair.pools[1].connections == []


def test_what_is_under_way_when_a_connection_is_shared_no_more_still_has_its_deadlines(pair):
    first, origin = pair.ask(GET)
    misdirected, _ = pair.ask(GET)
    third, _ = pair.ask(GET)
    stalled, _ = pair.ask(GET)
    assert [request.stream for request in origin.requests] == [1, 3, 5, 7]
    origin.respond(421, stream=3)
    pair.run()
    assert pair.pools[1].left == [pair.driver_of(origin)]
    pair.origins[1].respond(204)
    pair.run()
    assert b"204" in misdirected.transport.outgoing
    pair.pass_time(61.0)
    assert b"504 Gateway Timeout" in stalled.transport.outgoing
    assert b"504 Gateway Timeout" in first.transport.outgoing
    assert b"504 Gateway Timeout" in third.transport.outgoing
    assert pair.active == [0, 0]
    assert pair.pools[1].left == []


def test_an_endpoint_that_goes_keeps_the_deadlines_of_what_it_has_on_a_shared_connection(pair):
    pair.ask(GET)
    stalled, origin = pair.ask(GET)
    pair.upstream.set_endpoints([pair.endpoints[0]])
    pair.upstream.sweep(pair.poller.now)
    assert pair.upstream.leaving == [pair.endpoints[1]]
    pair.pass_time(61.0)
    assert b"504 Gateway Timeout" in stalled.transport.outgoing
    pair.upstream.sweep(pair.poller.now)
    assert pair.upstream.leaving == []
    assert pair.driver_of(origin).guests == []


def test_an_endpoint_that_comes_back_uses_a_shared_connection_that_it_had_left(pair):
    pair.ask(GET)
    _, origin = pair.ask(GET)
    driver = pair.driver_of(origin)
    pair.upstream.set_endpoints([pair.endpoints[0]])
    pair.upstream.set_endpoints(pair.endpoints)
    pair.ask(GET)
    pair.ask(GET)
    assert len(pair.origins) == 1
    assert driver.guests == [pair.pools[1]]
    assert (pair.pools[1].connections, pair.pools[1].left) == ([driver], [])


def test_the_owner_of_a_shared_connection_is_swept_until_that_ends(pair):
    _, origin = pair.ask(GET)
    guest, _ = pair.ask(GET)
    origin.respond(204, stream=1)
    pair.run()
    owner = pair.endpoints[0]
    pair.upstream.set_endpoints([pair.endpoints[1]])
    pair.upstream.sweep(pair.poller.now)
    assert owner.active == 0
    assert pair.upstream.leaving == [owner], "its pool has the connection's PINGs and deadlines"
    answer(pair, guest, origin)
    pair.upstream.sweep(pair.poller.now)
    assert pair.upstream.leaving == []
    assert origin.transport.closed


# -- who waits for room


def test_many_who_have_left_while_a_connection_was_dialled(make):
    path = make()
    path.dials.hold = True
    clients = [path.client() for _ in range(400)]
    for client in clients:
        path.send(client, GET)
        client.close()
    last = path.client()
    path.send(last, GET)
    path.dials.release()
    path.run()
    answer(path, last, path.origins[0])
    assert path.pool.connections[0].reserved == 0


def test_a_dial_that_fails_beside_a_connection_that_will_have_room_fails_nobody(make):
    path = make(server_settings=H2Settings(max_streams=1))
    first, origin = path.ask(GET)
    path.dials.refuse.add("https://a.test")
    second, _ = path.ask(GET)
    third, _ = path.ask(GET)
    assert second.transport.outgoing == third.transport.outgoing == b""
    assert len(path.dials.dialled) == 2, "not one for each"
    answer(path, first, origin)
    answer(path, second, origin)
    path.pass_time(0.5)
    assert len(path.dials.dialled) == 2
    path.dials.refuse.clear()
    fourth, _ = path.ask(GET)
    path.pass_time(1.0)
    assert len(path.origins) == 2, "tried again after a while"
    answer(path, fourth, path.origins[1])
    answer(path, third, origin)


def test_when_the_last_connection_has_gone_a_dial_that_fails_is_told(make):
    path = make(server_settings=H2Settings(max_streams=1))
    _, origin = path.ask(GET)
    path.dials.refuse.add("https://a.test")
    second, _ = path.ask(GET)
    path.send(path.driver_of(origin), b"")
    path.run()
    assert b"502 Bad Gateway" in second.transport.outgoing


def test_room_that_a_guest_gives_back_is_everybodys(make):
    known = Known()
    path = make(coalescing=known, place=PLACE, server_settings=H2Settings(max_streams=1))
    path.endpoints.append(path.make("b.test", True, known, PLACE))
    path.upstream.set_endpoints(path.endpoints)
    first, origin = path.ask(GET)
    answer(path, first, origin)
    guest, _ = path.ask(GET)
    path.dials.refuse.add("https://a.test")
    owner, _ = path.ask(GET)
    assert len(path.pool._waiters) == 1
    guest.close()
    path.run()
    assert len(path.pool._waiters) == 0
    answer(path, owner, origin)


def test_rfc9113_7_http1_is_required_of_all_who_share_a_connection(make):
    known = Known()
    path = make(is_only=False, coalescing=known, place=PLACE)
    path.endpoints.append(path.make("b.test", False, known, PLACE))
    path.upstream.set_endpoints(path.endpoints)
    path.ask(GET)
    guest, origin = path.ask(GET)
    origin.refuse(3, HTTP_1_1_REQUIRED)
    path.run()
    assert path.old_dials == ["https://b.test"]
    (old,) = path.endpoints[1]._open
    path.send(old, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    assert b"204 No Content" in guest.transport.outgoing
