"""Warnings about routes that are in order each, and of which one is never asked because of another.

Prefixes are tried before regular expressions, so a host's own prefix "/" takes every path before any expression of
that host is tried. Listeners count: an expression is told when this holds on each listener that has it.
"""

from collections.abc import Iterator
from typing import Final

from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.route import Route
from headgate.config.routing import matcher_of

_SHOWN: Final = 3


def find_shadowed(config: Config) -> Iterator[Finding]:
    """Yield a warning for each route with `path_regex` that is never asked for one of its hosts."""
    routes_of = [
        set(config.routes_of(index))
        for index, listener in enumerate(config.listener)
        if not listener.redirect
    ]
    takes_all: dict[str, list[int]] = {}
    for place, route in enumerate(config.route):
        if matcher_of(route) == "path" and route.path in (None, "/"):
            for host in _hosts(route):
                takes_all.setdefault(host, []).append(place)
    for place, route in enumerate(config.route):
        if route.path_regex is None:
            continue
        listeners = [routes for routes in routes_of if place in routes]
        shadows: dict[str, int] = {}
        for host in _hosts(route):
            above = takes_all.get(host, [])
            if listeners and above and all(not routes.isdisjoint(above) for routes in listeners):
                shadows[host] = next(one for one in above if one in listeners[0])
        if shadows:
            yield _warning(place, shadows)


def _hosts(route: Route) -> tuple[str, ...]:
    return route.hosts or ("",)


def _warning(place: int, shadows: dict[str, int]) -> Finding:
    names = [host or "any host" for host in shadows]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    first = next(iter(shadows.values()))
    what = f'never asked for {", ".join(names[:_SHOWN])}{more}: route[{first}] takes "/" there, and prefixes go first'
    hint = "write that one as path_regex = '/.*' below this one"
    return Finding(("route", place, "path_regex"), what, hint=hint, fatal=False)
