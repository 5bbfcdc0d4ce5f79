"""Partial content: kept, put together, and served as far as it goes (RFC 9111 sections 3.3 and 3.4).

A 206 is stored as an incomplete 200: `StoredResponse.ranges` says which octets are here, `length` how many there are,
and its body is a PartialBody, which is read at offsets of the whole representation. A 200 that broke off is the same
with one range from 0 on. Parts of one representation are combined; when nothing is missing any more, the variant is
complete like any other.

No wrong octet is ever served, which takes these:

- Parts are combined only if they share a strong validator and agree on the complete length (RFC 9110 section
15.3.7.3).
- Octets that are here already stay; of a part that overlaps only what is missing is taken.
- A Content-Range that is invalid, or shorter than the content, is not stored at all. Where the content came to its
end   and is shorter than its Content-Range says, the part is kept from its first position on, which is how a client
would   read it, and alone: nothing is ever combined with it, and the Range that it answered stands beside it.
- A request is answered if all that it asks for is here, else it goes to the origin (section 3.3).

multipart/byteranges of an origin are passed on and not stored.
"""

from typing import Final, final

from headgate.cache.conditional import is_tag, match_weakly, range_applies, strong_validator
from headgate.cache.entry import AUTHORIZED, Body, MemoryBody, StoredResponse
from headgate.cache.merging import merge_fields
from headgate.cache.ranges import (
    PARTIAL,
    WHOLE,
    Selection,
    parse_content_range,
    parse_range,
    select,
)
from headgate.cache.store.bodies import CheckedBody
from headgate.engine.events import Request, Response

# Pieces with gaps between them that one variant may consist of: a player that jumps about makes a dozen.
MAX_PIECES: Final = 64
# Pieces in files are not joined when they touch: a gibibyte in pieces of one mebibyte.
_MOST_BODIES: Final = 1024

# What describes one message and not the representation, so it is not kept of a 206.
_OF_THE_PART: Final = (b"content-range", b"content-length")


@final
class Piece:
    """What the head of a 206 says about its content: [start, end) of `length` octets, -1 when that is not known."""

    __slots__ = ("end", "length", "start")

    def __init__(self, start: int, end: int, length: int) -> None:
        self.start = start
        self.end = end
        self.length = length

    def __repr__(self) -> str:
        return f"<Piece {self.start}-{self.end - 1}/{self.length if self.length >= 0 else '*'}>"


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


def only_body(variant: StoredResponse) -> Body | None:
    """Return the body of a response, or of the one part of it that is here; None: there are several."""
    body = variant.body
    return body.only if isinstance(body, PartialBody) else body


def change_body(variant: StoredResponse, body: Body) -> None:
    """Let the octets of a response, or of the one part of it that is here, lie somewhere else."""
    held = variant.body
    variant.body = body_at(held.starts[0], body) if isinstance(held, PartialBody) else body


def file_of(body: Body | None) -> CheckedBody | None:
    """Return the file that has all of a body, be it a part of something; None: there is none, or more is needed."""
    if isinstance(body, PartialBody):
        body = body.only
    return body if isinstance(body, CheckedBody) else None


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


# -- what comes from an origin


def piece_of(response: Response) -> Piece | None:
    """Return what a 206 holds, None when it is not to be stored.

    That is multipart/byteranges, a Content-Range that is absent, doubled or invalid (RFC 9110 section 14.4), and one
    that is shorter than the content.
    """
    if response.status != 206:
        return None
    values = response.fields.get_all(b"content-range")
    if len(values) != 1:
        return None
    read = parse_content_range(values[0])
    if read is None or read[0] >= read[1]:
        return None
    kind = response.fields.get(b"content-type")
    if kind is not None and kind.lower().startswith(b"multipart/byteranges"):
        return None
    if response.body > read[1] - read[0] or response.body == 0:
        return None
    return Piece(read[0], read[1], read[2])


def is_storable(request: Request, response: Response) -> bool:
    """Whether a 206 can be kept: the answer to a GET for one range that says which octets it holds."""
    if request.method != b"GET" or not is_single(request.fields.get_all(b"range")):
        return False
    return piece_of(response) is not None


def set_partial(variant: StoredResponse, piece: Piece, body: Body, is_whole: bool, asked: bytes) -> bool:
    """Make of what was built from a 206 an incomplete 200 with the octets in `body`; False: it is not to be stored.

    `is_whole`: the content came to its end. `asked` is the Range that it answers.
    """
    promised = piece.end - piece.start
    if body.size == 0 or body.size > promised:
        return False
    held = body_at(piece.start, body)
    variant.status = 200
    variant.reason = b"OK"
    fields = variant.fields
    for name in _OF_THE_PART:
        fields.remove(name)
    variant.fields = fields
    variant.body = held
    variant.length = piece.length
    variant.ranges = held.ranges()
    variant.is_complete = False
    variant.asked_range = asked if is_whole and body.size < promised else b""
    if not variant.asked_range:
        _complete(variant, held)
    return True


