"""Checks that need more than one value: names that point nowhere, two of what may be there once, contradictions.

Each check yields every fault that it sees. The configuration it is handed may have lost what the earlier checks
refused, so whatever could be absent for that reason is looked up in `source`, the tree as the file has it.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from headgate.config.cache_checks import check_cache, check_route_cache, check_slice
from headgate.config.forwarding import check_forward
from headgate.config.kinds import parse_address
from headgate.config.listener import Listener
from headgate.config.listener_tcp import check_tcp, tcp_labels
from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.route import Route
from headgate.config.routing import MATCHERS, check_building, matcher_of
from headgate.config.table import Location
from headgate.config.upstream_checks import (
    check_asgi,
    check_balance,
    check_fast_open,
    check_health,
    check_outliers,
    check_pool,
    check_proxy_header,
    check_retries,
    check_upstream_tls,
)

_ACTIONS: Final = ("upstream", "redirect", "respond")
_PRELOAD_SECONDS: Final = 365 * 86_400  # what hstspreload.org asks for


@dataclass(frozen=True, slots=True)
class Source:
    """The file behind a configuration. `routes[i]` is what the file says about the i-th route, `listeners` the names
    of all listeners in it, valid or not."""

    tree: Mapping[str, object]
    routes: list[Mapping[str, object]]
    listeners: list[str]

    def has(self, key: str) -> bool:
        """Tell whether the file has a top-level `key` that is not empty."""
        return bool(self.tree.get(key))

    def upstreams(self) -> list[str]:
        """Return the names of all upstreams in the file, valid or not."""
        upstreams = self.tree.get("upstream")
        return list(upstreams) if isinstance(upstreams, dict) else []


def check(config: Config, source: Source) -> Iterator[Finding]:
    """Yield every fault of `config` as a whole."""
    yield from _check_listeners(config, source)
    yield from _check_addresses(config)
    yield from _check_listener_names(config, source.listeners)
    yield from _check_certificates(config)
    for index, route in enumerate(config.route):
        yield from _check_route(("route", index), route, source.routes[index], source.upstreams())
        yield from check_slice(("route", index, "cache"), config.cache, route.cache)
    lost = {index for index, route in enumerate(config.route) if _is_lost(route, source.routes[index])}
    same = _same_routes(config, lost)
    yield from same.values()
    yield from check_building(config, lost.union(same))
    yield from _check_upstreams(config)
    yield from _check_prewarm(config)
    yield from check_tcp(config, source.upstreams())
    yield from check_cache(("cache",), config.cache)


def _check_listeners(config: Config, source: Source) -> Iterator[Finding]:
    if not source.has("listener"):
        yield Finding(
            ("listener",), "missing", "at least one [[listener]]", hint="nothing would be served without"
        )
    for index, listener in enumerate(config.listener):
        location: Location = ("listener", index)
        if listener.has_tls and not source.has("certificate"):
            other = 'mode = "http"' if listener.mode == "https" else "tls = false"
            hint = f'add [[certificate]] with files = "…", or {other} here'
            what = "mode https" if listener.mode == "https" else "tls"
            yield Finding(location, f"a listener with {what}, and no [[certificate]] at all", hint=hint)
        if listener.mode != "http" and listener.redirect:
            what = (
                "redirects to itself"
                if listener.mode == "https"
                else f"has no effect with mode {listener.mode}"
            )
            yield Finding((*location, "redirect"), what, hint='it is meant for mode = "http"')
        yield from check_forward(location, listener)
        yield from _check_proxy_protocol(location, listener)
        if listener.mode == "tcp":
            continue  # the rest is in config/listener_tcp
        if not listener.has_tls and "tls" in listener.model_fields_set:
            yield Finding((*location, "tls"), f"has no effect with mode {listener.mode}")
        else:
            yield from _check_client_auth((*location, "tls"), listener)
        yield from _check_protocols(location, listener)


def _check_protocols(location: Location, listener: Listener) -> Iterator[Finding]:
    offered = listener.offered
    for place, protocol in enumerate(offered):
        if protocol in offered[:place]:
            yield Finding((*location, "protocols", place), f"{protocol} stands there twice")
    if "h2" not in offered:
        if "http2" in listener.model_fields_set:
            yield Finding((*location, "http2"), "has no effect without h2 in protocols")
    elif listener.mode == "forward":
        place = offered.index("h2")
        hint = "clients speak HTTP/1.1 to a proxy of their own choice"
        yield Finding((*location, "protocols", place), "h2 with mode forward", hint=hint)
    if "h3" not in offered:
        if "quic" in listener.model_fields_set:
            yield Finding((*location, "quic"), "has no effect without h3 in protocols")
    elif listener.mode != "https":
        place = offered.index("h3")
        what = f"h3 with mode {listener.mode}"
        yield Finding((*location, "protocols", place), what, hint="HTTP/3 is always encrypted")
    elif offered == ("h3",):
        hint = "clients learn of HTTP/3 from an answer over TCP"
        yield Finding((*location, "protocols"), "h3 alone", "h1 or h2 beside it", hint=hint)
    if listener.advertise_port is not None and listener.mode != "https":
        yield Finding((*location, "advertise_port"), f"has no effect with mode {listener.mode}")


def _check_proxy_protocol(location: Location, listener: Listener) -> Iterator[Finding]:
    accepts = listener.proxy_protocol == "accept"
    if accepts and not listener.proxy_protocol_from:
        hint = "anybody could claim any address; name the balancers that send the header"
        yield Finding((*location, "proxy_protocol"), "accept, and no proxy_protocol_from", hint=hint)
    if not accepts and listener.proxy_protocol_from:
        hint = 'set proxy_protocol = "accept"'
        yield Finding((*location, "proxy_protocol_from"), "has no effect with proxy_protocol off", hint=hint)


def _check_client_auth(location: Location, listener: Listener) -> Iterator[Finding]:
    tls = listener.tls
    if tls.client_auth != "off" and tls.client_ca is None:
        hint = "a client certificate must be verified against something"
        yield Finding((*location, "client_auth"), f"{tls.client_auth}, and no client_ca", hint=hint)
    for name in ("client_ca", "client_crl"):
        if tls.client_auth == "off" and getattr(tls, name) is not None:
            hint = 'set client_auth = "optional" or "required"'
            yield Finding((*location, name), "has no effect with client_auth off", hint=hint)


def _check_addresses(config: Config) -> Iterator[Finding]:
    taken: set[str] = set()
    places: list[tuple[Location, str]] = [
        (("listener", index, "addresses", place), address)
        for index, listener in enumerate(config.listener)
        for place, address in enumerate(listener.addresses)
    ]
    if config.metrics is not None:
        places.append((("metrics", "address"), config.metrics.address))
    for location, address in places:
        if address in taken:
            yield Finding(location, f"{address} is taken by a listener above")
        elif parse_address(address)[1] != 0:  # port 0 is a new port every time
            taken.add(address)


def _check_listener_names(config: Config, written: list[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, listener in enumerate(config.listener):
        if listener.name is not None:
            if listener.name in seen:
                yield Finding(("listener", index, "name"), f'"{listener.name}" is a listener above')
            seen.add(listener.name)
    by_label: dict[str, list[Listener]] = {name: [] for name in written}
    for listener in config.listener:
        by_label.setdefault(listener.label, []).append(listener)
    for index, route in enumerate(config.route):
        for place, name in enumerate(route.listeners or ()):
            location: Location = ("route", index, "listeners", place)
            found = by_label.get(name)
            if found is None:
                yield _absent_listener(location, name, list(by_label))
            elif len(found) > 1 and name not in seen:
                yield Finding(location, f"{len(found)} listeners are at {name}", hint="give them a name each")
            elif any(listener.mode == "forward" for listener in found):
                yield Finding(location, f'has no effect: "{name}" is a forward proxy, and has no routes')
            elif any(listener.redirect for listener in found):
                hint = "it redirects to the listener that has this route"
                yield Finding(location, f'has no effect: "{name}" only redirects', hint=hint)


def _absent_listener(location: Location, name: str, names: list[str]) -> Finding:
    near = difflib.get_close_matches(name, names, n=1)
    some = ", ".join(f'"{one}"' for one in names[:8])
    hint = f'did you mean "{near[0]}"?' if near else f"there are {some}" if some else ""
    return Finding(location, f'there is no listener "{name}"', hint=hint)


def _check_certificates(config: Config) -> Iterator[Finding]:
    seen: set[str] = set()
    if config.ocsp.min_interval > config.ocsp.max_interval:
        yield Finding(("ocsp", "min_interval"), "is longer than max_interval")
    for index, certificate in enumerate(config.certificate):
        location: Location = ("certificate", index)
        if certificate.files in seen:
            yield Finding((*location, "files"), "the same files as in a [[certificate]] above")
        seen.add(certificate.files)
        rules = config.ocsp_of(certificate)
        own = certificate.ocsp.min_interval is not None or certificate.ocsp.max_interval is not None
        if own and rules.min_interval > rules.max_interval:
            yield Finding((*location, "ocsp"), "min_interval is longer than max_interval")


def _check_route(
    location: Location, route: Route, source: Mapping[str, object], upstreams: list[str]
) -> Iterator[Finding]:
    matchers = [name for name in source if name in MATCHERS]
    if len(matchers) > 1:
        yield Finding(
            (*location, matchers[1]),
            f"stands beside {matchers[0]}",
            "only one of path, path_exact, path_regex",
        )
    actions = [name for name in source if name in _ACTIONS]
    if not actions:
        yield Finding(location, "a route without an action", "one of upstream, redirect, respond")
    elif len(actions) > 1:
        yield Finding(
            (*location, actions[1]), f"stands beside {actions[0]}", "only one of upstream, redirect, respond"
        )
    if route.upstream is not None and route.upstream not in upstreams:
        yield _absent_upstream((*location, "upstream"), route.upstream, upstreams)
    yield from _check_hsts(location, route)
    if "cache" in source:
        yield from check_route_cache((*location, "cache"), route.cache, has_upstream="upstream" in source)


def _absent_upstream(location: Location, name: str, upstreams: list[str]) -> Finding:
    near = difflib.get_close_matches(name, upstreams, n=1)
    if near:
        hint = f'did you mean "{near[0]}"?'
    elif "://" in name:
        hint = 'an upstream has a name; its URL goes into endpoints = ["…"] under [upstream.NAME]'
    else:
        hint = f"add [upstream.{name}]" + (
            f"; there are {', '.join(sorted(upstreams)[:8])}" if upstreams else ""
        )
    return Finding(location, f'there is no upstream "{name}"', hint=hint)


def _check_hsts(location: Location, route: Route) -> Iterator[Finding]:
    hsts = route.hsts
    if (
        hsts is not None
        and hsts.preload
        and not (hsts.include_subdomains and hsts.max_age >= _PRELOAD_SECONDS)
    ):
        want = 'include_subdomains = true and max_age = "365d" or more beside it'
        yield Finding((*location, "hsts", "preload"), "", want)


def _is_lost(route: Route, source: Mapping[str, object]) -> bool:
    """Tell whether a key was refused that says which requests a route takes."""
    return any(getattr(route, name) is None for name in ("hosts", "listeners", *MATCHERS) if name in source)


def _same_routes(config: Config, lost: Collection[int]) -> dict[int, Finding]:
    """Return a finding for each route that takes what one above takes, by its place."""
    found: dict[int, Finding] = {}
    seen: dict[tuple[str, str, str], list[int]] = {}
    tcp = tcp_labels(config)
    for index, route in enumerate(config.route):
        if index in lost:
            continue
        kind = matcher_of(route)
        path = getattr(route, kind) or "/"
        if kind == "path":
            path = path.rstrip("/")
        for host in route.hosts or ("",):
            above = seen.setdefault((host, kind, path), [])
            if any(_share_listener(config.route[other], route, tcp) for other in above if other != index):
                where = f'{host or "any host"}, {kind} "{path or "/"}"'
                found[index] = Finding(
                    ("route", index), f"takes the same requests as a route above ({where})"
                )
                break
            above.append(index)
    return found


def _share_listener(one: Route, other: Route, tcp: Collection[str]) -> bool:
    if one.listeners is None and other.listeners is None:
        return True
    if one.listeners is None or other.listeners is None:
        # A route for all listeners is for those that speak HTTP.
        return not set(one.listeners or other.listeners or ()).issubset(tcp)
    return not set(one.listeners).isdisjoint(other.listeners)


def _check_upstreams(config: Config) -> Iterator[Finding]:
    for name, upstream in config.upstream.items():
        location: Location = ("upstream", name)
        if not name or not all(c.isascii() and (c.isalnum() or c in "_-.") for c in name) or len(name) > 64:
            yield Finding(location, "", "a name of up to 64 letters, digits, dots, dashes and underscores")
        seen: set[str] = set()
        for place, endpoint in enumerate(upstream.endpoints):
            if endpoint.url in seen:
                yield Finding(
                    (*location, "endpoints", place),
                    f"{endpoint.url} stands there twice",
                    hint="give it a weight",
                )
            seen.add(endpoint.url)
        yield from check_balance(location, upstream)
        yield from _check_upstream_protocols((*location, "protocols"), upstream.protocols, seen)
        yield from check_outliers((*location, "outliers"), upstream.outliers)
        yield from check_retries(location, upstream)
        yield from check_pool(location, upstream)
        yield from check_proxy_header(location, upstream)
        if upstream.health is not None:
            yield from check_health((*location, "health"), upstream.health, seen, upstream.protocols)
        yield from check_asgi(location, name, upstream, config.runtime_dir)
        yield from check_fast_open((*location, "tcp_fast_open"), upstream, seen)
        if "tls" in upstream.model_fields_set:
            yield from check_upstream_tls((*location, "tls"), upstream.tls, seen)


def _check_prewarm(config: Config) -> Iterator[Finding]:
    """What is dialled ahead must find room, or it is closed and dialled again for ever."""
    count = sum(upstream.pool.prewarm * len(upstream.endpoints) for upstream in config.upstream.values())
    if count > config.limits.idle_connections:
        hint = f"the pools of all upstreams want {count} in each worker (prewarm, for each endpoint)"
        found = f"{config.limits.idle_connections} connections"
        yield Finding(("limits", "idle_connections"), found, hint=hint)


def _check_upstream_protocols(
    location: Location, protocols: tuple[str, ...], urls: Collection[str]
) -> Iterator[Finding]:
    for place, protocol in enumerate(protocols):
        if protocol in protocols[:place]:
            yield Finding((*location, place), f"{protocol} stands there twice")
    plain = next((url for url in urls if not url.startswith("https:")), None)
    if "h3" in protocols and plain is not None:
        place = protocols.index("h3")
        yield Finding((*location, place), f"h3 to {plain}", hint="HTTP/3 is always encrypted")
    if "h2" not in protocols:
        return
    place = protocols.index("h2")
    wrong = next((url for url in urls if url.startswith(("asgi:", "tcp:"))), None)
    if wrong is not None:
        yield Finding((*location, place), f"h2 to {wrong}", hint="it is for http, https and unix endpoints")
    elif "h1" in protocols and not any(url.startswith("https:") for url in urls):
        hint = 'without TLS nobody can choose: protocols = ["h2"] speaks it, ["h1"] does not'
        yield Finding((*location, place), "h2 beside h1 has no effect without https endpoints", hint=hint)
