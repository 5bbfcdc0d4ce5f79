"""Large content: a file of its own, written by the worker that receives it, renamed and indexed by the writer.

A worker writes to a name that only it uses, so that readers may follow while the content still grows. The file is
complete when the writer renames it; what a killed worker leaves is under `incoming` and is swept away. Blocks have
checksums, kept in the record: each is checked when it is first read after it came from the index, so that a file cut
short or torn is an OSError, and no octet of such a block is ever handed out.

Descriptors of files that are read stay open, a bounded number of them: a file that the writer has unlinked meanwhile
stays readable for whoever has it open.
"""

import os
import time
import zlib
from collections.abc import Callable
from typing import Final, NoReturn, final

from headgate.cache.entry import Body
from headgate.cache.store.format import BLOCK, FileContent
from headgate.cache.store.stopwatch import Stopwatch

INCOMING: Final = "incoming"
# Files that a worker keeps open: a fraction of its descriptors, which connections need.
MAX_OPEN_FILES: Final = 512
# Of too many, so many that are being sent are passed by for one that is not.
_SPARED: Final = 16
# So many of the open ones are looked at in one turn whether they still have a name: a tenth of a millisecond.
_LOOKED_AT: Final = 64
# `ready` speaks of so many blocks at most while not all are checked.
_AHEAD: Final = 4
# A read or a look-up that has us wait longer is slow, in seconds: a worker serves nobody meanwhile.
SLOW: Final = 0.05
# Where a block is checked: one at a time, and the memory of one is warm.
_SCRATCH: Final = bytearray(BLOCK)


@final
class OpenFile:
    """A file that is open for reading. `readers`: who stands in the middle of it, waiting for a client."""

    __slots__ = ("descriptor", "readers")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.readers = 0

    def release(self) -> None:
        """A reader is through."""
        self.readers -= 1


