"""A cookie that brings a client back to the endpoint that it was served by first (RFC 6265).

Its value is a keyed hash of the endpoint's URL: it reveals no address, and without the key nobody finds one by trying
addresses. The key is kept over restarts, so sessions are. A client whose endpoint is down, gone, or unknown gets
another one and a new cookie; one whose endpoint has no room just now goes elsewhere once, and keeps its cookie.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final, final

from headgate.connection.exchange import Exchange
from headgate.http.fields import Fields
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.hash_key import cookie_of

_TOKEN_OCTETS: Final = 12


@final
class Sticky:
    """The cookie of one upstream."""

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name.encode()
        self._key = key
        self._endpoints: dict[bytes, Endpoint] = {}
        self._lines: dict[str, bytes] = {}  # by URL: what is sent

    def __repr__(self) -> str:
        return f"<Sticky {self.name.decode()}: {len(self._endpoints)} endpoints>"

    def set_endpoints(self, endpoints: list[Endpoint]) -> None:
        """The group is another."""
        tokens = [self._token(endpoint.url) for endpoint in endpoints]
        self._endpoints = dict(zip(tokens, endpoints, strict=True))
        self._lines = {
            endpoint.url: b"%s=%s; Path=/; HttpOnly; SameSite=Lax" % (self.name, tokens[index])
            for index, endpoint in enumerate(endpoints)
        }

    def find(self, exchange: Exchange) -> Endpoint | None:
        """Return the endpoint that the client's cookie names, if it is ready."""
        endpoint = self._endpoints.get(cookie_of(exchange.request.fields, self.name))
        return endpoint if endpoint is not None and endpoint.slot >= 0 else None

    def stamp(self, exchange: Exchange, endpoint: Endpoint, fields: Fields) -> None:
        """Add the cookie to a response of this endpoint, unless the client has one that is good."""
        line = self._lines.get(endpoint.url)
        if line is None or self.find(exchange) is not None:
            return
        asked = exchange.asked
        if exchange.secure or (asked is not None and asked.scheme == b"https"):
            line += b"; Secure"
        fields.add(b"set-cookie", line, b"Set-Cookie")

    def _token(self, url: str) -> bytes:
        digest = hashlib.blake2b(url.encode(), digest_size=_TOKEN_OCTETS, key=self._key).digest()
        return base64.urlsafe_b64encode(digest)
