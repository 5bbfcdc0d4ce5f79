"""The grammar of an HTTP/1.1 head: request line, status line, field lines (RFC 9112 sections 2 to 5).

Why reading a head is cheap: it is split once, and each line is looked up in a memo of lines that were seen and found
right before. User agents, accept lists, hosts, content types, the origin's server name: most lines of most heads
stand there, and cost one hash and one comparison. Only a new line is taken apart and checked octet by octet. The
memo is of a pure function, bounded, and emptied when full; a peer that sends nothing but new lines costs what
parsing costs.

Strictness is the defence against request smuggling: no obs-fold (section 5.2), no white space before the colon
(section 5.1), no bare CR or LF (section 2.2 would allow the latter), no NUL, no other control octet. Lines are what
stands between CRLFs, so a bare CR or LF is inside a line, where no grammar has it.
"""

import re
from typing import Final, final

from headgate.errors import RemoteProtocolError
from headgate.http.fields import CONNECTION, CONTENT_LENGTH, HOST, Fields, flags_of

# node.js 16 KiB, Apache 8 KiB a line, nginx 4 x 8 KiB, HAProxy 15 KiB in all, IIS 16 KiB: cookies make 64 KiB real.
MAX_HEAD: Final = 64 * 1024
# Apache 100, HAProxy 101, gunicorn 100; a browser sends some 20.
MAX_FIELDS: Final = 128
# Lines that are remembered, and how long one may be: at most some 3 MiB for a worker.
MAX_LINES: Final = 4096
MAX_LINE_REMEMBERED: Final = 256
# As many times as a request line is none of those, others get their chance. Of very many URLs none is asked for again
# soon: to remember each would fill the processor's caches with them.
PATIENCE: Final = 8 * MAX_LINES
MAX_METHOD: Final = 64  # the longest registered one has 17

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A search that finds nothing makes no match object.
_find_invisible: Final = re.compile(rb"[^\x21-\x7e]").search
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT")
)

# Beside the kinds of `http.fields`: what a section says about its connection.
DUPLICATE: Final = 1 << 22  # a second Host or Content-Length line
CLOSE: Final = 1 << 23
KEEP_ALIVE: Final = 1 << 24
OPTION_UPGRADE: Final = 1 << 25
PLAIN: Final = 1 << 26  # a Connection line that nominates nothing


_KINDS: Final = DUPLICATE - 1


@final
class Line:
    """A field line that passed the grammar. `number` is a Content-Length's value, -1 for one that is no number."""

    __slots__ = ("flags", "line", "name", "number", "value")

    def __init__(self, line: bytes, name: bytes, value: bytes, flags: int, number: int) -> None:
        self.line = line
        self.name = name
        self.value = value
        self.flags = flags
        self.number = number


@final
class Section:
    """A parsed field section and what its special lines say: Host's value and Content-Length's number."""

    __slots__ = ("fields", "flags", "host", "length")

    def __init__(self, fields: Fields, flags: int, host: bytes, length: int) -> None:
        self.fields = fields
        self.flags = flags
        self.host = host
        self.length = length


_lines: Final[dict[bytes, Line]] = {}


def _read_line(line: bytes) -> Line:
    """Take a line apart that was not seen before; raises `RemoteProtocolError`."""
    colon = line.find(b":")
    if colon <= 0 or _TOKEN.fullmatch(line, 0, colon) is None:
        raise _reject(line)
    if _VALUE.fullmatch(line, colon + 1) is None:
        raise RemoteProtocolError(
            400, "bad-octet", "a bare CR or LF, a NUL or another control octet in the head"
        )
    name = line[:colon].lower()
    value = line[colon + 1 :].strip(b" \t")
    flags = flags_of(name)
    number = -1
    if flags & CONTENT_LENGTH:
        number = parse_content_length(value)
    elif flags & CONNECTION:
        options = list_tokens([value])
        if b"close" in options:
            flags |= CLOSE
        if b"keep-alive" in options:
            flags |= KEEP_ALIVE
        if b"upgrade" in options:
            flags |= OPTION_UPGRADE
        if options in ([b"close"], [b"keep-alive"]):
            flags |= PLAIN
    known = Line(line, name, value, flags, number)
    if len(line) <= MAX_LINE_REMEMBERED:
        if len(_lines) >= MAX_LINES:
            _lines.clear()
        _lines[line] = known
    return known


def _reject(line: bytes) -> RemoteProtocolError:
    """Say what is wrong with a line that has no valid name."""
    if line[:1] in (b" ", b"\t"):
        return RemoteProtocolError(400, "obs-fold", "a field line begins with white space")
    if b":" not in line:
        return RemoteProtocolError(400, "bad-field", "a field line has no colon")
    name = line[: line.find(b":")]
    if name != name.rstrip(b" \t"):
        return RemoteProtocolError(400, "bad-field", "white space stands before the colon")
    return RemoteProtocolError(400, "bad-field", "a field name is not a token")