def set_broken_off(variant: StoredResponse, body: Body, length: int) -> bool:
    """Make of a 200 that broke off after the octets in `body` what is stored of it; False: it is not to be stored.

    `length` is its Content-Length, -1 when it had none. Without a strong validator it could never be completed.
    """
    if variant.status != 200 or body.size == 0 or 0 <= length <= body.size or not strong_validator(variant):
        return False
    held = body_at(0, body)
    fields = variant.fields
    fields.remove(b"content-length")
    variant.fields = fields
    variant.body = held
    variant.length = length
    variant.ranges = held.ranges()
    variant.is_complete = False
    return True


def may_combine(stored: StoredResponse, part: StoredResponse) -> bool:
    """Whether two variants are parts of one representation (RFC 9111 section 3.4, RFC 9110 section 15.3.7.3)."""
    if stored.vary != part.vary or stored.asked_range or part.asked_range or stored.status != 200:
        return False
    if stored.length >= 0 and part.length >= 0 and stored.length != part.length:
        return False
    if stored.fields.get_all(b"content-encoding") != part.fields.get_all(b"content-encoding"):
        return False
    validator = strong_validator(stored)
    return validator != b"" and validator == strong_validator(part)


def combine(stored: StoredResponse, part: StoredResponse) -> bool:
    """Add the octets of `part` to `stored`, which takes its metadata as well; False: it does not take them.

    `part` was made by `set_partial` and is the newer of the two. When this is False, because they do not belong
    together or `part` is complete by itself, `replaces` says whether the caller puts it in the place of `stored`. A
    complete variant only takes the metadata.
    """
    added = part.body
    if not may_combine(stored, part) or not isinstance(added, PartialBody):
        return False
    length = max(stored.length, part.length)
    held = stored.body
    if stored.ranges is None:
        if stored.length != length or not covers([(0, length)], added.starts[0], added.ends[-1]):
            return False
    elif isinstance(held, PartialBody):
        ends = held.ends[-1] if held.ends else 0
        if 0 <= length < max(ends, added.ends[-1]) or not held.add_all(added):
            return False
        stored.length = length
        stored.ranges = held.ranges()
    else:
        return False
    _take_metadata(stored, part)
    if stored.ranges is not None and isinstance(held, PartialBody):
        _complete(stored, held)
    return True


def replaces(stored: StoredResponse, part: StoredResponse) -> bool:
    """Whether a part that could not be combined takes the place of `stored`, which has the same selecting fields.

    A fragment that does not even say that the representation has changed is worth less than the whole.
    """
    if not stored.is_complete:
        return True
    return is_tag(stored.etag) and is_tag(part.etag) and not match_weakly(stored.etag, part.etag)


def _complete(variant: StoredResponse, held: PartialBody) -> None:
    """Make a variant complete when nothing of it is missing."""
    if variant.length <= 0:
        return
    whole = held.whole(variant.length)
    if whole is not None:
        variant.body = whole
        variant.ranges = None
        variant.is_complete = True
        fields = variant.fields
        fields.set(b"content-length", b"%d" % variant.length, b"Content-Length")
        variant.fields = fields


def _take_metadata(stored: StoredResponse, part: StoredResponse) -> None:
    """Section 3.4: the fields of the newer response replace those that are stored; its times are the newer ones."""
    stored.fields = merge_fields(stored.fields, part.fields)
    stored.request_time = part.request_time
    stored.response_time = part.response_time
    stored.date = part.date
    stored.age_value = part.age_value
    stored.born = part.born
    stored.lifetime = part.lifetime
    stored.fresh_until = part.fresh_until
    stored.flags = part.flags | (stored.flags & AUTHORIZED)
    stored.stale_while_revalidate = part.stale_while_revalidate
    stored.stale_if_error = part.stale_if_error
    stored.stale_if_unreachable = part.stale_if_unreachable
    stored.tags = part.tags
    stored.generation = part.generation


# -- what a request gets


def answer(values: list[bytes], variant: StoredResponse, applies: bool) -> Selection | None:
    """Return what of a variant answers a request; None: not all that it asks for is here, the origin is asked.

    `values` are those of Range, `applies` whether its preconditions hold (`conditional.evaluate` said 206).
    """
    ranges = variant.ranges
    if ranges is None:
        return select(values, variant.length) if applies else Selection(WHOLE, [])
    if not applies:
        return None
    if variant.asked_range and len(values) == 1 and values[0] == variant.asked_range:
        return Selection(PARTIAL, ranges[:])
    selection = select(values, variant.length)
    if selection.status != PARTIAL:
        return None
    for start, end in selection.ranges:
        if not covers(ranges, start, end):
            return None
    return selection


def holds(request: Request, variant: StoredResponse, now: float) -> bool:
    """Whether all that a request asks for of this variant is here (section 3.3)."""
    if variant.ranges is None:
        return True
    applies = range_applies(request, variant, now)
    return applies and answer(request.fields.get_all(b"range"), variant, True) is not None


def is_single(values: list[bytes]) -> bool:
    """Whether a Range asks for one range, the answer to which can be stored."""
    specs = parse_range(values)
    return specs is not None and len(specs) == 1
