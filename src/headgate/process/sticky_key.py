"""The secret behind sticky cookies: made by the supervisor, kept in state_dir, carried to the workers in Snapshots.

All workers must give an endpoint the same token, and so must the next run of the gate, or every session would move
when it is restarted. Without a file that can be read and written the key lasts as long as the gate; that is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from headgate.errors import HeadgateError
from headgate.ocsp.store import replace_file
from headgate.process.channel import Json, Kind, Message

FILE_NAME: Final = "sticky.key"
# Where it stands among the upstreams of a Snapshot: no upstream has such a name.
PLACE: Final = ":sticky"
_MAGIC: Final = b"headgate sticky 1\n"
_SIZE: Final = 32


class _Events(Protocol):
    def event(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


def load_sticky_key(
    state_dir: Path, events: _Events, random: Callable[[int], bytes] = os.urandom
) -> dict[str, Json]:
    """Return what goes into a Snapshot, read from the file or made and written there."""
    path = state_dir / FILE_NAME
    key = b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(len(_MAGIC) + _SIZE + 1)
        if data.startswith(_MAGIC) and len(data) == len(_MAGIC) + _SIZE:
            key = data[len(_MAGIC) :]
        else:
            _tell(events, path, "it is not what was written there")
    except FileNotFoundError:
        pass
    except OSError as error:
        _tell(events, path, f"it cannot be read: {error.strerror} (errno {error.errno})")
    if not key:
        key = random(_SIZE)
        try:
            replace_file(path, _MAGIC + key)
        except OSError as error:
            _tell(events, path, f"it cannot be written: {error.strerror} (errno {error.errno})")
    return {PLACE: {"key": key.hex()}}


def sticky_key_of(upstreams: dict[str, Json]) -> bytes:
    """Return the key from a Snapshot. Raises `HeadgateError` when it is not there."""
    value = upstreams.get(PLACE)
    if value is None:
        raise HeadgateError("the Snapshot has no key for sticky cookies")
    return bytes.fromhex(Message(Kind.SNAPSHOT, value).text("key"))


def _tell(events: _Events, path: Path, reason: str) -> None:
    events.event(
        "sticky-key-not-kept",
        "warning",
        file=str(path),
        reason=reason,
        next="a new key is used: clients with a sticky cookie are balanced anew",
    )
