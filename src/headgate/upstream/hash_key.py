"""What a request is hashed by, where that decides its endpoint: the client, the path, a header field or a cookie.

The hash is BLAKE2b of the octets: the same in every worker, every run and every gate. Who chooses its keys can aim at
one endpoint, whatever the hash; the bounded load of `policies/ring_hash` is what that meets.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

from headgate.connection.exchange import Exchange
from headgate.http.fields import Fields

CLIENT: Final = 0
PATH: Final = 1
HEADER: Final = 2
COOKIE: Final = 3


@final
class HashKey:
    """One way to a key. A request without the field or the cookie (`name`) is hashed by its client."""

    def __init__(self, kind: int, name: bytes = b"") -> None:
        self.kind = kind
        self.name = name

    def __repr__(self) -> str:
        return f"<HashKey {('client', 'path', 'header', 'cookie')[self.kind]} {self.name.decode()}>"

    def of(self, exchange: Exchange) -> int:
        """Return 60 bits."""
        digest = hashlib.blake2b(self.value(exchange), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 4

    def value(self, exchange: Exchange) -> bytes:
        """Return the octets that are hashed."""
        kind = self.kind
        if kind == PATH and exchange.request.target:
            return exchange.request.target
        if kind == HEADER:
            found = exchange.request.fields.get(self.name)
            if found is not None:
                return found
        elif kind == COOKIE:
            cookie = cookie_of(exchange.request.fields, self.name)
            if cookie:
                return cookie
        asked = exchange.asked
        if asked is not None and asked.client:
            return asked.client
        return exchange.context.peer.encode()


def cookie_of(fields: Fields, name: bytes) -> bytes:
    """Return the value of a cookie, b"" when it is absent (RFC 6265 section 4.2.1; the first counts)."""
    for line in fields.get_all(b"cookie"):
        if name in line:
            for pair in line.split(b";"):
                key, _, value = pair.strip(b" \t").partition(b"=")
                if key == name:
                    return value
    return b""
