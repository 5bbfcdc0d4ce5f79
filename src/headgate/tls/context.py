"""The TLS of one listener in one worker: contexts, the callbacks in them, and what happens when a handshake is over.

A connection begins on a base context of the ticket ring (tickets.py). In the server-name callback, which OpenSSL
calls without a name too, it is switched to the context of the identities that cover the name; that context is made
when the first client asks for it (0.5 to 0.8 ms, 10 to 25 KiB): ten thousand certificates start as fast as one.

One context holds one identity for each key type, each with a chain of its own: `use_certificate_chain_file` is the
one call of pyOpenSSL that ties a chain to a certificate instead of to the context, so the PEM goes through a memory
file. OpenSSL then picks by the client's signature algorithms, and the staple callback asks which one it picked.

The staple is an attribute of the identity, compared with the wall clock at each handshake: nothing expired is sent
even if nobody is left to renew it. A resumed handshake sends neither certificate nor staple; nobody is called back.
"""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from headgate.clock import Clock
from headgate.counters import (
    HANDSHAKES_FULL,
    HANDSHAKES_RESUMED,
    REFUSED_RENEGOTIATION,
    STAPLE_ABSENT,
    STAPLE_EXPIRED,
    STAPLE_OFF,
    STAPLE_REFUSED,
    STAPLE_REVOKED,
    STAPLE_SENT,
)
from headgate.errors import HeadgateError, TransportError
from headgate.tls.client_auth import ClientCertificate, ClientVerifier
from headgate.tls.client_hello import ClientHello
from headgate.tls.handshake import Handshake
from headgate.tls.identity import Identity, IdentityError, load_key
from headgate.tls.openssl import AlpnSelector, PostHandshake, ReadBuffer, is_resumed
from headgate.tls.policy import TlsPolicy, server_context
from headgate.tls.selection import Choice, Selection
from headgate.tls.tickets import TicketRing
from headgate.tls.transport import TlsTransport

# What one read may return at most; the drivers ask for no more.
READ_BUFFER: Final = 256 * 1024
UNKNOWN_NAME: Final = "unrecognized-name"
_SHA256: Final = hashes.SHA256()

Report = Callable[[str, str], None]


class MustStapleError(HeadgateError):
    """`must_staple = "refuse"`: a client asked for the staple that the certificate promises, and there is none."""


