"""The secrets of QUIC that all workers share: made and kept by the supervisor, carried to the workers in Snapshots.

- `connection_ids` reads the worker out of a connection ID. It lives for one run: with a new key no ID of this run can
  be one of the last, and a reset token is for one connection only (RFC 9000 section 10.3.2).
- `resets` makes stateless reset tokens (section 10.3.2). It is kept in state_dir: a client whose connection a restart
  ended hears of it at its next packet.
- `tokens` seals those of Retry and NEW_TOKEN (section 8.1), in state_dir too: who proved its address yesterday need
  not do it again.
- `tickets` seal sessions (RFC 8446 section 4.6.1), in memory only: who reads the disk later must not read what was
  recorded today. There is a new one every 12 hours, and the one before it.

What cannot be read or written costs one of these comforts and never the start: it is told, and the gate goes on with
keys that last as long as it does.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from headgate.clock import Clock
from headgate.process.channel import ChannelError, Json, Kind, Message
from headgate.process.kept_key import load_or_make

FILE_NAME: Final = "quic.key"
TICKET_SECONDS: Final = 12 * 3600.0
_ID_KEY: Final = 16
_RESET_KEY: Final = 32
_TOKEN_KEY: Final = 32
_TICKET_KEY: Final = 32
# What stands in the file: the version of its form, then both keys.
_MAGIC: Final = b"headgate quic 1\n"


class _Events(Protocol):
    """Where events go (`parts.Events`, which stands above the Snapshot and so above this)."""

    def event(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class QuicKeys:
    """The keys of the moment; `tickets` newest first."""

    connection_ids: bytes = field(repr=False)
    resets: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    tickets: tuple[bytes, ...] = field(repr=False)


class QuicKeyShelf:
    """The supervisor's keys: `load` once, `poll` now and then."""

    def __init__(
        self, state_dir: Path, clock: Clock, events: _Events, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._path = state_dir / FILE_NAME
        self._now = clock.now
        self._events = events
        self._random = random
        self._keys: QuicKeys | None = None
        self._rotate_at = 0.0

    @property
    def keys(self) -> QuicKeys | None:
        """Return the keys, None before `load`."""
        return self._keys

    def load(self) -> None:
        """Read or make the keys."""
        kept = load_or_make(self._path, _MAGIC, _RESET_KEY + _TOKEN_KEY, self._random, self._tell)
        tickets = (self._random(_TICKET_KEY),)
        self._keys = QuicKeys(self._random(_ID_KEY), kept[:_RESET_KEY], kept[_RESET_KEY:], tickets)
        self._rotate_at = self._now() + TICKET_SECONDS

    def poll(self) -> bool:
        """Rotate ticket keys when it is time; tell whether there are new ones."""
        keys = self._keys
        if keys is None or self._now() < self._rotate_at:
            return False
        # The monotonic clock: a wall clock that jumps would throw keys away.
        self._rotate_at = self._now() + TICKET_SECONDS
        tickets = (self._random(_TICKET_KEY), keys.tickets[0])
        self._keys = QuicKeys(keys.connection_ids, keys.resets, keys.tokens, tickets)
        return True

    def _tell(self, reason: str) -> None:
        self._events.event(
            "quic-keys-not-kept",
            "warning",
            file=str(self._path),
            reason=reason,
            next="new keys are used: QUIC clients of before a restart wait for their idle timeout, "
            "and prove their address again",
        )


def encode_keys(keys: QuicKeys | None) -> Json:
    """Return the keys as they travel."""
    if keys is None:
        return None
    parts = (keys.connection_ids, keys.resets, keys.tokens, *keys.tickets)
    return {"keys": [b64encode(part).decode() for part in parts]}


def decode_keys(value: Json) -> QuicKeys | None:
    """Read keys from a Snapshot. Raises `ChannelError`."""
    if value is None:
        return None
    texts = Message(Kind.SNAPSHOT, value).item("keys")
    if not isinstance(texts, list) or len(texts) < 4 or not all(isinstance(text, str) for text in texts):
        raise ChannelError("SNAPSHOT has QUIC keys that are none")
    parts = [b64decode(str(text)) for text in texts]
    sizes = [_ID_KEY, _RESET_KEY, _TOKEN_KEY, *[_TICKET_KEY] * (len(parts) - 3)]
    if [len(part) for part in parts] != sizes:
        raise ChannelError("SNAPSHOT has QUIC keys of other lengths")
    return QuicKeys(parts[0], parts[1], parts[2], tuple(parts[3:]))
