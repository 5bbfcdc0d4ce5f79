"""What a configuration says of a request, with a gate or without: its listener, its route, its key, the policy there.

For `headgate explain`: a worker adds what its cache holds (`explain_view`), the command line asks here itself when no
gate runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.admin.api import wrong_part
from headgate.cache.key import primary_key
from headgate.cache.narrowing import narrow
from headgate.cache.outcome import BYPASS, CLIENT_NO_STORE, OUTCOMES, REASONS
from headgate.cache.reuse import ACTIONS, decide
from headgate.config.kinds import parse_address
from headgate.config.listener import Listener
from headgate.config.model import Config
from headgate.config.routing import Routers, build_route
from headgate.engine.events import Request
from headgate.errors import HeadgateError
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo
from headgate.http.target import parse_authority, parse_target
from headgate.pipeline.route import MISDIRECTED, Route
from headgate.process.cache_plane import is_cached, policy_shown, route_policy
from headgate.process.cache_view import pattern_of


class ExplainError(HeadgateError):
    """What is asked about is no request."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it might come. `path` is what routes look at, `port` the one that the URL means."""

    request: Request
    secure: bool
    host: bytes
    port: int
    path: bytes


def question_of(url: str, method: str, lines: list[str]) -> Question:
    """Return the request to a URL that `pattern_of` has made normal, with fields of the form `Name: value`. Raises
    `HeadgateError` for a URL that no request can have."""
    target = parse_target(b"GET", url.encode())
    secure = target.scheme == b"https"
    host, port = parse_authority(target.authority)
    fields = Fields([], [])
    fields.add(b"host", target.authority, b"Host")
    for line in lines:
        name, _, value = line.partition(":")
        wire = name.strip().encode("latin-1")
        fields.add(wire.lower(), value.strip().encode("latin-1"), wire)
    request = Request(method.encode(), target.origin, 11, fields)
    request.host = target.authority
    request.upgrade = fields.get(b"upgrade") or b""
    usual = 443 if secure else 80
    return Question(request, secure, host, port if port > 0 else usual, target.normal)


def find_route(
    config: Config, routers: Routers, asked: Question
) -> tuple[dict[str, object], Route | None, ForwardedInfo | None]:
    """Return what is known of the way to a route, the route, whose edits the request has undergone, and what its
    origin would be told of how it was asked.

    A listener with the port of the URL goes first; ports may be mapped, so the others come after it.
    """
    mode = "https" if asked.secure else "http"
    tables = [(index, table) for index, table in enumerate(config.listener) if table.mode == mode]
    tables.sort(key=lambda pair: asked.port not in _ports(pair[1]))
    for index, table in tables:
        if table.redirect:
            return {"listener": table.label, "route": None, "cached": False, "redirects": True}, None, None
        route = routers.of(index).match(asked.host, asked.path)
        if route is None or route is MISDIRECTED:
            continue
        route.request_edits.apply(asked.request.fields)
        source = routers.table_of(route)
        found: dict[str, object] = {"listener": table.label, "route": route.name, "cached": False}
        if is_cached(config, source):
            found |= {"cached": True, "policy": policy_shown(config, source)}
        return found, route, _told(table, asked)
    return {"listener": None, "route": None, "cached": False}, None, None


def explain_configuration(
    config: Config, url: str, method: str, lines: list[str], now: float
) -> dict[str, object]:
    """Return what a configuration alone tells of a request; `now` is wall seconds. Raises `HeadgateError`."""
    wrong = wrong_part(method, lines)
    if wrong:
        raise ExplainError(wrong)
    asked = question_of(pattern_of("url", url)[1], method, lines)
    routers = Routers(config, [build_route(table) for table in config.route])
    found, route, told = find_route(config, routers, asked)
    if route is None or not found["cached"]:
        return found
    table = routers.table_of(route)
    policy = route_policy(config, table, route.name)
    request = asked.request
    narrow(request.fields, policy)
    key = primary_key(policy, asked.secure, request.host, request.target, request.fields, told)
    found["key"] = key.decode("latin-1")
    if not key:
        return found | {"action": "PASS", "outcome": "BYPASS", "reason": "bypassed"}
    decision = decide(request, None, policy, now)
    if decision.outcome == BYPASS and decision.reason != CLIENT_NO_STORE:  # whatever is stored
        reason = REASONS[decision.reason]
        return found | {"action": ACTIONS[decision.action], "outcome": OUTCOMES[BYPASS], "reason": reason}
    return found


def _told(table: Listener, asked: Question) -> ForwardedInfo:
    """Return what an origin is told of a request that comes in here from a client itself."""
    ports = [parse_address(address)[1] for address in table.addresses]
    port = asked.port if asked.port in ports else ports[0]
    return ForwardedInfo(b"", b"https" if asked.secure else b"http", asked.request.host, port)


def _ports(table: Listener) -> set[int]:
    return {table.public_port, *(parse_address(address)[1] for address in table.addresses)}
