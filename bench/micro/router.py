"""Whether a thousand routes cost what one does: `python -m bench.micro.router`. The goal is 10 % at most."""

from collections.abc import Callable

from bench.micro.clock import nanoseconds, show
from headgate.pipeline import route as module
from headgate.pipeline.matchers import EXACT, REGEX
from headgate.pipeline.route import Route, Router

GOAL = 1.10


def many(count: int) -> Router:
    """Return a router with `count` routes on a hundred hosts, among them the one that is asked for."""
    routes = [Route("asked", ["example.com"], "/api/")]
    for i in range(1, count):
        host = ["example.com"] if i % 2 else [f"h{i % 100}.example.org"]
        kind = (0, 0, EXACT, REGEX)[i % 4]
        routes.append(Route(f"r{i}", host, f"/r{i}/x" if kind != REGEX else f"/r{i}/[0-9]+", kind))
    return Router(routes)


def seen(router: Router) -> Callable[[], object]:
    return lambda: router.match(b"example.com", b"/api/items/42")


def new(router: Router, path: bytes) -> Callable[[], object]:
    return lambda: router._find(b"example.com", path)


def main() -> None:
    print(f"{module.__file__}\n")
    costs = []
    for label, router in (("1 route", many(1)), ("1,000 routes", many(1000))):
        known = nanoseconds(seen(router))
        unknown = nanoseconds(new(router, b"/api/items/42"))
        show(f"{label}, path seen before", known)
        show(f"{label}, new path", unknown)
        show(f"{label}, new path, no route", nanoseconds(new(router, b"/nowhere/at/all")))
        costs.append((known, unknown))
    # A request costs some 15 µs in all; the difference is set against the lookup alone, which is far stricter.
    ratio = costs[1][0] / costs[0][0]
    print(
        f"\nseen before, 1,000 against 1: {ratio:.2f} (goal {GOAL}: {'met' if ratio <= GOAL else 'MISSED'})"
    )
    print(f"new path,    1,000 against 1: {costs[1][1] / costs[0][1]:.2f}")


if __name__ == "__main__":
    main()
