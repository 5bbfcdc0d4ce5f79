"""A range of what is stored, or is being stored (RFC 9110 section 14): 206 with one part or several, and 416.

`cache/conditional` has said that Range applies; here it is fitted to the length, and the reader gets its places.
"""

from __future__ import annotations

import secrets
from typing import Final

from headgate.cache.entry import StoredResponse
from headgate.cache.partial import answer
from headgate.cache.ranges import (
    PARTIAL,
    UNSATISFIABLE,
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
    elif variant.status != 200 or length < 0:
        return False
    else:
        selection = select(values, length)
    if selection.status == UNSATISFIABLE:
        fields.set(b"content-range", unsatisfied_range(length), b"Content-Range")
        fields.set(b"content-length", b"0", b"Content-Length")
        reader.begin(416, b"Range Not Satisfiable", fields, 0)
        return True
    if selection.status != PARTIAL:
        return False
    ranges = selection.ranges
    if len(ranges) == 1:
        start, end = ranges[0]
        reader.at = start
        reader.end = end
        fields.set(b"content-range", content_range(start, end, length), b"Content-Range")
        total = end - start
    else:
        boundary = secrets.token_hex(_BOUNDARY_OCTETS).encode()
        kind = fields.get(b"content-type")
        parts, tail, total = plan_parts(ranges, length, kind if kind is not None else b"", boundary)
        reader.take_parts(parts, tail)
        fields.set(b"content-type", multipart_type(boundary), b"Content-Type")
    fields.set(b"content-length", b"%d" % total, b"Content-Length")
    reader.begin(206, b"Partial Content", fields, total)
    return True
