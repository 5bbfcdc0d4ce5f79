"""The cache: `[cache]` for all routes, and `[route.cache]` for one; and the policy that they make together."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from headgate.cache.memory import OBJECT_SHARE
from headgate.cache.policy import (
    COOKIES_KEEP,
    COOKIES_REFUSE,
    COOKIES_STRIP,
    QUERY_ALL,
    QUERY_NONE,
    QUERY_ONLY,
    QUERY_WITHOUT,
    Policy,
)
from headgate.config.kinds import FieldName
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, DurationOrZero, ShareOrZero, Size, SizeOrZero, fault

_SET_COOKIE: Final = {"keep": COOKIES_KEEP, "strip": COOKIES_STRIP, "refuse": COOKIES_REFUSE}
_QUERY: Final = {"all": QUERY_ALL, "none": QUERY_NONE, "only": QUERY_ONLY, "without": QUERY_WITHOUT}
# Fields that no key and no bypass can be made of: they are for one connection, or differ with each client.
_NOT_IN_KEYS: Final = frozenset(
    ("connection", "content-length", "transfer-encoding", "host", "te", "upgrade")
)

# The folders and an empty index take some; what is left shall hold more than a handful of responses.
_LEAST_DISK: Final = 16 * 1024**2
# Smaller ones would be a request to the origin for each read of a socket.
_LEAST_SLICE: Final = 64 * 1024


def _key_field(name: str) -> str:
    if name.lower() in _NOT_IN_KEYS:
        raise fault("a field that is the client's wish", "the host is in the key already")
    return name


def _status(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) == 3 and 400 <= int(text) <= 599):
        raise fault('a status from "400" to "599"')
    return text


def _disk(size: int) -> int:
    if 0 < size < _LEAST_DISK:
        raise fault("a size of 16MiB or more, or 0")
    return size


def _slice(size: int) -> int:
    if size < _LEAST_SLICE:
        raise fault("a size of 64KiB or more")
    return size


DiskSize = Annotated[SizeOrZero, AfterValidator(_disk)]
SliceSize = Annotated[Size, AfterValidator(_slice)]
KeyField = Annotated[FieldName, AfterValidator(_key_field)]
ErrorStatus = Annotated[str, AfterValidator(_status)]
CookieName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
ParameterName = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=200)]


class Cache(Table):
    """The response cache (RFC 9111): in memory, for each worker. What may be stored, and for how long, is the
    origin's to say; `[route.cache]` has what a route says itself."""

    enabled: Flag = False
    """Whether routes with an `upstream` have a cache, unless their own `[route.cache]` says otherwise."""
    memory: Size = 64 * 1024**2
    """Memory for stored responses, of each worker: fields, content and what it costs to find them. Beside it up to a
    quarter of it is held of responses that are being stored."""
    max_object: Size = 8 * 1024**2
    """Largest response that is stored in memory; never more than an eighth of `memory`. Reason: a few large ones
    would push out thousands; Traffic Server keeps 4 MiB at most in memory."""
    disk: DiskSize = 0
    """Room for stored responses on disk, in the folder `cache` of `state_dir`: 16MiB or more, 0 for none. All workers
    share it, and a restart finds it again."""
    disk_max_object: Size = 1024**3
    """Largest response that is stored on disk; never more than an eighth of `disk`. Reason: a film of an hour has
    some 1 GiB, and is asked for in parts; what is larger would push out thousands for one."""
    status_header: Flag = True
    """Whether answers tell in Cache-Status (RFC 9211) what became of the request at the cache."""


