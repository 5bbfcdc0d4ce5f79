"""The dynamic table of an HPACK encoder (RFC 7541 section 2.3.2): literals, and where each of them stands.

An entry has an absolute number, which never changes: the first one ever inserted has 0. The index on the wire counts
from the newest one backwards.
"""

from typing import final

from headgate.engine.h2.hpack_static import FIRST_DYNAMIC


@final
class Literal:
    """What one line is on the wire, worked out once and shared by all connections.

    `size` is what it takes in a table, 0 for one that is never inserted. `inserting` is the literal that inserts it;
    `plain` is the one that does not, or an index into the static table.
    """

    __slots__ = ("inserting", "line", "plain", "size")

    def __init__(self, line: bytes, plain: bytes, inserting: bytes, size: int) -> None:
        self.line = line
        self.plain = plain
        self.inserting = inserting
        self.size = size

    def __repr__(self) -> str:
        return f"<Literal size={self.size}>"


@final
class EncoderTable:
    """Entries from `dropped` up to, but not including, `inserted`; their sizes sum up to `size` <= `capacity`."""

    __slots__ = ("_entries", "capacity", "inserted", "places", "size")

    def __init__(self, capacity: int) -> None:
        self._entries: list[Literal] = []
        self.places: dict[bytes, int] = {}  # line to absolute number
        self.inserted = 0
        self.size = 0
        self.capacity = capacity

    def __repr__(self) -> str:
        return f"<EncoderTable {len(self._entries)} of {self.inserted} {self.size}/{self.capacity}>"

    def index(self, line: bytes) -> int:
        """Return the index of a line on the wire, 0 for none."""
        place = self.places.get(line, -1)
        return FIRST_DYNAMIC - 1 + self.inserted - place if place >= 0 else 0

    def set_capacity(self, capacity: int) -> None:
        """Evict what no longer fits."""
        self.capacity = capacity
        self._evict(capacity)

    def insert(self, literal: Literal) -> None:
        """Add a line that is not there and fits; old ones make room for it."""
        self._evict(self.capacity - literal.size)
        self.places[literal.line] = self.inserted
        self._entries.append(literal)
        self.inserted += 1
        self.size += literal.size

    def _evict(self, room: int) -> None:
        gone = 0
        while self.size > room:
            entry = self._entries[gone]
            self.size -= entry.size
            del self.places[entry.line]
            gone += 1
        if gone > 0:
            del self._entries[:gone]
