"""Reads the PROXY header of a connection that a known proxy opened, and leaves everything behind it in the socket.

Octets are looked at with MSG_PEEK first: OpenSSL, or whoever comes next, must find the rest untouched. Those of a
header that is not complete are taken out, so that a level-triggered poller does not wake us for them again. The
listener's handshake timeout holds for the header.
"""

from __future__ import annotations

import socket
from typing import final

from mypy_extensions import trait

from headgate.connection.accepted import Accepted
from headgate.connection.context import ConnectionContext
from headgate.connection.observer import DownstreamObserver
from headgate.counters import REFUSED_PROXY_HEADER, TIMEOUT_HANDSHAKE
from headgate.net.poller import READ, Poller
from headgate.net.proxy_protocol import MAX_V2, ProxyHeader, ProxyHeaderError, decode
from headgate.net.tcp import TcpTransport


@trait
class Introduced:
    """The listener: hears who the client is."""

    def introduced(self, reader: ProxyHeaderReader, header: ProxyHeader) -> None:
        """The header is read, and `reader` is over; its socket and its place are the listener's again."""
        raise NotImplementedError


@final
class ProxyHeaderReader(Accepted):
    """One connection of a proxy, until it has said for whom."""

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        context: ConnectionContext,
        observer: DownstreamObserver,
        values: list[int],
        timeout: float,
        listener: Introduced,
    ) -> None:
        super().__init__(TcpTransport(sock), poller, context)
        self.sock = sock
        self.observer = observer
        self.values = values
        self.timeout = timeout
        self.listener = listener
        self._data = b""

    def __repr__(self) -> str:
        return f"<ProxyHeaderReader fd={self._fd} {len(self._data)} octets>"

    def start(self, *, secure: bool) -> None:
        self.deadline = self.poller.now + self.timeout
        self.watch(READ)

    def on_readable(self) -> None:
        try:
            seen = self.sock.recv(MAX_V2 - len(self._data), socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()  # whoever it was said nothing, and is gone
            return
        if not seen:
            self.close()  # as balancers do that look whether somebody accepts
            return
        before = len(self._data)
        data = self._data + seen
        try:
            header = decode(data)
        except ProxyHeaderError as error:
            self.values[REFUSED_PROXY_HEADER] += 1
            self._refuse("proxy-header", str(error))
            return
        if header is None:
            self.sock.recv(len(seen))
            self._data = data
            return
        self.sock.recv(header.size - before)
        self.poller.remove(self._fd)
        self.closed = True
        self.listener.introduced(self, header)

    def _refuse(self, reason: str, detail: str) -> None:
        self.observer.connection_failed(self.context, reason, detail)
        self.transport.reset_on_close()
        self.close()

    def on_writable(self) -> None:
        return

    def on_deadline(self, now: float) -> None:
        self.values[TIMEOUT_HANDSHAKE] += 1
        self._refuse("proxy-header-timeout", f"no whole header after {self.timeout:g} s")

    def on_crash(self, error: Exception) -> None:
        self.observer.crashed("PROXY header", error)
        self.close()

    def buffered(self) -> int:
        return len(self._data)

    def drain(self) -> None:
        """Nothing is under way here."""
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.close_transport()
            self.observer.connection_closed(self)
