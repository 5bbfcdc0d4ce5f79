"""The router: the most specific route wins, as a slow and obvious reading of the rule says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import ConfigError
from headgate.pipeline.matchers import EXACT, PREFIX, REGEX
from headgate.pipeline.middleware.redirect import Redirect
from headgate.pipeline.middleware.respond import Respond
from headgate.pipeline.route import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_LENGTH,
    MISDIRECTED,
    PATIENCE,
    Route,
    Router,
)


def name_of(route):
    return route.name if route is not None else None


ROUTES = [
    Route("exact-host-api", ["example.com"], "/api/"),
    Route("wild-api", ["*.example.com"], "/api/v1"),
    Route("deep-wild", ["*.b.example.com"], "/"),
    Route("wild-root", ["*.example.com"], "/"),
    Route("any-health", [], "/healthz", EXACT),
    Route("any-known", [], "/.well-known/"),
    Route("two", ["one.test", "two.test"], "/"),
    Route("address", ["[::1]", "192.0.2.1"], "/"),
]


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        (b"example.com", b"/api/x", "exact-host-api"),
        (b"example.com", b"/api", None),
        (b"example.com", b"/healthz", "any-health"),
        (b"example.com", b"/.well-known/acme-challenge/x", "any-known"),
        (b"example.com", b"/", None),
        (b"a.example.com", b"/api/v1/x", "wild-api"),
        (b"a.example.com", b"/api/v2", "wild-root"),
        (b"a.b.example.com", b"/api/v1/x", "deep-wild"),
        (b"one.test", b"/x", "two"),
        (b"two.test", b"/x", "two"),
        (b"[::1]", b"/x", "address"),
        (b"192.0.2.1", b"/x", "address"),
        (b"", b"/healthz", "any-health"),
        (b"", b"/", None),
        (b"one.test", b"*", "two"),
        (b"example.com", b"*", None),
    ],
)
def test_the_most_specific_route_wins(host, path, name):
    router = Router(ROUTES)
    assert name_of(router.match(host, path)) == name
    assert name_of(router.match(host, path)) == name  # remembered


def test_known_hosts():
    router = Router(ROUTES[:4])
    assert router.knows(b"example.com")
    assert router.knows(b"x.example.com")
    assert not router.knows(b"example.org")
    assert Router(ROUTES).knows(b"example.org")
    assert not Router([]).knows(b"example.org")


ELSEWHERE = [
    Route("inside", ["inside.test", "*.deep.test", "a.wild.test"], "/x"),
    Route("shared", ["shared.test"], "/admin/"),
    Route("any-elsewhere", [], "/elsewhere/"),
]


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        (b"inside.test", b"/x", "misdirected"),
        (b"inside.test", b"/", "misdirected"),  # whatever the path: the host is not ours
        (b"inside.test", b"*", "misdirected"),
        (b"a.b.deep.test", b"/", "misdirected"),
        (b"deep.test", b"/", "any"),
        (b"shared.test", b"/", "shared-here"),
        (b"shared.test", b"/admin/", "shared-here"),  # named by both: each answers with its own routes
        (b"a.wild.test", b"/", "wild-here"),  # a wildcard of ours names it as well
        (b"other.test", b"/elsewhere/x", "any"),  # nobody names it
        (b"", b"/", "any"),
    ],
)
def test_a_host_of_other_listeners_alone_is_misdirected(host, path, name):
    here = [Route("any"), Route("shared-here", ["shared.test"]), Route("wild-here", ["*.wild.test"])]
    router = Router(here, ELSEWHERE)
    assert name_of(router.match(host, path)) == name
    assert name_of(router.match(host, path)) == name  # remembered
    assert (router.match(host, path) is MISDIRECTED) is (name == "misdirected") is router.misdirects(host)


def test_what_is_named_here_and_elsewhere():
    router = Router([Route("any"), Route("here", ["here.test"])], ELSEWHERE)
    assert [router.names(host) for host in (b"here.test", b"inside.test", b"other.test")] == [
        True,
        False,
        False,
    ]
    assert not Router([Route("any")]).misdirects(b"inside.test")


def test_misdirected_is_remembered_like_any_route():
    router = Router([Route("any")], ELSEWHERE)
    assert router.match(b"inside.test", b"/y") is MISDIRECTED
    assert router._known == {b"inside.test/y": MISDIRECTED}


def test_no_routes():
    assert Router([]).match(b"a", b"/") is None


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as problems:
        Router(
            [
                Route("a", ["x.test"], "/p"),
                Route("b", ["x.test", "b:80"], "/p"),
                Route("c", [], "p"),
                Route("d", [], "(", REGEX),
                Route("e", ["x.test", "X.test"], "/q"),
            ]
        )
    lines = str(problems.value).split("\n")
    assert len(lines) == 4
    assert lines[0] == "route b: x.test /p goes to route a already"
    assert "on every port" in lines[1]
    assert lines[2].startswith("route c: 'p' is no path")
    assert lines[3].startswith("route d: '(' is no regular expression")


def test_memory_is_bounded():
    router = Router(ROUTES)
    for i in range(MAX_REMEMBERED + 1):
        router.match(b"one.test", b"/%d" % i)
    assert len(router._known) == MAX_REMEMBERED
    for i in range(PATIENCE + 1):  # what is in there makes room for others in the end
        router.match(b"two.test", b"/%d" % i)
    assert 1 <= len(router._known) <= MAX_REMEMBERED
    assert b"two.test/%d" % PATIENCE in router._known
    longest = b"/".ljust(MAX_REMEMBERED_LENGTH, b"a")
    assert name_of(router.match(b"one.test", longest)) == "two"
    assert b"one.test" + longest not in router._known
    router.match(b"", longest)
    assert longest in router._known


def test_the_memory_does_not_mix_up_hosts_and_paths():
    router = Router([Route("a", ["a.test"], "/"), Route("b", ["b.test"], "/x", EXACT)])
    assert name_of(router.match(b"a.test", b"/x")) == "a"
    assert name_of(router.match(b"b.test", b"/x")) == "b"
    assert router.match(b"", b"/x") is None
    assert router.match(b"c.test", b"/x") is None


# -- the same rule, written slowly


def rank(route, host, path):
    """Return a sort key, smaller is more specific, or None when the route does not fit."""
    hosts = []
    for pattern in route.hosts or [None]:
        if pattern is None:
            hosts.append((2, 0))
        elif pattern.startswith("*."):
            if host.endswith(pattern[1:]) and len(host) > len(pattern[1:]):
                hosts.append((1, -len(pattern)))
        elif host == pattern:
            hosts.append((0, 0))
    if not hosts:
        return None
    if route.kind == EXACT:
        fit = (0, 0) if path == route.path else None
    elif route.kind == REGEX:
        fit = (2, ROUTE_ORDER[route.name]) if re.fullmatch(route.path, path) else None
    else:
        below = route.path if route.path.endswith("/") else route.path + "/"
        fit = (1, -len(route.path)) if path == route.path or path.startswith(below) else None
    return None if fit is None else (min(hosts), fit)


ROUTE_ORDER = {f"r{i}": i for i in range(20)}
HOSTS = ["a.test", "b.a.test", "c.b.a.test", "test", "other"]
PATTERNS = [*HOSTS, "*.test", "*.a.test", "*.b.a.test"]
SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
REGEXES = st.sampled_from(["/a.*", "/.*b", "/[ab]+", "/", "/.*/.*", ".*"])


@st.composite
def route_sets(draw):
    routes, seen = [], set()
    for i in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from([PREFIX, PREFIX, EXACT, REGEX]))
        path = draw(REGEXES if kind == REGEX else PATHS)
        hosts = draw(st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True))
        keys = {(host, kind, path) for host in hosts or [""]}
        if kind == REGEX or not keys & seen:
            seen |= keys
            routes.append(Route(f"r{i}", hosts, path, kind))
    return routes


@given(
    route_sets(),
    route_sets(),
    st.lists(st.tuples(st.sampled_from([*HOSTS, ""]), PATHS), min_size=1, max_size=8),
)
def test_what_is_misdirected_agrees_with_the_slow_reading(here, elsewhere, questions):
    def named(routes, host):
        return any(
            host == pattern
            or (pattern[0] == "*" and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1)
            for route in routes
            for pattern in route.hosts
        )

    router = Router(here, elsewhere)
    alone = Router(here)
    for host, path in questions:
        found = router.match(host.encode(), path.encode())
        if named(elsewhere, host) and not named(here, host):
            assert found is MISDIRECTED
        else:
            assert found is alone.match(host.encode(), path.encode())


@given(route_sets(), st.lists(st.tuples(st.sampled_from([*HOSTS, ""]), PATHS), min_size=1, max_size=8))
def test_the_router_agrees_with_the_slow_reading(routes, questions):
    router = Router(routes)
    for host, path in questions:
        fits = [(key, route.name) for route in routes if (key := rank(route, host, path)) is not None]
        expected = min(fits)[1] if fits else None
        assert name_of(router.match(host.encode(), path.encode())) == expected


def test_repr():
    assert repr(Route("a", ["x", "*.y"], "/p", upstream="api")) == "<Route a: x, *.y prefix /p -> api>"
    assert repr(Route("b", redirect=Redirect("/x"))) == "<Route b: any host prefix / -> <Redirect 308 /x>>"
    assert repr(Route("c", respond=Respond(204))) == "<Route c: any host prefix / -> <Respond 204 0 octets>>"
    assert repr(Router(ROUTES)) == "<Router 8 routes>"
