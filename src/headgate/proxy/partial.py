"""A range of what is stored, or is being stored (RFC 9110 section 14): 206 with one part or several, and 416.

`cache/conditional` has said that Range applies; here it is fitted to the length, and the reader gets its places.
"""

from __future__ import annotations

import secrets
from typing import Final, final

from headgate.cache.entry import StoredResponse
from headgate.cache.partial import answer, file_of
from headgate.cache.ranges import (
    PARTIAL,
    UNSATISFIABLE,
    Part,
    Selection,
    content_range,
    multipart_type,
    plan_parts,
    select,
    unsatisfied_range,
)
from headgate.http.fields import Fields
from headgate.proxy.serving import Reader

# Nobody can foresee it, so that no content can hold it.
_BOUNDARY_OCTETS: Final = 16


@final
class RangeHead:
    """A head whose fields are those of ranges: what it is, and the octets that follow. `parts` are still to come
    behind [start, end), each behind its own head, and `tail` behind all."""

    __slots__ = ("end", "parts", "reason", "start", "status", "tail", "total")

    def __init__(self, status: int, reason: bytes) -> None:
        self.status = status
        self.reason = reason
        self.start = 0
        self.end = 0
        self.total = 0  # octets of content
        self.parts: list[Part] = []
        self.tail = b""


def range_head(selection: Selection, length: int, fields: Fields) -> RangeHead | None:
    """Make the fields of a representation of `length` octets those of what is selected; None: it is the whole."""
    if selection.status == UNSATISFIABLE:
        head = RangeHead(416, b"Range Not Satisfiable")
        fields.set(b"content-range", unsatisfied_range(length), b"Content-Range")
    elif selection.status == PARTIAL:
        head = RangeHead(206, b"Partial Content")
        ranges = selection.ranges
        if len(ranges) == 1:
            head.start, head.end = ranges[0]
            head.total = head.end - head.start
            fields.set(b"content-range", content_range(head.start, head.end, length), b"Content-Range")
        else:
            boundary = secrets.token_hex(_BOUNDARY_OCTETS).encode()
            kind = fields.get(b"content-type")
            head.parts, head.tail, head.total = plan_parts(
                ranges, length, kind if kind is not None else b"", boundary
            )
            fields.set(b"content-type", multipart_type(boundary), b"Content-Type")
    else:
        return None
    fields.set(b"content-length", b"%d" % head.total, b"Content-Length")
    return head


def begin_range(reader: Reader, variant: StoredResponse, fields: Fields) -> bool:
    """Send the head of the range that a request asks for, to whose reader all of `variant` was to be given; False:
    it gets the whole."""
    length = variant.length
    values = reader.exchange.request.fields.get_all(b"range")
    if variant.ranges is not None:
        held = answer(values, variant, True)
        if held is None:
            return False
        selection = held
        reader.file = file_of(variant.body)
    elif variant.status != 200 or length < 0:
        return False
    else:
        selection = select(values, length)
    head = range_head(selection, length, fields)
    if head is None:
        return False
    reader.at = head.start
    reader.end = head.end
    if head.parts:
        reader.take_parts(head.parts, head.tail)
    reader.begin(head.status, head.reason, fields, head.total)
    return True
