"""Routes, and the router that finds the one for a request.

The most specific route wins. Of all routes whose hosts and path both fit, first the host decides (exact, then the
longest wildcard, then any host), then the path (exact, then the longest prefix, then regular expressions in the order
of the file). A host whose own paths do not fit does not hide the others: with `example.com` routing /api/ alone,
`example.com/healthz` goes on to `*.com` and to any host, and is 404 only when none of them takes it. A route for any
host, such as one for /.well-known/, would otherwise vanish from exactly the hosts that have routes.

A listener has a router of its own routes. A host that is named by routes of other listeners alone is not this
listener's to answer for: the router says MISDIRECTED (421, RFC 9110 section 15.5.20), so that a host that stands
behind client certificates on one listener does not fall to the routes for any host of another.

Answers are remembered by host and path in one dictionary, so that a thousand routes cost what one does. When it is
full it is left alone for a while, then emptied: clients that ask for very many paths would have each of them put in
and thrown away, which costs more than to look. Two routes with the same host and the same path are an error: one of
them could never be reached.
"""

from collections.abc import Sequence
from typing import Final, final

from headgate.errors import ConfigError
from headgate.pipeline.matchers import KINDS, NOTHING, PREFIX, BadPattern, HostTable
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.redirect import Redirect
from headgate.pipeline.middleware.respond import Respond

# At most some 500 bytes an entry: 2 MiB for each router. Long keys are rare and are looked up each time.
MAX_REMEMBERED: Final = 4096
MAX_REMEMBERED_LENGTH: Final = 320
# As many times as what is asked for is none of those, others get their chance.
PATIENCE: Final = 8 * MAX_REMEMBERED

_NO_EDITS: Final = FieldEdits()


@final
class Route:
    """Which requests, and what is done with them: exactly one of `upstream`, `redirect` and `respond`.

    `hosts` are names or "*.example.com", none for any host. `path` is of the kind PREFIX, EXACT or REGEX.
    `handler` belongs to the composition root, which puts there whatever answers the requests of this route.
    """

    __slots__ = (
        "handler",
        "hosts",
        "kind",
        "name",
        "path",
        "redirect",
        "request_edits",
        "respond",
        "response_edits",
        "upstream",
    )

    def __init__(
        self,
        name: str,
        hosts: Sequence[str] = (),
        path: str = "/",
        kind: int = PREFIX,
        upstream: str = "",
        redirect: Redirect | None = None,
        respond: Respond | None = None,
        request_edits: FieldEdits = _NO_EDITS,
        response_edits: FieldEdits = _NO_EDITS,
    ) -> None:
        self.name = name
        self.hosts: tuple[str, ...] = tuple(hosts)
        self.path = path
        self.kind = kind
        self.upstream = upstream
        self.redirect = redirect
        self.respond = respond
        self.request_edits = request_edits
        self.response_edits = response_edits
        self.handler: object = None

    def __repr__(self) -> str:
        hosts = ", ".join(self.hosts) or "any host"
        target = repr(self.redirect or self.respond) if not self.upstream else self.upstream
        return f"<Route {self.name}: {hosts} {KINDS[self.kind]} {self.path} -> {target}>"


# What a fault is in.
WHOLE: Final = 0
HOSTS: Final = 1
PATH: Final = 2


@final
class RouteFault:
    """What is wrong with one of a router's routes: `entry` is its place, `part` WHOLE, HOSTS (`host` is the place of
    the pattern) or PATH."""

    __slots__ = ("entry", "host", "part", "what")

    def __init__(self, entry: int, part: int, what: str, host: int = -1) -> None:
        self.entry = entry
        self.part = part
        self.what = what
        self.host = host

    def __repr__(self) -> str:
        return f"<RouteFault {self.entry}: {self.what}>"


