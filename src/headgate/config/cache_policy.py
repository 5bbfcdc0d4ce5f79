"""What `[cache]` and `[route.cache]` make together: the policy that the rules ask, and what people see of it."""

from typing import Final

from pydantic import JsonValue

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
from headgate.config.cache import Cache, RouteCache
from headgate.config.units import format_size

_SET_COOKIE: Final = {"keep": COOKIES_KEEP, "strip": COOKIES_STRIP, "refuse": COOKIES_REFUSE}
_QUERY: Final = {"all": QUERY_ALL, "none": QUERY_NONE, "only": QUERY_ONLY, "without": QUERY_WITHOUT}
# What a route that says nothing has from `[cache]`, by the same name.
_GENERAL: Final = ("enabled", "accept_encoding", "targeted_fields", "s_maxage_allows_stale")


def policy_of(cache: Cache, own: RouteCache, name: str, *, has_sticky_cookie: bool = False) -> Policy:
    """Return what one route's cache does."""
    table = _merged(cache, own, has_sticky_cookie)
    policy = Policy(name)
    _set_lifetimes(policy, table)
    policy.ignore_client_no_cache = table.ignore_client_no_cache
    policy.set_cookie = _SET_COOKIE[table.set_cookie]
    policy.key_fields = tuple(field.lower().encode() for field in table.key_headers)
    policy.key_cookies = tuple(cookie.encode() for cookie in table.key_cookies)
    policy.codings = tuple(coding.encode() for coding in table.accept_encoding or ())
    policy.languages = tuple(language.encode() for language in table.accept_language)
    policy.query = _QUERY[table.query]
    policy.query_names = frozenset(name.encode() for name in table.query_names)
    policy.query_sorted = table.query_sorted
    policy.bypass_fields = tuple(field.lower().encode() for field in table.bypass_headers)
    policy.bypass_cookies = tuple(cookie.encode() for cookie in table.bypass_cookies)
    policy.max_in_memory = cache.max_object
    policy.max_object = _largest(cache, table)
    policy.slice_size = table.slice if table.slice is not None else 0
    policy.slice_prefetch = table.slice_prefetch
    policy.max_variants = table.max_variants
    return policy


def _set_lifetimes(policy: Policy, table: RouteCache) -> None:
    policy.ttl = table.ttl if table.ttl is not None else -1.0
    policy.default_ttl = table.default_ttl if table.default_ttl is not None else -1.0
    policy.min_ttl = table.min_ttl
    policy.max_ttl = table.max_ttl if table.max_ttl is not None else -1.0
    policy.negative_ttl = {int(status): seconds for status, seconds in table.negative_ttl.items()}
    policy.heuristic_fraction = table.heuristic
    policy.heuristic_max = table.heuristic_max
    policy.stale_while_revalidate = table.stale_while_revalidate
    policy.stale_if_error = table.stale_if_error
    policy.stale_if_unreachable = table.stale_if_unreachable
    policy.s_maxage_allows_stale = table.s_maxage_allows_stale is True
    policy.targeted = tuple(field.lower().encode() for field in table.targeted_fields or ())
    policy.uncacheable_ttl = table.uncacheable_ttl


def policy_in_force(
    cache: Cache, own: RouteCache, *, has_sticky_cookie: bool = False
) -> dict[str, dict[str, JsonValue]]:
    """Return what holds for one route, by key: its `value` as one writes it (None: nothing is set), and where it is
    `from`: "route", "[cache]", "upstream" (its sticky cookie) or "default"."""
    written = own.model_dump(mode="json")
    usual = RouteCache().model_dump(mode="json")
    general = Cache().model_dump(mode="json")
    shown: dict[str, dict[str, JsonValue]] = {}
    for key, value in _merged(cache, own, has_sticky_cookie).model_dump(mode="json").items():
        if value != written[key]:
            source = "[cache]" if key in _GENERAL else "upstream"
            if value == general.get(key):
                source = "default"
        else:
            source = "default" if value == usual[key] else "route"
        shown[key] = {"value": value, "from": source}
    if own.max_object is None:
        source = "default" if _largest(cache, own) == Cache().max_object else "[cache]"
        shown["max_object"] = {"value": format_size(_largest(cache, own)), "from": source}
    return shown


def _merged(cache: Cache, own: RouteCache, has_sticky_cookie: bool) -> RouteCache:
    """Return the table of one route with what it leaves to others: the cookie of a sticky session is one client's."""
    update: dict[str, object] = {key: getattr(cache, key) for key in _GENERAL if getattr(own, key) is None}
    if has_sticky_cookie and own.set_cookie == "keep":
        update["set_cookie"] = "refuse"
    return own.model_copy(update=update)


def _largest(cache: Cache, table: RouteCache) -> int:
    """Return the octets of the largest response that is stored anywhere."""
    on_disk = min(cache.disk_max_object, cache.disk // OBJECT_SHARE)
    return table.max_object if table.max_object is not None else max(cache.max_object, on_disk)
