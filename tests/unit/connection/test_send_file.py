"""The downstream driver sends files: behind what is queued, a turn at a time, as far as a real socket takes them."""

import os
import socket

import pytest
from tests.unit.connection.test_downstream import GET, Recorder, Script

from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import FILE_TURN, DownstreamConnection
from headgate.connection.settings import ConnectionSettings
from headgate.counters import DOWNSTREAM_WRITTEN, SIZE, TIMEOUT_WRITE
from headgate.engine.events import UNKNOWN_LENGTH, Response
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.net.tcp import TcpTransport
from headgate.net.transport import NOT_SENT

CONTENT = os.urandom(FILE_TURN) * 5


class Client:
    """A client with a real socket, which asks once."""

    def __init__(self, **settings):
        self.poller = Poller()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.sock = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
        self.sock.settimeout(10)
        ours.setblocking(False)
        self.handler = Script()
        self.seen = Recorder()
        self.values = [0] * SIZE
        peer = Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80)
        self.driver = DownstreamConnection(
            TcpTransport(ours),
            self.poller,
            self.handler,
            self.seen,
            ConnectionSettings(**settings),
            self.values,
            ConnectionContext("test", "192.0.2.1", 4000, b"http", peer),
        )
        self.driver.start(secure=False)
        self.ask()

    def ask(self):
        had = len(self.handler.exchanges)
        self.sock.sendall(GET)
        while len(self.handler.exchanges) == had:
            self.poller.dispatch()

    def head(self, size):
        self.driver.respond(Response(200, b"OK", 11, Fields([], []), size))

    def take(self, size):
        got = b""
        while len(got) < size:
            got += self.sock.recv(size - len(got))
        return got

    def take_head(self):
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += self.take(1)
        return got

    def close(self):
        self.driver.close()
        self.sock.close()
        self.poller.close()


@pytest.fixture
def client():
    one = Client(write_idle=5.0)
    yield one
    one.close()
    assert one.seen.crashes == []


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_file_goes_behind_what_is_queued(client, file):
    client.head(1010)
    client.driver.write(b"0123456789")
    assert client.driver.send_file(file, 7, 1000) == 1000
    client.driver.finish(None)
    assert client.driver.flush()
    head = client.take_head()
    assert client.take(1010) == b"0123456789" + CONTENT[7:1007]
    assert client.seen.sizes == [1010]
    assert client.values[DOWNSTREAM_WRITTEN] == len(head) + 1010
    client.ask()


def test_one_connection_sends_so_much_in_a_turn(client, file):
    client.head(len(CONTENT))
    sent = client.driver.send_file(file, 0, len(CONTENT))
    assert 0 < sent <= FILE_TURN
    assert client.driver.send_file(file, sent, len(CONTENT) - sent) == 0
    assert not client.driver.flush()
    client.take_head()
    got = client.take(sent)
    while sent < len(CONTENT):
        had = client.handler.drained
        while client.handler.drained == had:
            client.poller.dispatch()
        taken = client.driver.send_file(file, sent, len(CONTENT) - sent)
        assert 0 <= taken <= FILE_TURN
        sent += taken
        got += client.take(taken)
    assert got == CONTENT
    client.driver.finish(None)
    client.driver.flush()
    assert client.seen.sizes == [len(CONTENT)]


def test_one_octet_more_than_announced_is_not_sent(client, file):
    client.head(10)
    assert client.driver.send_file(file, 0, 11) == NOT_SENT
    assert client.driver.send_file(file, 0, 10) == 10
    assert client.driver.send_file(file, 0, 1) == NOT_SENT


def test_chunks_are_framed_and_not_sent(client, file):
    client.head(UNKNOWN_LENGTH)
    assert client.driver.send_file(file, 0, 10) == NOT_SENT


def test_what_the_file_does_not_have_is_not_sent(client, file):
    client.head(10)
    assert client.driver.send_file(file, len(CONTENT), 10) == NOT_SENT
    client.driver.write(b"0123456789")
    client.driver.finish(None)
    assert client.driver.flush()
    client.take_head()
    assert client.take(10) == b"0123456789"


def test_a_client_that_takes_nothing_is_closed_in_time(client, file):
    client.head(len(CONTENT))
    assert client.driver.send_file(file, 0, len(CONTENT)) < len(CONTENT)
    assert client.driver.deadline == client.poller.now + 5.0
    client.driver.on_deadline(client.poller.now + 5.0)
    assert client.driver.closed
    assert client.values[TIMEOUT_WRITE] == 1
    assert client.seen.exchanges == [(b"/", 200, "write-timeout")]


def test_a_client_that_is_gone(client, file):
    client.head(len(CONTENT))
    client.sock.close()
    sent = 0
    for _ in range(20):
        sent += client.driver.send_file(file, sent, len(CONTENT) - sent)
        if client.driver.closed:
            break
        client.poller.dispatch()
    assert client.driver.closed
    assert client.seen.failures
    assert client.driver.send_file(file, 0, 10) == 0
