"""The values of one process, and the shared page in which they survive it.

Once in a sweep the list is copied into the page, where the keeper reads it; a crash loses at most one sweep.
"""

import mmap
import struct
from typing import Final

from headgate.counters.process import PUBLISHED
from headgate.counters.table import TABLE

# The package imports this last: the table is whole.
SIZE: Final = len(TABLE)
_PACK: Final = struct.Struct(f"<{SIZE}q")


class CounterPage:
    """The shared page of one slot: made before the fork, written by one process, read by the keeper."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _PACK.size)

    def store(self, values: list[int]) -> None:
        """Publish a process's values."""
        # One copy of finished bytes: pack_into would clear the page first and then write it byte by byte, and a
        # reader in between would see counters that fell to zero.
        self._map[:] = _PACK.pack(*values)

    def load(self) -> list[int]:
        """Return what was last published; zeros before the first time."""
        return list(_PACK.unpack(self._map[:]))


class Counters:
    """The counters of this process. Hot code takes `values` once and adds to its items."""

    def __init__(self, page: CounterPage | None = None) -> None:
        self.page = page
        # A restarted worker goes on counting where the dead one stopped; gauges begin anew.
        self.values: list[int] = page.load() if page is not None else [0] * SIZE
        for index, metric in enumerate(TABLE):
            if metric.kind == "gauge":
                self.values[index] = 0

    def publish(self) -> None:
        """Copy the values into the shared page; called once in a sweep."""
        self.values[PUBLISHED] += 1
        if self.page is not None:
            self.page.store(self.values)
