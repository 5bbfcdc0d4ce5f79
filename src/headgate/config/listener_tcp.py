"""Listeners of mode "tcp": what they may say, and what their routes and upstreams may."""

from collections.abc import Collection, Iterator
from typing import Final

from headgate.config.listener import Listener
from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.route import Route
from headgate.config.table import Location, Table
from headgate.config.upstream import Upstream

# What speaks of HTTP or of TLS that is terminated.
_HTTP_KEYS: Final = ("protocols", "advertise_port", "allow_in_path", "tls", "http2", "quic")
_HTTP_TIMEOUTS: Final = ("head", "body_idle", "write_idle", "keep_alive")
_HTTP_LIMITS: Final = ("head", "body")
_ROUTE_KEYS: Final = frozenset(("hosts", "listeners", "upstream"))
_UPSTREAM_KEYS: Final = ("protocols", "head_timeout", "body_idle", "idle_timeout", "pool")


def check_tcp(config: Config, upstreams: Collection[str]) -> Iterator[Finding]:
    """Yield what mode "tcp" does not go with. `upstreams` are the names in the file, valid or not."""
    for index, listener in enumerate(config.listener):
        location: Location = ("listener", index)
        if listener.mode == "tcp":
            yield from _check_listener(location, config, listener, upstreams)
            continue
        if listener.upstream is not None:
            hint = 'it is for mode = "tcp"; a [[route]] says where requests go'
            yield Finding((*location, "upstream"), f"has no effect with mode {listener.mode}", hint=hint)
        if "tcp" in listener.model_fields_set:
            yield Finding((*location, "tcp"), f"has no effect with mode {listener.mode}")
    for index, route in enumerate(config.route):
        yield from _check_route(("route", index), config, route)
    yield from _check_upstreams(config)


def _check_listener(
    location: Location, config: Config, listener: Listener, upstreams: Collection[str]
) -> Iterator[Finding]:
    yield from _without(location, listener, _HTTP_KEYS)
    yield from _without((*location, "timeouts"), listener.timeouts, _HTTP_TIMEOUTS)
    yield from _without((*location, "limits"), listener.limits, _HTTP_LIMITS)
    named = any(listener.label in (route.listeners or ()) for route in config.route)
    if listener.upstream is None and not named:
        hint = 'add upstream = "…", or routes with hosts and listeners = ["' + listener.label + '"]'
        yield Finding(location, "a listener with mode tcp that leads nowhere", hint=hint)
    if listener.upstream is not None and named:
        hint = "connections go to the upstream, whatever name they ask for"
        yield Finding((*location, "upstream"), "stands beside routes for this listener", hint=hint)
    if listener.upstream is not None and listener.upstream not in upstreams:
        hint = f"add [upstream.{listener.upstream}]"
        yield Finding((*location, "upstream"), f'there is no upstream "{listener.upstream}"', hint=hint)


def _without(location: Location, table: Table, keys: tuple[str, ...]) -> Iterator[Finding]:
    for key in keys:
        if key in table.model_fields_set:
            yield Finding((*location, key), "has no effect with mode tcp")


def _check_route(location: Location, config: Config, route: Route) -> Iterator[Finding]:
    modes = {one.mode for one in config.listener if one.label in (route.listeners or ())}
    if "tcp" not in modes:
        return
    if len(modes) > 1:
        hint = "one sees names, the others see requests; write a route for each"
        yield Finding((*location, "listeners"), "listeners of mode tcp beside others", hint=hint)
    for key in sorted(route.model_fields_set - _ROUTE_KEYS):
        hint = "of a connection only the name is seen that it asks for"
        yield Finding((*location, key), "has no effect with mode tcp", hint=hint)


def tcp_labels(config: Config) -> set[str]:
    """Return what routes call the listeners of mode "tcp"."""
    return {one.label for one in config.listener if one.mode == "tcp"}


def tcp_upstreams(config: Config) -> set[str]:
    """Return the names of all upstreams that get connections of listeners of mode "tcp"."""
    names = {one.upstream for one in config.listener if one.mode == "tcp" and one.upstream is not None}
    labels = tcp_labels(config)
    for route in config.route:
        if route.upstream is not None and labels.intersection(route.listeners or ()):
            names.add(route.upstream)
    return names


def _check_upstreams(config: Config) -> Iterator[Finding]:
    passed = tcp_upstreams(config)
    for name, upstream in config.upstream.items():
        location: Location = ("upstream", name)
        kinds = {endpoint.url.partition(":")[0] for endpoint in upstream.endpoints}
        if name in passed:
            yield from _check_endpoints((*location, "endpoints"), upstream)
        if kinds == {"tcp"}:
            yield from _without(location, upstream, _UPSTREAM_KEYS)
    labels = tcp_labels(config)
    for index, route in enumerate(config.route):
        found = config.upstream.get(route.upstream or "")
        if found is None or labels.intersection(route.listeners or ()):
            continue
        if any(endpoint.url.startswith("tcp:") for endpoint in found.endpoints):
            hint = "requests need http:// or https://"
            yield Finding(("route", index, "upstream"), f"{route.upstream} has tcp:// endpoints", hint=hint)


def _check_endpoints(location: Location, upstream: Upstream) -> Iterator[Finding]:
    for place, endpoint in enumerate(upstream.endpoints):
        if not endpoint.url.startswith(("tcp:", "unix:")):
            hint = "write tcp://host:port; its octets are passed on as they are"
            yield Finding((*location, place), f"{endpoint.url} with mode tcp", hint=hint)
