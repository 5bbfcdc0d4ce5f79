"""A plain stream socket (TCP or Unix) as a transport."""

import errno
import os
import socket
import struct
from typing import Final, final

from headgate.errors import TransportError
from headgate.net.transport import NOT_SENT, Transport

# read(2) and write(2) by descriptor: half the interpreter's cost of the socket's own methods.
_read: Final = os.read
_write: Final = os.write
_sendfile: Final = os.sendfile
# SO_LINGER on, for no time: what was not sent is thrown away, and the peer gets a reset.
RESET: Final = struct.pack("ii", 1, 0)
# EINPROGRESS: a Fast Open whose cookie is gone since; the SYN went out without the data.
_WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.EINPROGRESS)
# What sendfile(2) says of the file, not of the socket: its disk fails; its file system or this kernel cannot do it.
_OF_THE_FILE: Final = (errno.EIO, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.ESTALE)


def broken(what: str, error: OSError) -> TransportError:
    """Translate a socket's error: `reason` is the errno's name in lower case."""
    number = error.errno or 0
    name = errno.errorcode.get(number, "error")
    return TransportError(name.lower(), number, f"{what}: {name} ({error.strerror or error})")


@final
class TcpTransport(Transport):
    """Takes over a connected, non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._closed = False
        self.sends_files = True

    def __repr__(self) -> str:
        return f"<TcpTransport fd={self._fd}>"

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int) -> bytes | None:
        try:
            return _read(self._fd, limit)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise broken("read", error) from error

    def write(self, data: bytes) -> int:
        try:
            return _write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return 0
            raise broken("write", error) from error

    def write_more(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_MORE)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return 0
            raise broken("write", error) from error

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        try:
            return _sendfile(self._fd, descriptor, at, size) or NOT_SENT
        except BlockingIOError:
            return 0
        except OSError as error:
            number = error.errno
            if number in _WOULD_BLOCK:
                return 0
            if number in _OF_THE_FILE:
                return NOT_SENT
            raise broken("sendfile", error) from error

    def shutdown(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone already: there is nobody left to tell

    def reset_on_close(self) -> None:
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:
            pass  # it is closed already

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._fd = -1  # the number may be somebody else's by now
            self._sock.close()
