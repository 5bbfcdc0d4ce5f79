"""What arrives of a stream, put in order (RFC 9000 sections 2.2, 4.5 and 21.7).

A piece that is the next one goes up as it came: nothing is copied, nothing is held. A piece that came too early is
copied once and waits. What waits are chunks in rising order that never overlap; gaps between them cost nothing and
are never filled with zeros, so that one octet at the far end of the window holds one octet.

What a peer may make us hold that way is bounded three times: by the window (engine/quic/flow), by the gaps of a
stream and of its connection, and by a charge in which no chunk counts for less than 128 octets, because that is what
a chunk of one octet really weighs. Beyond a bound the piece is refused by `TooManyGapsError`, and its packet must
neither be used further nor acknowledged: the peer sends it again. The piece that is missing first is never refused,
so a stream always gets on. Loss alone makes gaps, which is why they are no reason to close a connection.

Small neighbours become one chunk, large ones stay as they came: there are at most two chunks for each `_GLUE` octets
and gap, and no piece costs more than a search and one short copy.
"""

from bisect import bisect_right
from typing import Final, final

from headgate.engine.quic.errors import FINAL_SIZE_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.errors import HeadgateError

MAX_STREAM_GAPS: Final = 128  # 10 % loss of a window of 2 MiB makes more; quic-go allows 1,000
MAX_CONNECTION_GAPS: Final = 512
LEAST_CHARGE: Final = 128  # quic-go counts 128 too

# Two neighbours that fit into this become one chunk: fragments are glued, pieces of a packet's size are not copied.
_GLUE: Final = 2048

UNKNOWN_SIZE: Final = -1

Piece = bytes | memoryview


class TooManyGapsError(HeadgateError):
    """A piece cannot wait here: drop its packet without acknowledging it. Nothing was changed."""


@final
class Waiting:
    """What all streams of a connection hold together: `gaps`, and `charge` in octets, up to `max_charge`."""

    __slots__ = ("charge", "gaps", "max_charge")

    def __init__(self, max_charge: int) -> None:
        self.gaps = 0
        self.charge = 0
        self.max_charge = max_charge

    def __repr__(self) -> str:
        return f"<Waiting {self.charge} of {self.max_charge} octets behind {self.gaps} gaps>"


