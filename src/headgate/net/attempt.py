"""One address being connected to: a descriptor that the loop watches, and a word to whoever began it when it ends."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from headgate.net.addresses import UNIX, Address

# A Unix socket whose queue is full answers EAGAIN and cannot be waited for.
UNIX_RETRY: Final = 0.01

_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)


class Attempt:
    """A connect in flight. `ended(attempt, number)` is called once: 0 connected, else the errno; perhaps from
    within `begin`. Whoever began it then calls `release` or `close`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        port: int,
        ended: Callable[["Attempt", int], None],
    ) -> None:
        self.address = address
        self.text = address.text(port)
        self.problem = ""  # the errno says it all
        self.began = loop.time()
        self._loop = loop
        self._port = port
        self._ended = ended
        self._sock: socket.socket | None = None
        self._watched = False
        self._retry: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Make the socket and start connecting."""
        try:
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._sock = socket.socket(self.address.socket_family(), kind)
            if self.address.family != UNIX:
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self._ended(self, error.errno or errno.EIO)
            return
        self._connect(self._sock)

    def _connect(self, sock: socket.socket) -> None:
        self._retry = None
        try:
            number = sock.connect_ex(self.address.socket_address(self._port))
        except OSError as error:
            # Python itself refuses a path that is too long and a zone that is no interface, without a number.
            number = error.errno or (errno.ENAMETOOLONG if self.address.family == UNIX else errno.ENODEV)
        except (ValueError, OverflowError):
            number = errno.EINVAL
        if number in _IN_PROGRESS:
            self._watched = True
            self._loop.add_writer(sock.fileno(), self._writable, sock)
        elif number == errno.EAGAIN and self.address.family == UNIX:
            self._retry = self._loop.call_later(UNIX_RETRY, self._connect, sock)
        else:
            self._ended(self, number)

    def _writable(self, sock: socket.socket) -> None:
        self._unwatch(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            # Dialling a port of the ephemeral range on loopback can, by TCP's simultaneous open, reach oneself.
            if number == 0 and sock.getsockname() == sock.getpeername():
                number = errno.ECONNREFUSED
        except OSError:
            pass  # Reset by the peer since: it did connect, and the first read will tell.
        self._ended(self, number)

    def _unwatch(self, sock: socket.socket) -> None:
        if self._watched:
            self._loop.remove_writer(sock.fileno())
            self._watched = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def release(self) -> socket.socket:
        """Hand out the connected socket; it is the caller's to close from now on."""
        sock, self._sock = self._sock, None
        if sock is None:
            raise ValueError("the attempt holds no socket")
        self._unwatch(sock)
        return sock

    def close(self) -> None:
        """Close the socket, if it is still held."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._unwatch(sock)
            sock.close()
