"""A connection of QUIC version 1 (RFC 9000, 9001, 9002), client or server, without sockets and without a clock.

Three things move it: datagrams (`receive_batch`), time (`on_deadline`, when `deadline` has come), and its owner,
who writes and reads by `streams` and asks for the handshake's results at `tls`. After each of them `take_batch` says
what goes out, until it says None. What the peer does wrong never comes out as an exception: the connection closes,
`end` says why, and `take_batch` returns the CONNECTION_CLOSE.

It is written in five rooms (see engine/quic/core); packets are put together in engine/quic/packet_builder.

Not here yet: migration and answers from another address, the search for a larger datagram (all have 1200 octets),
connection IDs beyond the first of our own, key updates that we begin (the peer's are followed; a key used up to its
limit closes), DATAGRAM, 0-RTT (such packets are dropped), other versions, ECN marks on what we send, tokens for later
connections (NEW_TOKEN is read and forgotten). Version Negotiation and Retry are sent by an endpoint; a Retry is
followed here.
"""

from typing import final

from headgate.engine.quic.closing import TABLE, CloseReason, Closing, End, State
from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.engine.quic.core import Beginning, MakeId, Random
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.path import Address, Batch
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.receiving import Receiver
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.transport_parameters import encode_parameters
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, FixedAnswer, ServerSettings, Session


@final
class QuicConnection(Receiver):
    """One connection; made by `connect` or `accept`.

    `is_complete`: TLS is done and streams may be used; `is_confirmed`: the peer knows. `end` is None until the
    connection ends. `resets` and `stops` are for the owner to read and clear: (stream, code) of what the peer gave
    up."""

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        stage = "confirmed" if self.is_confirmed else "complete" if self.is_complete else "in handshake"
        return f"<QuicConnection {role} {self.source.hex()} {self.state.value}, {stage}>"

    # Connection IDs of our own

    def take_new_ids(self) -> list[bytes]:
        """Return the IDs that are to be routed to this connection from now on."""
        return []

    def take_gone_ids(self) -> list[bytes]:
        """Return the IDs that are not to be routed to this connection any more."""
        return []

    # Datagrams that go, and time

    def take_batch(self, now: float) -> Batch | None:
        """Return datagrams that are to be sent now; ask again until there are none."""
        data = b""
        closing = self._closing
        if closing is not None:
            data = closing.answer() if self._is_close_due else b""
            self._is_close_due = False
            return Batch(data, len(data), self.peer, self.local, 0) if data else None
        if self.state is not State.OPEN:
            return None
        try:
            data = self._builder.flush(now)
        except QuicError as error:
            self._fail(error, now)
            return self.take_batch(now)
        if self._builder.eliciting_at == now:
            self._idle_since = max(self._idle_since, now)  # section 10.1: the first since something came
        if self.is_client and self.recovery.spaces[HANDSHAKE].next_number:
            self._discard(INITIAL)  # RFC 9001 section 4.9.1
        return Batch(data, self._builder.segment, self.peer, self.local, 0) if data else None

    def take_closing(self) -> Closing | None:
        """Return what is left of a connection that has ended, None where nobody is to be told: keep only that."""
        closing = self._closing
        if closing is not None:
            self.state = TABLE[self.state, End.TIME]
            self._closing = None
        return closing

    def deadline(self) -> float:
        """Return when `on_deadline` is to be called, `NEVER` for never; ask again after each call."""
        closing = self._closing
        if closing is not None:
            return closing.until
        if self.state is not State.OPEN:
            return NEVER
        at = min(self.recovery.deadline(), self._idle_at(), self.streams.deadline(), self._old_keys_until)
        if not self._builder.is_blocked():
            for space in self._spaces:
                at = min(at, space.received.ack_at)
            if self._builder.waits_for_pace:
                at = min(at, self.recovery.ready_at())
        return at

    def on_deadline(self, now: float) -> None:
        """Do what is due; `take_batch` follows."""
        closing = self._closing
        if closing is not None:
            if now >= closing.until:
                self.state = TABLE[self.state, End.TIME]
                self._closing = None
            return
        if self.state is not State.OPEN:
            return
        if now >= self._idle_at():
            reason = CloseReason(0, "idle timeout", is_application=False, is_ours=True)
            self._finish(End.TIME, reason, b"", now)
            return
        self.streams.on_deadline(now)
        if now >= self._old_keys_until:
            self._old_keys_until = NEVER
            self._spaces[APPLICATION].keys.drop_old()
        try:
            level = self.recovery.on_deadline(now)
        except QuicError as error:
            self._fail(error, now)
            return
        self._repeat_lost()
        if level >= 0:
            oldest = self.recovery.spaces[level].oldest()
            if oldest is not None:
                self._builder.repeat(oldest)  # a probe may as well carry something

    @property
    def idle_seconds(self) -> float:
        """After how long without a packet the connection ends; 0: never."""
        return self._idle

    def ping(self) -> None:
        """Have the next batch ask for an answer: that keeps a connection alive (section 10.1.2)."""
        probes = self.recovery.probes
        probes[APPLICATION] = max(probes[APPLICATION], 1)

    def _idle_at(self) -> float:
        """Return when nothing has come for too long: never sooner than three probe timeouts (section 10.1)."""
        if not self._idle:
            return NEVER
        return self._idle_since + max(self._idle, 3 * self._probe_timeout())


