"""From an endpoint to a QUIC connection that takes requests: resolve, race all addresses, handshake.

The race is TCP's (net/dialer, RFC 8305), with handshakes in place of connects: a UDP socket is "connected" at once
whoever listens, so an address has answered when its handshake is complete, certificate and name verified. Each
attempt that failed is told with address, errno and milliseconds, and in words where TLS or QUIC said why.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Coroutine
from typing import Any, Final, cast

from headgate.clock import Clock
from headgate.connection.quic_socket import QuicSocket, Timers
from headgate.connection.quic_upstream import QuicUpstream
from headgate.connection.upstream_stream import SILENT, SharedConnection, SharedOwner, UpstreamStream
from headgate.engine.h3.errors import H3_NO_ERROR
from headgate.engine.quic.connection import connect
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.stream import StreamSettings
from headgate.errors import TransportError
from headgate.net.addresses import Address
from headgate.net.dialer import Dialer, Ended
from headgate.net.poller import Poller
from headgate.net.udp import RECEIVE_BUFFER, UdpSocket
from headgate.tasks import Failure, spawn
from headgate.tls.quic_client import QuicClientTls
from headgate.upstream.endpoint import MAX_RESPONSE_HEAD
from headgate.upstream.h3_pool import H3Pool

# A server opens no bidirectional stream in HTTP/3 (RFC 9114 section 6.1), and the socket is connected to one address.
SETTINGS: Final = ConnectionSettings(streams=StreamSettings(bidi_streams=0), follows_preferred=False)


class QuicConnector:
    """Opens QUIC connections to the endpoints of one upstream."""

    def __init__(
        self,
        dialer: Dialer,
        tls: QuicClientTls,
        poller: Poller,
        values: list[int],
        clock: Clock,
        failed: Failure,
    ) -> None:
        self.tls = tls
        self.poller = poller
        self.values = values
        self.clock = clock
        self.buffer = bytearray(RECEIVE_BUFFER)
        self._dialer = dialer
        self._failed = failed

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run one dial in the background; what it raises is a defect and is told."""
        spawn(name, work, self._failed)

    async def connect(self, pool: H3Pool, port: int) -> QuicUpstream:
        """Return a connection after its handshake. Raises `DialError` or `TransportError`."""
        make = functools.partial(QuicAttempt, self, pool)
        won: QuicAttempt
        won, _ = await self._dialer.race(make, pool.host, port, timeout=pool.connect_timeout)
        driver = won.release()
        if driver.closed:
            raise TransportError("closed", errno.ECONNRESET, f"{won.text}: {won.problem}")
        return driver

    def forget(self, driver: QuicUpstream) -> None:
        """Keep what a connection that is over leaves for the next: sessions, and a token."""
        owner = driver.pool
        if isinstance(owner, H3Pool):
            self.tls.keep(owner.host, driver.sessions())
            tokens = driver.quic.take_tokens()
            if tokens:
                owner.token = tokens[-1]


class QuicAttempt(SharedOwner):
    """A handshake with one address: `net.dialer.Racing`, and the owner of its driver until it is won."""

    def __init__(
        self,
        connector: QuicConnector,
        pool: H3Pool,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        port: int,
        ended: Ended[QuicAttempt],
    ) -> None:
        self.address = address
        self.text = address.text(port)
        self.began = loop.time()
        self.problem = ""
        self._connector = connector
        self._pool = pool
        self._loop = loop
        self._port = port
        self._ended = ended
        self._socket: QuicSocket | None = None
        self._driver: QuicUpstream | None = None
        self._is_told = False

    def begin(self) -> None:
        """Make the socket, and send the first flight."""
        poller = self._connector.poller
        poller.now = max(poller.now, self._loop.time())
        try:
            sock = self._open()
            try:
                self._start(sock)
            except BaseException:
                sock.close()
                raise
        except TransportError as error:
            self._end(error.errno or errno.EPROTO, error.detail)
        except OSError as error:
            # Python itself refuses a zone that is no interface, without a number.
            self._end(error.errno or errno.ENODEV, "")

    def _open(self) -> socket.socket:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        sock = socket.socket(self.address.socket_family(), kind)
        try:
            sock.connect(self.address.socket_address(self._port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _start(self, sock: socket.socket) -> None:
        connector = self._connector
        host = self._pool.host
        wall = connector.clock.wall()
        token, self._pool.token = self._pool.token, b""  # for one connection only
        quic = connect(
            connector.tls.settings_for(host),
            SETTINGS,
            os.urandom,
            connector.poller.now,
            wall,
            peer=sock.getpeername(),
            session=connector.tls.take_session(host, wall),
            token=token,
        )
        timers = cast(Timers, self._loop)
        held = QuicSocket(UdpSocket(sock), connector.poller, timers, connector.buffer, connector.values)
        driver = QuicUpstream(
            quic, held.owner, connector.poller, self, connector.values, self._pool.url, MAX_RESPONSE_HEAD
        )
        held.begin(driver)
        self._socket = held
        self._driver = driver

    # -- what the driver tells

    def connection_ready(self, driver: SharedConnection) -> None:
        self._end(0, "")

    def connection_ended(self, driver: SharedConnection, reason: str, detail: str) -> None:
        self.problem = detail
        number = errno.EPROTO
        broken = self._socket.error if self._socket is not None else None
        if broken is not None:
            number = broken.errno or errno.EPROTO
            self.problem = ""
        elif reason == SILENT:
            number = errno.ETIMEDOUT
        self._end(number, self.problem)

    def room_changed(self, driver: SharedConnection) -> None:
        pass

    def upstream_gone(self, connection: UpstreamStream) -> None:
        pass

    def crashed(self, where: str, error: Exception) -> None:
        self._pool.crashed(where, error)

    def _end(self, number: int, problem: str) -> None:
        if not self._is_told:
            self._is_told = True
            self.problem = problem
            # Never from within a call of the driver's: it is in the middle of its turn.
            self._loop.call_soon(self._ended, self, number)

    # -- whose it is

    def release(self) -> QuicUpstream:
        """Hand out the connection; it is the pool's from now on."""
        driver, self._driver = self._driver, None
        if driver is None:
            raise ValueError("the attempt holds no connection")
        driver.pool = self._pool
        return driver

    def close(self) -> None:
        """End what is still held; twice does no harm."""
        driver, self._driver = self._driver, None
        self._is_told = True
        if driver is not None and not driver.closed:
            driver.close(H3_NO_ERROR, "")
