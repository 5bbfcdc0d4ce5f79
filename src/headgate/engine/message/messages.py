"""Messages of HTTP/2 (RFC 9113 section 8) and HTTP/3 (RFC 9114 sections 4.1 to 4.4): lines to `Request`, `Response`
and trailers, and back. The rules are the same for both.

What comes out is what HTTP/1.1 gives to everything above: `:authority` has become a Host line, cookies are one line
again (RFC 9113 section 8.2.3), names are lower case. The rules are held strictly, because a message that is let
through here is forwarded as HTTP/1.1, where a line break or a second length would be another request.

`version` of a request is 20 or 30; of a response it is 11, as of all answers: what an HTTP/1.1 hop may be sent for
it.
"""

from typing import Final, final

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Request, Response
from headgate.engine.h1.grammar import MAX_METHOD, is_token
from headgate.engine.message import lines as kinds
from headgate.engine.message.errors import RefusedError, malformed
from headgate.engine.message.lines import LAST_PSEUDO, OVERHEAD, PLAIN, Line
from headgate.engine.message.priority import DEFAULT_PRIORITY
from headgate.http.fields import CONTENT_LENGTH, HOP_BY_HOP, Fields
from headgate.http.fields import HOST as HOST_FLAG
from headgate.http.status import REASONS

_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
# RFC 9113 section 8.2.2: never sent; TE only as `trailers`.
_NEVER_SENT: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_NO_PSEUDO: Final = "a pseudo-header field behind a field, or where none may be"


# -- reading


@final
class _Gathered:
    """What a request's fields say, and those that are forwarded; the first line is kept free for Host."""

    __slots__ = ("cookies", "expect", "flags", "host", "length", "names", "priority", "wire")

    def __init__(self) -> None:
        self.names = [b"host"]
        self.wire = [b""]
        self.flags = HOST_FLAG
        self.host: bytes | None = None
        self.length = -1
        self.expect = b""
        self.priority = DEFAULT_PRIORITY
        self.cookies: list[bytes] = []

    def is_set_apart(self, line: Line) -> bool:
        """Take in a line that means something; tell whether it is not forwarded as it stands."""
        kind = line.kind
        if kind == kinds.COOKIE:
            self.cookies.append(line.value)
            return True
        if kind == kinds.HOST:
            if self.host is not None:
                raise malformed("Host stands twice")
            self.host = line.value
            return True
        if kind == kinds.LENGTH:
            if self.length >= 0 or line.number < 0:
                raise malformed("Content-Length stands twice, or is no number")
            self.length = line.number
        elif kind == kinds.TE:
            if line.value.lower() != b"trailers":
                raise malformed("TE says anything but trailers")
        elif kind == kinds.EXPECT:
            self.expect = line.value
        elif kind == kinds.PRIORITY:
            self.priority = line.number if line.number >= 0 else self.priority
        else:
            raise malformed(line.fault or _NO_PSEUDO)
        return False

    def finish(self, authority: bytes) -> Fields:
        """Return the section as it is forwarded."""
        self.wire[0] = b"host: " + authority
        if self.cookies:
            self.names.append(b"cookie")
            self.wire.append(b"cookie: " + b"; ".join(self.cookies))
        return Fields(self.names, self.wire, self.flags)


def read_request(
    lines: list[Line],
    stream: int,
    version: int,
    scheme: bytes,
    *,
    ended: bool,
    connect_protocol: bool,
    from_gateway: bool = False,
) -> tuple[Request, int]:
    """Return the request of a header section, and its priority; `ended` when the stream ends with it.

    `scheme` is the one that is served on this connection, the only one unless it comes `from_gateway`, which may have
    been asked by the other. Raises `MalformedError` or `RefusedError`.
    """
    pseudo: list[Line | None] = [None] * (LAST_PSEUDO + 1)
    first = _pseudo_fields(lines, pseudo)
    asked = pseudo[kinds.METHOD]
    if asked is None or pseudo[kinds.STATUS] is not None:
        raise malformed("a request without :method, or with :status")
    method = asked.value
    gathered = _Gathered()
    names = gathered.names
    wire = gathered.wire
    flags = 0
    for i in range(first, len(lines)):
        line = lines[i]
        if line.kind != PLAIN and gathered.is_set_apart(line):
            continue
        names.append(line.name)
        wire.append(line.line)
        flags |= line.flags
    gathered.flags |= flags
    authority = _authority(pseudo[kinds.AUTHORITY], gathered.host, scheme)
    target = _target(method, pseudo, authority, connect_protocol=connect_protocol)
    asked_by = pseudo[kinds.SCHEME]
    if asked_by is not None and asked_by.value != scheme:
        _check_scheme(asked_by.value.lower(), scheme, from_gateway)
    body = _body(-1 if method == b"CONNECT" else gathered.length, ended)
    request = Request(method, target, version, gathered.finish(authority), body, stream)
    request.host = authority
    protocol = pseudo[kinds.PROTOCOL]
    if protocol is not None:
        request.upgrade = protocol.value
    if gathered.expect:
        if gathered.expect.lower() != b"100-continue":
            raise RefusedError(417, "bad-expectation", "the only expectation is 100-continue")
        request.expect_continue = body != NO_BODY
    return request, gathered.priority


