"""A helper process of the demo: forked with a listening socket, ended when the demo ends.

The gate's supervisor waits for every child of its process, so that a helper that died may be reaped by it: helpers
are held by pidfd, which never means another process.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Final

from headgate.process.fork import fork_child

_GRACE: Final = 5.0

Life = Callable[[socket.socket], int]


def listen(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that listens on a free port: connections wait in it until its helper accepts."""
    return socket.create_server((host, 0), backlog=128)


class Helper:
    """One running helper. `close` ends it."""

    def __init__(self, name: str, sock: socket.socket, life: Life) -> None:
        """Fork it; the caller's copy of `sock` is closed. Raises `OSError`."""
        self.name = name
        self.port = int(sock.getsockname()[1])
        try:
            self.pid = fork_child(name, lambda: life(sock))
        finally:
            sock.close()
        self._pidfd = os.pidfd_open(self.pid)

    def __repr__(self) -> str:
        return f"<Helper {self.name}: process {self.pid}, port {self.port}>"

    def close(self) -> None:
        """End it and wait until it is gone. May be called twice, and after it died."""
        if self._pidfd < 0:
            return
        try:
            # Nothing is lost: a helper holds nothing, and one that has just been forked may still ignore the rest.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            select.select([self._pidfd], [], [], _GRACE)
        except ProcessLookupError:
            pass
        os.close(self._pidfd)
        self._pidfd = -1
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # the supervisor was faster
