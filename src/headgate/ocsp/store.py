"""Staples on disk: plain DER, one file for each certificate, so that a restart serves before it asks.

`staples/KEY.der` is the response as it came, to be read with `openssl ocsp -respin`; `staples/FINGERPRINT.issuer`
is an issuer's certificate that had to be fetched. What is read back is verified like everything else, so nothing
here is trusted, and nothing here raises: a disk that is full, read-only or gone is returned as a `StoreProblem`,
and the stapler goes on from memory.

A file is written under a temporary name, flushed, renamed, and its directory flushed: after a crash there is the
old content or the new, whole.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from headgate.ocsp.settings import MAX_BODY

_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """What could not be done with which file: `doing` is "read", "write", "make" or "remove"."""

    doing: str
    path: str
    errno: int
    error: str

    def __str__(self) -> str:
        return f"cannot {self.doing} {self.path}: {self.error} (errno {self.errno})"


@final
class StapleStore:
    """The `staples/` directory. Without one (`directory` None) nothing is kept, and that is no problem."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"<StapleStore {self._directory}>"

    @property
    def directory(self) -> Path | None:
        """Where the files are; None: nowhere."""
        return self._directory

    def load(self, key: str) -> tuple[bytes | None, StoreProblem | None]:
        """Return (DER, None), (None, None) when there is none, or (None, problem)."""
        return self._read(f"{key}.der")

    def save(self, key: str, der: bytes) -> StoreProblem | None:
        """Write a response; return what went wrong, or None."""
        return self._write(f"{key}.der", der)

    def load_issuer(self, fingerprint: str) -> tuple[bytes | None, StoreProblem | None]:
        """Return the fetched issuer (DER) of the certificate with this fingerprint, like `load`."""
        return self._read(f"{fingerprint}.issuer")

    def save_issuer(self, fingerprint: str, der: bytes) -> StoreProblem | None:
        """Write a fetched issuer; return what went wrong, or None."""
        return self._write(f"{fingerprint}.issuer", der)

    def _read(self, name: str) -> tuple[bytes | None, StoreProblem | None]:
        if self._directory is None:
            return None, None
        path = self._directory / name
        try:
            with open(path, "rb") as file:
                # One byte more than verification accepts, so that it says "too large" instead of "malformed".
                return file.read(MAX_BODY + 1), None
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, problem_of("read", path, error)

    def _write(self, name: str, data: bytes) -> StoreProblem | None:
        if self._directory is None:
            return None
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            return problem_of("make", self._directory, error)
        path = self._directory / name
        try:
            replace_file(path, data)
        except OSError as error:
            return problem_of("write", path, error)
        return None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that only we can read, whole or not at all. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_whole(temporary, data)
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError:
        # The half-written file must not stay: on a full disk it would keep the disk full.
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def _write_whole(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def problem_of(doing: str, path: Path, error: OSError) -> StoreProblem:
    """Return what went wrong in words."""
    return StoreProblem(doing, str(path), error.errno or errno.EIO, error.strerror or str(error))
