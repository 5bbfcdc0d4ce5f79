"""What all parts of a connection share: its state, what was dropped, and how it ends (RFC 9000 section 10).

A connection is one object, written in rooms that build on each other: `core` (state and end), `negotiation` (how it
begins, versions), `early` (0-RTT), `handshake` (TLS and what follows from it), `migration` (paths and connection
IDs), `upkeep` (new keys, larger datagrams), `dispatch` (what frames do), `receiving` (datagrams and packets that
come) and `connection` (what goes out, time, and how it begins).
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic import frames
from headgate.engine.quic.closing import CLOSING_PROBE_TIMEOUTS, TABLE, CloseReason, Closing, End, State
from headgate.engine.quic.connection_ids import CID_LENGTH, OwnConnectionIds, PeerConnectionIds
from headgate.engine.quic.datagrams import MAX_DATAGRAM_FRAME, Datagrams
from headgate.engine.quic.errors import APPLICATION_ERROR, QuicError
from headgate.engine.quic.glitches import Glitches
from headgate.engine.quic.notices import Notices
from headgate.engine.quic.outcomes import Outcomes
from headgate.engine.quic.packet import VERSION_1
from headgate.engine.quic.packet_builder import PacketBuilder
from headgate.engine.quic.path import Address
from headgate.engine.quic.paths import Path, Paths
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.qlog import QuicLog
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import DATAGRAM, ConnectionSettings
from headgate.engine.quic.spaces import AheadOfKeys, new_spaces
from headgate.engine.quic.strays import Strays
from headgate.engine.quic.streams import Streams
from headgate.engine.quic.transport_parameters import TransportParameters
from headgate.engine.quic.versions import ClientBeginning, Introduction
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.server import ServerHandshake
from headgate.errors import LocalProtocolError, RemoteProtocolError

Random = Callable[[int], bytes]
Tls = ClientHandshake | ServerHandshake
# Returns a new connection ID of our own and its stateless reset token.
MakeId = Callable[[], tuple[bytes, bytes]]
# Returns a token for later connections from this address (section 8.1.3).
MakeToken = Callable[[Address], bytes]


@final
class Beginning:
    """Where a connection begins: its IDs and addresses, as `connect` and `accept` find them."""

    __slots__ = (
        "destination",
        "local",
        "make_id",
        "make_token",
        "original_destination",
        "peer",
        "retry_source",
        "source",
        "version",
    )

    def __init__(
        self,
        peer: Address,
        local: bytes,
        *,
        source: bytes,
        destination: bytes,
        original_destination: bytes,
        retry_source: bytes | None = None,
        make_id: MakeId | None = None,
        make_token: MakeToken | None = None,
        version: int = VERSION_1,
    ) -> None:
        self.version = version
        self.peer = peer
        self.local = local
        self.source = source
        self.destination = destination
        self.original_destination = original_destination
        self.retry_source = retry_source
        self.make_id = make_id
        self.make_token = make_token


def _no_more_ids() -> tuple[bytes, bytes]:
    raise LocalProtocolError("a connection that was given no way to make IDs was asked for one")


@final
class RandomIds:
    """IDs of a client: nobody but its own socket looks them up."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def make(self) -> tuple[bytes, bytes]:
        """Return an ID and its stateless reset token."""
        return self._random(CID_LENGTH), self._random(16)