class RouteCache(Table):
    """What is cached of one route, and how: what `[cache]` switches on for all of them. Times are upheld against
    what the origin says only where that is written here."""

    enabled: Flag | None = None
    """Whether this route has a cache; absent: as `[cache]` says."""
    ttl: DurationOrZero | None = None
    """Lifetime in place of whatever the origin says. Never for responses that say `no-store` or `private`."""
    default_ttl: DurationOrZero | None = None
    """Lifetime of responses whose origin gives none; absent: they live a tenth of the time since Last-Modified, a day
    at most, and are not stored without one."""
    min_ttl: DurationOrZero = 0.0
    """Least lifetime, where the origin gives one."""
    max_ttl: Duration | None = None
    """Longest lifetime, whoever gives it."""
    negative_ttl: dict[ErrorStatus, Duration] = Field(default_factory=dict)
    """Lifetimes of errors whose origin gives none, by status: `{ 404 = "10s" }`."""
    heuristic: ShareOrZero = 0.1
    """Share of the time since Last-Modified that a response lives whose origin gives no lifetime; "0%": it is not
    stored."""
    stale_while_revalidate: DurationOrZero = 0.0
    """How long after its lifetime a response is still served while it is confirmed (RFC 5861), where the origin does
    not say."""
    stale_if_error: DurationOrZero = 0.0
    """How long after its lifetime a response is still served in place of an error of the origin (RFC 5861), where the
    origin does not say."""
    ignore_client_no_cache: Flag = False
    """Do not let clients make the origin be asked by Cache-Control: no-cache or max-age=0. Reason: anybody can send
    them; and RFC 9111 wants them heeded, so it is off."""
    set_cookie: Literal["keep", "strip", "refuse"] = "keep"
    """What becomes of Set-Cookie in responses that may be stored: kept and repeated, as RFC 9111 has it; taken out;
    or such a response is not stored. With an upstream that has a `sticky_cookie`, "keep" is "refuse": that cookie is
    one client's."""
    key_headers: tuple[KeyField, ...] = ()
    """Request fields whose values are part of the key, whatever Vary says."""
    key_cookies: tuple[CookieName, ...] = ()
    """Cookies whose values are part of the key."""
    query: Literal["all", "none", "only", "without"] = "all"
    """Which parameters of the query are part of the key: all, none, only those in `query_names`, or all but those.
    The origin gets the query as it came: leave out only what it does not read."""
    query_names: tuple[ParameterName, ...] = ()
    """Names of parameters for `query`; `"utm_*"` stands for all that begin so."""
    query_sorted: Flag = False
    """Whether the order of parameters makes no difference."""
    bypass_headers: tuple[FieldName, ...] = ()
    """Requests with one of these fields go to the origin, and nothing of them is stored."""
    bypass_cookies: tuple[CookieName, ...] = ()
    """Requests with one of these cookies go to the origin, and nothing of them is stored."""
    max_object: Size | None = None
    """Largest response that is stored; absent: that of `[cache]`."""
    slice: SliceSize | None = None
    """Fetch and store objects in slices of this size, by range requests; absent: as they are. Objects may then be
    larger than `max_object`. Reason to be off: for large files alone it is worth a request for each slice, and an
    origin that does not do ranges is asked twice for what is new."""
    slice_prefetch: Annotated[Count, Field(ge=0, le=16)] = 0
    """Slices that are asked for before a client needs them, within what it asked for."""
    max_variants: Annotated[Count, Field(ge=1, le=256)] = 32
    """Most variants of one key, by Vary. Reason: a page in 16 languages and two codings has 32, and whoever makes up
    values shall not fill the memory."""


def policy_of(cache: Cache, own: RouteCache, name: str, *, has_sticky_cookie: bool = False) -> Policy:
    """Return what one route's cache does."""
    policy = Policy(name)
    policy.ttl = own.ttl if own.ttl is not None else -1.0
    policy.default_ttl = own.default_ttl if own.default_ttl is not None else -1.0
    policy.min_ttl = own.min_ttl
    policy.max_ttl = own.max_ttl if own.max_ttl is not None else -1.0
    policy.negative_ttl = {int(status): seconds for status, seconds in own.negative_ttl.items()}
    policy.heuristic_fraction = own.heuristic
    policy.stale_while_revalidate = own.stale_while_revalidate
    policy.stale_if_error = own.stale_if_error
    policy.ignore_client_no_cache = own.ignore_client_no_cache
    policy.set_cookie = _SET_COOKIE[own.set_cookie]
    if has_sticky_cookie and policy.set_cookie == COOKIES_KEEP:
        policy.set_cookie = COOKIES_REFUSE
    policy.key_fields = tuple(field.lower().encode() for field in own.key_headers)
    policy.key_cookies = tuple(cookie.encode() for cookie in own.key_cookies)
    policy.query = _QUERY[own.query]
    policy.query_names = frozenset(name.encode() for name in own.query_names)
    policy.query_sorted = own.query_sorted
    policy.bypass_fields = tuple(field.lower().encode() for field in own.bypass_headers)
    policy.bypass_cookies = tuple(cookie.encode() for cookie in own.bypass_cookies)
    on_disk = min(cache.disk_max_object, cache.disk // OBJECT_SHARE)
    policy.max_in_memory = cache.max_object
    policy.max_object = own.max_object if own.max_object is not None else max(cache.max_object, on_disk)
    policy.slice_size = own.slice if own.slice is not None else 0
    policy.slice_prefetch = own.slice_prefetch
    policy.max_variants = own.max_variants
    return policy
