"""What of a client's HTTP/2 connection may take too long, beside what each of its lanes looks after by itself.

Looked at in the sweep, twice a second, so nothing here is on the path of a request:

- the first frames, and a frame or field block that has begun and does not come to its end;
- output that the socket does not take, and content that no window opens for;
- whether the connection takes so much, while something waits, that streams which wait for their turn alone are not
  late: who opens its window by octets has streams that are;
- streams whose answer is complete, so that no lane is left, and for which alone the client opens no window.
"""

from typing import Final, final

from headgate.connection.downstream_lane import LEAST_RATE, DownstreamLane
from headgate.engine.h2.connection import H2Connection

_ALL_THERE: Final = -1  # no frame is incomplete
# What waits for a client, and of which nothing has moved for so long, goes first where memory is short.
STALL_SECONDS: Final = 2.0


@final
class H2Watch:
    """Watches one connection. `given` is how much content the engine was given, `taken` how many octets it gave out
    for the socket; the driver adds to both. `is_moving`: all streams together do not go too slowly.
    """

    __slots__ = (
        "_frames",
        "_frames_at",
        "_moved",
        "_moved_at",
        "_starved",
        "_taken",
        "_taken_at",
        "given",
        "is_moving",
        "taken",
    )

    def __init__(self, now: float) -> None:
        self.given = 0
        self.taken = 0
        self.is_moving = True
        self._taken = 0
        self._taken_at = (
            0.0  # since when something waits without a break, or when that was measured last; 0.0: not
        )
        self._frames = 0  # how many there were when one was seen to be incomplete
        self._frames_at = now  # and since when
        self._moved = 0  # how much of the content had gone
        self._moved_at = 0.0  # since when nothing moves, 0.0 where nothing waits
        self._starved: dict[int, float] | None = None  # streams, and since when they wait

    def is_incomplete(self, h2: H2Connection, now: float, longest: float) -> bool:
        """Tell whether a frame, a head, or the very first frames have been on their way for `longest`."""
        frames = h2.frames
        if h2.buffered == 0 and frames > 0:
            self._frames = _ALL_THERE
            return False
        if frames != self._frames:
            self._frames = frames
            self._frames_at = now
            return False
        return now - self._frames_at >= longest

    def wrote(self, now: float) -> None:
        """The socket has taken something that it did not take at once."""
        self._moved_at = now

    def is_stuck(self, h2: H2Connection, unsent: int, now: float, longest: float) -> bool:
        """Tell whether output has waited for `longest`, for the socket or for the client's windows."""
        if unsent == 0 and h2.queued_total == 0:
            self._moved_at = 0.0
            self._taken_at = 0.0
            self.is_moving = True
            self._starved = None
            return False
        self._measure(now, longest)
        moved = self.given - h2.queued_total
        if moved != self._moved or self._moved_at == 0.0:
            self._moved = moved
            self._moved_at = now
        return now - self._moved_at >= longest

    def _measure(self, now: float, longest: float) -> None:
        """See once in `longest` whether all streams together keep to the least rate."""
        if self._taken_at > 0.0:
            if now - self._taken_at < longest:
                return
            self.is_moving = self.taken - self._taken >= LEAST_RATE * longest
        self._taken = self.taken
        self._taken_at = now

    def is_stalled(self, now: float) -> bool:
        """Tell whether nothing of what waits has moved for `STALL_SECONDS`."""
        return self._moved_at > 0.0 and now - self._moved_at >= STALL_SECONDS

    def starved(
        self, h2: H2Connection, lanes: dict[int, DownstreamLane], now: float, longest: float
    ) -> list[int]:
        """Return the streams without a lane for which no window has opened for `longest`."""
        before = self._starved
        waiting: dict[int, float] = {}
        over: list[int] = []
        for stream in h2.streams.values():
            if stream.queued == 0 or stream.send_window > 0 or stream.id in lanes:
                continue
            since = before.get(stream.id, now) if before is not None else now
            if now - since >= longest:
                over.append(stream.id)
            else:
                waiting[stream.id] = since
        self._starved = waiting or None
        return over
