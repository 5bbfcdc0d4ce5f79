"""Which control frames of streams wait to be sent (RFC 9000 section 13.3).

Only their kind and stream are remembered, in the order they came, each once: the frame is made when it is taken, so
its number is the newest, and no peer makes more of them wait than there are streams and kinds.
"""

from collections import OrderedDict
from typing import Final, final

_KIND_BITS: Final = 5  # the kinds of section 19 that are queued lie below 0x20


@final
class ControlQueue:
    """A queue of (kind, stream); the stream is 0 for frames of the connection."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, stream_id: int, kind: int) -> None:
        """Queue a frame; one that waits already keeps its place."""
        self._waiting[stream_id << _KIND_BITS | kind] = None

    def take(self) -> tuple[int, int]:
        """Take the first out: (kind, stream). There must be one."""
        key, _ = self._waiting.popitem(last=False)
        return key & ((1 << _KIND_BITS) - 1), key >> _KIND_BITS
