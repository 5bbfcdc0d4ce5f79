import pytest
from tests.unit.proxy.forward_path import paths

from headgate.counters import FORWARD_DESTINATIONS, FORWARD_REFUSED_DESTINATIONS
from headgate.proxy.destinations import MAX_LOOKS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(host, port=80):
    return b"GET http://%b:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % (host.encode(), port)


@pytest.fixture
def make():
    yield from paths()


def test_one_origin_is_one_destination_and_its_connections_are_used_again(make):
    path = make()
    driver = path.ask(get("1.1.1.1"))
    path.answer(path.dials.transports[0], OK)
    path.send(driver, get("1.1.1.1"))
    path.answer(path.dials.transports[0], OK)
    assert path.dials.dialled == ["1.1.1.1:80"]
    path.send(driver, get("1.1.1.1", 8080))
    assert path.dials.dialled == ["1.1.1.1:80", "1.1.1.1:8080"]
    assert path.values[FORWARD_DESTINATIONS] == 2


def test_the_longest_unused_makes_room(make):
    path = make(limit=2)
    for host in ("1.1.1.1", "1.1.1.2", "1.1.1.3"):
        path.ask(get(host))
        path.answer(path.dials.transports[-1], OK)
    assert len(path.destinations) == 2
    assert path.dials.transports[0].closed  # its idle connection went with it
    path.ask(get("1.1.1.3"))
    assert len(path.dials.dialled) == 3


def test_one_more_than_the_limit_while_all_are_busy_is_503(make):
    path = make(limit=2)
    for host in ("1.1.1.1", "1.1.1.2"):
        path.ask(get(host))
    late = path.ask(get("1.1.1.3"))
    assert late.transport.outgoing.startswith(b"HTTP/1.1 503 ")
    assert b"too-many-destinations" in late.transport.outgoing
    assert path.values[FORWARD_REFUSED_DESTINATIONS] == 1
    path.answer(path.dials.transports[0], OK)
    assert path.ask(get("1.1.1.3")).transport.outgoing == b""  # on its way


def test_so_many_are_looked_at_and_the_next_look_finds_others(make):
    path = make(limit=MAX_LOOKS + 1)
    for n in range(MAX_LOOKS + 1):
        path.ask(get(f"1.1.{n}.1"), f"192.0.2.{n}")
    path.answer(path.dials.transports[-1], OK)  # the last one is idle, and the others stand before it
    assert path.ask(get("9.9.9.9")).transport.outgoing.startswith(b"HTTP/1.1 503 ")
    assert path.ask(get("9.9.9.9")).transport.outgoing == b""


def test_idle_ones_are_forgotten_after_their_time(make):
    path = make()
    path.ask(get("1.1.1.1"))
    path.answer(path.dials.transports[0], OK)
    path.poller.now += 15.0
    path.destinations.sweep(path.poller.now)
    assert len(path.destinations) == 1  # its connection is still there
    for connection in path.maker.made[0].connections:
        connection.close()
    path.destinations.sweep(path.poller.now)
    assert len(path.destinations) == 0
    assert "0 of 16" in repr(path.destinations)


def test_busy_ones_are_not_forgotten(make):
    path = make()
    path.ask(get("1.1.1.1"))
    path.poller.now += 3600.0
    path.destinations.sweep(path.poller.now)
    assert len(path.destinations) == 1
