"""Where lines go: a file that may be full, or a pipe whose reader may be slow; neither may stop a worker.

- A regular file is opened for appending and gets a whole batch with one write, so that the lines of several
  workers stand whole beside each other. When the disk is full, lines are dropped and counted. A batch that was
  written in part leaves a torn line behind; the next write that works ends it first.
- Everything else (pipe, socket, terminal) is written without blocking, whole lines of at most `PIPE_WRITE` bytes
  at a time, which the kernel takes entirely or not at all. What it does not take waits in a bounded buffer; what
  does not fit there either is dropped and counted.

Standard output is opened anew instead of made non-blocking: that flag belongs to the open file, which we share
with our siblings, with standard error and with the shell that started us. O_APPEND belongs to it just so, and is set
on purpose (`append`).
"""

import errno
import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, final

from headgate.counters import HELD_LOG, LOG_DROPPED

PIPE_WRITE: Final = 4096
# Unwritten lines for a slow reader: a second of 5,000 requests/s. HAProxy keeps none, syslog daemons some MiB.
BUFFER_LIMIT: Final = 2 * 1024 * 1024
# Seconds between two events about the same trouble.
COMPLAINT_INTERVAL: Final = 60.0

Complain = Callable[[str, str], None]
"""Called with what happened ("log-full", "log-slow", "log-reopen-failed") and the details, at most once a minute."""


class LineWriter(Protocol):
    """A destination for whole lines. Nothing of it raises."""

    def write(self, lines: list[bytes]) -> None:
        """Take lines, each with its newline; also retries what is still buffered."""
        ...

    def reopen(self) -> None:
        """Open the destination anew, where that means something."""
        ...

    def close(self) -> None:
        """Write what can be written now and let go."""
        ...


class _Complaints:
    """Passes on one complaint a minute, with the number of lines that were dropped since the last."""

    def __init__(self, complain: Complain, now: Callable[[], float]) -> None:
        self._complain = complain
        self._now = now
        self._next = 0.0
        self._dropped = 0

    def add(self, what: str, detail: str, dropped: int) -> None:
        self._dropped += dropped
        if self._now() < self._next:
            return
        self._next = self._now() + COMPLAINT_INTERVAL
        dropped, self._dropped = self._dropped, 0
        self._complain(what, f"{detail}; {dropped} lines dropped" if dropped else detail)