def _pseudo_fields(lines: list[Line], pseudo: list[Line | None]) -> int:
    """Put the pseudo-header fields that a section begins with into `pseudo`, by kind; return how many there are."""
    count = 0
    for line in lines:
        kind = line.kind
        if kind == PLAIN or kind > LAST_PSEUDO:
            break
        if pseudo[kind] is not None:
            raise malformed("a pseudo-header field stands twice")
        pseudo[kind] = line
        count += 1
    return count


def _authority(authority: Line | None, host: bytes | None, scheme: bytes) -> bytes:
    """Return who is asked (RFC 9113 section 8.3.1): :authority or Host, one of them at least, and no two of them."""
    if authority is None:
        if host is None:
            raise malformed("neither :authority nor Host")
        authority = Line(b":authority", host)
    if authority.number < 0:
        raise malformed("an authority that is empty, has userinfo, or is none")
    value = authority.value
    if host is not None and host != value and _normal(host, scheme) != _normal(value, scheme):
        raise malformed(":authority and Host do not agree")
    return value


def _normal(authority: bytes, scheme: bytes) -> bytes:
    """Return an authority as RFC 3986 section 6.2.3 compares it: in lower case, without the port it has anyhow."""
    authority = authority.lower()
    port = b":443" if scheme == b"https" else b":80"
    return authority.removesuffix(port) if authority.endswith(port) else authority.removesuffix(b":")


def _check_scheme(asked: bytes, served: bytes, from_gateway: bool) -> None:
    """RFC 9110 section 7.4: there is one scheme that we are an authority for here, but a gateway whose word counts
    may have ended TLS in front of us, or begun it.
    """
    if asked == served or (from_gateway and asked in (b"http", b"https")):
        return
    detail = f"only {served.decode()} is served on this connection, but to gateways in trusted_proxies"
    raise RefusedError(421, "bad-scheme", detail)


def _target(method: bytes, pseudo: list[Line | None], authority: bytes, *, connect_protocol: bool) -> bytes:
    """Check :method, :scheme and :path (RFC 9113 sections 8.3.1 and 8.5); return the request target."""
    scheme = pseudo[kinds.SCHEME]
    path = pseudo[kinds.PATH]
    if method not in _METHODS:
        if not is_token(method):
            raise malformed("the method is no token")
        if len(method) > MAX_METHOD:
            raise RefusedError(501, "method-too-long", f"the method exceeds {MAX_METHOD} octets")
    if pseudo[kinds.PROTOCOL] is not None:
        if method != b"CONNECT" or not connect_protocol:
            raise malformed(":protocol without extended CONNECT (RFC 8441)")
        if pseudo[kinds.AUTHORITY] is None:
            raise malformed("extended CONNECT without :authority")
    elif method == b"CONNECT":
        if scheme is not None or path is not None or pseudo[kinds.AUTHORITY] is None:
            raise malformed("CONNECT with :scheme or :path, or without :authority")
        return authority
    if scheme is None or path is None:
        raise malformed("a request without :scheme or :path")
    target = path.value
    if path.number < 0 or (target == b"*" and method != b"OPTIONS"):
        raise malformed(":path is no path")
    return target


def _body(length: int, ended: bool) -> int:
    """Return `body` of a message by its Content-Length, -1 for none."""
    if ended:
        if length > 0:
            raise malformed(f"the stream ends {length} octets before Content-Length")
        return NO_BODY
    return length if length >= 0 else UNKNOWN_LENGTH


