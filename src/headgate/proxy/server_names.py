"""Which upstream a connection is for, by the server name that its ClientHello asks for (RFC 6066 section 3).

An exact name before the longest wildcard before any name, as with the hosts of requests. `*.example.com` is every
name below, however deep. With ECH the name is the outer one: nobody but the origin can read the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from headgate.pipeline.matchers import HostPatterns
from headgate.upstream.upstream import Upstream


@final
class TcpRoute:
    """Where connections go; `name` is what the log calls it."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.upstream = upstream


@final
class ServerNames:
    """The routes of one listener."""

    def __init__(self) -> None:
        self._patterns = HostPatterns()
        self._routes: list[TcpRoute] = []
        self._any: TcpRoute | None = None

    def __repr__(self) -> str:
        return f"<ServerNames {self._patterns!r}>"

    def add(self, hosts: Sequence[str], route: TcpRoute) -> None:
        """Add a route for host patterns in lower case; for none: for any name, and without one."""
        if not hosts:
            self._any = route
        for host in hosts:
            self._patterns.add(host, len(self._routes))
        self._routes.append(route)

    def find(self, name: bytes) -> TcpRoute | None:
        """Return the route for a server name (b"" without one), or None."""
        name = name.lower()
        if name.endswith(b"."):
            name = name[:-1]
        entry = self._patterns.find(name)
        return self._any if entry < 0 else self._routes[entry]
