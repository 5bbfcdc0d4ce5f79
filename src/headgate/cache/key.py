"""Primary keys: the name under which responses are stored (RFC 9111 sections 2 and 4).

A key is the target URI, `https://example.com/path?query`, and behind it, each behind a line feed, further parts:

    field:NAME=VALUE       a field of the request that the policy names; without "=" when it is absent
    cookie:NAME=VALUE      a cookie that the policy names, once for each value; without "=" when it is absent
    listeners:NAMES        the route is not on every listener: another route has the same URL elsewhere
    asked:WHAT=VALUE       what the origin is told of how it was asked, where the URI does not say so
    slice:NUMBER           a slice of a large object

No URI and no value has a line feed (the engines and `http/target` refuse it), no name has a colon or "=", and the
word before the first colon says what a part is: no request can make one part look like another, or like two. What is
before the first line feed is what a purge names. A plain request with an untouched Policy has the URI for its key and
nothing else, put together by one concatenation.

The method is in no key: only GET is stored, and HEAD is answered from it (section 4 and RFC 9110 section 9.3.2);
`method_is_stored` and `method_is_answered` say so.

The path comes normalised from http/target and is the one that the origin gets, so two spellings of one path cannot
have two keys, and one spelling cannot have the answer to another. The query is normalised by rules alone: nothing is
known about it. Only what the origin does not tell apart may be left out: a policy that drops a parameter which the
origin reads serves one client's answer to another.
"""

from typing import Final

from headgate.cache import policy as rules
from headgate.cache.policy import Policy
from headgate.cache.vary import ABSENT, selected
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo, is_other_line
from headgate.http.target import MAX_REMEMBERED, implied_port, normal_authority

# Longer keys have no entry, and such requests go by the cache: URIs of honest clients end at 2,000 to 8,000 octets.
MAX_KEY: Final = 8192
# A query of more parameters is left as it is.
MAX_PARAMETERS: Final = 256

# What keys of a host begin with, by what clients call it: without TLS, and with.
_starts: Final[list[dict[bytes, bytes]]] = [{}, {}]

_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_HEX: Final = b"0123456789ABCDEFabcdef"


def is_slice(key: bytes) -> bool:
    """Whether a key is that of a slice: it is the last part, and no other part begins so."""
    at = key.rfind(b"\n")
    return at >= 0 and key.startswith(b"\nslice:", at)


def method_is_stored(method: bytes) -> bool:
    """Whether a response to this method may be stored under the key of its target."""
    return method == b"GET"


def method_is_answered(method: bytes) -> bool:
    """Whether a stored response to GET may be the answer to this method."""
    return method == b"GET" or method == b"HEAD"


def primary_key(
    policy: Policy,
    secure: bool,
    host: bytes,
    target: bytes,
    fields: Fields,
    asked: ForwardedInfo | None = None,
    piece: int = -1,
) -> bytes:
    """Return the key of a request; b"": it has none and goes by the cache.

    `host` is the authority as the client sent it; `target` the origin-form that the origin gets, its path normal;
    `fields` and `asked` what the origin is sent and told. `piece` is the number of a slice, -1 for the whole.
    """
    key = uri_key(policy, secure, host, target)
    if not key:
        return b""
    if policy.key_fields or policy.key_cookies or policy.scope:
        key += _configured_parts(policy, fields)
    if asked is not None and not asked.is_plain:
        key += asked_parts(secure, host, asked, fields)
    if piece >= 0:
        key += b"\nslice:%d" % piece
    return key if len(key) <= MAX_KEY else b""


def _configured_parts(policy: Policy, fields: Fields) -> bytes:
    """Return the parts that the configuration of a route asks for."""
    parts = b""
    for name in policy.key_fields:
        value = selected(name, fields)
        if value == ABSENT:
            parts += b"\nfield:" + name
        else:
            # A digest is raw octets, any of which may be a line feed.
            shown = b"\0" + value[1:].hex().encode() if value.startswith(ABSENT) else value
            parts += b"\nfield:" + name + b"=" + shown
    for name in policy.key_cookies:
        # Every cookie of that name: origins differ on which of two they read.
        values = cookie_values(name, fields)
        if not values:
            parts += b"\ncookie:" + name
        for value in values:
            parts += b"\ncookie:" + name + b"=" + value
    if policy.scope:
        parts += b"\nlisteners:" + policy.scope
    return parts


