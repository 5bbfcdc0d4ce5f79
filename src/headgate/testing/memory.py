"""A transport in memory: what the peer sends is put in, what it is sent is taken out, and it takes only so much.

Its descriptor is one that never becomes ready: tests call `on_readable` and `on_writable` themselves.
"""

import os

from headgate.errors import TransportError
from headgate.net.transport import Transport


class MemoryTransport(Transport):
    """`take` bounds what one peer takes until it is raised again; `broken` is raised by the next read or write."""

    def __init__(self, *, take: int = 1 << 40) -> None:
        self.incoming: list[bytes] = []
        self.outgoing = b""
        self.take = take
        self.broken: TransportError | None = None
        self.ended = False
        self.reset = False
        self.closed = False
        self._fd = os.eventfd(0)

    def __repr__(self) -> str:
        return f"<MemoryTransport {len(self.outgoing)} sent{' closed' if self.closed else ''}>"

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int) -> bytes | None:
        if self.broken is not None:
            raise self.broken
        if not self.incoming:
            return None
        data = self.incoming.pop(0)
        if len(data) > limit:
            self.incoming.insert(0, data[limit:])
        return data[:limit]

    def write(self, data: bytes) -> int:
        if self.broken is not None:
            raise self.broken
        taken = data[: self.take]
        self.take -= len(taken)
        self.outgoing += taken
        return len(taken)

    def shutdown(self) -> None:
        self.ended = True

    def reset_on_close(self) -> None:
        self.reset = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)
