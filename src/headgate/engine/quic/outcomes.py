"""What became of packets: whoever had something in one that arrived or was lost hears of it (RFC 9000 section 13.3).

A packet remembers what it carried as records of five numbers, or, where that is one STREAM frame, in attributes of
its own (engine/quic/sent_packets). Nothing is kept in the form of frames: what is lost is said again in its newest
form.
"""

from typing import cast, final

from headgate.engine.quic import frames
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.notices import KINDS, Notices
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.sent_packets import SentPacket
from headgate.engine.quic.spaces import Space
from headgate.engine.quic.streams import Streams

# What a packet carried: kind of frame, and four numbers that depend on it.
Record = tuple[int, int, int, int, int]


@final
class Outcomes:
    """One connection's."""

    __slots__ = ("_notices", "_spaces", "_streams")

    def __init__(self, spaces: list[Space], streams: Streams, notices: Notices) -> None:
        self._spaces = spaces
        self._streams = streams
        self._notices = notices

    def on_acked(self, packets: list[SentPacket]) -> None:
        """Tell whom it concerns that packets arrived; neighbours in one stream count as one piece."""
        stream = NOBODY
        start = end = 0
        fin = False
        for packet in packets:
            if packet.stream == NOBODY:
                if packet.frames:
                    self._on_acked_records(cast("tuple[Record, ...]", packet.frames))
            elif packet.stream == stream and packet.offset == end:
                end += packet.length
                fin = packet.fin
            else:
                if stream != NOBODY:
                    self._streams.on_ack(stream, start, end - start, fin=fin)
                stream = packet.stream
                start = packet.offset
                end = start + packet.length
                fin = packet.fin
        if stream != NOBODY:
            self._streams.on_ack(stream, start, end - start, fin=fin)

    def _on_acked_records(self, records: tuple[Record, ...]) -> None:
        for kind, where, value, length, fin in records:
            if kind == frames.FRAME_STREAM:
                self._streams.on_ack(where, value, length, fin=fin != 0)
            elif kind == frames.FRAME_ACK:
                self._spaces[where].received.on_ack_acked(value)
            elif kind == frames.FRAME_CRYPTO:
                if not self._spaces[where].is_discarded:
                    self._spaces[where].crypto_out.on_ack(value, length, False)
            elif kind in KINDS:
                self._notices.on_acked(kind, where)
            else:
                self._streams.on_control_ack(kind, where)

    def level_of(self, packet: SentPacket) -> int:
        """Return the level that a packet went out with, as its records say it."""
        level = APPLICATION
        for kind, where, _, _, _ in cast("tuple[Record, ...]", packet.frames):
            if kind in (frames.FRAME_ACK, frames.FRAME_CRYPTO):
                level = where
        return level

    def on_lost(self, packet: SentPacket) -> None:
        """Have what a lost packet carried sent again; the next packet of its level counts how often that was."""
        space = self._spaces[self.level_of(packet)]
        if packet.ack_eliciting:
            space.losses = max(space.losses, packet.losses + 1)
        self.repeat(packet)

    def repeat(self, packet: SentPacket) -> None:
        """Have what a packet carried sent again: it is lost, or a probe may as well carry it."""
        if packet.stream != NOBODY:
            self._streams.on_loss(packet.stream, packet.offset, packet.length, fin=packet.fin)
            return
        for kind, where, value, length, fin in cast("tuple[Record, ...]", packet.frames):
            if kind == frames.FRAME_STREAM:
                self._streams.on_loss(where, value, length, fin=fin != 0)
            elif kind == frames.FRAME_CRYPTO:
                if not self._spaces[where].is_discarded:
                    self._spaces[where].crypto_out.on_loss(value, length, False)
            elif kind in KINDS:
                self._notices.on_lost(kind, where)
            elif kind != frames.FRAME_ACK:
                self._streams.on_control_loss(kind, where, value)
