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
    observer.connection_failed(connection, "handshake-timeout", "the TLS handshake did not end in time")
    (line,) = lines()
    assert (line["event"], line["reason"]) == ("connection-failed", "handshake-timeout")
    assert (line["peer"], line["listener"]) == ("192.0.2.1", "127.0.0.1:443")


def test_a_flood_of_one_kind_is_cut_and_hides_no_other(told):
    observer, connection, lines = told
    for _ in range(BURST + 1):
        observer.connection_failed(connection, "handshake-timeout", "")
    observer.connection_failed(connection, "econnreset", "")
    assert [line["reason"] for line in lines()] == ["handshake-timeout"] * BURST + ["econnreset"]
