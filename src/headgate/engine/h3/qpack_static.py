"""The static table of QPACK (RFC 9204 appendix A): what both sides know from the start. It is indexed from 0."""

from typing import Final

from headgate.engine.message.lines import Line

_PAIRS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (":authority", ("",)),
    (":path", ("/",)),
    ("age", ("0",)),
    ("content-disposition", ("",)),
    ("content-length", ("0",)),
    ("cookie", ("",)),
    ("date", ("",)),
    ("etag", ("",)),
    ("if-modified-since", ("",)),
    ("if-none-match", ("",)),
    ("last-modified", ("",)),
    ("link", ("",)),
    ("location", ("",)),
    ("referer", ("",)),
    ("set-cookie", ("",)),
    (":method", ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")),
    (":scheme", ("http", "https")),
    (":status", ("103", "200", "304", "404", "503")),
    ("accept", ("*/*", "application/dns-message")),
    ("accept-encoding", ("gzip, deflate, br",)),
    ("accept-ranges", ("bytes",)),
    ("access-control-allow-headers", ("cache-control", "content-type")),
    ("access-control-allow-origin", ("*",)),
    (
        "cache-control",
        (
            "max-age=0",
            "max-age=2592000",
            "max-age=604800",
            "no-cache",
            "no-store",
            "public, max-age=31536000",
        ),
    ),
    ("content-encoding", ("br", "gzip")),
    (
        "content-type",
        (
            "application/dns-message",
            "application/javascript",
            "application/json",
            "application/x-www-form-urlencoded",
            "image/gif",
            "image/jpeg",
            "image/png",
            "text/css",
            "text/html; charset=utf-8",
            "text/plain",
            "text/plain;charset=utf-8",
        ),
    ),
    ("range", ("bytes=0-",)),
    (
        "strict-transport-security",
        (
            "max-age=31536000",
            "max-age=31536000; includesubdomains",
            "max-age=31536000; includesubdomains; preload",
        ),
    ),
    ("vary", ("accept-encoding", "origin")),
    ("x-content-type-options", ("nosniff",)),
    ("x-xss-protection", ("1; mode=block",)),
    (":status", ("100", "204", "206", "302", "400", "403", "421", "425", "500")),
    ("accept-language", ("",)),
    ("access-control-allow-credentials", ("FALSE", "TRUE")),
    ("access-control-allow-headers", ("*",)),
    ("access-control-allow-methods", ("get", "get, post, options", "options")),
    ("access-control-expose-headers", ("content-length",)),
    ("access-control-request-headers", ("content-type",)),
    ("access-control-request-method", ("get", "post")),
    ("alt-svc", ("clear",)),
    ("authorization", ("",)),
    ("content-security-policy", ("script-src 'none'; object-src 'none'; base-uri 'none'",)),
    ("early-data", ("1",)),
    ("expect-ct", ("",)),
    ("forwarded", ("",)),
    ("if-range", ("",)),
    ("origin", ("",)),
    ("purpose", ("prefetch",)),
    ("server", ("",)),
    ("timing-allow-origin", ("*",)),
    ("upgrade-insecure-requests", ("1",)),
    ("user-agent", ("",)),
    ("x-forwarded-for", ("",)),
    ("x-frame-options", ("deny", "sameorigin")),
)

STATIC_TABLE: Final[tuple[tuple[bytes, bytes], ...]] = tuple(
    (name.encode(), value.encode()) for name, values in _PAIRS for value in values
)


def _indexes() -> tuple[dict[tuple[bytes, bytes], int], dict[bytes, int]]:
    """Return where each line stands, and where the first line of each name."""
    lines: dict[tuple[bytes, bytes], int] = {}
    names: dict[bytes, int] = {}
    for index, pair in enumerate(STATIC_TABLE):
        lines[pair] = index
        names.setdefault(pair[0], index)
    return lines, names


STATIC_LINES, STATIC_NAMES = _indexes()
STATIC: Final[list[Line]] = [Line(name, value) for name, value in STATIC_TABLE]