@final
class ReceiveBuffer:
    """One stream. `position` is how much has gone up, `highest` the end of what has come, `final_size` once known."""

    __slots__ = (
        "_chunks",
        "_starts",
        "charge",
        "final_size",
        "gaps",
        "highest",
        "max_charge",
        "position",
        "waiting",
    )

    def __init__(self, waiting: Waiting, max_charge: int) -> None:
        self.waiting = waiting
        self.max_charge = max_charge
        self.position = 0
        self.highest = 0
        self.final_size = UNKNOWN_SIZE
        self.gaps = 0
        self.charge = 0
        self._starts: list[int] = []
        self._chunks: list[bytes] = []

    def __repr__(self) -> str:
        size = "?" if self.final_size == UNKNOWN_SIZE else self.final_size
        return f"<ReceiveBuffer {self.position} of {size} read, {self.charge} behind {self.gaps} gaps>"

    def is_complete(self) -> bool:
        """Tell whether everything up to the final size has gone up."""
        return self.position == self.final_size

    def check_size(self, end: int, is_final: bool) -> None:
        """Hold what a frame says against the final size, and keep one that is new.

        Raises `QuicError` FINAL_SIZE_ERROR (section 4.5) when data lies behind the end or the end moves.
        """
        size = self.final_size
        if size == UNKNOWN_SIZE:
            if not is_final:
                return
            if end < self.highest:
                raise QuicError(FINAL_SIZE_ERROR, f"a stream ends at {end}, data came up to {self.highest}")
            self.final_size = end
        elif end > size or (is_final and end != size):
            raise QuicError(FINAL_SIZE_ERROR, f"a stream of {size} octets now has {end}")

    def receive(self, offset: int, data: Piece) -> Piece:
        """Take a piece in; return what of it goes up now: `data` itself where it is just the next piece.

        Where something came up, more may follow: call `take` until that is empty. Sizes are checked before.
        Raises `TooManyGapsError`, or `QuicError` PROTOCOL_VIOLATION for octets that have changed (section 2.2).
        """
        end = offset + len(data)
        position = self.position
        if end <= position:
            return b""
        if end == offset:  # an empty frame says how far the peer has come, and nothing else
            self.highest = max(self.highest, end)
            return b""
        if offset < position:
            data = data[position - offset :]
            offset = position
        if offset > position and offset >= self.highest:  # behind everything: the usual case after a loss
            self._insert(len(self._starts), offset, data)
            data = b""
        elif self._starts and self._starts[0] < end:
            return self._receive_across(offset, data, end)
        elif offset > position:
            self._insert(0, offset, data)
            data = b""
        else:
            self.position = end
        if end > self.highest:
            self.highest = end
        return data

    def take(self) -> bytes:
        """Return the next chunk that waited for what has come meanwhile; empty when there is none."""
        if not self._starts or self._starts[0] != self.position:
            return b""
        del self._starts[0]
        chunk = self._chunks.pop(0)
        self.position += len(chunk)
        ends_run = not self._starts or self._starts[0] != self.position
        self._count(-1 if ends_run else 0, -max(len(chunk), LEAST_CHARGE))
        return chunk

    def discard(self) -> None:
        """Let go of everything that waits: nobody wants it any more."""
        self._starts.clear()
        self._chunks.clear()
        self._count(-self.gaps, -self.charge)

    def _receive_across(self, offset: int, data: Piece, end: int) -> Piece:
        """Take a piece in where some of what waits begins before its end."""
        starts = self._starts
        at = bisect_right(starts, offset)  # the first chunk that begins behind
        if at > 0 and starts[at - 1] + len(self._chunks[at - 1]) > offset:
            at -= 1
        holes = self._compare(at, offset, data, end)
        if offset == self.position:
            self._drop_below(end)
            self.position = end
            self.highest = max(self.highest, end)
            return data
        needed = sum([max(high - low, LEAST_CHARGE) for low, high in holes])
        if len(holes) > 1 and self._is_charge_exceeded(needed):
            raise TooManyGapsError(f"no room for {needed} octets more in {self!r}")
        for (
            low,
            high,
        ) in holes:  # only the insertion of a piece that meets no chunk can make a gap: one that is alone
            self._insert(bisect_right(starts, low), low, data[low - offset : high - offset])
        self.highest = max(self.highest, end)
        return b""

    def _compare(self, at: int, offset: int, data: Piece, end: int) -> list[tuple[int, int]]:
        """Hold a piece against the chunks from `at` on that it overlaps; return what of it is new."""
        holes: list[tuple[int, int]] = []
        new = offset
        while at < len(self._starts) and self._starts[at] < end:
            start, chunk = self._starts[at], self._chunks[at]
            low, high = max(offset, start), min(end, start + len(chunk))
            if chunk[low - start : high - start] != data[low - offset : high - offset]:
                raise QuicError(
                    PROTOCOL_VIOLATION, f"octets {low} to {high} of a stream came twice and differ"
                )
            if new < low:
                holes.append((new, low))
            new = high
            at += 1
        if new < end:
            holes.append((new, end))
        return holes

    def _insert(self, at: int, offset: int, data: Piece) -> None:
        """Keep a piece that overlaps nothing, before chunk `at`; glue it to neighbours that it touches."""
        starts, chunks = self._starts, self._chunks
        has_left = at > 0 and starts[at - 1] + len(chunks[at - 1]) == offset
        has_right = at < len(starts) and starts[at] == offset + len(data)
        gaps = 1 - has_left - has_right
        if gaps > 0 and (self.gaps >= MAX_STREAM_GAPS or self.waiting.gaps >= MAX_CONNECTION_GAPS):
            raise TooManyGapsError(f"no room for one more gap in {self!r}, {self.waiting!r}")
        low, high, start, size = at, at, offset, len(data)
        charge = 0
        glued_left, glued_right = b"", b""
        if has_left and len(chunks[at - 1]) + size <= _GLUE:
            low, start, glued_left = at - 1, starts[at - 1], chunks[at - 1]
            size += len(glued_left)
            charge -= max(len(glued_left), LEAST_CHARGE)
        if has_right and len(chunks[at]) + size <= _GLUE:
            high, glued_right = at + 1, chunks[at]
            size += len(glued_right)
            charge -= max(len(glued_right), LEAST_CHARGE)
        charge += max(size, LEAST_CHARGE)
        if self._is_charge_exceeded(charge):
            raise TooManyGapsError(f"no room for {charge} octets more in {self!r}, {self.waiting!r}")
        chunk = glued_left + data + glued_right if low < high else bytes(data)
        starts[low:high] = [start]
        chunks[low:high] = [chunk]
        self._count(gaps, charge)

    def _is_charge_exceeded(self, charge: int) -> bool:
        return (
            self.charge + charge > self.max_charge or self.waiting.charge + charge > self.waiting.max_charge
        )

    def _drop_below(self, end: int) -> None:
        """Drop what waits below `end`, because it has just come again with the piece that was missing."""
        starts, chunks = self._starts, self._chunks
        gaps = charge = covered = 0
        while covered < len(starts) and starts[covered] + len(chunks[covered]) <= end:
            after = starts[covered] + len(chunks[covered])
            charge -= max(len(chunks[covered]), LEAST_CHARGE)
            covered += 1
            if covered == len(starts) or starts[covered] != after:
                gaps -= 1
        del starts[:covered]
        del chunks[:covered]
        if starts and starts[0] < end:
            rest = chunks[0][end - starts[0] :]
            charge += max(len(rest), LEAST_CHARGE) - max(len(chunks[0]), LEAST_CHARGE)
            starts[0], chunks[0] = end, rest
        self._count(gaps, charge)

    def _count(self, gaps: int, charge: int) -> None:
        self.gaps += gaps
        self.charge += charge
        self.waiting.gaps += gaps
        self.waiting.charge += charge
