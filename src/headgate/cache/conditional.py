"""Conditional requests (RFC 9110 section 13) at a cache (RFC 9111 section 4.3).

Two directions. `evaluate` looks at the preconditions of a client against the stored response that would be its
answer, in the order of RFC 9110 section 13.2.2. `add_validators` puts our own preconditions into a request that is to
confirm stored responses.

Of a client's preconditions If-None-Match, If-Modified-Since and If-Range are for caches. If-Match and
If-Unmodified-Since are for the origin (RFC 9111 section 4.3.2): a request with one is forwarded, as FORWARD says; to
ignore them would be allowed, but whoever sends If-Match with a Range counts on getting octets of one representation.

Entity tags are read strictly: what has no quotes is no entity tag. An If-None-Match that cannot be read matches
nothing, so the client gets the whole response, which is never wrong.
"""

from typing import Final

from headgate.cache.entry import StoredResponse
from headgate.engine.events import Request
from headgate.http.date import format_date, parse_http_date
from headgate.http.fields import CONDITIONAL, OWS, RANGE, Fields

# What `evaluate` says beside 200, 206 and 304: 206 means that Range applies, 200 that it does not.
FORWARD: Final = 0

# A Last-Modified this much before Date is a strong validator (RFC 9110 section 8.8.2.2): RFC 7232's minute, which
# needs no belief about clocks.
STRONG_GAP: Final = 60
# As many entity tags as are read of one field.
MAX_TAGS: Final = 64

_CONDITIONS: Final = frozenset(
    (
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
    )
)


# -- entity tags


def parse_tags(values: list[bytes]) -> list[bytes] | None:
    """Read the entity tags of If-None-Match or If-Match, as they came; None: malformed. `*` alone is [b"*"].

    Commas and backslashes may stand inside the quotes, where they mean nothing (RFC 9110 section 8.8.3).
    """
    tags: list[bytes] = []
    for value in values:
        at = 0
        while True:
            while at < len(value) and value[at] in b" \t,":
                at += 1
            if at == len(value):
                break
            end = _end_of_tag(value, at)
            if end < 0 or len(tags) == MAX_TAGS:
                return None
            tags.append(value[at:end])
            at = end
            while at < len(value) and value[at] in b" \t":
                at += 1
            if at < len(value) and value[at] != 0x2C:
                return None
    if b"*" in tags and len(tags) > 1:
        return None
    return tags


def _end_of_tag(value: bytes, at: int) -> int:
    """Return where the entity tag or the star that begins at `at` ends, -1 when none does."""
    if value[at] == 0x2A:
        return at + 1
    if value.startswith(b"W/", at):
        at += 2
    if at >= len(value) or value[at] != 0x22:
        return -1
    end = value.find(b'"', at + 1)
    if end < 0:
        return -1
    for octet in value[at + 1 : end]:
        if octet < 0x21 or octet == 0x7F:
            return -1
    return end + 1


def is_tag(value: bytes) -> bool:
    """Whether a value is one entity tag: what may be compared, and sent."""
    return len(value) >= 2 and value[0] != 0x2A and _end_of_tag(value, 0) == len(value)


def is_strong(tag: bytes) -> bool:
    """Whether a value is an entity tag that is not weak."""
    return tag.startswith(b'"') and is_tag(tag)


def match_strongly(one: bytes, other: bytes) -> bool:
    """RFC 9110 section 8.8.3.2: equal, and neither is weak."""
    return one == other and is_strong(one)


def match_weakly(one: bytes, other: bytes) -> bool:
    """RFC 9110 section 8.8.3.2: equal whether weak or not."""
    return one.removeprefix(b"W/") == other.removeprefix(b"W/") and is_tag(one) and is_tag(other)


# -- what a client asks


def evaluate(request: Request, variant: StoredResponse, now: float) -> int:
    """Return what a request whose answer is `variant` gets: 200, 206 (its Range applies), 304 or FORWARD.

    Only for GET and HEAD, and only when the stored response may be used as it stands (RFC 9111 section 4.3.2).
    Preconditions are for 200 and 206: with another stored status they are not looked at (RFC 9110 section 13.2.1).
    """
    fields = request.fields
    if fields.flags & (CONDITIONAL | RANGE) == 0 or variant.status not in (200, 206):
        return 200
    if is_for_origin(fields):
        return FORWARD
    values = fields.get_all(b"if-none-match")
    if values:
        if not none_match(values, variant.etag):
            return 304
    elif b"if-modified-since" in fields.names and not is_modified(fields, variant, now):
        return 304
    return 206 if range_applies(request, variant, now) else 200


