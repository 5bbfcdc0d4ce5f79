"""A listener: one listening socket in one worker, and the connections that came through it.

Accepting is greedy but bounded for each wake-up. A connection over a limit is closed at once, before a byte of it is
read: a refused client costs one accept and one close. A proxy that names its clients (the PROXY protocol) is heard
first; then the client's own limits hold. Out of descriptors, the listener keeps one in reserve to accept
and close with, so that clients hear of it at once instead of hanging in the queue, and then rests a moment.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, Protocol, final

from headgate.connection.accepted import Accepted, Opener, ProtocolHost
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Handler
from headgate.connection.h2_downstream import H2Downstream
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.counters import ACCEPT_FAILED, CONNECTIONS, CONNECTIONS_OPEN
from headgate.engine.h2.settings import H2Settings
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import READ, Pollable, Poller
from headgate.net.proxy_protocol import ProxyHeader
from headgate.net.tcp import RESET, TcpTransport
from headgate.net.transport import Transport
from headgate.server.limits import ConnectionLimits, client_network
from headgate.server.proxy_header import Introduced, ProxyHeaderReader

# Connections accepted in one wake-up: more would make those that are open wait (HAProxy takes 4, nginx 1).
MAX_ACCEPTS: Final = 16
# How long a listener rests when the system has no descriptors or memory left.
REST_SECONDS: Final = 0.1
# accept(2): the system is overloaded, as opposed to this one connection being broken.
_OVERLOADED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Secure(Protocol):
    """Makes the TLS transport of a new connection."""

    def __call__(self, sock: socket.socket) -> Transport: ...


@final
class Listener(Pollable, Introduced, ProtocolHost):
    """One listening socket. `connections` are all that came through it and are still open.

    `h2`: HTTP/2 is spoken, with these settings; `h1`: HTTP/1.1 is.
    """

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        *,
        poller: Poller,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        limits: ConnectionLimits,
        forwarder: Forwarder,
        values: list[int],
        secure: Secure | None = None,
        opener: Opener | None = None,
        proxies: Networks | None = None,
        h1: bool = True,
        h2: H2Settings | None = None,
    ) -> None:
        self.name = name
        self.connections: set[Accepted] = set()
        self.limits = limits
        self.rest_until = 0.0
        self.accepting = False
        self.alt_svc = b""  # where else it speaks HTTP, for an Alt-Svc line
        self._sock = sock
        self._fd = sock.fileno()
        self._port: int = sock.getsockname()[1] if sock.family != socket.AF_UNIX else 0
        self._tcp = sock.family != socket.AF_UNIX
        self._poller = poller
        self._handler = handler
        self._observer = observer
        self._settings = settings
        self._forwarder = forwarder
        self._values = values
        self._secure = secure
        self._scheme = b"http" if secure is None else b"https"
        self._opener = opener  # of connections that are not HTTP
        self._proxies = proxies  # who begins with a PROXY header
        self._h1 = h1
        self._h2 = h2
        self._reserve = _spare_descriptor()
        # Given to socket.socket() as numbers: its own accept() turns both into enums for each connection.
        self._family = int(sock.family)
        self._kind = int(sock.type)
        sock.setblocking(False)
        if self._tcp:
            # On Linux an accepted socket inherits this from the listening one.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __repr__(self) -> str:
        return f"<Listener {self.name} {len(self.connections)} connections>"

    def start(self, backlog: int = 4096) -> None:
        """Begin to accept. The kernel caps `backlog` at net.core.somaxconn."""
        self._sock.listen(backlog)
        self._poller.add(self._fd, self, READ)
        self.accepting = True

    def on_readable(self) -> None:
        for _ in range(MAX_ACCEPTS):
            try:
                fd, address = self._sock._accept()  # type: ignore[attr-defined]  # what accept() wraps
            except BlockingIOError:
                return
            except OSError as error:
                self._accept_failed(error)
                return
            self._admit(socket.socket(self._family, self._kind, 0, fd), address)

    def _admit(self, sock: socket.socket, address: object) -> None:
        peer = str(address[0]) if isinstance(address, tuple) else ""
        if peer.startswith("::ffff:"):
            peer = peer[7:]
        port = int(address[1]) if isinstance(address, tuple) and len(address) > 1 else 0
        proxies = self._proxies
        if proxies is not None and proxies.contains(peer.encode()):
            self._await_header(sock, peer, port)
            return
        network = client_network(peer)
        refused = self.limits.admit(network, self._poller.now)
        if refused:
            _refuse(sock)
            return
        self._values[CONNECTIONS] += 1
        self._values[CONNECTIONS_OPEN] += 1
        self._begin(sock, peer, port, network, None)

    def _begin(
        self, sock: socket.socket, peer: str, port: int, network: str, header: ProxyHeader | None
    ) -> None:
        """Make a connection of what has a place, and start it."""
        try:
            sock.setblocking(False)
            context = self._context(sock, peer, port, network, header)
            connection = self._connection(sock, context)
        except BaseException:
            # What cannot become a connection never gives its place back by itself; who woke us tells the defect.
            sock.close()
            self._leave(network)
            raise
        self._start(connection)

    def _start(self, connection: Accepted) -> None:
        self.connections.add(connection)
        try:
            connection.start(secure=self._secure is not None)
        except BaseException:
            connection.close()
            raise

    def _context(
        self, sock: socket.socket, peer: str, port: int, network: str, header: ProxyHeader | None
    ) -> ConnectionContext:
        # Clients know the port that they connected to, which is the proxy's where there is one.
        own_port = header.destination_port if header is not None and header.source else self._port
        forwarded = self._forwarder.connection(peer.encode(), self._scheme, own_port)
        context = ConnectionContext(self.name, peer, port, self._scheme, forwarded)
        context.network = network
        context.owner = self
        context.sock = sock
        context.alt_svc = self.alt_svc
        if header is not None:
            context.destination = header.destination
            context.destination_port = header.destination_port
        return context

    def _connection(self, sock: socket.socket, context: ConnectionContext) -> Accepted:
        opener = self._opener
        if opener is not None:
            return opener.open(sock, context)
        secure = self._secure
        transport: Transport = TcpTransport(sock) if secure is None else secure(sock)
        if secure is None and not self._h1 and self._h2 is not None:
            return self._h2_driver(transport, context, self._h2)
        return DownstreamConnection(
            transport,
            self._poller,
            self._handler,
            self._observer,
            self._settings,
            self._values,
            context,
            self if self._h2 is not None else None,
        )

    # -- HTTP/2

    def _h2_driver(
        self, transport: Transport, context: ConnectionContext, settings: H2Settings
    ) -> H2Downstream:
        return H2Downstream(
            transport,
            self._poller,
            self._handler,
            self._observer,
            self._settings,
            self._values,
            context,
            settings,
        )

    def is_h2(self, alpn: bytes) -> bool:
        return alpn == b"h2" or not self._h1

    def speak_h2(self, connection: Accepted, early: bytes) -> None:
        settings = self._h2
        if settings is None:
            return
        driver = self._h2_driver(connection.transport, connection.context, settings)
        self.connections.discard(connection)
        self.connections.add(driver)
        driver.take_over(connection, early)
        if isinstance(connection, DownstreamConnection) and connection.draining:
            driver.drain()  # it shook hands while we began to leave

    # -- who comes through a proxy

    def _await_header(self, sock: socket.socket, peer: str, port: int) -> None:
        """The client is not known yet: only the bounds on everybody hold until the proxy has named it."""
        if self.limits.admit_unnamed(self._poller.now):
            _refuse(sock)
            return
        self._values[CONNECTIONS] += 1
        self._values[CONNECTIONS_OPEN] += 1
        try:
            sock.setblocking(False)
            reader = ProxyHeaderReader(
                sock,
                self._poller,
                self._context(sock, peer, port, "", None),
                self._observer,
                self._values,
                self._settings.handshake,
                self,
            )
        except BaseException:
            sock.close()
            self._leave("")
            raise
        self._start(reader)

    def introduced(self, reader: ProxyHeaderReader, header: ProxyHeader) -> None:
        self.connections.discard(reader)
        peer, port = reader.context.peer, reader.context.port
        if header.source:
            peer, port = header.source, header.source_port
        network = client_network(peer)
        if self.limits.name(network, self._poller.now):
            self._leave("")
            _refuse(reader.sock)
            return
        self._begin(reader.sock, peer, port, network, header)

    def _accept_failed(self, error: OSError) -> None:
        if error.errno not in _OVERLOADED:
            return  # ECONNABORTED and the like: that client has left
        self._values[ACCEPT_FAILED] += 1
        if self._reserve >= 0:
            os.close(self._reserve)
        for _ in range(MAX_ACCEPTS):
            try:
                sock, _address = self._sock.accept()
            except OSError:
                break  # nobody waits, or somebody else took the descriptor
            _refuse(sock)
        try:
            self._reserve = _spare_descriptor()
        except OSError:
            self._reserve = -1
        self._rest()

    def _rest(self) -> None:
        """Stop accepting for a moment: level-triggered, the queue would wake us for nothing until a place is free."""
        if self.accepting:
            self.accepting = False
            self._poller.remove(self._fd)
            self.rest_until = self._poller.now + REST_SECONDS

    def wake(self) -> None:
        """Go on accepting after a rest; called by the sweep."""
        self.rest_until = 0.0
        if self._reserve < 0:
            try:
                self._reserve = _spare_descriptor()
            except OSError:
                self.rest_until = self._poller.now + REST_SECONDS
                return
        self._poller.add(self._fd, self, READ)
        self.accepting = True

    def on_writable(self) -> None:
        return

    def on_crash(self, error: Exception) -> None:
        self._observer.crashed(f"listener {self.name}", error)

    def gone(self, connection: Accepted, network: str) -> None:
        """A connection of ours is closed."""
        self.connections.discard(connection)
        self._leave(network)

    def _leave(self, network: str) -> None:
        self.limits.leave(network)
        self._values[CONNECTIONS_OPEN] -= 1

    @property
    def is_started(self) -> bool:
        """Whether it accepts, or rests from that."""
        return self.accepting or self.rest_until > 0.0

    def replace(self, sock: socket.socket, backlog: int = 4096) -> None:
        """Accept from `sock`, of the same family, in place of one that nobody reaches; open connections go on."""
        accepting = self.accepting
        if accepting:
            self._poller.remove(self._fd)
        self._sock.close()
        self._sock = sock
        self._fd = sock.fileno()
        sock.setblocking(False)
        if self.is_started:
            sock.listen(backlog)
        if accepting:
            self._poller.add(self._fd, self, READ)

    def close(self) -> None:
        """Stop accepting for good; open connections go on."""
        if self.accepting:
            self.accepting = False
            self._poller.remove(self._fd)
        self.rest_until = 0.0
        self._sock.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1


def _refuse(sock: socket.socket) -> None:
    """Reset: it frees the kernel's side at once, where a plain end would let a flood fill it with TIME_WAIT."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except OSError:
        pass  # that client has left
    sock.close()


def _spare_descriptor() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
