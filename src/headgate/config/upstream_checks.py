"""Checks of the tables of one upstream; each yields every fault that it sees."""

from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from headgate.config.problems import Finding
from headgate.config.table import Location
from headgate.config.upstream import Endpoint, Upstream
from headgate.config.upstream_asgi import MAX_SOCKET, SCHEME, socket_path
from headgate.config.upstream_health import Health, Outliers
from headgate.config.upstream_tls import UpstreamTls
from headgate.net.addresses import parse_ip


def check_outliers(location: Location, outliers: Outliers) -> Iterator[Finding]:
    """Yield what contradicts itself in `[upstream.NAME.outliers]`."""
    if outliers.ejection > outliers.max_ejection:
        yield Finding((*location, "ejection"), "is longer than max_ejection")


def check_health(
    location: Location, health: Health, urls: Collection[str], protocols: Collection[str]
) -> Iterator[Finding]:
    """Yield what contradicts itself in `[upstream.NAME.health]`, or its endpoints."""
    if health.timeout > health.interval:
        hint = "a probe ends before the next one begins"
        yield Finding((*location, "timeout"), "is longer than interval", hint=hint)
    if health.kind != "http":
        for key in ("path", "host", "method", "status", "body"):
            if key in health.model_fields_set:
                hint = "it is for http"
                yield Finding((*location, key), f"has no effect with kind {health.kind}", hint=hint)
    if health.method == "HEAD" and health.body:
        yield Finding((*location, "body"), "with the method HEAD", hint="its answer has no body")
    if health.kind not in ("off", "tcp") and not {"h1", "h2"} & set(protocols):
        yield Finding(
            (*location, "kind"), f"{health.kind} over TCP, and h1 is not in protocols", hint="add h1 or h2"
        )
    plain = next((url for url in urls if not url.startswith("https:")), None)
    if health.kind == "tls" and plain is not None:
        yield Finding((*location, "kind"), f"tls to {plain}", hint="take http or tcp")
    bare = next((url for url in urls if url.startswith("tcp:")), None)
    if health.kind == "http" and bare is not None:
        yield Finding((*location, "kind"), f"http to {bare}", hint="take tcp")


def check_upstream_tls(location: Location, tls: UpstreamTls, urls: Collection[str]) -> Iterator[Finding]:
    """Yield what contradicts itself in `[upstream.NAME.tls]`, or its endpoints."""
    if not any(url.startswith("https:") for url in urls):
        yield Finding(location, "has no effect: no endpoint begins with https://")
    if not tls.verify:
        for key, is_given in (("ca", tls.ca is not None), ("staple", tls.staple != "ignore")):
            if is_given:
                yield Finding((*location, key), "has no effect with verify = false")
    if tls.key is not None and tls.certificate is None:
        yield Finding((*location, "key"), "a key, and no certificate beside it")


def check_fast_open(location: Location, upstream: Upstream, urls: Collection[str]) -> Iterator[Finding]:
    """Yield why nothing of an upstream would go in a SYN."""
    if upstream.tcp_fast_open and not any(url.startswith(("http:", "https:")) for url in urls):
        yield Finding(location, "has no effect: no endpoint begins with http:// or https://")


def check_balance(location: Location, upstream: Upstream) -> Iterator[Finding]:
    """Yield what contradicts itself in how the requests of one upstream are shared out."""
    if "hash_by" in upstream.model_fields_set and upstream.balance != "ring-hash":
        yield Finding((*location, "hash_by"), 'has no effect without balance = "ring-hash"')
    if all(endpoint.backup for endpoint in upstream.endpoints):
        yield Finding(
            (*location, "endpoints"), "all of them are backups", hint="whose place would they take?"
        )
    limits = [
        upstream.max_requests if endpoint.max_requests is None else endpoint.max_requests
        for endpoint in upstream.endpoints
    ]
    if upstream.balance == "first" and len(limits) > 1 and not any(limits):
        yield Finding(
            (*location, "balance"),
            "first without max_requests",
            hint="the first endpoint would get everything; say how much it takes",
        )
    if any(endpoint.url.startswith("tcp:") for endpoint in upstream.endpoints):
        if upstream.balance == "ring-hash" and upstream.hash_by != "client":
            hint = "a connection of tcp has a client and nothing else"
            yield Finding((*location, "hash_by"), f"{upstream.hash_by} with tcp:// endpoints", hint=hint)
        if upstream.sticky_cookie is not None:
            yield Finding((*location, "sticky_cookie"), "has no effect with tcp:// endpoints")
    named = [endpoint.resolve != "off" for endpoint in upstream.endpoints]
    if "queue" in upstream.model_fields_set and not any(limits) and not any(named):
        yield Finding((*location, "queue"), "has no effect without max_requests")
    for place, endpoint in enumerate(upstream.endpoints):
        if endpoint.resolve != "off":
            yield from _check_name((*location, "endpoints", place), upstream, endpoint)


