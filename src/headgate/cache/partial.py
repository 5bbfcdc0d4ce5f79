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
from headgate.cache.entry import AUTHORIZED, Body, StoredResponse
from headgate.cache.merging import merge_fields
from headgate.cache.pieces import PartialBody, body_at, covers
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
