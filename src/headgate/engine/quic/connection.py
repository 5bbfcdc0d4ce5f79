"""A connection of QUIC version 1 (RFC 9000, 9001, 9002), client or server, without sockets and without a clock.

Three things move it: datagrams (`receive_datagram`), time (`on_deadline`, when `deadline` has come), and its owner,
who writes and reads by `streams` and asks for the handshake's results at `tls`. After each of them `send` says what
goes out. What the peer does wrong never comes out as an exception: the connection closes, `end` says why, and `send`
returns the CONNECTION_CLOSE.

A datagram is walked over packet by packet. What no key opens is dropped and counted in `dropped`; what came before
its keys waits, within limits. The frames of a packet go to whom they concern: CRYPTO to TLS, whose secrets become
keys and whose answers wait in the spaces; ACK to recovery; all about streams to the table of streams. Packets are
put together in engine/quic/packet_builder. Keys are discarded as RFC 9001 section 4.9 says: Initial when Handshake
packets are in use, Handshake when the handshake is confirmed.

Not here yet: migration and answers from another address, the search for a larger datagram (all have 1200 octets),
connection IDs beyond the first of our own, key updates that we begin (the peer's are followed; a key used up to its
limit closes), DATAGRAM, 0-RTT (such packets are dropped), other versions, ECN marks on what we send, tokens for later
connections (NEW_TOKEN is read and forgotten). Version Negotiation and Retry are sent by an endpoint; a Retry is
followed here.
"""

from collections.abc import Callable
from typing import Final, final

from headgate.engine.quic import frames
from headgate.engine.quic.closing import CLOSING_PROBE_TIMEOUTS, TABLE, CloseReason, Closing, End, State
from headgate.engine.quic.connection_ids import CID_LENGTH, PeerConnectionIds
from headgate.engine.quic.cubic import Cubic
from headgate.engine.quic.errors import (
    APPLICATION_ERROR,
    PROTOCOL_VIOLATION,
    VERSION_NEGOTIATION_ERROR,
    QuicError,
    UnreadablePacketError,
)
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    NEGOTIATION,
    RETRY,
    VERSION_1,
    LongHeader,
    check_short_header,
    destination_of,
    is_stateless_reset,
    parse_long_header,
)
from headgate.engine.quic.packet_builder import PacketBuilder
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.receive_buffer import TooManyGapsError
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.retry import is_genuine_retry
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import DATAGRAM, ConnectionSettings
from headgate.engine.quic.spaces import AheadOfKeys, Space, new_spaces
from headgate.engine.quic.streams import Streams
from headgate.engine.quic.transport_parameters import (
    TransportParameters,
    check_connection_ids,
    check_versions,
    decode_parameters,
    encode_parameters,
)
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, ServerSettings, Session
from headgate.errors import LocalProtocolError, RemoteProtocolError

# Real datagrams hold three; behind CVE-2025-54939 stood thousands.
MAX_COALESCED: Final = 8

Random = Callable[[int], bytes]
Tls = ClientHandshake | ServerHandshake


