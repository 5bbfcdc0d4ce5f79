"""Which responses are stored, and as what (RFC 9111 section 3).

`may_store` answers for a final response as soon as its head is there, with the reason; `build` makes of it what is
stored; `refresh` works out again what follows from the fields, after a 304 has changed them (section 4.3.4).

Some statuses are never kept here, whatever lifetime they have, because what they say is true for one request or one
client alone, and the key does not hold what it depends on: 304 and 412 (conditions), 416 (Range), 417 (Expect), 401
and 407 (credentials), 421 (the connection), 425 (early data), 426 (Upgrade), and 428, 429, 431 and 511, which RFC
6585 forbids to store. 400 and its like are kept with care (`_OF_THE_REQUEST`).

A POST may be answered once and for all: its response is stored as the one to GET when it has a lifetime and says by
Content-Location that it is what GET would get (RFC 9110 section 9.3.3).

A response without any lifetime is kept if it can be confirmed, and for nothing else: it is confirmed by the origin
before each use, and never used without, not even when the origin is gone. Nothing says that it is for everybody, so
one to a request with cookies is not kept.
"""

from typing import Final, final

from headgate.cache import directives as d
from headgate.cache import entry as e
from headgate.cache import freshness
from headgate.cache import outcome as o
from headgate.cache.directives import Directives
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.invalidation import same_origin
from headgate.cache.partial import is_storable
from headgate.cache.policy import COOKIES_KEEP, COOKIES_REFUSE, COOKIES_STRIP, Policy
from headgate.cache.vary import selecting
from headgate.engine.events import Request, Response
from headgate.http.fields import AUTHORIZATION, CACHING, COOKIE, HOP_BY_HOP, STORING, VALIDATOR, Fields
from headgate.http.hop_by_hop import strip_response
from headgate.http.status import REASONS

NEVER_STORED: Final = frozenset((304, 401, 407, 412, 416, 417, 421, 425, 426, 428, 429, 431, 511))
# These may be the fault of fields that are in no key: whoever sends what the origin refuses would have all others
# refused (cpdos.org). So they take an origin's, or `negative_ttl`'s, own word, and a request that is not large:
# Apache takes 8,190 octets of a line.
_OF_THE_REQUEST: Final = frozenset((400, 408, 411, 413, 415, 422))
MAX_PLAIN_HEAD: Final = 4096
# Section 3.5: what lets a shared cache keep the answer to a request with Authorization.
_FOR_EVERYBODY: Final = d.PUBLIC | d.MUST_REVALIDATE
# Section 4.2.4: what forbids every use of a stale response.
_NEVER_STALE: Final = d.NO_CACHE | d.MUST_REVALIDATE | d.PROXY_REVALIDATE
_TAG_FIELDS: Final = (b"cache-tag", b"surrogate-key")


def response_directives(fields: Fields, policy: Policy) -> Directives:
    """Return what governs a response here: the first valid field of the target list, else Cache-Control.

    RFC 9213 section 2.2. Fields that are not on the list change nothing.
    """
    names = fields.names
    for name in policy.targeted:
        if name in names:
            said = d.parse_targeted(fields.get_all(name))
            if said is not None:
                return said
    return d.parse_cache_control(fields.get_all(b"cache-control")) if fields.flags & CACHING else d.NOTHING


@final
class Verdict:
    """Whether a response may be stored (`why` is STORED) or why not, and what was read of it to know that; never
    changed once it is said."""

    __slots__ = ("basis", "said", "seconds", "vary", "why")

    def __init__(self, why: int, said: Directives) -> None:
        self.why = why
        self.said = said
        self.seconds: float = 0.0  # its lifetime, and what that is based on
        self.basis: int = freshness.NOTHING
        self.vary: list[tuple[bytes, bytes]] | None = None


# One for each reason: of what is not stored nothing else is asked.
_REFUSED: Final[list[Verdict]] = [Verdict(why, d.NOTHING) for why in range(len(o.REASONS))]


def refused(why: int) -> Verdict:
    """Return what is said of a response that is not stored."""
    return _REFUSED[why]


def may_store(
    request: Request, response: Response, policy: Policy, now: float, takes_parts: bool = False
) -> tuple[bool, int]:
    """Return whether a final response may be stored, and why or why not; `now` is when its head came.

    `takes_parts`: the caller makes of a 206 what is stored of it (`partial.set_partial`); else none is stored.
    """
    why = judge(request, response, policy, now, takes_parts).why
    return why == o.STORED, why


