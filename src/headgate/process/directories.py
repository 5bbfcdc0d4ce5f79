"""The two directories of a gate, and the lock that keeps a second gate out of them.

`state_dir` (0700) outlives the process: staples, tickets, a local CA. `runtime_dir` (0711: the sockets
inside carry their own mode) does not. Both belong to the user that workers and keeper run as. The lock is a
flock on a file in `state_dir`: the kernel drops it when the supervisor dies, however it dies, so there is
nothing stale to clean up; the process id inside is for people.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from headgate.errors import HeadgateError
from headgate.process.privileges import Account

LOCK_NAME: Final = "headgate.lock"
STATE_MODE: Final = 0o700
RUNTIME_MODE: Final = 0o711


class StateError(HeadgateError):
    """A directory cannot be used, or another gate uses it."""


def make_directory(path: Path, mode: int, owner: Account | None, key: str) -> None:
    """Create `path` with its parents, owned by `owner`; `key` is the setting that named it.

    A directory that root made in an earlier run is handed to `owner` with what is in it.
    Raises `StateError`.
    """
    try:
        created = not path.exists()
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        if created:
            path.chmod(mode)  # whatever the umask is
        found = path.stat()
        _insist(path, found, owner, key)
        if owner is not None and os.geteuid() == 0 and found.st_uid == 0 and owner.uid != 0:
            _hand_over(path, owner)
    except OSError as exc:
        raise StateError(f"{key} {path}: {exc.strerror} (errno {exc.errno})") from exc


def _insist(path: Path, found: os.stat_result, owner: Account | None, key: str) -> None:
    """Refuse a directory that others could have put there (in /tmp) or can write to."""
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{key} {path} is not a directory")
    trusted = {0, os.geteuid()} | ({owner.uid} if owner is not None else set())
    for uid in (found.st_uid, path.lstat().st_uid):
        if uid not in trusted:
            raise StateError(f"{key} {path} belongs to another user (uid {uid}); take another directory")
    if found.st_mode & 0o022:
        raise StateError(
            f"{key} {path}: others may write to it (mode {stat.S_IMODE(found.st_mode):04o}); chmod go-w"
        )


def _hand_over(path: Path, owner: Account) -> None:
    """Give a tree of root's to `owner`. Links are not followed, and a directory goes after what it holds:
    until it is handed over, nobody but root can put anything there."""
    for parent, names, files in os.walk(path, topdown=False, followlinks=False):
        for name in (*names, *files):
            os.chown(os.path.join(parent, name), owner.uid, owner.gid, follow_symlinks=False)
    os.chown(path, owner.uid, owner.gid)


def _open_lock(path: Path) -> int:
    """Open the lock file, making it if need be. On a disk that has gone read-only a file that is there can be locked
    all the same, and so can the directory where none is: a site comes up without its disk. Raises `OSError`."""
    safe = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | safe, 0o600)
    except OSError as exc:
        if exc.errno != errno.EROFS:
            raise
    try:
        return os.open(path, os.O_RDONLY | safe)
    except FileNotFoundError:
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | safe)


def _holder(descriptor: int) -> str:
    """Say who holds the lock, as far as it says so."""
    try:
        text = os.read(descriptor, 32).decode("ascii", "replace").strip()
    except IsADirectoryError:
        text = ""
    return f"process {text}" if text.isdigit() else "another process"


class StateLock:
    """The lock of one `state_dir`; held until `close` or the end of this process (children close their
    copy)."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / LOCK_NAME
        try:
            self._descriptor = _open_lock(self.path)
        except OSError as exc:
            raise StateError(f"state_dir: {self.path}: {exc.strerror} (errno {exc.errno})") from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = _holder(self._descriptor)
            os.close(self._descriptor)
            raise StateError(
                f"state_dir {state_dir} is in use by {who} ({self.path}); "
                "a second gate on this machine needs a state_dir and a runtime_dir of its own"
            ) from None
        self._write_pid()

    def _write_pid(self) -> None:
        # Best effort: a full disk must not keep the gate from starting.
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass

    def close(self) -> None:
        """Close the descriptor: in the process that locked, this unlocks once no child has a copy."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
