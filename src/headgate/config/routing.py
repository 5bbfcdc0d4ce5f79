"""From the tables of routes to the routes of the pipeline; and what only shows when they are built.

A worker builds its routes from here, and the loader tries the same beforehand: what a worker would refuse must end
the start, with file, line and key, and not the restarts of workers.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.route import Route as RouteTable
from headgate.config.table import Location
from headgate.pipeline.matchers import EXACT, PREFIX, REGEX
from headgate.pipeline.middleware.headers import FieldEdits, format_hsts
from headgate.pipeline.middleware.redirect import Redirect
from headgate.pipeline.middleware.respond import Respond
from headgate.pipeline.route import HOSTS, PATH, Route, RouteFault, RouteFaults, Router

MATCHERS: Final = ("path_exact", "path", "path_regex")
_KINDS: Final = {"path_exact": EXACT, "path": PREFIX, "path_regex": REGEX}

# A part of a route, and what builds it alone.
Trial = tuple[Location, Callable[[], object]]


def matcher_of(table: RouteTable) -> str:
    """Return which key says what path the route takes; `path` when none does."""
    return next((name for name in MATCHERS if getattr(table, name) is not None), "path")


def build_route(table: RouteTable) -> Route:
    """Return the route, without its handler. Raises `ValueError` for what only shows when it is built."""
    route = _bare_route(table)
    route.upstream = table.upstream or ""
    route.redirect = _redirect(table)
    route.respond = _respond(table)
    route.request_edits = FieldEdits(table.set_request_headers, table.remove_request_headers, request=True)
    route.response_edits = FieldEdits(table.set_response_headers, table.remove_response_headers, _hsts(table))
    return route


class Routers:
    """The routers of all listeners: those with the same routes share one, and what it remembers. `routes` are those
    of the file, in its order."""

    def __init__(self, config: Config, routes: Sequence[Route]) -> None:
        self._config = config
        self._routes = routes
        self._routers: dict[tuple[int, ...], Router] = {}

    def of(self, index: int) -> Router:
        """Return the router of the listener at this place."""
        served = self._config.routes_of(index)
        router = self._routers.get(served)
        if router is None:
            own = [self._routes[place] for place in served]
            others = set(range(len(self._routes))).difference(served)
            router = self._routers[served] = Router(own, [self._routes[place] for place in sorted(others)])
        return router

    def table_of(self, route: Route) -> RouteTable:
        """Return the table that a route was built from."""
        place = next(place for place, one in enumerate(self._routes) if one is route)
        return self._config.route[place]


def _bare_route(table: RouteTable) -> Route:
    """Return a route that only says which requests it takes."""
    matcher = matcher_of(table)
    path = getattr(table, matcher) or "/"
    return Route(f"{','.join(table.hosts or ()) or '*'}{path}", table.hosts or (), path, _KINDS[matcher])


def _redirect(table: RouteTable) -> Redirect | None:
    return Redirect(table.redirect.to, table.redirect.status) if table.redirect is not None else None


def _respond(table: RouteTable) -> Respond | None:
    respond = table.respond
    if respond is None:
        return None
    return Respond(respond.status, respond.body.encode(), respond.content_type, respond.headers)


def _hsts(table: RouteTable) -> str:
    hsts = table.hsts
    return format_hsts(int(hsts.max_age), hsts.include_subdomains, hsts.preload) if hsts is not None else ""


def check_building(config: Config, leave_out: Collection[int]) -> Iterator[Finding]:
    """Build all routes and routers and forget them; yield what was refused. `leave_out` are the places of routes
    that were refused already, or have lost what says which requests they take."""
    built: dict[int, Route] = {}
    for place, table in enumerate(config.route):
        try:
            built[place] = build_route(table)
        except ValueError as error:
            yield from _refusals(("route", place), table, str(error))
            built[place] = _bare_route(table)  # its hosts and its path can be judged all the same
    groups = {config.routes_of(index) for index in range(len(config.listener))}
    served = {place for group in groups for place in group}
    groups |= {(place,) for place in built if place not in served}  # of listeners that do not exist
    told: set[Finding] = set()
    for group in sorted(groups):
        places = [place for place in group if place not in leave_out]
        try:
            Router([built[place] for place in places])
        except RouteFaults as refused:
            found = [_finding(config, places[fault.entry], fault) for fault in refused.faults]
            yield from (finding for finding in found if finding not in told)
            told.update(found)


def _finding(config: Config, place: int, fault: RouteFault) -> Finding:
    location: Location = ("route", place)
    if fault.part == HOSTS:
        location = (*location, "hosts", fault.host)
    elif fault.part == PATH:
        location = (*location, matcher_of(config.route[place]))
    return Finding(location, fault.what)


def _refusals(location: Location, table: RouteTable, reason: str) -> Iterator[Finding]:
    """Yield which keys of a route are to blame; the route as a whole when no part alone is."""
    blamed: list[Location] = []
    for key, build in _trials(table):
        if any(one[: len(key)] == key for one in blamed):
            continue  # for what stands in it
        try:
            build()
        except ValueError as error:
            blamed.append(key)
            yield Finding((*location, *key), str(error))
    if not blamed:
        yield Finding(location, reason)


def _trials(table: RouteTable) -> Iterator[Trial]:
    yield ("redirect", "to"), partial(_redirect, table)
    if table.respond is not None:
        yield from _edit_trials(("respond", "headers"), table.respond.headers, False)
        yield ("respond", "body"), partial(Respond, table.respond.status, table.respond.body.encode())
        yield ("respond",), partial(_respond, table)
    for direction, request in (("request", True), ("response", False)):
        yield from _edit_trials(
            (f"set_{direction}_headers",), getattr(table, f"set_{direction}_headers"), request
        )
        for index, name in enumerate(getattr(table, f"remove_{direction}_headers")):
            build = partial(FieldEdits, None, (name,), request=request)
            yield (f"remove_{direction}_headers", index), build


def _edit_trials(key: Location, fields: Mapping[str, str], request: bool) -> Iterator[Trial]:
    for name, value in fields.items():
        yield (*key, name), partial(FieldEdits, {name: value}, request=request)
    yield key, partial(FieldEdits, fields, request=request)
