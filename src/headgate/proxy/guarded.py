"""How a forward listener dials: like everybody here, and each address only if the guard lets it.

Between the guard's look at an address and the dial of that address nothing is resolved (`Dialer.dial(allow=...)`), so
that no answer of a name server can come in between.
"""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from headgate.net.dialer import Dialed, Dialer
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport
from headgate.proxy.guard import Guard
from headgate.tasks import Failure, spawn
from headgate.upstream.endpoint import Endpoint


class GuardedConnector:
    """Opens the connections of one listener: those of its destinations, and those behind its tunnels."""

    def __init__(self, dialer: Dialer, guard: Guard, timeout: float, failed: Failure) -> None:
        self._dialer = dialer
        self._guard = guard
        self._timeout = timeout
        self._failed = failed

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run one dial in the background; what it raises is a defect and is told."""
        spawn(name, work, self._failed)

    async def connect(self, endpoint: Endpoint) -> Transport:
        """Return a connected transport. Raises `DialError`; its reason is "refused-address" when the guard let none
        pass."""
        return TcpTransport((await self._dial(endpoint.host, endpoint.port)).sock)

    async def open(self, host: str, port: int) -> tuple[Transport, str]:
        """Return a connected transport and its address. Raises `DialError` like `connect`."""
        dialed = await self._dial(host, port)
        return TcpTransport(dialed.sock), dialed.address

    async def _dial(self, host: str, port: int) -> Dialed:
        allow = partial(self._allows, port)
        return await self._dialer.dial(host, port, timeout=self._timeout, allow=allow)

    def _allows(self, port: int, address: str) -> bool:
        return self._guard.allows(address, port)
