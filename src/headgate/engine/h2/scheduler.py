"""Whose content goes out next (RFC 9113 section 5.1.2 leaves it to us, RFC 9218 sections 4 and 10 say how).

Only streams that can send content now stand here: who has none, or has no window of its own, does not. So a turn
costs the same whether ten streams are open or ten thousand.

A lower urgency goes before all of a higher one. Within one, the streams that are not incremental are served one by
one, lowest id first, because half an answer is of no use to who asked for a whole one; incremental ones take turns, a
frame each. Where an urgency has both kinds, all that go one by one count as a single member of the round: neither
kind starves the other.

This is what `engine/quic/scheduler` does for QUIC, which holds numbers of streams that it looks up; here a turn is
part of the cost of every short answer, so the streams themselves stand in plain lists.
"""

from bisect import bisect_left
from typing import Final, final

from headgate.engine.h2.stream import H2Stream

URGENCIES: Final = 8

# The lowest bit of each set of urgencies.
_FIRST: Final = bytes((mask & -mask).bit_length() - 1 if mask else 0 for mask in range(1 << URGENCIES))


def _id(stream: H2Stream) -> int:
    return stream.id


@final
class _Level:
    """The ready streams of one urgency; `waited` counts the turns of incremental ones since the last of the queue."""

    __slots__ = ("queue", "turns", "waited")

    def __init__(self) -> None:
        self.queue: list[H2Stream] = []
        self.turns: list[H2Stream] = []
        self.waited = 0


@final
class Scheduler:
    """The ready streams. `touched` counts the entries that were looked at, which tests hold the cost to."""

    __slots__ = ("_levels", "_mask", "size", "touched")

    def __init__(self) -> None:
        self.size = 0
        self.touched = 0
        self._mask = 0  # bit n: urgency n has somebody
        self._levels: list[_Level | None] = [None] * URGENCIES  # made when first needed: most use one

    def __repr__(self) -> str:
        return f"<Scheduler {self.size} ready>"

    def add(self, stream: H2Stream) -> None:
        """Let a stream that can send content take part, unless it does already."""
        if stream.is_ready:
            return
        stream.is_ready = True
        self.touched += 1
        level = self._levels[stream.urgency]
        if level is None:
            level = self._levels[stream.urgency] = _Level()
        if stream.incremental:
            level.turns.append(stream)
        else:
            queue = level.queue
            if not queue or stream.id > queue[-1].id:  # nearly always: streams come in order
                queue.append(stream)
            else:
                queue.insert(bisect_left(queue, stream.id, key=_id), stream)
        self._mask |= 1 << stream.urgency
        self.size += 1

    def remove(self, stream: H2Stream) -> None:
        """Take a stream out that cannot send any more, if it is in."""
        if not stream.is_ready:
            return
        stream.is_ready = False
        self.touched += 1
        level = self._levels[stream.urgency]
        if level is None:
            return
        members = level.turns if stream.incremental else level.queue
        if members[0] is stream:
            members.pop(0)
            if (
                not stream.incremental
            ):  # it had its piece: short answers must not keep the turn among themselves
                level.waited = 0
        else:
            members.remove(stream)
        if not level.turns and not level.queue:
            self._mask &= ~(1 << stream.urgency)
        self.size -= 1

    def next(self) -> H2Stream | None:
        """Return the stream whose turn it is; it stays its turn until `served` or `remove`."""
        if self.size == 0:
            return None
        self.touched += 1
        level = self._levels[_FIRST[self._mask]]
        if level is None:
            return None
        turns = level.turns
        if level.queue and level.waited >= len(turns):
            return level.queue[0]
        return turns[0]

    def served(self, stream: H2Stream) -> None:
        """Say that the stream whose turn it was has sent a frame and stays ready: the next one is up."""
        level = self._levels[stream.urgency]
        if level is None:
            return
        if not stream.incremental:
            level.waited = 0
            return
        level.waited += 1
        turns = level.turns
        if len(turns) > 1:
            turns.append(turns.pop(0))

    def prioritise(self, stream: H2Stream, urgency: int, incremental: bool) -> None:
        """Give a stream another priority, ready or not."""
        was_ready = stream.is_ready
        if was_ready:
            self.remove(stream)
        stream.urgency = urgency
        stream.incremental = incremental
        if was_ready:
            self.add(stream)
