"""What is known of a downstream connection beside its bytes: who, through which listener, with which TLS."""

from typing import final

from headgate.http.forwarded import ForwardedPeer


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
        self.network = ""  # the key of the per-client limits
        self.sni = b""
        self.tls_version = ""
        self.log_fields = b""  # what the access log says of the connection, encoded once
        self.owner: object | None = None  # the listener
        self.alt_svc = b""  # what answers say of HTTP/3 (RFC 7838), b"" for nothing
