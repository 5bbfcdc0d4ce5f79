"""The connector: from an endpoint to a transport that is ready for HTTP: resolve → dial → TLS.

The only part of an upstream that awaits. Each dial is one task with one deadline for all of it. Where the upstream
has TCP Fast Open, `fast_open` stands between dial and TLS; without it nothing of that is on the way.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Coroutine
from typing import Any, Final

from headgate.counters import UPSTREAM_TLS_FAILED, UPSTREAM_TLS_FULL, UPSTREAM_TLS_RESUMED
from headgate.errors import TransportError
from headgate.net.dialer import Dialer
from headgate.net.tcp import TcpTransport, broken
from headgate.net.transport import Transport
from headgate.tasks import Failure, spawn
from headgate.tls.client import ClientTls
from headgate.tls.transport import TlsTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.fast_open import FastOpen
from headgate.upstream.h2_pool import Place, Trust
from headgate.upstream.readiness import handshake

H1_ALPN: Final = b"http/1.1"


class DialingConnector:
    """Opens transports to the endpoints of one upstream; `tls` is for its https endpoints."""

    def __init__(
        self,
        dialer: Dialer,
        tls: ClientTls | None,
        failed: Failure,
        values: list[int],
        fast_open: FastOpen | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._dialer = dialer
        self._tls = tls
        self._values = values
        self._fast_open = fast_open
        self.early = EarlyConnector(fast_open) if fast_open is not None else None
        self._failed = failed
        self.trust = trust  # of connections that may be shared with other upstreams

    def place_of(self, name: str, port: int) -> Place | None:
        """Return how an https endpoint may share connections, None where it may not."""
        if self.trust is None or self._tls is None:
            return None
        return Place(port, self._tls.settings.name or name, self.trust)

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run one dial in the background; what it raises is a defect and is told."""
        spawn(name, work, self._failed)

    def only_h1(self) -> OldConnector:
        """Return one whose origins have no choice but HTTP/1.1."""
        return OldConnector(self)

    def saying(self, header: bytes) -> SayingConnector:
        """Return one that sends a header of the PROXY protocol first."""
        return SayingConnector(self, header)

    async def connect(
        self, endpoint: Endpoint, header: bytes = b"", alpn: tuple[bytes, ...] = ()
    ) -> Transport:
        """Return a connected transport. Raises `DialError` or `TransportError`, within `connect_timeout`.

        Over TLS `alpn` is offered in place of all that the upstream's endpoints are spoken to in."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + endpoint.connect_timeout
        tls = self._tls if endpoint.scheme == "https" else None
        wrap = _plain if tls is None else functools.partial(_secure, tls, endpoint, alpn)
        fast_open = self._fast_open
        if fast_open is None or header:  # what says who the client is goes to nobody that is not there
            dialed = await self._dialer.dial(endpoint.host, endpoint.port, timeout=endpoint.connect_timeout)
            if header:
                _say(dialed.sock, dialed.address, header)
            transport = wrap(dialed.sock, dialed.address)
        elif tls is None:
            return await fast_open.connect_plainly(endpoint, wrap, deadline)
        else:
            transport = await fast_open.connect(endpoint, wrap, deadline)
        if isinstance(transport, TlsTransport):
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


class SayingConnector:
    """The same, with a header in front of everything else on the connection, TLS too."""

    def __init__(self, connector: DialingConnector, header: bytes) -> None:
        self._connector = connector
        self._header = header

    async def connect(self, endpoint: Endpoint) -> Transport:
        """Return a connected transport. Raises `DialError` or `TransportError`, within `connect_timeout`."""
        return await self._connector.connect(endpoint, self._header)


class OldConnector:
    """The same for what HTTP/1.1 alone can do."""

    def __init__(self, connector: DialingConnector) -> None:
        self._connector = connector

    async def connect(self, endpoint: Endpoint) -> Transport:
        """Return a connected transport. Raises `DialError` or `TransportError`, within `connect_timeout`."""
        return await self._connector.connect(endpoint, alpn=(H1_ALPN,))


def _say(sock: socket.socket, address: str, header: bytes) -> None:
    """Send what comes first: it goes out with what comes next. Raises `TransportError`."""
    try:
        sent = sock.send(header, socket.MSG_MORE)
    except OSError as error:
        sock.close()
        raise broken(f"{address}: PROXY header", error) from error
    if sent < len(header):  # 300 octets into an empty buffer
        sock.close()
        raise TransportError("proxy-header", 0, f"{address}: took {sent} of {len(header)} octets")


class EarlyConnector:
    """The same for plain requests that may arrive twice: what is written first may go out in the SYN."""

    def __init__(self, fast_open: FastOpen) -> None:
        self._fast_open = fast_open

    async def connect(self, endpoint: Endpoint) -> Transport:
        """Return a transport to write to. Raises `DialError` or `TransportError`, within `connect_timeout`."""
        deadline = asyncio.get_running_loop().time() + endpoint.connect_timeout
        return await self._fast_open.connect(endpoint, _plain, deadline)


def _plain(sock: socket.socket, address: str) -> Transport:
    transport = TcpTransport(sock)
    transport.peer = address
    return transport


def _secure(
    tls: ClientTls, endpoint: Endpoint, alpn: tuple[bytes, ...], sock: socket.socket, address: str
) -> Transport:
    transport = tls.connect(sock, endpoint.name, endpoint.port, alpn)
    transport.peer = address
    return transport
