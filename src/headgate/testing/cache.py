"""Requests, responses and stored responses of the cache, in one line each, for tests."""

from headgate.cache.entry import KeyEntry, StoredResponse
from headgate.cache.policy import Policy
from headgate.cache.storing import build
from headgate.engine.events import Request, Response
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_800_000_000.0
Line = tuple[str, str | int]


def fields_of(*lines: Line) -> Fields:
    """Make a section; a number is a date, so many seconds after NOW."""
    made = Fields([], [])
    for name, value in lines:
        text = format_date(int(NOW) + value) if isinstance(value, int) else value.encode("latin-1")
        made.add(name.lower().encode(), text, name.encode())
    return made


def request_of(
    *lines: Line, method: bytes = b"GET", target: bytes = b"/", host: bytes = b"example.com"
) -> Request:
    """Make a request of HTTP/1.1 without content."""
    made = Request(method, target, 11, fields_of(("Host", host.decode()), *lines))
    made.host = host
    return made


def response_of(*lines: Line, status: int = 200, length: int = 5) -> Response:
    """Make the head of a response."""
    return Response(status, b"", 11, fields_of(*lines), length)


def stored_of(
    *lines: Line,
    status: int = 200,
    request: Request | None = None,
    policy: Policy | None = None,
    came: float = NOW,
    took: float = 0.0,
) -> StoredResponse:
    """Store a response that came at `came`, `took` seconds after it was asked for."""
    asked = request if request is not None else request_of()
    response = response_of(*lines, status=status)
    variant = build(b"http://example.com/", asked, response, policy or Policy(), came - took, came)
    variant.is_complete = True
    variant.length = 5
    return variant


def entry_of(*variants: StoredResponse) -> KeyEntry:
    """Put variants under one key, the newest last."""
    entry = KeyEntry(b"http://example.com/")
    entry.variants = tuple(variants)
    return entry
