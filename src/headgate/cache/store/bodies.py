"""Large content: a file of its own, written by the worker that receives it, renamed and indexed by the writer.

A worker writes to a name that only it uses, so that readers may follow while the content still grows. The file is
complete when the writer renames it; what a killed worker leaves is under `incoming` and is swept away. Blocks have
checksums, kept in the record: each is checked when it is first read after it came from the index, so that a file cut
short or torn is an OSError, and no octet of such a block is ever handed out.

Descriptors of files that are read stay open, a bounded number of them: a file that the writer has unlinked meanwhile
stays readable for whoever has it open.
"""

import os
import zlib
from typing import Final, final

from headgate.cache.entry import Body
from headgate.cache.store.format import BLOCK, FileContent

INCOMING: Final = "incoming"
# Files that a worker keeps open: a fraction of its descriptors, which connections need.
MAX_OPEN_FILES: Final = 512


@final
class OpenFiles:
    """Descriptors by path; the longest open one is closed when there are too many."""

    __slots__ = ("_open", "limit")

    def __init__(self, limit: int = MAX_OPEN_FILES) -> None:
        self.limit = limit
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def descriptor(self, path: str) -> int:
        """Return a descriptor for reading `path`, good until the next call. Raises OSError."""
        descriptor = self._open.get(path, -1)
        if descriptor < 0:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) >= self.limit:
                oldest = next(iter(self._open))
                self.close(oldest)
            self._open[path] = descriptor
        return descriptor

    def adopt(self, path: str, descriptor: int) -> None:
        """Take over the descriptor of what will lie at `path`."""
        self.close(path)
        if len(self._open) >= self.limit:
            oldest = next(iter(self._open))
            self.close(oldest)
        self._open[path] = descriptor

    def close(self, path: str) -> None:
        """Close `path`, where it is open."""
        descriptor = self._open.pop(path, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def close_all(self) -> None:
        """Close everything."""
        for path in list(self._open):
            self.close(path)


@final
class CheckedBody(Body):
    """Content in a file of the disk store. `is_bad` once a block was wrong: its owner drops it then."""

    __slots__ = ("_blocks", "_checked", "_content", "_files", "is_bad", "path")

    def __init__(self, path: str, content: FileContent, files: OpenFiles) -> None:
        super().__init__()
        self.path = path
        self.size = content.size
        self.is_bad = False
        self._files = files
        self._content = content
        self._blocks = content.blocks
        self._checked = bytearray(len(content.blocks))

    def __repr__(self) -> str:
        return f"<CheckedBody {self.path} {self.size}>"

    def content(self) -> FileContent:
        """Return what the record says of the file."""
        return self._content

    def is_there(self) -> bool:
        """Tell whether its file can be read; from then on it stays readable, even if it is unlinked."""
        try:
            self._files.descriptor(self.path)
        except OSError:
            return False
        return not self.is_bad

    def read(self, at: int, limit: int) -> bytes:
        """Return octets from one block; raises OSError where the file is not what was written."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        index = at // BLOCK
        begin = index * BLOCK
        end = min(begin + BLOCK, self.size)
        descriptor = self._files.descriptor(self.path)
        if self._checked[index]:
            octets = os.pread(descriptor, min(limit, end - at), at)
            if octets:
                return octets
        else:
            block = os.pread(descriptor, end - begin, begin)
            if len(block) == end - begin and zlib.crc32(block) == self._blocks[index]:
                self._checked[index] = 1
                return block[at - begin : at - begin + limit]
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
