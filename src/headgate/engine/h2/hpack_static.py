"""The static table of HPACK (RFC 7541 appendix A): what both sides know from the start.

The appendix counts from 1, and so do the indexes of the format: place 0 is kept by a line that nobody refers to. The
dynamic table goes on where this one ends, at `FIRST_DYNAMIC`.
"""

from typing import Final

from headgate.engine.message.lines import Line

_PAIRS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (":authority", ("",)),
    (":method", ("GET", "POST")),
    (":path", ("/", "/index.html")),
    (":scheme", ("http", "https")),
    (":status", ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ("",)),
    ("accept-encoding", ("gzip, deflate",)),
)
# The rest, in order; none of them has a value.
_NAMES: Final = (
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
)

STATIC_TABLE: Final[tuple[tuple[bytes, bytes], ...]] = (
    *((name.encode(), value.encode()) for name, values in _PAIRS for value in values),
    *((name.encode(), b"") for name in _NAMES),
)
FIRST_DYNAMIC: Final = 62


def _indexes() -> tuple[dict[tuple[bytes, bytes], int], dict[bytes, int]]:
    """Return where each line stands, and where the first line of each name."""
    lines: dict[tuple[bytes, bytes], int] = {}
    names: dict[bytes, int] = {}
    for index, pair in enumerate(STATIC_TABLE, 1):
        lines[pair] = index
        names.setdefault(pair[0], index)
    return lines, names


STATIC_LINES, STATIC_NAMES = _indexes()
STATIC: Final[list[Line]] = [Line(b"", b""), *(Line(name, value) for name, value in STATIC_TABLE)]
