"""Field lines as HPACK and QPACK deliver them, checked against RFC 9113 sections 8.2 and 8.3 and RFC 9114 sections
4.2, 4.3 and 10.3, which are the same.

A `Line` is made once and then shared: by a static table, by the entries of a dynamic table, and by the decoder's
memory of representations it has seen. So the grammar of a line, its HTTP/1.1 form (`name: value`, which is what
`Fields` holds) and what it means for a message are worked out once, and a head of known lines costs no more than
looking each of them up. `kind` is PLAIN for a line that nothing depends on; what is wrong with a line is in `fault`.
"""

import re
from typing import Final, final

from headgate.engine.message.priority import parse_priority
from headgate.http.fields import NEVER_INDEXED, flags_of

# RFC 9113 section 6.5.2, RFC 9114 section 4.2.2: what each line counts beside its octets.
OVERHEAD: Final = 32
# RFC 9113 section 10.5.1, RFC 9114 section 4.2.2, as in HTTP/1.1: cookies and tokens make 64 KiB real. It is
# announced in SETTINGS.
MAX_FIELD_SECTION: Final = 64 * 1024
# Field lines of one section, as in HTTP/1.1. Cookies count once: browsers send each pair in a line of its own.
MAX_SECTION_LINES: Final = 128

PLAIN: Final = 0
METHOD: Final = 1
SCHEME: Final = 2
AUTHORITY: Final = 3
PATH: Final = 4
PROTOCOL: Final = 5  # RFC 8441, RFC 9220
STATUS: Final = 6
LAST_PSEUDO: Final = 6
HOST: Final = 7
LENGTH: Final = 8
COOKIE: Final = 9
TE: Final = 10
EXPECT: Final = 11
PRIORITY: Final = 12  # RFC 9218
WRONG: Final = 13  # see `fault`

_KINDS: Final[dict[bytes, int]] = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":authority": AUTHORITY,
    b":path": PATH,
    b":protocol": PROTOCOL,
    b":status": STATUS,
    b"host": HOST,
    b"content-length": LENGTH,
    b"cookie": COOKIE,
    b"te": TE,
    b"expect": EXPECT,
    b"priority": PRIORITY,
    # RFC 9113 section 8.2.2: nothing that belongs to one connection of HTTP/1.1 may be here.
    b"connection": WRONG,
    b"keep-alive": WRONG,
    b"proxy-connection": WRONG,
    b"transfer-encoding": WRONG,
    b"upgrade": WRONG,
}
# Not remembered by the decoder and never put into a dynamic table by the encoder (RFC 7541 section 7.1.3,
# RFC 9204 section 7.1.3).
SENSITIVE: Final = frozenset(
    (
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"set-cookie",
        b"www-authenticate",
    )
)

_is_name: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# RFC 9110 section 5.5: no white space at the ends, no control octet but the tab, CR, LF and NUL least of all.
_is_value: Final = re.compile(
    rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
).fullmatch
# RFC 3986 section 3.5: a fragment is never sent.
_is_target: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*|\*").fullmatch
# RFC 9113 section 8.3.1: no userinfo. What else an authority may be is for whoever looks for its host.
_is_authority: Final = re.compile(rb"[\x21-\"$-.0-9:;<=>A-Z\[\]^-~]+").fullmatch


@final
class Line:
    """A field line. `size` counts for limits.

    `number` is the value of a Content-Length or what a Priority asks for, -1 when it is no number or no dictionary;
    of an authority and of a path it says whether it is one: 1, else -1.
    """

    __slots__ = ("fault", "flags", "kind", "line", "name", "number", "sensitive", "size", "value")

    def __init__(self, name: bytes, value: bytes, like: "Line | None" = None) -> None:
        """`like`: a line of the static table with the same name, which tells what that means."""
        self.name = name
        self.value = value
        self.line = b"%b: %b" % (name, value)
        self.size = len(name) + len(value) + OVERHEAD
        self.number = -1
        self.fault = ""
        if like is not None:
            self.flags: int = like.flags
            self.sensitive: bool = like.sensitive
            kind = like.kind
        else:
            self.flags = flags_of(name)
            self.sensitive = name in SENSITIVE
            kind = _KINDS.get(name, PLAIN)
        if kind == WRONG:
            self.fault = "a field that belongs to one HTTP/1.1 connection"
        elif kind == PLAIN and like is None and _is_name(name) is None:
            kind = WRONG
            self.fault = _fault_of_name(name)
        elif _is_value(value) is None:
            kind = WRONG
            self.fault = "an octet that no field value may hold, or white space at its end"
        elif kind == LENGTH and value.isdigit() and len(value) <= 18:
            self.number = int(value)
        elif kind == PRIORITY:
            self.number = parse_priority(value)
        elif kind == PATH:
            self.number = 1 if _is_target(value) is not None else -1
        elif kind == AUTHORITY:
            self.number = 1 if _is_authority(value) is not None else -1
        self.kind: int = kind

    def mark(self) -> None:
        """Note that the peer marked it as never to be indexed; the name of a sensitive one says as much."""
        if not self.sensitive:
            self.flags |= NEVER_INDEXED

    def __repr__(self) -> str:
        return f"<Line {self.name!r} {len(self.value)} octets>" if self.sensitive else f"<Line {self.line!r}>"


def _fault_of_name(name: bytes) -> str:
    if name.startswith(b":"):
        return "a pseudo-header field that is not defined"
    if name != name.lower():
        return "upper case in a field name"
    return "a field name that is no token"
