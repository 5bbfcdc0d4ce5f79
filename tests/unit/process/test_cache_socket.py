"""The socket of the cache's writer: for our own user alone, and there again after a kill."""

import os
import socket
import stat
from pathlib import Path

import pytest

from headgate.process.cache_socket import bind_writer, writer_address
from headgate.process.directories import StateError


def test_it_is_for_our_own_user_and_replaces_what_a_killed_gate_left(tmp_path):
    for _ in range(2):
        listener = bind_writer(tmp_path, None)
        address = writer_address(tmp_path)
        assert stat.S_IMODE(os.stat(address).st_mode) == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as worker:
            worker.connect(address)
        listener.close()


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(StateError, match="runtime_dir: /nowhere"):
        bind_writer(Path("/nowhere"), None)
