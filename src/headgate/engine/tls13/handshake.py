"""What both sides of a handshake do alike: gather messages, keep to the levels, hand out bytes and secrets.

CRYPTO bytes come in order, cut anywhere. They are gathered into one message at a time; its type is checked with its
first octet and its length with its fourth, so that nothing long is gathered in vain. When the keys change there must
be nothing left of the level before (RFC 9001 section 4.1.3).

The caller goes round: `receive`, then `take_secrets` (install them), then `take_output` (send it). Whatever is raised
ends the connection; nothing more is taken afterwards.
"""

import hmac
from typing import Final

from headgate.counters import STAPLE_NOT_ASKED
from headgate.engine.tls13.alerts import (
    DECODE_ERROR,
    DECRYPT_ERROR,
    ILLEGAL_PARAMETER,
    UNEXPECTED_MESSAGE,
    refusal,
    violation,
)
from headgate.engine.tls13.certificates import public_key_of
from headgate.engine.tls13.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.tls13.levels import NAMES as LEVEL_NAMES
from headgate.engine.tls13.messages import NAMES, message_limit, signed_content
from headgate.engine.tls13.schedule import KeySchedule, Transcript, finished_mac
from headgate.engine.tls13.settings import KeyLog, Random
from headgate.engine.tls13.signatures import SCHEMES, PublicKey, is_signed, schemes_of
from headgate.errors import LocalProtocolError, RemoteProtocolError

_HEADER: Final = 4
# Of the NSS key log, for a level and whether the client writes with it.
_LABELS: Final[dict[tuple[int, bool], str]] = {
    (EARLY, True): "CLIENT_EARLY_TRAFFIC_SECRET",
    (HANDSHAKE, True): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (HANDSHAKE, False): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (APPLICATION, True): "CLIENT_TRAFFIC_SECRET_0",
    (APPLICATION, False): "SERVER_TRAFFIC_SECRET_0",
}


class Secret:
    """A traffic secret of one level and direction; `is_write` is as seen by the side that hands it out."""

    __slots__ = ("is_write", "level", "secret", "suite")

    def __init__(self, level: int, is_write: bool, suite: int, secret: bytes) -> None:
        self.level: Final = level
        self.is_write: Final = is_write
        self.suite: Final = suite
        self.secret: Final = secret

    def __repr__(self) -> str:
        return f"<Secret {LEVEL_NAMES[self.level]} {'write' if self.is_write else 'read'} {self.suite:#06x}>"


