"""What belongs to one connection and must not be forwarded (RFC 9110 sections 7.6.1 and 7.6.3).

Removed: Connection and what it nominates, Keep-Alive, Proxy-Connection, TE, Transfer-Encoding and Upgrade. The
engines frame every message anew, so nothing is lost. The finer points:

- TE: the member `trailers` survives, alone, because trailer sections are forwarded; it is then nominated in a
  Connection line of our own (RFC 9110 section 10.1.4).
- Upgrade survives when the caller says that the exchange may become a tunnel, and in a 426, which must name what it
  wants (section 15.5.22); again with Connection of our own.
- Trailer stays: it announces trailer fields that are forwarded and is no connection option in RFC 9110.
- Proxy-Authorization, Proxy-Authenticate and Proxy-Authentication-Info are for the proxy that asked (section 11.7).
  A gate is an origin to its clients and asks for nothing, so credentials meant for a proxy stop here and no origin
  can make a client's browser send them.
- Proxy is no field at all, but CGI hands it on as HTTP_PROXY, which libraries take for the proxy of the origin's own
  requests ("httpoxy", CVE-2016-5385): it stops here.
- Headgate-Peer is what workers say to each other over sockets of their own (cache/home): nobody else's is believed.
- Connection may nominate only what a sender put there for us alone (section 7.6.1 forbids nominating anything
  meant for every recipient). A client that names Host, Cookie, Authorization, X-Forwarded-For and the like wants a
  field dropped on which the origin bases a decision: those nominations are ignored. Fields that middleware and
  `forwarded` add come after this step, and are out of a client's reach.

Order: strip, then forwarded, then edits, then Via. A section without such lines costs one test of its flags.
"""

from typing import Final

from headgate.http.fields import (
    CONNECTION,
    FORWARDED,
    HOP_BY_HOP,
    OTHER_HOP,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    Fields,
    flags_of,
)

NEVER_FORWARDED: Final = frozenset(
    (
        b"connection",
        b"headgate-peer",
        b"keep-alive",
        b"proxy",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Meant for every recipient: a nomination of these is ignored. X-Forwarded-* is recognised by its flag.
PROTECTED: Final = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-security-policy",
        b"content-type",
        b"cookie",
        b"date",
        b"etag",
        b"expect",
        b"expires",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"last-modified",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"server",
        b"set-cookie",
        b"strict-transport-security",
        b"trailer",
        b"user-agent",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
    )
)
_NOMINATES_NOTHING: Final = frozenset(
    (
        b"Connection: keep-alive",
        b"Connection: Keep-Alive",
        b"connection: keep-alive",
        b"Connection: close",
        b"connection: close",
    )
)
_VIA_10: Final = b"via: 1.0 headgate"
_VIA_11: Final = b"via: 1.1 headgate"
_VIA_20: Final = b"via: 2 headgate"
_VIA_30: Final = b"via: 3 headgate"
_VIAS: Final = {10: _VIA_10, 11: _VIA_11, 20: _VIA_20, 30: _VIA_30}


def strip_request(fields: Fields, upgrade: bytes = b"") -> None:
    """Remove what is for this connection only from a request that is forwarded.

    `upgrade` is the protocol that the origin may switch to, b"" for none; with it Upgrade is kept.
    """
    if fields.flags & HOP_BY_HOP == 0:
        return
    trailers = fields.flags & OTHER_HOP != 0 and b"te" in fields.names and _wants_trailers(fields)
    _strip(fields)
    if upgrade or trailers:
        _add_connection(fields, upgrade, trailers)


def add_upgrade(fields: Fields, upgrade: bytes) -> None:
    """Ask the origin for an Upgrade that the client asked for in other words."""
    _add_connection(fields, upgrade, False)
    fields.flags |= HOP_BY_HOP


def strip_response(fields: Fields, upgrade: bytes = b"") -> None:
    """Remove what is for this connection only from a response; `upgrade` is kept for a 101 or 426."""
    if fields.flags & HOP_BY_HOP == 0:
        return
    _strip(fields)
    if upgrade:
        _add_connection(fields, upgrade, False)


def strip_trailers(fields: Fields) -> None:
    """Remove from a trailer section what may decide on framing, routing or identity (RFC 9110 section 6.5.1)."""
    names = fields.names
    i = len(names)
    while i > 0:
        i -= 1
        name = names[i]
        if name in NEVER_FORWARDED or name in PROTECTED or flags_of(name) & FORWARDED:
            del names[i]
            del fields.lines[i]


def add_via(fields: Fields, version: int) -> None:
    """Append ourselves to Via: `version` is that of the message as we received it: 10, 11, 20 or 30."""
    fields.names.append(b"via")
    fields.lines.append(_VIAS[version])
    fields.flags |= VIA


def _strip(fields: Fields) -> None:
    names = fields.names
    lines = fields.lines
    at = fields.connection_at
    if at >= 0 and fields.flags & OTHER_HOP == 0 and names[at] == b"connection":
        # Browsers and origins send one Connection line that nominates nothing; it goes without a walk.
        names.pop(at)
        lines.pop(at)
        fields.connection_at = -1
        fields.flags &= ~(HOP_BY_HOP | CONNECTION)
        return
    drop = NEVER_FORWARDED
    if fields.flags & CONNECTION:
        nominated = _nominated(fields)
        if nominated:
            drop = NEVER_FORWARDED.union(nominated)
    i = len(names)
    while i > 0:
        i -= 1
        if names[i] in drop:
            del names[i]
            del lines[i]
    fields.flags &= ~(HOP_BY_HOP | OTHER_HOP | CONNECTION | TRANSFER_ENCODING | UPGRADE)


def _nominated(fields: Fields) -> list[bytes]:
    """Return the field names that Connection nominates and that may be removed."""
    nominated: list[bytes] = []
    names = fields.names
    for i in range(len(names)):
        if names[i] != b"connection":
            continue
        if fields.lines[i] in _NOMINATES_NOTHING:
            continue
        value = fields.value(i).lower()
        for part in value.split(b","):
            name = part.strip(b" \t")
            if name not in PROTECTED and name not in NEVER_FORWARDED and flags_of(name) & FORWARDED == 0:
                nominated.append(name)
    return nominated


def _wants_trailers(fields: Fields) -> bool:
    for value in fields.get_all(b"te"):
        for part in value.split(b","):
            if part.strip(b" \t").lower() == b"trailers":
                return True
    return False


def _add_connection(fields: Fields, upgrade: bytes, trailers: bool) -> None:
    if upgrade:
        fields.add(b"upgrade", upgrade, b"Upgrade")
    if trailers:
        fields.add(b"te", b"trailers", b"TE")
    options = b"upgrade, te" if upgrade and trailers else b"upgrade" if upgrade else b"te"
    fields.add(b"connection", options, b"Connection")
