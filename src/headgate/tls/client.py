"""TLS towards origins: verify by default, by name, with the system's authorities or the configured ones.

OpenSSL verifies the chain during the handshake and is asked which check failed at which certificate (tls/verdict);
whether the certificate is for this host is service-identity's to say (RFC 9525), after every handshake. A certificate
of our own is sent when the configuration has one and the origin asks. A staple is asked for only where somebody looks
at it: `check_staple` is given the chain up to the root and the staple, b"" for none, and raises `TlsAlertError`;
`headgate.ocsp.peer` has one. Sessions are resumed as tls/sessions says; OpenSSL's own cache knows no hosts, and
is off.

OpenSSL gets a connected socket (with TCP Fast Open: one that connects with the first flight) and nothing in between.
"""

import socket
from dataclasses import dataclass
from typing import Final, Literal

from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store

from headgate.clock import Clock, SystemClock
from headgate.engine.tls13.alerts import TlsAlertError
from headgate.errors import ConfigError, TransportError
from headgate.tls.client_auth import read_certificates
from headgate.tls.client_hello import ClientHello
from headgate.tls.context import load_into
from headgate.tls.identity import Identity, IdentityError
from headgate.tls.openssl import (
    PostHandshake,
    ReadBuffer,
    is_resumed,
    is_same_session,
    offer_alpn,
    verify_text,
)
from headgate.tls.sessions import CheckStaple, Kept, Proof, Sessions
from headgate.tls.transport import TlsTransport
from headgate.tls.verdict import NAME_MISMATCH, describe, is_address, word_for, wrong_name

READ_BUFFER: Final = 256 * 1024
MAX_NAME: Final = 253  # RFC 1035 section 2.3.4, as text
_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True, slots=True)
class ClientTlsSettings:
    """How an upstream's https endpoints are spoken to.

    `authorities` is PEM, b"" for the system's; `name` replaces the endpoint's host in SNI and check; `identity` is
    our own certificate, if the origin asks for one; without `resumption` every handshake is a full one.
    """

    verify: bool = True
    authorities: bytes = b""
    name: str = ""
    identity: Identity | None = None
    alpn: tuple[bytes, ...] = (b"http/1.1",)
    min_version: Literal["1.2", "1.3"] = "1.2"
    resumption: bool = True


