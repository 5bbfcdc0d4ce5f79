"""A pool of idle connections: what is kept, what ends, what is never handed out, and what is dialled ahead."""

import itertools

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.connection.upstream import UpstreamConnection
from headgate.counters import (
    POOL_CLOSED_AGE,
    POOL_CLOSED_ORIGIN,
    POOL_CLOSED_ROOM,
    POOL_CLOSED_TIME,
    POOL_WARMED,
    POOL_WARMING_FAILED,
    RETRIED_FIRST,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_IDLE,
    UPSTREAM_OPEN,
)
from headgate.errors import TransportError
from headgate.testing.memory import MemoryTransport
from headgate.upstream.health import DOWN, UP
from headgate.upstream.pool import (
    CAREFUL_SECONDS,
    MAX_BACKOFF_SECONDS,
    MAX_WARMING,
    SPREAD,
    IdleTotal,
    PoolSettings,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def make():
    made = []

    def path(endpoints=1, **settings):
        made.append(DataPath(endpoints, **settings))
        return made[-1]

    yield path
    for one in made:
        one.close()
        assert one.seen.crashes == []
        assert one.values[UPSTREAM_OPEN] == 0
        assert one.values[UPSTREAM_IDLE] == 0
        assert one.idle_total.pools == []


def fill(path, count):
    """Have `count` requests answered, each on a connection of its own, one second after the other."""
    clients = [path.client() for _ in range(count)]
    for client in clients:
        path.send(client, GET)
    for index in range(-count, 0):
        path.send(path.origin(index), OK)
        path.poller.now += 1.0


def idle(path):
    return [len(endpoint.pool.idle) for endpoint in path.endpoints]


def test_the_oldest_goes_when_there_is_no_room(make):
    path = make(pool=PoolSettings(max_idle=2))
    fill(path, 3)
    assert path.origin(0) is None
    assert idle(path) == [2]
    assert path.values[POOL_CLOSED_ROOM] == 1


def test_no_room_at_all_is_a_connection_for_each_request(make):
    path = make(pool=PoolSettings(max_idle=0))
    for _ in range(3):
        fill(path, 1)
    assert path.values[UPSTREAM_CONNECTIONS] == 3


def down(path, endpoint):
    endpoint.health.judge(path.poller.now, DOWN, "probed")
    path.upstream.health_changed()


def up(path, endpoint):
    endpoint.health.judge(path.poller.now, UP, "probed")
    path.upstream.health_changed()


def test_an_endpoint_that_comes_late_gets_its_place(make):
    """The first one holds all there is; what it has longest makes room."""
    path = make(endpoints=2, idle_total=IdleTotal(16))
    first, late = path.endpoints
    down(path, late)
    fill(path, 16)
    assert idle(path) == [16, 0]
    up(path, late)
    down(path, first)
    fill(path, 1)
    assert idle(path) == [14, 1]
    assert len(first.connections) == 14


def test_where_an_eighth_is_nothing_several_pools_make_room_at_once(make):
    """A look at all pools is not for one connection only."""
    path = make(endpoints=129, idle_total=IdleTotal(128))
    fill(path, 129)
    assert idle(path) == [0, 0, *[1] * 127]
    assert path.values[POOL_CLOSED_ROOM] == 2


def test_a_connection_ends_at_its_age_idle_or_not(make):
    path = make(pool=PoolSettings(max_age=100.0, idle_timeout=60.0))
    for _ in range(5):  # never idle for long
        fill(path, 1)
        path.pass_time(14)
    assert path.values[UPSTREAM_CONNECTIONS] == 1
    fill(path, 1)
    path.pass_time(30)
    assert idle(path) == [0]
    assert path.values[POOL_CLOSED_AGE] == 1
    fill(path, 1)
    client = path.client()
    path.send(client, GET)
    path.poller.now += 200
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok"), "its last request is answered"
    assert idle(path) == [0]
    assert path.values[POOL_CLOSED_AGE] == 2


def test_a_burst_of_connections_does_not_end_at_once(make):
    path = make(pool=PoolSettings(max_age=1000.0))
    start = path.poller.now
    fill(path, 50)
    ages = sorted(connection.expires - start for connection in path.endpoints[0].connections)
    assert ages[0] >= 1000.0 * (1 - SPREAD)
    assert ages[-1] <= 1000.0
    assert max(later - earlier for earlier, later in itertools.pairwise(ages)) < 20


def test_each_end_of_an_idle_connection_is_counted_by_its_reason(make):
    path = make()
    fill(path, 2)
    path.send(path.origin(0), b"")
    assert path.values[POOL_CLOSED_ORIGIN] == 1
    assert idle(path) == [1]
    path.pass_time(61)
    assert path.values[POOL_CLOSED_TIME] == 1


END, RESET, OCTETS = "end", "reset", "octets"


def end(connection, how):
    """Let the origin end a connection (or break it, or say what nobody asked for) without waking us."""
    if how == RESET:
        connection.transport.broken = TransportError("econnreset", 104, "read")
    else:
        connection.transport.incoming.append(b"" if how == END else b"HTTP/1.1 408 Late\r\n\r\n")


@pytest.mark.parametrize("how", [END, RESET, OCTETS])
@pytest.mark.parametrize(("request_", "after"), [(POST, 0.0), (GET, CAREFUL_SECONDS + 0.1)])
def test_what_its_origin_ended_is_never_handed_out(make, how, request_, after):
    """Nobody woke us yet, and the next request comes first: its socket is asked."""
    path = make()
    fill(path, 2)
    newest = path.endpoints[0].pool.idle[-1]
    path.poller.now = newest.deadline - 60.0 + after
    end(newest, how)
    path.send(path.client(), request_)
    assert newest.uses == 1
    assert newest.closed
    assert path.values[UPSTREAM_CONNECTIONS] == 2, "the older one stands and is taken"
    assert idle(path) == [0]
    assert path.values[RETRIED_FIRST] == 0


def test_a_request_without_content_asks_no_young_connection(make):
    """That would be a system call for every request; it is repeated in the rare case, and nobody notices."""
    path = make()
    fill(path, 1)
    newest = path.endpoints[0].pool.idle[-1]
    path.poller.now = newest.deadline - 60.0
    end(newest, END)
    client = path.client()
    path.send(client, GET)
    newest.on_readable()
    assert path.values[RETRIED_FIRST] == 1
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok")


def test_spare_connections_are_dialled_ahead_and_made_up_for(make):
    path = make(pool=PoolSettings(spare=3))
    path.pass_time(0.5)
    assert idle(path) == [3]
    path.pass_time(0.5)
    assert path.values[UPSTREAM_CONNECTIONS] == path.values[POOL_WARMED] == 3
    path.send(path.client(), GET)
    assert path.values[UPSTREAM_CONNECTIONS] == 3, "the request did not wait for a dial"
    path.pass_time(0.5)
    assert idle(path) == [3]
    path.send(path.endpoints[0].pool.idle[0], b"")
    path.pass_time(0.5)
    assert idle(path) == [3]


def test_what_is_being_dialled_is_not_dialled_twice(make):
    path = make(pool=PoolSettings(spare=3))
    path.dials.hold = True
    path.pass_time(0.5)
    path.pass_time(0.5)
    assert len(path.dials.held) == 3
    path.dials.release()
    assert idle(path) == [3]
    assert path.endpoints[0].dialling == 0


def test_one_sweep_dials_so_many_ahead_and_no_more(make):
    path = make(pool=PoolSettings(spare=MAX_WARMING + 1))
    path.pass_time(0.5)
    assert idle(path) == [MAX_WARMING]
    path.pass_time(0.5)
    assert idle(path) == [MAX_WARMING + 1]


def test_a_dial_ahead_that_fails_is_followed_by_longer_and_longer_rests(make):
    path = make(pool=PoolSettings(spare=2))
    path.dials.refuse = {path.endpoints[0].url}
    rests, last = [], path.poller.now
    while len(rests) < 9:
        dialled = len(path.dials.dialled)
        path.pass_time(0.5)
        if len(path.dials.dialled) > dialled:
            assert len(path.dials.dialled) == dialled + 2
            rests.append(path.poller.now - last)
            last = path.poller.now
    assert rests[1:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, MAX_BACKOFF_SECONDS]
    assert rests[8] == MAX_BACKOFF_SECONDS
    assert [name for name, _ in path.told] == ["prewarm-failed"] * 9, "one line for each round"
    assert "10.0.0.0 refused" in path.told[0][1]["detail"]
    assert path.told[0][1]["next"] == "no spare connection is dialled for 1 s"
    assert path.values[POOL_WARMING_FAILED] == 18
    path.dials.refuse = set()
    path.pass_time(60)
    assert idle(path) == [2]
    assert path.endpoints[0].dialling == 0


def test_a_defect_in_a_dial_ahead_is_a_failure_like_any_other(make):
    path = make(pool=PoolSettings(spare=1))
    path.dials.error = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        path.pass_time(0.5)
    path.dials.error = None
    assert path.values[POOL_WARMING_FAILED] == 1
    path.pass_time(1.0)
    assert idle(path) == [1]


def test_a_closed_pool_keeps_and_dials_nothing(make):
    path = make(pool=PoolSettings(spare=2))
    path.pass_time(0.5)
    client = path.client()
    path.send(client, GET)
    path.dials.hold = True
    path.pass_time(0.5)
    path.endpoints[0].close()
    path.endpoints[0].close()
    path.dials.release()
    path.send(path.origin(1), OK)
    path.pass_time(0.5)
    assert client.transport.outgoing.endswith(b"ok")
    assert path.endpoints[0].connections == []


def test_repr(make):
    path = make(idle_total=IdleTotal(7))
    fill(path, 2)
    assert repr(path.endpoints[0].pool) == "<Pool 2 idle, 0 dialled as spare>"
    assert repr(path.idle_total) == "<IdleTotal 2 of 7>"


def test_a_connection_that_was_opened_for_a_client_is_that_clients(make):
    path = make()
    endpoint = path.endpoints[0]
    pool = endpoint.pool
    one, other = path.client().context, path.client().context
    opened = []
    for client in (one, other, one):
        transport = MemoryTransport()
        connection = UpstreamConnection(transport, path.poller, endpoint, path.values, endpoint.url, 65536)
        connection.belong_to(client, client.peer, client.port)
        pool.keep(connection)
        opened.append(connection)
    assert pool.take_of(other, False) is opened[1]
    assert pool.take_of(other, False) is None
    one.port += 1
    assert pool.take_of(one, False) is None, (
        "a client of QUIC that moved: the origin was told another address"
    )
    one.port -= 1
    assert pool.take_of(one, False) is opened[2], "the newest"
    one.closed = True
    assert opened[0].is_due(path.poller.now)
    pool.keep(opened[2])
    assert opened[2].closed, "nobody may have it"
    for connection in opened:
        connection.close()
