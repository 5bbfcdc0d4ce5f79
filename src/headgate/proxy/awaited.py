"""What is under way from the origin for the cache, for those who want the same: `proxy/lead`, `proxy/flight`."""

from __future__ import annotations

from typing import Final

from mypy_extensions import trait

from headgate.cache.entry import StoredResponse
from headgate.connection.exchange import Exchange

AWAITING: Final = 0
FILLING: Final = 1
DIRECT: Final = 2
DISCARDING: Final = 3
OVER: Final = 4


@trait
class Awaited:
    """One request to the origin. It left at `started` (wall seconds), at the store's `generation` of purges; `stored`
    is what its answer is being stored as. `is_second`: for those to whom the answer before did not suit."""

    key: bytes
    state: int
    started: float
    generation: int
    stored: StoredResponse | None
    is_second: bool

    def wait(self, client: Exchange) -> None:
        """Let a client wait for the head."""
        raise NotImplementedError

    def join(self, client: Exchange) -> bool:
        """Let a client read what is being stored, if it suits its request; tell whether it does."""
        raise NotImplementedError

    def left(self, client: Exchange) -> None:
        """A client that waits is gone."""
        raise NotImplementedError
