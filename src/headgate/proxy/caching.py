"""What all cached routes of a worker share: the store, the flights under way, the room for what is being stored."""

from __future__ import annotations

import mmap
import os
import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from headgate.cache.entry import KeyEntry, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.huge_pages import HugePages
from headgate.cache.key import MAX_KEY
from headgate.cache.memory import MemoryStore
from headgate.cache.partial import change_body
from headgate.cache.purges import MAX_INVALID, MAX_PURGES, URL, url_of
from headgate.cache.store.bodies import CheckedBody
from headgate.cache.vary import MAX_VARY_NAMES
from headgate.counters import (
    CACHE_EVICTED,
    CACHE_HELD,
    CACHE_LIMITED_FIRST,
    CACHE_OBJECTS,
    CACHE_OCTETS,
    CACHE_REFUSED,
    CACHE_STORED,
)

if TYPE_CHECKING:
    from headgate.proxy.awaited import Awaited
    from headgate.proxy.disk_tier import DiskTier
    from headgate.proxy.peers import Peers

# What is being stored is held beside the store's budget, and so is what slow clients are still sent of what the store
# has let go of: a quarter of that at most, beyond it answers are passed on and not stored. Varnish takes it from the
# store itself, and evicts for answers that never come to an end.
_HELD_SHARE: Final = 4
BACKGROUND_FILL: Final = 8 * 1024**2


# A store of less is in the processor's caches, or nearly.
_WORTH_HUGE_PAGES: Final = 64 * 1024**2

# What stood in the way of storing: names of the counters from CACHE_LIMITED_FIRST on, and what an operator may do.
LIMIT_KEY: Final = 0
LIMIT_VARY: Final = 1
LIMIT_VARIANTS: Final = 2
LIMIT_ROOM: Final = 3
LIMIT_PURGES: Final = 4
LIMIT_INVALIDATIONS: Final = 5
_LIMITED: Final[tuple[str, ...]] = (
    f"a key of more than {MAX_KEY} octets: such requests go by the cache; key_headers, key_cookies or the query are"
    " too long, leave some of it out of the key",
    f"a Vary of more than {MAX_VARY_NAMES} fields: such answers are not stored; let the origin name fewer",
    "a URL has more variants than fit: the oldest make room; raise max_variants or memory, let the origin vary by"
    " fewer fields, or set accept_encoding",
    "answers that are being stored, and what slow clients are still sent of what the cache has let go of, take a"
    " quarter of memory: until some of it is gone, answers are passed on and not stored; raise memory",
    f"more than {MAX_PURGES} purges before all that is stored was looked at: everything stored is purged; purge by"
    " prefix, host or tag",
    f"unsafe requests for more than {MAX_INVALID} URLs, whose keys have further parts, before all that is stored was"
    " looked at: everything stored is confirmed before its next use; use fewer key parts",
)


# Places of `Moments`, 8 octets each: with 100 unsafe requests a second, a response is confirmed once too often in 40
# minutes, because it shares its place with something else.
_PLACES: Final = 1 << 18
# Between two looks at its file, and until the next try where it could not be made anew.
LOOK_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 30.0


