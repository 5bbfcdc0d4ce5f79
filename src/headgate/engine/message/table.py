"""The dynamic table of an HPACK or a QPACK decoder (RFC 7541 section 2.3.2, RFC 9204 section 3.2): lines in the order
they were inserted.

An entry is known by its absolute index, which never changes (the first one ever inserted has 0), or by how many came
after it.
"""

from typing import final

from headgate.engine.message.lines import Line


@final
class DynamicTable:
    """Entries from `dropped` up to, but not including, `inserted`; their sizes sum up to `size` <= `capacity`."""

    __slots__ = ("_entries", "capacity", "dropped", "size")

    def __init__(self) -> None:
        self._entries: list[Line] = []
        self.dropped = 0
        self.size = 0
        self.capacity = 0

    def __repr__(self) -> str:
        return f"<DynamicTable {self.dropped}..{self.inserted} {self.size}/{self.capacity}>"

    @property
    def inserted(self) -> int:
        """How many entries were ever inserted: the Insert Count of RFC 9204."""
        return self.dropped + len(self._entries)

    def get(self, index: int) -> Line | None:
        """Return the entry with this absolute index, or None when there is none (any more, or yet)."""
        at = index - self.dropped
        if 0 <= at < len(self._entries):
            return self._entries[at]
        return None

    def newest(self, back: int) -> Line | None:
        """Return the entry behind which `back` others were inserted, or None when there is none."""
        at = len(self._entries) - 1 - back
        return self._entries[at] if at >= 0 else None

    def clear(self) -> None:
        """Evict everything."""
        self._evict(0)

    def set_capacity(self, capacity: int) -> None:
        """Evict what no longer fits."""
        self.capacity = capacity
        self._evict(capacity)

    def insert(self, line: Line) -> bool:
        """Add an entry, evicting old ones; False when it is larger than the whole table."""
        if line.size > self.capacity:
            return False
        self._evict(self.capacity - line.size)
        self._entries.append(line)
        self.size += line.size
        return True

    def _evict(self, room: int) -> None:
        gone = 0
        while self.size > room:
            self.size -= self._entries[gone].size
            gone += 1
        if gone > 0:
            del self._entries[:gone]
            self.dropped += gone
