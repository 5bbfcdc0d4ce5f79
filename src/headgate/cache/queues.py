"""Who stays in a full cache: S3-FIFO (Yang et al., SOSP 2023; Traffic Server has it since 2026, for it beat LRU and
CLFUS on each of their traces).

    small    what is new, a tenth of the budget. At its end, what was asked for twice meanwhile moves to the main
             queue; the rest leaves, and stays known as a ghost for a while
    main     what was asked for, and who comes back as a ghost. At its end, each use since buys another round

So a scan of things that are asked for once never empties the cache, which SIEVE does not promise, and a hit moves
nothing: it counts to three.
"""

from typing import Final, final

from headgate.cache.entry import KeyEntry
from headgate.cache.fingerprints import Ghosts

USES_COUNTED: Final = 3
_USES_TO_STAY: Final = 2  # in the small queue
# An eviction looks at this many nodes in use before it takes one: no put ever walks a million of them.
_SECOND_CHANCES: Final = 64
_SMALL_SHARE: Final = 10
_LEAST_GHOSTS: Final = 64


@final
class _Queue:
    """Nodes in the order in which they came, doubly linked: any may leave."""

    __slots__ = ("count", "newest", "octets", "oldest")

    def __init__(self) -> None:
        self.count = 0
        self.octets = 0
        self.newest: KeyEntry | None = None
        self.oldest: KeyEntry | None = None

    def push(self, node: KeyEntry) -> None:
        newest = self.newest
        node.older = newest
        node.newer = None
        if newest is None:
            self.oldest = node
        else:
            newest.newer = node
        self.newest = node
        self.count += 1
        self.octets += node.octets

    def remove(self, node: KeyEntry) -> None:
        older, newer = node.older, node.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        node.older = node.newer = None
        self.count -= 1
        self.octets -= node.octets


@final
class Queues:
    """The nodes of a store, in the queues that they are in."""

    __slots__ = ("_ghosts", "_main", "_small", "_small_share")

    def __init__(self, budget: int) -> None:
        self._small = _Queue()
        self._main = _Queue()
        self._small_share = budget // _SMALL_SHARE
        self._ghosts = Ghosts(budget // 8192)

    def __len__(self) -> int:
        return self._small.count + self._main.count

    def __repr__(self) -> str:
        return f"<Queues {self._small.count} small, {self._main.count} main>"

    @property
    def octets(self) -> int:
        return self._small.octets + self._main.octets

    def come(self, node: KeyEntry) -> None:
        """Take in a node; one that left lately is known to be wanted."""
        node.is_main = self._ghosts.take(node.key, max(self._main.count, _LEAST_GHOSTS))
        self._of(node).push(node)

    def leave(self, node: KeyEntry) -> None:
        self._of(node).remove(node)

    def grow(self, node: KeyEntry, octets: int) -> None:
        """Count octets of a node that is here."""
        node.octets += octets
        self._of(node).octets += octets

    def victim(self, keep: KeyEntry | None) -> KeyEntry | None:
        """Return the node that is to leave next, never `keep`; None: there is no other. It is in its queue still."""
        others = 0 if keep is None else 1
        small, main = self._small, self._main
        while small.count + main.count > others:
            has_other = main.count > 1 or (main.count == 1 and main.oldest is not keep)
            if small.count and (small.octets > self._small_share or not has_other):
                node = self._from_small(keep)
            else:
                node = self._from_main(keep)
            if node is not None:
                return node
        return None

    def _of(self, node: KeyEntry) -> _Queue:
        return self._main if node.is_main else self._small

    def _from_small(self, keep: KeyEntry | None) -> KeyEntry | None:
        """The oldest of the small queue leaves, or moves on to the main queue."""
        node = self._small.oldest
        if node is None:
            return None
        if node is not keep and node.uses < _USES_TO_STAY:
            self._ghosts.add(node.key)
            return node
        self._small.remove(node)
        node.is_main = True
        node.uses = 0
        self._main.push(node)
        return None

    def _from_main(self, keep: KeyEntry | None) -> KeyEntry | None:
        """The oldest of the main queue that nobody used leaves."""
        main = self._main
        for _ in range(_SECOND_CHANCES):
            node = main.oldest
            if node is None:
                return None
            if node is not keep and node.uses == 0:
                return node
            if node.uses:
                node.uses -= 1
            main.remove(node)
            main.push(node)
        node = main.oldest
        return node if node is not keep else None
