"""A run of 1-RTT packets that hold streams and nothing else: what a server sends nearly all the time.

Packets of a run have one size, the last may be shorter, and follow each other in number. So a run needs no drafts:
its contents are cut from the streams one behind the other, sealed in one loop and tracked by one call. A STREAM frame
that fills its packet says no length (RFC 9000 section 19.8). Whatever else is to be said goes into a packet of
engine/quic/packet_builder before or behind the run.
"""

from typing import Final, final

from headgate.engine.quic.frames import FRAME_STREAM, stream_header, stream_header_size
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.sent_packets import SentPacket
from headgate.engine.quic.stream_sender import StreamSender

# The least that is worth a STREAM frame behind others.
LEAST_PIECE: Final = 32
# The longest Length of a frame within one packet.
_LENGTH: Final = 2


@final
class StreamRun:
    """The packets of one run, filled by `fill`. `is_short`: the last one is not full."""

    __slots__ = ("contents", "is_short", "packets", "size")

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.packets: list[SentPacket] = []
        self.size = 0
        self.is_short = False

    def __repr__(self) -> str:
        return f"<StreamRun {len(self.packets)} packets, {self.size} octets>"

    def fill(
        self,
        sender: StreamSender,
        first: int,
        most: int,
        room: int,
        overhead: int,
        now: float,
        is_marked: bool,
    ) -> None:
        """Cut up to `most` packets of `room` octets of frames, numbered from `first` on."""
        contents, packets = self.contents, self.packets
        number = first
        end = first + most
        while number < end:
            stream, offset, data, fin = sender.next_piece(room)
            if stream == NOBODY:
                break
            length = len(data)
            packet = SentPacket(number, now, overhead + room, True, True, ())
            packet.stream = stream
            packet.offset = offset
            packet.length = length
            packet.fin = fin
            packet.is_marked = is_marked
            packets.append(packet)
            number += 1
            if stream_header_size(stream, offset, -1) + length == room:
                contents.append(b"%b%b" % (stream_header(stream, offset, -1, fin=fin), data))
                continue
            content = self._go_on(sender, packet, data, room)
            contents.append(content)
            if len(content) < room:
                packet.size = overhead + len(content)
                self.size = packet.size - overhead - room
                self.is_short = True
                break
        self.size += len(packets) * (overhead + room)

    def _go_on(self, sender: StreamSender, packet: SentPacket, data: bytes, room: int) -> bytes:
        """Return the content of a packet that its first piece does not fill: others go behind it."""
        stream, offset, fin = packet.stream, packet.offset, packet.fin
        header = stream_header(stream, offset, len(data), fin=fin)
        pieces = [header, data]
        left = room - len(header) - len(data)
        if left < 0:  # no room to tell the length, so that nothing can go behind it
            return stream_header(stream, offset, -1, fin=fin) + data
        records = [(FRAME_STREAM, stream, offset, len(data), int(fin))]
        while left >= LEAST_PIECE:
            stream, offset, data, fin = sender.next_piece(left - _LENGTH)
            if stream == NOBODY:
                break
            header = stream_header(stream, offset, len(data), fin=fin)
            pieces.append(header)
            pieces.append(data)
            left -= len(header) + len(data)
            records.append((FRAME_STREAM, stream, offset, len(data), int(fin)))
        if len(records) > 1:
            packet.stream = NOBODY
            packet.frames = tuple(records)
        if 0 < left < LEAST_PIECE and len(sender.scheduler):
            pieces.append(bytes(left))  # others follow: in a batch they all have one size
        return b"".join(pieces)
