"""An endpoint's pool: the newest idle connection first, old ones out, nothing kept that cannot carry a request."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import UPSTREAM_CONNECTIONS, UPSTREAM_OPEN, UPSTREAM_REUSED
from headgate.errors import HeadgateError, TransportError
from headgate.upstream.endpoint import MAX_RESPONSE_HEAD

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def path():
    made = DataPath()
    yield made
    made.close()
    assert made.seen.crashes == []
    assert made.values[UPSTREAM_OPEN] == 0


def busy(path, count):
    """Have `count` requests under way, each on a connection of its own."""
    clients = [path.client() for _ in range(count)]
    for client in clients:
        path.send(client, GET)
    return clients


def test_the_newest_idle_connection_is_taken(path):
    busy(path, 3)
    for index in (0, 2, 1):
        path.send(path.origin(index), OK)
    path.send(path.client(), GET)
    assert path.sent(1).count(b"GET / ") == 2
    assert path.values[UPSTREAM_CONNECTIONS] == 3
    assert path.values[UPSTREAM_REUSED] == 1


def test_idle_connections_end_after_their_time(path):
    busy(path, 2)
    path.send(path.origin(0), OK)
    path.pass_time(30)
    path.send(path.origin(1), OK)
    path.pass_time(31)
    assert path.origin(0) is None
    assert path.origin(1) is not None
    assert len(path.endpoints[0].pool.idle) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"x",
    ],
)
def test_a_connection_that_cannot_carry_another_request_is_closed(path, answer):
    (client,) = busy(path, 1)
    path.send(path.origin(), answer)
    assert client.transport.outgoing.endswith(b"\r\n\r\nok")
    assert path.endpoints[0].connections == []


def test_a_head_beyond_its_limit_is_a_bad_gateway(path):
    (client,) = busy(path, 1)
    origin = path.origin()
    start = b"HTTP/1.1 200 OK\r\nA: "
    for _ in range(MAX_RESPONSE_HEAD // 1024 + 2):
        if origin.closed:
            break
        path.send(origin, start + b"a" * 1024)
        start = b""
    assert origin.closed
    assert b"HTTP/1.1 502" in client.transport.outgoing


def test_closing_ends_what_is_idle_and_leaves_what_is_busy(path):
    first, _ = busy(path, 2)
    path.send(path.origin(0), OK)
    path.endpoints[0].close()
    assert path.origin(0) is None
    path.send(path.origin(1), OK)
    assert path.clients[1].transport.outgoing.endswith(b"ok")
    assert first.transport.outgoing.endswith(b"ok")


def test_repr_tells_what_it_holds(path):
    busy(path, 2)
    path.send(path.origin(0), OK)
    assert repr(path.endpoints[0]) == "<Endpoint http://10.0.0.0: 1 active, 1 idle>"


class OtherError(HeadgateError):
    """A failed dial that is no TransportError, as the dialler's is."""

    reason = "timeout"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OtherError("slow"), 504),
        (TransportError("econnrefused", 111, "no"), 502),
        (HeadgateError("what"), 502),
    ],
)
def test_every_kind_of_failed_dial_is_answered(path, error, status):
    path.dials.error = error
    (client,) = busy(path, 1)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 %d " % status)
    assert path.endpoints[0].dialling == 0


def test_a_defect_while_dialling_leaves_nobody_waiting(path):
    path.dials.error = ValueError("a defect")
    client = path.client()
    with pytest.raises(ValueError, match="a defect"):
        path.send(client, GET)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502 ")