@final
class QuicConnection:
    """One connection; made by `connect` or `accept`.

    `is_complete`: TLS is done and streams may be used; `is_confirmed`: the peer knows. `end` is None until the
    connection ends. `resets` and `stops` are for the owner to read and clear: (stream, code) of what the peer gave
    up."""

    __slots__ = (
        "_ack_exponent",
        "_ahead",
        "_builder",
        "_closing",
        "_idle",
        "_idle_since",
        "_is_close_due",
        "_key_generation",
        "_old_keys_until",
        "_original_destination",
        "_peer_source",
        "_reader",
        "_retry_source",
        "_settings",
        "_spaces",
        "dropped",
        "end",
        "is_client",
        "is_complete",
        "is_confirmed",
        "peer_ids",
        "peer_parameters",
        "recovery",
        "resets",
        "source",
        "state",
        "stops",
        "streams",
        "tls",
    )

    def __init__(
        self,
        tls: Tls,
        settings: ConnectionSettings,
        random: Random,
        now: float,
        *,
        source: bytes,
        destination: bytes,
        original_destination: bytes,
        retry_source: bytes | None,
    ) -> None:
        is_client = isinstance(tls, ClientHandshake)
        self.is_client: Final = is_client
        self.tls = tls
        self.source: Final = source
        self.state = State.OPEN
        self.end: CloseReason | None = None
        self.is_complete = False
        self.is_confirmed = False
        self.peer_parameters: TransportParameters | None = None
        self.streams = Streams(is_client=is_client, settings=settings.streams)
        self.recovery = Recovery(Cubic(DATAGRAM), random, is_client=is_client)
        self.peer_ids = PeerConnectionIds(destination)
        self.resets: list[tuple[int, int]] = []
        self.stops: list[tuple[int, int]] = []
        self.dropped: dict[str, int] = {}
        self._settings = settings
        self._spaces = new_spaces(is_client=is_client)
        self._builder = PacketBuilder(
            self._spaces, self.recovery, self.streams, self.peer_ids, source, is_client=is_client
        )
        self._reader = frames.FrameReader(is_server=not is_client)
        self._ahead = AheadOfKeys()
        self._closing: Closing | None = None
        self._is_close_due = False
        self._original_destination = original_destination
        self._retry_source = retry_source
        self._peer_source: bytes | None = None
        self._ack_exponent = 3
        self._idle = settings.idle_seconds(0)
        self._idle_since = now
        self._key_generation = 0
        self._old_keys_until = NEVER

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        stage = "confirmed" if self.is_confirmed else "complete" if self.is_complete else "in handshake"
        return f"<QuicConnection {role} {self.source.hex()} {self.state.value}, {stage}>"

    def _begin(self, destination: bytes) -> None:
        """Take the keys of Initial packets for the first destination of the client, or for that of a Retry."""
        keys = KeySet(INITIAL, VERSION_1)
        keys.install_initial(destination, is_client=self.is_client, is_write=True)
        keys.install_initial(destination, is_client=not self.is_client, is_write=False)
        self._spaces[INITIAL].keys = keys

    def initial_destinations(self) -> tuple[bytes, ...]:
        """Return the IDs that the peer sends to: ours, and what a client chose before it knew ours."""
        if self.is_client:
            return (self.source,)
        return self.source, self._retry_source or self._original_destination

    # Datagrams that come

    def receive_datagram(self, data: bytes, ecn: int, now: float) -> None:
        """Take in a datagram with the ECN bits of its IP header (0 where they are not known)."""
        closing = self._closing
        if closing is not None:
            if self.state is State.CLOSING:
                self._is_close_due = closing.receive(len(data)) or self._is_close_due
            return
        if self.state is not State.OPEN:
            return
        self._builder.octets_received += len(data)
        try:
            self._receive_packets(data, ecn, now)
            self._receive_ahead(now)
        except QuicError as error:
            self._fail(error, now, frame_type=error.frame_type)
        except RemoteProtocolError as fault:
            # What the streams refuse by a code of the application's: too many requests given up.
            self._fail(fault, now, is_application=True)
        self.recovery.is_blocked = self._builder.is_blocked()

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _receive_packets(self, data: bytes, ecn: int, now: float) -> None:
        at = 0
        end = len(data)
        count = 0
        first = b""
        while at < end and self.state is State.OPEN:
            if count == MAX_COALESCED:
                self._drop("coalesced")
                return
            try:
                destination = destination_of(data, at, end, CID_LENGTH)
                # Section 12.2: all packets of a datagram are for one connection.
                if count and destination != first:
                    self._drop("other-connection")
                    return
                first = destination
                count += 1
                if data[at] < 0x80:
                    check_short_header(data, at, end, CID_LENGTH)
                    if destination == self.source:
                        self._receive_packet(APPLICATION, data, at, at + 1 + CID_LENGTH, end, ecn, now)
                    else:
                        self._check_reset(data, now)
                    return
                header = parse_long_header(data, at, end)
            except UnreadablePacketError as error:
                self._drop(error.reason)
                self._check_reset(data, now)
                return
            at = header.end
            self._receive_long(header, data, ecn, now)

    def _receive_long(self, header: LongHeader, data: bytes, ecn: int, now: float) -> None:
        kind = header.kind
        if header.destination not in self.initial_destinations():
            self._drop("other-connection")
        elif kind == NEGOTIATION:
            self._receive_negotiation(header, now)
        elif header.version != VERSION_1:
            self._drop("version")
        elif kind == RETRY:
            self._receive_retry(header, data)
        elif kind == EARLY:
            self._drop("0-rtt")
        elif kind == INITIAL and not self.is_client and len(data) < DATAGRAM:
            self._drop("small-initial")  # section 14.1
        elif self._peer_source is not None and header.source != self._peer_source:
            self._drop("other-source")  # section 7.2
        elif self._receive_packet(kind, data, header.start, header.number_at, header.end, ecn, now):
            self._on_opened(kind)

    def _receive_packet(
        self, level: int, data: bytes, start: int, number_at: int, end: int, ecn: int, now: float
    ) -> bool:
        """Open a packet and act on it; False where it was dropped."""
        space = self._spaces[level]
        keys = space.keys
        if space.is_discarded:
            return False
        if not keys.can_read:
            if not self._ahead.keep(level, data[start:end], ecn, is_validated=self._builder.is_validated):
                self._drop("ahead-of-keys")
            return False
        masks = keys.masks(data, [number_at])
        received = space.received
        content = keys.open(data, start, number_at, end, masks, 0, received.largest)
        if content is None:
            self._drop("forged")
            if level == APPLICATION:
                self._check_reset(data, now)
            return False
        number = keys.number
        if received.is_known(number):
            self._drop("duplicate")
            return False
        if level == INITIAL and self._peer_source is None:
            # Known before the frames are read: TLS parameters are held against it.
            header = parse_long_header(data, start, end)
            self._peer_source = header.source
            self.peer_ids.replace_first(header.source, b"")
        if level == HANDSHAKE:
            self._builder.is_validated = True
        self._idle_since = now
        self._builder.eliciting_at = NEVER
        reader = self._reader
        reader.begin(content, level)
        try:
            while self.state is State.OPEN and reader.next():
                self._receive_frame(space, reader, now)
        except TooManyGapsError:
            # It is not acknowledged: the peer sends it again when there is room.
            self._drop("gaps")
            return False
        if not space.is_discarded:
            received.receive(number, ecn, now, is_eliciting=reader.is_eliciting)
        if level == APPLICATION and keys.read_generation != self._key_generation:
            self._key_generation = keys.read_generation
            self._old_keys_until = now + 3 * self._probe_timeout()
        return True

    def _on_opened(self, level: int) -> None:
        if level == HANDSHAKE and not self.is_client:
            self._discard(INITIAL)  # RFC 9001 section 4.9.1

    def _receive_ahead(self, now: float) -> None:
        """Take up what waited for keys that have come."""
        if not len(self._ahead):
            return
        for level, packet, ecn in self._ahead.take(self._can_read):
            number_at = 1 + CID_LENGTH
            if level != APPLICATION:
                number_at = parse_long_header(packet, 0, len(packet)).number_at
            if self.state is not State.OPEN:
                return
            if self._receive_packet(level, packet, 0, number_at, len(packet), ecn, now):
                self._on_opened(level)

    def _can_read(self, level: int) -> bool:
        return self._spaces[level].is_discarded or self._spaces[level].keys.can_read

    def _check_reset(self, data: bytes, now: float) -> None:
        """End without a word where a datagram is the peer's stateless reset (section 10.3.1)."""
        if is_stateless_reset(data, 0, len(data), self.peer_ids.tokens()):
            reason = CloseReason(0, "stateless reset", is_application=False, is_ours=False)
            self._finish(End.THEIRS, reason, b"", now)

    def _receive_negotiation(self, header: LongHeader, now: float) -> None:
        """Version Negotiation: the end, where the server speaks no version of ours (section 6.2)."""
        is_answer = self.is_client and self._peer_source is None and self._retry_source is None
        if not is_answer or header.source != self._original_destination or VERSION_1 in header.versions:
            self._drop("negotiation")
            return
        text = f"the server speaks {', '.join(f'{version:#x}' for version in header.versions)}"
        reason = CloseReason(VERSION_NEGOTIATION_ERROR, text, is_application=False, is_ours=True)
        self._finish(End.TIME, reason, b"", now)

    def _receive_retry(self, header: LongHeader, data: bytes) -> None:
        """Begin again with a token and another destination: once, before anything else came (section 17.2.5.2)."""
        packet = data[header.start : header.end]
        is_answer = self.is_client and self._peer_source is None and self._retry_source is None
        if (
            not is_answer
            or header.source == self._original_destination
            or not is_genuine_retry(VERSION_1, self._original_destination, packet)
        ):
            self._drop("retry")
            return
        self._retry_source = header.source
        self._builder.token = header.token
        self.peer_ids.replace_first(header.source, b"")
        self._begin(header.source)
        for sent in self.recovery.forget(INITIAL):
            self._builder.repeat(sent)

    # Frames

    def _receive_frame(self, space: Space, reader: frames.FrameReader, now: float) -> None:
        kind = reader.kind
        if kind == frames.FRAME_STREAM:
            piece = reader.data[reader.start : reader.start + reader.length]
            self.streams.receive_stream(reader.stream, reader.offset, piece, fin=reader.fin)
        elif kind in (frames.FRAME_ACK, frames.FRAME_ACK_ECN):
            self._receive_ack(space, reader, now)
        elif kind == frames.FRAME_CRYPTO:
            piece = reader.data[reader.start : reader.start + reader.length]
            self._receive_crypto(space, reader.offset, piece, now)
        elif kind <= frames.FRAME_STREAMS_BLOCKED_UNI:
            self._receive_about_streams(kind, reader, now)
        elif kind in (frames.FRAME_CONNECTION_CLOSE, frames.FRAME_APPLICATION_CLOSE):
            reason = CloseReason(
                reader.code,
                reader.content.decode("utf-8", "replace"),
                is_application=kind == frames.FRAME_APPLICATION_CLOSE,
                is_ours=False,
                frame_type=reader.value,
            )
            self._finish(End.THEIRS, reason, b"", now)
        elif kind == frames.FRAME_HANDSHAKE_DONE:
            self._confirm()
        else:
            self._receive_path(kind, reader)

    def _receive_about_streams(self, kind: int, reader: frames.FrameReader, now: float) -> None:
        streams = self.streams
        stream = reader.stream
        if kind == frames.FRAME_MAX_DATA:
            streams.receive_max_data(reader.value)
        elif kind == frames.FRAME_MAX_STREAM_DATA:
            streams.receive_max_stream_data(stream, reader.value)
        elif kind == frames.FRAME_RESET_STREAM:
            if streams.receive_reset(stream, reader.code, reader.value, now):
                self.resets.append((stream, reader.code))
        elif kind == frames.FRAME_STOP_SENDING:
            if streams.receive_stop_sending(stream, reader.code, now):
                self.stops.append((stream, reader.code))
        elif kind in (frames.FRAME_MAX_STREAMS_BIDI, frames.FRAME_MAX_STREAMS_UNI):
            streams.receive_max_streams(is_uni=kind == frames.FRAME_MAX_STREAMS_UNI, count=reader.value)
        elif kind == frames.FRAME_STREAM_DATA_BLOCKED:
            streams.check_stream_data_blocked(stream)
        # DATA_BLOCKED and STREAMS_BLOCKED ask for what consumption alone gives; PING and NEW_TOKEN for nothing.

    def _receive_path(self, kind: int, reader: frames.FrameReader) -> None:
        if kind == frames.FRAME_NEW_CONNECTION_ID:
            self.peer_ids.add(reader.sequence, reader.retire_prior_to, reader.content, reader.token)
        elif kind == frames.FRAME_PATH_CHALLENGE:
            # The newest is answered: more than one in a flush come from nobody who waits for answers.
            self._builder.path_response = reader.content
        elif kind == frames.FRAME_PATH_RESPONSE:
            raise QuicError(PROTOCOL_VIOLATION, "an answer to a challenge that was not sent", kind)
        elif kind == frames.FRAME_RETIRE_CONNECTION_ID:
            # We gave out one ID, and each packet is sent to it (section 19.16).
            raise QuicError(PROTOCOL_VIOLATION, "retires the ID that it is sent to, or none of ours", kind)

    def _receive_ack(self, space: Space, reader: frames.FrameReader, now: float) -> None:
        recovery = self.recovery
        delay = 0.0
        if space.level == APPLICATION:
            delay = (reader.delay << self._ack_exponent) / 1_000_000
        if reader.kind == frames.FRAME_ACK_ECN:
            counts = reader.ect0, reader.ect1, reader.ce
        else:
            counts = -1, -1, -1
        recovery.on_ack(space.level, reader.ranges, delay, now, *counts)
        for packet in recovery.take_acked():
            self._builder.on_acked(packet)
        self._repeat_lost()

    def _repeat_lost(self) -> None:
        for packet in self.recovery.take_lost():
            self._builder.on_lost(packet)

    # The handshake

    def _receive_crypto(self, space: Space, offset: int, data: bytes, now: float) -> None:
        ready = space.crypto_in.receive(offset, data)
        if not ready:
            return
        try:
            self.tls.receive(space.level, bytes(ready))
        except RemoteProtocolError as error:
            # TLS names its codes as QUIC wants them (RFC 9001 section 4.8).
            raise QuicError(error.code, str(error), frames.FRAME_CRYPTO) from error
        self._follow_tls()

    def _follow_tls(self) -> None:
        """Take over what the handshake has come to: keys, answers, the peer's parameters, its end."""
        tls = self.tls
        for secret in tls.take_secrets():
            self._spaces[secret.level].keys.install(secret.suite, secret.secret, is_write=secret.is_write)
            if secret.level == HANDSHAKE and secret.is_write:
                self.recovery.has_handshake_keys = True
        for level, data in tls.take_output():
            self._spaces[level].crypto_out.write(data)
        if self.peer_parameters is None and tls.peer_transport_parameters:
            self.peer_parameters = self._check_parameters(tls.peer_transport_parameters)
        if tls.complete and not self.is_complete:
            self._complete()

    def _check_parameters(self, content: bytes) -> TransportParameters:
        """Read the peer's parameters and hold them against its packets (sections 7.3 and 7.4)."""
        parameters = decode_parameters(content, from_client=not self.is_client)
        check_connection_ids(
            parameters,
            initial_source=self._peer_source or b"",
            original_destination=self._original_destination if self.is_client else None,
            retry_source=self._retry_source if self.is_client else None,
        )
        check_versions(parameters, VERSION_1, is_required=False)
        return parameters

    def _complete(self) -> None:
        """TLS has verified the peer's Finished: what it said of itself counts from now on (RFC 9001 section 8.2)."""
        said = self.peer_parameters
        if said is None:
            raise LocalProtocolError("a handshake is complete without transport parameters")
        self.is_complete = True
        self._ack_exponent = said.ack_delay_exponent
        self.recovery.max_ack_delay = said.max_ack_delay / 1000
        self._idle = self._settings.idle_seconds(said.max_idle_timeout)
        if said.stateless_reset_token:
            self.peer_ids.replace_first(self._peer_source or b"", said.stateless_reset_token)
        self.streams.set_peer_limits(
            max_data=said.initial_max_data,
            bidi_local=said.initial_max_stream_data_bidi_local,
            bidi_remote=said.initial_max_stream_data_bidi_remote,
            uni=said.initial_max_stream_data_uni,
            bidi_streams=said.initial_max_streams_bidi,
            uni_streams=said.initial_max_streams_uni,
        )
        if not self.is_client:
            self._builder.done_due = True
            self._confirm()

    def _confirm(self) -> None:
        """The handshake is confirmed (RFC 9001 section 4.1.2)."""
        if self.is_confirmed:
            return
        self.is_confirmed = True
        self.recovery.is_confirmed = True
        self.recovery.is_peer_validated = True
        self._discard(INITIAL)
        self._discard(HANDSHAKE)

    def _discard(self, level: int) -> None:
        space = self._spaces[level]
        if not space.is_discarded:
            # The limit of forgeries is the connection's (RFC 9001 section 6.6).
            self._spaces[APPLICATION].keys.forged += space.keys.forged
            space.discard()
            self.recovery.discard(level)

    # Datagrams that go, and time

    def send(self, now: float) -> list[bytes]:
        """Return the datagrams that are to be sent now, in order."""
        closing = self._closing
        if closing is not None:
            answer = closing.answer() if self._is_close_due else b""
            self._is_close_due = False
            return [answer] if answer else []
        if self.state is not State.OPEN:
            return []
        try:
            datagrams = self._builder.flush(now)
        except QuicError as error:
            self._fail(error, now)
            return self.send(now)
        if self._builder.eliciting_at == now:
            self._idle_since = max(self._idle_since, now)  # section 10.1: the first since something came
        if self.is_client and self.recovery.spaces[HANDSHAKE].next_number:
            self._discard(INITIAL)  # RFC 9001 section 4.9.1
        return datagrams

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
        """Do what is due; `send` follows."""
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

    def _probe_timeout(self) -> float:
        return self.recovery.rtt.probe_timeout() + self.recovery.max_ack_delay

    def _idle_at(self) -> float:
        """Return when nothing has come for too long: never sooner than three probe timeouts (section 10.1)."""
        if not self._idle:
            return NEVER
        return self._idle_since + max(self._idle, 3 * self._probe_timeout())

    # The end

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
            self._closing = Closing(datagram, until, self._builder.allowance())
        self._is_close_due = bool(datagram)


