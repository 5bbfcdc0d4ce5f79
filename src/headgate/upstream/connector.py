"""The connector: from an endpoint to a transport that is ready for HTTP: resolve → dial → TLS.

The only part of an upstream that awaits. Each dial is one task with one deadline for all of it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from typing import Any

from headgate.counters import UPSTREAM_TLS_FAILED, UPSTREAM_TLS_FULL, UPSTREAM_TLS_RESUMED
from headgate.errors import TransportError
from headgate.net.dialer import Dialer
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport
from headgate.tasks import Failure, spawn
from headgate.tls.client import ClientTls
from headgate.tls.transport import TlsTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.readiness import handshake


class DialingConnector:
    """Opens transports to the endpoints of one upstream; `tls` is for its https endpoints."""

    def __init__(self, dialer: Dialer, tls: ClientTls | None, failed: Failure, values: list[int]) -> None:
        self._dialer = dialer
        self._tls = tls
        self._values = values
        self._failed = failed

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run one dial in the background; what it raises is a defect and is told."""
        spawn(name, work, self._failed)

    async def connect(self, endpoint: Endpoint) -> Transport:
        """Return a connected transport. Raises `DialError` or `TransportError`, within `connect_timeout`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + endpoint.connect_timeout
        dialed = await self._dialer.dial(endpoint.host, endpoint.port, timeout=endpoint.connect_timeout)
        if endpoint.scheme != "https" or self._tls is None:
            plain = TcpTransport(dialed.sock)
            plain.peer = dialed.address
            return plain
        transport = self._tls.connect(dialed.sock, endpoint.host, endpoint.port)
        transport.peer = dialed.address
        await self._shake_hands(transport, deadline)
        return transport

    async def _shake_hands(self, transport: TlsTransport, deadline: float) -> None:
        """Finish the handshake, or close. Raises `TransportError`, with the address in its detail."""
        values = self._values
        try:
            async with asyncio.timeout_at(deadline):
                await handshake(transport)
        except BaseException as error:
            values[UPSTREAM_TLS_FAILED] += 1
            transport.close()
            if isinstance(error, TimeoutError):
                detail = f"TLS handshake with {transport.peer} took too long"
                raise TransportError("timeout", errno.ETIMEDOUT, detail) from None
            if isinstance(error, TransportError):
                detail = f"{transport.peer}: {error.detail}"
                raise TransportError(error.reason, error.errno, detail) from error
            raise
        values[UPSTREAM_TLS_RESUMED if transport.resumed else UPSTREAM_TLS_FULL] += 1
