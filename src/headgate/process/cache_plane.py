"""The cache of a worker, from the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from headgate.cache.huge_pages import HugePages
from headgate.cache.key import uri_key
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.cache.purges import URL
from headgate.cache.store.bodies import MAX_OPEN_FILES
from headgate.config.cache_policy import policy_in_force, policy_of
from headgate.config.model import Config
from headgate.config.route import Route
from headgate.process.cache_socket import FOLDER, writer_address
from headgate.process.channel import Message
from headgate.proxy.caching import Cache, Moments
from headgate.server.observer import Event

if TYPE_CHECKING:
    from headgate.cache.store.disk import DiskStore


MOMENTS = "cache-moments"  # in runtime_dir


def is_cached(config: Config, route: Route) -> bool:
    """Tell whether a route has a cache."""
    own = route.cache.enabled
    return route.upstream is not None and (config.cache.enabled if own is None else own)


def route_policy(config: Config, route: Route, name: str) -> Policy:
    """Return what the cache of a route does, which has one."""
    policy = policy_of(config.cache, route.cache, name, has_sticky_cookie=_has_sticky_cookie(config, route))
    policy.scope = ",".join(sorted(route.listeners or ())).encode()
    return policy


def policy_shown(config: Config, route: Route) -> dict[str, dict[str, JsonValue]]:
    """Return the same for people: by key of the configuration its value, and who says so."""
    return policy_in_force(config.cache, route.cache, has_sticky_cookie=_has_sticky_cookie(config, route))


def _has_sticky_cookie(config: Config, route: Route) -> bool:
    return route.upstream is not None and config.upstream[route.upstream].sticky_cookie is not None


def disk_budget(config: Config) -> int:
    """Return how much room there is on disk, in octets; 0: none is asked for, or no route has a cache."""
    return config.cache.disk if any(is_cached(config, route) for route in config.route) else 0


def disk_files(config: Config) -> int:
    """Return how many descriptors a worker may need for content on disk."""
    if not disk_budget(config):
        return 0
    from headgate.proxy.disk_tier import MAX_GIVEN_UP, MAX_UPLOADS  # noqa: PLC0415  # spares LMDB

    return MAX_OPEN_FILES + MAX_UPLOADS + MAX_GIVEN_UP


def _open_disk(config: Config, event: Event) -> DiskStore:
    from headgate.cache.store.disk import DiskStore  # noqa: PLC0415  # gates without a disk spare LMDB

    def warn(word: str, detail: str) -> None:
        event(word, "warning", detail=detail)

    root = str(config.state_dir / FOLDER)
    return DiskStore(root, config.cache.disk, writer_address(config.runtime_dir), warn)


def obey_purge(cache: Cache, policies: Sequence[Policy], message: Message) -> None:
    """Obey a purge that was given for all workers. A URL is one under each key that the routes make of it."""
    kind, generation = message.integer("kind"), message.integer("generation")
    pattern = message.text("pattern").encode()
    is_soft = message.item("soft") is True
    disk = cache.disk
    peers = cache.peers
    if peers is not None:
        peers.purge_number = max(peers.purge_number, generation)
    if cache.store.generation >= generation:
        return  # told again
    # The disk's list has what others have told the writer, and outlives this worker: our memory has obeyed nothing.
    is_for_disk = disk is None or disk.disk.generation < generation
    patterns = {pattern}
    if kind == URL:
        scheme, _, rest = pattern.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        patterns |= {uri_key(policy, scheme == b"https", authority, slash + path) for policy in policies}
    for one in sorted(patterns - {b""}) or [b""]:
        if is_for_disk:
            cache.purge(kind, one, is_soft, generation)
        else:
            cache.store.purge(kind, one, is_soft, generation)


def build_cache(config: Config, values: list[int], event: Event) -> Cache | None:
    """Return the cache that all routes of a worker share; None where no route has one."""
    if not any(is_cached(config, route) for route in config.route):
        return None
    cache = config.cache
    variants = max(route.cache.max_variants for route in config.route)
    store = MemoryStore(cache.memory, variants)
    tier = None
    if disk_budget(config):
        from headgate.proxy.disk_tier import DiskTier  # noqa: PLC0415

        tier = DiskTier(_open_disk(config, event), store, values)
    built = Cache(store, values, shows=cache.status_header, disk=tier, background_fill=cache.background_fill)
    built.warn = lambda word, detail: event(word, "warning", detail=detail)
    built.huge_pages = HugePages(built.warn)
    return built


def share_moments(cache: Cache, config: Config, event: Event) -> None:
    """Let workers hear of each other's unsafe requests. One alone hears of all by itself, and its hits are spared
    the look-up."""
    path = config.runtime_dir / MOMENTS
    try:
        cache.moments = Moments(str(path))
    except OSError as error:
        said = f"{path}: {error.strerror} (errno {error.errno}); what a POST makes old other workers may serve until"
        event(
            "cache-moments",
            "warning",
            detail=f"{said} its lifetime ends, and no other one is asked; tried again when the worker starts anew",
        )