def connect(
    tls: ClientSettings,
    settings: ConnectionSettings,
    random: Random,
    now: float,
    now_wall: float,
    *,
    session: Session | None = None,
) -> QuicConnection:
    """Return a connection to a server, whose first datagrams wait in `send`; `random(n)`: n secret random octets."""
    source = random(CID_LENGTH)
    destination = random(CID_LENGTH)
    parameters = encode_parameters(settings.parameters(source))
    handshake = ClientHandshake(tls, random, now_wall, transport_parameters=parameters, session=session)
    connection = QuicConnection(
        handshake,
        settings,
        random,
        now,
        source=source,
        destination=destination,
        original_destination=destination,
        retry_source=None,
    )
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
    retry_original: bytes | None = None,
    reset_token: bytes = b"",
) -> QuicConnection:
    """Return a connection for a client's first Initial, which goes into `receive_datagram` next.

    `destination` is that Initial's, `source` the ID that is ours from now on. `retry_original`: the Initial had the
    token of a Retry, which the endpoint has opened; this was the client's first destination.
    """
    said = settings.parameters(source)
    said.original_destination_connection_id = destination if retry_original is None else retry_original
    said.retry_source_connection_id = None if retry_original is None else destination
    said.stateless_reset_token = reset_token
    handshake = ServerHandshake(tls, random, now_wall, transport_parameters=encode_parameters(said))
    connection = QuicConnection(
        handshake,
        settings,
        random,
        now,
        source=source,
        destination=b"",
        original_destination=destination if retry_original is None else retry_original,
        retry_source=None if retry_original is None else destination,
    )
    connection._begin(destination)
    # Whoever shows our token has received it at its address (section 8.1.2).
    connection._builder.is_validated = retry_original is not None
    return connection