def read_response(lines: list[Line], stream: int, method: bytes, *, ended: bool) -> Response:
    """Return the response of a header section to a request with `method`. Raises `MalformedError`."""
    if not lines or lines[0].kind != kinds.STATUS:
        raise malformed("a response without :status")
    text = lines[0].value
    if len(text) != 3 or not text.isdigit() or not b"100" <= text <= b"599":
        raise malformed(":status is no status code")
    status = int(text)
    if status == 101:
        raise malformed("101, which belongs to HTTP/1.1 (RFC 9113 section 8.6)")
    names: list[bytes] = []
    wire: list[bytes] = []
    flags = 0
    length = -1
    for i in range(1, len(lines)):
        line = lines[i]
        kind = line.kind
        if kind != PLAIN:
            if kind <= LAST_PSEUDO or kind == kinds.TE or kind == kinds.WRONG:
                raise malformed(line.fault or _NO_PSEUDO)
            if kind == kinds.LENGTH:
                if length >= 0 or line.number < 0:
                    raise malformed("Content-Length stands twice, or is no number")
                length = line.number
        names.append(line.name)
        wire.append(line.line)
        flags |= line.flags
    response = Response(status, REASONS.get(status, b""), 11, Fields(names, wire, flags), NO_BODY, stream)
    if status < 200 or status == 204:
        response.fields.remove(b"content-length")  # RFC 9110 section 8.6: must not be there
    elif method == b"CONNECT" and status < 300:
        response.fields.remove(b"content-length")
        response.body = NO_BODY if ended else UNKNOWN_LENGTH
    elif method != b"HEAD" and status != 304:
        response.body = _body(length, ended)
    return response


def read_trailers(lines: list[Line]) -> Fields:
    """Return a trailer section. Raises `MalformedError`."""
    names: list[bytes] = []
    wire: list[bytes] = []
    flags = 0
    for line in lines:
        kind = line.kind
        if kind != PLAIN and (kind <= LAST_PSEUDO or kind == kinds.TE or kind == kinds.WRONG):
            raise malformed(line.fault or _NO_PSEUDO)
        names.append(line.name)
        wire.append(line.line)
        flags |= line.flags
    return Fields(names, wire, flags)


# -- writing


def write_response(response: Response) -> Fields:
    """Return the lines of a response, `:status` first; Content-Length as HTTP/1.1 would send it."""
    fields = response.fields
    status = response.status
    names = [b":status"]
    wire = [b":status: %d" % status]
    body = response.body
    if fields.flags & CONTENT_LENGTH and (body < 0 or status == 204 or status < 200):
        fields.remove(b"content-length")  # RFC 9110 section 8.6; and what is relayed may not fit any more
    _append(names, wire, fields)
    if body > 0 and fields.flags & CONTENT_LENGTH == 0:
        names.append(b"content-length")
        wire.append(b"content-length: %d" % body)
    return Fields(names, wire, fields.flags)


def write_request(request: Request, scheme: bytes) -> Fields:
    """Return the lines of a request to `scheme`, pseudo-header fields first; Host has become :authority."""
    fields = request.fields
    method = request.method
    authority = fields.get(b"host") or request.host
    names = [b":method"]
    wire = [b":method: " + method]
    if method != b"CONNECT" or request.upgrade:
        names.append(b":scheme")
        wire.append(b":scheme: " + scheme)
    names.append(b":authority")
    wire.append(b":authority: " + authority)
    if method != b"CONNECT" or request.upgrade:
        names.append(b":path")
        wire.append(b":path: " + request.target)
    if method == b"CONNECT" and request.upgrade:
        names.append(b":protocol")
        wire.append(b":protocol: " + request.upgrade)
    if request.body < 0 and fields.flags & CONTENT_LENGTH:
        fields.remove(b"content-length")
    start = len(names)
    _append(names, wire, fields)
    for i in range(len(names) - 1, start - 1, -1):
        if names[i] == b"host":
            del names[i]
            del wire[i]
    if request.body > 0 and fields.flags & CONTENT_LENGTH == 0:
        names.append(b"content-length")
        wire.append(b"content-length: %d" % request.body)
    return Fields(names, wire, fields.flags)


def _append(names: list[bytes], wire: list[bytes], fields: Fields) -> None:
    """Append what may go onto a connection of HTTP/2 or HTTP/3."""
    if fields.flags & HOP_BY_HOP == 0:
        names.extend(fields.names)
        wire.extend(fields.lines)
        return
    for i in range(len(fields.names)):
        name = fields.names[i]
        if name in _NEVER_SENT:
            continue
        if name == b"te" and fields.value(i).lower() != b"trailers":
            continue
        names.append(name)
        wire.append(fields.lines[i])


def section_size(fields: Fields) -> int:
    """Return what a section counts for the peer's limit (RFC 9113 section 6.5.2), more for odd white space."""
    total = len(fields.names) * (OVERHEAD - 2)
    for line in fields.lines:
        total += len(line)
    return total
