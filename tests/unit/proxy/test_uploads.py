"""An answer that is written to the disk while its client takes nothing makes room for another, and still comes to its
end."""

import pytest
from tests.unit.proxy.test_disk_tier import Disk
from tests.unit.proxy.test_slices import client_of, exchange_of, slicing

from headgate.cache.store.bodies import OpenFiles, Upload
from headgate.connection.exchange import Handler
from headgate.counters import CACHE_DISK_GIVEN_UP
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.proxy import disk_tier
from headgate.proxy.disk_tier import DiskTier

LENGTH = 2_000_000
PIECE = 50_000


def content(at):
    return b"%07d" % at * (PIECE // 7) + b"x" * (PIECE % 7)


class Origin(Handler):
    """Sends pieces to each who asks, as long as they are taken."""

    def __init__(self):
        super().__init__()
        self.sent = {}  # by exchange
        self.closed = []

    def handle(self, exchange):
        fields = Fields([], [])
        fields.add(b"cache-control", b"max-age=60")
        fields.add(b"content-length", b"%d" % LENGTH)
        self.sent[exchange] = 0
        exchange.downstream.respond(Response(200, b"OK", 11, fields, LENGTH))
        self.downstream_drained(exchange)

    def downstream_drained(self, exchange):
        while self.sent[exchange] < LENGTH:
            at = self.sent[exchange]
            self.sent[exchange] = at + PIECE
            exchange.downstream.write(content(at))
            if not exchange.downstream.flush():
                return
        exchange.downstream.finish(None)
        exchange.downstream.flush()

    def downstream_closed(self, exchange):
        self.closed.append(exchange)


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A cache whose disk takes one upload, that is still from the beginning, and lets one be read."""
    monkeypatch.setattr(disk_tier, "MAX_UPLOADS", 1)
    monkeypatch.setattr(disk_tier, "MAX_GIVEN_UP", 1)
    monkeypatch.setattr(disk_tier, "STILL", 0.0)
    disk = Disk()
    (tmp_path / "incoming").mkdir()
    disk.root, disk.files = str(tmp_path), OpenFiles()
    disk.begin, disk.judge_speed = lambda: 0.0, lambda begun: None
    begun = []
    disk.upload = lambda: begun.append(0) or Upload(str(tmp_path), f"1.{len(begun)}")
    disk.budget = 1 << 30
    handler = slicing(Origin()).inner
    handler.cache.disk = DiskTier(disk, handler.cache.store, handler.cache.values)
    handler.cache.background_fill = 0
    handler.most_in_memory = PIECE
    yield handler
    disk.files.close_all()


def ask(gate, path):
    """A client that takes 128 KiB and no more, and its exchange."""
    client = client_of(slicing(Origin()))
    exchange = exchange_of(client, path)
    gate.handle(exchange)
    return client, exchange


def read(gate, client, exchange):
    """All that still comes when it takes everything."""
    got = b""
    while data := client.take(len(got), 1 << 20):
        got += data
        if client.held <= len(data) and not client.is_over:
            gate.downstream_drained(exchange)
    return got


def test_who_takes_nothing_makes_room_and_gets_the_rest_without_its_being_stored(gate):
    origin, disk = gate.inner, gate.cache.disk.disk
    first, second = ask(gate, b"/first"), ask(gate, b"/second")
    assert [0 < at < LENGTH for at in origin.sent.values()] == [True, True]
    assert gate.cache.values[CACHE_DISK_GIVEN_UP] == 1
    whole = b"".join(content(at) for at in range(0, LENGTH, PIECE))
    assert read(gate, *second) == whole
    assert read(gate, *first) == whole
    assert [key for key, _ in disk.stored] == [b"http://a.example/second"]
    assert (gate.cache.disk._uploads, gate.cache.disk._given_up, gate.cache.flights) == ({}, {}, {})


def test_the_one_that_has_made_room_for_longest_is_cut_short(gate):
    clients = [ask(gate, path) for path in (b"/first", b"/second", b"/third")]
    whole = b"".join(content(at) for at in range(0, LENGTH, PIECE))
    first = read(gate, *clients[0])
    assert whole.startswith(first)
    assert (clients[0][0].failure, len(gate.inner.closed)) == ("cache-read", 1)
    assert [read(gate, *client) == whole for client in clients[1:]] == [True, True]
    assert (gate.cache.disk._uploads, gate.cache.disk._given_up, gate.cache.flights) == ({}, {}, {})
