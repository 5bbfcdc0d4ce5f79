"""What goes out: datagrams of a connection, put together from what its levels and streams have to say.

A flush goes round until nothing is left, the batch is full, the window or the pace says no, or a server has sent
three times what came from an address that has proved nothing (RFC 9000 section 8.1). In each round one datagram is
drafted: a packet of each level that has something, Initial first; then it is padded where section 14.1 asks for it,
numbered and sealed. Header protection comes at the end, for all packets of a level at once. The datagrams of a batch
have one size, so a shorter one ends it.
"""

from typing import Final, final

from headgate.engine.quic import frames
from headgate.engine.quic.connection_ids import PeerConnectionIds
from headgate.engine.quic.datagrams import Datagrams
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.notices import Notices
from headgate.engine.quic.outcomes import Record
from headgate.engine.quic.packet import (
    TAG,
    encode_long_header,
    encode_short_header,
    length_of_number,
    long_header_size,
)
from headgate.engine.quic.path import MAX_BATCH, MAX_BATCH_OCTETS
from headgate.engine.quic.paths import Path
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.qlog import QuicLog
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.sent_packets import MAX_TRACKED, SentPacket
from headgate.engine.quic.settings import DATAGRAM
from headgate.engine.quic.spaces import Space
from headgate.engine.quic.stream_run import LEAST_PIECE, StreamRun
from headgate.engine.quic.streams import CONTROL_SIZE, Streams

# A packet that has less room for its frames than this waits for the next datagram.
_LEAST_ROOM: Final = 64
# A CRYPTO frame's header.
_CRYPTO_HEADER: Final = 1 + 8 + 2
# Packet number and frames together: the sample of header protection begins four octets behind the number's start.
_LEAST_CONTENT: Final = 4
_ACK_DELAY_SHIFT: Final = 3  # the default of ack_delay_exponent, which is what we say


@final
class _Draft:
    """A packet before it has a number: its frames, what they were, and how long its header and tag will be."""

    __slots__ = (
        "content",
        "is_eliciting",
        "is_padded",
        "keys",
        "kind",
        "number_length",
        "overhead",
        "records",
        "space",
    )

    def __init__(self, space: Space, kind: int, keys: KeySet, number_length: int, overhead: int) -> None:
        self.space = space
        self.kind = kind  # of packet: the level of the space, or 0-RTT
        self.keys = keys
        self.number_length = number_length
        self.overhead = overhead
        self.content = b""
        self.records: list[Record] = []
        self.is_eliciting = False
        self.is_padded = False