class ServerTls:
    """What a worker needs to speak TLS on one listener. One thread only.

    `report(name, reason)` is told of a certificate that OpenSSL will not take, once for each.
    """

    def __init__(
        self,
        ring: TicketRing,
        identities: Sequence[Identity],
        values: list[int],
        clock: Clock,
        report: Report,
    ) -> None:
        """Take over the ring of the listener's policy; `values` are the counters. Raises `ConfigError` for a client
        CA or CRL that cannot be used."""
        self.policy = ring.policy
        self.buffer: Final = ReadBuffer(READ_BUFFER)
        self.post_handshake: Final = PostHandshake()
        self._ring = ring
        self._values = values
        self._clock = clock
        self._report = report
        self._verifier = ClientVerifier(self.policy) if self.policy.asks_client else None
        self._selection = Selection(identities, clock.wall())
        self._nobody = server_context(self.policy)
        self._alpn = AlpnSelector(self.policy.alpn)
        ring.on_server_name = self._on_server_name
        if self._verifier is not None:
            ring.on_verify = self._verifier.on_verify

    def __repr__(self) -> str:
        return f"<ServerTls {self.policy.name}: {self._selection!r}>"

    # -- what changes while it runs

    def set_identities(self, identities: Sequence[Identity]) -> None:
        """Serve these from the next handshake on; contexts of identities that stay are kept."""
        self._selection = Selection(identities, self._clock.wall(), self._selection)

    def set_client_files(self, policy: TlsPolicy, identities: Sequence[Identity]) -> None:
        """Take up renewed `client_ca` and `client_crl`; resumed sessions are checked against them as well.

        Raises `ConfigError` when they cannot be used (then everything stays), or when more than that differs.
        """
        if policy.id != self.policy.id:
            raise HeadgateError("the policy of a listener changes with its workers, not within one")
        verifier = ClientVerifier(policy) if policy.asks_client else None
        self.policy = policy
        self._verifier = verifier
        if verifier is not None:
            self._ring.on_verify = verifier.on_verify
        self._selection = Selection(identities, self._clock.wall())

    @property
    def verifier(self) -> ClientVerifier | None:
        """Who verifies client certificates, None where nobody is asked for one."""
        return self._verifier

    def choice_for(self, server_name: bytes) -> Choice | None:
        """Return what a client gets that asks for this name (b"": none), None when the policy rejects it."""
        choice = self._selection.find(server_name)
        if choice is None and self.policy.unknown_name == "first":
            choice = self._selection.first
        return choice

    def staple_now(self, identity: Identity, _begun: float = 0.0) -> tuple[int, bytes]:
        """Return what a client that asked for this identity's staple gets at this moment; see `staple_for`.

        That a handshake has `_begun` some time ago changes nothing.
        """
        return staple_for(identity, self._clock.wall())

    def report(self, name: str, reason: str) -> None:
        """Tell of a certificate that cannot be used."""
        self._report(name, reason)

    def covers(self, host: bytes) -> bool:
        """Tell whether a certificate of this listener is good for this host name."""
        return self._selection.find(host) is not None

    def accept(self, sock: socket.socket) -> TlsTransport:
        """Return a transport that takes over an accepted, non-blocking socket."""
        return TlsTransport(sock, self, server=True)

    # -- what the transport asks

    def begin(self, sock: socket.socket, hello: ClientHello | None) -> SSL.Connection:
        """Start OpenSSL on a connection whose ClientHello is there (None: it could not be read beforehand).

        Raises `TransportError` for a name that the policy rejects.
        """
        if hello is not None and self._is_rejected(hello.server_name):
            raise TransportError(UNKNOWN_NAME, 0, _printable(hello.server_name))
        conn = SSL.Connection(self._ring.base_for(hello.ticket_key if hello is not None else b""), sock)
        conn.set_accept_state()
        conn.set_app_data(Handshake())
        return conn

    def finished(self, conn: SSL.Connection) -> None:
        """Count a handshake that came to its end. Raises `TransportError` when the client is not let in after all."""
        record = conn.get_app_data()
        if is_resumed(conn):
            if self._verifier is not None:
                self._verifier.recheck(conn.get_peer_certificate(as_cryptography=True))
            self._values[HANDSHAKES_RESUMED] += 1
        else:
            self._values[HANDSHAKES_FULL] += 1
            if isinstance(record, Handshake):
                self._values[record.staple] += 1
        self.post_handshake.watch(conn)

    def failed(self, conn: SSL.Connection | None, reason: str) -> str:
        """A handshake failed for what OpenSSL calls `reason`; return the reason to give."""
        record = conn.get_app_data() if conn is not None else None
        if isinstance(record, Handshake) and record.refusal:
            if record.staple == STAPLE_REFUSED:
                self._values[STAPLE_REFUSED] += 1
            return record.refusal
        return reason

    def message_came(self, conn: SSL.Connection) -> None:
        pass  # KeyUpdates are counted by the transport, and clients send no tickets

    def flooded(self) -> None:
        """Count a connection that is refused for KeyUpdates or attempts to renegotiate."""
        self._values[REFUSED_RENEGOTIATION] += 1

    def client_certificate(self, conn: SSL.Connection) -> ClientCertificate | None:
        """Return the verified certificate of the client, None when it has none or was not asked."""
        certificate = conn.get_peer_certificate(as_cryptography=True) if self._verifier is not None else None
        return ClientCertificate(certificate) if certificate is not None else None

    # -- callbacks of OpenSSL

    def _is_rejected(self, server_name: bytes) -> bool:
        return self.policy.unknown_name == "reject" and self.choice_for(server_name) is None

    def _on_server_name(self, conn: SSL.Connection) -> None:
        """Switch to the context for the client's name. Never raises: a choice without context refuses by itself."""
        choice = self.choice_for(conn.get_servername() or b"")
        record = conn.get_app_data()
        context = self._context(choice) if choice is not None else None
        if context is None or choice is None:
            # No certificate, no handshake: OpenSSL says handshake_failure. The alert unrecognized_name is sent by the
            # transport, which has seen the name before; this is for a ClientHello in several records.
            if isinstance(record, Handshake):
                record.refusal = UNKNOWN_NAME if choice is None else "certificate-unusable"
            context = self._nobody
        elif isinstance(record, Handshake):
            record.identity = choice.identities[0]
        conn.set_context(context)

    def _on_staple(self, conn: SSL.Connection, choice: Choice | None) -> bytes:
        """Return the staple for the certificate that is about to be sent, b"" for none."""
        record = conn.get_app_data()
        if choice is None:
            return b""
        identity = choice.identities[0] if len(choice.identities) == 1 else _picked(conn, choice)
        outcome, der = self.staple_now(identity)
        if isinstance(record, Handshake):
            record.staple = outcome
            record.identity = identity
            if outcome == STAPLE_REFUSED:
                record.refusal = "must-staple-refused"
        if outcome == STAPLE_REFUSED:
            raise MustStapleError(f"{identity.name} promises a staple, and there is none to send")
        return der

    # -- contexts

    def _context(self, choice: Choice) -> SSL.Context | None:
        if choice.context is None and not choice.failure:
            choice.context = self._build(choice)
        return choice.context

    def _build(self, choice: Choice) -> SSL.Context | None:
        """Make the context of a choice; identities that OpenSSL refuses are reported and left out."""
        usable = list(choice.identities)
        while usable:
            context = server_context(self.policy)
            refused = self._load(context, usable)
            if refused is None:
                choice.identities = tuple(usable)
                self._equip(context, choice)
                return context
            # Begun anew: what was loaded half may have pushed out the certificate of another.
            usable.remove(refused)
        choice.failure = "OpenSSL refuses every certificate for it"
        return None

    def _load(self, context: SSL.Context, identities: Sequence[Identity]) -> Identity | None:
        """Load all; return the one that cannot be loaded."""
        for identity in identities:
            try:
                load_into(context, identity)
            except (SSL.Error, IdentityError, OSError) as error:
                self._report(identity.name, f"OpenSSL refuses it: {error}")
                return identity
        return None

    def _equip(self, context: SSL.Context, choice: Choice) -> None:
        context.set_ocsp_server_callback(self._on_staple, choice)
        if self.policy.alpn:
            self._alpn.equip(context)
        if self._verifier is not None:
            self._verifier.equip(context)


