"""Request targets, paths and authorities (RFC 9112 section 3.2, RFC 9110 sections 4.2 and 7.1, RFC 3986).

A gate and the origin behind it must read a request target the same way, else a route that guards /admin is walked
around with /%61dmin or /x/../admin. So routes match the *normal* path, and that same path is what should be sent
on (`Target.origin`). Normal means (RFC 3986 section 6.2.2): percent-encoded unreserved octets decoded, hex digits
in upper case, dot segments removed. What no two servers agree on is refused with 400 instead of guessed: NUL and
%00, control octets, spaces, octets beyond ASCII, a fragment, an incomplete percent-encoding, ".." above the root
(clamping it, as RFC 3986 section 5.2.4 does for references, would hide an attack in an absolute path), and unless
the caller allows them %2F and the backslash, raw or as %5C. Empty segments ("//") mean something and stay. A query is
only checked for its octets: a bare percent sign in one is common and harmless.
Octets that a URI should not have but browsers send (`|`, `^`, `"`, brackets, braces) pass unchanged.

Speed: a path without a percent sign and without "/." is normal as it stands and costs one search and one regex.
Results are remembered: short targets and authorities in dictionaries that are emptied when full, that of targets
after a while: clients that ask for very many would have each of them put in and thrown away. They are memos of pure
functions, not state: the same input gives the same value with or without them.
"""

import re
import socket
from typing import Final, final

from headgate.errors import RemoteProtocolError

# The four forms of RFC 9112 section 3.2.
ORIGIN_FORM: Final = 0
ABSOLUTE_FORM: Final = 1
AUTHORITY_FORM: Final = 2
ASTERISK_FORM: Final = 3

# What a caller may allow in paths; add them up.
STRICT: Final = 0
ALLOW_ENCODED_SLASH: Final = 1
ALLOW_BACKSLASH: Final = 2

# About 600 bytes an entry with its longest key: at most 1.2 MiB of targets and 0.6 MiB of authorities.
MAX_REMEMBERED: Final = 2048
MAX_REMEMBERED_LENGTH: Final = 256
# As many times as what is asked for is none of those, other targets get their chance.
PATIENCE: Final = 8 * MAX_REMEMBERED
MAX_HOST: Final = 255  # RFC 1035 section 2.3.4; RFC 3986 section 3.2.2 points at it

_VISIBLE: Final = rb"!-\"$-~"  # visible ASCII without "#"
# Anything that may make a path other than normal. A search that finds nothing makes no match object.
_find_odd: Final = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@/\"<>\[\]^`{|}]").search
_is_path: Final = re.compile(rb"/[!-\"$->@-~]*").fullmatch
_find_no_query: Final = re.compile(rb"[^" + _VISIBLE + rb"]").search
_match_absolute: Final = re.compile(
    rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([" + _VISIBLE + rb"]*)"
).fullmatch
_is_reg_name: Final = re.compile(rb"[a-z0-9_~\-]+(?:\.[a-z0-9_~\-]+)*").fullmatch
_ends_in_number: Final = re.compile(rb"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)").fullmatch
_is_ipv4: Final = re.compile(rb"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}").fullmatch

_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


