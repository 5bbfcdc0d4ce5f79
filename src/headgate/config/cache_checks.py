"""Checks of `[cache]` and `[route.cache]`; each yields every fault that it sees."""

from collections.abc import Iterator

from headgate.cache.memory import OBJECT_SHARE
from headgate.config.cache import Cache, RouteCache
from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.table import Location


def check_cache(location: Location, cache: Cache) -> Iterator[Finding]:
    """Yield what contradicts itself in `[cache]`."""
    if "max_object" in cache.model_fields_set and cache.max_object * OBJECT_SHARE > cache.memory:
        yield Finding((*location, "max_object"), "is more than an eighth of memory")
    if "disk_max_object" in cache.model_fields_set:
        if not cache.disk:
            yield Finding((*location, "disk_max_object"), "has no effect without disk")
        elif cache.disk_max_object * OBJECT_SHARE > cache.disk:
            yield Finding((*location, "disk_max_object"), "is more than an eighth of disk")


def check_slice(location: Location, cache: Cache, own: RouteCache) -> Iterator[Finding]:
    """Yield what keeps the slices of one `[route.cache]` from being stored."""
    if own.slice is None:
        if own.slice_prefetch:
            yield Finding((*location, "slice_prefetch"), "has no effect without slice")
        return
    most = max(cache.max_object, min(cache.disk_max_object, cache.disk // OBJECT_SHARE))
    if own.slice > min(most, own.max_object or most):
        yield Finding((*location, "slice"), "is more than max_object")


def check_route_cache(location: Location, cache: RouteCache, *, has_upstream: bool) -> Iterator[Finding]:
    """Yield what contradicts itself in one `[route.cache]`."""
    if not has_upstream:
        yield Finding(location, "has no effect on a route without upstream")
    if cache.max_ttl is not None and cache.min_ttl > cache.max_ttl:
        yield Finding((*location, "min_ttl"), "is longer than max_ttl")
    wants_names = cache.query in ("only", "without")
    if wants_names and not cache.query_names:
        yield Finding((*location, "query"), f"{cache.query}, and no query_names beside it")
    if cache.query_names and not wants_names:
        hint = 'set query = "only" or query = "without"'
        yield Finding((*location, "query_names"), f"has no effect with query = {cache.query}", hint=hint)


def find_odd_targets(config: Config) -> Iterator[Finding]:
    """Yield a warning for each targeted field whose name looks like a slip: by convention they end alike (RFC 9213
    section 2.4)."""
    tables: list[tuple[Location, tuple[str, ...] | None]] = [(("cache",), config.cache.targeted_fields)]
    tables += [
        (("route", place, "cache"), route.cache.targeted_fields) for place, route in enumerate(config.route)
    ]
    for location, names in tables:
        for name in names or ():
            if not name.lower().endswith("-cache-control"):
                hint = "targeted fields end in -Cache-Control by convention; it is obeyed all the same"
                what = f"{name} is an unusual name"
                yield Finding((*location, "targeted_fields"), what, hint=hint, fatal=False)
