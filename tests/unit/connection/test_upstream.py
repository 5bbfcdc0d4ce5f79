"""The upstream driver through the reverse proxy: what an origin may do to a connection, one step at a time."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import UPSTREAM_OPEN, UPSTREAM_READ, UPSTREAM_WRITTEN
from headgate.errors import TransportError

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def path():
    made = DataPath()
    yield made
    made.close()
    assert made.seen.crashes == []
    assert made.values[UPSTREAM_OPEN] == 0


def asked(path):
    client = path.client()
    path.send(client, GET)
    return client, path.origin()


def test_an_answer_octet_by_octet(path):
    client, origin = asked(path)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    for index in range(len(answer)):
        path.send(origin, answer[index : index + 1])
    assert client.transport.outgoing.endswith(b"\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert path.values[UPSTREAM_READ] == len(answer)
    assert path.values[UPSTREAM_WRITTEN] == len(path.sent())


def test_bytes_and_a_break_on_an_idle_connection_drop_it(path):
    for fault in (b"HTTP/1.1 408 Late\r\n\r\n", b"", None):
        client, origin = asked(path)
        path.send(origin, b"HTTP/1.1 204 No Content\r\n\r\n")
        assert b"204" in client.transport.outgoing
        if fault is None:
            origin.transport.broken = TransportError("econnreset", 104, "read")
            origin.on_readable()
        else:
            path.send(origin, fault)
        assert origin.closed
        assert path.endpoints[0].pool.idle == []


def test_a_broken_write_waits_for_what_the_origin_said_before(path):
    """An origin that refuses content answers and closes: its answer explains more than EPIPE."""
    client = path.client()
    path.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab")
    origin = path.origin()
    origin.transport.broken = TransportError("epipe", 32, "write")
    path.send(client, b"cd")
    origin.transport.broken = None
    path.send(origin, b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
    assert b"HTTP/1.1 413 Large" in client.transport.outgoing


def test_a_hang_up_while_nobody_reads_is_parked_and_found_later(path):
    client, origin = asked(path)
    client.transport.take = 10
    path.send(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
    assert not origin.reading
    watched = len(path.poller)
    origin.on_readable()
    assert len(path.poller) == watched - 1, "it wakes nobody any more"
    client.transport.take = 1000
    client.on_writable()
    assert len(path.poller) == watched
    path.send(origin, b"")
    assert client.transport.closed
    assert client.transport.outgoing.endswith(b"begin")


def test_the_end_of_an_answer_without_framing(path):
    client, origin = asked(path)
    path.send(origin, b"HTTP/1.0 200 OK\r\n\r\nall")
    path.send(origin, b"")
    assert client.transport.outgoing.endswith(b"3\r\nall\r\n0\r\n\r\n")
