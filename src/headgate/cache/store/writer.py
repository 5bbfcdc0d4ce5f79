"""The one process that writes the disk store: it reads packets of workers and brings them into the index in batches.

LMDB lets one writer in at a time, and a second one waits for as long as the first one's transaction takes; so there
is one, and it is no worker. It may stand still for as long as the disk likes: workers drop what does not fit into
their sockets.

Whatever goes wrong with the disk ends in a warning and a pause, after which it is opened again. While it is closed,
packets are read and thrown away, but for invalidations and purges: they are kept, and come first when it is open
again. Where they cannot be written at the end either, or are too many to be kept, what is on the disk is thrown away.
An index that is damaged is thrown away too: it is a cache. After the machine went
down without our closing the index, a child process walks through it first, because a page that is not what it should
be may crash whoever reads it.
"""

import errno
import fcntl
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

import lmdb

from headgate.cache.store import layout, messages
from headgate.cache.store.check import check_in_child
from headgate.cache.store.format import CorruptError
from headgate.cache.store.index import Index
from headgate.cache.store.kept import Kept

# A batch is written when it is this old (seconds), has this many packets, or this many octets.
BATCH_AGE: Final = 0.25
# The same where something in it must not be lost: invalidations and purges, which only the worker that told of them
# could say again. Each batch is a flush of the disk: fifty in a second are what a disk takes.
URGENT_AGE: Final = 0.02
BATCH_PACKETS: Final = 1024
BATCH_OCTETS: Final = 8 << 20
# How long the disk is left alone after it failed.
PAUSE: Final = 30.0
# Between two looks whether the index has still its name, in seconds.
_LOOK: Final = 1.0
# Objects that are looked at, between two batches, for what purges have killed.
_SWEEP: Final = 2000
# Workers are gone before the writer is told to end; one that goes on talking is heard for so long, in seconds.
_LAST_READ: Final = 1.0
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"

# What an index says that is damaged, other than CorruptError.
DAMAGED: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,
    struct.error,
)

Warn = Callable[[str, str], None]


