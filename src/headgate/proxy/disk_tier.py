"""The cache on disk behind the memory of one worker: what memory has lost, or a restart, is found there again.

A look-up happens when memory has nothing for a key; what is found goes into memory. Nothing waits for the writer:
what it is told is written soon, or not at all. Two kinds of message must not be lost, because something wrong would
be served else: that a URL was invalidated (RFC 9111 section 4.4), and purges. They are remembered until the writer
says that they are written, however long its disk stands still; obeyed here meanwhile, and said again when the writer
is another one.

What is written: everything, as long as an eighth of the disk is free; then keys that are on it already, and those
that memory has missed more than once of late. An idle disk costs nothing, and a restart shall find what was served;
a full one would be worn out by what is asked for once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

from headgate.cache.entry import SOFT_PURGED, KeyEntry, MemoryBody, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.key import is_slice
from headgate.cache.memory import MemoryStore
from headgate.cache.partial import change_body, file_of, only_body
from headgate.cache.purges import EVERYTHING, GONE, KEEP, url_of
from headgate.cache.store.bodies import CheckedBody
from headgate.cache.store.disk import DiskStore
from headgate.cache.store.format import FileContent, variant_id
from headgate.cache.store.layout import file_path
from headgate.cache.store.messages import SMALL_CONTENT
from headgate.counters import (
    CACHE_DISK_CORRUPT,
    CACHE_DISK_CUT_SHORT,
    CACHE_DISK_DROPPED,
    CACHE_DISK_FOLDED_PURGES,
    CACHE_DISK_FOLDED_REMOVALS,
    CACHE_DISK_GIVEN_UP,
    CACHE_DISK_HITS,
    CACHE_DISK_MISSES,
    CACHE_DISK_PAUSED,
    CACHE_DISK_SENT,
)

# Invalidated URLs that are remembered meanwhile. One more, and nothing older than now is taken from the disk.
MAX_REMOVING: Final = 16384
# Purges that the writer has not taken for sure. One more, and one of everything stands for all of them.
MAX_PURGING: Final = 16384
# Responses that are written to files at once: descriptors of a worker, which connections need. One more takes the
# place of the one that has not grown for longest, if that is so many seconds: its clients take nothing, or its origin
# sends nothing. Who reads it reads on.
MAX_UPLOADS: Final = 256
STILL: Final = 5.0
# Files that were given up and are still read, by clients that are behind. Of one more the oldest is closed: its
# clients see that their answer is cut short when they take more.
MAX_GIVEN_UP: Final = 256
# Content that is written in one go, which takes some 10 ms of a worker.
MAX_MOVED: Final = 8 * 1024**2
# Octets of the budget that have to be free for everything to be written.
_FREE_SHARE: Final = 8


@final
class DiskTier:
    """The disk as the cache of one worker uses it."""

    def __init__(
        self,
        disk: DiskStore,
        memory: MemoryStore,
        values: list[int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.disk = disk
        self._now = now
        self._memory = memory
        self._values = values
        # By URL: when it was invalidated (wall seconds), when the writer was told (monotonic; -1: not yet).
        self._removing: dict[bytes, tuple[float, float]] = {}
        self._purging: list[tuple[int, bytes, bool, int, float]] = []
        self._trusted_from = 0.0  # wall seconds
        self._began = time.time()
        self._is_new = True  # what was invalidated before may not be on the disk
        self._connections = 0
        self._uploads: dict[Fill, float] = {}  # when each has grown; the one that has last is the last
        self._given_up: dict[Fill, None] = {}

    def __repr__(self) -> str:
        return f"<DiskTier {self.disk.root}>"

    # -- looking up

    def find(self, key: bytes, *, for_use: bool = True) -> KeyEntry | None:
        """Look for a key that memory does not have; what is found goes into memory. None: a miss.

        Not `for_use`: nothing is read of a file, which takes a hundred times as long as the index, nor put
        into memory.
        """
        disk = self.disk
        disk.admission.ask(key)
        if url_of(key) in self._removing:
            return None
        memory = self._memory
        entry = KeyEntry(key)
        known = memory.peek(key)
        valid_from = max(self._trusted_from, known.invalid_before if known is not None else 0.0)
        for variant in disk.get(key):
            if variant.request_time < valid_from:
                continue
            if not for_use:
                entry.add(variant)
                continue
            if not self._is_whole(variant):
                continue
            variant.generation = memory.generation  # judged by the disk's purges, which are the same
            entry.add(variant)
            memory.put(variant)
        if not entry.variants:
            return known
        known = memory.peek(key)
        return known if known is not None and known.variants else entry

    def _is_whole(self, variant: StoredResponse) -> bool:
        """Tell whether the first octets can be read, where content is in a file; else it goes, but not where the disk
        fails, or there is no descriptor left."""
        body = file_of(variant.body)
        if body is None:
            return True
        try:
            body.read(0, 1)
        except OSError as error:
            if body.is_to_blame(error):
                self.disk.spoiled(variant.key, str(error))
            else:
                self.disk.fail(error)
            return False
        return True

    # -- storing

    def store(self, variant: StoredResponse) -> None:
        """Have a complete response or a slice written, new or changed, if it is worth it."""
        is_part = not variant.is_complete or variant.ranges is not None
        if (is_part and not is_slice(variant.key)) or not self._may_have(variant):
            return
        body = only_body(variant)
        if isinstance(body, MemoryBody):
            self._send(variant, None)
        elif isinstance(body, CheckedBody):
            self._send(variant, body.content())

    def _send(self, variant: StoredResponse, content: FileContent | None) -> bool:
        """Tell the writer of a response; False: it was not told."""
        stamp = variant.generation
        variant.generation = self.disk.purges.generation  # judged by memory's purges up to now
        try:
            return self.disk.store(variant, None, content)
        finally:
            variant.generation = stamp

    def _may_have(self, variant: StoredResponse) -> bool:
        key = variant.key
        removed = self._removing.get(url_of(key))
        if removed is not None and variant.request_time < removed[0]:
            return False
        entry = self._memory.peek(key)
        if entry is not None and variant.request_time < entry.invalid_before:
            return False
        verdict = self._memory.purges.judge(key, variant.tags, variant.generation)
        if verdict == GONE:
            return False
        if verdict != KEEP:
            variant.flags |= SOFT_PURGED  # the record has a later number than the purge
        return self._is_admitted(key)

    def _is_admitted(self, key: bytes) -> bool:
        disk = self.disk
        if disk.octets <= disk.budget - disk.budget // _FREE_SHARE:
            return True
        admission = disk.admission
        return admission.estimate(key) >= admission.threshold or disk.has(key)

    # -- large content: written while it comes

    def takes(self, key: bytes) -> bool:
        """Tell whether content under a key may be uploaded now."""
        return self.disk.is_up and self._has_place() and self._is_admitted(key)

    def _has_place(self) -> bool:
        uploads = self._uploads
        return len(uploads) < MAX_UPLOADS or self._now() - uploads[next(iter(uploads))] >= STILL

    def begin(self, fill: Fill, variant: StoredResponse, limit: int) -> None:
        """Have content written while it comes in, `limit` octets of it at most, if it is worth it."""
        if not self._has_place() or not self._may_have(variant):
            return
        upload = self.disk.upload()
        if upload is None:
            return
        try:
            fill.begin_upload(upload, limit)
        except OSError as error:
            upload.abort()
            upload.close()
            self.disk.fail(error)
            return
        if len(self._uploads) >= MAX_UPLOADS:
            self._values[CACHE_DISK_GIVEN_UP] += 1
            self._give_up(next(iter(self._uploads)))
        self._uploads[fill] = self._now()

    def _give_up(self, fill: Fill) -> None:
        """There will be no file of a fill; what is nowhere else is read from what there is of it."""
        self._uploads.pop(fill, None)
        fill.give_up_upload()
        if fill.spooled == 0:
            return
        self._given_up[fill] = None
        if len(self._given_up) > MAX_GIVEN_UP:
            self._values[CACHE_DISK_CUT_SHORT] += 1
            self.let_go(next(iter(self._given_up)))

    def let_go(self, fill: Fill) -> None:
        """Nobody reads a fill any more, or nobody shall."""
        self._uploads.pop(fill, None)
        self._given_up.pop(fill, None)
        fill.close()

    def append(self, fill: Fill, data: bytes) -> None:
        """Let a fill take a piece that goes to the disk too."""
        begun = self.disk.begin()
        fill.append(data)
        self.disk.judge_speed(begun)
        self._uploads.pop(fill, None)
        if fill.upload is not None:
            self._uploads[fill] = self._now()
            return
        self._give_up(fill)
        if fill.failure is not None:
            self.disk.fail(fill.failure)

    def finish(self, fill: Fill, variant: StoredResponse) -> CheckedBody | None:
        """All of the content is there: have it stored; None: it is not on the disk."""
        upload = fill.upload
        if upload is None:
            return None
        disk = self.disk
        self._uploads.pop(fill, None)
        if self._may_have(variant):
            content = upload.finish()
            if self._send(variant, content):
                path = file_path(disk.root, upload.name)
                disk.files.adopt(path, upload.give_up())
                body = CheckedBody(path, content, disk.files)
                fill.settle(body)
                return body
        self._give_up(fill)
        return None

    def move(self, variant: StoredResponse) -> bool:
        """Have what was put together of parts, and is complete now, written to a file, to be there alone; False: it
        stays where it is."""
        body = variant.body
        if not variant.is_complete or not isinstance(body, MemoryBody) or self._memory.loans.has(variant):
            return False
        if not SMALL_CONTENT < body.size <= MAX_MOVED:
            return False
        fill = Fill(body.size)
        for chunk in body.chunks:
            fill.append(chunk)
        self.begin(fill, variant, body.size)
        in_file = self.finish(fill, variant)
        fill.close()
        if in_file is None:
            return False
        change_body(variant, in_file)
        self._memory.resize(variant)
        return True

    def drop(self, fill: Fill) -> None:
        """The rest of the content will never come."""
        if fill.upload is not None:
            self._give_up(fill)

    def is_there(self, variant: StoredResponse, body: CheckedBody) -> bool:
        """Tell whether content in a file can be served; else the response is dropped, but not where the disk is slow
        or fails: it is good again later."""
        if self.disk.is_slow:
            return False
        try:
            if body.is_there():
                self.disk.touch(variant_id(variant))
                return True
        except OSError as error:
            self.disk.fail(error)
            return False
        self._memory.remove_variant(variant)
        if body.is_bad:
            self.disk.spoiled(variant.key, f"{body.path} is not what was written")
        return False

    # -- what has to reach the writer

    def remove(self, uri: bytes, now: float, moment: float) -> None:
        """Nothing of a URL that was asked for before `moment`, wall seconds, is used any more; `now` is monotonic."""
        if len(self._removing) >= MAX_REMOVING:
            self._removing.clear()
            self._trusted_from = moment
            self._values[CACHE_DISK_FOLDED_REMOVALS] += 1
        told = now if self.disk.remove(uri, moment) else -1.0
        self._removing[url_of(uri)] = (moment, told)

    def purge(self, kind: int, pattern: bytes, is_soft: bool, generation: int, now: float) -> None:
        """Obey a purge, and have the writer keep it; `now` is monotonic seconds."""
        if len(self._purging) >= MAX_PURGING:
            self._purging = []
            self._values[CACHE_DISK_FOLDED_PURGES] += 1
            kind, pattern, is_soft = EVERYTHING, b"", False
        self.disk.purge(kind, pattern, is_soft, generation)
        told = now if self.disk.tell_purge(kind, pattern, is_soft, generation) else -1.0
        self._purging.append((kind, pattern, is_soft, generation, told))

    def sweep(self, now: float) -> None:
        """Once in a while: say again what was not heard, and let the counters know. `now` is monotonic seconds."""
        disk = self.disk
        disk.tick()
        if self._is_new:
            self._learn(now)
        again = disk.link.connections != self._connections
        if again or self._removing or self._purging:
            self._connections = disk.link.connections
            self._tell_again(now, again)
        values = self._values
        values[CACHE_DISK_HITS] = disk.hits
        values[CACHE_DISK_MISSES] = disk.misses
        values[CACHE_DISK_CORRUPT] = disk.corrupt
        values[CACHE_DISK_SENT] = disk.link.sent
        values[CACHE_DISK_DROPPED] = disk.link.dropped
        values[CACHE_DISK_PAUSED] = 0 if disk.is_up else 1

    def _learn(self, now: float) -> None:
        """Nobody tells a worker that begins what was invalidated before it: where that cannot be written now, nothing
        older than the worker is read from the disk."""
        link = self.disk.link
        if not link.is_written:
            self._trusted_from = max(self._trusted_from, self._began)
        elif link.written_until < 0.0:
            if link.connections:
                link.ask(now)
            return
        self._is_new = False

    def _tell_again(self, now: float, everything: bool) -> None:
        disk = self.disk
        for uri, (moment, told) in list(self._removing.items()):
            if told < 0.0 or everything:
                self._removing[uri] = (moment, now if disk.remove(uri, moment) else -1.0)
            elif told <= disk.link.written_until:
                del self._removing[uri]
        left: list[tuple[int, bytes, bool, int, float]] = []
        for kind, pattern, is_soft, generation, told in self._purging:
            if told < 0.0 or everything:
                said = now if disk.tell_purge(kind, pattern, is_soft, generation) else -1.0
                left.append((kind, pattern, is_soft, generation, said))
            elif told > disk.link.written_until:
                left.append((kind, pattern, is_soft, generation, told))
        self._purging = left
        if self._removing or left:
            disk.link.ask(now)

    def close(self) -> None:
        """Close what is open."""
        self.disk.close()
