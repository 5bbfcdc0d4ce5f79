"""The client's side of a handshake in QUIC (RFC 8446 section 2, RFC 9001 section 4): how origins are spoken to.

The ClientHello is made with the object. The server's chain, its name and its staple go to `settings.verify` after
its signature was right; in a resumed handshake there is no certificate, the ticket is the proof.

With `early`, a session that allows it and a server that takes it, early data may be sent from the start
(`early_offered`); whether the server takes it is known with its EncryptedExtensions (`early_accepted`).
"""

from typing import Final, final

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.alerts import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MISSING_EXTENSION,
    NO_APPLICATION_PROTOCOL,
    refusal,
    violation,
)
from headgate.engine.tls13.compression import ALGORITHMS_OFFERED
from headgate.engine.tls13.extensions import check_answers
from headgate.engine.tls13.groups import KeyShare, new_share
from headgate.engine.tls13.handshake import Handshake
from headgate.engine.tls13.hello import (
    PSK_DHE_KE,
    SERVER_HELLO,
    TLS13,
    ServerHello,
    decode_protocols,
    decode_server_hello,
    encode_client_hello,
    encode_protocols,
    encode_server_name,
)
from headgate.engine.tls13.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.tls13.machine import CLIENT_LEVELS, CLIENT_TABLE, CLIENT_TAKES, ClientInput, ClientState
from headgate.engine.tls13.messages import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    CLIENT_CONTEXT,
    COMPRESSED_CERTIFICATE,
    ENCRYPTED_EXTENSIONS,
    FINISHED,
    NEW_SESSION_TICKET,
    SERVER_CONTEXT,
    CertificateRequest,
    decode_certificate,
    decode_certificate_request,
    decode_certificate_verify,
    decode_compressed_certificate,
    decode_encrypted_extensions,
    decode_new_session_ticket,
    encode_certificate,
    encode_certificate_verify,
    encode_message,
    signed_content,
)
from headgate.engine.tls13.schedule import KeySchedule, finished_mac, resumption_psk
from headgate.engine.tls13.settings import ClientSettings, Random, Session
from headgate.engine.tls13.signatures import CHAIN_SCHEMES, SCHEMES
from headgate.engine.tls13.suites import HASHES
from headgate.engine.tls13.tickets import MAX_LIFETIME, MAX_TICKET
from headgate.engine.tls13.wire import Reader, number_list, vector
from headgate.errors import RemoteProtocolError

MAX_SESSIONS: Final = 4  # kept of one connection; servers send two

_OCSP_REQUEST: Final = b"\x01\0\0\0\0"  # ocsp, no responders named, no extensions
_UNLIMITED: Final = 0xFFFFFFFF  # the one limit of early data that QUIC knows (RFC 9001 section 4.6.1)
_HELLO_ANSWERS: Final = frozenset([ext.SUPPORTED_VERSIONS, ext.KEY_SHARE, ext.PRE_SHARED_KEY])
_RETRY_ANSWERS: Final = frozenset([ext.SUPPORTED_VERSIONS, ext.KEY_SHARE, ext.COOKIE])
_ENCRYPTED_ANSWERS: Final = frozenset(
    [ext.SERVER_NAME, ext.SUPPORTED_GROUPS, ext.ALPN, ext.EARLY_DATA, ext.TRANSPORT_PARAMETERS]
)


