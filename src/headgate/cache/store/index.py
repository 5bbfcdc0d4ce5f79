"""The index, as the one writing process has it: what comes in, what goes, and how much there is.

Changes come in batches, and a batch is one transaction of LMDB: after a crash it is there as a whole or not at all,
the octets counted with it. A file is renamed before the transaction that names it and unlinked some time after the
one that forgets it, so whatever the index names exists; a crash in between leaves a file that nothing names, which
the walk through `files` finds after the next start.

Objects leave in the order in which they came (as in Traffic Server's cyclone), but for those that were read lately:
they go back to the end. Every object pays for whole pages where it takes them.
"""

import os
from collections import deque
from dataclasses import dataclass
from typing import Final

import lmdb

from headgate.cache.purges import GONE, Purges
from headgate.cache.store import layout
from headgate.cache.store.bodies import INCOMING
from headgate.cache.store.format import CorruptError, Record, decode, key_id, url_id, variant_id
from headgate.cache.store.layout import CHARGED, PAGE, PLACE, STATE_NUMBERS, file_path

# A file whose object is gone stays this long, in seconds, for workers that have just looked it up.
_GRACE: Final = 60.0
# As many objects are remembered as read lately, and as many keys as removed lately.
_TOUCHED: Final = 65536
# An eviction passes over this many objects that were read lately.
_SECOND_CHANCES: Final = 64
# As many variants of one key as a route may have: a look-up reads all of them.
MAX_VARIANTS: Final = 256
# Below this a value shares a page of LMDB with others.
_SHARED: Final = 2000
_SLOT: Final = 120  # of `objects` and `order` together, beside the record


@dataclass(slots=True)
class State:
    """The numbers of the index: they change with a transaction or not at all."""

    place: int = 1
    octets: int = 0
    objects: int = 0


