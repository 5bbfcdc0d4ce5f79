"""A plain stream socket (TCP or Unix) as a transport."""

import errno
import socket
from typing import Final, final

from headgate.errors import TransportError
from headgate.net.transport import Transport

_WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


def broken(what: str, error: OSError) -> TransportError:
    """Translate a socket's error: `reason` is the errno's name in lower case."""
    number = error.errno or 0
    return TransportError(
        errno.errorcode.get(number, "error").lower(), number, f"{what}: {error.strerror or error}"
    )


@final
class TcpTransport(Transport):
    """Takes over a connected, non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._closed = False

    def __repr__(self) -> str:
        return f"<TcpTransport fd={self._sock.fileno()}>"

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self, limit: int) -> bytes | None:
        try:
            return self._sock.recv(limit)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise broken("read", error) from error

    def write(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return 0
            raise broken("write", error) from error

    def shutdown(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone already: there is nobody left to tell

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._sock.close()
