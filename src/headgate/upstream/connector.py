"""The connector: from an endpoint to a transport that is ready for HTTP: resolve → dial → TLS.

The only part of an upstream that awaits. Each dial is one task with one deadline for all of it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from typing import Any

from headgate.errors import TransportError
from headgate.net.dialer import Dialer
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport
from headgate.tasks import Failure, spawn
from headgate.tls.client import ClientTls
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.readiness import handshake


class DialingConnector:
    """Opens transports to the endpoints of one upstream; `tls` is for its https endpoints."""

    def __init__(self, dialer: Dialer, tls: ClientTls | None, failed: Failure) -> None:
        self._dialer = dialer
        self._tls = tls
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
        transport = self._tls.connect(dialed.sock, endpoint.host)
        transport.peer = dialed.address
        try:
            async with asyncio.timeout_at(deadline):
                await handshake(transport)
        except TimeoutError:
            transport.close()
            raise TransportError(
                "timeout", errno.ETIMEDOUT, f"TLS handshake with {dialed.address} took too long"
            ) from None
        except BaseException:
            transport.close()
            raise
        return transport
