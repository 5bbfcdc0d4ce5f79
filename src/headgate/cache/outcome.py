"""What became of a request at the cache, and why: one Outcome and one Reason each, and Cache-Status (RFC 9211).

An outcome says where the answer came from; a reason says which rule made it so. Both are plain integers, so that
counters are indexed by them, with a table of words beside: the access log, metrics and `headgate explain` show the
word, and a word never changes its meaning. A section in a comment is of RFC 9111 unless it says otherwise.

Cache-Status is a list: each cache on the way appends a member, the one nearest to the origin first. A member is
the name of the cache with parameters: `hit`, or `fwd` with one of eight words for why the request went on.
"""

from typing import Final

from headgate.counters import CACHE_OUTCOMES

# Where the answer came from.
HIT: Final = 0  # a stored response that was fresh
STALE: Final = 1  # a stored response that was not, and that may be used all the same (4.2.4)
REVALIDATED: Final = 2  # a stored response that the origin confirmed by a 304 (4.3)
EXPIRED: Final = 3  # from the origin: a stored response was there, and another took its place
MISS: Final = 4  # from the origin: nothing was stored that fits
COLLAPSED: Final = 5  # from the origin, once for several requests (4)
BYPASS: Final = 6  # from the origin: the cache was not asked
UNCACHEABLE: Final = 7  # from the origin: known not to be storable, so nobody waits for anybody
REFUSED: Final = 8  # from nobody: 504, as only-if-cached or must-revalidate asks (5.2.1.7, 5.2.2.2)

# The words, in this order, stand where they are counted.
OUTCOMES: Final[tuple[str, ...]] = CACHE_OUTCOMES

# Why: of requests.
NONE: Final = 0
FRESH: Final = 1  # 4.2
NOT_STORED: Final = 2  # no stored response has this key (4)
VARY: Final = 3  # stored responses are there, for other values of the selecting fields (4.1)
EXPIRY: Final = 4  # the current age has reached the lifetime (4.2)
NO_CACHE: Final = 5  # the stored response says no-cache (5.2.2.4)
CLIENT_NO_CACHE: Final = 6  # the request says no-cache (5.2.1.4)
CLIENT_MAX_AGE: Final = 7  # 5.2.1.1
CLIENT_MIN_FRESH: Final = 8  # 5.2.1.3
CLIENT_MAX_STALE: Final = 9  # 5.2.1.2
ONLY_IF_CACHED: Final = 10  # 5.2.1.7
MUST_REVALIDATE: Final = 11  # 5.2.2.2, 5.2.2.8, 5.2.2.10
WHILE_REVALIDATE: Final = 12  # RFC 5861 section 3
IF_ERROR: Final = 13  # RFC 5861 section 4
UNREACHABLE: Final = 14  # the origin cannot be reached (4.2.4)
PARTIAL: Final = 15  # a part of the representation is stored, and not all that is asked for (3.3)
PURGED: Final = 16  # purged softly: confirmed before it is used again
METHOD: Final = 17  # neither GET nor HEAD (RFC 9110 section 9.2.3)
BYPASSED: Final = 18  # the route says so for such requests
CONTENT: Final = 19  # a GET with content, which is in no key (RFC 9110 section 9.3.1)
UPGRADE: Final = 20  # the exchange may become a tunnel (RFC 9110 section 7.8)
KNOWN_UNCACHEABLE: Final = 21  # answers to this key were not storable lately
INVALIDATED: Final = 22  # an unsafe request went by since (4.4)
CLIENT_NO_STORE: Final = 23  # nothing of the answer is stored (5.2.1.5)
PRECONDITION: Final = 24  # If-Match or If-Unmodified-Since: for the origin to evaluate (4.3.2)
# Why: of responses. Up to STORED the response is kept, from there on it is not.
STORED: Final = 25
STATUS: Final = 26  # a status that is never kept here (3)
NOT_UNDERSTOOD: Final = 27  # must-understand and a status that we do not know (5.2.2.3)
NO_STORE: Final = 28  # 5.2.2.5
PRIVATE: Final = 29  # 5.2.2.7
AUTHORIZATION: Final = 30  # 3.5
SET_COOKIE: Final = 31  # 7.3
NO_LIFETIME: Final = 32  # nothing says how long it is fresh, and nothing may be guessed (3, 4.2.2)
NO_USE: Final = 33  # stale from the beginning, and nothing to confirm it by
VARY_ANY: Final = 34  # Vary: * fits no request (4.1)
TOO_LARGE: Final = 35
RANGE: Final = 36  # a 206 that cannot be kept (3.3, 3.4)
NO_ROOM: Final = 37  # the store took it not