def charge_of(record: bytes, content: int) -> int:
    """Return what an object takes on the disk: its record, and `content` octets in a file."""
    size = len(record) + _SLOT
    if size > _SHARED:
        size = -(-size // PAGE) * PAGE
    return size + -(-content // PAGE) * PAGE


class Index:
    """The index opened for writing. All methods raise lmdb.Error, OSError, or CorruptError where it is damaged."""

    def __init__(self, root: str, budget: int) -> None:
        """Open or make what lies under `root`; `budget` is in octets."""
        self.root = root
        self.budget = budget
        self.max_object = budget // 8
        self.evictions = 0
        self.refused = 0
        layout.make_directories(root)
        layout.reserve_lock(root)
        self._env = lmdb.open(
            f"{root}/index",
            map_size=layout.map_size(budget),
            max_dbs=4,
            max_readers=layout.MAX_READERS,
            mode=0o600,
            readahead=False,
            meminit=False,
        )
        try:
            layout.check_length(self._env, root)
            self._inode = os.stat(f"{root}/index/data.mdb").st_ino
            self._open()
        except BaseException:
            self._env.close()
            raise
        self._graves: deque[tuple[float, str]] = deque()
        self._touched: dict[bytes, None] = {}
        self._removed: dict[bytes, float] = {}
        self._sweep_at = b""
        self._sweep_generation = 0
        self._swept = self.purges.floor
        self._forget_at = -1.0

    def _open(self) -> None:
        env = self._env
        self._objects = env.open_db(layout.OBJECTS)
        self._order = env.open_db(layout.ORDER)
        self._files = env.open_db(layout.FILES)
        self._meta = env.open_db(layout.META)
        with env.begin(write=True, db=self._meta) as txn:
            found = txn.get(layout.FORMAT)
            if found is None:
                txn.put(layout.FORMAT, layout.FORMAT_NOW)
            elif found != layout.FORMAT_NOW:
                raise CorruptError(f"{self.root}: the cache of another version: {found!r}")
            state = txn.get(layout.STATE)
            self.state = State() if state is None else State(*STATE_NUMBERS.unpack(state))
            purges = txn.get(layout.PURGES)
        self.purges = layout.unpack_purges(purges) if purges else Purges()

    def is_named(self) -> bool:
        """Tell whether the file that is open is the one that others find. Raises OSError."""
        try:
            return os.stat(f"{self.root}/index/data.mdb").st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close it; what is in a grave is unlinked."""
        while self._graves:
            _unlink(self._graves.popleft()[1])
        self._env.close()

    # -- batches

    def put_all(self, records: list[bytes], now: float) -> int:
        """Store records, the files of those that have one lying in `incoming`; return how many were taken.

        `now` is monotonic seconds.
        """
        renamed: list[str] = []
        graves: list[str] = []
        state = State(self.state.place, self.state.octets, self.state.objects)
        taken = 0
        try:
            with self._env.begin(write=True) as txn:
                for record in records:
                    taken += self._put(txn, record, state, renamed, graves)
                self._save(txn, state)
        except BaseException:
            for path in renamed:
                _unlink(path)
            raise
        self.state = state
        self._bury(graves, now)
        return taken

    def remove_all(self, keys: list[tuple[bytes, float]], now: float) -> int:
        """Remove keys with all variants, and whatever else there is of their URLs; return how many there were.

        With each goes a moment in wall seconds: what was asked for before it is not stored afterwards either.
        """
        graves: list[str] = []
        state = State(self.state.place, self.state.octets, self.state.objects)
        before = state.objects
        with self._env.begin(write=True) as txn:
            for key, moment in keys:
                prefix = url_id(key)
                for found in self._variants(txn, prefix):
                    self._drop(txn, found, state, graves)
                self._note_removed(prefix, moment)
            self._save(txn, state)
        self.state = state
        self._bury(graves, now)
        return before - state.objects

    def purge(self, kind: int, pattern: bytes, is_soft: bool, generation: int) -> int:
        """Take note of a purge, for good; return its generation. Every worker tells of it, and it counts once: what
        was stored in between is good."""
        if self.purges.knows(kind, pattern, is_soft, generation):
            return self.purges.generation
        self.purges.add(kind, pattern, is_soft, generation)
        self._save_purges()
        return self.purges.generation

    def touch(self, variant: bytes) -> None:
        """Remember that a variant was read."""
        if len(self._touched) < _TOUCHED:
            self._touched[variant] = None

    # -- upkeep: each is a little of it

    def sweep(self, limit: int, now: float) -> bool:
        """Remove what purges have killed: look at `limit` objects. True: more is left to do."""
        if self._forget_at >= 0.0 and now >= self._forget_at:
            self._forget_at = -1.0
            self.purges.forget(self._swept)
            self._save_purges()
        if not self._sweep_at:
            if self._swept == self.purges.generation:
                return False
            self._sweep_generation = self.purges.generation
        graves: list[str] = []
        state = State(self.state.place, self.state.octets, self.state.objects)
        dead: list[bytes] = []
        last = b""
        with self._env.begin(write=True) as txn:
            cursor = txn.cursor(self._objects)
            more = cursor.set_range(self._sweep_at) if self._sweep_at else cursor.first()
            while more and limit > 0:
                limit -= 1
                if self._is_dead(bytes(cursor.value())):
                    dead.append(bytes(cursor.key()))
                more = cursor.next()
            if more:
                last = bytes(cursor.key())
            cursor.close()
            for found in dead:
                self._drop(txn, found, state, graves)
            self._save(txn, state)
        self.state = state
        self._sweep_at = last
        self._bury(graves, now)
        if last:
            return True
        self._swept = self._sweep_generation
        self._forget_at = now + _GRACE
        return self._swept != self.purges.generation

    def unlink_graves(self, now: float) -> None:
        """Unlink files that have been out of the index for a while."""
        while self._graves and self._graves[0][0] <= now:
            _unlink(self._graves.popleft()[1])

    def unlink_strays(self, directory: int) -> int:
        """Unlink what nothing names in one of the 256 directories; return how many files that were."""
        folder = f"{self.root}/files/{directory:02x}"
        graves = {path for _, path in self._graves}
        count = 0
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return 0  # somebody removes everything: `is_named`
        with self._env.begin(db=self._files) as txn:
            for name in names:
                if txn.get(name.encode()) is None and f"{folder}/{name}" not in graves:
                    _unlink(f"{folder}/{name}")
                    count += 1
        return count

    def unlink_incoming(self, prefix: str = "") -> None:
        """Unlink what a worker, or all, left unfinished."""
        folder = f"{self.root}/{INCOMING}"
        for name in os.listdir(folder):
            if name.startswith(prefix):
                _unlink(f"{folder}/{name}")

    def check_readers(self) -> int:
        """Free the places of readers that were killed; return how many."""
        return self._env.reader_check()

    # -- inside a transaction

    def _put(
        self, txn: lmdb.Transaction, record: bytes, state: State, renamed: list[str], graves: list[str]
    ) -> int:
        try:
            decoded = decode(record)
        except CorruptError:  # a worker's fault, and no other's
            self.refused += 1
            return 0
        variant, name = decoded.variant, ""
        if decoded.file is not None:
            name = decoded.file.name.decode()
        found = variant_id(variant)
        is_new = bool(name) and os.path.exists(f"{self.root}/{INCOMING}/{name}")
        if not self._may_have(decoded, record) or (
            name and not is_new and not self._is_known(txn, found, name, decoded)
        ):
            self.refused += 1
            if name:
                _unlink(f"{self.root}/{INCOMING}/{name}")
            return 0
        self._drop(txn, found, state, graves)
        if name and not is_new:
            graves.remove(file_path(self.root, name))  # the same content, of which something new is said
        if variant.vary:
            self._shorten(txn, key_id(variant.key), state, graves)
        charge = charge_of(record, decoded.file.size if decoded.file is not None else 0)
        self._make_room(txn, charge, state, graves)
        if name:
            if is_new:
                path = file_path(self.root, name)
                os.rename(f"{self.root}/{INCOMING}/{name}", path)
                renamed.append(path)
            txn.put(name.encode(), found, db=self._files)
        place = PLACE.pack(state.place)
        txn.put(found, place + record, db=self._objects)
        txn.put(place, CHARGED.pack(charge, found) + name.encode(), db=self._order, append=True)
        state.place += 1
        state.octets += charge
        state.objects += 1
        return 1

    def _may_have(self, decoded: Record, record: bytes) -> bool:
        variant = decoded.variant
        size = len(record)
        if decoded.file is not None:
            size += decoded.file.size
            try:
                there = os.stat(f"{self.root}/{INCOMING}/{decoded.file.name.decode()}").st_size
            except FileNotFoundError:
                there = decoded.file.size  # in its place already, or swept away with its worker
            if there != decoded.file.size:
                return False
        return (
            size <= self.max_object
            and variant.request_time >= self._removed.get(url_id(variant.key), 0.0)
            and self.purges.judge(variant.key, variant.tags, variant.generation) != GONE
        )

    def _is_known(self, txn: lmdb.Transaction, found: bytes, name: str, decoded: Record) -> bool:
        """Tell whether a variant is stored with this very file."""
        if decoded.file is None or txn.get(name.encode(), db=self._files) != found:
            return False
        try:
            return os.stat(file_path(self.root, name)).st_size == decoded.file.size
        except FileNotFoundError:
            return False

    def _make_room(self, txn: lmdb.Transaction, octets: int, state: State, graves: list[str]) -> None:
        chances = _SECOND_CHANCES
        while state.octets + octets > self.budget and state.objects:
            cursor = txn.cursor(self._order)
            if not cursor.first():
                raise CorruptError("the index counts objects that are not there")
            _, found = CHARGED.unpack_from(cursor.value())
            cursor.close()
            if chances and found in self._touched:
                chances -= 1
                del self._touched[found]
                self._move_to_end(txn, found, state)
            else:
                self._drop(txn, found, state, graves)
                self.evictions += 1

    def _shorten(self, txn: lmdb.Transaction, prefix: bytes, state: State, graves: list[str]) -> None:
        """Let a key have one more variant: the oldest one goes."""
        found = self._variants(txn, prefix)
        if len(found) >= MAX_VARIANTS:
            objects = self._objects
            self._drop(txn, min(found, key=lambda each: bytes(txn.get(each, b"", objects))), state, graves)
            self.evictions += 1

    def _move_to_end(self, txn: lmdb.Transaction, found: bytes, state: State) -> None:
        value = txn.get(found, db=self._objects)
        if value is None:
            raise CorruptError("the order names an object that is not there")
        charged = txn.pop(value[: PLACE.size], db=self._order)
        if charged is None:
            raise CorruptError("an object is not in the order")
        place = PLACE.pack(state.place)
        state.place += 1
        txn.put(found, place + value[PLACE.size :], db=self._objects)
        txn.put(place, charged, db=self._order, append=True)

    def _drop(self, txn: lmdb.Transaction, found: bytes, state: State, graves: list[str]) -> None:
        value = txn.pop(found, db=self._objects)
        if value is None:
            return
        charged = txn.pop(value[: PLACE.size], db=self._order)
        if charged is None:
            raise CorruptError("an object is not in the order")
        charge, _ = CHARGED.unpack_from(charged)
        name = bytes(charged[CHARGED.size :])
        if name:
            txn.delete(name, db=self._files)
            graves.append(file_path(self.root, name.decode()))
        state.octets -= charge
        state.objects -= 1

    def _variants(self, txn: lmdb.Transaction, prefix: bytes) -> list[bytes]:
        found: list[bytes] = []
        cursor = txn.cursor(self._objects)
        more = cursor.set_range(prefix)
        while more and (key := bytes(cursor.key())).startswith(prefix):
            found.append(key)
            more = cursor.next()
        cursor.close()
        return found

    def _is_dead(self, value: bytes) -> bool:
        try:
            variant = decode(value[PLACE.size :]).variant
        except CorruptError:
            return True
        return self.purges.judge(variant.key, variant.tags, variant.generation) == GONE

    def _note_removed(self, prefix: bytes, moment: float) -> None:
        moment = max(moment, self._removed.pop(prefix, 0.0))
        if len(self._removed) >= _TOUCHED:
            del self._removed[next(iter(self._removed))]
        self._removed[prefix] = moment

    def _save(self, txn: lmdb.Transaction, state: State) -> None:
        txn.put(layout.STATE, STATE_NUMBERS.pack(state.place, state.octets, state.objects), db=self._meta)

    def _save_purges(self) -> None:
        with self._env.begin(write=True, db=self._meta) as txn:
            txn.put(layout.PURGES, layout.pack_purges(self.purges))

    def _bury(self, paths: list[str], now: float) -> None:
        self._graves.extend((now + _GRACE, path) for path in paths)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone already, or the disk is: a stray is found after the next start
