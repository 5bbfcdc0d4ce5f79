"""Whose turn it is to send (RFC 9000 section 2.3, RFC 9218 sections 4 and 10).

Only streams that can send something now stand here; whoever becomes ready is added, whoever is not any more is
removed. So a turn costs the same whether ten streams are open or ten thousand.

Streams of a lower level go before all of a higher one. Level 0 is ours: control streams, on which everything else
waits. Levels 1 to 8 are the urgencies 0 to 7 of RFC 9218. Within a level the streams that are not incremental are
served one by one, lowest id first, because half an answer is of no use to who asked for a whole one; incremental ones
take turns, a piece each. Where a level has both kinds, all that go one by one count as a single member of the round:
neither kind starves the other (section 10 leaves the mixture to the server).
"""

from bisect import bisect_left
from collections import OrderedDict
from typing import Final, final

CONTROL_LEVEL: Final = 0
DEFAULT_URGENCY: Final = 3  # RFC 9218 section 4.1
LEVELS: Final = 9
NOBODY: Final = -1
_QUEUE: Final = -1


def level_of(urgency: int) -> int:
    """Return the level of an urgency of RFC 9218 (0 to 7); values outside count as the nearest."""
    return min(max(urgency, 0), LEVELS - 2) + 1


@final
class Scheduler:
    """The ready streams. `touched` counts the entries that were looked at, which tests hold the cost to."""

    __slots__ = ("_levels", "_queues", "_rounds", "_size", "touched")

    def __init__(self) -> None:
        self.touched = 0
        self._levels = 0  # bit n: level n has somebody
        self._size = 0
        # By level, made when first needed: most connections use one or two of the nine. Who stands first in a round
        # is up; `_QUEUE` stands for everybody in the queue of the level.
        self._queues: list[list[int] | None] = [None] * LEVELS
        self._rounds: list[OrderedDict[int, None] | None] = [None] * LEVELS

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<Scheduler {self._size} ready>"

    def _round(self, level: int) -> OrderedDict[int, None]:
        members = self._rounds[level]
        if members is None:
            members = self._rounds[level] = OrderedDict()
        return members

    def _queue(self, level: int) -> list[int]:
        queue = self._queues[level]
        if queue is None:
            queue = self._queues[level] = []
        return queue

    def add(self, stream: int, level: int, is_incremental: bool) -> None:
        """Let a stream that can send something take part; it must not take part already."""
        self.touched += 1
        members = self._round(level)
        if is_incremental:
            members[stream] = None
        else:
            queue = self._queue(level)
            if not queue:
                members[_QUEUE] = None
            if not queue or stream > queue[-1]:  # nearly always: streams come in order
                queue.append(stream)
            else:
                queue.insert(bisect_left(queue, stream), stream)
        self._levels |= 1 << level
        self._size += 1

    def remove(self, stream: int, level: int, is_incremental: bool) -> None:
        """Take a stream out that cannot send any more; level and kind are those that it was added with."""
        self.touched += 1
        members = self._round(level)
        if is_incremental:
            del members[stream]
        else:
            queue = self._queue(level)
            at = 0 if queue[0] == stream else bisect_left(queue, stream)
            del queue[at]
            if not queue:
                del members[_QUEUE]
            elif at == 0:  # it had its piece: many short answers must not keep the turn among themselves
                members.move_to_end(_QUEUE)
        if not members:
            self._levels &= ~(1 << level)
        self._size -= 1

    def next(self) -> int:
        """Return the stream whose turn it is, or `NOBODY`; it stays its turn until `served` or `remove`."""
        levels = self._levels
        if levels == 0:
            return NOBODY
        self.touched += 1
        level = (levels & -levels).bit_length() - 1
        for member in self._round(level):
            return self._queue(level)[0] if member == _QUEUE else member
        return NOBODY

    def served(self, stream: int, level: int, is_incremental: bool) -> None:
        """Say that a stream has sent a piece and stays ready: the next of its round is up."""
        members = self._round(level)
        if len(members) > 1:
            members.move_to_end(stream if is_incremental else _QUEUE)
