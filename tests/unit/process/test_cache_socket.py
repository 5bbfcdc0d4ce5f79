"""The socket of the cache's writer: for our user alone, there again after a kill, and after its file was removed."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from headgate.process.cache_socket import LOOK_SECONDS, RETRY_SECONDS, WriterSocket, writer_address
from headgate.process.directories import StateError


def connects(folder):
    """Tell whether a worker reaches somebody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as worker:
        return worker.connect_ex(writer_address(folder)) == 0


def mode(folder):
    return stat.S_IMODE(os.stat(writer_address(folder)).st_mode)


class Told(list):
    """Events."""

    def __call__(self, name, level, **fields):
        self.append((name, fields))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def door(tmp_path):
    made = WriterSocket(tmp_path, None)
    yield made
    made.close()


def test_it_is_for_our_own_user_and_replaces_what_a_killed_gate_left(tmp_path):
    for _ in range(2):
        door = WriterSocket(tmp_path, None)
        assert mode(tmp_path) == 0o600
        assert connects(tmp_path)
        door.close()
    assert os.listdir(tmp_path) == ["cache.sock"]


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(StateError, match="runtime_dir: /nowhere"):
        WriterSocket(Path("/nowhere"), None)


def test_one_whose_file_is_there_is_left_alone(door, told, tmp_path):
    before = os.stat(writer_address(tmp_path)).st_ino
    assert not door.look(1000.0, told)
    assert (os.stat(writer_address(tmp_path)).st_ino, told) == (before, [])


def test_one_whose_file_was_removed_is_bound_anew_now_and_then(door, told, tmp_path):
    before = door.listener
    assert not door.look(1000.0, told)
    os.unlink(writer_address(tmp_path))
    assert not door.look(1000.0 + LOOK_SECONDS - 0.1, told)
    assert door.look(1000.0 + LOOK_SECONDS, told)
    before.close()
    assert connects(tmp_path)
    assert mode(tmp_path) == 0o600
    assert [name for name, _ in told] == ["cache-writer-bound"]


def test_the_file_of_a_writer_that_died_is_replaced(door, told, tmp_path):
    """That one had bound anew, and its successor has what the supervisor has kept."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        os.unlink(writer_address(tmp_path))
        dead.bind(writer_address(tmp_path))
    assert not connects(tmp_path)
    before = door.listener
    assert door.look(1000.0, told)
    before.close()
    assert connects(tmp_path)


def test_where_it_cannot_be_bound_it_is_tried_again(told, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    door = WriterSocket(folder, None)
    shutil.rmtree(folder)
    assert not door.look(1000.0, told)
    ((name, fields),) = told
    assert (name, fields["address"]) == ("cache-writer-not-bound", writer_address(folder))
    assert fields["next"].endswith("another try in 30 s")
    folder.mkdir()
    assert not door.look(1000.0 + RETRY_SECONDS - 0.1, told)
    before = door.listener
    assert door.look(1000.0 + RETRY_SECONDS, told)
    before.close()
    assert connects(folder)
    door.close()
