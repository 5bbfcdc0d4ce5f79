"""The disk store as a worker sees it: it looks up by itself, and tells the writer what to store.

A look-up is one transaction of LMDB that ends before the call does, some microseconds where the pages are in memory.
What comes back is checked as a whole, or block by block where it is in a file, and whatever is not what was written
is a miss. Nothing here raises because of a disk, and nothing waits for the writer.

A disk that fails, or that takes long three times running, is left alone for a while, with one warning: the cache is
in memory only until then. All is opened on first use, after the fork.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import lmdb

from headgate.cache.entry import SOFT_PURGED, Body, MemoryBody, StoredResponse
from headgate.cache.partial import (
    only_body,
)
from headgate.cache.pieces import (
    body_at,
)
from headgate.cache.purges import EVERYTHING, GONE, KEEP, Purges
from headgate.cache.store import layout, messages
from headgate.cache.store.admission import Admission
from headgate.cache.store.bodies import SLOW, CheckedBody, OpenFiles, Upload
from headgate.cache.store.format import CorruptError, FileContent, Record, decode, encode, key_id
from headgate.cache.store.layout import PLACE, file_path
from headgate.cache.store.link import WriterLink

_SLOW_RUNNING: Final = 3
PAUSE: Final = 30.0
# After so many reads the writer is told of them.
_TOUCHES: Final = 64
# How often the writer's list of purges is read, in seconds.
_READ_PURGES: Final = 60.0
# So long the list that is read may be without a purge that the writer has been told; so many are remembered. One
# more, and one of everything stands for them all.
_RECENT: Final = 60.0
MAX_RECENT: Final = 16384

Warn = Callable[[str, str], None]


class DiskStore:
    """One worker's view of the disk store. `warn` gets a stable word and a detail; `now` is monotonic seconds."""

    def __init__(
        self,
        root: str,
        budget: int,
        address: str,
        warn: Warn,
        admission: Admission | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use what lies under `root`, and the writer that listens on the socket `address`; opens nothing yet."""
        self.root = root
        self.budget = budget
        self.admission = admission if admission is not None else Admission()
        self.files = OpenFiles(now=now)
        self.purges = Purges()
        self.folded = 0  # how often there were too many purges within a minute
        self.octets = 0  # what is on the disk, as of the last `tick`
        self.hits = 0
        self.misses = 0
        self.corrupt = 0
        self.link = WriterLink(address, now)
        self._warn = warn
        self._now = now
        self._env: lmdb.Environment | None = None
        self._objects: lmdb._Database | None = None
        self._meta: lmdb._Database | None = None
        self._inode = 0
        self._closed_until = 0.0
        self._told_spoiled = -PAUSE
        self._slow_until = 0.0
        self._read_purges_at = 0.0
        self._slow = 0
        self._touched: list[bytes] = []
        self._recent: deque[tuple[float, int, bytes, bool, int]] = (
            deque()
        )  # purges that the writer may not have yet

    @property
    def is_up(self) -> bool:
        """Whether the disk is in use, or would be at the next look-up."""
        return self._env is not None or self._now() >= self._closed_until

    @property
    def is_slow(self) -> bool:
        """Whether it is left alone because it was slow: nothing is read of files that are open either."""
        return self._now() < self._slow_until

    @property
    def generation(self) -> int:
        """The last purge that the disk knows of: where a memory store that begins takes up counting."""
        self._opened()
        return self.purges.generation

    # -- looking up

    def get(self, key: bytes) -> list[StoredResponse]:
        """Return the variants of a key, the oldest first; [] is a miss, for whatever reason."""
        begun = self.begin()
        found = self._get(key)
        self.judge_speed(begun)
        if found:
            self.hits += 1
        else:
            self.misses += 1
        return found

    def _get(self, key: bytes) -> list[StoredResponse]:
        env = self._opened()
        if env is None:
            return []
        try:
            values = self._values(env, key_id(key))
        except (lmdb.Error, OSError) as error:
            self._pause(error)
            return []
        found: list[tuple[bytes, StoredResponse]] = []
        for identifier, value in values:
            try:
                variant = self._variant(key, decode(value[PLACE.size :]))
            except (CorruptError, FileNotFoundError) as wrong:
                self.spoiled(key, str(wrong))
                continue
            except OSError as error:
                self._pause(error)
                return []
            if variant is not None:
                found.append((value[: PLACE.size], variant))
                self.touch(identifier)
        found.sort(key=_place)
        return [variant for _, variant in found]

    def _values(self, env: lmdb.Environment, prefix: bytes) -> list[tuple[bytes, bytes]]:
        values: list[tuple[bytes, bytes]] = []
        with env.begin(db=self._objects) as txn, txn.cursor() as cursor:
            more = cursor.set_range(prefix)
            while more:
                identifier = bytes(cursor.key())
                if not identifier.startswith(prefix):
                    break
                values.append((identifier, bytes(cursor.value())))
                more = cursor.next()
        return values

    def _variant(self, key: bytes, record: Record) -> StoredResponse | None:
        """Return the response of a record with its content; None: another key's, or purged."""
        variant = record.variant
        if variant.key != key:
            return None
        verdict = self.purges.judge(key, variant.tags, variant.generation)
        if verdict == GONE:
            return None
        if verdict != KEEP:
            variant.flags |= SOFT_PURGED
        body = self._body(record)
        if variant.ranges is not None:
            if len(variant.ranges) != 1 or variant.ranges[0][1] - variant.ranges[0][0] != body.size:
                raise CorruptError("a part is not as long as it says")
            body = body_at(variant.ranges[0][0], body)
        variant.body = body
        return variant

    def _body(self, record: Record) -> Body:
        if record.file is None:
            return MemoryBody([record.content] if record.content else [])
        path = file_path(self.root, record.file.name.decode())
        if os.stat(path).st_size != record.file.size:
            raise CorruptError(f"{path} is not {record.file.size} octets long")
        return CheckedBody(path, record.file, self.files)

    def has(self, key: bytes) -> bool:
        """Tell whether there is anything under a key, good or not."""
        env = self._opened()
        if env is None:
            return False
        try:
            return bool(self._values(env, key_id(key)))
        except (lmdb.Error, OSError) as error:
            self._pause(error)
            return False

    # -- telling the writer

    def store(
        self, variant: StoredResponse, content: bytes | None = None, file: FileContent | None = None
    ) -> bool:
        """Have a complete response stored: with its content in memory, or in the file of a finished `upload`.

        True: the writer has it, and will store it unless the disk is against it.
        """
        if file is None and content is None:
            body = only_body(variant)
            if not isinstance(body, MemoryBody) or body.size > messages.SMALL_CONTENT:
                return False
            content = b"".join(body.chunks)
        return self.link.send(messages.put(encode(variant, content or b"", file)))

    def upload(self) -> Upload | None:
        """Begin a file for content that is too large for the index; None: the disk is not in use."""
        if not self.is_up:
            return None
        try:
            return Upload(self.root, f"{os.getpid()}.{os.urandom(16).hex()}")
        except OSError as error:
            self._pause(error)
            return None

    def uploaded(self, variant: StoredResponse, upload: Upload) -> bool:
        """Have a response stored whose content was uploaded; False: the upload is taken back."""
        if self.store(variant, None, upload.finish()):
            return True
        upload.abort()
        return False

    def fail(self, error: OSError) -> None:
        """An upload failed, or a body of ours: the disk is left alone for a while."""
        self._pause(error)

    def spoiled(self, key: bytes, what: str) -> None:
        """Something stored is not what was written, or gone: its URL goes. Told once in a while, and counted."""
        self.corrupt += 1
        self.remove(key, 0.0)
        now = self._now()
        if now - self._told_spoiled >= PAUSE:
            self._told_spoiled = now
            self._warn(
                "cache-disk-corrupt",
                f"{self.root}: {what}; the origin is asked in its place. More of it is told in {PAUSE:.0f} s at the"
                " earliest; headgate_cache_disk_corrupt_total counts",
            )

    def remove(self, key: bytes, moment: float) -> bool:
        """Remove all variants of a key; what was asked for before `moment`, wall seconds, is not stored any more."""
        return self.link.send(messages.remove(key, moment))

    def purge(self, kind: int, pattern: bytes, is_soft: bool, generation: int) -> None:
        """Obey a purge at once; `generation` is its number on the whole machine."""
        self._opened()
        number = self.purges.add(kind, pattern, is_soft, generation)
        now = self._now()
        if len(self._recent) >= MAX_RECENT:
            self._recent.clear()
            self.folded += 1
            kind, pattern, is_soft = EVERYTHING, b"", False
            number = self.purges.add(kind, pattern, is_soft, generation)
        self._recent.append((now, kind, pattern, is_soft, number))
        while self._recent[0][0] < now - _RECENT:
            self._recent.popleft()

    def tell_purge(self, kind: int, pattern: bytes, is_soft: bool, generation: int) -> bool:
        """Tell the writer of a purge, which keeps it for good; one process says it. False: say it again."""
        return self.link.send(messages.purge(kind, pattern, is_soft, generation))

    def sync(self, timeout: float) -> tuple[int, int] | None:
        """Wait until all that was sent is in the index; return its octets and objects. For tests and tools."""
        return self.link.sync(timeout)

    # -- upkeep

    def tick(self) -> None:
        """Once a second or so, or more often: notice an index that was made anew, and send what is waiting."""
        self.link.look()
        self.link.send_waiting()
        self._send_touches()
        self.files.close_gone()
        if self.files.slow >= _SLOW_RUNNING:
            self.files.slow = 0
            self._leave_alone("reads of files")
        if self._env is None:
            return
        try:
            inode = os.stat(f"{self.root}/index/data.mdb").st_ino
        except FileNotFoundError:
            inode = 0
        except OSError as error:
            self._pause(error)
            return
        if inode != self._inode:
            self._close_index()
            return
        self._read_state()
        if self._now() >= self._read_purges_at:
            self._read_purges()

    def close(self) -> None:
        """Close everything."""
        self._send_touches()
        self._close_index()
        self.link.close()
        self.files.close_all()

    # -- the index

    def _opened(self) -> lmdb.Environment | None:
        if self._env is not None:
            return self._env
        if self._now() < self._closed_until:
            return None
        try:
            self._open()
        except FileNotFoundError:
            # The writer has not made it yet: no fault, and no warning.
            self._close_index()
            self._closed_until = self._now() + 1.0
        except (lmdb.Error, OSError, CorruptError) as error:
            self._pause(error)
        return self._env

    def _open(self) -> None:
        path = f"{self.root}/index/data.mdb"
        self._inode = os.stat(path).st_ino
        env = lmdb.open(
            f"{self.root}/index",
            map_size=layout.map_size(self.budget),
            max_dbs=4,
            max_readers=layout.MAX_READERS,
            readonly=True,
            create=False,
            readahead=False,
            max_spare_txns=1,
        )
        try:
            layout.check_length(env, self.root)
            self._objects = env.open_db(layout.OBJECTS, create=False)
            self._meta = meta = env.open_db(layout.META, create=False)
            with env.begin(db=meta) as txn:
                if txn.get(layout.FORMAT) != layout.FORMAT_NOW:
                    raise CorruptError(f"{self.root}: the cache of another version")
                purges = txn.get(layout.PURGES)
        except lmdb.NotFoundError:
            env.close()
            raise FileNotFoundError(path) from None
        except BaseException:
            env.close()
            raise
        self._env = env
        self._know(purges)

    def _read_state(self) -> None:
        """Learn how full the disk is."""
        env = self._env
        if env is None or self._meta is None:
            return
        try:
            with env.begin(db=self._meta) as txn:
                state = txn.get(layout.STATE)
        except lmdb.Error as error:
            self._pause(error)
            return
        if state is not None:
            _, self.octets, _ = layout.STATE_NUMBERS.unpack(state)

    def _read_purges(self) -> None:
        """Learn which purges the writer has forgotten, because everything was tried against them."""
        self._read_purges_at = self._now() + _READ_PURGES
        env = self._env
        if env is None or self._meta is None:
            return
        try:
            with env.begin(db=self._meta) as txn:
                purges = txn.get(layout.PURGES)
            self._know(purges)
        except (lmdb.Error, CorruptError) as error:
            self._pause(error)

    def _know(self, purges: bytes | memoryview | None) -> None:
        """Take the writer's list, and what is later than its last."""
        if purges is None:
            return
        known = layout.unpack_purges(bytes(purges))
        for generation, kind, is_soft, pattern in self.purges.listed():
            if generation > known.generation:
                known.add(kind, pattern, is_soft, generation)
        now = self._now()
        for moment, kind, pattern, is_soft, generation in self._recent:
            if now - moment < _RECENT and not known.knows(kind, pattern, is_soft, generation):
                known.add(kind, pattern, is_soft, generation)
        self.purges = known

    def _close_index(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        self._objects = None
        self._meta = None

    def begin(self) -> float:
        """Return when something begins, for `judge_speed`."""
        return self.files.watch.begin()

    def judge_speed(self, begun: float) -> None:
        """Take note of how long the disk had us wait; one that is slow several times running is left alone."""
        if self.files.watch.waited(begun, SLOW) < SLOW:
            self._slow = 0
            return
        self._slow += 1
        if self._slow >= _SLOW_RUNNING:
            self._leave_alone("look-ups")

    def _leave_alone(self, what: str) -> None:
        self._pause(TimeoutError(f"the last {_SLOW_RUNNING} {what} took over {SLOW:.2f} s each"))
        self._slow_until = self._closed_until

    def _pause(self, error: BaseException) -> None:
        self._close_index()
        self._slow = 0
        if self._now() >= self._closed_until:
            detail = f"{self.root}: {error}; again in {PAUSE:.0f} s, until then the cache is in memory only"
            self._warn("cache-disk-unusable", detail)
        self._closed_until = self._now() + PAUSE

    # -- what was read

    def touch(self, identifier: bytes) -> None:
        """Remember that a variant was read, and tell the writer of many at once."""
        self._touched.append(identifier)
        if len(self._touched) >= _TOUCHES:
            self._send_touches()

    def _send_touches(self) -> None:
        if self._touched:
            self.link.send(messages.touch(self._touched))
            self._touched.clear()


def _place(found: tuple[bytes, StoredResponse]) -> bytes:
    return found[0]
