"""Content with gaps: pieces of one representation at their places (RFC 9111 sections 3.3 and 3.4).

Octets that are here already stay; of a piece that overlaps only what is missing is taken. `cache/partial` says what
may be put together.
"""

from typing import Final, final

from headgate.cache.entry import Body, MemoryBody

# Pieces with gaps between them that one variant may consist of: a player that jumps about makes a dozen.
MAX_PIECES: Final = 64
# Pieces in files are not joined when they touch: a gibibyte in pieces of one mebibyte.
_MOST_BODIES: Final = 1024


@final
class PartialBody(Body):
    """Content with gaps. `read` takes offsets of the whole representation; `size` is how many octets are here."""

    __slots__ = ("bodies", "ends", "skips", "starts")

    def __init__(self) -> None:
        super().__init__()
        # One entry for each piece, in order, none touching the next: where it starts and ends, its octets, and how
        # many of those lie before it.
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.bodies: list[Body] = []
        self.skips: list[int] = []

    def __repr__(self) -> str:
        return f"<PartialBody {self.ranges()}>"

    def ranges(self) -> list[tuple[int, int]]:
        """Return what is here, in order; pieces that touch are one range."""
        found: list[tuple[int, int]] = []
        for at in range(len(self.starts)):
            if found and found[-1][1] == self.starts[at]:
                found[-1] = (found[-1][0], self.ends[at])
            else:
                found.append((self.starts[at], self.ends[at]))
        return found

    def read(self, at: int, limit: int) -> bytes:
        """Return octets from `at` on, at most `limit` of them; b"" when that octet is not here."""
        place = self._place(at)
        if place < 0 or limit <= 0:
            return b""
        start = self.starts[place]
        return self.bodies[place].read(at - start + self.skips[place], min(limit, self.ends[place] - at))

    def _place(self, at: int) -> int:
        """Return which piece holds the octet `at`, -1 when none does."""
        low = 0
        high = len(self.starts) - 1
        while low <= high:
            middle = (low + high) >> 1
            if at < self.starts[middle]:
                high = middle - 1
            elif at >= self.ends[middle]:
                low = middle + 1
            else:
                return middle
        return -1

    @property
    def only(self) -> Body | None:
        """All that is here, where that is one body from its first octet to its last; it stands at `starts[0]`."""
        if len(self.bodies) != 1 or self.skips[0] != 0 or self.bodies[0].size != self.size:
            return None
        return self.bodies[0]

    def add(self, start: int, body: Body) -> bool:
        """Put `body` at `start`; of what is here already nothing changes. False: too many pieces, nothing was
        taken.
        """
        return self._take(start, start + body.size, body, -start)

    def add_all(self, other: "PartialBody") -> bool:
        """Add every piece of another; False when not all of them were taken."""
        taken = True
        for at in range(len(other.starts)):
            shift = other.skips[at] - other.starts[at]
            if not self._take(other.starts[at], other.ends[at], other.bodies[at], shift):
                taken = False
        return taken

    def _take(self, start: int, end: int, body: Body, shift: int) -> bool:
        """Fill the gaps within [start, end) with octets of `body`, where the octet `n` stands at `n + shift`."""
        ranges = self.ranges()
        apart = [low for low, high in ranges if high < start or low > end]
        missing = gaps_within(ranges, start, end)
        if len(apart) >= MAX_PIECES or len(self.starts) + len(missing) > _MOST_BODIES:
            return False
        for low, high in missing:
            at = 0
            while at < len(self.starts) and self.starts[at] < low:
                at += 1
            self.starts.insert(at, low)
            self.ends.insert(at, high)
            self.bodies.insert(at, body)
            self.skips.insert(at, low + shift)
            self.size += high - low
        self._join()
        return True

    def _join(self) -> None:
        """Make one piece in memory of pieces that touch, so that their number is that of the gaps."""
        at = len(self.starts) - 1
        while at > 0:
            if self.ends[at - 1] == self.starts[at] and self._pour(at - 1, at):
                del self.starts[at], self.ends[at], self.bodies[at], self.skips[at]
            at -= 1

    def _pour(self, first: int, second: int) -> bool:
        """Append the piece `second` to the one before it, whose reader sees no difference; False: not in memory."""
        if not (isinstance(self.bodies[first], MemoryBody) and isinstance(self.bodies[second], MemoryBody)):
            return False
        body = self.bodies[first]
        if self.skips[first] != 0 or body.size != self.ends[first] - self.starts[first]:
            body = MemoryBody()
            self._copy(first, body)
            self.bodies[first] = body
            self.skips[first] = 0
        if isinstance(body, MemoryBody):
            self._copy(second, body)
        self.ends[first] = self.ends[second]
        return True

    def _copy(self, place: int, target: MemoryBody) -> None:
        """Append the octets of a piece to `target`; whole chunks are shared, not copied."""
        at = self.skips[place]
        end = at + self.ends[place] - self.starts[place]
        while at < end:
            chunk = self.bodies[place].read(at, end - at)
            target.append(chunk)
            at += len(chunk)

    def whole(self, length: int) -> Body | None:
        """Return the body of a representation of `length` octets when all of it is here, else None."""
        if self.ranges() != [(0, length)]:
            return None
        if len(self.starts) == 1 and self.skips[0] == 0 and self.bodies[0].size == length:
            return self.bodies[0]
        return self


def body_at(start: int, body: Body) -> PartialBody:
    """Return one part of something: `body`, from the octet `start` on."""
    held = PartialBody()
    held.add(start, body)
    return held


# -- sets of ranges


def gaps_within(ranges: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return what of [start, end) is in none of `ranges`, which are in order and do not overlap."""
    missing: list[tuple[int, int]] = []
    for low, high in ranges:
        if high <= start:
            continue
        if low >= end:
            break
        if start < low:
            missing.append((start, low))
        start = max(start, high)
    if start < end:
        missing.append((start, end))
    return missing


def covers(ranges: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether all of [start, end) is in `ranges`."""
    return not gaps_within(ranges, start, end)
