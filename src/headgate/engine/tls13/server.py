"""The server's side of a handshake in QUIC (RFC 8446 section 2, RFC 9001 section 4).

    ClientHello             ->
                            <-  [HelloRetryRequest, when no key share can be used]
                            <-  ServerHello | EncryptedExtensions, [CertificateRequest],
                                Certificate with staple, CertificateVerify, Finished
    [Certificate, [CertificateVerify]], Finished  ->
                            <-  NewSessionTicket

The whole flight goes out in answer to one message. What costs little is checked first, and nothing is signed for a
client that could not be served. Nothing in here knows a transport or touches a counter (invariant W1): what became
of the staple is left in `staple_outcome` for whoever drives the connection.

Early data is judged by engine/tls13/early and refused by saying nothing: its packets find no keys (RFC 9001 section
4.6.2). What became of it is left in `early_outcome`.
"""

import hmac
from collections.abc import Sequence
from typing import Final, final

from headgate.counters import (
    EARLY_ACCEPTED,
    EARLY_CHANGED,
    EARLY_NOT_RESUMED,
    EARLY_OFF,
    EARLY_RETRIED,
    STAPLE_REFUSED,
)
from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.alerts import (
    CERTIFICATE_REQUIRED,
    DECRYPT_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    INTERNAL_ERROR,
    MISSING_EXTENSION,
    NO_APPLICATION_PROTOCOL,
    UNRECOGNIZED_NAME,
    TlsAlertError,
    refusal,
    violation,
)
from headgate.engine.tls13.credential import Credential
from headgate.engine.tls13.groups import POST_QUANTUM, answer_share
from headgate.engine.tls13.handshake import Handshake
from headgate.engine.tls13.hello import (
    CLIENT_HELLO,
    PSK_DHE_KE,
    RETRY_RANDOM,
    TLS13,
    ClientHello,
    decode_client_hello,
    encode_protocols,
    encode_server_hello,
)
from headgate.engine.tls13.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.tls13.machine import SERVER_LEVELS, SERVER_TABLE, SERVER_TAKES, ServerInput, ServerState
from headgate.engine.tls13.messages import (
    CERTIFICATE,
    CERTIFICATE_VERIFY,
    CLIENT_CONTEXT,
    COMPRESSED_CERTIFICATE,
    FINISHED,
    SERVER_CONTEXT,
    NewSessionTicket,
    decode_certificate,
    decode_certificate_verify,
    decode_compressed_certificate,
    encode_certificate_request,
    encode_certificate_verify,
    encode_encrypted_extensions,
    encode_message,
    encode_new_session_ticket,
    signed_content,
)
from headgate.engine.tls13.schedule import KeySchedule, finished_mac, resumption_psk
from headgate.engine.tls13.settings import FixedAnswer, Random, ServerSettings, TransportAnswer
from headgate.engine.tls13.signatures import CHAIN_SCHEMES, SCHEMES
from headgate.engine.tls13.suites import HASHES, choose_suite
from headgate.engine.tls13.tickets import NONCE_SIZE as TICKET_NONCE
from headgate.engine.tls13.tickets import Ticket, TicketKeys
from headgate.engine.tls13.wire import vector

MAX_TICKETS: Final = (
    2  # for a full handshake, as OpenSSL: browsers open two connections; one for a resumed one
)

_VERSION: Final = TLS13.to_bytes(2, "big")
# The one limit of early data that QUIC knows (RFC 9001 section 4.6.1).
_UNLIMITED: Final = 0xFFFFFFFF
# Who is asked once a handshake is over: nobody. What was asked may hold more than a connection that idles needs.
_SAID: Final = FixedAnswer(b"")