class BadTarget(RemoteProtocolError):
    """A request target, path or authority that is refused; `code` is 400, `reason` a stable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(400, reason, detail)


@final
class Target:
    """A request target, read.

    `scheme` and `authority` are those of the absolute-form (authority also of the authority-form), else b"".
    `path` is as it came, `normal` the path that routes match, both b"*" for `OPTIONS *` and b"" for CONNECT.
    `query` is b"" or begins with "?". `origin` is what to send on: `normal` + `query`.
    """

    __slots__ = ("authority", "form", "normal", "origin", "path", "query", "scheme")

    def __init__(
        self,
        form: int,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        normal: bytes,
        query: bytes,
        origin: bytes,
    ) -> None:
        self.form = form
        self.scheme = scheme
        self.authority = authority
        self.path = path
        self.normal = normal
        self.query = query
        self.origin = origin

    def __repr__(self) -> str:
        where = f"{self.scheme.decode()}://" if self.scheme else ""
        return f"<Target {where}{self.authority.decode('latin-1')}{self.origin.decode('latin-1')}>"


_ASTERISK: Final = Target(ASTERISK_FORM, b"", b"", b"*", b"*", b"", b"*")
# One memo of origin-form targets for each combination of what is allowed.
_targets: Final[list[dict[bytes, Target]]] = [{}, {}, {}, {}]
_unknown: Final[list[int]] = [0, 0, 0, 0]  # that came since a memo is full
_authorities: Final[dict[bytes, tuple[bytes, int]]] = {}


# -- targets


def parse_target(method: bytes, target: bytes, allow: int = STRICT) -> Target:
    """Read the target of a request line. Raises `BadTarget`.

    With the absolute-form the caller uses `authority` and ignores Host (RFC 9112 section 3.2.2).
    """
    known = _targets[allow & 3].get(target)
    if known is not None and method != b"CONNECT":
        return known
    if method == b"CONNECT":
        return _parse_authority_form(target)
    if target.startswith(b"/"):
        return _parse_origin_form(target, allow)
    if target == b"*":
        if method != b"OPTIONS":
            raise BadTarget("bad-target", "only OPTIONS may ask for *")
        return _ASTERISK
    return _parse_absolute_form(method, target, allow)


def _parse_origin_form(target: bytes, allow: int) -> Target:
    mark = target.find(b"?")
    if mark < 0:
        path = target
        query = b""
    else:
        path = target[:mark]
        query = target[mark:]
        _check_query(query)
    normal = normalise_path(path, allow)
    origin = target if normal is path else normal + query
    parsed = Target(ORIGIN_FORM, b"", b"", path, normal, query, origin)
    memo = _targets[allow & 3]
    if len(memo) >= MAX_REMEMBERED:
        _unknown[allow & 3] += 1
        if _unknown[allow & 3] >= PATIENCE:
            _unknown[allow & 3] = 0
            memo.clear()
    elif len(target) <= MAX_REMEMBERED_LENGTH:
        memo[target] = parsed
    return parsed


def _parse_authority_form(target: bytes) -> Target:
    """RFC 9112 section 3.2.3: CONNECT has host and port, both of them, and nothing else."""
    _, port = parse_authority(target)
    if port < 0:
        raise BadTarget("bad-target", "CONNECT without a port")
    return Target(AUTHORITY_FORM, b"", target, b"", b"", b"", b"")


def _parse_absolute_form(method: bytes, target: bytes, allow: int) -> Target:
    matched = _match_absolute(target)
    if matched is None:
        raise BadTarget("bad-target", "neither a path nor an absolute URI")
    scheme = matched.group(1).lower()
    authority = matched.group(2)
    if scheme not in (b"http", b"https"):
        raise BadTarget("unsupported-scheme", repr(scheme[:32]))
    parse_authority(authority)
    rest = matched.group(3)
    if not rest and method == b"OPTIONS":
        # RFC 9112 section 3.2.4: the last proxy sends "*" for an OPTIONS whose URI has neither path nor query.
        return Target(ABSOLUTE_FORM, scheme, authority, b"*", b"*", b"", b"*")
    mark = rest.find(b"?")
    path = rest if mark < 0 else rest[:mark]
    query = b"" if mark < 0 else rest[mark:]
    normal = normalise_path(path or b"/", allow)
    return Target(ABSOLUTE_FORM, scheme, authority, path, normal, query, normal + query)


def _check_query(query: bytes) -> None:
    if _find_no_query(query) is not None:
        raise BadTarget("bad-query", "an octet that no query has")


# -- paths


def normalise_path(path: bytes, allow: int = STRICT) -> bytes:
    """Return the normal form of an absolute path, the same object when it is normal already.

    Raises `BadTarget`. `normalise_path(normalise_path(p)) == normalise_path(p)`.
    """
    rooted = path.startswith(b"/")
    # find, not `in`: CPython first tries to read the left side of `bytes in bytes` as a number, at 3 times the cost.
    if rooted and path.find(b"/.") < 0 and _find_odd(path) is None:
        return path
    if not rooted:
        raise BadTarget("bad-path", "it does not begin with a slash")
    if _is_path(path) is None:
        raise BadTarget("bad-path", "a control, a space, a fragment or an octet beyond ASCII")
    if b"\\" in path and not allow & ALLOW_BACKSLASH:
        raise BadTarget("backslash", "a backslash in the path")
    normal = path
    if b"%" in normal:
        normal = _decode_unreserved(normal, allow)
    if b"/." in normal:
        normal = _remove_dot_segments(normal)
    return path if normal == path else normal


def _make_triplets() -> dict[bytes, bytes]:
    """Map the two hex digits behind each "%" to what stands there in normal form."""
    digits = "0123456789abcdefABCDEF"
    triplets: dict[bytes, bytes] = {}
    for first in digits:
        for second in digits:
            octet = int(first + second, 16)
            plain = bytes((octet,))
            triplets[(first + second).encode()] = plain if plain in _UNRESERVED else b"%%%02X" % octet
    return triplets


_TRIPLETS: Final[dict[bytes, bytes]] = _make_triplets()


def _decode_unreserved(path: bytes, allow: int) -> bytes:
    pieces = path.split(b"%")
    out = [pieces[0]]
    for i in range(1, len(pieces)):
        piece = pieces[i]
        decoded = _TRIPLETS.get(piece[:2])
        if decoded is None:
            raise BadTarget("bad-percent", "a percent sign without two hex digits")
        if decoded == b"%2F" and not allow & ALLOW_ENCODED_SLASH:
            raise BadTarget("encoded-slash", "%2F in the path")
        if decoded == b"%5C" and not allow & ALLOW_BACKSLASH:
            raise BadTarget("backslash", "%5C in the path")
        if decoded == b"%00":
            raise BadTarget("nul", "%00 in the path")
        out.append(decoded)
        out.append(piece[2:])
    return b"".join(out)


def _remove_dot_segments(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4, except that ".." above the root is refused."""
    segments = path.split(b"/")
    last = len(segments) - 1
    kept: list[bytes] = []
    for i in range(1, len(segments)):
        segment = segments[i]
        if segment == b"..":
            if not kept:
                raise BadTarget("above-root", '".." above the root')
            kept.pop()
        elif segment != b".":
            kept.append(segment)
            continue
        if i == last:
            kept.append(b"")
    return b"/" + b"/".join(kept)