def judge(
    request: Request, response: Response, policy: Policy, now: float, takes_parts: bool = False
) -> Verdict:
    """The same as `may_store`, with what `build` needs."""
    fields = response.fields
    said = response_directives(fields, policy)
    why = _forbidden(request, response, said, policy)
    if why != o.NONE:
        return refused(why)
    status = response.status
    if status == 206 and not (takes_parts and is_storable(request, response)):
        return refused(o.RANGE)
    seconds, basis = freshness.lifetime_of(status, fields, said, policy, now)
    if status in _OF_THE_REQUEST and _may_be_to_blame(request, status, basis, policy):
        return refused(o.STATUS)
    why = _useless(request, fields, said, seconds, basis, policy)
    if why != o.NONE:
        return refused(why)
    if response.body > policy.max_object:
        return refused(o.TOO_LARGE)
    vary = _selecting(request, fields)
    if vary is None:
        return refused(o.VARY_ANY)
    verdict = Verdict(o.STORED, said)
    verdict.seconds = seconds
    verdict.basis = basis
    verdict.vary = vary
    return verdict


_NO_VARY: Final[list[tuple[bytes, bytes]]] = []


def _selecting(request: Request, fields: Fields) -> list[tuple[bytes, bytes]] | None:
    """Return the selecting fields and their values, not to be changed; None: no request fits."""
    if fields.flags & STORING == 0:
        return _NO_VARY
    return selecting(fields.get_all(b"vary"), request.fields)


def _forbidden(request: Request, response: Response, said: Directives, policy: Policy) -> int:
    """Return the first rule that forbids to store a response, NONE when none does."""
    status = response.status
    if request.method != b"GET" and not _answers_for_get(request, response):
        return o.METHOD
    if status < 200 or status in NEVER_STORED:
        return o.STATUS
    flags = said.flags
    if flags & d.MUST_UNDERSTAND:
        # Section 5.2.2.3: known statuses may be stored, no-store is for caches that know less.
        if status not in REASONS:
            return o.NOT_UNDERSTOOD
    elif flags & d.NO_STORE:
        return o.NO_STORE
    if request.fields.flags & CACHING and d.request_directives(request.fields).flags & d.NO_STORE:
        return o.CLIENT_NO_STORE
    if flags & d.PRIVATE:
        return o.PRIVATE
    if request.fields.flags & AUTHORIZATION and flags & _FOR_EVERYBODY == 0 and said.s_maxage < 0:
        return o.AUTHORIZATION
    if policy.set_cookie == COOKIES_REFUSE and b"set-cookie" in response.fields.names:
        return o.SET_COOKIE
    return o.NONE


def _useless(
    request: Request, fields: Fields, said: Directives, seconds: float, basis: int, policy: Policy
) -> int:
    """Return why a response with this lifetime is not worth keeping, or too personal to guess; NONE when it is."""
    names = fields.names
    has_validator = fields.flags & VALIDATOR != 0 and (b"etag" in names or b"last-modified" in names)
    if basis != freshness.EXPLICIT and policy.set_cookie == COOKIES_KEEP and b"set-cookie" in names:
        return o.SET_COOKIE
    if request.method != b"GET" and basis != freshness.EXPLICIT:
        return o.NO_LIFETIME
    if basis == freshness.NOTHING:
        kept = has_validator and request.fields.flags & COOKIE == 0
        return o.NONE if kept else o.NO_LIFETIME
    if has_validator:
        return o.NONE
    if said.flags & d.NO_CACHE:
        return o.NO_USE
    lasting = seconds + max(said.stale_while_revalidate, 0) + max(said.stale_if_error, 0)
    return o.NONE if lasting > 0 else o.NO_USE


def _may_be_to_blame(request: Request, status: int, basis: int, policy: Policy) -> bool:
    """Whether an error may be what this one request deserves, and not what everybody would get."""
    if basis != freshness.EXPLICIT and status not in policy.negative_ttl:
        return True
    size = 0
    for line in request.fields.lines:
        size += len(line)
    return size > MAX_PLAIN_HEAD


def _answers_for_get(request: Request, response: Response) -> bool:
    """Whether the answer to a POST is, by its own word, what a GET of the same target would get."""
    if request.method != b"POST" or response.status != 200:
        return False
    location = response.fields.get(b"content-location")
    return location is not None and names_target(location, request)


def names_target(location: bytes, request: Request) -> bool:
    """Whether a Content-Location is the target of a request: by https too, which may end at a proxy in front."""
    target = request.target
    if not location:
        return False
    host = request.host
    return target == same_origin(location, False, host, target) or target == same_origin(
        location, True, host, target
    )


def build(
    key: bytes,
    request: Request,
    response: Response,
    policy: Policy,
    request_time: float,
    response_time: float,
    verdict: Verdict | None = None,
) -> StoredResponse:
    """Make of a response that may be stored what is stored; its body, length and size are the caller's to set.

    `verdict` is what `judge` said of it at `response_time`.
    """
    if verdict is None:
        said = response_directives(response.fields, policy)
        verdict = Verdict(o.STORED, said)
        verdict.vary = _selecting(request, response.fields)
        verdict.seconds, verdict.basis = freshness.lifetime_of(
            response.status, response.fields, said, policy, response_time
        )
    fields = response.fields
    is_as_it_came = fields.flags & (HOP_BY_HOP | STORING) == 0 and _keeps_all(verdict.said, policy)
    if not is_as_it_came:
        fields = fields.copy()
        strip_response(fields)
    variant = StoredResponse(key, response.status, response.reason, fields, MemoryBody())
    selected = verdict.vary
    if selected:
        variant.vary = tuple(selected)
    if request.fields.flags & AUTHORIZATION:
        variant.flags = e.AUTHORIZED
    _set(variant, fields, verdict, policy, request_time, response_time)
    if is_as_it_came:
        variant.pack()  # the response's own fields are the client's from here on
    else:
        _take_out(fields, verdict.said, policy)
    return variant


