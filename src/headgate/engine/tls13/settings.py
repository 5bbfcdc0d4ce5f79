"""What a handshake is told before it begins, and the session that a client keeps for the next one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

from headgate.engine.tls13.credential import Credential
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.groups import DEFAULT_SHARES, GROUPS
from headgate.engine.tls13.suites import SUITES
from headgate.engine.tls13.tickets import TicketKeys
from headgate.errors import LocalProtocolError

ClientAuth = Literal["off", "optional", "required"]
# One line of an NSS key log: label, client random, secret.
KeyLog = Callable[[str], None]
Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server shakes hands; one for all connections of a listener in a worker.

    `select` is asked with the client's server name (b"" without SNI) and returns the credentials that may answer, in
    order of preference; none: `unrecognized_name`. `verify_client` gets a chain in DER, leaf first, and raises
    `TlsAlertError` when it is not believed; it is asked again when a session is resumed. `client_authorities` are
    names in DER. Without `tickets` nothing is resumed, without `early` no early data is taken.
    """

    select: Callable[[bytes], Sequence[Credential]]
    alpn: tuple[bytes, ...] = (b"h3",)
    suites: tuple[int, ...] = SUITES
    groups: tuple[int, ...] = GROUPS
    client_auth: ClientAuth = "off"
    verify_client: Callable[[tuple[bytes, ...]], None] | None = None
    client_authorities: tuple[bytes, ...] = ()
    tickets: TicketKeys | None = None
    early: EarlyData | None = None
    key_log: KeyLog | None = None

    def __post_init__(self) -> None:
        if self.client_auth != "off" and self.verify_client is None:
            raise LocalProtocolError("client certificates are asked for, and nobody verifies them")


class TransportAnswer:
    """What a server says of its transport, once it has heard what the client says (RFC 9001 section 8.2)."""

    def answer(self, said: bytes) -> bytes:
        """Return our transport parameters for the client's. Raises `RemoteProtocolError` where those are wrong."""
        raise NotImplementedError


@final
class FixedAnswer(TransportAnswer):
    """The same for everybody."""

    def __init__(self, parameters: bytes) -> None:
        self._parameters = parameters

    def answer(self, said: bytes) -> bytes:
        return self._parameters


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """What resumes a session: a ticket, and the secret that goes with it. Times are seconds since the epoch.

    It was made with a server that `verify` believed; it is for the same name only, and best used once (RFC 8446
    appendix C.4). `is_early`: early data may be sent with it, by the server's `parameters` of then (RFC 9000 section
    7.4.1). `version` is that of QUIC which it belongs to (RFC 9369 section 5). `application` is for whoever uses the
    connection: what its protocol remembers.
    """

    server_name: bytes
    alpn: bytes
    suite: int
    psk: bytes
    ticket: bytes
    age_add: int
    received: float
    lifetime: int
    is_early: bool = False
    parameters: bytes = b""
    version: int = 1
    application: bytes = b""

    def __repr__(self) -> str:
        # Without its secrets: sessions end up in logs of tests and of callers.
        return f"<Session {self.server_name!r}: {len(self.ticket)} octets for {self.lifetime} s>"

    def is_usable(self, wall: float) -> bool:
        """Tell whether the server may still know the ticket."""
        return 0 <= wall - self.received < self.lifetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client shakes hands; one for all connections to a name.

    `verify` gets the chain in DER, leaf first, the server name, and the staple (b"" without); it raises
    `TlsAlertError` when they are not believed. `server_name` is b"" for an IP address, which is never sent as a name
    (RFC 6066 section 3). Key shares are sent for `shares`, which are among `groups`.
    """

    server_name: bytes
    verify: Callable[[tuple[bytes, ...], bytes, bytes], None]
    alpn: tuple[bytes, ...] = (b"h3",)
    suites: tuple[int, ...] = SUITES
    groups: tuple[int, ...] = GROUPS
    shares: tuple[int, ...] = DEFAULT_SHARES
    ask_staple: bool = True
    credential: Credential | None = None
    key_log: KeyLog | None = None

    def __post_init__(self) -> None:
        if not self.shares or not set(self.shares) <= set(self.groups):
            raise LocalProtocolError("key shares are for one or more of the groups")
