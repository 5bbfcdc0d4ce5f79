"""What the frames of a packet do (RFC 9000 section 19): each goes to whom it concerns."""

from headgate.engine.quic import frames
from headgate.engine.quic.closing import CloseReason, End
from headgate.engine.quic.errors import KEY_UPDATE_ERROR, QuicError
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.spaces import Space
from headgate.engine.quic.upkeep import Upkeep


class FrameDispatch(Upkeep):
    """Base of `Receiver`: CRYPTO for TLS, ACK for recovery, all about streams for their table."""

    def _receive_frame(self, space: Space, reader: frames.FrameReader, now: float) -> None:
        """Act on any frame but STREAM, which goes to its stream at once."""
        kind = reader.kind
        if kind in (frames.FRAME_ACK, frames.FRAME_ACK_ECN):
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
            self._confirm(now)
        elif kind == frames.FRAME_DATAGRAM:
            self.datagrams.on_frame(reader.data[reader.start : reader.start + reader.length])
        elif kind >= frames.FRAME_NEW_CONNECTION_ID:
            self._receive_path(kind, reader, now)

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
        elif kind == frames.FRAME_NEW_TOKEN:
            self._receive_token(reader.content)
        # DATA_BLOCKED and STREAMS_BLOCKED ask for what consumption alone gives; PING for nothing.

    def _receive_path(self, kind: int, reader: frames.FrameReader, now: float) -> None:
        if kind == frames.FRAME_NEW_CONNECTION_ID:
            self._receive_new_id(reader, now)
        elif kind == frames.FRAME_PATH_CHALLENGE:
            self._receive_challenge(reader.content, now)
        elif kind == frames.FRAME_PATH_RESPONSE:
            self._receive_response(reader.content, now)
        else:
            self._receive_retirement(reader.sequence, now)

    def _receive_ack(self, space: Space, reader: frames.FrameReader, now: float) -> None:
        if space.is_discarded:
            return  # this very packet was the last one of its level
        recovery = self.recovery
        delay = 0.0
        if space.level == APPLICATION:
            delay = (reader.delay << self._ack_exponent) / 1_000_000
        if reader.kind == frames.FRAME_ACK_ECN:
            counts = reader.ect0, reader.ect1, reader.ce
        else:
            counts = -1, -1, -1
        recovery.on_ack(space.level, reader.ranges, delay, now, *counts)
        keys = space.keys
        if keys.write_generation > keys.read_generation and reader.ranges[0] >= self._first_of_keys:
            # RFC 9001 section 6.2: whoever opened those packets has the new keys.
            raise QuicError(
                KEY_UPDATE_ERROR, "packets with new keys acknowledged under old ones", reader.kind
            )
        acked = recovery.take_acked()
        search = self.path.search
        if search is not None and search.is_watching():
            self._watch_acked(search, acked, now)
        self._outcomes.on_acked(acked)
        self._repeat_lost(now)

    def _repeat_lost(self, now: float) -> None:
        lost = self.recovery.take_lost()
        if not lost:
            return
        search = self.path.search
        if search is not None:
            self._watch_lost(search, lost, now)
        if self.log is not None:
            for packet in lost:
                self.log.packet_lost(now, self._outcomes.level_of(packet), packet.number)
        for packet in lost:
            self._outcomes.on_lost(packet)
