"""What newer responses without content do to stored ones: 304 and HEAD (RFC 9111 sections 4.3.4 and 4.3.5).

A 304 says which stored responses it is about by its validators: the one that we asked about, and all others that the
request could have got and that share a strong one. One that names another representation than ours must not update
anything: the origin then contradicts itself, or somebody between us answers, and the caller asks again without
conditions. An answer to HEAD updates what has the same validators and length, and makes stale what has not.

A stored response is updated in place: its `fields` become another section, and what follows from them is worked out
again. Who reads its content meanwhile sees no difference.
"""

from typing import Final

from headgate.cache import entry as e
from headgate.cache import storing
from headgate.cache.conditional import (
    has_strong_date,
    is_strong,
    is_tag,
    match_strongly,
    match_weakly,
)
from headgate.cache.entry import StoredResponse
from headgate.cache.merging import merge_fields
from headgate.cache.policy import Policy
from headgate.cache.vary import selecting, vary_names
from headgate.engine.events import Request, Response
from headgate.http.date import add_date, parse_http_date
from headgate.http.fields import Fields
from headgate.http.hop_by_hop import strip_response

# What `merge_head` did.
NOTHING: Final = 0
UPDATED: Final = 1
MADE_STALE: Final = 2

# No request has this: for a Vary of `*` that a 304 brought.
_FITS_NOBODY: Final = (b"*", b"")
# Of a HEAD: GET would not get what is stored.
_GONE: Final = frozenset((301, 302, 303, 307, 308, 404, 410))


def names_variant(fields: Fields, variant: StoredResponse, wall: float) -> bool:
    """Whether a 304 with these fields is about a variant (RFC 9111 section 4.3.4).

    A strong entity tag must be the same strong one, a weak one the same but for its weakness. Last-Modified decides
    where one of the two has no entity tag, and where only the weakness differs (nginx weakens the tag of what it
    compresses, but not in its 304); beside a strong entity tag it has to be a strong validator itself. A 304 without
    any validator is about what was asked for: origins leave them out although RFC 9110 section 15.4.5 wants them.
    """
    etag = fields.get(b"etag")
    modified = fields.get(b"last-modified")
    same_date = modified is not None and parse_http_date(modified, wall) == variant.last_modified >= 0
    if etag is not None and is_tag(etag):
        if is_tag(variant.etag):
            if not match_weakly(etag, variant.etag):
                return False
            if not is_strong(etag) or match_strongly(etag, variant.etag):
                return True
        return same_date and (not is_strong(etag) or has_strong_date(variant))
    if modified is not None and variant.last_modified >= 0:
        return same_date
    return modified is None


def is_named_strongly(fields: Fields, variant: StoredResponse, wall: float) -> bool:
    """Whether a 304 with these fields is about a variant by a strong validator, which names all that have it."""
    if not names_variant(fields, variant, wall):
        return False
    etag = fields.get(b"etag")
    if etag is not None and match_strongly(etag, variant.etag):
        return True
    modified = fields.get(b"last-modified")
    return (
        modified is not None
        and has_strong_date(variant)
        and parse_http_date(modified, wall) == variant.last_modified
    )


def merge_304(
    variant: StoredResponse,
    request: Request,
    response: Response,
    policy: Policy,
    request_time: float,
    response_time: float,
) -> StoredResponse | None:
    """Update a variant by a 304 to our validators; None: the 304 is about something else, ask without conditions.

    `request` is the client's, for a Vary that is new. The caller tells the store of the new size, and asks
    `still_storable` whether it may be kept.
    """
    if response.status != 304 or not names_variant(response.fields, variant, response_time):
        return None
    _update(variant, request, response, policy, request_time, response_time)
    return variant


def still_storable(variant: StoredResponse, policy: Policy, now: float) -> bool:
    """Whether an updated variant is one to keep: a 304 may bring no-store, private, or a Vary that nothing fits, and
    take away what lets an answer to credentials be everybody's (section 3.5).

    Such a one answers the request that it was confirmed for, and goes.
    """
    nobody = Request(b"GET", b"/", 11, Fields([], []))
    if variant.flags & e.AUTHORIZED:
        nobody.fields.add(b"authorization", b"")
    as_if = Response(variant.status, variant.reason, 11, variant.fields)
    return storing.may_store(nobody, as_if, policy, now)[0] and _FITS_NOBODY not in variant.vary


def merge_head(
    variant: StoredResponse,
    request: Request,
    response: Response,
    policy: Policy,
    request_time: float,
    response_time: float,
) -> int:
    """Let the answer to a HEAD update a variant that the request could have got; return UPDATED, MADE_STALE or
    NOTHING.

    A variant whose length is not known yet is left alone. Errors say nothing about what GET would get.
    """
    if response.status in _GONE and variant.status == 200:
        variant.flags |= e.SOFT_PURGED
        return MADE_STALE
    if response.status != 200 or variant.status != 200:
        return NOTHING
    fields = response.fields
    length = fields.get(b"content-length")
    if length is not None and variant.length < 0:
        return NOTHING
    etag = fields.get(b"etag")
    modified = fields.get(b"last-modified")
    if (
        (etag is not None and etag != variant.etag)
        or (modified is not None and parse_http_date(modified, response_time) != variant.last_modified)
        or (length is not None and length != b"%d" % variant.length)
    ):
        variant.flags |= e.SOFT_PURGED
        return MADE_STALE
    _update(variant, request, response, policy, request_time, response_time)
    return UPDATED


def _update(
    variant: StoredResponse,
    request: Request,
    response: Response,
    policy: Policy,
    request_time: float,
    response_time: float,
) -> None:
    """Section 3.2: merge the fields, then work out again what follows from them."""
    newer = response.fields.copy()
    strip_response(newer)
    if b"date" not in newer.names:
        # RFC 9110 section 6.6.1: received now; the stored Date would make it as old as it was.
        add_date(newer, response_time)
    merged = merge_fields(variant.fields, newer)
    names = vary_names(merged.get_all(b"vary"))
    if names is None:
        variant.vary = (_FITS_NOBODY,)
    elif names != [name for name, _ in variant.vary]:
        selected = selecting(merged.get_all(b"vary"), request.fields)
        variant.vary = tuple(selected) if selected is not None else (_FITS_NOBODY,)
    variant.fields = merged
    storing.refresh(variant, policy, request_time, response_time)
