"""Field lines: the header or trailer section of one message (RFC 9110 section 5).

A section is two parallel lists. `lines` has each line as it goes on the wire, without its CRLF; `names` has the
lower-case name of each. A line that nobody touches is never taken apart: it is copied through as it came. The
value of line i starts right after its colon, so `len(names[i]) + 1` finds it without a search.
Only the engines put foreign lines in here, and only after the strict grammar has passed them.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

OWS: Final = b" \t"

# What kinds of lines a section may hold, one bit each. The parser sets them once, so that the rules about a kind
# of line cost one test when no such line is there. A bit may stay set after the last such line was removed.
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 4
CONNECTION: Final = 8
HOP_BY_HOP: Final = 16
FORWARDED: Final = 32
EXPECT: Final = 64
UPGRADE: Final = 128
VIA: Final = 256
OTHER_HOP: Final = 512  # a hop-by-hop line other than Connection
DATE: Final = 1024
HOPS_LEFT: Final = 2048
ALT_SVC: Final = 4096
# Not of a name: an HTTP/2 peer marked a line as never to be indexed, so the next hop sees it marked (RFC 7541 section
# 7.1.3).
NEVER_INDEXED: Final = 8192
# What a cache looks at in requests: a hit of a request without any of these asks nothing else.
CACHING: Final = 16384  # Cache-Control and Pragma
CONDITIONAL: Final = 32768  # If-Match and its like
RANGE: Final = 65536  # Range and If-Range
AUTHORIZATION: Final = 131072
COOKIE: Final = 262144
# A request that asks, past its own method and target, for another one: frameworks obey these.
OVERRIDE: Final = 524288
# What a cache looks at in responses beside Cache-Control and Date: an answer without is stored without a look.
VALIDATOR: Final = 1048576  # ETag and Last-Modified
STORING: Final = 2097152  # Age, Expires, Vary, and tags

FLAGS: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING | HOP_BY_HOP | OTHER_HOP,
    b"connection": CONNECTION | HOP_BY_HOP,
    b"keep-alive": HOP_BY_HOP | OTHER_HOP,
    b"proxy": HOP_BY_HOP | OTHER_HOP,
    b"proxy-connection": HOP_BY_HOP | OTHER_HOP,
    b"proxy-authenticate": HOP_BY_HOP | OTHER_HOP,
    b"proxy-authentication-info": HOP_BY_HOP | OTHER_HOP,
    b"proxy-authorization": HOP_BY_HOP | OTHER_HOP,
    b"te": HOP_BY_HOP | OTHER_HOP,
    b"headgate-peer": HOP_BY_HOP | OTHER_HOP,  # between workers (cache/home)
    b"trailer": HOP_BY_HOP,
    b"upgrade": UPGRADE | HOP_BY_HOP | OTHER_HOP,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED,
    b"x-forwarded-proto": FORWARDED,
    b"x-forwarded-host": FORWARDED,
    b"x-forwarded-port": FORWARDED,
    b"x-forwarded-prefix": FORWARDED,
    b"x-real-ip": FORWARDED,
    b"expect": EXPECT,
    b"via": VIA,
    b"date": DATE,
    b"max-forwards": HOPS_LEFT,
    b"alt-svc": ALT_SVC,
    b"cache-control": CACHING,
    b"pragma": CACHING,
    b"if-match": CONDITIONAL,
    b"if-none-match": CONDITIONAL,
    b"if-modified-since": CONDITIONAL,
    b"if-unmodified-since": CONDITIONAL,
    b"if-range": RANGE,
    b"range": RANGE,
    b"authorization": AUTHORIZATION,
    b"cookie": COOKIE,
    b"etag": VALIDATOR,
    b"last-modified": VALIDATOR,
    b"age": STORING,
    b"expires": STORING,
    b"vary": STORING,
    b"cache-tag": STORING,
    b"surrogate-key": STORING,
    b"x-http-method-override": OVERRIDE,
    b"x-http-method": OVERRIDE,
    b"x-method-override": OVERRIDE,
    b"x-original-url": OVERRIDE,
    b"x-rewrite-url": OVERRIDE,
}


def flags_of(name: bytes) -> int:
    """Return the kinds that a line called `name` (lower case) is of; parsers remember the answer for each name.

    All of X-Forwarded-* is FORWARDED, known or not (login proxies have an X-Forwarded-User), and so is the spelling
    with underscores: origins behind CGI-like gateways cannot tell X_Forwarded_For from X-Forwarded-For.
    """
    flags = FLAGS.get(name, -1)
    if flags >= 0:
        return flags
    name = name.replace(b"_", b"-")
    if name.startswith(b"x-forwarded-") or name == b"x-real-ip":
        return FORWARDED
    return FLAGS.get(name, 0) & OVERRIDE


# acyclic here and in cache/: no part of a cycle, so the collector need not know of it (see cache/untracked).
@mypyc_attr(acyclic=True)
@final
class Fields:
    """An ordered, mutable field section; names are compared in lower case and given in lower case."""

    __slots__ = ("connection_at", "flags", "lines", "names")

    def __init__(self, names: list[bytes], lines: list[bytes], flags: int = -1) -> None:
        self.names = names
        self.lines = lines
        if flags < 0:
            flags = 0
            for name in names:
                flags |= flags_of(name)
        self.flags = flags
        # Where the one Connection line stands that nominates nothing, as the parser found it; else -1.
        self.connection_at = -1

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<Fields {b', '.join(self.lines).decode('latin-1')}>"

    def value(self, index: int) -> bytes:
        """Return the value of line `index` without surrounding white space."""
        line = self.lines[index]
        start = len(self.names[index]) + 1
        end = len(line)
        while start < end and (line[start] == 0x20 or line[start] == 0x09):
            start += 1
        while start < end and (line[end - 1] == 0x20 or line[end - 1] == 0x09):
            end -= 1
        return line[start:end]

    def get(self, name: bytes) -> bytes | None:
        """Return the first value called `name` (lower case), or None."""
        if name not in self.names:
            return None
        return self.value(self.names.index(name))

    def get_all(self, name: bytes) -> list[bytes]:
        """Return every value called `name`, in order."""
        names = self.names
        return [self.value(at) for at in range(len(names)) if names[at] == name]

    def add(self, name: bytes, value: bytes, wire_name: bytes = b"") -> None:
        """Append a line; `wire_name` keeps a spelling other than lower case. The caller vouches for the grammar."""
        self.names.append(name)
        self.lines.append((wire_name or name) + b": " + value)
        self.flags |= flags_of(name)

    def remove(self, name: bytes) -> int:
        """Remove every line called `name`; return how many there were."""
        if name not in self.names:
            return 0
        kept = [i for i, n in enumerate(self.names) if n != name]
        removed = len(self.names) - len(kept)
        self.lines = [self.lines[i] for i in kept]
        self.names = [self.names[i] for i in kept]
        self.connection_at = -1  # the lines behind the removed ones have moved
        return removed

    def set(self, name: bytes, value: bytes, wire_name: bytes = b"") -> None:
        """Replace every line called `name` by one."""
        self.remove(name)
        self.add(name, value, wire_name)

    def copy(self) -> "Fields":
        """Return an independent copy."""
        return Fields(self.names[:], self.lines[:], self.flags)

    def items(self) -> list[tuple[bytes, bytes]]:
        """Return (lower-case name, value) of every line, in order."""
        return [(self.names[i], self.value(i)) for i in range(len(self.names))]

    def encode(self) -> bytes:
        """Return the section as wire bytes, each line with its CRLF, without the empty line behind it."""
        if not self.lines:
            return b""
        return b"\r\n".join(self.lines) + b"\r\n"