def asked_parts(secure: bool, host: bytes, asked: ForwardedInfo, fields: Fields) -> bytes:
    """Return the parts for what the origin is told of how it was asked, where that is not what the URI says.

    It may build links and redirects of any of this, and the answer would send everybody where one client pointed:
    Host as it was written (`A.example`, `a.example:80`), the host, scheme and port that a trusted proxy or a listener
    on another port stands for, what Forwarded holds of hosts and schemes, and further X-Forwarded-* of a trusted
    proxy. Addresses of clients are in no key: an origin that answers by them must say so in Vary or forbid to store.
    """
    parts = b""
    scheme = b"https" if secure else b"http"
    if host != normal_authority(host, scheme):
        parts += b"\nasked:written=" + host
    if asked.host != host:
        parts += b"\nasked:host=" + asked.host
    if asked.scheme != scheme:
        parts += b"\nasked:scheme=" + asked.scheme
    if asked.port != implied_port(asked.host, asked.scheme):
        parts += b"\nasked:port=%d" % asked.port
    if asked.hearsay:
        parts += b"\nasked:forwarded=" + asked.hearsay
    if asked.is_trusted:
        names = fields.names
        for at in range(len(names)):
            if is_other_line(names[at]):
                parts += b"\nasked:" + names[at] + b"=" + fields.value(at)
    return parts


def uri_key(policy: Policy, secure: bool, host: bytes, target: bytes) -> bytes:
    """Return the part of a key that names the URI, for purges and invalidation too; b"" when there is none."""
    if len(target) > MAX_KEY or not target.startswith(b"/"):
        return b""
    if policy.query != rules.QUERY_ALL or policy.query_sorted:
        mark = target.find(b"?")
        if mark >= 0:
            target = target[:mark] + normal_query(policy, target[mark:])
    start = _starts[1 if secure else 0].get(host)
    if start is not None:
        return start + target
    scheme = b"https" if secure else b"http"
    authority = normal_authority(host, scheme)
    if not authority:
        return b""
    start = scheme + b"://" + authority
    _remember(_starts[1 if secure else 0], host, start)
    return start + target


def _remember(starts: dict[bytes, bytes], host: bytes, start: bytes) -> None:
    if len(starts) >= MAX_REMEMBERED:
        starts.clear()
    starts[host] = start


def normal_query(policy: Policy, query: bytes) -> bytes:
    """Return a query, which begins with "?", as the policy wants it in the key; b"" when nothing is left.

    Sorted by name, parameters of one name stay in their order: `a=1&a=2` is not `a=2&a=1`. Names are compared with
    unreserved octets decoded, and written as they came.
    """
    if policy.query == rules.QUERY_NONE:
        return b""
    pairs = query[1:].split(b"&")
    if len(pairs) > MAX_PARAMETERS:
        return query
    kept: list[tuple[bytes, int, bytes]] = []
    for place in range(len(pairs)):
        pair = pairs[place]
        name = _decoded(pair.split(b"=", 1)[0])
        if policy.query == rules.QUERY_ONLY and not _is_named(policy, name):
            continue
        if policy.query == rules.QUERY_WITHOUT and _is_named(policy, name):
            continue
        kept.append((name, place, pair))
    if policy.query_sorted:
        kept.sort()
    if not kept:
        return b""
    return b"?" + b"&".join([item[2] for item in kept])


def _is_named(policy: Policy, name: bytes) -> bool:
    """Whether `query_names` has a parameter: by its name, or by a beginning that ends in "*" (`utm_*`)."""
    if name in policy.query_names:
        return True
    starts = [pattern[:-1] for pattern in policy.query_names if pattern.endswith(b"*")]
    return len(starts) > 0 and name.startswith(tuple(starts))


def _decoded(name: bytes) -> bytes:
    """Decode the unreserved octets of a name: %75tm_source is no way around a rule about utm_source."""
    if b"%" not in name:
        return name
    pieces = name.split(b"%")
    whole = pieces[0]
    for piece in pieces[1:]:
        octet = -1
        if len(piece) >= 2 and piece[0] in _HEX and piece[1] in _HEX:
            octet = int(piece[:2], 16)
        if octet >= 0 and octet in _UNRESERVED:
            whole += bytes((octet,)) + piece[2:]
        else:
            whole += b"%" + piece
    return whole


def cookie_values(name: bytes, fields: Fields) -> list[bytes]:
    """Return every value that the Cookie lines have for a name (RFC 6265 section 4.2.1), in order."""
    values: list[bytes] = []
    for line in fields.get_all(b"cookie"):
        for pair in line.split(b";"):
            mark = pair.find(b"=")
            if mark >= 0 and pair[:mark].strip(b" \t") == name:
                values.append(pair[mark + 1 :].strip(b" \t"))
    return values
