"""A set of whole numbers as few intervals: offsets acknowledged or lost, packets received, streams closed.

Two sorted lists hold where each interval begins and where it ends (half-open). Neighbours that touch are one, so
that the lists are as short as the set has holes. A set never grows beyond its `limit` of intervals: `add` then
changes nothing and says so, because only the owner knows whether to refuse, to forget the lowest interval or to
close the lowest hole. Whatever happens costs a binary search and one move within lists of at most `limit` numbers.
"""

from bisect import bisect_left, bisect_right
from typing import final


@final
class Ranges:
    """Disjoint half-open intervals in rising order; `starts` and `ends` are for reading only."""

    __slots__ = ("ends", "limit", "starts")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        inside = " ".join(f"{start}..{end}" for start, end in zip(self.starts, self.ends, strict=True))
        return f"<Ranges {inside or 'empty'}>"

    def add(self, start: int, end: int) -> bool:
        """Add `start` ≤ n < `end`; False, and nothing changed, where that made one interval too many."""
        if end <= start:
            return True
        starts, ends = self.starts, self.ends
        if ends and start >= starts[-1] and start <= ends[-1]:  # the usual case: the last one grows
            if end > ends[-1]:
                ends[-1] = end
            return True
        low = bisect_left(ends, start)  # the first that touches or follows
        high = bisect_right(starts, end)  # the first that lies wholly behind
        if low == high:
            if len(starts) >= self.limit:
                return False
            starts.insert(low, start)
            ends.insert(low, end)
            return True
        starts[low] = min(start, starts[low])
        ends[low] = max(end, ends[high - 1])
        del starts[low + 1 : high]
        del ends[low + 1 : high]
        return True

    def subtract(self, start: int, end: int) -> bool:
        """Take `start` ≤ n < `end` out; False, and nothing changed, where a split made one too many."""
        starts, ends = self.starts, self.ends
        low = bisect_right(ends, start)  # the first that reaches into it
        high = bisect_left(starts, end)  # the first that begins behind it
        if end <= start or low >= high:
            return True
        left, right = starts[low], ends[high - 1]
        keep_left, keep_right = left < start, right > end
        if keep_left and keep_right and high - low == 1 and len(starts) >= self.limit:
            return False
        del starts[low:high]
        del ends[low:high]
        if keep_right:
            starts.insert(low, end)
            ends.insert(low, right)
        if keep_left:
            starts.insert(low, left)
            ends.insert(low, start)
        return True

    def contains(self, value: int) -> bool:
        """Tell whether `value` is in the set."""
        at = bisect_right(self.starts, value)
        return at > 0 and value < self.ends[at - 1]

    def end_of(self, value: int) -> int:
        """Return where the interval that holds `value` ends, or `value` itself when none does."""
        at = bisect_right(self.starts, value)
        return self.ends[at - 1] if at > 0 and value < self.ends[at - 1] else value

    def holes(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return what is missing between `start` and `end`, in rising order."""
        missing: list[tuple[int, int]] = []
        at = bisect_right(self.ends, start)
        while start < end:
            if at == len(self.starts) or self.starts[at] >= end:
                missing.append((start, end))
                break
            if self.starts[at] > start:
                missing.append((start, self.starts[at]))
            start = self.ends[at]
            at += 1
        return missing

    def forget_below(self, value: int) -> None:
        """Take out everything below `value`."""
        starts, ends = self.starts, self.ends
        at = bisect_right(ends, value)
        if at > 0:
            del starts[:at]
            del ends[:at]
        if starts and starts[0] < value:
            starts[0] = value

    def drop_lowest(self) -> None:
        """Take the lowest interval out, to make room."""
        if self.starts:
            del self.starts[0]
            del self.ends[0]

    def close_lowest_hole(self) -> None:
        """Make the two lowest intervals one, to make room: what lay between them now counts as in the set."""
        if len(self.starts) > 1:
            del self.starts[1]
            del self.ends[0]
