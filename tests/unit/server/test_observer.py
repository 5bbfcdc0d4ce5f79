"""What is told beside the data: events of connections that fail, each kind with its own bound on how often."""

import json
import os

import pytest

from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Handler
from headgate.connection.settings import ConnectionSettings
from headgate.counters import SIZE
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.respond import Respond
from headgate.proxy.fixed import RespondHandler
from headgate.server.observer import Observer
from headgate.telemetry.access_log import AccessLog
from headgate.telemetry.event_log import BURST, EventLog
from headgate.testing.clock import FakeClock
from headgate.testing.memory import MemoryTransport


@pytest.fixture
def told(tmp_path):
    """An observer on a real event log, a connection, and what was written so far."""
    path = tmp_path / "events"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = EventLog(fd, "worker-0", clock=FakeClock())
    observer = Observer(AccessLog(None), log.event)
    poller = Poller()
    peer = Forwarder(Networks(())).connection(b"192.0.2.1", b"https", 443)
    connection = DownstreamConnection(
        MemoryTransport(),
        poller,
        Handler(),
        observer,
        ConnectionSettings(),
        [0] * SIZE,
        ConnectionContext("127.0.0.1:443", "192.0.2.1", 4000, b"https", peer),
    )
    yield observer, connection, lambda: [json.loads(line) for line in path.read_text().splitlines()]
    connection.close()
    log.close()
    poller.close()
    os.close(fd)


def test_a_failed_connection_is_told_with_its_peer(told):
    observer, connection, lines = told
    observer.connection_failed(
        connection.context, "handshake-timeout", "the TLS handshake did not end in time"
    )
    (line,) = lines()
    assert (line["event"], line["reason"]) == ("connection-failed", "handshake-timeout")
    assert (line["peer"], line["listener"]) == ("192.0.2.1", "127.0.0.1:443")


def test_a_flood_of_one_kind_is_cut_and_hides_no_other(told):
    observer, connection, lines = told
    for _ in range(BURST + 1):
        observer.connection_failed(connection.context, "handshake-timeout", "")
    observer.connection_failed(connection.context, "econnreset", "")
    assert [line["reason"] for line in lines()] == ["handshake-timeout"] * BURST + ["econnreset"]


class Lines:
    """A destination of access log lines that keeps them."""

    def __init__(self):
        self.written = []

    def write(self, lines):
        self.written += lines

    def close(self):
        pass


@pytest.mark.parametrize(
    ("head", "protocol", "method"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1", "GET"),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", "HTTP/1.0", "GET"),
        (b"PRI * HTTP/2.0\r\n\r\n", "-", "-"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "-", "-"),
    ],
)
def test_the_access_log_says_what_was_spoken_and_how_much_was_answered(tmp_path, head, protocol, method):
    lines = Lines()
    log = AccessLog(lines)
    with (tmp_path / "events").open("wb") as file:
        told = EventLog(file.fileno(), "worker-0", clock=FakeClock())
        poller = Poller()
        transport = MemoryTransport()
        connection = DownstreamConnection(
            transport,
            poller,
            RespondHandler(Respond(200, b"four"), FieldEdits()),
            Observer(log, told.event),
            ConnectionSettings(),
            [0] * SIZE,
            ConnectionContext(
                "127.0.0.1:80",
                "192.0.2.1",
                4000,
                b"http",
                Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80),
            ),
        )
        connection.start(secure=False)
        transport.incoming.append(head)
        connection.on_readable()
        connection.close()
        told.close()
        poller.close()
    log.close()
    (line,) = [json.loads(line) for line in lines.written]
    content = transport.outgoing.partition(b"\r\n\r\n")[2]
    assert (line["protocol"], line["method"], line["client"]) == (protocol, method, "192.0.2.1:4000")
    assert line["bytes_out"] == len(content) > 0