@final
class Moments:
    """When an unsafe request last went by for a URL (wall seconds), at any worker: a table in memory that all of them
    share, so that none serves what another one knows to be old. Several URLs have one place: the later moment is
    everybody's. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = (0, 0)  # device and inode
        self._places: Any = self._open()
        self._forget_later(time.time() + 1.0)

    def _open(self) -> object:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
            if found.st_size > 8 * _PLACES:
                os.ftruncate(descriptor, 8 * _PLACES)
            # A place that turns out to have no room on the disk would end this process (SIGBUS): now is time to hear.
            os.posix_fallocate(descriptor, 0, 8 * _PLACES)
            places = memoryview(mmap.mmap(descriptor, 8 * _PLACES)).cast("d")
        finally:
            os.close(descriptor)
        self._file = (found.st_dev, found.st_ino)
        return places

    def share_again(self) -> bool:
        """Go over to the file that is there now, with all that is known here; False: it is ours still.

        Something may remove it: a worker that starts later would then have a table of its own, and none would hear of
        the others. Raises OSError; what was shared before still is.
        """
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._file:
                return False
        except FileNotFoundError:
            pass
        known: list[float] = self._places.tolist()
        places: Any = self._open()
        for place, moment in enumerate(known):
            if moment > 0.0:
                places[place] = max(float(places[place]), moment)
        self._places = places
        return True

    def _forget_later(self, latest: float) -> None:
        """A clock was set back: nothing could be asked for after such a moment."""
        moments: list[float] = self._places.tolist()
        for place, moment in enumerate(moments):
            if not 0.0 <= moment <= latest:
                self._places[place] = 0.0

    def set(self, url: bytes, moment: float) -> None:
        """Let all workers know."""
        place = zlib.crc32(url) & (_PLACES - 1)
        self._places[place] = max(float(self._places[place]), moment)

    def of(self, key: bytes) -> float:
        """Return the moment for the URL in a key, 0.0 for none."""
        return float(self._places[zlib.crc32(url_of(key)) & (_PLACES - 1)])


@final
class Cache:
    """The cache of one worker. `flights` has what others may wait for, by key."""

    def __init__(
        self,
        store: MemoryStore,
        values: list[int],
        *,
        shows: bool,
        disk: DiskTier | None = None,
        background_fill: int = BACKGROUND_FILL,
    ) -> None:
        self.store = store
        self.disk = disk
        self.values = values
        self.shows = shows  # answers have Cache-Status
        self.warn: Callable[[str, str], None] | None = None  # takes the word of an event, and what happened
        self._warned: set[tuple[str, int]] = set()
        self.has_parts = False  # there may be keys of more than a URI
        self.flights: dict[bytes, Awaited] = {}
        self.peers: Peers | None = None  # the other workers, where they are asked
        self.moments: Moments | None = None  # what they know of unsafe requests
        self.huge_pages: HugePages | None = None  # where a worker has its memory put together
        self.max_object = store.max_object
        self.background_fill = background_fill  # octets of a response that are fetched when nobody reads it
        self.max_held = store.budget // _HELD_SHARE
        self._look_at = 0.0  # when to look after the table of moments, on the clock of the sweep
        self._lent = 0  # of CACHE_HELD
        self._folded = 0  # how often one purge has stood for too many
        self._folded_invalid = 0  # and one invalidation

    def __repr__(self) -> str:
        return f"<Cache {self.store!r}, {len(self.flights)} flights>"

    def has_room(self, size: int) -> bool:
        """Tell whether an answer of this size (0: unknown) may be held while it comes in."""
        self._count_lent()
        return self.values[CACHE_HELD] + size <= self.max_held

    def _count_lent(self) -> None:
        """Let what is held have in it what slow readers hold and the store does not count."""
        lent = self.store.loans.octets
        if lent != self._lent:
            self.values[CACHE_HELD] += lent - self._lent
            self._lent = lent

    def _count_folded(self) -> None:
        """Tell that there were more purges or invalidations than are kept, so that one of everything took their
        place."""
        purges = self.store.purges
        folded = purges.folded
        if self.disk is not None:
            folded += self.disk.disk.folded
        if folded != self._folded:
            self.limited("", LIMIT_PURGES, folded - self._folded)
            self._folded = folded
        if purges.folded_invalid != self._folded_invalid:
            self.limited("", LIMIT_INVALIDATIONS, purges.folded_invalid - self._folded_invalid)
            self._folded_invalid = purges.folded_invalid

    def limited(self, route: str, limit: int, count: int = 1) -> None:
        """Count what met a limit, and tell the operator once for each route; `route` "": it concerns them all."""
        self.values[CACHE_LIMITED_FIRST + limit] += count
        warn = self.warn
        if warn is not None and (route, limit) not in self._warned:
            self._warned.add((route, limit))
            whose = f"route {route}: " if route else ""
            warn("cache-limit", f"{whose}{_LIMITED[limit]}. Told once; headgate_cache_limited_total counts")

    def forget(self, flight: Awaited) -> None:
        """Nobody else may wait for this flight."""
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]
        if self.peers is not None:
            self.peers.claimed.give_back(flight)

    def pass_on(self, lead: Awaited, flight: Awaited) -> None:
        """Who may wait for `lead` may wait for the flight that it becomes."""
        if self.flights.get(lead.key) is lead:
            self.flights[lead.key] = flight
        if self.peers is not None:
            self.peers.claimed.pass_on(lead, flight)

    def list_again(self, flight: Awaited) -> None:
        """An answer is stored although none to its key could be lately: whoever comes now may wait for it."""
        if flight.key not in self.flights:
            self.flights[flight.key] = flight
            self.store.mark_uncacheable(flight.key, 0.0)

    def under_way(self, key: bytes) -> Awaited | None:
        """Return the flight that one who comes now may wait for, None: there is none, or its request has left before
        a purge or an invalidation of the same."""
        flight = self.flights.get(key)
        if flight is None:
            return None
        stored = flight.stored
        tags = stored.tags if stored is not None else None
        moments = self.moments
        if (moments is not None and flight.started < moments.of(key)) or self.store.is_outdated(
            key, tags, flight.generation, flight.started
        ):
            self.forget(flight)  # and let another worker fetch it
            return None
        return flight

    def keep(self, stored: StoredResponse, *, on_disk: bool = True) -> None:
        """Store a response that is complete; not `on_disk`: in memory alone."""
        self._put(stored)
        if self.disk is not None and on_disk:
            self.disk.store(stored)

    def find(self, key: bytes, *, for_use: bool = True) -> KeyEntry | None:
        """Return what is stored under `key`, in memory or on the disk; not `for_use`: to know that it is."""
        entry = self.store.get(key)
        if self.disk is not None and (entry is None or entry.first is None):
            found = self.disk.find(key, for_use=for_use)
            entry = found if found is not None else entry
        moments = self.moments
        if moments is not None and entry is not None and entry.first is not None:
            entry.invalid_before = max(entry.invalid_before, moments.of(key))
        return entry

    def keep_fill(self, stored: StoredResponse, fill: Fill, *, on_disk: bool = True) -> None:
        """Store a response whose content has all come in: what has a file is there alone, for sendfile is cheaper
        than to write from memory, which is spared in every worker."""
        if fill.upload is None:
            if fill.spooled:
                self.values[CACHE_REFUSED] += 1
                return
            change_body(stored, fill.body())
            self.keep(stored, on_disk=on_disk)
            return
        in_file: CheckedBody | None = None
        if self.disk is not None:
            in_file = self.disk.finish(fill, stored)
        if in_file is not None:
            change_body(stored, in_file)
        elif not fill.spooled:
            change_body(stored, fill.body())
        else:
            self.values[CACHE_REFUSED] += 1
            return
        self._put(stored)

    def _put(self, stored: StoredResponse) -> None:
        if self.store.put(stored):
            self.values[CACHE_STORED] += 1
            return
        self.values[CACHE_REFUSED] += 1
        if self.peers is not None:
            self.peers.claimed.claims.let_go(stored.key)

    def is_there(self, stored: StoredResponse, body: CheckedBody) -> bool:
        """Tell whether content in a file can be served."""
        return self.disk is not None and self.disk.is_there(stored, body)

    def changed(self, stored: StoredResponse, *, on_disk: bool = True) -> None:
        """A stored response was changed in place: by a 304, by the answer to a HEAD."""
        self.store.resize(stored)
        if self.disk is not None and on_disk:
            self.disk.store(stored)

    def remove_variant(self, stored: StoredResponse) -> None:
        """Drop a stored response; on the disk all of its URL goes."""
        self.store.remove_variant(stored)
        if self.disk is not None:
            self.disk.remove(stored.key, time.monotonic(), time.time())

    def invalidate(self, uri: bytes, now: float) -> None:
        """An unsafe request went by (RFC 9111 section 4.4): nothing of this URL is used unconfirmed; `now` is wall
        seconds."""
        if self.moments is not None:
            self.moments.set(url_of(uri), now)
        if self.has_parts:
            self.store.invalidate_url(uri)
        else:
            self.store.invalidate(uri, now)
        if self.disk is not None:
            self.disk.remove(uri, time.monotonic(), now)

    def drop_url(self, uri: bytes, now: float) -> None:
        """Drop all of a URL, whatever its keys have behind it; `now` is wall seconds."""
        self.store.purge(URL, uri)
        if self.disk is not None:
            self.disk.remove(uri, time.monotonic(), now)

    def purge(self, kind: int, pattern: bytes, is_soft: bool, generation: int) -> int:
        """Obey a purge, in memory and on the disk; `generation` is its number on the whole machine. Returns its
        number here."""
        if self.disk is not None:
            self.disk.purge(kind, pattern, is_soft, generation, time.monotonic())
        return self.store.purge(kind, pattern, is_soft, generation)

    def close(self) -> None:
        """Close what is open of the disk."""
        if self.disk is not None:
            self.disk.close()

    def sweep(self, now: float) -> None:
        """Let the counters say how full the store is; free some of what purges have killed."""
        store = self.store
        values = self.values
        self._count_lent()
        self._count_folded()
        values[CACHE_OCTETS] = store.octets
        values[CACHE_OBJECTS] = store.variants
        values[CACHE_EVICTED] = store.evictions
        store.sweep(1000, now)
        if self.huge_pages is not None and store.octets >= _WORTH_HUGE_PAGES:
            self.huge_pages.step_aside(now)
        if self.disk is not None:
            self.disk.sweep(now)
        moments = self.moments
        if moments is not None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look_after(moments, now)

    def _look_after(self, moments: Moments, now: float) -> None:
        try:
            if not moments.share_again():
                return
            said = "it was removed, and is shared again with all that is known here"
        except OSError as error:
            self._look_at = now + RETRY_SECONDS
            said = (
                f"it was removed: {error.strerror} (errno {error.errno}); workers that start from now"
                f" on do not hear what a POST has made old; another try in {RETRY_SECONDS:g} s"
            )
        if self.warn is not None:
            self.warn("cache-moments", f"{moments.path}: {said}")
