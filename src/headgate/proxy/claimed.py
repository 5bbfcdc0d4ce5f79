"""The keys that this worker gets from the origin for all workers: its claims (`cache/claims`), and their flights.

A claim is taken before the origin is asked, and given back when nobody may wait for that flight any more. What was
stored meanwhile is said to be here: who misses asks for it. One that the kernel refuses (ENOLCK) costs what another
worker may fetch beside us; it is counted, and told now and then.
"""

from __future__ import annotations

import os
from typing import Final, Protocol, final

from headgate.cache.claims import MINE, NOBODY, Claims
from headgate.cache.home import FULL
from headgate.counters import CACHE_ALONE_FIRST, CACHE_CLAIMS_FAILED
from headgate.net.poller import Poller
from headgate.proxy.awaited import DISCARDING, Awaited
from headgate.proxy.flight import Flight

# Keys that one worker has claimed at once: the kernel looks through their list. One more is fetched unclaimed.
MAX_CLAIMS: Final = 4096
# Locks that the kernel refuses are told of this often, in seconds.
TOLD_EVERY: Final = 30.0


class Event(Protocol):
    """Where events go (`EventLog.event`)."""

    def __call__(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


@final
class Claimed:
    """The claims of one worker, and by key the flight that each is for."""

    def __init__(self, claims: Claims, poller: Poller, values: list[int], event: Event) -> None:
        self.claims = claims
        self.flights: dict[bytes, Awaited] = {}
        self._poller = poller
        self._values = values
        self._event = event
        self._seen = claims.failures
        self._told = claims.failures
        self._told_until = 0.0  # loop time

    def __repr__(self) -> str:
        return f"<Claimed by worker {self.claims.slot}: {len(self.flights)}>"

    def has(self, key: bytes) -> bool:
        """Tell whether this worker gets a key from the origin just now."""
        return key in self.flights

    def home(self, key: bytes) -> int:
        """Return the slot of the worker that sees to a key now, or has it; NOBODY for none."""
        if key in self.flights:
            return self.claims.slot
        owner = self.claims.owner(key)
        return self.claims.holder(key) if owner == NOBODY else owner

    def claim(self, flight: Awaited, past: tuple[int, ...]) -> int:
        """Let a flight fetch its key for all (MINE), or return the slot of who does or has it, but for those of
        `past`, which have nothing for it; else NOBODY."""
        if flight.key in self.flights:
            self.flights[flight.key] = flight  # nobody waits any more for the one before
            return MINE
        if len(self.flights) >= MAX_CLAIMS:
            self._values[CACHE_ALONE_FIRST + FULL] += 1
            return NOBODY
        owner = self.claims.take(flight.key, past)
        if owner == MINE:
            self.flights[flight.key] = flight
        self._look()
        return owner

    def pass_on(self, lead: Awaited, flight: Awaited) -> None:
        """What `lead` has claimed is the flight's that it becomes."""
        if self.flights.get(lead.key) is lead:
            self.flights[lead.key] = flight

    def give_back(self, awaited: Awaited) -> None:
        """A flight is not to be waited for any more; what it stores others may ask for."""
        key = awaited.key
        flight = self.flights.get(key)
        if flight is None or flight is not awaited:
            return
        del self.flights[key]
        stored = flight.stored
        if stored is None and isinstance(flight, Flight) and flight.state == DISCARDING:
            stored = flight.variant
        if stored is not None:
            self.claims.hold(key, beside=bool(stored.vary))
        self.claims.give_back(key)
        self._look()

    def _look(self) -> None:
        """Count the locks that were refused, and tell of them."""
        failures = self.claims.failures
        if failures != self._seen:
            self._values[CACHE_CLAIMS_FAILED] += failures - self._seen
            self._seen = failures
            self._tell(failures)

    def _tell(self, failures: int) -> None:
        now = self._poller.now
        if now < self._told_until:
            return
        self._told_until = now + TOLD_EVERY
        number = self.claims.failure
        self._event(
            "cache-claims-failed",
            "warning",
            errno=number,
            reason=os.strerror(number),
            count=failures - self._told,
            next="such keys are fetched unclaimed, which may cost a request for each worker; "
            f"each miss tries again, and this is told every {TOLD_EVERY:g} s at most",
        )
        self._told = failures

    def close(self) -> None:
        """Give back all claims: nothing is claimed any more."""
        self.flights.clear()
        self.claims.close()