def parse_fields(lines: list[bytes], first: int, max_fields: int = MAX_FIELDS) -> Section:
    """Read `lines[first:]` as field lines. Raises `RemoteProtocolError` 400 or 431."""
    count = len(lines)
    if count - first > max_fields:
        raise RemoteProtocolError(431, "too-many-fields", f"more than {max_fields} field lines")
    names: list[bytes] = []
    flags = 0
    host = b""
    length = -1
    connection_at = -1
    for i in range(first, count):
        line = lines[i]
        known = _lines.get(line)
        if known is None:
            known = _read_line(line)
        kind = known.flags
        if kind != 0:
            if kind & flags & (HOST | CONTENT_LENGTH):
                flags |= DUPLICATE
            flags |= kind
            if kind & HOST:
                host = known.value
            elif kind & CONTENT_LENGTH:
                length = known.number
            elif kind & CONNECTION:
                connection_at = i - first if kind & PLAIN and connection_at == -1 else -2
        names.append(known.name)
    if first == 1:
        lines.pop(0)  # the list was made for this head; what is left of it are the field lines
    else:
        lines = lines[first:]
    fields = Fields(names, lines, flags & _KINDS)
    fields.connection_at = connection_at
    return Section(fields, flags, host, length)


@final
class RequestLine:
    """A request line that passed the grammar; `version` is 10 or 11."""

    __slots__ = ("method", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: int) -> None:
        self.method = method
        self.target = target
        self.version = version


_request_lines: Final[dict[bytes, RequestLine]] = {}
_unknown: Final[list[int]] = [0]  # request lines that came since the memo is full


def parse_request_line(line: bytes) -> RequestLine:
    """Read a request line (RFC 9112 section 3): three parts with single spaces. Raises 400 or 505."""
    known = _request_lines.get(line)
    if known is not None:
        return known
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RemoteProtocolError(400, "bad-request-line", "not three parts with single spaces between them")
    version = parse_version(parts[2])
    check_method(parts[0])
    check_target(parts[1])
    known = RequestLine(parts[0], parts[1], version)
    if len(_request_lines) >= MAX_LINES:
        _unknown[0] += 1
        if _unknown[0] >= PATIENCE:
            _unknown[0] = 0
            _request_lines.clear()
    elif len(line) <= MAX_LINE_REMEMBERED:
        _request_lines[line] = known
    return known


def parse_version(version: bytes) -> int:
    """Read an HTTP-version (RFC 9112 section 2.3) as 10 or 11; a later minor version is treated as 1.1."""
    if version == b"HTTP/1.1":
        return 11
    if version == b"HTTP/1.0":
        return 10
    if len(version) == 8 and version.startswith(b"HTTP/") and version[6:7] == b".":
        major = version[5:6]
        if major.isdigit() and version[7:8].isdigit():
            if major == b"1":
                return 11
            raise RemoteProtocolError(505, "http-version", "only HTTP/1.x is spoken here")
    raise RemoteProtocolError(400, "bad-request-line", "malformed HTTP version")


def check_method(method: bytes) -> None:
    """Refuse a method that is no token (RFC 9110 section 9.1)."""
    if method not in _METHODS:
        if _TOKEN.fullmatch(method) is None:
            raise RemoteProtocolError(400, "bad-request-line", "the method is not a token")
        if len(method) > MAX_METHOD:
            raise RemoteProtocolError(
                501, "method-too-long", f"the method exceeds {MAX_METHOD} octets (RFC 9112 section 3)"
            )


def check_target(target: bytes) -> None:
    """Refuse a request target with anything but visible ASCII (RFC 9112 section 3.2)."""
    if not target or _find_invisible(target) is not None:
        raise RemoteProtocolError(
            400, "bad-request-line", "the request target holds an octet that no URI has"
        )


def parse_content_length(value: bytes) -> int:
    """Read a Content-Length (RFC 9110 section 8.6): digits alone, no list, at most 18 of them."""
    if not value.isdigit() or len(value) > 18:
        raise RemoteProtocolError(400, "bad-content-length", "Content-Length is not a number")
    return int(value)


def list_tokens(values: list[bytes]) -> list[bytes]:
    """Return the lower-case members of comma-separated lists (RFC 9110 section 5.6.1), empty ones left out."""
    return [
        member for value in values for part in value.split(b",") if (member := part.strip(b" \t").lower())
    ]


def is_token(value: bytes) -> bool:
    """Tell whether `value` is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None
