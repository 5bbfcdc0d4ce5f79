"""TLS towards origins: verify by default, by name, with the system's authorities or the configured ones.

OpenSSL verifies the chain during the handshake; whether the certificate is for this host is service-identity's to say
(RFC 9525), after it. A certificate of our own is sent when the configuration has one and the origin asks. A staple is
asked for only where somebody looks at it: `check_staple` is given the chain up to the root and the staple, b"" for
none, and raises `TlsAlertError`; `headgate.ocsp.peer` has one.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from headgate.engine.tls13.alerts import TlsAlertError
from headgate.errors import ConfigError, TransportError
from headgate.tls.client_auth import read_certificates
from headgate.tls.client_hello import ClientHello
from headgate.tls.context import load_into
from headgate.tls.identity import Identity, IdentityError
from headgate.tls.openssl import PostHandshake, ReadBuffer
from headgate.tls.transport import TlsTransport

CheckStaple = Callable[[Sequence[x509.Certificate], bytes], None]

READ_BUFFER: Final = 256 * 1024
MAX_NAME: Final = 253  # RFC 1035 section 2.3.4, as text


@dataclass(frozen=True, slots=True)
class ClientTlsSettings:
    """How an upstream's https endpoints are spoken to.

    `authorities` is PEM, b"" for the system's; `name` replaces the endpoint's host in SNI and check; `identity` is
    our own certificate, if the origin asks for one.
    """

    verify: bool = True
    authorities: bytes = b""
    name: str = ""
    identity: Identity | None = None
    alpn: tuple[bytes, ...] = (b"http/1.1",)


class ClientTls:
    """The context of one upstream, shared by its connections. One thread only."""

    def __init__(self, settings: ClientTlsSettings, check_staple: CheckStaple | None = None) -> None:
        """Build the context. Raises `ConfigError` when authorities or certificate cannot be used."""
        self.check_staple: Final = check_staple
        self.buffer: Final = ReadBuffer(READ_BUFFER)
        self.post_handshake: Final = PostHandshake()
        self._settings = settings
        self._context = _client_context(settings)
        if check_staple is not None:
            self._context.set_ocsp_client_callback(_note_staple)

    def __repr__(self) -> str:
        trust = "configured" if self._settings.authorities else "system"
        return f"<ClientTls verify={self._settings.verify} authorities={trust}>"

    @property
    def settings(self) -> ClientTlsSettings:
        """What it was made with."""
        return self._settings

    @property
    def store(self) -> X509Store:
        """Whom it trusts: the certificates that OpenSSL builds chains to."""
        store = self._context.get_cert_store()
        if store is None:
            raise ConfigError("OpenSSL gave a context without a certificate store")
        return store

    def connect(self, sock: socket.socket, host: str) -> TlsTransport:
        """Return a transport for a connected, non-blocking socket to `host` (a name or an IP address)."""
        return TlsTransport(sock, _Connecting(self, self._settings.name or host), server=False)

    def open(self, sock: socket.socket, host: str) -> SSL.Connection:
        """Start OpenSSL as a client; IP addresses are never sent as a server name (RFC 6066 section 3)."""
        conn = SSL.Connection(self._context, sock)
        conn.set_connect_state()
        if not is_address(host):
            conn.set_tlsext_host_name(server_name(host))
        if self.check_staple is not None:
            conn.set_app_data(b"")
            conn.request_ocsp()
        return conn

    def check(self, conn: SSL.Connection, host: str) -> None:
        """Raise `TransportError` when the certificate is not for `host`."""
        if not self._settings.verify:
            return
        try:
            if is_address(host):
                verify_ip_address(conn, host)
            else:
                verify_hostname(conn, host)
        except (VerificationError, CertificateError) as error:
            raise TransportError(
                "certificate-name-mismatch", 0, f"the certificate is not for {host}"
            ) from error
        if self.check_staple is not None:
            staple = conn.get_app_data()
            chain = conn.get_verified_chain(as_cryptography=True) or []
            try:
                self.check_staple(chain, staple if isinstance(staple, bytes) else b"")
            except TlsAlertError as refused:
                raise TransportError(refused.reason, 0, refused.detail) from refused


def _note_staple(conn: SSL.Connection, staple: bytes, _unused: object) -> bool:
    """Keep what the origin stapled until the chain is verified: a callback of OpenSSL refuses nothing here."""
    conn.set_app_data(staple)
    return True


class _Connecting:
    """The role of one outbound connection: its context and the name that the certificate must have."""

    def __init__(self, tls: ClientTls, host: str) -> None:
        self.buffer = tls.buffer
        self.post_handshake = tls.post_handshake
        self._tls = tls
        self._host = host

    def begin(self, sock: socket.socket, hello: ClientHello | None) -> SSL.Connection:
        return self._tls.open(sock, self._host)

    def finished(self, conn: SSL.Connection) -> None:
        self._tls.check(conn, self._host)
        self.post_handshake.watch(conn)

    def failed(self, conn: SSL.Connection | None, reason: str) -> str:
        return reason

    def flooded(self) -> None:
        pass  # the driver tells of it: an origin is somebody we know


def _client_context(settings: ClientTlsSettings) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER if settings.verify else SSL.VERIFY_NONE)
    if settings.alpn:
        context.set_alpn_protos(list(settings.alpn))
    if settings.authorities:
        authorities = read_certificates(settings.authorities)
        store = context.get_cert_store()
        if not authorities or store is None:
            raise ConfigError("there is no certificate in the upstream's ca")
        for certificate in authorities:
            store.add_cert(X509.from_cryptography(certificate))
    elif settings.verify:
        context.set_default_verify_paths()
    if settings.identity is not None:
        try:
            load_into(context, settings.identity)
        except (SSL.Error, IdentityError, OSError) as error:
            raise ConfigError(f"the upstream's client certificate cannot be used: {error}") from error
    return context


def server_name(host: str) -> bytes:
    """Return what goes into SNI for a host. Raises `TransportError`."""
    try:
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError as error:
        raise TransportError("upstream-name-invalid", 0, f"{host[:255]!r} cannot be a server name") from error
    if not name or len(name) > MAX_NAME or b"\0" in name:
        raise TransportError("upstream-name-invalid", 0, f"{host[:255]!r} cannot be a server name")
    return name


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, which is never sent as a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
