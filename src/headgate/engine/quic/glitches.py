"""Frames that serve nobody (RFC 9114 section 10.5, which HTTP/3 leaves to its transport here).

A packet costs about the same whatever is in it, unless it is full of small frames: a thousand PINGs in 1200 octets
make twenty times the work of 1200 octets of content. `FrameReader` counts for each packet the frames that carry
nothing, ACKs behind the first one and pieces of streams of a few octets; here they are added up. Who moves content
needs such frames, credit above all, so each KiB that was received or sent allows one more, and each stream that is
over two: at twenty thousand small requests a second a server says as often that another stream may be opened.
"""

from typing import Final, final

from headgate.engine.quic.streams import EXCESSIVE_LOAD
from headgate.errors import RemoteProtocolError

# HAProxy counts "glitches" too. A browser sends some dozens before its first request.
MAX_IDLE_FRAMES: Final = 1000
IDLE_FRAME_SECONDS: Final = 10.0


@final
class Glitches:
    """What one connection may still do for nothing; the window begins with the first that is counted in it."""

    __slots__ = ("_left", "_moved", "_until")

    def __init__(self) -> None:
        self._left = 0
        self._moved = 0
        self._until = -1.0

    def __repr__(self) -> str:
        return f"<Glitches {self._left} left>"

    def spend(self, count: int, moved: int, now: float) -> None:
        """Count frames of a packet; `moved` octets of content went either way so far.

        Raises `RemoteProtocolError` with H3_EXCESSIVE_LOAD when there were too many.
        """
        if now >= self._until:
            self._until = now + IDLE_FRAME_SECONDS
            self._left = MAX_IDLE_FRAMES
            self._moved = moved
        self._left -= count
        if self._left + (moved - self._moved >> 10) < 0:
            raise RemoteProtocolError(
                EXCESSIVE_LOAD,
                "glitches",
                f"more than {MAX_IDLE_FRAMES} frames for nothing in {IDLE_FRAME_SECONDS:.0f} s",
            )
