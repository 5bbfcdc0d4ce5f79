"""Range requests: what they ask for, what they get, and how it is written (RFC 9110 sections 14 and 15.3.7).

A range in here is (start, end) with `end` exclusive; only the wire has last positions. `parse_range` reads the field
without knowing the representation, `resolve` fits it to a length, `coalesce` puts together what is not worth a part
of its own, `plan_parts` writes multipart/byteranges around the octets, which it never touches.

Ranges are an attack as well (RFC 9110 section 17.15): a few hundred octets of `0-,1-,2-,...` once made servers send
the representation thousands of times. Here a field that is longer than MAX_RANGE_FIELD or names more than MAX_RANGES
ranges is ignored, as section 14.2 allows, and what is left is coalesced before anything is sent: no octet goes out
twice in one response, so that it is never longer than the representation and its part heads. Ranges that are many,
small and out of order get the whole representation as well: only they would make a file be read back and forth.
"""

import re
from typing import Final, final

# nginx and Apache take hundreds unless told otherwise; browsers send 1, PDF readers a few, rsync-like clients up to
# 16.
MAX_RANGES: Final = 16
# 16 ranges of two 19-digit numbers are 650 octets.
MAX_RANGE_FIELD: Final = 1024
# Section 15.3.7.2: a gap smaller than the head of a part is sent rather than described; 80 octets are typical.
GAP: Final = 80
# As far as positions are read. A larger one means the end of whatever is there: 2**63 and all that lies beyond.
_FAR: Final = 1 << 63
_FAR_DIGITS: Final = 19

_UNIT: Final = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(.*)", re.DOTALL)
_SPEC: Final = re.compile(rb"([0-9]*)-([0-9]*)")
_CONTENT_RANGE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ ]+(?:([0-9]+)-([0-9]+)|(\*))/([0-9]+|\*)"
)

# What `Selection.status` says.
WHOLE: Final = 200  # Range is not there, or is ignored
PARTIAL: Final = 206
UNSATISFIABLE: Final = 416


@final
class Spec:
    """One range-spec: the octets from `first` to `last`, -1 for the end; or the last `suffix` octets, -1 for not."""

    __slots__ = ("first", "last", "suffix")

    def __init__(self, first: int, last: int, suffix: int = -1) -> None:
        self.first = first
        self.last = last
        self.suffix = suffix

    def __repr__(self) -> str:
        if self.suffix >= 0:
            return f"<Spec -{self.suffix}>"
        return f"<Spec {self.first}-{self.last if self.last >= 0 else ''}>"


@final
class Selection:
    """What a Range field gets: `status` is WHOLE, PARTIAL or UNSATISFIABLE; `ranges` are those of a PARTIAL."""

    __slots__ = ("ranges", "status")

    def __init__(self, status: int, ranges: list[tuple[int, int]]) -> None:
        self.status = status
        self.ranges = ranges

    def __repr__(self) -> str:
        return f"<Selection {self.status} {self.ranges}>"


@final
class Part:
    """What goes before the octets [start, end) of one part of multipart/byteranges."""

    __slots__ = ("end", "head", "start")

    def __init__(self, head: bytes, start: int, end: int) -> None:
        self.head = head
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"<Part {self.start}-{self.end - 1}>"


# -- reading


def parse_range(values: list[bytes]) -> list[Spec] | None:
    """Read the values of Range. None: ignore the field, because it is absent, malformed, not of octets or too much.

    Range is no list field (section 5.3): two lines are malformed. One invalid member makes the whole set invalid
    (section 14.1.1), and what is invalid may be ignored (section 14.2).
    """
    if len(values) != 1 or len(values[0]) > MAX_RANGE_FIELD:
        return None
    found = _UNIT.fullmatch(values[0])
    if found is None or found.group(1).lower() != b"bytes":
        return None
    specs: list[Spec] = []
    for member in found.group(2).split(b","):
        member = member.strip(b" \t")
        if not member:  # section 5.6.1.2: empty members are skipped
            continue
        spec = _parse_spec(member)
        if spec is None or len(specs) == MAX_RANGES:
            return None
        specs.append(spec)
    return specs or None


def _parse_spec(member: bytes) -> Spec | None:
    found = _SPEC.fullmatch(member)
    if found is None:
        return None
    first = found.group(1)
    last = found.group(2)
    if not first:
        return Spec(0, -1, _position(last)) if last else None
    if not last:
        return Spec(_position(first), -1)
    if _position(last) < _position(first):
        return None
    return Spec(_position(first), _position(last))


def _position(digits: bytes) -> int:
    """Read a position; section 14.1.2 has numerals of any size, and int() takes a time that grows with their
    square.
    """
    digits = digits.lstrip(b"0")
    if len(digits) > _FAR_DIGITS:
        return _FAR
    return min(int(digits or b"0"), _FAR)


def resolve(specs: list[Spec], length: int) -> list[tuple[int, int]]:
    """Return the satisfiable ranges of a representation of `length` octets, in the order of the request.

    With a length of -1, not known, only what names its last octet can be resolved; `length` 0 satisfies nothing.
    """
    ranges: list[tuple[int, int]] = []
    for spec in specs:
        if length < 0:
            if spec.suffix < 0 <= spec.last:
                ranges.append((spec.first, spec.last + 1))
        elif spec.suffix >= 0:
            if spec.suffix > 0 and length > 0:
                ranges.append((max(length - spec.suffix, 0), length))
        elif spec.first < length:
            ranges.append((spec.first, length if spec.last < 0 else min(spec.last + 1, length)))
    return ranges