@final
class FileWriter:
    """Appends to a regular file, one write for each batch."""

    def __init__(self, path: str, counters: list[int], complain: Complain, now: Callable[[], float]) -> None:
        """Open `path` for appending.

        Raises:
            OSError: it cannot be opened; only here, at the start.
        """
        self._path = path
        self._counters = counters
        self._complaints = _Complaints(complain, now)
        self._torn = False
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, lines: list[bytes]) -> None:
        if not lines or self._fd < 0:
            return
        batch = b"".join(lines)
        if self._torn:
            batch = b"\n" + batch
        try:
            written = os.write(self._fd, batch)
        except OSError as error:
            self._drop(len(lines), error)
            return
        self._torn = written < len(batch) and (written > 0 or self._torn)
        if written == len(batch):
            return
        # The file took a part, as a disk does that has just become full. Try the rest once; then it is lost.
        rest = batch[written:]
        try:
            more = os.write(self._fd, rest)
        except OSError as error:
            self._drop(rest.count(b"\n"), error)
            return
        self._torn = more < len(rest)
        if self._torn:
            self._drop(rest[more:].count(b"\n"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _drop(self, lines: int, error: OSError) -> None:
        self._counters[LOG_DROPPED] += lines
        name = errno.errorcode.get(error.errno or 0, "?")
        self._complaints.add("log-full", f"{self._path}: {name} {error.strerror}", lines)

    def reopen(self) -> None:
        """Open the path again; when that fails the old file goes on being written."""
        try:
            fresh = self._open()
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            detail = f"{self._path}: {name} {error.strerror}; still writing to the file opened before"
            self._complaints.add("log-reopen-failed", detail, 0)
            return
        os.close(self._fd)
        self._fd = fresh
        self._torn = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@final
class StreamWriter:
    """Writes to a pipe, socket or terminal without ever waiting for its reader."""

    def __init__(self, fd: int, counters: list[int], complain: Complain, now: Callable[[], float]) -> None:
        self._counters = counters
        self._complaints = _Complaints(complain, now)
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._fd = nonblocking_twin(fd)

    @property
    def held(self) -> int:
        """Bytes that wait for the reader."""
        return self._held

    def write(self, lines: list[bytes]) -> None:
        self._drain()
        chunk: list[bytes] = []
        size = 0
        for line in lines:
            if size + len(line) > PIPE_WRITE and chunk:
                self._offer(chunk, size)
                chunk = []
                size = 0
            chunk.append(line)
            size += len(line)
        if chunk:
            self._offer(chunk, size)
        self._drain()
        self._counters[HELD_LOG] = self._held

    def _offer(self, lines: list[bytes], size: int) -> None:
        if self._fd < 0:
            return
        if self._held + size > BUFFER_LIMIT:
            self._drain()
        if self._held + size > BUFFER_LIMIT:
            self._counters[LOG_DROPPED] += len(lines)
            self._complaints.add("log-slow", f"the log's reader is slow: {self._held} bytes wait", len(lines))
            return
        self._chunks.append(b"".join(lines))
        self._held += size

    def _drain(self) -> None:
        while self._chunks:
            chunk = self._chunks[0]
            try:
                written = os.write(self._fd, chunk)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error)
                return
            self._held -= written
            if written < len(chunk):
                # Terminals and sockets may take a part; a pipe never does for this size.
                self._chunks[0] = chunk[written:]
                return
            self._chunks.popleft()

    def _lose(self, error: OSError) -> None:
        """The reader is gone (EPIPE) or worse: nothing that waits can ever be written."""
        lost = sum(chunk.count(b"\n") for chunk in self._chunks)
        self._chunks.clear()
        self._held = 0
        self._counters[LOG_DROPPED] += lost
        name = errno.errorcode.get(error.errno or 0, "?")
        self._complaints.add("log-slow", f"the log's reader is gone: {name} {error.strerror}", lost)

    def reopen(self) -> None:
        """A stream has no path; a rotator of files means nothing to it."""

    def close(self) -> None:
        if self._fd >= 0:
            self._drain()
            os.close(self._fd)
            self._fd = -1


def nonblocking_twin(fd: int) -> int:
    """Return a descriptor of our own for what `fd` is open on: one that does not block, or, for a regular file, one
    that appends, as `fd` itself does from now on."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        append(fd)
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        # Sockets cannot be opened by name, and another user's terminal may refuse. Then the flag is shared.
        twin = os.dup(fd)
        os.set_blocking(twin, False)
        return twin


def append(fd: int) -> None:
    """Let every write to the file that `fd` is open on append, whoever makes it.

    A shell's `2> file` begins at offset 0 and does not append: a traceback, or a process that the shell started
    beside us, would write over lines that were appended through another open file. The flag belongs to the open
    file, and there it is right for all who share it."""
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)


def open_writer(
    where: str, counters: list[int], complain: Complain, now: Callable[[], float]
) -> FileWriter | StreamWriter | None:
    """Return the writer for a `log.access` setting: "off", "stdout" or a path.

    Raises:
        OSError: the file cannot be opened.
    """
    if where == "off":
        return None
    if where != "stdout":
        return FileWriter(where, counters, complain, now)
    if stat.S_ISREG(os.fstat(1).st_mode):
        # A shell's `> file`: opened again by its name in /proc, and what others print to it appends, too.
        append(1)
        return FileWriter("/proc/self/fd/1", counters, complain, now)
    return StreamWriter(1, counters, complain, now)
