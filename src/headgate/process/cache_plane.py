"""The cache of a worker, from the configuration."""

from headgate.cache.memory import MemoryStore
from headgate.config.model import Config
from headgate.config.route import Route
from headgate.proxy.caching import Cache


def is_cached(config: Config, route: Route) -> bool:
    """Tell whether a route has a cache."""
    own = route.cache.enabled
    return route.upstream is not None and (config.cache.enabled if own is None else own)


def build_cache(config: Config, values: list[int]) -> Cache | None:
    """Return the cache that all routes of a worker share; None where no route has one."""
    if not any(is_cached(config, route) for route in config.route):
        return None
    cache = config.cache
    variants = max(route.cache.max_variants for route in config.route)
    return Cache(MemoryStore(cache.memory, variants), values, shows=cache.status_header)