class ConnectionCore:
    """Base of `ConnectionHandshake`; see `QuicConnection`."""

    def __init__(
        self, tls: Tls, settings: ConnectionSettings, random: Random, now: float, beginning: Beginning
    ) -> None:
        is_client = isinstance(tls, ClientHandshake)
        self.is_client: Final = is_client
        self.tls = tls
        self.source: Final = beginning.source
        self.state = State.OPEN
        self.end: CloseReason | None = None
        self.is_complete = False
        self.is_confirmed = False
        self.peer_parameters: TransportParameters | None = None
        # The version that the client began in, and the one that the connection goes on in.
        self.original_version = beginning.version
        self.version = beginning.version
        self.datagrams = Datagrams(is_enabled=settings.has_datagrams)
        self.streams = Streams(is_client=is_client, settings=settings.streams)
        self.recovery = Recovery(
            settings.controller(DATAGRAM),
            random,
            is_client=is_client,
            is_ecn_enabled=settings.is_ecn_enabled,
        )
        self.peer_ids = PeerConnectionIds(beginning.destination)
        self.own_ids = OwnConnectionIds(beginning.source, beginning.make_id or _no_more_ids)
        self.resets: list[tuple[int, int]] = []
        self.stops: list[tuple[int, int]] = []
        self.dropped: dict[str, int] = {}
        self.log: QuicLog | None = None
        self._read_at = now
        self._random = random
        self.path = Path(beginning.peer, beginning.local, is_limited=not is_client)
        self.path.own_id = beginning.source
        # Section 14.1: both sides send 1200 octets in the handshake, or there is none.
        self.path.is_wide = True
        self.path.is_validated = is_client
        self._paths = Paths(self.path)
        self._over = self.path  # what the datagram that is read came over
        self._came_to = beginning.source  # and the ID that it was sent to
        self.migrations = 0
        self._make_token = beginning.make_token
        self._tokens: list[bytes] = []
        self._ids_at = NEVER
        self._original_until = NEVER
        self.key_updates = 0
        self._write_generation = 0
        self._first_of_keys = 0
        self._notices = Notices(self.own_ids, self.peer_ids)
        self._has_more_ids = beginning.make_id is not None
        self._new_ids: list[bytes] = []
        self._gone_ids: list[bytes] = []
        self._settings = settings
        self._spaces = new_spaces(beginning.version, is_client=is_client)
        self._outcomes = Outcomes(self._spaces, self.streams, self._notices)
        self._builder = PacketBuilder(
            self._spaces,
            self.recovery,
            self.streams,
            self.peer_ids,
            self._notices,
            self.path,
            self.datagrams,
            beginning.source,
            is_client=is_client,
        )
        self._reader = frames.FrameReader(
            is_server=not is_client, max_datagram=MAX_DATAGRAM_FRAME if settings.has_datagrams else 0
        )
        self._ahead = AheadOfKeys()
        self._strays: Strays | None = None  # made when there is one
        self._glitches = Glitches()
        self._closing: Closing | None = None
        self._is_close_due = False
        self._original_destination = beginning.original_destination
        self._retry_source = beginning.retry_source
        self._keyed_by = b""  # the ID that the keys of Initial packets come from
        self._other_keys: KeySet | None = None  # of Initial packets in another version
        self._refused_version = 0  # by a Version Negotiation that we followed
        self._beginning: ClientBeginning | None = None
        self._introduction: Introduction | None = None
        self._early_keys: KeySet | None = None
        self._early_streams: set[int] | None = None
        self._early_until = NEVER
        self._takes_early = False
        self._remembered: TransportParameters | None = None
        self._peer_source: bytes | None = None
        self._ack_exponent = 3
        self._idle = settings.idle_seconds(0)
        self._idle_since = now
        self._is_resting = False
        self._began: Final = now
        self._key_generation = 0
        self._received_before = 0  # packets, in levels that are gone
        self._old_keys_until = NEVER

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if self.log is not None:
            self.log.packet_dropped(self._read_at, reason)

    def set_log(self, log: QuicLog) -> None:
        """Have everything told to a log from now on."""
        self.log = log
        self._builder.log = log

    def _probe_timeout(self) -> float:
        return self.recovery.rtt.probe_timeout() + self.recovery.max_ack_delay

    def close(self, code: int, reason: str, now: float) -> None:
        """End the connection for the application, with a code of its own."""
        if self.state is State.OPEN:
            self._close(CloseReason(code, reason, is_application=True, is_ours=True), now)

    def _fail(
        self, error: RemoteProtocolError, now: float, *, is_application: bool = False, frame_type: int = 0
    ) -> None:
        """End the connection because the peer, or chance, broke it."""
        reason = CloseReason(
            error.code,
            error.detail or error.reason,
            is_application=is_application,
            is_ours=True,
            frame_type=frame_type,
        )
        self._close(reason, now)

    def _close(self, reason: CloseReason, now: float) -> None:
        text = reason.reason.encode()
        if reason.is_application:
            # Section 10.2.3: before 1-RTT packets nothing of the application is shown.
            transport = frames.encode_connection_close(APPLICATION_ERROR, 0, b"")
            application = frames.encode_application_close(reason.code, text)
        else:
            transport = frames.encode_connection_close(reason.code, reason.frame_type, text)
            application = transport
        try:
            datagram = self._builder.close_datagram(transport, application)
        except QuicError:  # a key that may seal no more: it ends in silence
            datagram = b""
        self._finish(End.OURS, reason, datagram, now)

    def _finish(self, end: End, reason: CloseReason, datagram: bytes, now: float) -> None:
        """Leave the open state; nothing but `Closing` is used from now on."""
        self.state = TABLE[self.state, end]
        self.end = reason
        if self.state is not State.CLOSED:
            until = now + CLOSING_PROBE_TIMEOUTS * self._probe_timeout()
            self._closing = Closing(datagram, until, self.path.allowance())
        self._is_close_due = bool(datagram)
        if self.log is not None:
            self.log.state(now, self.state.value)
            self.log.closed(now, reason)
