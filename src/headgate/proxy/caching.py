"""What all cached routes of a worker share: the store, the flights under way, the room for what is being stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from headgate.cache.entry import StoredResponse
from headgate.cache.memory import MemoryStore
from headgate.counters import (
    CACHE_EVICTED,
    CACHE_HELD,
    CACHE_OBJECTS,
    CACHE_OCTETS,
    CACHE_REFUSED,
    CACHE_STORED,
)

if TYPE_CHECKING:
    from headgate.proxy.flight import Flight

# What is being stored is held beside the store's budget: a quarter of that at most, beyond it answers are passed on
# and not stored. Varnish takes it from the store itself, and evicts for answers that never come to an end.
_HELD_SHARE: Final = 4


@final
class Cache:
    """The cache of one worker. `flights` has what others may wait for, by key."""

    def __init__(self, store: MemoryStore, values: list[int], *, shows: bool) -> None:
        self.store = store
        self.values = values
        self.shows = shows  # answers have Cache-Status
        self.flights: dict[bytes, Flight] = {}
        self.max_object = store.max_object
        self.max_held = store.budget // _HELD_SHARE

    def __repr__(self) -> str:
        return f"<Cache {self.store!r}, {len(self.flights)} flights>"

    def has_room(self, size: int) -> bool:
        """Tell whether an answer of this size (0: unknown) may be held while it comes in."""
        return self.values[CACHE_HELD] + size <= self.max_held

    def forget(self, flight: Flight) -> None:
        """Nobody else may wait for this flight."""
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]

    def keep(self, stored: StoredResponse) -> None:
        """Store a response that is complete."""
        counter = CACHE_STORED if self.store.put(stored) else CACHE_REFUSED
        self.values[counter] += 1

    def sweep(self, now: float) -> None:
        """Let the counters say how full the store is; free some of what purges have killed."""
        store = self.store
        values = self.values
        values[CACHE_OCTETS] = store.octets
        values[CACHE_OBJECTS] = store.variants
        values[CACHE_EVICTED] = store.evictions
        store.sweep(1000, now)