# -- authorities


def parse_authority(value: bytes) -> tuple[bytes, int]:
    """Read `host[:port]`, as in Host, into (host in lower case, port or -1). Raises `BadTarget`.

    The host is a name of letters, digits, "-", "_" and "~" in non-empty labels, an IPv4 address in its one
    unambiguous spelling, or "[" IPv6 address "]" in canonical form with its brackets. One trailing dot is dropped:
    example.com. is the same host (RFC 3986 section 3.2.2). Stricter than the grammar of RFC 3986: no userinfo
    (RFC 9110 section 4.2.4), no sub-delims or percent-encoding, no zone, no port 0, no name that resolvers would
    take for a number.
    """
    known = _authorities.get(value)
    if known is not None:
        return known
    if len(value) > MAX_HOST + 7:
        raise BadTarget("bad-host", "too long")
    if value.startswith(b"["):
        end = value.find(b"]") + 1
        if end == 0:
            # Compiled, a slice that ends before it begins is an error of its own.
            raise BadTarget("bad-host", "no bracket closes the address")
        host = _read_ipv6(value[1 : end - 1])
    else:
        end = value.find(b":")
        if end < 0:
            end = len(value)
        host = _read_host(value[:end].lower())
    answer = (host, _read_port(value[end:]))
    if len(_authorities) >= MAX_REMEMBERED:
        _authorities.clear()
    _authorities[value] = answer
    return answer


def _read_host(host: bytes) -> bytes:
    if host.endswith(b"."):
        host = host[:-1]
    if not host:
        raise BadTarget("bad-host", "empty")
    if len(host) > MAX_HOST or _is_reg_name(host) is None:
        raise BadTarget("bad-host", "not a host name")
    # The last label of a name in the DNS is never a number, and inet_aton reads 127.1 and 0x7f000001 as addresses.
    if _ends_in_number(host) is not None and _is_ipv4(host) is None:
        raise BadTarget("bad-host", "a number that is no dotted IPv4 address")
    return host


def _read_ipv6(text: bytes) -> bytes:
    try:
        packed = socket.inet_pton(socket.AF_INET6, text.decode("ascii"))
    except (OSError, ValueError):
        raise BadTarget("bad-host", "not an IPv6 address in brackets") from None
    return b"[" + socket.inet_ntop(socket.AF_INET6, packed).encode("ascii") + b"]"


def _read_port(text: bytes) -> int:
    """Read b"" or ":" and digits; ":" alone is no port either (RFC 3986 section 3.2.3)."""
    if len(text) <= 1 and text in (b"", b":"):
        return -1
    digits = text[1:]
    if not text.startswith(b":") or len(digits) > 5 or not digits.isdigit():
        raise BadTarget("bad-port", "not a number of at most five digits")
    port = int(digits)
    if not 1 <= port <= 65535:
        raise BadTarget("bad-port", "not within 1 to 65535")
    return port


def format_authority(host: bytes, port: int, scheme: bytes = b"") -> bytes:
    """Return `host[:port]`; a port of -1, or the one that `scheme` implies, is left out."""
    if port < 0 or (scheme == b"https" and port == 443) or (scheme == b"http" and port == 80):
        return host
    return b"%b:%d" % (host, port)


def normal_authority(value: bytes, scheme: bytes) -> bytes:
    """Return an authority in lower case without the port that its scheme implies, b"" when it is none."""
    try:
        host, port = parse_authority(value)
    except BadTarget:
        return b""
    return format_authority(host, port, scheme)


def implied_port(value: bytes, scheme: bytes) -> int:
    """Return the port of an authority: its own or that of its scheme; that of the scheme when it is no authority."""
    try:
        port = parse_authority(value)[1]
    except BadTarget:
        port = -1
    if port > 0:
        return port
    return 443 if scheme == b"https" else 80
