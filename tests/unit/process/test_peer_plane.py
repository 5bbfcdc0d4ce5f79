"""The sockets between workers: bound, looked after, given up with the gate."""

import os
import shutil
import socket

import pytest

from headgate.cache.claims import Claims
from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.counters import Counters
from headgate.process.data_plane import DataPlane
from headgate.process.peer_plane import LOOK_SECONDS, RETRY_SECONDS
from headgate.server.observer import Observer
from headgate.telemetry.access_log import AccessLog

TEXT = """
runtime_dir = "{folder}"
[[listener]]
addresses = ["127.0.0.1:0"]
mode = "http"
[cache]
enabled = true
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["http://127.0.0.1:9"]
"""


class Worker:
    """The data plane of worker 0 of two, which listens; `told` are its events."""

    def __init__(self, folder):
        self.told = []
        self.path = folder / "peers" / "0"
        observer = Observer(AccessLog(None), self._tell)
        config = loads(TEXT.format(folder=folder), files=False)
        self.plane = DataPlane(config, Counters(), observer, SystemClock(), {})
        door = socket.socket()
        door.bind(("127.0.0.1", 0))
        self.plane.add_listener(0, door, None)
        self.plane.join_peers(0, 2, Claims())
        for listener in self.plane.listeners:
            listener.start()
        self.clients = []

    def _tell(self, name, level="info", *, limit_key="", **fields):
        self.told.append((name, level, fields))

    def connect(self):
        """Connect as another worker does; raises `OSError`."""
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
        client.connect(str(self.path))
        self.plane.poller.dispatch()

    def sweep(self, now):
        self.plane.peers.sweep(now)

    def close(self):
        self.plane.close()
        self.plane.poller.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def worker(tmp_path):
    made = Worker(tmp_path)
    yield made
    made.close()


def test_a_socket_whose_file_was_removed_is_bound_anew_and_its_connections_go_on(worker):
    worker.connect()
    worker.path.unlink()
    with pytest.raises(FileNotFoundError):
        worker.connect()
    worker.sweep(1000.0)
    worker.connect()
    assert len(worker.plane.peers.listener.connections) == 2
    assert [(name, level, fields["reason"]) for name, level, fields in worker.told] == [
        ("cache-peer-bound", "warning", "its file had been removed")
    ]


def test_so_it_is_where_the_whole_folder_was_removed(worker):
    shutil.rmtree(worker.path.parent)
    worker.sweep(1000.0)
    worker.connect()
    assert worker.path.parent.stat().st_mode & 0o777 == 0o700


def test_it_is_looked_for_now_and_then(worker):
    worker.sweep(1000.0)
    worker.path.unlink()
    worker.sweep(1000.0 + LOOK_SECONDS - 0.1)
    assert not worker.path.exists()
    worker.sweep(1000.0 + LOOK_SECONDS)
    worker.connect()


def test_what_a_successor_has_bound_is_left_alone(worker, tmp_path):
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(tmp_path / "peers" / "new"))
        os.rename(tmp_path / "peers" / "new", worker.path)
        before = worker.path.stat().st_ino
        worker.sweep(1000.0)
        assert worker.path.stat().st_ino == before
    assert worker.told == []


def test_where_it_cannot_be_bound_it_is_tried_again(worker):
    folder = worker.path.parent
    shutil.rmtree(folder)
    folder.touch()
    worker.sweep(1000.0)
    (name, level, fields), *others = worker.told
    assert (name, level, others) == ("cache-peer-not-bound", "warning", [])
    assert fields["address"] == str(worker.path)
    assert fields["next"].endswith("another try in 30 s")
    folder.unlink()
    worker.sweep(1000.0 + RETRY_SECONDS - 0.1)
    assert not folder.exists()
    worker.sweep(1000.0 + RETRY_SECONDS)
    worker.connect()


def test_one_that_could_not_be_bound_in_the_start_is_bound_later(tmp_path):
    folder = tmp_path / "peers"
    folder.touch()
    worker = Worker(tmp_path)
    try:
        assert worker.plane.peers.listener is None
        folder.unlink()
        worker.sweep(1000.0)
        worker.connect()
        assert len(worker.plane.peers.listener.connections) == 1
        assert [name for name, _, _ in worker.told] == ["cache-peer-not-bound", "cache-peer-bound"]
    finally:
        worker.close()


def test_a_worker_that_drains_binds_nothing_anew(worker):
    worker.plane.drain()
    worker.path.unlink()
    worker.sweep(1000.0)
    assert not worker.path.exists()