def staple_for(identity: Identity, wall: float) -> tuple[int, bytes]:
    """Return what a client that asked gets now: the counter of the outcome, and the DER or b"". The whole rule."""
    if not identity.stapling:
        return STAPLE_OFF, b""
    staple = identity.staple
    if staple is None:
        outcome = STAPLE_ABSENT
    elif not staple.usable(wall):
        outcome = STAPLE_EXPIRED
    elif staple.status == "revoked" and identity.rules.revoked == "withhold":
        outcome = STAPLE_REVOKED
    else:
        return STAPLE_SENT, staple.der
    if identity.must_staple and identity.rules.must_staple == "refuse":
        return STAPLE_REFUSED, b""
    return outcome, b""


def load_into(context: SSL.Context, identity: Identity) -> None:
    """Add an identity to a context, with a chain of its own. Raises `SSL.Error`, `OSError` or `IdentityError`."""
    descriptor = os.memfd_create("headgate-chain", os.MFD_CLOEXEC)
    try:
        left = memoryview(identity.chain_pem)
        while left:
            left = left[os.write(descriptor, left) :]
        context.use_certificate_chain_file(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    context.use_privatekey(load_key(identity.key_pem))
    context.check_privatekey()


def _picked(conn: SSL.Connection, choice: Choice) -> Identity:
    """Return the identity whose certificate OpenSSL is about to send."""
    certificate = conn.get_certificate(as_cryptography=True)
    if certificate is not None:
        fingerprint = certificate.fingerprint(_SHA256).hex()
        for identity in choice.identities:
            if identity.fingerprint == fingerprint:
                return identity
    return choice.identities[0]


def _printable(name: bytes) -> str:
    return name[:255].decode("ascii", "backslashreplace") or "no server name"