def is_for_origin(fields: Fields) -> bool:
    """Whether a request has preconditions that only an origin evaluates (RFC 9111 section 4.3.2)."""
    if fields.flags & CONDITIONAL == 0:
        return False
    return b"if-match" in fields.names or b"if-unmodified-since" in fields.names


def range_applies(request: Request, variant: StoredResponse, now: float) -> bool:
    """Whether a request has a Range to look at, which is one of a GET (section 14.2) whose If-Range holds."""
    fields = request.fields
    if fields.flags & RANGE == 0 or request.method != b"GET" or b"range" not in fields.names:
        return False
    return b"if-range" not in fields.names or range_holds(fields, variant, now)


def none_match(values: list[bytes], etag: bytes) -> bool:
    """RFC 9110 section 13.1.2, for a representation that is there: whether none of the tags is its own."""
    tags = parse_tags(values)
    if tags is None:
        return True
    if tags == [b"*"]:
        return False
    return not any(match_weakly(tag, etag) for tag in tags)


def is_modified(fields: Fields, variant: StoredResponse, now: float) -> bool:
    """RFC 9110 section 13.1.3; without Last-Modified the Date counts, or when it came (RFC 9111 section 4.3.2).

    Two lines, or what is no date, are ignored: the response is taken for modified.
    """
    values = fields.get_all(b"if-modified-since")
    since = parse_http_date(values[0], now) if len(values) == 1 else -1
    if since < 0:
        return True
    stamp = variant.last_modified if variant.last_modified >= 0 else variant.date
    return stamp > since


def range_holds(fields: Fields, variant: StoredResponse, now: float) -> bool:
    """RFC 9110 section 13.1.5: an entity tag compared strongly, or exactly the Last-Modified when that is strong."""
    values = fields.get_all(b"if-range")
    if len(values) != 1:
        return False
    value = values[0].strip(OWS)
    if value.startswith((b'"', b"W/")):
        return match_strongly(value, variant.etag)
    return has_strong_date(variant) and parse_http_date(value, now) == variant.last_modified


def has_strong_date(variant: StoredResponse) -> bool:
    """Whether Last-Modified cannot have been the time of two representations (RFC 9110 section 8.8.2.2)."""
    return variant.last_modified >= 0 and variant.date - variant.last_modified >= STRONG_GAP


def strong_validator(variant: StoredResponse) -> bytes:
    """Return what If-Range may hold for a stored response: its strong entity tag, else its strong date, else b""."""
    if is_strong(variant.etag):
        return variant.etag
    # An entity tag that is weak says that there are representations which the date would not tell apart either.
    if not variant.etag and has_strong_date(variant):
        return format_date(variant.last_modified)
    return b""


# -- what we ask


def drop_conditions(fields: Fields) -> None:
    """Remove a client's preconditions from a request whose answer shall be stored."""
    if fields.flags & (CONDITIONAL | RANGE) == 0:
        return
    names = fields.names
    i = len(names)
    while i > 0:
        i -= 1
        if names[i] in _CONDITIONS:
            del names[i]
            del fields.lines[i]
    fields.connection_at = -1


def add_validators(fields: Fields, variant: StoredResponse) -> bool:
    """Make a request ask whether `variant` is still current (RFC 9111 section 4.3.1); False: it has no validator.

    The client's own preconditions go; the caller answers them from what comes back.
    """
    drop_conditions(fields)
    has_tag = is_tag(variant.etag)
    if has_tag:
        fields.add(b"if-none-match", variant.etag)
    if variant.last_modified >= 0:
        written = variant.fields.get(b"last-modified")
        if written is not None:
            # As it came: some origins compare the text.
            fields.add(b"if-modified-since", written)
            return True
    return has_tag


# -- what a client that asked conditionally gets

# RFC 9110 section 15.4.5: representation metadata that a 304 should not repeat, because the client has it.
_NOT_IN_304: Final = frozenset(
    (
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
    )
)


def not_modified_fields(fields: Fields) -> Fields:
    """Return the fields of a 304 for a stored response (RFC 9110 section 15.4.5).

    Last-Modified goes along only without an ETag, where it guides the client's update.
    """
    has_tag = b"etag" in fields.names
    names: list[bytes] = []
    lines: list[bytes] = []
    for i in range(len(fields.names)):
        name = fields.names[i]
        if name not in _NOT_IN_304 and not (has_tag and name == b"last-modified"):
            names.append(name)
            lines.append(fields.lines[i])
    return Fields(names, lines)
