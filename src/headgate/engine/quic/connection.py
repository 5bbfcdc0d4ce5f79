"""A connection of QUIC, versions 1 and 2 (RFC 9000, 9001, 9002, 9221, 9368, 9369), client or server, without sockets
and without a clock.

Three things move it: datagrams (`receive_batch`), time (`on_deadline`, when `deadline` has come), and its owner,
who writes and reads by `streams` and asks for the handshake's results at `tls`. After each of them `take_batch` says
what goes out, until it says None. What the peer does wrong never comes out as an exception: the connection closes,
`end` says why, and `take_batch` returns the CONNECTION_CLOSE.

It is written in rooms (see engine/quic/core); packets are put together in engine/quic/packet_builder. Version
Negotiation and Retry are sent by an endpoint, and followed here.
"""

from typing import Final, final

from headgate.engine.quic.acks import ECT_0
from headgate.engine.quic.closing import TABLE, CloseReason, Closing, End, State
from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.engine.quic.core import Beginning, MakeId, MakeToken, Random, RandomIds
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import VERSION_1
from headgate.engine.quic.path import Address, Batch
from headgate.engine.quic.preferred import encode as encode_preferred
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.receiving import Receiver
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.stats import UNKNOWN, ConnectionStats, path_stats
from headgate.engine.quic.upkeep import SEARCH_AFTER
from headgate.engine.quic.versions import ClientBeginning, Introduction
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, ServerSettings, Session

