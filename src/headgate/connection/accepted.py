"""What a listener has let in, whatever becomes of it: as much as the listener, the sweep and a drain have to know."""

from __future__ import annotations

import socket

from mypy_extensions import mypyc_attr, trait

from headgate.connection.context import ConnectionContext
from headgate.connection.stream_driver import StreamDriver
from headgate.net.poller import Poller
from headgate.net.transport import Transport


class Accepted(StreamDriver):
    """A client's connection. Who closes it tells the observer, which gives its place to another."""

    def __init__(self, transport: Transport, poller: Poller, context: ConnectionContext) -> None:
        super().__init__(transport, poller)
        self.context = context  # the listener's own: addresses, scheme, TLS facts

    def start(self, *, secure: bool) -> None:
        """Begin; `secure`: with a TLS handshake."""
        raise NotImplementedError

    def buffered(self) -> int:
        """Return how many octets are held of which nobody knows yet what they say."""
        return 0

    def drain(self) -> None:
        """End as soon as nothing is under way."""
        raise NotImplementedError


@trait
class ProtocolHost:
    """The listener of a connection that may turn out to speak another version of HTTP."""

    def is_h2(self, alpn: bytes) -> bool:
        """Tell whether a client speaks HTTP/2 that has agreed on `alpn`, b"" for on nothing."""
        raise NotImplementedError

    def speak_h2(self, connection: Accepted, early: bytes) -> None:
        """The client speaks HTTP/2: let its driver take over; `early` are octets that were read already."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Opener:
    """Makes something else than HTTP of what a listener lets in."""

    def open(self, sock: socket.socket, context: ConnectionContext) -> Accepted:
        """Take over a connected, non-blocking socket."""
        raise NotImplementedError
