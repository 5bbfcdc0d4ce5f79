"""The socket at which workers tell the writer of the cache on disk what to store.

It is bound before the writer is forked, and stays open in the supervisor: a writer that died leaves no worker
without a connection, and what was sent meanwhile waits for the next one. Files may be removed by what cleans up old
ones, and a writer that binds anew dies like any other: so each looks whether the file is that of its own socket.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from headgate.process.directories import StateError
from headgate.process.privileges import Account

FOLDER: Final = "cache"  # in state_dir
NAME: Final = "cache.sock"
_MADE: Final = ".cache"  # until it has that name
# Workers of this generation and of the one before; each has one connection.
_BACKLOG: Final = 1024
# Between two looks at the file, and until the next try where it could not be bound; as `peer_plane` has it.
LOOK_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 30.0

Event = Callable[..., None]  # `EventLog.event`


def writer_address(runtime_dir: Path) -> str:
    """Return the path of the socket."""
    return str(runtime_dir / NAME)


@final
class WriterSocket:
    """The listening socket and its file. Raises `StateError` when it is made; `owner`, and nobody else, is let in."""

    def __init__(self, runtime_dir: Path, owner: Account | None) -> None:
        self.address: Final = writer_address(runtime_dir)
        self._look_at = 0.0
        try:
            self.listener, self._file = self._bind(owner)
        except OSError as exc:
            raise StateError(
                f"runtime_dir: {self.address}: {exc.strerror or exc} (errno {exc.errno})"
            ) from exc

    def __repr__(self) -> str:
        return f"<WriterSocket {self.address}>"

    def _bind(self, owner: Account | None) -> tuple[socket.socket, tuple[int, int]]:
        """Return a socket in place of whatever is there (the lock of state_dir says that there is no other gate), and
        which file it is. Raises OSError."""
        made = os.path.join(os.path.dirname(self.address), _MADE)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            if os.path.lexists(made):
                os.unlink(made)
            listener.bind(made)
            os.chmod(made, 0o600)
            if owner is not None and os.geteuid() == 0:
                os.chown(made, owner.uid, owner.gid)
            listener.listen(_BACKLOG)
            file = _file_at(made)
            os.rename(made, self.address)
        except OSError:
            listener.close()
            raise
        return listener, file

    def look(self, now: float, event: Event) -> bool:
        """In the writer, now and then: bind anew where the file is gone, or is that of a writer that has died. True:
        there is another `listener`, and the one before is the caller's to close. `now` is monotonic seconds."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        try:
            if _file_at(self.address) == self._file:
                return False
        except OSError:
            pass  # then binding says why
        try:
            self.listener, self._file = self._bind(None)
        except OSError as error:
            self._look_at = now + RETRY_SECONDS
            event(
                "cache-writer-not-bound",
                "warning",
                address=self.address,
                errno=error.errno,
                reason=error.strerror or str(error),
                next="what workers that start from now on have on the disk is read, and nothing added; "
                f"another try in {RETRY_SECONDS:g} s",
            )
            return False
        event(
            "cache-writer-bound",
            "warning",
            address=self.address,
            reason="its file had been removed",
            next="workers reach the writer again",
        )
        return True

    def close(self) -> None:
        """Close it; the file stays, for whoever else has it open."""
        self.listener.close()


def _file_at(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