def coalesce(ranges: list[tuple[int, int]], gap: int = GAP) -> list[tuple[int, int]]:
    """Join ranges that overlap, touch or lie less than `gap` octets apart; each stays where its first part stood.

    Section 15.3.7.2: parts go out in the order of the request, and no octet twice.
    """
    if len(ranges) < 2:
        return ranges
    joined: list[tuple[int, int, int]] = []  # (start, end, place in the request)
    order = [(ranges[place][0], ranges[place][1], place) for place in range(len(ranges))]
    order.sort()
    start, end, place = order[0]
    for at in range(1, len(order)):
        low, high, its = order[at]
        if low <= end or low - end < gap:
            end = max(end, high)
            place = min(place, its)
        else:
            joined.append((place, start, end))
            start, end, place = low, high, its
    joined.append((place, start, end))
    joined.sort()
    return [(item[1], item[2]) for item in joined]


def _is_scattered(ranges: list[tuple[int, int]]) -> bool:
    """Whether more than two ranges overlap, or many small ones are out of order (section 14.2): no honest client."""
    overlaps = 0
    backwards = 0
    for at in range(1, len(ranges)):
        if ranges[at][0] < ranges[at - 1][0]:
            backwards += 1
        for before in range(at):
            if ranges[at][0] < ranges[before][1] and ranges[before][0] < ranges[at][1]:
                overlaps += 1
    if overlaps > 2:
        return True
    small = [start for start, end in ranges if end - start < GAP]
    return backwards > 2 and len(small) > 2


def select(values: list[bytes], length: int) -> Selection:
    """Decide on a Range whose preconditions hold, for a representation of `length` octets, -1 when not known.

    An empty representation gets WHOLE: section 14.2 lets Range be ignored there, and 416 would tell nobody anything.
    Of a length that is not known nothing is UNSATISFIABLE.
    """
    specs = parse_range(values)
    if specs is None or length == 0:
        return Selection(WHOLE, [])
    ranges = resolve(specs, length)
    if not ranges:
        return Selection(UNSATISFIABLE if length >= 0 else WHOLE, [])
    if length < 0 and len(ranges) < len(specs):
        return Selection(WHOLE, [])
    if len(ranges) > 1:
        if _is_scattered(ranges):
            return Selection(WHOLE, [])
        ranges = coalesce(ranges)
    return Selection(PARTIAL, ranges)


def parse_content_range(value: bytes) -> tuple[int, int, int] | None:
    """Read Content-Range of octets as (start, end, length), length -1 for `*`; None: invalid, or not of octets.

    Section 14.4: whoever receives an invalid one must not combine the content with anything. `bytes */N`, which a 416
    carries, is (0, 0, N).
    """
    if len(value) > MAX_RANGE_FIELD:
        return None
    found = _CONTENT_RANGE.fullmatch(value)
    if found is None or found.group(1).lower() != b"bytes":
        return None
    total = found.group(5)
    length = -1 if total == b"*" else _position(total)
    if found.group(4) is not None:
        return None if length < 0 else (0, 0, length)
    start = _position(found.group(2))
    last = _position(found.group(3))
    if last < start or last >= _FAR or 0 <= length <= last:
        return None
    return (start, last + 1, length)


# -- writing


def content_range(start: int, end: int, length: int) -> bytes:
    """Return the value of Content-Range for [start, end) (section 14.4)."""
    if length < 0:
        return b"bytes %d-%d/*" % (start, end - 1)
    return b"bytes %d-%d/%d" % (start, end - 1, length)


def unsatisfied_range(length: int) -> bytes:
    """Return the value of Content-Range of a 416 (section 15.5.17)."""
    return b"bytes */%d" % length


def multipart_type(boundary: bytes) -> bytes:
    """Return the value of Content-Type of a response with several ranges (section 14.6)."""
    return b"multipart/byteranges; boundary=" + boundary


def plan_parts(
    ranges: list[tuple[int, int]], length: int, content_type: bytes, boundary: bytes
) -> tuple[list[Part], bytes, int]:
    """Return the parts of multipart/byteranges, what goes behind the last one, and how long all of it is.

    `content_type` is that of the representation, b"" when it has none (section 15.3.7.2). `boundary` is a token of at
    most 70 octets that nobody can foresee: content that holds it would be read as parts.
    """
    kind = b"\r\nContent-Type: " + content_type if content_type else b""
    parts: list[Part] = []
    total = 0
    for start, end in ranges:
        before = b"--" if not parts else b"\r\n--"
        head = b"%b%b%b\r\nContent-Range: %b\r\n\r\n" % (
            before,
            boundary,
            kind,
            content_range(start, end, length),
        )
        parts.append(Part(head, start, end))
        total += len(head) + end - start
    tail = b"\r\n--" + boundary + b"--\r\n"
    return parts, tail, total + len(tail)
