"""What the keeper tells of the cache, and the purges that it has workers obey.

A purge has a number, which only grows (`process/purge_number`). It goes over the supervisor to every worker, which
obeys at once (`cache/purges`), has the disk's writer keep it, and says so; a worker that starts later is told by the
supervisor of what was purged before. Whoever asked learns how many have obeyed.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from headgate.cache.purges import EVERYTHING, HOST, KINDS, PREFIX, TAG, URL
from headgate.clock import Clock
from headgate.counters import (
    CACHE_DISK_EVICTED,
    CACHE_DISK_HITS,
    CACHE_DISK_MISSES,
    CACHE_DISK_OBJECTS,
    CACHE_DISK_OCTETS,
    CACHE_DISK_UNWRITTEN,
    CACHE_EVICTED,
    CACHE_FETCHED,
    CACHE_FILLS,
    CACHE_FILLS_BROKEN,
    CACHE_FIRST,
    CACHE_OBJECTS,
    CACHE_OCTETS,
    CACHE_OUTCOMES,
    CACHE_PASSED,
    CACHE_PURGES_FIRST,
    CACHE_REFRESHED,
    CACHE_REFUSED,
    CACHE_SERVED,
    CACHE_STORED,
    CounterPage,
)
from headgate.errors import HeadgateError
from headgate.http.target import ABSOLUTE_FORM, format_authority, parse_authority, parse_target
from headgate.process.channel import Json
from headgate.process.slots import WRITER

_TOTALS: Final = {
    "objects": CACHE_OBJECTS,
    "octets": CACHE_OCTETS,
    "served_octets": CACHE_SERVED,
    "filled_octets": CACHE_FETCHED,
    "passed_octets": CACHE_PASSED,
    "fills": CACHE_FILLS,
    "stored": CACHE_STORED,
    "refused": CACHE_REFUSED,
    "broken_off": CACHE_FILLS_BROKEN,
    "evicted": CACHE_EVICTED,
    "refreshed": CACHE_REFRESHED,
    "disk_hits": CACHE_DISK_HITS,
    "disk_misses": CACHE_DISK_MISSES,
}
_DISK: Final = {
    "objects": CACHE_DISK_OBJECTS,
    "octets": CACHE_DISK_OCTETS,
    "evicted": CACHE_DISK_EVICTED,
    "unwritten": CACHE_DISK_UNWRITTEN,
}
# Answers for which the origin sent no content: the share of them is the hit ratio.
_FROM_HERE: Final = ("HIT", "STALE", "REVALIDATED", "COLLAPSED")
MAX_PATTERN: Final = 8192


class PurgeError(HeadgateError):
    """What shall be purged cannot be read."""


def pattern_of(kind: str, text: str) -> tuple[int, str]:
    """Return the kind of a purge and its pattern as keys have it: schemes and hosts in lower case, paths normal.

    Raises `PurgeError`, which says what is wrong.
    """
    if kind not in KINDS:
        raise PurgeError(f"{kind} is none of {', '.join(KINDS)}")
    place = KINDS.index(kind)
    if place == EVERYTHING:
        return place, ""
    if not text or len(text) > MAX_PATTERN or not text.isascii() or not text.isprintable() or " " in text:
        raise PurgeError(
            f"{kind}: up to {MAX_PATTERN} visible characters of ASCII, non-ASCII percent-encoded"
        )
    try:
        if place == URL:
            return place, _url(text)
        if place == PREFIX:
            scheme, mark, rest = text.partition("://")
            if not mark or scheme.lower() not in ("http", "https"):
                raise PurgeError("prefix: it begins with http:// or https:// and a host")
            host, slash, path = rest.partition("/")
            return place, f"{scheme.lower()}://{host.lower()}{slash}{path}"
        if place == HOST:
            name, port = parse_authority(text.encode())
            return place, format_authority(name, port, b"").decode()
    except HeadgateError as exc:
        if isinstance(exc, PurgeError):
            raise
        raise PurgeError(f"{kind}: {text} cannot be read: {exc}") from exc
    return TAG, text


def _url(text: str) -> str:
    target = parse_target(b"GET", text.encode())
    if target.form != ABSOLUTE_FORM:
        raise PurgeError("url: it begins with http:// or https:// and a host")
    name, port = parse_authority(target.authority)
    return (target.scheme + b"://" + format_authority(name, port, target.scheme) + target.origin).decode()


async def _until(is_over: Callable[[], bool], moved: asyncio.Event, wait: float) -> None:
    """Wait until it is over, which only changes when `moved` is set, `wait` seconds at most."""
    try:
        async with asyncio.timeout(wait):
            while not is_over():
                moved.clear()
                await moved.wait()
    except TimeoutError:
        pass


class Purger:
    """Sends purges to the workers, and waits for them. `send` hands a message to the supervisor."""

    def __init__(
        self, send: Callable[[dict[str, Json]], None], clock: Clock, number: Callable[[], int]
    ) -> None:
        self._send = send
        self._clock = clock
        self._number = number  # gives a later one than all before
        self._obeyed: dict[int, int] = {}  # by slot: the last purge that a worker has obeyed
        self._moved = asyncio.Event()

    async def purge(
        self, kind: int, pattern: str, is_soft: bool, running: Callable[[], Mapping[int, int]], wait: float
    ) -> dict[str, object]:
        """Have workers obey a purge; `running` says which there are, `wait` how long to wait for them, in seconds."""
        begun = self._clock.now()
        generation = self._number()
        self._send({"kind": kind, "pattern": pattern, "soft": is_soft, "generation": generation})
        await _until(lambda: not self._behind(generation, running()), self._moved, wait)
        slots = running()
        behind = self._behind(generation, slots)
        return {
            "kind": KINDS[kind],
            "pattern": pattern,
            "soft": is_soft,
            "generation": generation,
            "workers": len(slots) - len(behind),
            "behind": [f"worker {slot}" for slot in behind],
            "milliseconds": round((self._clock.now() - begun) * 1000, 1),
        }

    def obeyed(self, slot: int, generation: int) -> None:
        """Take note of a worker's word."""
        self._obeyed[slot] = generation
        self._moved.set()

    def changed(self) -> None:
        """Workers came or went."""
        self._moved.set()

    def _behind(self, generation: int, slots: Mapping[int, int]) -> list[int]:
        return [slot for slot in slots if self._obeyed.get(slot, 0) < generation]