class ClientTls:
    """The context of one upstream, shared by its connections. One thread only."""

    def __init__(
        self,
        settings: ClientTlsSettings,
        check_staple: CheckStaple | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Build the context. Raises `ConfigError` when authorities or certificate cannot be used."""
        self.check_staple: Final = check_staple
        self.buffer: Final = ReadBuffer(READ_BUFFER)
        self.post_handshake: Final = PostHandshake()
        self.clock: Final[Clock] = clock or SystemClock()
        self.sessions: Final = Sessions(check_staple) if settings.resumption else None
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

    def connect(
        self, sock: socket.socket, host: str, port: int = 0, alpn: tuple[bytes, ...] = ()
    ) -> TlsTransport:
        """Return a transport for a connected, non-blocking socket to `host` (a name or an IP address). Sessions of
        other ports are not offered. `alpn` is offered in place of what the settings say."""
        role = _Connecting(self, self._settings.name or host, (host, port), alpn)
        return TlsTransport(sock, role, server=False)

    def open(self, sock: socket.socket | None, host: str) -> SSL.Connection:
        """Start OpenSSL as a client; IP addresses are never sent as a server name (RFC 6066 section 3)."""
        conn = SSL.Connection(self._context, sock)
        conn.set_connect_state()
        if not is_address(host):
            conn.set_tlsext_host_name(server_name(host))
        if self.check_staple is not None:
            conn.request_ocsp()
        return conn

    def check(self, conn: SSL.Connection, host: str, staple: bytes) -> Proof:
        """Return what a full handshake is believed by. Raises `TransportError` when the certificate is not for
        `host`, or its staple does not do."""
        if not self._settings.verify:
            return Proof((), b"")
        self.check_name(conn, host)
        if self.check_staple is None and self.sessions is None:
            return Proof((), b"")
        chain = conn.get_verified_chain(as_cryptography=True) or []
        if self.check_staple is not None:
            try:
                self.check_staple(chain, staple)
            except TlsAlertError as refused:
                raise TransportError(refused.reason, 0, refused.detail) from refused
        return Proof(chain, staple)

    def check_name(self, conn: SSL.Connection, host: str) -> None:
        """Raise `TransportError` when the certificate, which a resumed session has too, is not for `host`."""
        if self._settings.verify:
            wrong = wrong_name(conn.get_peer_certificate(as_cryptography=True), host)
            if wrong:
                raise TransportError(NAME_MISMATCH, 0, wrong)


class _Connecting:
    """The role of one outbound connection: its context, the name that the certificate must have, its session.

    OpenSSL's connection has it as `app_data`, for the callbacks; it has no connection, so that there is no cycle.
    """

    def __init__(self, tls: ClientTls, host: str, place: tuple[str, int], alpn: tuple[bytes, ...]) -> None:
        self.buffer = tls.buffer
        self.post_handshake = tls.post_handshake
        self.staple = b""
        self._tls = tls
        self._host = host
        self._place = place
        self._alpn = alpn
        self._offered: Kept | None = None
        self._proof = Proof((), b"")
        self._known: SSL.Session | None = None  # that we have already

    def begin(self, sock: socket.socket, hello: ClientHello | None) -> SSL.Connection:
        tls = self._tls
        conn = tls.open(sock, self._host)
        conn.set_app_data(self)
        if self._alpn:
            offer_alpn(conn, self._alpn)
        if tls.sessions is not None:
            self._offered = tls.sessions.take(*self._place, tls.clock.wall())
            if self._offered is not None:
                conn.set_session(self._offered.session)
        return conn

    def finished(self, conn: SSL.Connection) -> None:
        offered, self._offered = self._offered, None
        if offered is not None and is_resumed(conn):
            self._tls.check_name(conn, self._host)
            self._proof = offered.proof
            self._known = offered.session
        else:
            self._proof = self._tls.check(conn, self._host, self.staple)
        self.staple = b""
        if conn.get_protocol_version() < SSL.TLS1_3_VERSION:
            self.message_came(conn)  # its session is complete; in TLS 1.3 tickets come later
        self.post_handshake.watch(conn)

    def message_came(self, conn: SSL.Connection) -> None:
        """Keep the session when it is another one: a NewSessionTicket makes one, a KeyUpdate does not."""
        sessions = self._tls.sessions
        session = conn.get_session() if sessions is not None else None
        if sessions is None or session is None:
            return
        if self._known is None or not is_same_session(session, self._known):
            self._known = session
            is_single = conn.get_protocol_version() >= SSL.TLS1_3_VERSION
            sessions.keep(*self._place, Kept(session, self._proof, is_single=is_single))

    def failed(self, conn: SSL.Connection | None, reason: str) -> str:
        return reason

    def flooded(self) -> None:
        pass  # the driver tells of it: an origin is somebody we know


def _note_staple(conn: SSL.Connection, staple: bytes, _unused: object) -> bool:
    """Keep what the origin stapled until the chain is verified: a callback of OpenSSL refuses nothing here."""
    role = conn.get_app_data()
    if isinstance(role, _Connecting):
        role.staple = staple
    return True


def _on_verify(conn: SSL.Connection, certificate: X509, number: int, depth: int, verified: int) -> bool:
    """Say which check failed; OpenSSL sends the alert for it, and the handshake ends with what is raised here."""
    if not verified:
        raise TransportError(word_for(number), 0, describe(number, verify_text(number), depth, certificate))
    return True


def _client_context(settings: ClientTlsSettings) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.min_version])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if settings.verify:
        context.set_verify(SSL.VERIFY_PEER, _on_verify)
    else:
        context.set_verify(SSL.VERIFY_NONE)
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
