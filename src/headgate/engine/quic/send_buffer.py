"""What one side sends in order, kept until it is acknowledged: stream and CRYPTO data (RFC 9000 sections 2.2, 13.3).

The queue holds references to what was written; nothing is copied before it goes into a packet, but for pieces so
small that the references would weigh more. `next` cuts the next piece, first of what was lost, then of what is new;
the packet remembers (offset, length, fin), and gives that back to `on_ack` or `on_loss`. New data below `limit` only,
because that is the peer's credit; what was sent once may go again without any (section 4.1).

Everything is marked by offsets: below `base` all is acknowledged and dropped, between `base` and `sent` two sets say
what else is acknowledged and what is to be sent again. Should a peer acknowledge so raggedly that a set has no room,
the data counts as lost: it is sent once more, which costs bandwidth and no memory.
"""

from bisect import bisect_right
from typing import Final, final

from headgate.engine.quic.ranges import Ranges

# Intervals in each of the two sets. A window of 256 KiB is some 220 packets: in honest traffic never near.
MAX_MARKS: Final = 512
# Two neighbours that fit into this become one: no number of small writes makes more references than a window has
# kibibytes, and pieces of a packet's size are never copied.
_GLUE: Final = 2048

# What most streams have all their life: no marks, and the set for them is made with the first.
_NO_MARKS: Final = Ranges(0)

_OPEN: Final = 0
_FIN_DUE: Final = 1  # to be sent, the first time or again
_FIN_SENT: Final = 2
_FIN_ACKED: Final = 3


@final
class SendBuffer:
    """The data of one sending part; offsets count from its beginning. `end` is how much was written."""

    __slots__ = ("_acked", "_chunks", "_fin", "_lost", "_starts", "base", "end", "sent")

    def __init__(self) -> None:
        self.base = 0
        self.sent = 0
        self.end = 0
        self._fin = _OPEN
        self._starts: list[int] = []
        self._chunks: list[bytes] = []
        self._acked = _NO_MARKS
        self._lost = _NO_MARKS

    def __repr__(self) -> str:
        return (
            f"<SendBuffer acked {self.base}, sent {self.sent}, written {self.end}{'.' if self._fin else ''}>"
        )

    @property
    def is_finished(self) -> bool:
        """Whether FIN was written."""
        return self._fin != _OPEN

    def is_complete(self) -> bool:
        """Tell whether everything, FIN too, is acknowledged."""
        return self._fin == _FIN_ACKED and self.base == self.end

    def can_send_without_credit(self) -> bool:
        """Tell whether something waits that needs no credit: data that was lost, or a bare FIN."""
        return bool(self._lost.starts) or (self._fin == _FIN_DUE and self.sent == self.end)

    def next_offset(self) -> int:
        """Return where the next piece begins, for who must know how long its header gets."""
        return self._lost.starts[0] if self._lost.starts else self.sent

    def write(self, data: bytes) -> None:
        """Queue `data`; the caller bounds how much (`end - base` is held)."""
        size = len(data)
        if size == 0:
            return
        chunks = self._chunks
        if chunks and len(chunks[-1]) + size <= _GLUE:
            chunks[-1] += data
        else:
            self._starts.append(self.end)
            chunks.append(data)
        self.end += size

    def finish(self) -> None:
        """Write FIN: nothing is written behind it."""
        if self._fin == _OPEN:
            self._fin = _FIN_DUE

    def next(self, room: int, limit: int) -> tuple[int, bytes, bool]:
        """Cut the next piece of at most `room` octets (at least 1): its offset, its data, and whether FIN is with it.

        An empty piece without FIN: nothing can be sent now.
        """
        if self._lost.starts:
            start = self._lost.starts[0]
            stop = min(self._lost.ends[0], start + room)
            self._lost.forget_below(stop)
        else:
            start = self.sent
            stop = max(start, min(min(self.end, limit), start + room))
            self.sent = stop
        has_fin = stop == self.end and (self._fin == _FIN_DUE or (self._fin != _OPEN and stop > start))
        if has_fin and self._fin == _FIN_DUE:
            self._fin = _FIN_SENT
        return start, self._cut(start, stop), has_fin

    def _cut(self, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        at = bisect_right(self._starts, start) - 1
        first = self._starts[at]
        chunk = self._chunks[at]
        if start == first and stop - first == len(chunk):
            return chunk  # compiled, a slice of everything would be a copy
        if stop - first <= len(chunk):
            return chunk[start - first : stop - first]
        pieces = [chunk[start - first :]]
        missing = stop - first - len(chunk)
        while missing > 0:
            at += 1
            piece = self._chunks[at][:missing]
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def on_ack(self, offset: int, length: int, has_fin: bool) -> int:
        """Take note that a piece arrived; return by how much `base` moved."""
        if has_fin:
            self._fin = _FIN_ACKED
        end = offset + length
        before = self.base
        if end <= before:
            return 0
        if self._lost.starts:
            self._lost.subtract(offset, end)
        if offset > before:
            if self._acked is _NO_MARKS:
                self._acked = Ranges(MAX_MARKS)
            if not self._acked.add(offset, end):
                self._mark_lost(offset, end)
            return 0
        if self._acked.starts:
            end = self._acked.end_of(end)
            self._acked.forget_below(end)
        self.base = end
        self._drop_acknowledged()
        return end - before

    def _drop_acknowledged(self) -> None:
        starts, chunks = self._starts, self._chunks
        if self.base == self.end:
            starts.clear()
            chunks.clear()
            return
        whole = bisect_right(starts, self.base) - 1  # so many lie wholly below
        if whole > 0:
            del starts[:whole]
            del chunks[:whole]

    def on_loss(self, offset: int, length: int, has_fin: bool) -> None:
        """Take note that a piece must go again, but for what another packet brought meanwhile."""
        if has_fin and self._fin == _FIN_SENT:
            self._fin = _FIN_DUE
        start = max(offset, self.base)
        end = offset + length
        if not self._acked.starts:
            self._mark_lost(start, end)
            return
        for low, high in self._acked.holes(start, end):
            self._mark_lost(low, high)

    def _mark_lost(self, start: int, end: int) -> None:
        if self._lost is _NO_MARKS:
            self._lost = Ranges(MAX_MARKS)
        while not self._lost.add(start, end):
            self._lost.close_lowest_hole()

    def rewind(self) -> None:
        """Begin anew with everything that is held; nothing of it was acknowledged."""
        self.sent = self.base
        self._lost = Ranges(MAX_MARKS)
        if self._fin == _FIN_SENT:
            self._fin = _FIN_DUE

    def discard(self) -> int:
        """Drop everything, because the stream is reset; return how much was held."""
        held = self.end - self.base
        self._starts.clear()
        self._chunks.clear()
        self._acked = _NO_MARKS
        self._lost = _NO_MARKS
        self._fin = _OPEN
        self.base = self.sent = self.end
        return held