# Then the ciphers of an idle connection go, 5 KiB of them, and come back with the next packet in a few microseconds.
REST_SECONDS: Final = 2.0


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

    def stats(self) -> ConnectionStats:
        """Return what can be said of the connection now."""
        recovery = self.recovery
        rtt, ecn = recovery.rtt, recovery.ecn
        has_sample = rtt.first_sample_at != NEVER
        levels = (INITIAL, HANDSHAKE, APPLICATION)
        return ConnectionStats(
            version=self._spaces[APPLICATION].keys.version,
            state=self.state.value,
            smoothed_rtt=rtt.smoothed if has_sample else UNKNOWN,
            minimum_rtt=rtt.minimum if has_sample else UNKNOWN,
            window=recovery.controller.window,
            in_flight=recovery.bytes_in_flight,
            congestion_events=recovery.controller.events,
            persistent_congestions=recovery.persistent_congestions,
            probe_timeouts=recovery.pto_count,
            packets_sent=recovery.sent_before + sum([recovery.spaces[level].next_number for level in levels]),
            packets_received=self._received_before
            + sum([self._spaces[level].received.count for level in levels]),
            packets_lost=recovery.lost_packets,
            streams_open=len(self.streams.table),
            migrations=self.migrations,
            key_updates=self.key_updates,
            own_ids=len(self.own_ids.active),
            peer_ids=self.peer_ids.count(),
            ecn=f"{ecn.state.value}: {ecn.reason}" if ecn.reason else ecn.state.value,
            paths=tuple([path_stats(path, is_active=path is self.path) for path in self._paths.all]),
            dropped=dict(self.dropped),
        )

    # Connection IDs of our own

    def take_new_ids(self) -> list[bytes]:
        """Return the IDs that are to be routed to this connection from now on, beside `initial_destinations`."""
        ids = self._new_ids
        if ids:
            self._new_ids = []
        return ids

    def take_gone_ids(self) -> list[bytes]:
        """Return the IDs that are not to be routed to this connection any more."""
        ids = self._gone_ids
        if ids:
            self._gone_ids = []
        return ids

    # Datagrams that go, and time

    def take_batch(self, now: float) -> Batch | None:
        """Return datagrams that are to be sent now; ask again until there are none."""
        data = b""
        closing = self._closing
        if closing is not None:
            data = closing.answer() if self._is_close_due else b""
            self._is_close_due = False
            return Batch(data, len(data), self.path.peer, self.path.local, 0) if data else None
        if self.state is not State.OPEN:
            return None
        try:
            batch = self._next_batch(now)
        except QuicError as error:
            self._fail(error, now)
            return self.take_batch(now)
        if self._builder.eliciting_at == now:
            self._idle_since = max(self._idle_since, now)  # section 10.1: the first since something came
        if self.is_client and self.recovery.spaces[HANDSHAKE].next_number:
            self._discard(INITIAL)  # RFC 9001 section 4.9.1
        if batch is not None and self.log is not None:
            self.log.metrics(now, self.recovery)
        return batch

    def _next_batch(self, now: float) -> Batch | None:
        """Return what goes out next: about other paths, a probe for a larger datagram, or what there is to say."""
        if self._paths.is_due:
            batch = self._path_batch(now)
            if batch is not None:
                return batch
        path = self.path
        if self.is_confirmed:
            if self._spaces[APPLICATION].keys.wants_update:
                self.update_keys(now)
            search = path.search
            if search is None:
                if path.octets_sent > SEARCH_AFTER:
                    self._begin_search(now)
            elif search.next_at <= now and (batch := self._size_probe(now)) is not None:
                return batch
        builder = self._builder
        data = builder.flush(now)
        if not data:
            return None
        return Batch(data, builder.segment, path.peer, path.local, ECT_0 if builder.is_marking else 0)

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
        # Two by two: compiled, that is a comparison; of more at a time it is a call.
        at = min(self.recovery.deadline(), self._idle_at())
        at = min(at, self.streams.deadline())
        at = min(at, self._old_keys_until)
        at = min(at, self._paths.at)
        at = min(at, self._ids_at)
        at = min(at, self._early_until)
        at = min(at, self._rests_at())
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
        if now >= self._early_until:
            self._end_early()
        if now >= self._rests_at():
            self._is_resting = True
            self._spaces[APPLICATION].keys.rest()
        try:
            if self._do_upkeep(now):
                self._on_recovery_timer(now)
        except QuicError as error:
            self._fail(error, now)

    def _on_recovery_timer(self, now: float) -> None:
        level = self.recovery.on_deadline(now)
        self._repeat_lost(now)
        if level >= 0:
            self._suspect(now)
        if level in (INITIAL, HANDSHAKE):
            for each in (INITIAL, HANDSHAKE):
                if self.recovery.probes[each] > 0:
                    self._spaces[each].repeat_crypto()
        elif level == APPLICATION:
            oldest = self.recovery.spaces[level].oldest()
            if oldest is not None:
                self._outcomes.repeat(oldest)  # a probe may as well carry something

    @property
    def idle_seconds(self) -> float:
        """After how long without a packet the connection ends; 0: never."""
        return self._idle

    def progress(self) -> int:
        """Return a number that changes when the peer brings the connection on, and by nothing that others can forge.

        Whoever knows the ID of a handshake can make packets of the first level (RFC 9001 section 5.2): of those only
        new octets of the handshake count. Other packets need keys that only the peer has.
        """
        spaces = self._spaces
        return (
            spaces[INITIAL].crypto_in.received
            + spaces[HANDSHAKE].received.largest
            + spaces[APPLICATION].received.largest
        )

    def ping(self) -> None:
        """Have the next batch ask for an answer: that keeps a connection alive (section 10.1.2)."""
        probes = self.recovery.probes
        probes[APPLICATION] = max(probes[APPLICATION], 1)

    def _rests_at(self) -> float:
        """Return when nothing has moved for so long that memory is worth more than the next packet's time."""
        if self._is_resting or not self.is_confirmed or self.recovery.bytes_in_flight:
            return NEVER
        return self._idle_since + REST_SECONDS

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
    make_id: MakeId | None = None,
    version: int = VERSION_1,
    early: bool = False,
) -> QuicConnection:
    """Return a connection to a server, whose first datagrams wait in `take_batch`.

    `random(n)`: n secret random octets. `token`: of an earlier connection to this server (section 8.1.3). `make_id`
    returns another ID of ours and its stateless reset token; by itself a connection takes random ones. It begins in
    `version`. `early`: streams may be used at once, if the session allows it; what is sent may be replayed.
    """
    source = random(CID_LENGTH)
    destination = random(CID_LENGTH)
    client = ClientBeginning(
        tls, settings.parameters(source), settings.versions, random, now_wall, session, early=early
    )
    handshake = client.handshake(version)
    beginning = Beginning(
        peer,
        local,
        source=source,
        destination=destination,
        original_destination=destination,
        make_id=make_id or RandomIds(random).make,
        version=version,
    )
    connection = QuicConnection(handshake, settings, random, now, beginning)
    connection._beginning = client
    if handshake.early_offered and session is not None:
        connection._remember(session.parameters)
    connection._builder.token = token
    connection._begin(destination)
    connection._follow_tls(now)
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
    make_token: MakeToken | None = None,
    is_validated: bool = False,
    keys: KeySet | None = None,
    version: int = VERSION_1,
) -> QuicConnection:
    """Return a connection for a client's first Initial, which goes into `receive_batch` next.

    `destination` is that Initial's, `source` the ID that is ours from now on. `retry_original`: the Initial had the
    token of a Retry, which the endpoint has opened; this was the client's first destination. `make_id` returns
    another ID of ours and its stateless reset token, `make_token` a token for later connections from an address;
    `is_validated`: the Initial had such a token, which is good. `keys`: what `open_initial` returned for it; without,
    `version` is the one of that Initial.
    """
    said = settings.parameters(source)
    said.original_destination_connection_id = destination if retry_original is None else retry_original
    said.retry_source_connection_id = None if retry_original is None else destination
    said.stateless_reset_token = reset_token
    preferred = make_id() if make_id is not None and settings.preferred else None
    if preferred is not None:
        said.preferred_address = encode_preferred(settings.preferred, *preferred)
    version = keys.version if keys is not None else version
    introduction = Introduction(said, version, settings.versions, prefers_newest=settings.prefers_newest)
    handshake = ServerHandshake(tls, random, now_wall, transport=introduction, version=version)
    beginning = Beginning(
        peer,
        local,
        source=source,
        destination=b"",
        original_destination=destination if retry_original is None else retry_original,
        retry_source=None if retry_original is None else destination,
        make_id=make_id,
        make_token=make_token,
        version=version,
    )
    connection = QuicConnection(handshake, settings, random, now, beginning)
    connection._introduction = introduction
    connection._takes_early = tls.early is not None
    if preferred is not None:
        connection.own_ids.adopt(*preferred)
        connection._new_ids.append(preferred[0])
    connection._begin(destination, keys)
    # Whoever shows our token has received it at its address (section 8.1.2).
    if retry_original is not None or is_validated:
        connection.path.accept()
    return connection