REASONS: Final[tuple[str, ...]] = (
    "none",
    "fresh",
    "not-stored",
    "vary",
    "expired",
    "no-cache",
    "client-no-cache",
    "client-max-age",
    "client-min-fresh",
    "client-max-stale",
    "only-if-cached",
    "must-revalidate",
    "stale-while-revalidate",
    "stale-if-error",
    "unreachable",
    "partial",
    "purged",
    "method",
    "bypassed",
    "content",
    "upgrade",
    "known-uncacheable",
    "invalidated",
    "client-no-store",
    "precondition",
    "stored",
    "status",
    "not-understood",
    "no-store",
    "private",
    "authorization",
    "set-cookie",
    "no-lifetime",
    "no-use",
    "vary-any",
    "too-large",
    "range",
    "no-room",
)

# RFC 9211 section 2.2: eight words say why a request was forwarded.
_FORWARDED_FOR: Final[dict[int, bytes]] = {
    NOT_STORED: b"uri-miss",
    KNOWN_UNCACHEABLE: b"uri-miss",
    INVALIDATED: b"stale",
    VARY: b"vary-miss",
    EXPIRY: b"stale",
    NO_CACHE: b"stale",
    MUST_REVALIDATE: b"stale",
    PURGED: b"stale",
    UNREACHABLE: b"stale",
    IF_ERROR: b"stale",
    CLIENT_NO_CACHE: b"request",
    CLIENT_MAX_AGE: b"request",
    CLIENT_MIN_FRESH: b"request",
    CLIENT_NO_STORE: b"request",
    ONLY_IF_CACHED: b"request",
    PRECONDITION: b"request",
    PARTIAL: b"partial",
    METHOD: b"method",
    BYPASSED: b"bypass",
    CONTENT: b"bypass",
    UPGRADE: b"bypass",
}


def is_hit(outcome: int) -> bool:
    """Whether no octet of the answer came from the origin for this request: `hit` of RFC 9211 section 2.1."""
    return outcome in (HIT, STALE)


def cache_status(
    outcome: int,
    reason: int,
    ttl: int | None = None,
    key: bytes = b"",
    stored: bool = False,
    collapsed: bool = False,
    forwarded_status: int = 0,
) -> bytes:
    """Return our member of Cache-Status (RFC 9211 section 2), the value to append to what came.

    `ttl` is what is left of the lifetime in seconds, negative when stale, None when nothing is known. `key` is shown
    when given, as a String: octets that none may hold are left out (section 2.7 says it is for people). What is
    served in place of an error that the origin answered with (`forwarded_status`) is no hit (section 2.1).
    """
    if key or collapsed:
        before, after = _around(outcome, reason, key, stored, collapsed, forwarded_status)
    else:
        case = ((forwarded_status << 6 | reason) << 4 | outcome) << 1 | (1 if stored else 0)
        known = _known.get(case)
        if known is None:
            known = _around(outcome, reason, key, stored, collapsed, forwarded_status)
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[case] = known
        before, after = known
    return before + after if ttl is None else b"%b; ttl=%d%b" % (before, ttl, after)


# What stands before and behind the lifetime, for what has no key: origins have 900 statuses to make up.
_known: Final[dict[int, tuple[bytes, bytes]]] = {}
_MAX_KNOWN: Final = 1024


def _around(
    outcome: int, reason: int, key: bytes, stored: bool, collapsed: bool, forwarded_status: int
) -> tuple[bytes, bytes]:
    before = b"headgate"
    if outcome == HIT or (outcome == STALE and not forwarded_status):
        before += b"; hit"
    elif outcome != REFUSED:
        before += b"; fwd=" + _FORWARDED_FOR.get(reason, b"miss")
        if forwarded_status:
            before += b"; fwd-status=%d" % forwarded_status
    after = b"; stored" if stored else b""
    if collapsed or outcome == COLLAPSED:
        after += b"; collapsed"
    if key:
        after += b"; key=" + _string(key)
    if reason != NONE and reason != FRESH:
        after += b"; detail=" + REASONS[reason].encode()
    return before, after


def _string(octets: bytes) -> bytes:
    """Return a String of RFC 9651 section 3.3.3."""
    shown = bytes([octet for octet in octets if 0x20 <= octet < 0x7F])
    return b'"' + shown.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
