"""Datagrams of the application (RFC 9221): sent once, in no order, lost for good when they are lost.

Off by default. What does not fit is refused where it is sent; what waits is bounded in both directions, and there the
oldest goes first: it is worth least (section 5).
"""

from typing import Final, final

from headgate.errors import LocalProtocolError

# Of a frame, which is what max_datagram_frame_size says: it fits into the smallest packet of every path.
MAX_DATAGRAM_FRAME: Final = 1200
# quinn holds 1 MiB, quiche as many as it is told; real-time senders want neither.
MAX_QUEUED: Final = 64
MAX_QUEUED_OCTETS: Final = 64 * 1024
# Kind and length in front of the data.
HEADER: Final = 3
# What the smallest packet has for frames: 1200 octets but for the longest header, ID included, and the tag.
ROOM: Final = 1200 - 1 - 20 - 4 - 16


@final
class DatagramQueue:
    """Waits in one direction. `dropped` counts what made room for newer ones."""

    __slots__ = ("_held", "_octets", "dropped")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._octets = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<DatagramQueue {len(self._held)}, {self._octets} octets, {self.dropped} dropped>"

    def push(self, data: bytes) -> None:
        """Put one at the end; the oldest go while there are too many."""
        self._held.append(data)
        self._octets += len(data)
        while len(self._held) > MAX_QUEUED or self._octets > MAX_QUEUED_OCTETS:
            self._octets -= len(self._held.pop(0))
            self.dropped += 1

    def pop(self) -> bytes:
        """Take the oldest; there must be one."""
        data = self._held.pop(0)
        self._octets -= len(data)
        return data

    def size_of_next(self) -> int:
        """Return how long the oldest is; there must be one."""
        return len(self._held[0])


@final
class Datagrams:
    """The datagrams of one connection. `largest` is how much data one may carry now, 0: none may be sent."""

    __slots__ = ("incoming", "is_enabled", "largest", "outgoing")

    def __init__(self, *, is_enabled: bool) -> None:
        self.is_enabled: Final = is_enabled
        self.incoming = DatagramQueue()
        self.outgoing = DatagramQueue()
        self.largest = 0

    def __repr__(self) -> str:
        return f"<Datagrams up to {self.largest} octets, in {self.incoming!r}, out {self.outgoing!r}>"

    def set_peer_limit(self, frame_size: int) -> None:
        """Take over the peer's max_datagram_frame_size."""
        size = min(frame_size, ROOM) - HEADER
        self.largest = size if self.is_enabled and size > 0 else 0

    def send(self, data: bytes) -> None:
        """Send one, as soon as there is room for it. Raises `LocalProtocolError` for one that cannot be sent."""
        if not self.largest:
            raise LocalProtocolError("datagrams are not enabled on both sides")
        if len(data) > self.largest:
            raise LocalProtocolError(f"a datagram of {len(data)} octets, {self.largest} are the most")
        self.outgoing.push(data)

    def receive(self) -> bytes | None:
        """Return the oldest that came, None when there is none."""
        return self.incoming.pop() if len(self.incoming) else None

    def on_frame(self, data: bytes) -> None:
        """A DATAGRAM frame came; whether it was agreed on, engine/quic/frames has checked."""
        self.incoming.push(data)

    def next(self, room: int, *, is_alone: bool) -> bytes | None:
        """Return the next one for a packet that has `room` for frames, None where none fits.

        One that does not fit into a packet of its own (`is_alone`), because the path has shrunk, is dropped.
        """
        outgoing = self.outgoing
        while len(outgoing):
            if outgoing.size_of_next() + HEADER <= room:
                return outgoing.pop()
            if not is_alone:
                return None
            outgoing.pop()
            outgoing.dropped += 1
        return None
