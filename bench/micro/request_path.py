"""What a request costs between its head and its upstream: target, host, route, hop-by-hop, forwarding, edits, Via.

Run `python -m bench.micro.request_path`. The goal is 800 ns compiled for the whole of a common request. This caller
is interpreted: each of its seven calls costs some 50 ns more than the same call between compiled modules.
"""

from collections.abc import Callable

from bench.micro.clock import nanoseconds, show
from headgate.http import target as module
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.hop_by_hop import add_via, strip_request
from headgate.http.networks import Networks
from headgate.http.target import normalise_path, parse_authority, parse_target
from headgate.pipeline.route import Route, Router

GOAL = 800

SHORT = [b"Host: example.com", b"User-Agent: wrk", b"Accept: */*"]
BROWSER = [
    b"Host: example.com",
    b"Connection: keep-alive",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"Accept-Language: en-US,en;q=0.5",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Referer: https://example.com/",
    b"Cookie: session=0123456789abcdef; theme=dark",
    b"Upgrade-Insecure-Requests: 1",
    b"Sec-Fetch-Dest: document",
    b"Sec-Fetch-Mode: navigate",
    b"Sec-Fetch-Site: same-origin",
    b"Sec-Fetch-User: ?1",
    b"If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT",
    b"Priority: u=0, i",
]


def names_of(lines: list[bytes]) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines]


def whole_request(lines: list[bytes]) -> Callable[[], object]:
    """Return a call that does everything for one request; what is measured includes a copy of the lists."""
    peer = Forwarder(Networks(["10.0.0.0/8"])).connection(b"192.0.2.7", b"https", 443)
    router = Router([Route("root", ["example.com"], "/"), Route("api", ["example.com"], "/api/")])
    template = Fields(names_of(lines), lines)
    names, flags = template.names, template.flags

    def call() -> object:
        fields = Fields(names[:], lines[:], flags)
        target = parse_target(b"GET", b"/api/items/42?page=7")
        host, _ = parse_authority(b"example.com")
        route = router.match(host, target.normal)
        strip_request(fields)
        peer.apply(fields, b"example.com")
        if route is not None and not route.request_edits.empty:
            route.request_edits.apply(fields)
        add_via(fields, 11)
        return fields

    return call


def copy_only(lines: list[bytes]) -> Callable[[], object]:
    names = names_of(lines)
    return lambda: Fields(names[:], lines[:], 0)


def forget_then_parse() -> object:
    module._targets[0].clear()
    return parse_target(b"GET", b"/api/items/42?page=7")


def main() -> None:
    compiled = not module.__file__.endswith(".py")
    print(f"{module.__file__}\n")
    show("parse_target, seen before", nanoseconds(lambda: parse_target(b"GET", b"/api/items/42?page=7")))
    show("parse_target, new", nanoseconds(forget_then_parse, 200))
    show("normalise_path, normal", nanoseconds(lambda: normalise_path(b"/api/items/42")))
    show("normalise_path, encoded", nanoseconds(lambda: normalise_path(b"/a/%7ebc/../d/%c3%a4"), 200))
    show("parse_authority, seen before", nanoseconds(lambda: parse_authority(b"example.com:8443")))
    for label, lines in (("3 fields", SHORT), ("15 fields of a browser", BROWSER)):
        cost = nanoseconds(whole_request(lines)) - nanoseconds(copy_only(lines))
        verdict = f"goal {GOAL}: {'met' if cost <= GOAL else 'MISSED'}"
        show(f"whole request, {label}", cost, verdict if lines is SHORT and compiled else "")


if __name__ == "__main__":
    main()