class Writer:
    """Reads packets and writes the index. `warn` gets a stable word and a detail."""

    def __init__(
        self,
        root: str,
        budget: int,
        listener: socket.socket,
        warn: Warn,
        now: Callable[[], float] = time.monotonic,
        boot_id: str = "",
    ) -> None:
        """Serve `listener`, a bound and listening SEQPACKET socket; nothing is opened before `run` or `step`."""
        self.root = root
        self.budget = budget
        self.dropped = 0  # packets that came while the disk was away
        self.batches = 0
        self.index: Index | None = None
        self._listener = listener
        self._warn = warn
        self._now = now
        self._boot_id = boot_id
        self._stop: int | socket.socket = -1
        self._lock = -1
        self._closed_until = 0.0
        self._batch: list[bytes] = []
        self._batch_octets = 0
        self._batch_since = 0.0
        self._age = BATCH_AGE
        self._kept = Kept()
        self._look_at = 0.0
        self._strays_at = 0  # the directory of `files` that is looked through next
        self._is_sweeping = True
        self._said = True  # what workers know of whether the disk is in use
        self._workers: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def listen(self, listener: socket.socket) -> None:
        """Serve another listener from now on; who has come to the one before is let in first, and it is closed."""
        before = self._listener
        while self._accept():
            pass
        self._selector.unregister(before)
        before.close()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener

    # -- the loop

    def run(self, stop: int) -> None:
        """Serve until the descriptor `stop` can be read, or is closed at its other end."""
        self.watch(stop)
        while not self.turn():
            pass
        self.close()

    def watch(self, stop: int | socket.socket) -> None:
        """Have `turn` tell whether `stop` can be read."""
        self._stop = stop
        self._selector.register(stop, selectors.EVENT_READ)

    def turn(self) -> bool:
        """Serve for a while, a second at most; tell whether what is watched can be read."""
        wait = 0.05 if self._has_upkeep() else 1.0
        ready = self.step(min(self._age, 0.05) if self._batch else wait)
        return any(key.fileobj is self._stop for key in ready)

    def step(self, timeout: float) -> list[selectors.SelectorKey]:
        """Wait for packets, `timeout` seconds at most; read them, and do what is due. Return what was ready."""
        self.open()
        ready = [key for key, _ in self._selector.select(timeout)]
        for key in ready:
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._workers:
                self._read(key.fileobj)
        if self._batch and self._now() >= self._batch_since + self._age:
            self.flush()
        self._upkeep()
        self._say()
        return ready

    def close(self) -> None:
        """Write what is there, what workers have sent and nobody has read among it, and close everything."""
        if self._selector.get_map() is None:
            return  # closed already
        end = self._now() + _LAST_READ
        while any(key.fileobj is not self._stop for key in self.step(0.0)) and self._now() < end:
            pass
        self.flush()
        self._end_pause()
        for worker in list(self._workers):
            self._leave(worker)
        self._selector.close()
        if self.index is not None:
            self.index.close()
            self.index = None
            try:
                self._note_boot("")
            except OSError as error:
                self._warn("cache-disk-unusable", str(error))
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- the disk

    def open(self) -> None:
        """Open the index, unless it is open or was closed a short while ago because it failed."""
        if self.index is not None or self._now() < self._closed_until:
            return
        try:
            self._open()
        except (CorruptError, *DAMAGED) as error:
            self._throw_away(error)
        except (lmdb.Error, OSError) as error:
            self._pause("cache-disk-unusable", error)

    def _open(self) -> None:
        layout.make_directories(self.root)
        if self._lock < 0:
            self._lock = os.open(f"{self.root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        boot = self._boot()
        before = self._noted_boot()
        if before not in ("", boot):
            check_in_child(self.root, self.budget)
        self._note_boot(boot)
        if self._kept.is_too_much:
            raise CorruptError("more was invalidated and purged than is kept while the disk was away")
        self.index = Index(self.root, self.budget)
        self._begin_with_kept()
        self.index.unlink_incoming()
        self._strays_at = 0
        self._is_sweeping = True

    def _pause(self, word: str, error: BaseException) -> None:
        """Leave the disk alone for a while."""
        if self.index is not None:
            try:
                self.index.close()
            except (lmdb.Error, OSError):
                pass  # it is being given up because it fails
            self.index = None
        self._keep_batch()
        self._closed_until = self._now() + PAUSE
        self._warn(
            word, f"{self.root}: {error}; again in {PAUSE:.0f} s, until then the cache is in memory only"
        )

    def _throw_away(self, error: BaseException) -> None:
        """Begin with an empty index; files of the old one become strays."""
        if self.index is not None:
            self.index.close()
            self.index = None
        self._keep_batch()  # until the old index is gone
        self._warn("cache-disk-damaged", f"{self.root}: {error}; the cache on disk begins anew")
        try:
            folder = f"{self.root}/index"
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                os.unlink(f"{folder}/{name}")
            self._kept.forget()
            layout.make_directories(self.root)
            self._note_boot("")
            self._open()
        except (lmdb.Error, OSError, CorruptError, *DAMAGED) as again:
            self._pause("cache-disk-unusable", again)

    def _end_pause(self) -> None:
        """At the end, where the disk is away: write what was kept, or leave no index to whoever comes next."""
        if self.index is not None or not self._kept:
            return
        self._closed_until = 0.0
        self.open()
        self.flush()
        if self.index is None:
            self._throw_away(OSError("what was invalidated and purged cannot be written"))
        if self._kept:
            self._warn(
                "cache-disk-outdated",
                f"{self.root}: what was invalidated and purged while the disk was away could neither be written nor "
                "the index removed; when the disk is well, begin with `headgate purge --everything`",
            )

    def _boot(self) -> str:
        if not self._boot_id:
            try:
                with open(_BOOT_ID, encoding="ascii") as file:
                    self._boot_id = file.read().strip()
            except OSError:
                self._boot_id = "unknown"
        return self._boot_id

    def _noted_boot(self) -> str:
        """Return during which boot the index was opened and not closed; "" when it was closed, or is new."""
        try:
            with open(f"{self.root}/open", encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _note_boot(self, boot: str) -> None:
        with open(f"{self.root}/open", "w", encoding="ascii") as file:
            file.write(boot)

    # -- packets

    def _accept(self) -> bool:
        """Let one worker in; tell whether there was one."""
        try:
            worker, _ = self._listener.accept()
        except OSError:
            return False
        worker.setblocking(False)
        credentials = worker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self._workers[worker] = struct.unpack("3i", credentials)[0]
        self._selector.register(worker, selectors.EVENT_READ)
        if not self._said:
            _tell(worker, messages.written(False))
        return True

    def _leave(self, worker: socket.socket) -> None:
        """A worker is gone: what it left unfinished goes too, and the place of its reader."""
        pid = self._workers.pop(worker)
        self._selector.unregister(worker)
        worker.close()
        if self.index is None or pid in self._workers.values():
            return
        self.flush()
        try:
            if self.index is not None:
                self.index.unlink_incoming(f"{pid}.")
                self.index.check_readers()
        except (lmdb.Error, OSError) as error:
            self._pause("cache-disk-unusable", error)

    def _read(self, worker: socket.socket) -> None:
        """Take packets of one worker, a bounded number of them."""
        for _ in range(64):
            try:
                packet = worker.recv(messages.MAX_PACKET + 1)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._leave(worker)
                return
            self._take(worker, packet)

    def _take(self, worker: socket.socket, packet: bytes) -> None:
        kind = packet[0]
        if kind == messages.SYNC:
            self.flush()
            self._say()  # first: where the disk is away nothing is written
            self._answer(worker, packet[1:])
        elif self.index is None:
            self._keep(packet)
        elif kind == messages.TOUCH:
            for at in range(1, len(packet), 24):
                self.index.touch(packet[at : at + 24])
        elif kind in (messages.PUT, messages.REMOVE, messages.PURGE):
            if not self._batch:
                self._batch_since = self._now()
                self._age = BATCH_AGE
            if kind != messages.PUT:
                self._age = URGENT_AGE
            self._batch.append(packet)
            self._batch_octets += len(packet)
            if len(self._batch) >= BATCH_PACKETS or self._batch_octets >= BATCH_OCTETS:
                self.flush()

    def _say(self) -> None:
        """Let workers know whether the disk is in use: what they have told us to remove they must not read."""
        if (self.index is not None) != self._said:
            self._said = not self._said
            for worker in self._workers:
                _tell(worker, messages.written(self._said))

    def _answer(self, worker: socket.socket, token: bytes) -> None:
        state = self.index.state if self.index is not None else None
        numbers = (0, 0) if state is None else (state.octets, state.objects)
        _tell(worker, b"S" + token[:8].ljust(8, b"\0") + struct.pack("<QQ", *numbers))

    # -- batches

    def flush(self) -> None:
        """Bring what was read into the index."""
        if self.index is None or not self._batch:
            self._drop_batch()
            return
        self.batches += 1
        try:
            self._write(self.index, self._batch)
            self._batch = []
            self._batch_octets = 0
        except (CorruptError, *DAMAGED) as error:
            self._throw_away(error)
        except (lmdb.Error, OSError) as error:
            self._shrink(error)
            self._pause("cache-disk-unusable", error)

    def _write(self, index: Index, batch: list[bytes]) -> None:
        """Write a batch in its order; neighbours of one kind are one transaction."""
        now = self._now()
        records: list[bytes] = []
        keys: list[tuple[bytes, float]] = []
        for packet in batch:
            kind = packet[0]
            if records and kind != messages.PUT:
                index.put_all(records, now)
                records = []
            if keys and kind != messages.REMOVE:
                index.remove_all(keys, now)
                keys = []
            if kind == messages.PUT:
                records.append(packet[1:])
            elif kind == messages.REMOVE and len(packet) > 9:
                keys.append((packet[9:], messages.MOMENT.unpack_from(packet, 1)[0]))
            elif kind == messages.PURGE and len(packet) >= 11:
                generation, sort, is_soft = messages.PURGED.unpack_from(packet, 1)
                index.purge(sort, packet[11:], bool(is_soft), generation)
                self._is_sweeping = True
        if records:
            index.put_all(records, now)
        if keys:
            index.remove_all(keys, now)

    def _shrink(self, error: BaseException) -> None:
        """Where there is less room than we were told, make do with nine tenths of what is there."""
        is_full = isinstance(error, lmdb.MapFullError) or (
            isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        )
        if self.index is not None and (is_full or isinstance(error, lmdb.DiskError)):
            self.budget = min(self.budget, max(self.index.state.octets * 9 // 10, 1 << 20))

    def _drop_batch(self) -> None:
        self.dropped += len(self._batch)
        self._batch = []
        self._batch_octets = 0

    def _keep_batch(self) -> None:
        """The disk has failed: keep what must not be lost, until it is opened again."""
        for packet in self._batch:
            self._keep(packet)
        self._batch = []
        self._batch_octets = 0

    def _keep(self, packet: bytes) -> None:
        if not self._kept.keep(packet):
            self.dropped += 1

    def _begin_with_kept(self) -> None:
        """The disk is open: what was kept is the first batch."""
        kept = self._kept.packets
        if kept:
            self._batch = kept + self._batch
            self._batch_octets += sum(map(len, kept))
            self._batch_since = self._now()
            self._age = URGENT_AGE
            self._kept.forget()

    # -- upkeep

    def _has_upkeep(self) -> bool:
        return self.index is not None and (self._is_sweeping or self._strays_at < 256)

    def _upkeep(self) -> None:
        """Do a little of what can wait."""
        index = self.index
        if index is None:
            return
        now = self._now()
        try:
            if now >= self._look_at:
                self._look_at = now + _LOOK
                if not index.is_named():
                    raise CorruptError("its index was removed")
            if self._strays_at < 256:
                index.unlink_strays(self._strays_at)
                self._strays_at += 1
            self._is_sweeping = index.sweep(_SWEEP, now)
            index.unlink_graves(now)
        except (CorruptError, *DAMAGED) as error:
            self._throw_away(error)
        except (lmdb.Error, OSError) as error:
            self._pause("cache-disk-unusable", error)


def _tell(worker: socket.socket, packet: bytes) -> None:
    try:
        worker.send(packet)
    except OSError:
        pass  # it reads nothing, or is gone: nobody waits for it
