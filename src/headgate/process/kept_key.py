"""A key that outlives the gate: a file in state_dir, of a line that says what it is and the octets behind it.

What cannot be read or written is told, and never a reason not to start.
"""

import os
from collections.abc import Callable
from pathlib import Path

from headgate.ocsp.store import replace_file


def load_or_make(
    path: Path, magic: bytes, size: int, random: Callable[[int], bytes], tell: Callable[[str], None]
) -> bytes:
    """Return the key in the file, or make one of `size` octets and write it there; `tell` hears what went wrong."""
    key = _read(path, magic, size, tell)
    if key is not None:
        return key
    key = random(size)
    try:
        replace_file(path, magic + key)
    except OSError as error:
        tell(f"it cannot be written: {error.strerror} (errno {error.errno})")
    return key


def _read(path: Path, magic: bytes, size: int, tell: Callable[[str], None]) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(len(magic) + size + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        tell(f"it cannot be read: {error.strerror} (errno {error.errno})")
        return None
    if len(data) != len(magic) + size or not data.startswith(magic):
        tell("it is not what was written there")
        return None
    return data[len(magic) :]
