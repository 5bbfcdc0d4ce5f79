"""Which upstream a connection is for, by the server name that its ClientHello asks for (RFC 6066 section 3).

An exact name before the longest wildcard before any name, as with the hosts of requests. `*.example.com` is every
name below, however deep. With ECH the name is the outer one: nobody but the origin can read the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

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
        self._exact: dict[bytes, TcpRoute] = {}
        self._below: dict[bytes, TcpRoute] = {}  # by the suffix, its dot included
        self._any: TcpRoute | None = None

    def __repr__(self) -> str:
        return f"<ServerNames {len(self._exact)} names, {len(self._below)} wildcards>"

    def add(self, hosts: Sequence[str], route: TcpRoute) -> None:
        """Add a route for host patterns in lower case; for none: for any name, and without one."""
        if not hosts:
            self._any = route
        for host in hosts:
            if host.startswith("*"):
                self._below[host[1:].encode()] = route
            else:
                self._exact[host.encode()] = route

    def find(self, name: bytes) -> TcpRoute | None:
        """Return the route for a server name (b"" without one), or None."""
        name = name.lower()
        if name.endswith(b"."):
            name = name[:-1]
        route = self._exact.get(name)
        if route is not None:
            return route
        at = name.find(b".")
        while at >= 0:
            route = self._below.get(name[at:])
            if route is not None:
                return route
            at = name.find(b".", at + 1)
        return self._any
