"""The TLS of one listener over QUIC: the same certificates, staples, client authorities and counters as over TCP.

The handshake itself is `engine/tls13`. What it must ask is asked of the `ServerTls` of the same listener, at the
moment of the handshake: which identities cover the name (tls/selection), what becomes of the staple (`staple_now`,
by the wall clock; invariants W1 and W2), and whether a client's chain is believed. So a renewed certificate, staple
or CRL counts for both at once, and the same certificate gets the same staple in the same second.

Early data is off without an `EarlyData`, which is this worker's alone (engine/tls13/early).

What differs: tickets have keys of their own (`TicketKeys`, shared by the workers), since OpenSSL's cannot be set; and
a session whose client is no longer believed is not refused but shakes hands in full.
"""

from collections.abc import Sequence
from typing import Final, final

from cryptography import x509

from headgate.counters import (
    HANDSHAKES_FAILED,
    HANDSHAKES_FULL,
    HANDSHAKES_RESUMED,
    QUIC_HANDSHAKES_FULL,
    QUIC_HANDSHAKES_RESUMED,
    STAPLE_REFUSED,
)
from headgate.engine.tls13.alerts import HANDSHAKE_FAILURE, TlsAlertError
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import KeyLog, ServerSettings
from headgate.engine.tls13.tickets import TicketKeys
from headgate.errors import LocalProtocolError
from headgate.tls.client_auth import ClientCertificate, ClientVerifier
from headgate.tls.context import ServerTls
from headgate.tls.identity import Identity
from headgate.tls.selection import Choice

# The order of OpenSSL's signature algorithms, which decides over TCP between several certificates for a name.
_KEY_ORDER: Final = ("ecdsa", "ed25519", "ed448", "rsa", "other")


@final
class QuicServerTls:
    """What a worker needs to accept QUIC connections on one listener. One thread only."""

    def __init__(
        self,
        tls: ServerTls,
        values: list[int],
        *,
        alpn: tuple[bytes, ...] = (b"h3",),
        tickets: TicketKeys | None = None,
        early: EarlyData | None = None,
        key_log: KeyLog | None = None,
    ) -> None:
        """Stand beside the listener's TLS over TCP; `values` are the counters. `key_log` gets lines of NSS."""
        self._tls = tls
        self._values = values
        self._alpn = alpn
        self._tickets = tickets
        self._early = early
        self._key_log = key_log
        self._verifier: ClientVerifier | None = None
        self._settings: ServerSettings | None = None

    def __repr__(self) -> str:
        return f"<QuicServerTls {self._tls.policy.name}: {self._tickets!r}>"

    @property
    def settings(self) -> ServerSettings:
        """What the next connection is accepted with."""
        settings = self._settings
        verifier = self._tls.verifier
        if settings is None or verifier is not self._verifier:
            self._verifier = verifier
            settings = self._settings = self._make(verifier)
        return settings

    def set_tickets(self, tickets: TicketKeys | None) -> None:
        """Seal and open with these keys from the next connection on; None: no session is resumed."""
        self._tickets = tickets
        self._settings = None

    # -- what is to be told of a handshake

    def finished(self, handshake: ServerHandshake) -> None:
        """Count a handshake that is complete, once."""
        values = self._values
        if handshake.resumed:
            values[HANDSHAKES_RESUMED] += 1
            values[QUIC_HANDSHAKES_RESUMED] += 1
        else:
            values[HANDSHAKES_FULL] += 1
            values[QUIC_HANDSHAKES_FULL] += 1
            values[handshake.staple_outcome] += 1
        if handshake.early_outcome >= 0:
            values[handshake.early_outcome] += 1

    def failed(self, handshake: ServerHandshake) -> None:
        """Count a handshake that came to nothing, once."""
        self._values[HANDSHAKES_FAILED] += 1
        if handshake.staple_outcome == STAPLE_REFUSED:
            self._values[STAPLE_REFUSED] += 1

    def client_certificate(self, handshake: ServerHandshake) -> ClientCertificate | None:
        """Return the verified certificate of the client, None when it has none or was not asked."""
        if self._tls.verifier is None or not handshake.peer_certificates:
            return None
        return ClientCertificate(x509.load_der_x509_certificate(handshake.peer_certificates[0]))

    # -- what handshakes ask

    def _make(self, verifier: ClientVerifier | None) -> ServerSettings:
        return ServerSettings(
            select=self._select,
            alpn=self._alpn,
            client_auth=self._tls.policy.client_auth,
            verify_client=self._verify_client if verifier is not None else None,
            client_authorities=verifier.names() if verifier is not None else (),
            tickets=self._tickets,
            early=self._early,
            key_log=self._key_log,
        )

    def _select(self, server_name: bytes) -> Sequence[Credential]:
        choice = self._tls.choice_for(server_name)
        if choice is None:
            return ()
        credentials = choice.credentials
        if credentials is None:
            credentials = choice.credentials = self._load(choice)
        if not credentials:
            raise TlsAlertError(
                HANDSHAKE_FAILURE, "certificate-unusable", "no certificate for the name can be used"
            )
        return credentials

    def _load(self, choice: Choice) -> tuple[Credential, ...]:
        """Make the credentials of a choice; identities that cannot be used are reported and left out."""
        loaded: list[Credential] = []
        for identity in sorted(choice.identities, key=_by_key):
            try:
                loaded.append(load(identity, self._tls.staple_now))
            except LocalProtocolError as error:
                self._tls.report(identity.name, str(error))
        return tuple(loaded)

    def _verify_client(self, chain: tuple[bytes, ...]) -> None:
        # Asked anew each time: the files may have been renewed since the connection began.
        verifier = self._tls.verifier
        if verifier is not None:
            verifier.verify(chain)


def _by_key(identity: Identity) -> int:
    return _KEY_ORDER.index(identity.key_type)
