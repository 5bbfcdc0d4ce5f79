"""TLS towards origins over QUIC: whom we believe is what the upstream's TLS over TCP believes.

The handshake is `engine/tls13`. The server's chain goes to the store of the upstream's `ClientTls`, as OpenSSL would
ask it (tls/chain), and the name to service-identity (RFC 9525); what is refused has the same words. The staple
is looked at where `ClientTls` looks at it.

Sessions are kept for as many hosts as `MAX_HOSTS`, the least recently used is forgotten, and each of a host's few
sessions is used once (RFC 8446 appendix C.4).
"""

import functools
from collections.abc import Sequence
from typing import Final, final

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from headgate.engine.tls13.alerts import BAD_CERTIFICATE, TlsAlertError
from headgate.engine.tls13.client import MAX_SESSIONS
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.settings import ClientSettings, KeyLog, Session
from headgate.errors import ConfigError, LocalProtocolError
from headgate.tls.chain import verify_chain
from headgate.tls.client import ClientTls, is_address, server_name
from headgate.tls.openssl import require_purpose

# Hosts whose settings and sessions are kept: an upstream has a handful of endpoints.
MAX_HOSTS: Final = 256


@final
class _Host:
    """What is kept of one host."""

    __slots__ = ("sessions", "settings")

    def __init__(self, settings: ClientSettings) -> None:
        self.settings: Final = settings
        self.sessions: list[Session] = []


@final
class QuicClientTls:
    """What one upstream's QUIC connections are made with. One thread only."""

    def __init__(
        self,
        tls: ClientTls,
        *,
        alpn: tuple[bytes, ...] = (b"h3",),
        key_log: KeyLog | None = None,
    ) -> None:
        """Stand beside the upstream's TLS over TCP. Raises `ConfigError` when its certificate cannot be used."""
        self._tls = tls
        self._alpn = alpn
        self._check_staple = tls.check_staple
        self._key_log = key_log
        self._credential = _credential_of(tls)
        self._store = tls.store
        require_purpose(self._store, of_server=True)
        self._hosts: dict[str, _Host] = {}

    def __repr__(self) -> str:
        return f"<QuicClientTls {self._tls!r}: {len(self._hosts)} hosts>"

    def settings_for(self, host: str) -> ClientSettings:
        """Return what a connection to `host` (a name or an IP address) begins with. Raises `TransportError`."""
        return self._host(host).settings

    def take_session(self, host: str, wall: float) -> Session | None:
        """Return a session to resume at `wall`, None when there is none; it is not handed out again."""
        sessions = self._host(host).sessions
        while sessions:
            session = sessions.pop()  # the newest first: the older ones end sooner
            if session.is_usable(wall):
                return session
        return None

    def keep(self, host: str, sessions: Sequence[Session]) -> None:
        """Keep the sessions that a server gave, the newest few of a host."""
        held = self._host(host).sessions
        held.extend(sessions)
        del held[:-MAX_SESSIONS]

    def _host(self, host: str) -> _Host:
        held = self._hosts.pop(host, None)
        if held is None:
            held = _Host(self._make(self._tls.settings.name or host))
            if len(self._hosts) >= MAX_HOSTS:
                del self._hosts[next(iter(self._hosts))]
        self._hosts[host] = held  # at the end: the least recently used is first
        return held

    def _make(self, name: str) -> ClientSettings:
        return ClientSettings(
            server_name=b"" if is_address(name) else server_name(name),
            verify=functools.partial(self._verify, name),
            alpn=self._alpn,
            ask_staple=self._check_staple is not None,
            credential=self._credential,
            key_log=self._key_log,
        )

    def _verify(self, name: str, chain: tuple[bytes, ...], _server_name: bytes, staple: bytes) -> None:
        """Believe a server, or raise `TlsAlertError`."""
        if not self._tls.settings.verify:
            return
        verified = verify_chain(self._store, chain)
        _check_name(chain[0], name)
        if self._check_staple is not None:
            self._check_staple([each.to_cryptography() for each in verified], staple)


def _check_name(leaf: bytes, name: str) -> None:
    certificate = x509.load_der_x509_certificate(leaf)
    try:
        if is_address(name):
            verify_certificate_ip_address(certificate, name)
        else:
            verify_certificate_hostname(certificate, name)
    except (VerificationError, CertificateError, ValueError) as error:
        # The words of tls/client; the alert is the one that OpenSSL has for it.
        detail = f"the certificate is not for {name}"
        raise TlsAlertError(BAD_CERTIFICATE, "certificate-name-mismatch", detail) from error


def _credential_of(tls: ClientTls) -> Credential | None:
    identity = tls.settings.identity
    if identity is None:
        return None
    try:
        return load(identity)
    except LocalProtocolError as error:
        raise ConfigError(f"the upstream's client certificate cannot be used: {error}") from error
