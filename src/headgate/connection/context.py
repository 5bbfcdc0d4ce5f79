"""What is known of a downstream connection beside its bytes: who, through which listener, with which TLS."""

import socket
from typing import Final, final

from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedPeer
from headgate.net.proxy_protocol import encode_v1, encode_v2

# Versions of the PROXY protocol towards origins.
NO_HEADER: Final = 0
V1: Final = 1
V2: Final = 2
PROXY_VERSIONS: Final = {"off": NO_HEADER, "v1": V1, "v2": V2}


@final
class ConnectionContext:
    """Made at accept, completed by the handshake. `policy` names the TLS policy whose hosts may be asked for."""

    def __init__(self, listener: str, peer: str, port: int, scheme: bytes, forwarded: ForwardedPeer) -> None:
        self.listener = listener
        self.peer = peer
        self.port = port
        self.scheme = scheme
        self.forwarded = forwarded
        self.secure = scheme == b"https"
        self.destination = ""  # where the client connected to, where a proxy has said so
        self.destination_port = 0
        self.sock: socket.socket | None = None  # of TCP
        self.closed = False
        self.network = ""  # the key of the per-client limits
        self.sni = b""
        self.tls_version = ""
        self.log_fields = b""  # what the access log says of the connection, encoded once
        self.owner: object | None = None  # the listener
        self.behalf: ConnectionContext | None = None  # of exchanges of ours for it (proxy/on_behalf)
        self.alt_svc = b""  # what answers say of HTTP/3 (RFC 7838), b"" for nothing

    def announce(self, fields: Fields) -> None:
        """Say in the head of an answer where HTTP/3 is, if it is."""
        if self.alt_svc:
            fields.add(b"alt-svc", self.alt_svc, b"Alt-Svc")

    def destination_address(self) -> tuple[str, int]:
        """Return where the client connected to: at the proxy in front where one has said so, else here.

        ("", 0) where nobody knows: over QUIC, and once the client is gone.
        """
        if self.destination:
            return self.destination, self.destination_port
        if self.sock is not None:
            try:
                own = self.sock.getsockname()
            except OSError:
                return "", 0  # it is closed already
            return str(own[0]), int(own[1])
        return "", 0

    def proxy_header(self, version: int) -> bytes:
        """Return the header that tells an origin of this client: of version `V1` or `V2`, there with its name."""
        to, port = self.destination_address()
        if not to:
            # The client is what matters; an address that is nobody's stands for ours.
            to = "::" if ":" in self.peer else "0.0.0.0"
        if version == V1:
            return encode_v1(self.peer, self.port, to, port)
        return encode_v2(self.peer, self.port, to, port, self.sni)


def local_header(version: int) -> bytes:
    """Return the header of a connection that is ours and nobody's: a probe's."""
    if version == NO_HEADER:
        return b""
    return encode_v1("", 0, "", 0) if version == V1 else encode_v2("", 0, "", 0)
