"""Client certificates: whom a listener believes, and the second look at those that come out of a ticket.

In a full handshake OpenSSL verifies the chain that the client sends (RFC 5280 section 6), with the listener's
authorities and CRLs, and says in an alert what is wrong. In a resumed one it verifies nothing: the ticket holds the
certificate of the day it was made, which may have expired since, or been revoked, or its authority removed. So
`recheck` verifies it anew, with the store of today, after every resumed handshake (RFC 8446 section 4.6.1 leaves
this to us). A ticket holds the client's own certificate only: when its chain needs an intermediate that is not in
`client_ca`, it cannot be rebuilt and the session is refused. In TLS 1.3 such clients get no usable ticket in the
first place; for TLS 1.2 the remedy is to put the intermediate into `client_ca`.

Over QUIC the handshake is our own and asks `verify`, with the same store, so that both say the same.

With CRLs, every authority of a chain needs one (as in nginx and HAProxy), and an expired CRL lets nobody in.
"""

from typing import Final, final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreContext, X509StoreContextError, X509StoreFlags

from headgate.engine.tls13.alerts import TlsAlertError
from headgate.errors import ConfigError, TransportError
from headgate.tls.chain import verify_chain
from headgate.tls.identity import parser_words, split_pem
from headgate.tls.openssl import require_purpose, set_option, share_store
from headgate.tls.policy import TlsPolicy, server_context
from headgate.tls.verdict import VERIFY_FAILED

_CERTIFICATE: Final = b"CERTIFICATE"
_CRL: Final = b"X509 CRL"
# Of names in a CertificateRequest over QUIC: more than that is worth no datagram, and none at all means any.
MAX_AUTHORITY_NAMES: Final = 16 * 1024


@final
class ClientCertificate:
    """What is known about a verified client: names as in RFC 4514, serial and SHA-256 in hex, and the DER itself."""

    __slots__ = ("der", "fingerprint", "issuer", "not_after", "serial", "subject")

    def __init__(self, certificate: x509.Certificate) -> None:
        self.der: Final = certificate.public_bytes(serialization.Encoding.DER)
        self.subject: Final = certificate.subject.rfc4514_string()
        self.issuer: Final = certificate.issuer.rfc4514_string()
        self.serial: Final = f"{certificate.serial_number:x}"
        self.fingerprint: Final = certificate.fingerprint(hashes.SHA256()).hex()
        self.not_after: Final = certificate.not_valid_after_utc.timestamp()

    def __repr__(self) -> str:
        return f"<ClientCertificate {self.subject}, serial {self.serial}>"


class ClientVerifier:
    """The authorities and CRLs of one policy, parsed once and shared by its contexts."""

    def __init__(self, policy: TlsPolicy) -> None:
        """Parse `client_ca` and `client_crl`. Raises `ConfigError` when one cannot be used."""
        self._required = policy.client_auth == "required"
        self._authorities = read_certificates(policy.client_ca)
        self._known = {certificate.fingerprint(hashes.SHA256()) for certificate in self._authorities}
        self._crls = _crls(policy.client_crl)
        if not self._authorities:
            raise ConfigError("client_auth needs authorities, and there is no certificate in client_ca")
        self._owner = server_context(policy)
        store = self._owner.get_cert_store()
        if store is None:
            raise ConfigError("OpenSSL gave a context without a certificate store")
        for certificate in self._authorities:
            store.add_cert(X509.from_cryptography(certificate))
        for crl in self._crls:
            store.add_crl(crl)
        flags = X509StoreFlags.PARTIAL_CHAIN
        if self._crls:
            flags |= X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)
        # OpenSSL asks it of every handshake by itself; this is for those that are not its own.
        require_purpose(store, of_server=False)
        self._store = store

    def __repr__(self) -> str:
        return f"<ClientVerifier {len(self._authorities)} authorities, {len(self._crls)} CRLs>"

    def problems(self, wall: float) -> list[str]:
        """Say what an operator should know at `wall`: CRLs that are over let nobody in."""
        found: list[str] = []
        for crl in self._crls:
            until = crl.next_update_utc
            if until is not None and until.timestamp() <= wall:
                found.append(
                    f"the CRL of {crl.issuer.rfc4514_string()} expired at {until:%Y-%m-%dT%H:%M:%SZ}"
                )
        return found

    def equip(self, context: SSL.Context) -> None:
        """Let a context verify clients with this store, and tell them which authorities it believes."""
        share_store(context, self._owner)
        for certificate in self._authorities:
            context.add_client_ca(certificate)

    def names(self) -> tuple[bytes, ...]:
        """Return the names of the authorities in DER, for a CertificateRequest; none when they are too many."""
        names = tuple(certificate.subject.public_bytes() for certificate in self._authorities)
        return names if sum(2 + len(name) for name in names) <= MAX_AUTHORITY_NAMES else ()

    def verify(self, chain: tuple[bytes, ...]) -> None:
        """Verify a client's chain in DER, leaf first, as OpenSSL does in its handshakes. Raises `TlsAlertError`."""
        try:
            verify_chain(self._store, chain)
        except TlsAlertError as error:
            # The word that OpenSSL's handshakes have for all of them; the detail says which check it was.
            raise TlsAlertError(error.alert, VERIFY_FAILED, error.detail) from error

    def on_verify(
        self, conn: SSL.Connection, certificate: X509, error: int, depth: int, verified: int
    ) -> bool:
        """Keep OpenSSL's verdict; a chain that needs what the client sent along gets no ticket that works (TLS 1.3:
        the ticket becomes an entry of a cache that is off)."""
        if depth > 0 and verified and not self._is_known(certificate):
            set_option(conn, SSL.OP_NO_TICKET)
        return verified == 1

    def _is_known(self, certificate: X509) -> bool:
        return certificate.to_cryptography().fingerprint(hashes.SHA256()) in self._known

    def recheck(self, certificate: x509.Certificate | None) -> None:
        """Verify the certificate of a resumed session as of now. Raises `TransportError` when it does not do."""
        if certificate is None:
            if self._required:
                raise TransportError("client-certificate-missing", 0, "the resumed session holds none")
            return
        try:
            X509StoreContext(self._store, X509.from_cryptography(certificate)).verify_certificate()
        except X509StoreContextError as error:
            subject = certificate.subject.rfc4514_string()
            detail = f"{error} ({subject}, resumed session)"
            raise TransportError("client-certificate-refused", 0, detail) from error


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates in PEM text. Raises `ConfigError` when one cannot be read."""
    try:
        return [
            x509.load_pem_x509_certificate(block) for kind, block in split_pem(pem) if kind == _CERTIFICATE
        ]
    except ValueError as error:
        raise ConfigError(f"a certificate authority cannot be read: {parser_words(error)}") from error


def _crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    if not pem:
        return []
    try:
        crls = [x509.load_pem_x509_crl(block) for kind, block in split_pem(pem) if kind == _CRL]
    except ValueError as error:
        raise ConfigError(f"a CRL in client_crl cannot be read: {parser_words(error)}") from error
    if not crls:
        raise ConfigError("there is no CRL in client_crl")
    return crls
