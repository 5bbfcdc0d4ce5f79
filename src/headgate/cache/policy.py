"""What the configuration of a route says about its cache; the rules of RFC 9111 ask it where they leave a choice.

A Policy is built once, when the configuration is read, and is never changed while a route uses it. Every default
is the strict one: with an untouched Policy the cache does what the RFCs say and what origins ask for, and guesses a
lifetime only from Last-Modified.
"""

from typing import Final, final

# Set-Cookie in a response that may be stored otherwise (RFC 9111 section 7.3).
COOKIES_KEEP: Final = 0  # as the origin says: kept and repeated when a lifetime is explicit
COOKIES_STRIP: Final = 1  # kept without Set-Cookie
COOKIES_REFUSE: Final = 2  # not kept

# What of the query is in the key.
QUERY_ALL: Final = 0
QUERY_NONE: Final = 1
QUERY_ONLY: Final = 2  # the parameters in `query_names`
QUERY_WITHOUT: Final = 3  # all others

# As many variants as one key may have: nginx has no bound, Traffic Server 5, Varnish warns from 10 on. A page in
# 16 languages and two codings has 32.
VARIANTS: Final = 32
# A tenth of the time since Last-Modified (RFC 9111 section 4.2.2 calls it typical), a day at most (Traffic Server's).
HEURISTIC_FRACTION: Final = 0.1
HEURISTIC_MAX: Final = 86400.0


@final
class Policy:
    """The cache of one route. Times are seconds, sizes octets; -1.0 for a time means that none is set."""

    __slots__ = (
        "bypass_cookies",
        "bypass_fields",
        "codings",
        "default_ttl",
        "heuristic_fraction",
        "heuristic_max",
        "ignore_client_no_cache",
        "key_cookies",
        "key_fields",
        "languages",
        "max_in_memory",
        "max_object",
        "max_ttl",
        "max_variants",
        "min_ttl",
        "name",
        "negative_ttl",
        "query",
        "query_names",
        "query_sorted",
        "s_maxage_allows_stale",
        "scope",
        "set_cookie",
        "slice_prefetch",
        "slice_size",
        "stale_if_error",
        "stale_if_unreachable",
        "stale_while_revalidate",
        "targeted",
        "ttl",
        "uncacheable_ttl",
    )

    def __init__(self, name: str = "") -> None:
        self.name = name
        # Lifetimes. `ttl` stands for whatever the origin says; `default_ttl` for what it does not say. What the
        # origin says is kept within `min_ttl` and `max_ttl`.
        self.ttl: float = -1.0
        self.default_ttl: float = -1.0
        self.min_ttl: float = 0.0
        self.max_ttl: float = -1.0
        self.negative_ttl: dict[int, float] = {}  # by status, for answers without a lifetime of their own
        self.heuristic_fraction: float = HEURISTIC_FRACTION
        self.heuristic_max: float = HEURISTIC_MAX
        # RFC 5861, for responses that do not say: how long after their lifetime they may be used.
        self.stale_while_revalidate: float = 0.0
        self.stale_if_error: float = 0.0
        # RFC 9111 section 4.2.4 lets a cache that is cut off from the origin use stale responses.
        self.stale_if_unreachable: float = 86400.0
        # RFC 9111 section 5.2.2.10 forbids it, and many origins send s-maxage with stale-while-revalidate.
        self.s_maxage_allows_stale: bool = False
        # The target list of RFC 9213 section 2.2, lower case, most applicable first.
        self.targeted: tuple[bytes, ...] = (b"cdn-cache-control",)
        self.ignore_client_no_cache: bool = False
        self.set_cookie: int = COOKIES_KEEP
        # The key: names in lower case.
        self.key_fields: tuple[bytes, ...] = ()
        self.key_cookies: tuple[bytes, ...] = ()
        self.query: int = QUERY_ALL
        self.query_names: frozenset[bytes] = frozenset()
        self.query_sorted: bool = False
        # Content codings that Accept-Encoding is reduced to, lower case; (): it stays as it came.
        self.codings: tuple[bytes, ...] = ()
        # Languages that Accept-Language is reduced to one of, lower case; (): it stays as it came.
        self.languages: tuple[bytes, ...] = ()
        # The listeners that have the route, b"": all. Two routes of different listeners may have one URL, and what is
        # for the clients of one is not for those of the other.
        self.scope: bytes = b""
        self.max_variants: int = VARIANTS
        # Requests with one of these go by the cache.
        self.bypass_fields: tuple[bytes, ...] = ()
        self.bypass_cookies: tuple[bytes, ...] = ()
        self.max_object: int = 1 << 30  # wherever it is kept
        self.max_in_memory: int = 1 << 30
        # Objects are fetched and stored in slices of this size, 0: as they are; and so many are asked for ahead.
        self.slice_size: int = 0
        self.slice_prefetch: int = 0
        # For how long a key whose answer was not storable makes nobody wait.
        self.uncacheable_ttl: float = 60.0

    def __repr__(self) -> str:
        return f"<Policy {self.name or 'default'}>"
