"""The cache: `[cache]` for all routes, and `[route.cache]` for one."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from headgate.config.kinds import FieldName
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, DurationOrZero, ShareOrZero, Size, SizeOrZero, fault

# Fields that no key and no bypass can be made of: they are for one connection, or differ with each client.
_NOT_IN_KEYS: Final = frozenset(
    ("connection", "content-length", "transfer-encoding", "host", "te", "upgrade")
)

# Fields that have a meaning of their own for every cache, and one that is no Dictionary (W3C's Edge Architecture).
_NOT_TARGETED: Final = {
    "cache-control": "Cache-Control is obeyed where no targeted field is valid",
    "expires": "Expires is obeyed where neither a targeted field nor Cache-Control says anything",
    "pragma": "Pragma is for requests (RFC 9111 section 5.4)",
    "surrogate-control": "its grammar is not that of RFC 9213; let the origin send CDN-Cache-Control",
}
# Each one that an answer has is parsed until one is valid: a cache, its operator and a CDN make three.
MAX_TARGETED: Final = 8
# They make 16 sets, and with Vary as many variants of one URL: half of what `max_variants` lets a key have.
MAX_CODINGS: Final = 4
_CODING: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
# With two codings they make 32 variants, as many as `max_variants` lets a key have.
MAX_LANGUAGES: Final = 16
# RFC 4647 section 2.1, without the `*` that is a client's.
_LANGUAGE: Final = re.compile(r"[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,7}")
# RFC 9110 section 8.4.1.
_OLDER_CODINGS: Final = {"x-gzip": "gzip", "x-compress": "compress"}

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


def _targeted(name: str) -> str:
    reason = _NOT_TARGETED.get(name.lower())
    if reason is not None:
        raise fault('a targeted field of RFC 9213, such as "CDN-Cache-Control"', reason)
    return name


def _coding(text: str) -> str:
    want = 'a content coding such as "br", "gzip" or "zstd"'
    coding = text.lower()
    if coding in ("*", "identity"):
        raise fault(want, "content without a coding is what clients get who take none of them")
    if coding in _OLDER_CODINGS:
        raise fault(want, f'write "{_OLDER_CODINGS[coding]}"')
    if not _CODING.fullmatch(coding):
        raise fault(want, "each coding is a text of its own, without a weight")
    return coding


def _language(text: str) -> str:
    language = text.lower()
    if not _LANGUAGE.fullmatch(language):
        raise fault(
            'a language such as "en" or "pt-BR"', "each language is a text of its own, without a weight"
        )
    return language


def _each_once(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    known: set[str] = set()
    for name in names or ():
        if name.lower() in known:
            raise fault(f"each name once, and {name} is there twice")
        known.add(name.lower())
    return names


def _at_most(names: tuple[str, ...] | None, limit: int) -> tuple[str, ...] | None:
    if len(names or ()) > limit:
        raise fault(f"at most {limit} names")
    return _each_once(names)


def _codings(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return _at_most(names, MAX_CODINGS)


def _languages(names: tuple[str, ...]) -> tuple[str, ...]:
    return _at_most(names, MAX_LANGUAGES) or ()


def _targets(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return _at_most(names, MAX_TARGETED)


DiskSize = Annotated[SizeOrZero, AfterValidator(_disk)]
SliceSize = Annotated[Size, AfterValidator(_slice)]
KeyField = Annotated[FieldName, AfterValidator(_key_field)]
ErrorStatus = Annotated[str, AfterValidator(_status)]
Coding = Annotated[
    str, AfterValidator(_coding), WithJsonSchema({"type": "string", "title": "content coding"})
]
Language = Annotated[str, AfterValidator(_language), WithJsonSchema({"type": "string", "title": "language"})]
TargetedField = Annotated[FieldName, AfterValidator(_targeted)]
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
    background_fill: SizeOrZero = 8 * 1024**2
    """How much more of a response is fetched, to store it, once all clients that wanted it have left: one of which
    more is missing is given up, and 0 gives up all. Reason: what memory keeps by default is completed whoever leaves,
    and who asks for large files and goes at once does not make the origin send them; Traffic Server has
    `background_fill_completed_threshold`, nginx no bound. Of what is kept on the disk alone as much is fetched ahead
    of clients that stay and take nothing: then the origin waits for the first of them, or for another who asks."""
    accept_encoding: Annotated[tuple[Coding, ...], AfterValidator(_codings)] = ()
    """Content codings that requests are told apart by, four at most: Accept-Encoding becomes those of them that the
    client takes, or `identity`, for Vary and for the origin. `["br", "gzip"]` makes four variants of a page at most,
    whatever browsers write. Empty: Accept-Encoding goes on as it came. Reason to be empty: what the origin offers is
    not known here."""
    targeted_fields: Annotated[tuple[TargetedField, ...], AfterValidator(_targets)] = ("CDN-Cache-Control",)
    """Targeted fields of answers that are obeyed in place of Cache-Control and Expires (RFC 9213 section 2.2), eight
    at most: the first in this order that is there and valid. Empty: none. Reason: CDN-Cache-Control is meant for
    caches that an origin has before it."""
    s_maxage_allows_stale: Flag = False
    """Whether answers with s-maxage may be served stale, by stale-while-revalidate, stale-if-error and while the
    origin is away. Reason to be off: s-maxage implies proxy-revalidate (RFC 9111 section 5.2.2.10); many origins that
    send it beside stale-while-revalidate do not mean that."""
    collapse: Literal["machine", "worker"] = "machine"
    """Whose requests for the same become one to the origin: those of all workers, or of each worker for itself. With
    `"machine"` the URL names one worker, which the others ask. Reason to be off: what is never asked for twice takes
    a way more, some 0.1 ms."""
    status_header: Flag = True
    """Whether answers tell in Cache-Status (RFC 9211) what became of the request at the cache."""


class RouteCache(Table):
    """What is cached of one route, and how: what `[cache]` switches on for all of them. Times are upheld against
    what the origin says only where that is written here."""

    enabled: Flag | None = None
    """Whether this route has a cache; absent: as `[cache]` says."""
    ttl: DurationOrZero | None = None
    """Lifetime in place of whatever the origin says, but for 5xx. Never for responses that say `no-store` or
    `private`."""
    default_ttl: DurationOrZero | None = None
    """Lifetime of responses whose origin gives none; absent: they live a tenth of the time since Last-Modified, a day
    at most, and without one are confirmed before each use, or not stored where there is no ETag either."""
    min_ttl: DurationOrZero = 0.0
    """Least lifetime, where the origin gives one."""
    max_ttl: Duration | None = None
    """Longest lifetime, whoever gives it."""
    negative_ttl: dict[ErrorStatus, Duration] = Field(default_factory=dict)
    """Lifetimes of errors whose origin gives none, by status: `{ 404 = "10s" }`."""
    heuristic: ShareOrZero = 0.1
    """Share of the time since Last-Modified that a response lives whose origin gives no lifetime; "0%": it is
    confirmed before each use."""
    heuristic_max: Duration = 86400.0
    """Longest lifetime by `heuristic`. Reason: what has not changed for years may change tomorrow, and Traffic Server
    guesses no more than a day either."""
    stale_while_revalidate: DurationOrZero = 0.0
    """How long after its lifetime a response is still served while it is confirmed (RFC 5861), where the origin does
    not say."""
    stale_if_error: DurationOrZero = 0.0
    """How long after its lifetime a response is still served in place of an error of the origin (RFC 5861), where the
    origin does not say."""
    stale_if_unreachable: DurationOrZero = 86400.0
    """How long after its lifetime a response is still served while the origin gives no answer (RFC 9111 section
    4.2.4), unless it must be confirmed; "0s": never. Reason: a night and the morning after it."""
    s_maxage_allows_stale: Flag | None = None
    """Whether answers with s-maxage may be served stale; absent: as `[cache]` says."""
    targeted_fields: Annotated[tuple[TargetedField, ...] | None, AfterValidator(_targets)] = None
    """Targeted fields that are obeyed, the first that is valid; absent: those of `[cache]`."""
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
    accept_encoding: Annotated[tuple[Coding, ...] | None, AfterValidator(_codings)] = None
    """Content codings that requests are told apart by; absent: those of `[cache]`, empty: Accept-Encoding goes on as
    it came."""
    accept_language: Annotated[tuple[Language, ...], AfterValidator(_languages)] = ()
    """Languages that requests are told apart by, 16 at most: Accept-Language becomes the one of them that the client
    likes best (RFC 4647 section 3.4), or the first, for Vary and for the origin. `["en", "de"]` makes two variants of
    a page, whatever browsers write. Empty: it goes on as it came. Reason to be empty: what the origin has is not
    known here."""
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
    uncacheable_ttl: DurationOrZero = 60.0
    """How long nobody waits for somebody else's request to the origin after an answer that could not be stored.
    Reason: those who wait in vain get theirs later; Varnish remembers for two minutes."""
    slice: SliceSize | None = None
    """Fetch and store objects in slices of this size, by range requests; absent: as they are. Objects may then be
    larger than `max_object`. Reason to be off: for large files alone it is worth a request for each slice, and an
    origin that does not do ranges is asked twice for what is new."""
    slice_prefetch: Annotated[Count, Field(ge=0, le=16)] = 0
    """Slices that are asked for before a client needs them, within what it asked for."""
    max_variants: Annotated[Count, Field(ge=1, le=256)] = 32
    """Most variants of one key, by Vary. Reason: a page in 16 languages and two codings has 32, and whoever makes up
    values shall not fill the memory."""