def connect(
    tls: ClientSettings,
    settings: ConnectionSettings,
    random: Random,
    now: float,
    now_wall: float,
    *,
    peer: Address,
    local: bytes = b"",
    session: Session | None = None,
    token: bytes = b"",
) -> QuicConnection:
    """Return a connection to a server, whose first datagrams wait in `take_batch`.

    `random(n)`: n secret random octets. `token`: of an earlier connection to this server (section 8.1.3).
    """
    source = random(CID_LENGTH)
    destination = random(CID_LENGTH)
    parameters = encode_parameters(settings.parameters(source))
    handshake = ClientHandshake(tls, random, now_wall, transport_parameters=parameters, session=session)
    beginning = Beginning(
        peer, local, source=source, destination=destination, original_destination=destination
    )
    connection = QuicConnection(handshake, settings, random, now, beginning)
    connection._builder.token = token
    connection._begin(destination)
    connection._follow_tls()
    return connection


def accept(
    tls: ServerSettings,
    settings: ConnectionSettings,
    random: Random,
    now: float,
    now_wall: float,
    *,
    destination: bytes,
    source: bytes,
    peer: Address,
    local: bytes,
    retry_original: bytes | None = None,
    reset_token: bytes = b"",
    make_id: MakeId | None = None,
    keys: KeySet | None = None,
) -> QuicConnection:
    """Return a connection for a client's first Initial, which goes into `receive_batch` next.

    `destination` is that Initial's, `source` the ID that is ours from now on. `retry_original`: the Initial had the
    token of a Retry, which the endpoint has opened; this was the client's first destination. `make_id` returns
    another ID of ours and its stateless reset token. `keys`: what `open_initial` returned for that Initial.
    """
    said = settings.parameters(source)
    said.original_destination_connection_id = destination if retry_original is None else retry_original
    said.retry_source_connection_id = None if retry_original is None else destination
    said.stateless_reset_token = reset_token
    handshake = ServerHandshake(tls, random, now_wall, transport=FixedAnswer(encode_parameters(said)))
    beginning = Beginning(
        peer,
        local,
        source=source,
        destination=b"",
        original_destination=destination if retry_original is None else retry_original,
        retry_source=None if retry_original is None else destination,
        make_id=make_id,
    )
    connection = QuicConnection(handshake, settings, random, now, beginning)
    connection._begin(destination, keys)
    # Whoever shows our token has received it at its address (section 8.1.2).
    connection._builder.is_validated = retry_original is not None
    return connection