class Handshake:
    """The part that server and client share; see `ServerHandshake` and `ClientHandshake`.

    `version` is that of QUIC in the ClientHello's packets, `negotiated` the one that the connection goes on with: the
    owner changes it before the handshake is over. Sessions belong to them (RFC 9369 section 5). `elapsed`: seconds
    since the handshake began, which the owner sets before it hands in bytes: a client's tickets come later.

    What the handshake found out, as it goes: `alpn`, `server_name`, `peer_transport_parameters` (as they came, to be
    acted on only when the handshake is complete, RFC 9001 section 8.2), `peer_certificates` (DER, leaf first; empty
    when the peer showed none), `staple` (what the peer stapled, DER), `resumed`, `suite`, `group`. `complete` when
    the peer's Finished was right.
    """

    is_client = False

    def __init__(self, random: Random, now_wall: float, key_log: KeyLog | None, version: int) -> None:
        self.version: Final = version
        self.negotiated = version
        self.elapsed = 0.0
        self.complete = False
        self.failure: RemoteProtocolError | None = None
        self.alpn = b""
        self.server_name = b""
        self.peer_transport_parameters = b""
        self.peer_certificates: tuple[bytes, ...] = ()
        self.staple = b""
        self.staple_outcome = STAPLE_NOT_ASKED
        self.resumed = False
        self.early_offered = False
        self.early_accepted = False
        self.early_refused = False
        self.suite = 0
        self.group = 0
        self._random = random
        self._now_wall = now_wall
        self._key_log = key_log
        self._client_random = b""
        self._level = INITIAL
        self._buffer = bytearray()
        self._output: list[tuple[int, bytes]] = []
        self._secrets: list[Secret] = []
        self._transcript = Transcript()
        self._schedule: KeySchedule | None = None
        # Of the handshake, for the Finished messages.
        self._client_secret = b""
        self._server_secret = b""
        self._peer_key: PublicKey | None = None

    # -- for the caller

    def receive(self, level: int, data: bytes) -> None:
        """Take CRYPTO bytes of a level, in order. Raises `RemoteProtocolError`: close with its code.

        `LocalProtocolError`: bytes of a level whose keys were not handed out, or after a failure.
        """
        if self.failure is not None:
            raise LocalProtocolError("the handshake has failed; nothing more is taken")
        try:
            self._receive(level, data)
        except RemoteProtocolError as error:
            self.failure = error
            raise

    def take_output(self) -> list[tuple[int, bytes]]:
        """Return what is to be sent: (level, CRYPTO bytes), in order."""
        output = self._output
        self._output = []
        return output

    def take_secrets(self) -> list[Secret]:
        """Return the traffic secrets that came about, in order."""
        secrets = self._secrets
        self._secrets = []
        return secrets

    # -- for the sides

    def _wall(self) -> float:
        """Return the wall clock's time now."""
        return self._now_wall + self.elapsed

    def _takes(self) -> frozenset[int]:
        """Return the types of message that may come now."""
        raise NotImplementedError

    def _take(self, kind: int, message: bytes) -> None:
        """Act on a whole message of a type that may come."""
        raise NotImplementedError

    def _unexpected(self, kind: int) -> RemoteProtocolError:
        name = NAMES.get(kind, f"message {kind}")
        return refusal(UNEXPECTED_MESSAGE, f"{name} at this point of the handshake")

    def _send(self, level: int, data: bytes) -> None:
        self._output.append((level, data))

    def _give(self, level: int, *, client: bool, secret: bytes) -> None:
        """Hand out the secret that the client, or else the server, writes with."""
        self._secrets.append(Secret(level, client == self.is_client, self.suite, secret))
        self._log(_LABELS[level, client], secret)

    def _give_early(self, schedule: KeySchedule, suite: int) -> None:
        """Hand out the secret of early data; the transcript is the ClientHello alone."""
        transcript = self._transcript.digest_with(schedule.algorithm, b"")
        secret = schedule.client_early(transcript)
        self._secrets.append(Secret(EARLY, self.is_client, suite, secret))
        self._log(_LABELS[EARLY, True], secret)
        if self._key_log is not None:
            self._log("EARLY_EXPORTER_SECRET", schedule.early_exporter(transcript))

    def _log(self, label: str, secret: bytes) -> None:
        if self._key_log is not None:
            self._key_log(f"{label} {self._client_random.hex()} {secret.hex()}")

    def _log_exporter(self, schedule: KeySchedule, transcript: bytes) -> None:
        """Log what nothing in here uses; the transcript ends with the server's Finished."""
        if self._key_log is not None:
            self._log("EXPORTER_SECRET", schedule.exporter(transcript))

    def _enter_handshake(self, schedule: KeySchedule, shared: bytes) -> None:
        """Go on to the keys of the handshake; the transcript ends with the ServerHello."""
        self._schedule = schedule
        schedule.add_shared(shared)
        transcript = self._transcript.digest()
        self._client_secret = schedule.client_handshake(transcript)
        self._server_secret = schedule.server_handshake(transcript)
        self._give(HANDSHAKE, client=False, secret=self._server_secret)
        self._give(HANDSHAKE, client=True, secret=self._client_secret)

    def _running(self) -> KeySchedule:
        schedule = self._schedule
        if schedule is None:
            raise LocalProtocolError("there are no secrets before the ServerHello")
        return schedule

    def _check_finished(self, message: bytes, secret: bytes) -> None:
        """Refuse a wrong Finished of the peer; take a right one into the transcript."""
        expected = finished_mac(self._running().algorithm, secret, self._transcript.digest())
        if len(message) - _HEADER != len(expected):
            raise refusal(DECODE_ERROR, f"a Finished of {len(message) - _HEADER} octets")
        if not hmac.compare_digest(message[_HEADER:], expected):
            raise refusal(DECRYPT_ERROR, "the Finished is not of this handshake")
        self._transcript.update(message)

    def _take_chain(self, certificates: tuple[bytes, ...]) -> None:
        """Note a peer's chain and read the key of its leaf."""
        self._peer_key = public_key_of(certificates[0])
        self.peer_certificates = certificates

    def _check_signature(self, scheme: int, signature: bytes, context: bytes) -> None:
        """Refuse a CertificateVerify that the key of the peer's certificate did not make."""
        key = self._peer_key
        if key is None or scheme not in SCHEMES or scheme not in schemes_of(key):
            raise refusal(
                ILLEGAL_PARAMETER, f"signature scheme {scheme:#06x} does not go with the certificate"
            )
        content = signed_content(context, self._transcript.digest())
        if not is_signed(key, scheme, signature, content):
            raise refusal(DECRYPT_ERROR, "the signature is not of this handshake")
        self._peer_key = None

    def _forget(self) -> None:
        """Let go of what only a handshake needs: connections live longer."""
        self._schedule = None
        self._client_secret = self._server_secret = b""
        self._transcript = Transcript()

    # -- gathering

    def _receive(self, level: int, data: bytes) -> None:
        if not data:
            return
        if level < self._level:
            raise violation(
                "crypto-after-keys", f"new {LEVEL_NAMES[level]} handshake bytes behind the last ones"
            )
        if level > self._level:
            raise LocalProtocolError(f"{LEVEL_NAMES[level]} bytes came before their keys")
        self._buffer += data
        while self._buffer:
            message = self._next_message()
            if message is None:
                return
            self._take(message[0], message)
            if self._level != level and self._buffer:
                raise violation(
                    "crypto-across-keys",
                    f"{len(self._buffer)} octets behind the last {LEVEL_NAMES[level]} message",
                )

    def _next_message(self) -> bytes | None:
        """Cut the first message off the buffer, None when it is not all there."""
        buffer = self._buffer
        kind = buffer[0]
        if kind not in self._takes():
            raise self._unexpected(kind)
        if len(buffer) < _HEADER:
            return None
        length = int.from_bytes(buffer[1:_HEADER], "big")
        if length > message_limit(kind):
            raise refusal(
                DECODE_ERROR, f"a {NAMES[kind]} of {length} octets, {message_limit(kind)} are the most"
            )
        end = _HEADER + length
        if len(buffer) < end:
            return None
        message = bytes(buffer[:end])
        del buffer[:end]
        return message
