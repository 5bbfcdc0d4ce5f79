"""TLS towards origins over QUIC: whom we believe is what the upstream's TLS over TCP believes.

The handshake is `engine/tls13`. The server's chain goes to the store of the upstream's `ClientTls`, as OpenSSL would
ask it (tls/chain), and the name to service-identity (RFC 9525); what is refused has the same words. The staple
is looked at where `ClientTls` looks at it.

Sessions are kept for as many hosts as `MAX_HOSTS`, the least recently used is forgotten, and each of a host's few
sessions is used once (RFC 8446 appendix C.4), while what the full handshake was believed by still holds
(tls/sessions).
"""

import functools
from collections.abc import Sequence
from typing import Final, final

from cryptography import x509

from headgate.engine.tls13.alerts import BAD_CERTIFICATE, TlsAlertError
from headgate.engine.tls13.client import MAX_SESSIONS
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.settings import ClientSettings, KeyLog, Session
from headgate.errors import ConfigError, LocalProtocolError
from headgate.tls.chain import verify_chain
from headgate.tls.client import ClientTls, server_name
from headgate.tls.openssl import require_purpose
from headgate.tls.sessions import MAX_HOSTS, Proof
from headgate.tls.verdict import NAME_MISMATCH, is_address, wrong_name


@final
class _Host:
    """What is kept of one host."""

    __slots__ = ("proof", "sessions", "settings")

    def __init__(self, settings: ClientSettings) -> None:
        self.settings: Final = settings
        self.sessions: list[Session] = []
        self.proof: Proof | None = None  # of the last full handshake


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
        held = self._host(host)
        sessions = held.sessions
        if held.proof is not None and not held.proof.holds(wall, self._check_staple):
            sessions.clear()
        while sessions:
            session = sessions.pop()  # the newest first: the older ones end sooner
            if session.is_usable(wall):
                return session
        return None

    def keep(self, host: str, sessions: Sequence[Session]) -> None:
        """Keep the sessions that a server gave, the newest few of a host."""
        if not self._tls.settings.resumption:
            return
        held = self._host(host).sessions
        held.extend(sessions)
        del held[:-MAX_SESSIONS]

    def _host(self, host: str) -> _Host:
        held = self._hosts.pop(host, None)
        if held is None:
            held = _Host(self._make(host, self._tls.settings.name or host))
            if len(self._hosts) >= MAX_HOSTS:
                del self._hosts[next(iter(self._hosts))]
        self._hosts[host] = held  # at the end: the least recently used is first
        return held

    def _make(self, host: str, name: str) -> ClientSettings:
        return ClientSettings(
            server_name=b"" if is_address(name) else server_name(name),
            verify=functools.partial(self._verify, host, name),
            alpn=self._alpn,
            ask_staple=self._check_staple is not None,
            credential=self._credential,
            key_log=self._key_log,
        )

    def _verify(
        self, host: str, name: str, chain: tuple[bytes, ...], _server_name: bytes, staple: bytes
    ) -> None:
        """Believe a server, or raise `TlsAlertError`."""
        if not self._tls.settings.verify:
            return
        verified = [each.to_cryptography() for each in verify_chain(self._store, chain)]
        wrong = wrong_name(x509.load_der_x509_certificate(chain[0]), name)
        if wrong:
            # The words of TLS over TCP; the alert is the one that OpenSSL has for it.
            raise TlsAlertError(BAD_CERTIFICATE, NAME_MISMATCH, wrong)
        if self._check_staple is not None:
            self._check_staple(verified, staple)
        held = self._hosts.get(host)
        if held is not None:
            held.proof = Proof(verified, staple)


def _credential_of(tls: ClientTls) -> Credential | None:
    identity = tls.settings.identity
    if identity is None:
        return None
    try:
        return load(identity)
    except LocalProtocolError as error:
        raise ConfigError(f"the upstream's client certificate cannot be used: {error}") from error