@final
class ClientHandshake(Handshake):
    """One handshake with a server; its ClientHello waits in `take_output` from the start."""

    is_client = True

    def __init__(
        self,
        settings: ClientSettings,
        random: Random,
        now_wall: float,
        *,
        transport_parameters: bytes,
        session: Session | None = None,
        early: bool = False,
        version: int = 1,
    ) -> None:
        """Begin. `random(n)` returns n secret random octets; `session` is resumed if it can be, and may carry early
        data if it is allowed and `early`."""
        super().__init__(random, now_wall, settings.key_log, version)
        self._transport_parameters: Final = transport_parameters
        self._settings: Final = settings
        self._state = ClientState.HELLO
        self._client_random = random(32)
        self._session = session if _fits(session, settings, now_wall, version) else None
        self._shares: dict[int, KeyShare] = {group: new_share(group) for group in settings.shares}
        self._offered: frozenset[int] = frozenset()
        self._cookie = b""
        self._requested: CertificateRequest | None = None
        self._sessions: list[Session] = []
        self._received = 0
        self._resumption = b""
        self.server_name = settings.server_name
        session = self._session
        self.early_offered = (
            early
            and session is not None
            and session.is_early
            and session.alpn in settings.alpn
            and session.suite in settings.suites
        )
        self._send_hello()

    def __repr__(self) -> str:
        return f"<ClientHandshake {self.server_name!r}: {self._state.name}>"

    def take_sessions(self) -> list[Session]:
        """Return the sessions that the server gave since; they may come at any time after the handshake."""
        sessions = self._sessions
        self._sessions = []
        return sessions

    # -- the machine

    def _takes(self) -> frozenset[int]:
        return CLIENT_TAKES[self._state]

    def _step(self, given: ClientInput) -> None:
        self._state = CLIENT_TABLE[self._state, given]
        self._level = CLIENT_LEVELS[self._state]

    def _take(self, kind: int, message: bytes) -> None:
        if kind == SERVER_HELLO:
            self._step(self._on_hello(decode_server_hello(message)))
        elif kind == ENCRYPTED_EXTENSIONS:
            self._step(self._on_extensions(message))
        elif kind == CERTIFICATE_REQUEST:
            self._requested = decode_certificate_request(message)
            self._transcript.update(message)
            self._step(ClientInput.REQUEST)
        elif kind == CERTIFICATE:
            self._on_certificate(message, message)
            self._step(ClientInput.CERTIFICATE)
        elif kind == COMPRESSED_CERTIFICATE:
            self._on_certificate(message, decode_compressed_certificate(message))
            self._step(ClientInput.CERTIFICATE)
        elif kind == CERTIFICATE_VERIFY:
            self._on_certificate_verify(message)
            self._step(ClientInput.CERTIFICATE_PROVEN)
        elif kind == FINISHED:
            self._on_finished(message)
            self._step(ClientInput.FINISHED)
        elif kind == NEW_SESSION_TICKET:
            self._on_ticket(message)
            self._step(ClientInput.TICKET)

    def _unexpected(self, kind: int) -> RemoteProtocolError:
        if self._state == ClientState.CONNECTED and kind == CERTIFICATE_REQUEST:
            # RFC 9001 section 4.4.
            return violation("late-certificate-request", "a certificate is asked for after the handshake")
        return super()._unexpected(kind)

    # -- ClientHello

    def _send_hello(self) -> None:
        extensions = self._extensions()
        session = self._session
        if session is None:
            message = encode_client_hello(self._client_random, self._settings.suites, extensions)
        else:
            message = self._hello_with_ticket(extensions, session)
        self._offered = frozenset(extensions)
        self._transcript.update(message)
        self._send(INITIAL, message)
        if self.early_offered and session is not None:
            self._give_early(KeySchedule(session.suite, session.psk), session.suite)

    def _extensions(self) -> dict[int, bytes]:
        settings = self._settings
        extensions: dict[int, bytes] = {}
        if settings.server_name:
            extensions[ext.SERVER_NAME] = encode_server_name(settings.server_name)
        extensions[ext.SUPPORTED_VERSIONS] = b"\x02" + TLS13.to_bytes(2, "big")
        extensions[ext.SUPPORTED_GROUPS] = vector(2, number_list(settings.groups))
        extensions[ext.SIGNATURE_ALGORITHMS] = vector(2, number_list(SCHEMES + CHAIN_SCHEMES))
        extensions[ext.ALPN] = encode_protocols(settings.alpn)
        if settings.ask_staple:
            extensions[ext.STATUS_REQUEST] = _OCSP_REQUEST
        extensions[ext.PSK_KEY_EXCHANGE_MODES] = bytes((1, PSK_DHE_KE))
        extensions[ext.COMPRESS_CERTIFICATE] = ALGORITHMS_OFFERED
        extensions[ext.TRANSPORT_PARAMETERS] = self._transport_parameters
        if self.early_offered:
            extensions[ext.EARLY_DATA] = b""
        if self._cookie:
            extensions[ext.COOKIE] = self._cookie
        entries = b"".join(
            group.to_bytes(2, "big") + vector(2, share.public) for group, share in self._shares.items()
        )
        extensions[ext.KEY_SHARE] = vector(2, entries)
        return extensions

    def _hello_with_ticket(self, extensions: dict[int, bytes], session: Session) -> bytes:
        """Return the hello with pre_shared_key at its end, whose binder covers all before it (section 4.2.11.2)."""
        age = int((self._now_wall - session.received) * 1000) + session.age_add
        identities = vector(2, vector(2, session.ticket) + (age % (1 << 32)).to_bytes(4, "big"))
        schedule = KeySchedule(session.suite, session.psk)
        binders = vector(2, vector(1, bytes(schedule.size)))
        extensions[ext.PRE_SHARED_KEY] = identities + binders
        message = encode_client_hello(self._client_random, self._settings.suites, extensions)
        bound = message[: -len(binders)]
        binder = schedule.binder(self._transcript.digest_with(schedule.algorithm, bound))
        return bound + vector(2, vector(1, binder))

    # -- the server's flight

    def _on_hello(self, hello: ServerHello) -> ClientInput:
        if hello.suite not in self._settings.suites or (self.suite and hello.suite != self.suite):
            raise refusal(
                ILLEGAL_PARAMETER, f"suite {hello.suite:#06x} was not offered, or not asked for before"
            )
        if hello.is_retry:
            return self._on_retry(hello)
        check_answers(hello.extensions, self._offered, _HELLO_ANSWERS, "ServerHello")
        group, public = _server_share(hello)
        share = self._shares.get(group)
        if share is None:
            raise refusal(ILLEGAL_PARAMETER, f"a key share of group {group:#06x}, which was not offered")
        schedule = self._schedule_for(hello)
        if not self.suite:  # no HelloRetryRequest came before
            self._transcript.start(HASHES[hello.suite])
        self.suite = hello.suite
        self.group = group
        self._transcript.update(hello.message)
        self._enter_handshake(schedule, share.shared(public))
        self._shares = {}
        return ClientInput.HELLO

    def _on_retry(self, retry: ServerHello) -> ClientInput:
        if self._state != ClientState.HELLO:
            raise self._unexpected(SERVER_HELLO)
        # A cookie is the one answer to what nobody asked (section 4.2.2).
        check_answers(retry.extensions, self._offered | {ext.COOKIE}, _RETRY_ANSWERS, "HelloRetryRequest")
        wanted = retry.extensions.get(ext.KEY_SHARE)
        if wanted is not None:
            if len(wanted) != 2:
                raise refusal(DECODE_ERROR, "key_share of a HelloRetryRequest is a group")
            group = int.from_bytes(wanted, "big")
            if group not in self._settings.groups or group in self._shares:
                raise refusal(
                    ILLEGAL_PARAMETER, f"group {group:#06x} is asked for, offered or unknown as it is"
                )
            self._shares = {group: new_share(group)}
        self._cookie = retry.extensions.get(ext.COOKIE, b"")
        if wanted is None and not self._cookie:
            raise refusal(ILLEGAL_PARAMETER, "a HelloRetryRequest that changes nothing")
        self.suite = retry.suite
        self.early_refused = self.early_offered  # by that alone (section 4.2.10)
        self.early_offered = False
        self._transcript.retry(HASHES[retry.suite])
        self._transcript.update(retry.message)
        session = self._session
        if session is not None and HASHES[session.suite] != HASHES[retry.suite]:
            self._session = None
        self._send_hello()
        return ClientInput.HELLO_RETRY

    def _schedule_for(self, hello: ServerHello) -> KeySchedule:
        """Begin the key schedule, with the ticket's secret if the server took the ticket."""
        chosen = hello.extensions.get(ext.PRE_SHARED_KEY)
        session = self._session
        if chosen is None or session is None:
            return KeySchedule(hello.suite)
        if chosen != b"\0\0" or HASHES[session.suite] != HASHES[hello.suite]:
            raise refusal(ILLEGAL_PARAMETER, "the server resumes what was not offered")
        self.resumed = True
        return KeySchedule(hello.suite, session.psk)

    def _on_extensions(self, message: bytes) -> ClientInput:
        found = decode_encrypted_extensions(message)
        check_answers(found, self._offered, _ENCRYPTED_ANSWERS, "EncryptedExtensions")
        if ext.TRANSPORT_PARAMETERS not in found:
            raise refusal(MISSING_EXTENSION, "no quic_transport_parameters")
        if found.get(ext.SERVER_NAME):
            raise refusal(DECODE_ERROR, "server_name of a server is empty")
        if ext.ALPN not in found:
            raise refusal(NO_APPLICATION_PROTOCOL, "the server chose no protocol")
        protocols = decode_protocols(found[ext.ALPN])
        if len(protocols) != 1 or protocols[0] not in self._settings.alpn:
            raise refusal(ILLEGAL_PARAMETER, "the server chose a protocol that was not offered")
        self.alpn = protocols[0]
        if ext.EARLY_DATA in found:
            self._check_early(found[ext.EARLY_DATA])
        elif self.early_offered:
            self.early_refused = True
        self.peer_transport_parameters = found[ext.TRANSPORT_PARAMETERS]
        self._transcript.update(message)
        return ClientInput.EXTENSIONS_RESUMED if self.resumed else ClientInput.EXTENSIONS

    def _check_early(self, content: bytes) -> None:
        """Early data is taken with what its session was made of, or not at all (section 4.2.10)."""
        session = self._session
        if content:
            raise refusal(DECODE_ERROR, "early_data of a server is empty")
        if session is None or not self.resumed or (self.suite, self.alpn) != (session.suite, session.alpn):
            raise refusal(ILLEGAL_PARAMETER, "early data is taken in a session that it is not of")
        self.early_accepted = True

    def _on_certificate(self, message: bytes, plain: bytes) -> None:
        chain = decode_certificate(plain, staple_asked=self._settings.ask_staple)
        if not chain.certificates:
            raise refusal(DECODE_ERROR, "the server has no certificate")  # section 4.4.2.4
        self._take_chain(chain.certificates)
        self.staple = chain.staple
        self._transcript.update(message)

    def _on_certificate_verify(self, message: bytes) -> None:
        scheme, signature = decode_certificate_verify(message)
        self._check_signature(scheme, signature, SERVER_CONTEXT)
        self._transcript.update(message)
        self._settings.verify(self.peer_certificates, self.server_name, self.staple)

    def _on_finished(self, message: bytes) -> None:
        self._check_finished(message, self._server_secret)
        running = self._running()
        transcript = self._transcript.digest()
        self._log_exporter(running, transcript)
        flight = b"".join(self._own_certificate())
        proof = finished_mac(running.algorithm, self._client_secret, self._transcript.digest())
        finished = encode_message(FINISHED, proof)
        self._transcript.update(finished)
        self._send(HANDSHAKE, flight + finished)
        self._give(APPLICATION, client=False, secret=running.server_application(transcript))
        self._give(APPLICATION, client=True, secret=running.client_application(transcript))
        self._resumption = running.resumption(self._transcript.digest())
        self.complete = True
        self._session = None
        self._forget()

    def _own_certificate(self) -> list[bytes]:
        """Return the messages that answer a CertificateRequest: an empty chain when there is nothing to show."""
        requested = self._requested
        if requested is None:
            return []
        credential = self._settings.credential
        scheme = credential.scheme_for(requested.schemes) if credential is not None else 0
        if credential is None or not scheme:
            empty = encode_certificate(b"")
            self._transcript.update(empty)
            return [empty]
        shown = credential.message(b"", requested.compressions)
        self._transcript.update(shown)
        content = signed_content(CLIENT_CONTEXT, self._transcript.digest())
        proof = encode_certificate_verify(scheme, credential.sign(scheme, content))
        self._transcript.update(proof)
        return [shown, proof]

    # -- after it

    def _on_ticket(self, message: bytes) -> None:
        """Keep a ticket, if it is one to keep; what is not is passed over, as section 4.6.1 lets us."""
        ticket = decode_new_session_ticket(message)
        if ticket.max_early_data not in (0, _UNLIMITED):
            raise violation("early-data-limit", "a ticket limits early data, which QUIC does not")
        self._received += 1
        if not ticket.lifetime or len(ticket.ticket) > MAX_TICKET or self._received > MAX_SESSIONS:
            return
        self._sessions.append(
            Session(
                server_name=self.server_name,
                alpn=self.alpn,
                suite=self.suite,
                psk=resumption_psk(self.suite, self._resumption, ticket.nonce),
                ticket=ticket.ticket,
                age_add=ticket.age_add,
                received=self._wall(),
                lifetime=min(ticket.lifetime, MAX_LIFETIME),
                is_early=ticket.max_early_data != 0,
                parameters=self.peer_transport_parameters,
                version=self.negotiated,
            )
        )


def _fits(session: Session | None, settings: ClientSettings, now_wall: float, version: int) -> bool:
    """Tell whether a session may be offered: same name and version, not over, a suite with its hash is offered."""
    if session is None or session.server_name != settings.server_name or session.version != version:
        return False
    if not session.is_usable(now_wall):
        return False
    return any(HASHES[suite] == HASHES[session.suite] for suite in settings.suites)


def _server_share(hello: ServerHello) -> tuple[int, bytes]:
    """Return group and public value of a ServerHello; psk_ke, which has none, was not offered."""
    if ext.KEY_SHARE not in hello.extensions:
        raise refusal(MISSING_EXTENSION, "a ServerHello without key_share")
    reader = Reader(hello.extensions[ext.KEY_SHARE])
    group = reader.number(2)
    public = reader.vector(2, 1)
    reader.finish()
    return group, public
