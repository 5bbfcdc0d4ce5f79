"""The socket at which workers tell the writer of the cache on disk what to store.

It is bound before the writer is forked, and stays open in the supervisor: a writer that died leaves no worker
without a connection, and what was sent meanwhile waits for the next one.
"""

import os
import socket
from pathlib import Path
from typing import Final

from headgate.process.directories import StateError
from headgate.process.privileges import Account

FOLDER: Final = "cache"  # in state_dir
NAME: Final = "cache.sock"
# Workers of this generation and of the one before; each has one connection.
_BACKLOG: Final = 1024


def writer_address(runtime_dir: Path) -> str:
    """Return the path of the socket."""
    return str(runtime_dir / NAME)


def bind_writer(runtime_dir: Path, owner: Account | None) -> socket.socket:
    """Return the listening socket, which belongs to `owner` and lets in nobody else. Raises `StateError`."""
    address = writer_address(runtime_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if os.path.lexists(address):
            os.unlink(address)  # of a gate that was killed: the lock of state_dir says that there is no other
        listener.bind(address)
        os.chmod(address, 0o600)
        if owner is not None and os.geteuid() == 0:
            os.chown(address, owner.uid, owner.gid)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise StateError(f"runtime_dir: {address}: {exc.strerror or exc} (errno {exc.errno})") from exc
    return listener
