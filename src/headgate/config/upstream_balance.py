"""How an upstream's requests are shared out: what they are hashed by, the cookie, and who waits for room."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from headgate.config.table import Count, Table
from headgate.config.units import Duration, fault

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 6265 section 4.1.1: a token
_WANT_HASH: Final = '"client", "path", "header:NAME" or "cookie:NAME"'


def _hash_by(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind in ("client", "path") and not colon:
        return text
    if kind not in ("header", "cookie") or not _TOKEN.fullmatch(name):
        raise fault(_WANT_HASH, f'write "{kind}:NAME"' if kind in ("header", "cookie") else "")
    return f"header:{name.lower()}" if kind == "header" else text


def _cookie_name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise fault("the name of a cookie: 1 to 64 letters, digits and -_.!#$%&'*+^`|~")
    return text


HashBy = Annotated[
    str,
    AfterValidator(_hash_by),
    WithJsonSchema({"type": "string", "pattern": "^(client|path|(header|cookie):.+)$", "title": "hash key"}),
]
"""What a request is hashed by."""
CookieName = Annotated[
    str, AfterValidator(_cookie_name), WithJsonSchema({"type": "string", "title": "cookie name"})
]
"""The name of a cookie."""


class Queue(Table):
    """Requests that wait for room while every endpoint has its `max_requests`; for each worker. First come, first
    served."""

    size: Annotated[Count, Field(ge=0, le=1_000_000)] = 1024
    """How many may wait; the next one is answered with 503 (`queue-full`). `0`: none. Reason: Envoy's 1024 pending
    requests; each holds a connection and a head, 10 KiB or so."""
    timeout: Duration = 5.0
    """How long each may wait; then it is answered with 503 (`queue-timeout`). Both say in Retry-After to come back
    after this time. Reason: who has waited 5 s for a first byte is about to leave."""