class Explainer:
    """Asks every worker what its cache would do with a request. `send` hands a question to the supervisor."""

    def __init__(self, send: Callable[[dict[str, Json]], None]) -> None:
        self._send = send
        self._last = 0
        self._answers: dict[int, dict[int, Json]] = {}  # by question, then by slot
        self._moved = asyncio.Event()

    async def explain(
        self, question: dict[str, Json], running: Callable[[], Mapping[int, int]], wait: float
    ) -> list[dict[str, object]]:
        """Return a row for each worker; one that says nothing within `wait` seconds has an error."""
        self._last += 1
        number = self._last
        answers = self._answers[number] = {}
        try:
            self._send({"id": number, **question})
            await _until(lambda: all(slot in answers for slot in running()), self._moved, wait)
        finally:
            del self._answers[number]
        rows: list[dict[str, object]] = []
        for slot in sorted(running()):
            said = answers.get(slot)
            row: dict[str, object] = {"worker": slot}
            if isinstance(said, dict):
                row |= {key: said[key] for key in said if key not in ("id", "slot")}
            else:
                row["error"] = "no answer in time"
            rows.append(row)
        return rows

    def answered(self, value: Json) -> None:
        """Take a worker's word."""
        if isinstance(value, dict):
            number, slot = value.get("id"), value.get("slot")
            if isinstance(number, int) and isinstance(slot, int) and number in self._answers:
                self._answers[number][slot] = value
                self._moved.set()


def describe_cache(pages: Mapping[str, CounterPage]) -> list[dict[str, object]]:
    """Return a row for each worker, and one for all of them together, the last: that one has the purges by kind, too,
    and what is on the disk, if there is one."""
    rows: list[dict[str, object]] = []
    sums = [0] * (len(CACHE_OUTCOMES) + len(_TOTALS))
    for name, page in pages.items():
        if not name.startswith("worker "):
            continue
        values = page.load()
        found = values[CACHE_FIRST : CACHE_FIRST + len(CACHE_OUTCOMES)]
        found += [values[index] for index in _TOTALS.values()]
        sums = [total + value for total, value in zip(sums, found, strict=True)]
        rows.append(_row(name, found))
    total = _row("all", sums)
    keeper = pages["keeper"].load()
    total["purges"] = {kind: keeper[CACHE_PURGES_FIRST + place] for place, kind in enumerate(KINDS)}
    if WRITER in pages:
        written = pages[WRITER].load()
        total["disk"] = {word: written[index] for word, index in _DISK.items()}
    return [*rows, total]


def _row(name: str, found: list[int]) -> dict[str, object]:
    outcomes = dict(zip(CACHE_OUTCOMES, found, strict=False))
    totals = dict(zip(_TOTALS, found[len(CACHE_OUTCOMES) :], strict=True))
    asked = sum(outcomes.values()) - outcomes["BYPASS"]
    ratio = sum(outcomes[word] for word in _FROM_HERE) / asked if asked else None
    # What filled the cache was read from there by whoever asked for it; fills go on that nobody reads any more.
    sent = totals["served_octets"] + totals["passed_octets"]
    fetched = totals["filled_octets"] + totals["passed_octets"]
    by_octets = 1.0 - fetched / sent if sent else None
    return {
        "name": name,
        "outcomes": outcomes,
        "hit_ratio": ratio,
        "octets_hit_ratio": by_octets,
        **totals,
    }
