"""From an exchange to the scope of an ASGI application (ASGI's HTTP and WebSocket message format).

What all requests share (`asgi`, `extensions`, the mount point) is made once; paths are remembered, because an
application has few and clients ask for the same ones again. A path that is not UTF-8 is given as Latin-1 of
its octets replaced: `raw_path` has them as they came.

Who the client is: on a worker's loop that is known (`Exchange.asked`). In a process of its own the peer is the gate,
which has put what it believes into X-Forwarded-For and X-Forwarded-Proto; the chain is read from the right as in
http/forwarded: its last member is whom the gate saw, and while that is a trusted proxy the one before it counts.
"""

from __future__ import annotations

from typing import Any, Final, final
from urllib.parse import unquote

from headgate.connection.exchange import Exchange
from headgate.http.fields import Fields
from headgate.http.networks import Networks

# 2.4: what an application sends after its client has left raises OSError.
ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
HTTP_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {"http.response.trailers": {}}
WEBSOCKET_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {"websocket.http.response": {}}
_VERSIONS: Final = {10: "1.0", 11: "1.1", 20: "2", 30: "3"}
# Some 500 octets an entry with its longest key: at most 1 MiB.
MAX_REMEMBERED: Final = 2048
MAX_REMEMBERED_LENGTH: Final = 256


@final
class ScopeMaker:
    """Makes the scopes of one application. `server` and `trusted` are for a process of its own, and None on a
    worker's loop."""

    def __init__(
        self,
        root_path: str,
        state: dict[str, Any],
        server: tuple[str, int | None] | None,
        trusted: Networks | None,
    ) -> None:
        self.root_path = root_path
        self.state = state
        self.server = server
        self.trusted = trusted
        self._paths: dict[bytes, tuple[str, bytes, bytes]] = {}
        self._servers: dict[str, tuple[str, int | None]] = {}
        self._methods: dict[bytes, str] = {}

    def http(self, exchange: Exchange) -> dict[str, Any]:
        """Return the scope of one request."""
        request = exchange.request
        method = self._methods.get(request.method)
        if method is None:
            method = request.method.decode("ascii", "replace").upper()
            if len(self._methods) < 64:
                self._methods[request.method] = method
        parts = self._paths.get(request.target)
        if parts is None:
            parts = self._read_target(request.target)
        client, scheme = self._client(exchange)
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": _VERSIONS.get(request.version, "1.1"),
            "method": method,
            "scheme": scheme,
            "path": parts[0],
            "raw_path": parts[1],
            "query_string": parts[2],
            "root_path": self.root_path,
            "headers": request.fields.items(),
            "client": client,
            "server": self.server or self._server(exchange.context.listener),
            "state": self.state.copy(),
            "extensions": HTTP_EXTENSIONS,
        }

    def websocket(self, exchange: Exchange) -> dict[str, Any]:
        """Return the scope of a request for a WebSocket."""
        scope = self.http(exchange)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["extensions"] = WEBSOCKET_EXTENSIONS
        offered = b",".join(exchange.request.fields.get_all(b"sec-websocket-protocol")).decode("latin-1")
        scope["subprotocols"] = [name.strip() for name in offered.split(",") if name.strip()]
        return scope

    def _server(self, listener: str) -> tuple[str, int | None]:
        """Return a listener's address as ASGI has it."""
        known = self._servers.get(listener)
        if known is None:
            host, _, port = listener.rpartition(":")
            known = self._servers[listener] = (host.strip("[]"), int(port) if port.isdigit() else None)
        return known

    def _read_target(self, target: bytes) -> tuple[str, bytes, bytes]:
        raw, _, query = target.partition(b"?")
        parts = (unquote(raw.decode("latin-1")) if b"%" in raw else raw.decode("latin-1"), raw, query)
        if len(target) <= MAX_REMEMBERED_LENGTH:
            if len(self._paths) >= MAX_REMEMBERED:
                self._paths.clear()
            self._paths[target] = parts
        return parts

    def _client(self, exchange: Exchange) -> tuple[tuple[str, int] | None, str]:
        """Return the client's address, its port where it is known (else 0), and the scheme that it used."""
        trusted = self.trusted
        if trusted is not None:
            fields = exchange.request.fields
            scheme = fields.get(b"x-forwarded-proto") or b"http"
            client = believed_client(fields, trusted)
            return (client.decode("latin-1"), 0) if client else None, scheme.decode("latin-1")
        context = exchange.context
        asked = exchange.asked
        if asked is None:
            return (context.peer, context.port), context.scheme.decode()
        client = asked.client
        if not client:
            return None, asked.scheme.decode()
        address = client.decode()
        return (address, context.port if address == context.peer else 0), asked.scheme.decode()


def believed_client(fields: Fields, trusted: Networks) -> bytes:
    """Return the client's address from the chain that a gate wrote, b"" when nobody knows it."""
    values = fields.get_all(b"x-forwarded-for")
    if not values:
        return b""
    chain = [node.strip(b" \t") for value in values for node in value.split(b",")]
    index = len(chain) - 1
    while index > 0 and trusted.contains(chain[index]) and chain[index - 1] != b"unknown":
        index -= 1
    return chain[index] if chain[index] != b"unknown" else b""
