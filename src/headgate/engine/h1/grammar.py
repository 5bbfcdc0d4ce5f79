"""The grammar of an HTTP/1.1 head: request line, status line, field lines (RFC 9112 sections 2 to 5).

How a head is read, and why it is cheap: one `bytes.translate` deletes every octet that may stand in a head; what
is left must be exactly the CRLFs between the lines, so a bare CR, a bare LF, a NUL or any other control octet
cannot survive. The head is split once. Each field name is looked up in a table of spellings seen before; only a
new one is checked octet by octet. Values are not touched.

Strictness is the defence against request smuggling: no obs-fold (section 5.2), no white space before the colon
(section 5.1), no bare line feeds (section 2.2 would allow them).
"""

import re
from typing import Final, final

from headgate.errors import RemoteProtocolError
from headgate.http.fields import CONTENT_LENGTH, FLAGS, HOST, Fields

# node.js 16 KiB, Apache 8 KiB a line, nginx 4 x 8 KiB, HAProxy 15 KiB in all, IIS 16 KiB: cookies make 64 KiB real.
MAX_HEAD: Final = 64 * 1024
# Apache 100, HAProxy 101, gunicorn 100; a browser sends some 20.
MAX_FIELDS: Final = 128
# Spellings of field names that were seen and found right; beyond this many, new ones are checked each time.
MAX_NAMES: Final = 4096
MAX_NAME_REMEMBERED: Final = 64

_TEXT: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT")
)
_CRLFS: Final = [b"\r\n" * n for n in range(MAX_FIELDS + 4)]

DUPLICATE: Final = 1 << 20  # a second Host or Content-Length line


@final
class KnownName:
    """A spelling of a field name: its lower-case form and the kind of line it makes."""

    __slots__ = ("flags", "name")

    def __init__(self, name: bytes, flags: int) -> None:
        self.name = name
        self.flags = flags


_names: Final[dict[bytes, KnownName]] = {}


def _learn(spelling: bytes) -> KnownName | None:
    """Check a name that was not seen before (a token, RFC 9110 section 5.6.2); None when it is none."""
    if _TOKEN.fullmatch(spelling) is None:
        return None
    name = spelling.lower()
    known = KnownName(name, FLAGS.get(name, 0))
    if len(_names) < MAX_NAMES and len(spelling) <= MAX_NAME_REMEMBERED:
        _names[spelling] = known
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


def check_octets(section: bytes, lines: int) -> None:
    """Refuse a section of that many lines (CRLFs between them) with a bare CR or LF, a NUL or another control."""
    if lines >= len(_CRLFS):
        raise RemoteProtocolError(431, "too-many-fields", f"more than {MAX_FIELDS} field lines")
    if section.translate(None, _TEXT) != _CRLFS[lines - 1]:
        raise RemoteProtocolError(
            400, "bad-octet", "a bare CR or LF, a NUL or another control octet in the head"
        )


def parse_fields(lines: list[bytes], first: int, max_fields: int = MAX_FIELDS) -> Fields:
    """Read `lines[first:]`, whose octets have passed `check_octets`, as field lines.

    Raises `RemoteProtocolError` 400 or 431. `flags` of the result has `DUPLICATE` for a second Host or
    Content-Length.
    """
    count = len(lines)
    if count - first > max_fields:
        raise RemoteProtocolError(431, "too-many-fields", f"more than {max_fields} field lines")
    names: list[bytes] = []
    flags = 0
    for i in range(first, count):
        line = lines[i]
        colon = line.find(b":")
        if colon <= 0:
            raise _reject(line)
        known = _names.get(line[:colon])
        if known is None:
            known = _learn(line[:colon])
            if known is None:
                raise _reject(line)
        kind = known.flags
        if kind != 0:
            if kind & flags & (HOST | CONTENT_LENGTH):
                flags |= DUPLICATE
            flags |= kind
        names.append(known.name)
    del lines[:first]
    return Fields(names, lines, flags)


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
    if method not in _METHODS and (len(method) > 64 or _TOKEN.fullmatch(method) is None):
        raise RemoteProtocolError(400, "bad-request-line", "the method is not a token")


def check_target(target: bytes) -> None:
    """Refuse a request target with anything but visible ASCII (RFC 9112 section 3.2)."""
    if _TARGET.fullmatch(target) is None:
        raise RemoteProtocolError(
            400, "bad-request-line", "the request target holds an octet that no URI has"
        )


def parse_content_length(value: bytes) -> int:
    """Read a Content-Length (RFC 9110 section 8.6): digits alone, no list, at most 18 of them."""
    if _DIGITS.fullmatch(value) is None:
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