@final
class ServerHandshake(Handshake):
    """One handshake with a client.

    `staple_outcome` is the counter of what became of the staple (full ones only), `early_outcome` that of what became
    of early data, -1 where none was offered.
    """

    def __init__(
        self,
        settings: ServerSettings,
        random: Random,
        now_wall: float,
        *,
        transport: TransportAnswer,
        version: int = 1,
    ) -> None:
        """Wait for a ClientHello. `random(n)` returns n secret random octets; `now_wall` is in seconds.

        `transport` is asked for our transport parameters when the first ClientHello is there.
        """
        super().__init__(random, now_wall, settings.key_log, version)
        self._transport = transport
        self._transport_parameters = b""
        self._settings: Final = settings
        self._state = ServerState.HELLO
        self._first: ClientHello | None = None
        self._ticket: Ticket | None = None
        self._may_ticket = False
        self.early_outcome = -1
        self._client_application = b""

    def __repr__(self) -> str:
        return f"<ServerHandshake {self.server_name!r}: {self._state.name}>"

    # -- the machine

    def _takes(self) -> frozenset[int]:
        return SERVER_TAKES[self._state]

    def _step(self, given: ServerInput) -> None:
        self._state = SERVER_TABLE[self._state, given]
        self._level = SERVER_LEVELS[self._state]

    def _take(self, kind: int, message: bytes) -> None:
        if kind == CLIENT_HELLO:
            self._step(self._on_hello(decode_client_hello(message)))
        elif kind == CERTIFICATE:
            self._step(self._on_certificate(message, message))
        elif kind == COMPRESSED_CERTIFICATE:
            self._step(self._on_certificate(message, decode_compressed_certificate(message)))
        elif kind == CERTIFICATE_VERIFY:
            self._on_certificate_verify(message)
            self._step(ServerInput.CERTIFICATE_PROVEN)
        elif kind == FINISHED:
            self._on_finished(message)
            self._step(ServerInput.FINISHED)

    # -- ClientHello

    def _on_hello(self, hello: ClientHello) -> ServerInput:
        settings = self._settings
        _check_form(hello)
        self._client_random = hello.random
        self.server_name = hello.server_name
        if self._first is None:
            said = hello.extensions[ext.TRANSPORT_PARAMETERS]
            self._transport_parameters = self._transport.answer(said)
            self.peer_transport_parameters = said
        self._may_ticket = PSK_DHE_KE in hello.psk_modes
        if hello.wants_early:
            self.early_offered = True
            self.early_outcome = EARLY_OFF if settings.early is None else EARLY_NOT_RESUMED
        suite = choose_suite(settings.suites, hello.suites)
        group = self._choose_group(hello)
        if not suite or not group:
            raise refusal(HANDSHAKE_FAILURE, "no common cipher suite" if not suite else "no common group")
        self.alpn = self._choose_protocol(hello)
        credentials = settings.select(hello.server_name)
        if not credentials:
            raise refusal(UNRECOGNIZED_NAME, "no certificate is for this name")
        first = self._first
        if first is None and group not in hello.key_shares:
            return self._retry(hello, suite, group)
        if first is not None:
            self._check_second(hello, first, suite)
        else:
            self._transcript.start(HASHES[suite])
        self.suite = suite
        self.group = group
        return self._answer(hello, credentials)

    def _choose_group(self, hello: ClientHello) -> int:
        """Return the group to use, 0 for none; one whose key share is not there costs another round trip.

        That is worth it when there is no share at all, or when the client could do a post-quantum exchange.
        """
        if self._first is not None:
            return self.group
        common = [group for group in self._settings.groups if group in hello.groups]
        for group in common:
            if group in hello.key_shares or group in POST_QUANTUM:
                return group
        return common[0] if common else 0

    def _choose_protocol(self, hello: ClientHello) -> bytes:
        for protocol in self._settings.alpn:
            if protocol in hello.alpn:
                return protocol
        # RFC 9001 section 8.1: QUIC does not go on without one.
        raise refusal(NO_APPLICATION_PROTOCOL, "the client speaks none of our protocols")

    def _retry(self, hello: ClientHello, suite: int, group: int) -> ServerInput:
        """Ask for a share of `group`. No cookie: this object remembers (section 4.2.2)."""
        retry = encode_server_hello(
            RETRY_RANDOM,
            suite,
            {ext.SUPPORTED_VERSIONS: _VERSION, ext.KEY_SHARE: group.to_bytes(2, "big")},
        )
        self._transcript.update(hello.message)
        self._transcript.retry(HASHES[suite])
        self._transcript.update(retry)
        self._first = hello
        if hello.wants_early:
            self.early_outcome = EARLY_RETRIED
        self.suite = suite
        self.group = group
        self._send(INITIAL, retry)
        return ServerInput.HELLO_RETRIED

    def _check_second(self, hello: ClientHello, first: ClientHello, suite: int) -> None:
        """Refuse a second ClientHello that is not the first one with the share we asked for (section 4.1.2)."""
        if not hello.repeats(first) or suite != self.suite or list(hello.key_shares) != [self.group]:
            raise refusal(
                ILLEGAL_PARAMETER, "the second ClientHello is not the first with the share asked for"
            )
        if hello.wants_early:
            raise refusal(ILLEGAL_PARAMETER, "early data after a HelloRetryRequest")
        self._first = None

    # -- our flight

    def _answer(self, hello: ClientHello, credentials: Sequence[Credential]) -> ServerInput:
        settings = self._settings
        schedule = self._resume(hello)
        # Chosen before the key exchange: it is the signature that costs.
        chosen = self._choose_credential(hello, credentials) if schedule is None else None
        public, shared = answer_share(self.group, hello.key_shares[self.group])
        self._transcript.update(hello.message)
        if schedule is not None and hello.wants_early:
            self._judge_early(hello, schedule)
        self._send_hello(public)
        self._enter_handshake(schedule if schedule is not None else KeySchedule(self.suite), shared)
        flight = [self._append(self._encrypted_extensions(hello))]
        asking = chosen is not None and settings.client_auth != "off"
        if asking:
            request = encode_certificate_request(SCHEMES + CHAIN_SCHEMES, settings.client_authorities)
            flight.append(self._append(request))
        if chosen is not None:
            credential, scheme, staple = chosen
            flight.append(self._append(credential.message(staple, hello.compressions)))
            content = signed_content(SERVER_CONTEXT, self._transcript.digest())
            flight.append(self._append(encode_certificate_verify(scheme, credential.sign(scheme, content))))
        running = self._running()
        proof = finished_mac(running.algorithm, self._server_secret, self._transcript.digest())
        flight.append(self._append(encode_message(FINISHED, proof)))
        self._send(HANDSHAKE, b"".join(flight))
        transcript = self._transcript.digest()
        self._log_exporter(running, transcript)
        self._give(APPLICATION, client=False, secret=running.server_application(transcript))
        # Handed out when the client has shown that it is the one: what it sends before must wait (RFC 9001, 5.7).
        self._client_application = running.client_application(transcript)
        return ServerInput.HELLO_ANSWERED_ASKING if asking else ServerInput.HELLO_ANSWERED

    def _append(self, message: bytes) -> bytes:
        self._transcript.update(message)
        return message

    def _send_hello(self, public: bytes) -> None:
        answers = {
            ext.SUPPORTED_VERSIONS: _VERSION,
            ext.KEY_SHARE: self.group.to_bytes(2, "big") + vector(2, public),
        }
        if self.resumed:
            answers[ext.PRE_SHARED_KEY] = b"\0\0"  # the first identity
        self._send(INITIAL, self._append(encode_server_hello(self._random(32), self.suite, answers)))

    def _encrypted_extensions(self, hello: ClientHello) -> bytes:
        answers = {
            ext.ALPN: encode_protocols((self.alpn,)),
            ext.TRANSPORT_PARAMETERS: self._transport_parameters,
        }
        if hello.server_name:
            answers[ext.SERVER_NAME] = b""
        if self.early_accepted:
            answers[ext.EARLY_DATA] = b""
        return encode_encrypted_extensions(answers)

    def _choose_credential(
        self, hello: ClientHello, credentials: Sequence[Credential]
    ) -> tuple[Credential, int, bytes]:
        """Return what to show: a credential that the client can check, its signature scheme, and its staple."""
        if not hello.schemes:
            raise refusal(MISSING_EXTENSION, "no signature_algorithms, and no session to resume")
        for credential in credentials:
            scheme = credential.scheme_for(hello.schemes)
            if scheme:
                return credential, scheme, self._staple(hello, credential)
        raise refusal(HANDSHAKE_FAILURE, "no certificate has a signature that the client can check")

    def _staple(self, hello: ClientHello, credential: Credential) -> bytes:
        if not hello.wants_staple:
            return b""
        self.staple_outcome, staple = credential.staple(self._wall())
        if self.staple_outcome == STAPLE_REFUSED:
            detail = f"{credential.name} promises a staple, and there is none to send"
            raise TlsAlertError(INTERNAL_ERROR, "must-staple-refused", detail)
        return staple

    def _resume(self, hello: ClientHello) -> KeySchedule | None:
        """Return the schedule of a session that is resumed, None for a full handshake.

        A ticket that does not open, or whose client is no longer believed, is no fault: the handshake is full. A
        binder that does not go with a ticket of ours is one (section 4.2.11).
        """
        tickets = self._settings.tickets
        if tickets is None or not hello.identity or not self._may_ticket:
            return None
        ticket = tickets.open(hello.identity, self._wall())
        if ticket is None or HASHES[ticket.suite] != HASHES[self.suite] or ticket.version != self.version:
            return None
        schedule = KeySchedule(self.suite, ticket.psk)
        bound = hello.message[: hello.unbound]
        binder = schedule.binder(self._transcript.digest_with(schedule.algorithm, bound))
        if not hmac.compare_digest(binder, hello.binder):
            raise refusal(DECRYPT_ERROR, "the binder does not go with the ticket")
        if not self._still_believed(ticket.chain):
            return None
        self.resumed = True
        self.peer_certificates = ticket.chain
        self._ticket = ticket
        return schedule

    def _judge_early(self, hello: ClientHello, schedule: KeySchedule) -> None:
        """Take early data, or note why not; the transcript is the ClientHello alone."""
        early = self._settings.early
        ticket = self._ticket
        if early is None or ticket is None:
            return
        if ticket.suite != self.suite:
            self.early_outcome = EARLY_CHANGED
            return
        digest = early.digest(self.suite, self.alpn, hello.server_name)
        outcome = early.judge(ticket, hello.identity, digest, hello.ticket_age, self._wall())
        self.early_outcome = outcome
        if outcome == EARLY_ACCEPTED:
            self.early_accepted = True
            self._give_early(schedule, self.suite)

    def _still_believed(self, chain: tuple[bytes, ...]) -> bool:
        """Tell whether the client of a ticket would be let in today."""
        verify = self._settings.verify_client
        if verify is None or self._settings.client_auth == "off":
            return True
        if not chain:
            return self._settings.client_auth == "optional"
        try:
            verify(chain)
        except TlsAlertError:
            return False
        return True

    # -- the client's flight

    def _on_certificate(self, message: bytes, plain: bytes) -> ServerInput:
        chain = decode_certificate(plain, staple_asked=False).certificates
        self._transcript.update(message)
        if not chain:
            if self._settings.client_auth == "required":
                raise refusal(CERTIFICATE_REQUIRED, "the client has no certificate")
            return ServerInput.CERTIFICATE_EMPTY
        self._take_chain(chain)
        return ServerInput.CERTIFICATE_SHOWN

    def _on_certificate_verify(self, message: bytes) -> None:
        scheme, signature = decode_certificate_verify(message)
        self._check_signature(scheme, signature, CLIENT_CONTEXT)
        self._transcript.update(message)
        verify = self._settings.verify_client
        if verify is not None:
            verify(self.peer_certificates)

    def _on_finished(self, message: bytes) -> None:
        self._check_finished(message, self._client_secret)
        self._give(APPLICATION, client=True, secret=self._client_application)
        self.complete = True
        if self._may_ticket and self._settings.tickets is not None:
            self._send_tickets(self._settings.tickets)
        self._client_application = b""
        self._ticket = None
        self._transport = _SAID
        self._transport_parameters = b""
        self._forget()

    def _send_tickets(self, tickets: TicketKeys) -> None:
        resumption = self._running().resumption(self._transcript.digest())
        early = self._settings.early
        remembered = early.digest(self.suite, self.alpn, self.server_name) if early is not None else b""
        messages: list[bytes] = []
        for index in range(1 if self.resumed else MAX_TICKETS):
            nonce = bytes((index,))
            age_add = int.from_bytes(self._random(4), "big")
            held = Ticket(
                self.suite,
                resumption_psk(self.suite, resumption, nonce),
                self._wall(),
                tickets.worker,
                self.peer_certificates,
                age_add=age_add,
                early=remembered,
                version=self.negotiated,
            )
            sealed = tickets.seal(held, self._random(TICKET_NONCE))
            if sealed:
                limit = _UNLIMITED if remembered else 0
                ticket = NewSessionTicket(tickets.lifetime, age_add, nonce, sealed, limit)
                messages.append(encode_new_session_ticket(ticket))
        if messages:
            self._send(APPLICATION, b"".join(messages))


def _check_form(hello: ClientHello) -> None:
    """Refuse a hello that lacks what every one has (RFC 8446 section 9.2, RFC 9001 sections 8.2 and 8.4)."""
    found = hello.extensions
    if hello.session_id:
        raise violation("legacy-session-id", "QUIC has no middleboxes to please")
    if ext.TRANSPORT_PARAMETERS not in found:
        raise refusal(MISSING_EXTENSION, "no quic_transport_parameters")
    if ext.SUPPORTED_GROUPS not in found or ext.KEY_SHARE not in found:
        raise refusal(MISSING_EXTENSION, "supported_groups and key_share go together")
    if ext.PRE_SHARED_KEY in found and ext.PSK_KEY_EXCHANGE_MODES not in found:
        raise refusal(MISSING_EXTENSION, "pre_shared_key without psk_key_exchange_modes")
    if ext.PRE_SHARED_KEY not in found and ext.SIGNATURE_ALGORITHMS not in found:
        raise refusal(MISSING_EXTENSION, "no signature_algorithms")
