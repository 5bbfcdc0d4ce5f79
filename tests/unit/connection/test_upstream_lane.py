"""A lane's defects are its own: whoever else is on its connection, or waits for it, hears what they are to hear."""

import pytest
from tests.unit.proxy.h2_path import H2Path

from headgate.build_info import is_compiled
from headgate.connection.upstream_stream import ResponseReceiver
from headgate.counters import UPSTREAM_H2_OPEN, UPSTREAM_OPEN
from headgate.engine.h2.errors import INTERNAL_ERROR
from headgate.engine.h2.settings import H2Settings
from headgate.upstream.lane_pool import LaneWaiter

pytestmark = pytest.mark.skipif(is_compiled("headgate.connection.upstream_lane"), reason="only pure: a trait")

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


class Defective(ResponseReceiver):
    """Raises whatever it is told."""

    def __init__(self):
        self.told = []

    def upstream_failed(self, connection, reason, detail):
        self.told.append(reason)
        raise RuntimeError("a defect")

    def upstream_drained(self, connection):
        self.told.append("drained")
        raise RuntimeError("a defect")


class DefectiveWaiter(LaneWaiter):
    def lane_ready(self, lane):
        raise RuntimeError("a defect")

    def lane_failed(self, reason, detail):
        raise RuntimeError("a defect")


@pytest.fixture
def path():
    made = H2Path(server_settings=H2Settings(max_streams=3))
    yield made
    made.close()
    made.run()
    assert [repr(error) for error in made.seen.crashes] == ["RuntimeError('a defect')"] * len(
        made.seen.crashes
    )
    assert made.values[UPSTREAM_OPEN] == made.values[UPSTREAM_H2_OPEN] == 0


def three(path):
    """Three requests on one connection, the first with a receiver that raises; return its receiver, the clients
    and the origin."""
    clients = [path.ask(POST)[0] for _ in range(3)]
    (origin,) = path.origins
    bad = Defective()
    lanes = path.driver_of(origin).lanes
    lanes[1].receiver = bad
    return bad, clients[1:], origin


def test_the_end_of_a_connection_is_told_to_all_in_spite_of_a_defect(path):
    bad, clients, origin = three(path)
    path.send(path.driver_of(origin), b"")
    path.run()
    assert bad.told == ["closed"]
    assert all(b"502 Bad Gateway" in client.transport.outgoing for client in clients)
    assert path.pool.connections == []
    assert len(path.told) == 1, "the defect"


def test_a_stream_that_fails_with_a_defect_leaves_the_others_alone(path):
    bad, clients, origin = three(path)
    origin.refuse(1, INTERNAL_ERROR)
    origin.respond(204, stream=3)
    origin.respond(204, stream=5)
    path.run()
    assert bad.told == ["reset"]
    assert all(b"204 No Content" in client.transport.outgoing for client in clients)


def test_a_defect_of_one_who_hears_of_room_is_its_own(path):
    bad, clients, origin = three(path)
    driver = path.driver_of(origin)
    lane = driver.lanes[1]
    lane.is_stalled = driver.lanes[3].is_stalled = True
    driver.on_writable()
    path.run()
    assert bad.told == ["drained", "internal"]
    assert lane.closed
    assert not driver.lanes[3].is_stalled
    assert not driver.closed
    origin.respond(204, stream=3)
    path.run()
    assert b"204 No Content" in clients[0].transport.outgoing


def test_a_defect_of_one_who_waits_for_a_lane_is_its_own(path):
    path.dials.hold = True
    path.pool.wait(DefectiveWaiter())
    client = path.client()
    path.send(client, POST)
    path.dials.release()
    path.run()
    path.origins[0].respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.pool.connections[0].reserved == 0
    assert len(path.told) == 1


def test_a_dial_that_fails_is_told_to_all_in_spite_of_a_defect(path):
    path.dials.hold = True
    path.dials.refuse.add("https://a.test")
    path.pool.wait(DefectiveWaiter())
    client = path.client()
    path.send(client, POST)
    path.dials.release()
    assert b"502 Bad Gateway" in client.transport.outgoing


def test_time_runs_out_for_all_in_spite_of_a_defect(path):
    path.dials.hold = True
    path.pool.wait(DefectiveWaiter())
    client = path.client()
    path.send(client, POST)
    path.pass_time(5.5)
    assert b"504 Gateway Timeout" in client.transport.outgoing
    path.dials.release()
