"""Redirects (RFC 9110 section 15.4): the ones that a route asks for, and http to https.

A Location is where two attacks meet. Line breaks: the parts that a client controls have passed `parse_target` and
`parse_authority`, and whatever is not a plain URI octet is percent-encoded once more here. Other hosts: browsers
read "//evil", "/\\evil" and "https:///evil" as a new authority, so a template may let the client's path begin only
behind a complete authority or behind a first segment of its own, the path always begins with a slash, and a
backslash is sent as %5C.
"""

import re
from typing import Final, final

from headgate.http.fields import Fields
from headgate.http.status import REDIRECTS, reason_phrase
from headgate.http.target import BadTarget, format_authority, parse_authority
from headgate.pipeline.middleware.reply import Reply, text_reply

_PLACEHOLDER: Final = re.compile(r"(\{[^{}]*\})")
_ABSOLUTE: Final = re.compile(r"(?:https?|\{scheme\})://((?:[^/?#{]|\{host\})*)(.*)")
_RELATIVE: Final = re.compile(r"/(?![/{\\]).*")
_AUTHORITY: Final = re.compile(r"(?:[A-Za-z0-9.\-_~\[\]:]|\{host\})+")
_find_unsafe: Final = re.compile(rb"[^!#-;=?-\[\]_a-z~]").search
_UNSAFE: Final = re.compile(rb"[^!#-;=?-\[\]_a-z~]")

# What the parts of a template stand for.
_LITERAL: Final = 0
_SCHEME: Final = 1
_HOST: Final = 2
_PATH: Final = 3
_KINDS: Final = {"{scheme}": _SCHEME, "{host}": _HOST, "{path}": _PATH}


@final
class Redirect:
    """A redirect to a template: an absolute URL or a path, in which `{scheme}` and `{host}` stand for what the
    client asked for and `{path}` for its path with its query.

    `{host}` has no port, because a port fits its own scheme only; in "{scheme}://{host}" it keeps the one asked for.
    Raises `ValueError` for a template that a client could turn to another host, or a status that is no redirect.
    """

    __slots__ = ("_keeps_port", "_kinds", "_literals", "status", "to")

    def __init__(self, to: str, status: int = 308) -> None:
        if status not in REDIRECTS:
            raise ValueError(f"{status} is no redirect: use one of {', '.join(map(str, sorted(REDIRECTS)))}")
        _check_template(to)
        self.to = to
        self.status = status
        self._keeps_port = to.startswith("{scheme}://{host}") and not to.startswith("{scheme}://{host}:")
        self._literals: list[bytes] = []
        self._kinds: list[int] = []
        for part in _PLACEHOLDER.split(to):
            kind = _KINDS.get(part, _LITERAL)
            if part:
                self._kinds.append(kind)
                self._literals.append(part.encode("ascii") if kind == _LITERAL else b"")

    def __repr__(self) -> str:
        return f"<Redirect {self.status} {self.to}>"

    def location(self, scheme: bytes, authority: bytes, path: bytes) -> bytes:
        """Return the Location; `authority` as the client sent it, `path` with its query (`Target.origin`).

        Raises `BadTarget` when the template needs a host and the request has none or a bad one.
        """
        pieces: list[bytes] = []
        for i in range(len(self._kinds)):
            kind = self._kinds[i]
            if kind == _LITERAL:
                pieces.append(self._literals[i])
            elif kind == _SCHEME:
                pieces.append(b"https" if scheme == b"https" else b"http")
            elif kind == _HOST:
                host, port = parse_authority(authority)
                pieces.append(format_authority(host, port if self._keeps_port else -1, scheme))
            else:
                pieces.append(_safe_path(path))
        return b"".join(pieces)

    def reply(self, scheme: bytes, authority: bytes, path: bytes) -> Reply:
        """Return the whole response; 400 when the template needs a host that the request does not have."""
        try:
            location = self.location(scheme, authority, path)
        except BadTarget as error:
            return text_reply(400, b"400 Bad Request\n" + str(error).encode() + b"\n")
        return _redirect_reply(self.status, location)


@final
class HttpsRedirect:
    """What a listener with `redirect = true` answers: 308 to the same URL over https.

    `port` is where clients find the https listener (its advertised port). The host is the client's own, so a caller
    that knows its hosts should ask `Router.knows` first and not redirect for strangers.
    """

    __slots__ = ("port",)

    def __init__(self, port: int = 443) -> None:
        self.port = port

    def __repr__(self) -> str:
        return f"<HttpsRedirect to port {self.port}>"

    def location(self, authority: bytes, path: bytes) -> bytes:
        """Return the Location. Raises `BadTarget` without a usable host."""
        host = parse_authority(authority)[0]
        return b"https://" + format_authority(host, self.port, b"https") + _safe_path(path)

    def reply(self, authority: bytes, path: bytes) -> Reply:
        """Return the whole response; 400 for a request without a host."""
        try:
            location = self.location(authority, path)
        except BadTarget as error:
            return text_reply(400, b"400 Bad Request\n" + str(error).encode() + b"\n")
        return _redirect_reply(308, location)


def _check_template(to: str) -> None:
    for name in _PLACEHOLDER.findall(to):
        if name not in _KINDS:
            raise ValueError(
                f"{to!r}: {name} stands for nothing; there are {{scheme}}, {{host}} and {{path}}"
            )
    if _find_unsafe(_PLACEHOLDER.sub("", to).encode()) is not None:
        raise ValueError(f"{to!r} holds a character that must be percent-encoded in a URL")
    if _RELATIVE.fullmatch(to) is not None:
        return
    absolute = _ABSOLUTE.fullmatch(to)
    if absolute is None:
        raise ValueError(f"{to!r} is neither an absolute http(s) URL nor a path that stays on this host")
    if _AUTHORITY.fullmatch(absolute.group(1)) is None:
        raise ValueError(f"{to!r}: between the scheme and the path stands a host and nothing else")
    rest = absolute.group(2)
    if rest and not rest.startswith(("/", "?", "#", "{path}")):
        raise ValueError(f"{to!r}: behind the host comes a path")


def _safe_path(path: bytes) -> bytes:
    """Return a path with its query, safe behind an authority: rooted, and made of URI octets alone."""
    if not path.startswith(b"/"):
        path = b"/"  # OPTIONS * and whatever else is no path
    if _find_unsafe(path) is None:
        return path
    return _UNSAFE.sub(_quote, path)


def _quote(matched: re.Match[bytes]) -> bytes:
    return b"%%%02X" % matched.group()[0]


def _redirect_reply(status: int, location: bytes) -> Reply:
    """RFC 9110 section 15.4: a short note for those who do not follow by themselves, in plain text, not HTML."""
    fields = Fields(
        [b"location", b"content-type"],
        [b"Location: " + location, b"Content-Type: text/plain; charset=utf-8"],
        0,
    )
    return Reply(status, fields, b"%d %b\n%b\n" % (status, reason_phrase(status), location))
