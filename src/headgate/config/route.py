"""Routes: which requests go where, and what is changed on the way."""

import re
from typing import Annotated, Final, Literal

import re2
from pydantic import AfterValidator, Field

from headgate.config.cache import RouteCache
from headgate.config.kinds import FieldName, FieldValue, HostPattern
from headgate.config.table import Count, Flag, Table
from headgate.config.units import DurationOrZero, fault
from headgate.http.target import ALLOW_BACKSLASH, ALLOW_ENCODED_SLASH, BadTarget, normalise_path

_PATH: Final = re.compile(r"/[!-\[\]-~]*")  # visible ASCII without the backslash
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS: Final = frozenset({"scheme", "host", "path"})


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise fault(
            'a path that begins with "/"', f'did you mean "/{text}"?' if _PATH.fullmatch("/" + text) else ""
        )
    if not _PATH.fullmatch(text):
        raise fault(
            "a path in visible ASCII", "write other characters percent-encoded in UTF-8 (é is %C3%A9)"
        )
    if "?" in text or "#" in text:
        raise fault("a path without query and fragment", "requests are matched on their path alone")
    try:
        normal = normalise_path(text.encode(), ALLOW_ENCODED_SLASH | ALLOW_BACKSLASH).decode()
    except BadTarget as error:
        raise fault(f"a path that a request can have ({error.detail or error.reason})") from None
    if normal != text:
        raise fault("a path as it is after normalisation, or it would match nothing", f'write "{normal}"')
    return text


def _regex(text: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        hint = (
            "look-around and back-references do not exist in it" if "(?" in text or "escape" in reason else ""
        )
        raise fault(f"a regular expression of RE2 ({reason})", hint) from None
    return text


def _redirect_target(text: str) -> str:
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise fault("a URL with no placeholders but {scheme}, {host} and {path}")
    if text.startswith(("/{", "//", "{path}")):
        raise fault(
            "a target that a request's path cannot turn into another host", 'write "https://host{path}"'
        )
    if not re.match(r"(https?|\{scheme\})://[^/\s]|/", text) or not re.fullmatch(r"[!-\[\]-~]+", text):
        raise fault('an absolute URL or a path, such as "https://www.example.com{path}" or "/new{path}"')
    return text


class Redirect(Table):
    """Answers with a redirect."""

    to: Annotated[str, AfterValidator(_redirect_target)]
    """Where to. `{scheme}` and `{host}` stand for the request's own, `{path}` for its path with its query:
    `"https://www.example.com{path}"`."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """Status code. 307 and 308 keep the method and the body, the others may turn them into a GET."""


class Respond(Table):
    """Answers with a fixed response."""

    status: Annotated[Count, Field(ge=200, le=599)] = 200
    """Status code."""
    body: str = ""
    """Content, sent as UTF-8."""
    content_type: FieldValue = "text/plain; charset=utf-8"
    """Content-Type of the content; none is sent without content."""
    headers: dict[FieldName, FieldValue] = Field(default_factory=dict)
    """More header fields."""


class Hsts(Table):
    """Strict-Transport-Security (RFC 6797), sent with every response that goes out over TLS."""

    max_age: DurationOrZero = 365 * 86_400.0
    """How long browsers will insist on https; "0s" makes them forget."""
    include_subdomains: Flag = False
    """Whether that holds for every name below the host."""
    preload: Flag = False
    """Whether the host may enter the browsers' built-in lists; they ask for subdomains and at least a year."""


class Route(Table):
    """Which requests go where. The most specific route wins: an exact host before a wildcard before any host, then
    `path_exact`, then the longest `path`, then `path_regex` in the order of the file. So a route for the prefix "/",
    which is also what a route without a path is for, takes every path before any `path_regex` of the same host is
    tried; `headgate validate` warns of such expressions. No route: 404. Paths are compared after normalisation (dot
    segments removed, needless percent-encoding undone). Exactly one of `upstream`, `redirect` and `respond` says what
    happens."""

    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1)] | None = None
    """Host names, or `"*.example.com"` for all names below; absent: any host."""
    listeners: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the listeners that have this route; absent: all of them. A host that is named by routes of other
    listeners alone is refused with 421."""
    path: Annotated[str, AfterValidator(_path)] | None = None
    """Prefix of whole segments: `"/api"` and `"/api/"` both take `/api/x`, neither takes `/apix`."""
    path_exact: Annotated[str, AfterValidator(_path)] | None = None
    """The whole path."""
    path_regex: Annotated[str, AfterValidator(_regex)] | None = None
    """A regular expression of RE2 (linear time) that the whole path must match. Tried after all prefixes: to catch
    what no expression of a host takes, write `path_regex = '/.*'` below them rather than `path = "/"`."""
    upstream: str | None = None
    """Name of the upstream that answers."""
    redirect: Redirect | None = None
    respond: Respond | None = None
    set_request_headers: dict[FieldName, FieldValue] = Field(default_factory=dict)
    """Header fields that are set, or replaced, on the way to the origin. Other spellings with underscores (X_User for
    X-User), which CGI and WSGI origins read as the same field, are dropped."""
    remove_request_headers: tuple[FieldName, ...] = ()
    """Header fields that are removed on the way to the origin, their spellings with underscores too."""
    set_response_headers: dict[FieldName, FieldValue] = Field(default_factory=dict)
    """Header fields that are set, or replaced, on the way to the client, also on the 502, 503 and 504 that Headgate
    makes itself."""
    remove_response_headers: tuple[FieldName, ...] = ()
    """Header fields that are removed on the way to the client."""
    hsts: Hsts | None = None
    cache: RouteCache = RouteCache()
