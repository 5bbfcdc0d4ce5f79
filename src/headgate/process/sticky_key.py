"""The secret behind sticky cookies: made by the supervisor, kept in state_dir, carried to the workers in Snapshots.

All workers must give an endpoint the same token, and so must the next run of the gate, or every session would move
when it is restarted. Without a file that can be read and written the key lasts as long as the gate; that is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headgate.errors import HeadgateError
from headgate.process.channel import Json, Kind, Message
from headgate.process.kept_key import load_or_make
from headgate.process.parts import Events

FILE_NAME: Final = "sticky.key"
# Where it stands among the upstreams of a Snapshot: no upstream has such a name.
PLACE: Final = ":sticky"
_MAGIC: Final = b"headgate sticky 1\n"
_SIZE: Final = 32


def load_sticky_key(
    state_dir: Path, events: Events, random: Callable[[int], bytes] = os.urandom
) -> dict[str, Json]:
    """Return what goes into a Snapshot, read from the file or made and written there."""
    path = state_dir / FILE_NAME

    def tell(reason: str) -> None:
        events.event(
            "sticky-key-not-kept",
            "warning",
            file=str(path),
            reason=reason,
            next="a new key is used: clients with a sticky cookie are balanced anew",
        )

    key = load_or_make(path, _MAGIC, _SIZE, random, tell)
    return {PLACE: {"key": key.hex()}}


def sticky_key_of(upstreams: dict[str, Json]) -> bytes:
    """Return the key from a Snapshot. Raises `HeadgateError` when it is not there."""
    value = upstreams.get(PLACE)
    if value is None:
        raise HeadgateError("the Snapshot has no key for sticky cookies")
    return bytes.fromhex(Message(Kind.SNAPSHOT, value).text("key"))
