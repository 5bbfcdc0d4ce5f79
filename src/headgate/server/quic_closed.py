"""Connections that have ended and whose peers may not know it yet (RFC 9000 section 10.2).

For three probe timeouts late packets must find an end and no stranger. All that is kept of such a connection are its
IDs and the datagram that ends it, some hundred octets: the connection itself is let go of at once.
"""

from typing import Final, final

from headgate.engine.quic.closing import Closing
from headgate.net.udp import Peer

# For one endpoint; beyond, the oldest is forgotten, and its peer gets stateless resets instead.
MAX_CLOSED: Final = 10_000


@final
class ClosedRecord:
    """What is left of one connection: where its end goes to, and its IDs."""

    __slots__ = ("closing", "ids", "local", "peer")

    def __init__(self, closing: Closing, ids: list[bytes], peer: Peer, local: bytes) -> None:
        self.closing = closing
        self.ids = ids
        self.peer = peer
        self.local = local


@final
class ClosedConnections:
    """Records by connection ID, and in the order in which they came."""

    __slots__ = ("_by_id", "_records")

    def __init__(self) -> None:
        self._by_id: dict[bytes, ClosedRecord] = {}
        self._records: dict[int, ClosedRecord] = {}  # by identity, oldest first

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<ClosedConnections {len(self._records)}>"

    def add(self, record: ClosedRecord) -> None:
        """Keep one more."""
        while len(self._records) >= MAX_CLOSED:
            self._forget(next(iter(self._records)))
        self._records[id(record)] = record
        for connection_id in record.ids:
            self._by_id[connection_id] = record

    def find(self, connection_id: bytes) -> ClosedRecord | None:
        """Return the record of a connection ID."""
        return self._by_id.get(connection_id)

    def sweep(self, now: float) -> None:
        """Forget those whose time is over."""
        for key in [key for key, record in self._records.items() if now >= record.closing.until]:
            self._forget(key)

    def _forget(self, key: int) -> None:
        record = self._records.pop(key)
        for connection_id in record.ids:
            if self._by_id.get(connection_id) is record:
                del self._by_id[connection_id]