@final
class OpenFiles:
    """Files by path; of too many, the one that was not read for longest is closed, rather one without readers.

    `slow` counts the reads that were, up to the last block that came in time; `watch` measures them.
    """

    __slots__ = ("_open", "_unseen", "limit", "slow", "watch")

    def __init__(self, limit: int = MAX_OPEN_FILES, now: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.watch = Stopwatch(now)
        self.slow = 0
        self._open: dict[str, OpenFile] = {}  # the one that was read last is the last
        self._unseen: list[str] = []  # what `close_gone` has still to look at

    def __len__(self) -> int:
        return len(self._open)

    def take(self, path: str) -> OpenFile:
        """Return the file at `path`, whose descriptor is good until the next call. Raises OSError."""
        file = self._open.pop(path, None)
        if file is None:
            file = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            self._make_room()
        self._open[path] = file
        return file

    def adopt(self, path: str, descriptor: int) -> None:
        """Take over the descriptor of what will lie at `path`."""
        self.close(path)
        self._make_room()
        self._open[path] = OpenFile(descriptor)

    def _make_room(self) -> None:
        if len(self._open) < self.limit:
            return
        longest = ""
        for number, path in enumerate(self._open):
            is_idle = self._open[path].readers == 0
            if is_idle or not longest:
                longest = path
            if is_idle or number == _SPARED:
                break
        self.close(longest)

    def close_gone(self) -> None:
        """Close some of what has neither a name nor a reader any more, which takes up the disk as long as it is open;
        all are looked at one after the other."""
        if not self._unseen:
            self._unseen = list(self._open)
        for _ in range(min(_LOOKED_AT, len(self._unseen))):
            path = self._unseen.pop()
            file = self._open.get(path)
            if file is not None and file.readers == 0 and not _has_name(file.descriptor):
                self.close(path)

    def close(self, path: str) -> None:
        """Close `path`, where it is open."""
        file = self._open.pop(path, None)
        if file is not None:
            os.close(file.descriptor)
            file.descriptor = -1  # the number may be somebody else's by now

    def close_all(self) -> None:
        """Close everything."""
        for path in list(self._open):
            self.close(path)
        self.watch.close()


def _has_name(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_nlink > 0
    except OSError:
        return False


@final
class CheckedBody(Body):
    """Content in a file of the disk store. `is_bad` once a block was wrong: its owner drops it then.

    Blocks that were checked are right as long as the file is the same: what its inode, size and time of change say.
    `descriptor` is that of the octets that `ready` has spoken of, until the next call.
    """

    __slots__ = (
        "_blocks",
        "_checked",
        "_content",
        "_file",
        "_files",
        "_inode",
        "_modified",
        "_unchecked",
        "descriptor",
        "is_bad",
        "path",
    )

    def __init__(self, path: str, content: FileContent, files: OpenFiles) -> None:
        super().__init__()
        self.path = path
        self.size = content.size
        self.is_bad = False
        self.descriptor = -1
        self._files = files
        self._file: OpenFile | None = None  # in which blocks were checked
        self._inode = 0
        self._modified = 0
        self._content = content
        self._blocks = content.blocks
        self._checked = bytearray(len(content.blocks))
        self._unchecked = len(content.blocks)

    def __repr__(self) -> str:
        return f"<CheckedBody {self.path} {self.size}>"

    def content(self) -> FileContent:
        """Return what the record says of the file."""
        return self._content

    def is_there(self) -> bool:
        """Tell whether its file can be read, and notice when it has changed: then its first block is checked, before
        a head promises what cannot be sent. Raises OSError where nothing is wrong with the file: there is no
        descriptor left, the disk fails.

        One without a name is not there, though it may be open: the disk does not count it any more, and another
        worker's may have taken its place.
        """
        try:
            file = self._files.take(self.path)
            has_name = self._recognise(file) > 0
            if has_name and self._unchecked and not self._checked[0]:
                self._check(file.descriptor, 0)
        except OSError as error:
            if not self.is_to_blame(error):
                raise
            return False
        return has_name and not self.is_bad

    def is_to_blame(self, error: OSError) -> bool:
        """Tell whether an error says that the file is gone, or not what was written, and nothing of the disk."""
        return self.is_bad or isinstance(error, FileNotFoundError)

    def hold(self) -> OpenFile | None:
        """Have the file stay open until `release`, even if it is unlinked (not if too many are open); None: it is
        gone already."""
        try:
            file = self._opened()
        except OSError:
            return None
        file.readers += 1
        return file

    def _opened(self) -> OpenFile:
        file = self._files.take(self.path)
        if file is not self._file:
            self._recognise(file)
        return file

    def _recognise(self, file: OpenFile) -> int:
        """Believe nothing that was checked in another file than this one; return how many names it has. Raises
        OSError."""
        found = os.fstat(file.descriptor)
        if found.st_size != self.size:
            self.is_bad = True
            self._file = None
            raise OSError(f"{self.path}: {found.st_size} octets long, and was written with {self.size}")
        self._file = file
        if found.st_ino != self._inode or found.st_mtime_ns != self._modified:
            self._inode = found.st_ino
            self._modified = found.st_mtime_ns
            self._checked = bytearray(len(self._blocks))
            self._unchecked = len(self._blocks)
        return found.st_nlink

    def ready(self, at: int, limit: int) -> int:
        """Return how many octets from `at` on, at most `limit`, are what was written: they may be sent from
        `descriptor`. Checks one block, if need be. Raises OSError where the file is not what was written."""
        if at < 0 or at >= self.size or limit <= 0:
            return 0
        end = min(at + limit, self.size)
        self.descriptor = self._opened().descriptor
        if self._unchecked == 0:
            return end - at
        index = at // BLOCK
        if not self._checked[index]:
            self._check(self.descriptor, index)
        last = min(index + _AHEAD, len(self._blocks))
        index += 1
        while index < last and self._checked[index]:
            index += 1
        return min(end, index * BLOCK) - at

    def read(self, at: int, limit: int) -> bytes:
        """Return octets from one block; raises OSError where the file is not what was written."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        index = at // BLOCK
        begin = index * BLOCK
        most = min(limit, min(begin + BLOCK, self.size) - at)
        descriptor = self._opened().descriptor
        if not self._checked[index]:
            self._check(descriptor, index)
            first = at - begin
            behind = first + most
            return bytes(memoryview(_SCRATCH)[first:behind])
        begun = self.begin()
        octets = os.pread(descriptor, most, at)
        self.took(begun)
        if not octets:
            self._fail(index)
        return octets

    def begin(self) -> float:
        """Return when something begins, for `took`."""
        return self._files.watch.begin()

    def took(self, begun: float) -> None:
        """Take note of how long octets had us wait that were read, or sent: they may not have been in memory."""
        if self._files.watch.waited(begun, SLOW) >= SLOW:
            self._files.slow += 1

    def _check(self, descriptor: int, index: int) -> None:
        """Read a block into `_SCRATCH` and check it. Raises OSError."""
        begin = index * BLOCK
        size = min(BLOCK, self.size - begin)
        block = memoryview(_SCRATCH)[:size]
        files = self._files
        begun = files.watch.begin()
        came = os.preadv(descriptor, [block], begin)
        files.slow = files.slow + 1 if files.watch.waited(begun, SLOW) >= SLOW else 0
        if came != size or zlib.crc32(block) != self._blocks[index]:
            self._fail(index)
        self._checked[index] = 1
        self._unchecked -= 1

    def _fail(self, index: int) -> NoReturn:
        self.is_bad = True
        raise OSError(f"{self.path}: block {index} is not what was written")


@final
class Upload(Body):
    """Content that is being written, and read by those who follow it: `size` octets are there.

    A failing disk raises OSError once from `write`; the caller goes on without the store.
    """

    __slots__ = ("_blocks", "_checksum", "_descriptor", "_in_block", "name", "path")

    def __init__(self, root: str, name: str) -> None:
        """Begin the file `name` under `root`/incoming; the name is unique on this machine. Raises OSError."""
        super().__init__()
        self.name = name
        self.path = f"{root}/{INCOMING}/{name}"
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._blocks: list[int] = []
        self._checksum = 0
        self._in_block = 0

    def write(self, chunk: bytes) -> None:
        """Append; what is there can be read at once. Raises OSError, disk full among them."""
        rest = memoryview(chunk)
        while len(rest):
            # Apart from the slice: compiled, the bound of a slice may be worked out twice.
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
        at = 0
        while at < len(chunk):
            piece = memoryview(chunk)[at : at + BLOCK - self._in_block]
            self._checksum = zlib.crc32(piece, self._checksum)
            self._in_block += len(piece)
            at += len(piece)
            if self._in_block == BLOCK:
                self._blocks.append(self._checksum)
                self._checksum = self._in_block = 0
        self.size += len(chunk)

    def read(self, at: int, limit: int) -> bytes:
        """Return octets that were written before."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        octets = os.pread(self._descriptor, min(limit, self.size - at), at)
        if not octets:
            raise OSError(f"{self.path}: ends before octet {at}")
        return octets

    def finish(self) -> FileContent:
        """Return what the record says of the file; nothing is written after this."""
        blocks = list(self._blocks)
        if self._in_block:
            blocks.append(self._checksum)
        return FileContent(self.name.encode(), self.size, blocks)

    def give_up(self) -> int:
        """Return the descriptor, which is somebody else's from now on."""
        descriptor = self._descriptor
        self._descriptor = -1
        return descriptor

    def close(self) -> None:
        """Give up the descriptor; nobody reads any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def abort(self) -> None:
        """Take the file back."""
        try:
            os.unlink(self.path)
        except OSError:
            pass  # it was swept away, or the disk is gone: nothing to take back