def check_retries(location: Location, upstream: Upstream) -> Iterator[Finding]:
    """Yield what contradicts itself in the tries of one upstream and their time."""
    retries, total = upstream.retries, upstream.total_timeout
    if upstream.try_timeout is not None and total is not None and upstream.try_timeout > total:
        yield Finding((*location, "try_timeout"), "is longer than total_timeout")
    for place, word in enumerate(retries.on):
        if word in retries.on[:place]:
            yield Finding((*location, "retries", "on", place), f"{word} stands there twice")
    if retries.attempts == 1:
        for key in ("on", "budget", "budget_floor"):
            if key in retries.model_fields_set:
                yield Finding((*location, "retries", key), "has no effect with attempts = 1")


def check_pool(location: Location, upstream: Upstream) -> Iterator[Finding]:
    """Yield what contradicts itself in `[upstream.NAME.pool]`."""
    pool = upstream.pool
    if pool.prewarm > pool.max_idle:
        hint = f"it would be closed at once: max_idle is {pool.max_idle}"
        yield Finding((*location, "pool", "prewarm"), f"{pool.prewarm} connections", hint=hint)
    if pool.prewarm and any(endpoint.url.startswith("tcp:") for endpoint in upstream.endpoints):
        yield Finding((*location, "pool", "prewarm"), "has no effect with tcp:// endpoints")
    if pool.prewarm and "h1" not in upstream.protocols:
        yield Finding((*location, "pool", "prewarm"), "has no effect without h1 in protocols")


def check_proxy_header(location: Location, upstream: Upstream) -> Iterator[Finding]:
    """Yield what the PROXY protocol towards origins does not go with."""
    if upstream.proxy_protocol == "off":
        return
    if "h3" in upstream.protocols:
        yield Finding((*location, "proxy_protocol"), "beside h3 in protocols", hint="QUIC has no such header")
    if "h2" in upstream.protocols:
        hint = "a connection of HTTP/2 carries requests of many clients"
        yield Finding((*location, "proxy_protocol"), "beside h2 in protocols", hint=hint)
    if any(endpoint.url.startswith(SCHEME) for endpoint in upstream.endpoints):
        hint = "an application sees its client anyway"
        yield Finding((*location, "proxy_protocol"), "beside an asgi endpoint", hint=hint)
    if upstream.pool.prewarm:
        hint = "a connection is opened for its client"
        yield Finding((*location, "pool", "prewarm"), "beside proxy_protocol", hint=hint)
    if upstream.tcp_fast_open:
        yield Finding((*location, "tcp_fast_open"), "beside proxy_protocol")


def check_asgi(location: Location, name: str, upstream: Upstream, runtime_dir: Path) -> Iterator[Finding]:
    """Yield what is wrong between an upstream's applications and their table."""
    table, own = upstream.asgi, (*location, "asgi")
    urls = [endpoint.url for endpoint in upstream.endpoints]
    hosted = [url for url in urls if url.startswith(SCHEME)]
    if not hosted:
        if "asgi" in upstream.model_fields_set:
            hint = 'an application is an endpoint "asgi:module:app"'
            yield Finding(own, "has no effect without an application", hint=hint)
        return
    if table.in_worker:
        yield from _check_in_worker(location, upstream)
        return
    path = socket_path(runtime_dir, name, len(hosted) * table.processes - 1)
    if len(str(path).encode()) > MAX_SOCKET:
        hint = "shorten runtime_dir or the upstream's name"
        yield Finding(own, f"{path} is longer than the {MAX_SOCKET} octets of a socket's name", hint=hint)


def _check_in_worker(location: Location, upstream: Upstream) -> Iterator[Finding]:
    count = len(upstream.endpoints)
    if count > 1:
        hint = "a worker does not balance between itself and others"
        where = (*location, "asgi", "in_worker")
        yield Finding(where, f"true, and {count} endpoints", "one endpoint", hint=hint)
    if "processes" in upstream.asgi.model_fields_set:
        yield Finding((*location, "asgi", "processes"), "has no effect with in_worker")
    if upstream.health is not None:
        yield Finding((*location, "health"), "has no effect with asgi.in_worker")


def _check_name(location: Location, upstream: Upstream, endpoint: Endpoint) -> Iterator[Finding]:
    """Yield what keeps the endpoints of a name from being used as the file says."""
    host = urlsplit(endpoint.url).hostname or ""
    if not host or parse_ip(host) is not None:
        yield Finding((*location, "resolve"), f"{endpoint.url} has no name to resolve")
    elif (endpoint.resolve == "srv") != host.startswith("_"):
        hint = 'such as "http://_http._tcp.api.internal"' if endpoint.resolve == "srv" else 'for "srv"'
        yield Finding((*location, "resolve"), f"{endpoint.resolve} of {host}", hint=hint)
    if "h3" in upstream.protocols:
        yield Finding((*location, "resolve"), "not built yet: HTTP/3 to endpoints from DNS")
