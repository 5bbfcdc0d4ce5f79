"""An origin that accepts and never answers: requests sent to it stay open for as long as it lives."""

import select
import socket
import threading
from typing import Final

BACKLOG: Final = 4096


class Held:
    """Listens on `port` at once; connections are closed when their client has closed them, or by `close()`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._ending, self._end = socket.socketpair()
        # How many are held now.
        self.count = 0
        self._thread = threading.Thread(target=self._run, name="held", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        epoll = select.epoll()
        held: dict[int, socket.socket] = {}
        for sock in (self._listener, self._ending):
            sock.setblocking(False)
            epoll.register(sock.fileno(), select.EPOLLIN)
        while True:
            for number, _ in epoll.poll():
                if number == self._ending.fileno():
                    for sock in held.values():
                        sock.close()
                    held.clear()
                    self.count = 0
                    if self._ending.recv(1):
                        break  # whatever else happened was to those
                    epoll.close()
                    return
                if number != self._listener.fileno():
                    held.pop(number).close()
                    self.count = len(held)
                    continue
                try:
                    sock, _ = self._listener.accept()
                except OSError:
                    continue  # gone again, or no descriptor is left: the row sees what is missing
                # What it is sent stays in the kernel; only its end is of interest.
                epoll.register(sock.fileno(), select.EPOLLRDHUP)
                held[sock.fileno()] = sock
                self.count = len(held)

    def drop(self) -> None:
        """Close what is held: some proxies keep on waiting for an origin when their client has gone."""
        self._end.send(b".")

    def close(self) -> None:
        """Close everything."""
        self._end.close()
        self._thread.join(10)
        self._ending.close()
        self._listener.close()