class RouteFaults(ConfigError):
    """A router's routes cannot be used; `faults` holds everything that was found."""

    def __init__(self, routes: Sequence[Route], faults: Sequence[RouteFault]) -> None:
        super().__init__("\n".join([f"route {routes[fault.entry].name}: {fault.what}" for fault in faults]))
        self.faults = list(faults)


_MISS: Final = Route("")
# What `match` returns for a host that other listeners own: it is remembered like any route, and costs no more.
MISDIRECTED: Final = Route("misdirected")


@final
class Router:
    """The routes of one listener; `elsewhere` are those that it does not have and other listeners do.

    Raises `RouteFaults` with everything that is wrong with its routes.
    """

    __slots__ = ("_elsewhere", "_hosts", "_known", "_unknown", "routes")

    def __init__(self, routes: Sequence[Route], elsewhere: Sequence[Route] = ()) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self._hosts = HostTable()
        self._elsewhere = _names_of(elsewhere)
        self._known: dict[bytes, Route] = {}
        self._unknown = 0  # that were asked for since it is full
        faults: list[RouteFault] = []
        for entry in range(len(self.routes)):
            faults.extend(self._add(entry))
        for last, what in self._hosts.compile():
            faults.append(RouteFault(last, PATH, what))
        if faults:
            raise RouteFaults(self.routes, faults)

    def __repr__(self) -> str:
        return f"<Router {len(self.routes)} routes>"

    def _add(self, entry: int) -> list[RouteFault]:
        """Add a route under each of its hosts; return what is wrong with it."""
        route = self.routes[entry]
        faults: list[RouteFault] = []
        hosts = route.hosts or ("",)
        for place in range(len(hosts)):
            host = hosts[place]
            try:
                paths = self._hosts.paths(host)
            except BadPattern as bad_host:
                faults.append(RouteFault(entry, HOSTS, str(bad_host), place))
                continue
            try:
                taken = paths.add(route.kind, route.path, entry)
            except BadPattern as bad_path:
                faults.append(RouteFault(entry, PATH, str(bad_path)))
                break  # it is no better for the other hosts
            if taken >= 0 and taken != entry:
                what = f"{host or 'any host'} {route.path} goes to route {self.routes[taken].name} already"
                faults.append(RouteFault(entry, WHOLE, what))
        return faults

    def match(self, host: bytes, path: bytes) -> Route | None:
        """Return the route for a host (lower case, without port, b"" when unknown) and a normal path; None: 404,
        MISDIRECTED: 421.

        The "*" of `OPTIONS *` asks about the server as a whole and goes where "/" goes.
        """
        key = host + path
        route = self._known.get(key)
        if route is None:
            route = self._find(host, path)
            if len(self._known) >= MAX_REMEMBERED:
                self._unknown += 1
                if self._unknown >= PATIENCE:
                    self._unknown = 0
                    self._known.clear()
            elif len(key) <= MAX_REMEMBERED_LENGTH:
                self._known[key] = route
        return None if route is _MISS else route

    def _find(self, host: bytes, path: bytes) -> Route:
        if self.misdirects(host):
            return MISDIRECTED
        entry = self._hosts.find(host, b"/" if path == b"*" else path)
        return _MISS if entry == NOTHING else self.routes[entry]

    def knows(self, host: bytes) -> bool:
        """Whether any route takes this host, whatever the path."""
        return self._hosts.knows(host)

    def names(self, host: bytes) -> bool:
        """Whether any route names this host, exactly or as a wildcard."""
        return self._hosts.names(host)

    def misdirects(self, host: bytes) -> bool:
        """Whether this host is named by routes of other listeners and by none of this one."""
        return self._elsewhere.names(host) and not self._hosts.names(host)


def _names_of(routes: Sequence[Route]) -> HostTable:
    """Return a table of the hosts that routes name. What is wrong with them is told where they are served."""
    hosts = HostTable()
    for route in routes:
        for host in route.hosts:
            try:
                hosts.paths(host)
            except BadPattern:
                continue
    return hosts