def refresh(variant: StoredResponse, policy: Policy, request_time: float, response_time: float) -> None:
    """Work out what follows from the fields of a variant, and take out those that are not stored (section 3.1).

    `variant.fields` are as they came, or as a 304 has merged them: with the Age and the Date of what came last.
    """
    fields = variant.fields
    said = response_directives(fields, policy)
    verdict = Verdict(o.STORED, said)
    verdict.seconds, verdict.basis = freshness.lifetime_of(
        variant.status, fields, said, policy, response_time
    )
    _set(variant, fields, verdict, policy, request_time, response_time)
    _take_out(fields, said, policy)
    variant.fields = fields


def _set(
    variant: StoredResponse,
    fields: Fields,
    verdict: Verdict,
    policy: Policy,
    request_time: float,
    response_time: float,
) -> None:
    """Set all numbers that follow from the fields of a variant, and what refers to it."""
    said = verdict.said
    age = freshness.parse_age(fields.get_all(b"age")) if fields.flags & STORING else 0
    variant.request_time = request_time
    variant.response_time = response_time
    variant.date = freshness.date_of(fields, response_time)
    variant.age_value = max(age, 0)
    variant.born = response_time - freshness.initial_age(variant.date, age, request_time, response_time)
    variant.lifetime = verdict.seconds
    variant.fresh_until = variant.born + verdict.seconds
    variant.flags = _flags_of(said, verdict.basis, policy) | (variant.flags & e.AUTHORIZED)
    _set_stale_uses(variant, said, policy)
    if fields.flags & VALIDATOR:
        variant.last_modified = freshness.last_modified_of(fields, response_time)
        variant.etag = fields.get(b"etag") or b""
    else:
        variant.last_modified = -1
        variant.etag = b""
    variant.tags = _tags(fields) if fields.flags & STORING else ()


def _keeps_all(said: Directives, policy: Policy) -> bool:
    """Tell whether nothing is taken out of a response before it is stored."""
    return not said.no_cache_fields and not said.private_fields and policy.set_cookie != COOKIES_STRIP


def _flags_of(said: Directives, basis: int, policy: Policy) -> int:
    flags = 0
    if said.flags & d.NO_CACHE:
        flags |= e.NO_CACHE
    by_s_maxage = said.s_maxage >= 0 and not policy.s_maxage_allows_stale
    if said.flags & _NEVER_STALE or by_s_maxage or basis == freshness.NOTHING:
        flags |= e.MUST_REVALIDATE
    if said.flags & d.IMMUTABLE:
        flags |= e.IMMUTABLE
    if basis == freshness.HEURISTIC:
        flags |= e.HEURISTIC
    elif basis == freshness.EXPLICIT:
        flags |= e.EXPLICIT
    return flags


def _set_stale_uses(variant: StoredResponse, said: Directives, policy: Policy) -> None:
    """Set how long after its lifetime a variant may be used (RFC 9111 section 4.2.4, RFC 5861)."""
    revalidate = float(said.stale_while_revalidate)
    error = float(said.stale_if_error)
    if revalidate < 0.0:
        revalidate = policy.stale_while_revalidate
    if error < 0.0:
        error = policy.stale_if_error
    unreachable = max(policy.stale_if_unreachable, error)
    if variant.flags & e.MUST_REVALIDATE:
        revalidate = error = unreachable = 0.0
    variant.stale_while_revalidate = revalidate
    variant.stale_if_error = error
    variant.stale_if_unreachable = unreachable


def _take_out(fields: Fields, said: Directives, policy: Policy) -> None:
    """Remove what may not be stored or not be repeated: Age, and fields that no-cache and private name."""
    fields.remove(b"age")
    for name in said.no_cache_fields:
        fields.remove(name)
    for name in said.private_fields:
        fields.remove(name)
    if policy.set_cookie == COOKIES_STRIP:
        fields.remove(b"set-cookie")


def _tags(fields: Fields) -> tuple[bytes, ...]:
    """Return the tags of a response by which it can be purged: words between commas or white space."""
    tags: list[bytes] = []
    for name in _TAG_FIELDS:
        if name in fields.names:
            for value in fields.get_all(name):
                for tag in value.replace(b",", b" ").split():
                    if tag not in tags:
                        tags.append(tag)
    return tuple(tags)