@final
class PacketBuilder:
    """One connection's. It is told what is due by attributes, and takes the rest from `spaces` and `streams`.

    `token` goes into Initials, `path` is the one in use. `is_marking`: the last flush goes out with ECT(0).
    `waits_for_pace`: it ended for want of window or pace. `segment`: the size of its datagrams. `eliciting_at`: when
    the first packet that asks went out since the owner set it to `NEVER`. `early_keys`: a client's for 0-RTT packets.
    """

    __slots__ = (
        "_datagrams",
        "_is_client",
        "_notices",
        "_peer_ids",
        "_recovery",
        "_source",
        "_spaces",
        "_streams",
        "early_keys",
        "eliciting_at",
        "is_marking",
        "log",
        "path",
        "segment",
        "token",
        "waits_for_pace",
    )

    def __init__(
        self,
        spaces: list[Space],
        recovery: Recovery,
        streams: Streams,
        peer_ids: PeerConnectionIds,
        notices: Notices,
        path: Path,
        datagrams: Datagrams,
        source: bytes,
        *,
        is_client: bool,
    ) -> None:
        self._spaces = spaces
        self._recovery = recovery
        self._streams = streams
        self._peer_ids = peer_ids
        self._source = source
        self._is_client = is_client
        self._notices = notices
        self._datagrams = datagrams
        self.path = path
        self.early_keys: KeySet | None = None
        self.is_marking = False
        self.log: QuicLog | None = None
        self.token = b""
        self.segment = 0
        self.waits_for_pace = False
        self.eliciting_at = NEVER

    def __repr__(self) -> str:
        return f"<PacketBuilder {self.path.octets_sent} octets sent to {self.path!r}>"

    def is_blocked(self) -> bool:
        """Tell whether nothing may be sent for fear of amplification: datagrams go whole or not at all."""
        path = self.path
        return path.is_limited and path.allowance() < path.datagram

    # Sending

    def flush(self, now: float) -> bytes:
        """Return datagrams that are to be sent now, end to end, each of `segment` octets but the last.

        Ask again until there are none. Raises `QuicError` where a key has sealed too much.
        """
        self.is_marking = self._recovery.ecn.is_marking()
        if self._spaces[INITIAL].is_discarded and self._spaces[HANDSHAKE].is_discarded:
            return self._flush_settled(now)
        datagram = self.path.datagram
        plans: list[list[tuple[int, int]]] = []
        while len(plans) < MAX_BATCH:
            has_budget = self._recovery.budget(now) >= datagram
            drafts = [] if self.is_blocked() else self._draft(now, has_budget=has_budget)
            if not drafts:
                if not plans:
                    self._end_flush(now, ran_dry=has_budget and not self.is_blocked())
                break
            plan = self._seal(drafts, now)
            plans.append(plan)
            size = sum([size for _, size in plan])
            if len(plans) == 1:
                self.segment = size
            if size < datagram:  # only the last of a batch may be shorter
                break
        return self._assemble(plans)

    def _flush_settled(self, now: float) -> bytes:
        """Return datagrams of one 1-RTT packet each: that is all there is behind the handshake."""
        space = self._spaces[APPLICATION]
        keys = space.keys
        datagram = self.path.datagram
        most = max(min(MAX_BATCH, MAX_BATCH_OCTETS // datagram), 1)
        out: list[bytes] = []
        count = 0
        while count < most:
            budget = 0 if self.is_blocked() else self._recovery.budget(now)
            if budget >= datagram and self._has_only_streams(space):
                sent, is_short = self._send_run(space, min(most - count, budget // datagram), now, out)
                if count == 0 and sent:
                    self.segment = sum([len(out[at]) for at in range(4)])
                count += sent
                if sent and not is_short:
                    continue
                if is_short:
                    break
            has_budget = budget >= datagram
            draft = self._draft_settled(space, datagram, now, has_budget=has_budget)
            if draft is None:
                if count == 0:
                    self._end_flush(now, ran_dry=has_budget)
                break
            size = self._seal_one(draft, now)
            out.append(keys.take_sealed())
            if count == 0:
                self.segment = size
            count += 1
            if size < datagram:  # only the last of a batch may be shorter
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def _draft_settled(self, space: Space, datagram: int, now: float, *, has_budget: bool) -> _Draft | None:
        """Return the packet of one datagram behind the handshake, None where there is nothing to say."""
        is_wanted = (has_budget and self._has_payload(space)) or self._recovery.probes[APPLICATION] > 0
        if self.is_blocked() or not (is_wanted or space.received.is_due(now)) or not space.can_write():
            return None
        draft = self._new_draft(space, APPLICATION, space.keys)
        left = datagram - draft.overhead
        self._fill(draft, left, now, has_budget=has_budget)
        if not draft.content:
            return None
        left -= len(draft.content)
        if 0 < left < LEAST_PIECE:  # others follow: in a batch they all have one size
            draft.content += bytes(left)
            draft.is_padded = True
        return draft

    def _has_only_streams(self, space: Space) -> bool:
        """Tell whether streams have something to send, and nothing else is to be said."""
        streams = self._streams
        return (
            len(streams.sender.scheduler) > 0
            and not space.received.has_news
            and not streams.has_control()
            and len(self._notices) == 0
            and len(self._datagrams.outgoing) == 0
            and self._recovery.probes[APPLICATION] == 0
            and self.log is None
            and space.losses == 0
            and not space.has_crypto()
            and space.keys.can_write
        )

    def _send_run(self, space: Space, most: int, now: float, out: list[bytes]) -> tuple[int, bool]:
        """Send a run of packets with nothing but streams; return how many, and whether the last one is short."""
        recovery = self._recovery
        sent = recovery.spaces[APPLICATION]
        path = self.path
        if path.is_limited:
            most = min(most, path.allowance() // path.datagram)
        most = sent.run_length(min(most, MAX_TRACKED - len(sent)))
        if most <= 0:
            return 0, False
        first = sent.next_number
        number_length = length_of_number(first + most, sent.largest_acked)
        destination = self._peer_ids.current
        overhead = 1 + len(destination) + number_length + TAG
        run = StreamRun()
        run.fill(self._streams.sender, first, most, path.datagram - overhead, overhead, now, self.is_marking)
        count = len(run.packets)
        if count:
            space.keys.seal_run(destination, number_length, first, run.contents, out)
            recovery.on_run_sent(run.packets, run.size, is_marked=self.is_marking)
            path.octets_sent += run.size
            if self.eliciting_at == NEVER:
                self.eliciting_at = now
        return count, run.is_short

    def _end_flush(self, now: float, *, ran_dry: bool) -> None:
        """Note why nothing goes out any more: for want of data (`ran_dry`), of window, pace or permission."""
        recovery = self._recovery
        recovery.is_blocked = self.is_blocked()
        self.waits_for_pace = not ran_dry and not recovery.is_blocked
        recovery.on_flushed(now, ran_dry=ran_dry)

    def _draft(self, now: float, *, has_budget: bool) -> list[_Draft]:
        """Return the packets of one datagram, none where there is nothing to say."""
        room = self.path.datagram
        drafts: list[_Draft] = []
        for level in (INITIAL, HANDSHAKE, APPLICATION):
            space = self._spaces[level]
            keys = space.keys
            kind = level
            if not space.can_write():
                early = self.early_keys
                if level != APPLICATION or early is None:
                    continue
                keys = early
                kind = EARLY
            draft = self._new_draft(space, kind, keys)
            left = room - draft.overhead
            if left < _LEAST_ROOM:
                break
            self._fill(draft, left, now, has_budget=has_budget)
            if draft.content:
                drafts.append(draft)
                room -= draft.overhead + len(draft.content)
        # Where there was no more room, others follow: in a batch they all have one size.
        if drafts and (room < LEAST_PIECE or self._must_fill(drafts)):
            drafts[-1].content += bytes(room)
            drafts[-1].is_padded = True
        return drafts

    def _new_draft(self, space: Space, kind: int, keys: KeySet) -> _Draft:
        sent = self._recovery.spaces[space.level]
        # One more than the next, which may be skipped.
        number_length = length_of_number(sent.next_number + 1, sent.largest_acked)
        destination = self._peer_ids.current
        if kind == APPLICATION:
            header = 1 + len(destination) + number_length
        else:
            header = long_header_size(destination, self._source, self.token, kind, number_length)
        return _Draft(space, kind, keys, number_length, header + TAG)

    def _must_fill(self, drafts: list[_Draft]) -> bool:
        """Tell whether a datagram must have its full size (section 14.1)."""
        first = drafts[0]
        return first.space.level == INITIAL and (self._is_client or first.is_eliciting)

    def _fill(self, draft: _Draft, room: int, now: float, *, has_budget: bool) -> None:
        """Put frames into a packet, as far as there are any and the window lets them."""
        space = draft.space
        level = space.level
        received = space.received
        if not self._recovery.has_room(level):
            # A peer that acknowledges nothing is answered no more, or each answer would be remembered for ever.
            received.ack_at = NEVER
            return
        is_probe = self._recovery.probes[level] > 0
        if is_probe and level != APPLICATION and not space.has_crypto():
            space.repeat_crypto()  # the probe before took it
        # Lost octets of the handshake do not wait for a window that packets fill which only it can have acknowledged.
        may = has_budget or is_probe or (level != APPLICATION and space.crypto_out.can_send_without_credit())
        has_payload = may and (is_probe or self._has_payload(space))
        if not has_payload and not received.is_due(now):
            return
        pieces: list[bytes] = []
        must_ask = is_probe
        if received.has_news:
            must_ask = must_ask or (not has_payload and received.wants_ping())
            ack = self._ack(draft, room, now, is_alone=not has_payload and not must_ask)
            pieces.append(ack)
            room -= len(ack)
        if has_payload:
            room = self._fill_crypto(draft, pieces, room)
            if level == APPLICATION:
                room = self._fill_control(draft, pieces, room, now)
                if len(self._datagrams.outgoing):
                    room = self._fill_datagrams(draft, pieces, room)
                self._fill_streams(draft, pieces, room)
        if must_ask and not draft.is_eliciting:
            pieces.append(frames.PING_FRAME)
            draft.is_eliciting = True
        content = b"".join(pieces)
        if content:
            draft.is_padded = len(content) < _LEAST_CONTENT
            draft.content = content.ljust(_LEAST_CONTENT, b"\0")

    def _has_payload(self, space: Space) -> bool:
        if space.has_crypto():
            return True
        if space.level != APPLICATION:
            return False
        streams = self._streams
        return (
            len(self._notices) > 0
            or streams.has_control()
            or len(streams.sender.scheduler) > 0
            or len(self._datagrams.outgoing) > 0
        )

    def _ack(self, draft: _Draft, room: int, now: float, *, is_alone: bool) -> bytes:
        space = draft.space
        received = space.received
        largest, delay, ranges = received.take(now, is_alone=is_alone)
        has_marks = received.ect_0 or received.ect_1 or received.ce
        counts = (received.ect_0, received.ect_1, received.ce) if has_marks else None
        draft.records.append((frames.FRAME_ACK, space.level, largest, 0, 0))
        if space.level == APPLICATION:
            space.keys.acknowledged(largest)
        return frames.encode_ack(ranges, delay >> _ACK_DELAY_SHIFT, counts, room)

    def _fill_crypto(self, draft: _Draft, pieces: list[bytes], room: int) -> int:
        space = draft.space
        out = space.crypto_out
        while space.has_crypto() and room > _CRYPTO_HEADER:
            offset, data, _ = out.next(room - _CRYPTO_HEADER, out.end)
            header = frames.crypto_header(offset, len(data))
            pieces.append(header)
            pieces.append(data)
            room -= len(header) + len(data)
            draft.records.append((frames.FRAME_CRYPTO, space.level, offset, len(data), 0))
            draft.is_eliciting = True
        return room

    def _fill_control(self, draft: _Draft, pieces: list[bytes], room: int, now: float) -> int:
        while len(self._notices):
            kind, number, frame = self._notices.take(room)
            if kind < 0:
                break
            pieces.append(frame)
            room -= len(frame)
            draft.records.append((kind, number, 0, 0, 0))
            draft.is_eliciting = True
        while room >= CONTROL_SIZE:
            record = self._next_control(now)
            if record[0] < 0:
                break
            frame = self._encode(record)
            pieces.append(frame)
            room -= len(frame)
            draft.records.append(record)
            draft.is_eliciting = True
        return room

    def _next_control(self, now: float) -> Record:
        kind, stream, value, final_size = self._streams.next_control(now, self._recovery.rtt.smoothed)
        return kind, stream, value, final_size, 0

    def _encode(self, record: Record) -> bytes:
        kind, stream, value, final_size, _ = record
        if kind == frames.FRAME_RESET_STREAM:
            return frames.encode_reset_stream(stream, value, final_size)
        if kind == frames.FRAME_STOP_SENDING:
            return frames.encode_stop_sending(stream, value)
        if kind in (frames.FRAME_MAX_STREAM_DATA, frames.FRAME_STREAM_DATA_BLOCKED):
            return frames.encode_stream_credit(kind, stream, value)
        return frames.encode_credit(kind, value)

    def _fill_datagrams(self, draft: _Draft, pieces: list[bytes], room: int) -> int:
        """Put in datagrams of the application: before data of streams, which is not lost by waiting."""
        datagrams = self._datagrams
        while (data := datagrams.next(room, is_alone=not pieces)) is not None:
            header = frames.datagram_header(len(data))
            pieces.append(header)
            pieces.append(data)
            room -= len(header) + len(data)
            draft.is_eliciting = True  # and no record: what is lost is lost
        return room

    def _fill_streams(self, draft: _Draft, pieces: list[bytes], room: int) -> None:
        sender = self._streams.sender
        while room >= LEAST_PIECE:
            stream, offset, data, fin = sender.next_piece(room - 2)
            if stream == NOBODY:
                return
            header = frames.stream_header(stream, offset, len(data), fin=fin)
            pieces.append(header)
            pieces.append(data)
            room -= len(header) + len(data)
            draft.records.append((frames.FRAME_STREAM, stream, offset, len(data), int(fin)))
            draft.is_eliciting = True

    # Sealing

    def _seal(self, drafts: list[_Draft], now: float) -> list[tuple[int, int]]:
        """Number, seal and track the packets of a datagram; return the level and size of each."""
        return [(draft.kind, self._seal_one(draft, now)) for draft in drafts]

    def _seal_one(self, draft: _Draft, now: float) -> int:
        """Number, seal and track a packet; return its size."""
        space = draft.space
        level = space.level
        number = self._recovery.take_number(level)
        draft.keys.seal(self._header(draft, number), draft.number_length, number, draft.content)
        size = draft.overhead + len(draft.content)
        is_eliciting = draft.is_eliciting
        packet = SentPacket(
            number, now, size, is_eliciting, is_eliciting or draft.is_padded, tuple(draft.records)
        )
        packet.losses = space.losses
        packet.is_marked = self.is_marking
        if is_eliciting:
            space.losses = 0
            if self.eliciting_at == NEVER:
                self.eliciting_at = now
        self._recovery.on_sent(level, packet)
        self.path.octets_sent += size
        if self.log is not None:
            self.log.packet_sent(now, draft.kind, number, size, draft.content)
        return size

    def _header(self, draft: _Draft, number: int) -> bytes:
        destination = self._peer_ids.current
        if draft.kind == APPLICATION:
            return encode_short_header(destination, draft.keys.phase, 0, number, draft.number_length)
        return encode_long_header(
            draft.kind,
            draft.keys.version,
            destination,
            self._source,
            self.token,
            number,
            draft.number_length,
            len(draft.content),
        )

    def _assemble(self, plans: list[list[tuple[int, int]]]) -> bytes:
        """Put the header protection on, and bring the packets of all levels into their order."""
        sealed = [b""] * 4
        for level in (INITIAL, HANDSHAKE, APPLICATION):
            sealed[level] = self._spaces[level].keys.take_sealed()
        if self.early_keys is not None:
            sealed[EARLY] = self.early_keys.take_sealed()
        for level in (APPLICATION, INITIAL, HANDSHAKE):
            if len(sealed[level]) == sum([len(each) for each in sealed]):
                return sealed[level]  # nearly always
        at = [0] * 4
        packets: list[bytes] = []
        for plan in plans:
            for level, size in plan:
                packets.append(sealed[level][at[level] : at[level] + size])
                at[level] += size
        return b"".join(packets)

    def lone_datagram(
        self, content: bytes, destination: bytes, size: int, now: float, *, is_size_probe: bool = False
    ) -> bytes:
        """Return a datagram with one 1-RTT packet that asks for an answer, to any path; nothing where it may not go.

        It is padded to `size` octets, and not at all where that is 0. It is a probe: its loss says nothing about
        congestion, and what it carries is not sent again by itself.
        """
        space = self._spaces[APPLICATION]
        if not space.can_write() or not self._recovery.has_room(APPLICATION):
            return b""
        sent = self._recovery.spaces[APPLICATION]
        length = length_of_number(sent.next_number + 1, sent.largest_acked)
        overhead = 1 + len(destination) + length + TAG
        content = content.ljust(max(size - overhead, _LEAST_CONTENT), b"\0")
        number = self._recovery.take_number(APPLICATION)
        header = encode_short_header(destination, space.keys.phase, 0, number, length)
        space.keys.seal(header, length, number, content)
        packet = SentPacket(number, now, overhead + len(content), True, is_size_probe, ())
        packet.is_size_probe = is_size_probe
        self._recovery.on_sent(APPLICATION, packet)
        if self.log is not None:
            self.log.packet_sent(now, APPLICATION, number, packet.size, content)
        if self.eliciting_at == NEVER:
            self.eliciting_at = now
        return space.keys.take_sealed()

    def close_datagram(self, transport: bytes, application: bytes) -> bytes:
        """Return a datagram with a CONNECTION_CLOSE in a packet of each level that can be written (section 10.2.3).

        `application` is the frame for 1-RTT packets, `transport` the one for all others.
        """
        drafts: list[_Draft] = []
        for level in (INITIAL, HANDSHAKE, APPLICATION):
            space = self._spaces[level]
            if space.can_write():
                draft = self._new_draft(space, level, space.keys)
                draft.content = application if level == APPLICATION else transport
                drafts.append(draft)
        if not drafts:
            return b""
        if drafts[0].space.level == INITIAL and self._is_client:
            drafts[-1].content += bytes(
                DATAGRAM - sum([each.overhead + len(each.content) for each in drafts])
            )
        self._assemble([])  # what was sealed and not taken is not sent any more
        plan: list[tuple[int, int]] = []
        for draft in drafts:
            number = self._recovery.take_number(draft.space.level)
            draft.space.keys.seal(self._header(draft, number), draft.number_length, number, draft.content)
            plan.append((draft.space.level, draft.overhead + len(draft.content)))
        return self._assemble([plan])
