"""Counters of the cache: in memory, on disk, and between workers."""

from typing import Final

from headgate.counters.limits import HELD
from headgate.counters.table import TABLE, counter, gauge

# The words for where an answer came from, in the order of the numbers in `cache/outcome`.
CACHE_OUTCOMES: Final[tuple[str, ...]] = (
    "HIT",
    "STALE",
    "REVALIDATED",
    "EXPIRED",
    "MISS",
    "COLLAPSED",
    "BYPASS",
    "UNCACHEABLE",
    "REFUSED",
)
CACHE_FIRST: Final = len(TABLE)
for _outcome in CACHE_OUTCOMES:
    counter("cache_requests_total", "Requests to routes with a cache, by outcome.", outcome=_outcome.lower())
CACHE_SERVED: Final = counter(
    "cache_served_bytes_total", "Content sent from stored responses, and from those being stored."
)
_FETCHED = "Content that origins sent to routes with a cache, by use: to be stored, or for one client alone."
CACHE_FETCHED: Final = counter("cache_fetched_bytes_total", _FETCHED, use="filled")
CACHE_PASSED: Final = counter("cache_fetched_bytes_total", _FETCHED, use="passed")
CACHE_FILLS: Final = counter("cache_fills_total", "Answers of origins that began to be stored.")
_CACHE_FILLED = "Answers of origins that were to be stored, by what became of them."
CACHE_STORED: Final = counter("cache_filled_total", _CACHE_FILLED, result="stored")
CACHE_REFUSED: Final = counter("cache_filled_total", _CACHE_FILLED, result="refused")
CACHE_FILLS_BROKEN: Final = counter("cache_filled_total", _CACHE_FILLED, result="broken-off")
CACHE_FILLS_LEFT: Final = counter(
    "cache_fills_left_total",
    "Answers of origins that were given up because all clients had left and too much was still to come.",
)
CACHE_REFRESHED: Final = counter(
    "cache_refreshed_total", "Requests to origins that confirm what is served stale meanwhile."
)
CACHE_SLICES_FIRST: Final = len(TABLE)
for _outcome in CACHE_OUTCOMES:
    counter("cache_slices_total", "Slices that downloads asked for, by outcome.", outcome=_outcome.lower())
_SLICES_BAD = "Slices that were not what downloads asked for, by what became of it."
CACHE_SLICES_DROPPED: Final = counter("cache_slices_bad_total", _SLICES_BAD, what="asked-again")
CACHE_SLICES_BROKEN: Final = counter("cache_slices_bad_total", _SLICES_BAD, what="broken-off")
CACHE_SLICES_REFUSED: Final = counter("cache_slices_bad_total", _SLICES_BAD, what="unsliced")
# The words of `cache/purges`, in its order.
CACHE_PURGE_KINDS: Final[tuple[str, ...]] = ("everything", "host", "prefix", "url", "tag")
CACHE_PURGES_FIRST: Final = len(TABLE)
for _kind in CACHE_PURGE_KINDS:
    counter("cache_purges_total", "Purges that were given, by kind; the keeper hands them on.", kind=_kind)
# Why a worker asks the origin itself: the words of `cache/home`, in its order.
CACHE_ALONE: Final[tuple[str, ...]] = (
    "unreachable",
    "late",
    "broken",
    "silent",
    "full",
    "resting",
    "purged",
    "not-stored",
    "unsuited",
    "malformed",
    "gone",
)
_PEERS = "Requests to the worker that sees to a key: answered, or why not; then this one sees to it."
CACHE_PEERS_ANSWERED: Final = counter("cache_peers_total", _PEERS, result="answered")
CACHE_ALONE_FIRST: Final = len(TABLE)
for _why in CACHE_ALONE:
    counter("cache_peers_total", _PEERS, result=_why)
CACHE_PEERS_SERVED: Final = counter(
    "cache_peers_served_total", "Requests that came from other workers, to the one that sees to their key."
)
CACHE_CLAIMS_FAILED: Final = counter(
    "cache_claims_failed_total",
    "Locks of keys that the kernel refused, for want of memory for one: such keys are fetched unclaimed.",
)
CACHE_PEERS_REFUSED: Final = counter(
    "cache_peers_refused_total", "Connections of other workers that were refused for want of room."
)
CACHE_LIMITED_FIRST: Final = len(TABLE)
_LIMITS = "Limits that kept answers from being stored, or that had what was stored go or be confirmed."
# In the order of `proxy/caching`.
for _limit in ("key", "vary", "variants", "room", "purges", "invalidations"):
    counter("cache_limited_total", _LIMITS, limit=_limit)
CACHE_EVICTED: Final = counter("cache_evicted_total", "Keys that left the memory for want of room.")
CACHE_OCTETS: Final = gauge("cache_memory_bytes", "Memory that stored responses take now.")
CACHE_OBJECTS: Final = gauge("cache_objects", "Responses stored in memory now.")
CACHE_SENDFILE: Final = counter(
    "cache_sendfile_bytes_total", "Content of stored responses sent from files by sendfile."
)
_DISK = "Look-ups in the cache on disk, by what they found."
CACHE_DISK_HITS: Final = counter("cache_disk_lookups_total", _DISK, result="hit")
CACHE_DISK_MISSES: Final = counter("cache_disk_lookups_total", _DISK, result="miss")
CACHE_DISK_CORRUPT: Final = counter(
    "cache_disk_corrupt_total", "Responses on disk that were not what was written, each taken for a miss."
)
CACHE_DISK_SENT: Final = counter("cache_disk_sent_total", "Messages to the writer of the cache on disk.")
CACHE_DISK_DROPPED: Final = counter(
    "cache_disk_dropped_total", "Messages that the writer did not take: what they say is not on the disk."
)
_FOLDED = "Times that more waited for the writer than is kept, so that one word for all took their place."
CACHE_DISK_FOLDED_REMOVALS: Final = counter("cache_disk_folded_total", _FOLDED, what="invalidations")
CACHE_DISK_FOLDED_PURGES: Final = counter("cache_disk_folded_total", _FOLDED, what="purges")
_GIVEN_UP = "Large answers that had to make room: stored no more, or a file closed that a client was reading."
CACHE_DISK_GIVEN_UP: Final = counter("cache_disk_given_up_total", _GIVEN_UP, what="stored")
CACHE_DISK_CUT_SHORT: Final = counter("cache_disk_given_up_total", _GIVEN_UP, what="read")
CACHE_DISK_PAUSED: Final = gauge(
    "cache_disk_paused", "Processes that leave the disk alone for a while because it failed or was slow."
)
CACHE_DISK_UNWRITTEN: Final = counter(
    "cache_disk_unwritten_total", "Messages that the writer took and could not write."
)
CACHE_DISK_EVICTED: Final = counter(
    "cache_disk_evicted_total", "Responses that left the disk for want of room."
)
CACHE_DISK_OCTETS: Final = gauge("cache_disk_bytes", "What the cache on disk takes now.")
CACHE_DISK_OBJECTS: Final = gauge("cache_disk_objects", "Responses stored on disk now.")
CACHE_HELD: Final = gauge("held_bytes", HELD, limit="cache-fills")
