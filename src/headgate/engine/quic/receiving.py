"""Datagrams that come: which packets lie in them, which keys open these, and in which order (RFC 9000 section 12).

A datagram is walked over packet by packet. What no key opens is dropped and counted in `dropped`; what came before
its keys waits, within limits. Version Negotiation and Retry are followed by a client, once.
"""

from typing import Final

from headgate.engine.quic.closing import OPEN, CloseReason, End, State
from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.engine.quic.dispatch import FrameDispatch
from headgate.engine.quic.errors import QuicError, UnreadablePacketError
from headgate.engine.quic.frames import FRAME_STREAM, FrameReader
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    LEAST_PROTECTED,
    NEGOTIATION,
    RETRY,
    SAMPLE,
    LongHeader,
    check_short_header,
    destination_of,
    is_stateless_reset,
    parse_long_header,
)
from headgate.engine.quic.path import Address
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.receive_buffer import TooManyGapsError
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import DATAGRAM
from headgate.engine.quic.strays import Strays
from headgate.errors import RemoteProtocolError

# Real datagrams hold three; behind CVE-2025-54939 stood thousands.
MAX_COALESCED: Final = 8


_LEAST_SHORT: Final = 1 + CID_LENGTH + LEAST_PROTECTED


class Receiver(FrameDispatch):
    """Base of `QuicConnection`: `receive_batch`."""

    def initial_destinations(self) -> tuple[bytes, ...]:
        """Return the IDs that the peer sends to: ours, and what a client chose before it knew ours."""
        if self.is_client:
            return (self.source,)
        return self.source, self._retry_source or self._original_destination

    def receive_batch(
        self, data: bytes, segment: int, peer: Address, local: bytes, ecn: int, now: float
    ) -> None:
        """Take in datagrams that came together: end to end, each of `segment` octets but the last.

        `ecn`: the bits of their IP headers, 0 where they are not known.
        """
        self._read_at = now
        path = self.path
        if peer != path.peer or local != path.local:
            strays = self._strays
            if strays is not None and now < strays.until:
                self._drop("strays")
                return
            other = self._origin(peer, local, now) if self.state is OPEN else None
            if other is None:
                return
            path = other
        self._over = path
        at = 0
        size = len(data)
        step = segment if segment > 0 else size
        # One call of the cipher for all of them; a datagram that is not for these keys has a mask in vain.
        masks = self._spaces[APPLICATION].keys.masks_of_batch(data, step) if self.is_confirmed else b""
        mask_at = 0
        while at < size:
            end = min(at + step, size)
            if self.state is OPEN:
                path.octets_received += end - at
                self._receive_datagram(data, at, end, masks, mask_at, ecn, now)
            elif self.state is State.CLOSING and self._closing is not None:
                self._is_close_due = self._closing.receive(end - at) or self._is_close_due
            at = end
            mask_at += SAMPLE
        self.recovery.is_blocked = self._builder.is_blocked()

    def _receive_datagram(
        self, data: bytes, at: int, end: int, masks: bytes, mask_at: int, ecn: int, now: float
    ) -> None:
        try:
            if (
                masks
                and data[at] & 0xC0 == 0x40
                and end - at >= _LEAST_SHORT
                and data[at + 1 : at + 1 + CID_LENGTH] == self._over.own_id
            ):
                self._came_to = self._over.own_id
                number_at = at + 1 + CID_LENGTH
                self._receive_packet(APPLICATION, data, at, number_at, end, ecn, now, None, masks, mask_at)
            else:
                self._receive_packets(data, at, end, ecn, now)
                self._receive_ahead(now)
        except QuicError as error:
            self._fail(error, now, frame_type=error.frame_type)
        except RemoteProtocolError as fault:
            # What the streams refuse by a code of the application's: too many requests given up.
            self._fail(fault, now, is_application=True)

    def _receive_packets(self, data: bytes, at: int, end: int, ecn: int, now: float) -> None:
        start = at
        count = 0
        first = b""
        while at < end and self.state is OPEN:
            if count == MAX_COALESCED:
                self._drop("coalesced")
                return
            try:
                destination = destination_of(data, at, end, CID_LENGTH)
                # Section 12.2: all packets of a datagram are for one connection.
                if count and destination != first:
                    self._drop("other-connection")
                    return
                first = self._came_to = destination
                count += 1
                if data[at] < 0x80:
                    check_short_header(data, at, end, CID_LENGTH)
                    if destination == self._over.own_id or self.own_ids.has(destination):
                        number_at = at + 1 + CID_LENGTH
                        if self._receive_packet(APPLICATION, data, at, number_at, end, ecn, now):
                            self._over.own_id = destination
                    else:
                        self._drop("other-connection")
                        self._check_reset(data, start, end, now)
                    return
                header = parse_long_header(data, at, end)
            except UnreadablePacketError as error:
                self._drop(error.reason)
                self._check_reset(data, start, end, now)
                return
            at = header.end
            self._receive_long(header, data, end - start, ecn, now)

    def _receive_long(self, header: LongHeader, data: bytes, size: int, ecn: int, now: float) -> None:
        """Take in one packet with a long header, in a datagram of `size` octets."""
        kind = header.kind
        if header.destination not in self.initial_destinations():
            self._drop("other-connection")
        elif kind == NEGOTIATION:
            self._receive_negotiation(header, now)
        elif kind == INITIAL and not self.is_client and size < DATAGRAM:
            self._drop("small-initial")  # section 14.1
        elif self._peer_source is not None and header.source != self._peer_source:
            self._drop("other-source")  # section 7.2
        elif kind == EARLY and header.version == self.original_version:
            self._receive_early(header, data, ecn, now)
        elif header.version != self.version:
            keys = self._keys_of(header.version) if kind == INITIAL else None
            if keys is None:
                self._drop("version")
            else:
                self._receive_packet(
                    INITIAL, data, header.start, header.number_at, header.end, ecn, now, keys
                )
        elif kind == RETRY:
            self._receive_retry(header, data)
        elif self._receive_packet(kind, data, header.start, header.number_at, header.end, ecn, now):
            self._on_opened(kind)

    def _receive_early(self, header: LongHeader, data: bytes, ecn: int, now: float) -> None:
        """Take in a 0-RTT packet, keep it for a ClientHello that is still to come, or drop it."""
        keys = self._early_keys
        if self.is_client:
            self._drop("0-rtt")
        elif keys is not None:
            self._receive_packet(EARLY, data, header.start, header.number_at, header.end, ecn, now, keys)
        elif self.peer_parameters is not None or not self._takes_early:
            self._drop("0-rtt")
        elif not self._ahead.keep(EARLY, data[header.start : header.end], ecn, is_validated=False):
            self._drop("ahead-of-keys")

    def _receive_packet(
        self,
        level: int,
        data: bytes,
        start: int,
        number_at: int,
        end: int,
        ecn: int,
        now: float,
        other: KeySet | None = None,
        masks: bytes = b"",
        mask_at: int = 0,
    ) -> bool:
        """Open a packet and act on it; False where it was dropped.

        `other` keys than those of the level open it. Its mask stands in `masks`, if there are any.
        """
        space = self._spaces[level]
        keys = space.keys if other is None else other
        if space.is_discarded:
            return False
        if not keys.can_read:
            if not self._ahead.keep(level, data[start:end], ecn, is_validated=self.path.is_validated):
                self._drop("ahead-of-keys")
            return False
        if not masks:
            masks = keys.masks(data, [number_at])
        received = space.received
        content = keys.open(data, start, number_at, end, masks, mask_at, received.largest)
        if content is None:
            self._drop("forged")
            if self._over is not self.path:
                if self._strays is None:
                    self._strays = Strays()
                self._strays.count(now)
            if level == APPLICATION:
                self._check_reset(data, start, end, now)
            return False
        number = keys.number
        if received.is_known(number):
            self._drop("duplicate")
            return False
        if self.log is not None:
            self.log.packet_received(now, level, number, end - start, content)
        if other is not None and level == INITIAL and self.is_client:
            self._use_version(other.version, other)
        if level == INITIAL and self._peer_source is None:
            # Known before the frames are read: TLS parameters are held against it.
            header = parse_long_header(data, start, end)
            self._peer_source = header.source
            self.peer_ids.replace_first(header.source, b"")
        if level == HANDSHAKE and not self.path.is_validated:
            self.path.accept()  # section 8.1
        self._idle_since = now
        self._is_resting = False
        self._builder.eliciting_at = NEVER
        reader = self._reader
        reader.begin(content, level)
        try:
            while self.state is OPEN and reader.next():
                if reader.kind == FRAME_STREAM:
                    piece = content[reader.start : reader.start + reader.length]
                    self.streams.receive_stream(reader.stream, reader.offset, piece, fin=reader.fin)
                    if level == EARLY:
                        if self._early_streams is None:
                            self._early_streams = set()
                        self._early_streams.add(reader.stream)
                else:
                    self._receive_frame(space, reader, now)
        except TooManyGapsError:
            # It is not acknowledged: the peer sends it again when there is room.
            self._drop("gaps")
            self._count_idle(reader, now)
            return False
        self._count_idle(reader, now)
        reader.end()
        if not space.is_discarded:
            received.receive(number, ecn, now, is_eliciting=reader.is_eliciting)
        if level == APPLICATION:
            if keys.read_generation != self._key_generation:
                self._on_key_update(now)
            if self._over is not self.path:
                self._came_over(self._over, now, is_newest=number == received.largest)
        return True

    def _count_idle(self, reader: FrameReader, now: float) -> None:
        """Count what a packet had of frames for nothing."""
        count = reader.idle
        if reader.acks > 1:
            count += reader.acks - 1
        if reader.tiny > 1:
            count += reader.tiny - 1
        if count:
            self._glitches.spend(count, self.streams.moved(), now)

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
            early = self._early_keys if level == EARLY else None
            if level == EARLY and early is None:
                self._drop("0-rtt")
            elif self._receive_packet(level, packet, 0, number_at, len(packet), ecn, now, early):
                self._on_opened(level)

    def _can_read(self, level: int) -> bool:
        if level == EARLY:
            return self._early_keys is not None or self.peer_parameters is not None
        return self._spaces[level].is_discarded or self._spaces[level].keys.can_read

    def _check_reset(self, data: bytes, start: int, end: int, now: float) -> None:
        """End without a word where a datagram is the peer's stateless reset (section 10.3.1)."""
        if is_stateless_reset(data, start, end, self.peer_ids.tokens()):
            reason = CloseReason(0, "stateless reset", is_application=False, is_ours=False)
            self._finish(End.THEIRS, reason, b"", now)
