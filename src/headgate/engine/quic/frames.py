"""The frames of QUIC (RFC 9000 sections 12.4 and 19, RFC 9221), read without objects and written as bytes.

`FrameReader` walks over the frames of one packet that was opened. After `next` said True, `kind` says what the frame
is (`FRAME_…`) and the attributes named at that kind hold what it says; content stays where it is, between `start` and
`start + length` of `data`. All forms of STREAM are one kind, PADDING is passed over. Attributes that a kind does not
name are left from frames before it.

    FRAME_…                 attributes
    ACK, ACK_ECN            ranges (largest and smallest number of each, highest first), delay (as on the wire);
                            ect0, ect1, ce
    STREAM                  stream, offset, start, length, fin
    CRYPTO                  offset, start, length
    DATAGRAM                start, length
    RESET_STREAM            stream, code, value (final size)
    STOP_SENDING            stream, code
    MAX_DATA, DATA_BLOCKED, MAX_STREAMS_…, STREAMS_BLOCKED_…      value
    MAX_STREAM_DATA, STREAM_DATA_BLOCKED                          stream, value
    NEW_TOKEN, PATH_CHALLENGE, PATH_RESPONSE                      content
    NEW_CONNECTION_ID       sequence, retire_prior_to, content (the ID), token
    RETIRE_CONNECTION_ID    sequence
    CONNECTION_CLOSE, APPLICATION_CLOSE                           code, value (frame type or 0), content (reason)

Checked here: that a frame is whole, that its kind may stand in this kind of packet and come from this side, and every
value that section 19 bounds by itself. What depends on the state of the connection is not.
"""

from collections.abc import Sequence
from typing import Final, final

from headgate.engine.quic.errors import FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import MAX_CID
from headgate.engine.quic.sent_packets import MAX_RANGES_READ
from headgate.engine.varint import MAX_VARINT, decode_varint, encode_varint, size_of_varint

FRAME_PADDING: Final = 0x00
FRAME_PING: Final = 0x01
FRAME_ACK: Final = 0x02
FRAME_ACK_ECN: Final = 0x03
FRAME_RESET_STREAM: Final = 0x04
FRAME_STOP_SENDING: Final = 0x05
FRAME_CRYPTO: Final = 0x06
FRAME_NEW_TOKEN: Final = 0x07
FRAME_STREAM: Final = 0x08
FRAME_MAX_DATA: Final = 0x10
FRAME_MAX_STREAM_DATA: Final = 0x11
FRAME_MAX_STREAMS_BIDI: Final = 0x12
FRAME_MAX_STREAMS_UNI: Final = 0x13
FRAME_DATA_BLOCKED: Final = 0x14
FRAME_STREAM_DATA_BLOCKED: Final = 0x15
FRAME_STREAMS_BLOCKED_BIDI: Final = 0x16
FRAME_STREAMS_BLOCKED_UNI: Final = 0x17
FRAME_NEW_CONNECTION_ID: Final = 0x18
FRAME_RETIRE_CONNECTION_ID: Final = 0x19
FRAME_PATH_CHALLENGE: Final = 0x1A
FRAME_PATH_RESPONSE: Final = 0x1B
FRAME_CONNECTION_CLOSE: Final = 0x1C
FRAME_APPLICATION_CLOSE: Final = 0x1D
FRAME_HANDSHAKE_DONE: Final = 0x1E
FRAME_DATAGRAM: Final = 0x30

# Pieces of a stream shorter than that are counted when a packet has several of them.
_TINY: Final = 16
_FIN: Final = 0x01
_LEN: Final = 0x02
_OFF: Final = 0x04

# Section 4.6: more streams than that have no IDs.
_MOST_STREAMS: Final = 1 << 60
# Section 19.19 sets no bound; ours is what a log line takes (msquic 512).
MAX_REASON: Final = 256

# Which packets may carry which kind: table 3 of section 12.4, one bit for each level. RETIRE_CONNECTION_ID is not let
# into 0-RTT packets, as section 12.5 allows: no client can have an ID of ours to retire by then.
_I: Final = 1 << INITIAL
_0: Final = 1 << EARLY
_H: Final = 1 << HANDSHAKE
_1: Final = 1 << APPLICATION
_IH01: Final = _I | _H | _0 | _1
_IH_1: Final = _I | _H | _1
_01: Final = _0 | _1
PACKETS: Final[tuple[int, ...]] = (
    _IH01,  # PADDING
    _IH01,  # PING
    _IH_1,  # ACK
    _IH_1,
    _01,  # RESET_STREAM
    _01,  # STOP_SENDING
    _IH_1,  # CRYPTO
    _1,  # NEW_TOKEN
    *(_01,) * 8,  # STREAM
    _01,  # MAX_DATA
    _01,  # MAX_STREAM_DATA
    _01,  # MAX_STREAMS
    _01,
    _01,  # DATA_BLOCKED
    _01,  # STREAM_DATA_BLOCKED
    _01,  # STREAMS_BLOCKED
    _01,
    _01,  # NEW_CONNECTION_ID
    _1,  # RETIRE_CONNECTION_ID
    _01,  # PATH_CHALLENGE
    _1,  # PATH_RESPONSE
    _IH01,  # CONNECTION_CLOSE of the transport
    _01,  # CONNECTION_CLOSE of the application
    _1,  # HANDSHAKE_DONE
)
# Sections 13.2: what asks for no acknowledgement. 9.1: what does not make a path the one in use.
_NOT_ELICITING: Final = (
    (1 << FRAME_ACK) | (1 << FRAME_ACK_ECN) | (1 << FRAME_CONNECTION_CLOSE) | (1 << FRAME_APPLICATION_CLOSE)
)
_PROBING: Final = (1 << FRAME_PATH_CHALLENGE) | (1 << FRAME_PATH_RESPONSE) | (1 << FRAME_NEW_CONNECTION_ID)


@final
class FrameReader:
    """Walks over packets, one after the other; see the table above.

    `is_eliciting` and `is_probing` describe the frames of the packet so far: at its end, the packet. `idle` counts
    those that carry nothing, `acks` and `tiny` ACKs and pieces of streams of a few octets (engine/quic/glitches).
    `frame_type` is the type of the last frame as it came. `max_datagram` is what we sent as max_datagram_frame_size.
    """

    __slots__ = (
        "_allowed",
        "acks",
        "at",
        "ce",
        "code",
        "content",
        "data",
        "delay",
        "ect0",
        "ect1",
        "fin",
        "frame_type",
        "idle",
        "is_eliciting",
        "is_probing",
        "is_server",
        "kind",
        "length",
        "max_datagram",
        "offset",
        "ranges",
        "retire_prior_to",
        "sequence",
        "start",
        "stream",
        "tiny",
        "token",
        "value",
    )

    def __init__(self, *, is_server: bool, max_datagram: int = 0) -> None:
        self.is_server: Final = is_server
        self.max_datagram = max_datagram
        self._allowed = 0
        self.data = b""
        self.at = 0
        self.frame_type = 0
        self.idle = 0
        self.acks = 0
        self.tiny = 0
        self.is_eliciting = False
        self.is_probing = True
        self.kind = 0
        self.stream = 0
        self.offset = 0
        self.start = 0
        self.length = 0
        self.fin = False
        self.value = 0
        self.code = 0
        self.sequence = 0
        self.retire_prior_to = 0
        self.content = b""
        self.token = b""
        self.ranges: list[int] = []
        self.delay = 0
        self.ect0 = 0
        self.ect1 = 0
        self.ce = 0

    def begin(self, data: bytes, level: int) -> None:
        """Take up the frames of a packet of `level`. Raises QuicError when there are none (section 12.4)."""
        self.data = data
        self.at = 0
        self.frame_type = 0
        self.idle = 0
        self.acks = 0
        self.tiny = 0
        self.is_eliciting = False
        self.is_probing = True
        self._allowed = 1 << level
        if not data:
            raise QuicError(PROTOCOL_VIOLATION, "a packet without frames")

    def end(self) -> None:
        """Let go of the packet: an idle connection need not hold its last one."""
        self.data = self.content = self.token = b""
        if len(self.ranges) > 2:
            self.ranges = []

    def next(self) -> bool:
        """Go on to the next frame; False at the end of the packet. Raises QuicError."""
        data = self.data
        at = self.at
        if at >= len(data):
            return False
        kind = data[at]
        if kind == FRAME_PADDING:
            # Padding comes in long runs: found in C. Nothing more is to be known of it.
            at = len(data) - len(data[at:].lstrip(b"\0"))
            self.at = at
            if at == len(data):
                return False
            kind = data[at]
        self.at = at + 1
        self.frame_type = kind
        try:
            if kind & 0xF8 == FRAME_STREAM:
                self.kind = FRAME_STREAM
                self.is_eliciting = True
                self.is_probing = False
                self._stream(kind)
            elif kind <= FRAME_HANDSHAKE_DONE:
                self._other(kind)
            else:
                self._beyond(kind)
        except IndexError as error:
            raise self._error(FRAME_ENCODING_ERROR, "a frame is cut short") from error
        return True

    def _error(self, code: int, detail: str) -> QuicError:
        return QuicError(code, detail, self.frame_type)

    def _varint(self) -> int:
        at = self.at
        data = self.data
        first = data[at]
        if first < 0x40:
            self.at = at + 1
            return first
        if first < 0x80:
            self.at = at + 2
            return (first & 0x3F) << 8 | data[at + 1]
        if first < 0xC0:
            self.at = at + 4
            return (first & 0x3F) << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]
        self.at = at + 8
        return decode_varint(data, at)

    def _take(self, length: int) -> bytes:
        at = self.at
        end = at + length
        if end > len(self.data):
            raise self._error(FRAME_ENCODING_ERROR, "a frame is cut short")
        self.at = end
        return self.data[at:end]

    def _skip(self, length: int) -> None:
        """Leave `length` octets of content where they are."""
        self.start = self.at
        self.length = length
        if length > len(self.data) - self.at:
            raise self._error(FRAME_ENCODING_ERROR, "a frame is cut short")
        self.at += length

    def _stream(self, kind: int) -> None:
        if not self._allowed & _01:
            raise self._error(PROTOCOL_VIOLATION, "a STREAM frame in a packet of the handshake")
        self.stream = self._varint()
        self.offset = self._varint() if kind & _OFF else 0
        self.fin = kind & _FIN != 0
        self._skip(self._varint() if kind & _LEN else len(self.data) - self.at)
        if self.length < _TINY and not self.fin:
            self.tiny += 1
        if self.offset + self.length > MAX_VARINT:
            raise self._error(FRAME_ENCODING_ERROR, "a stream longer than 2^62 octets")

    def _other(self, kind: int) -> None:
        """Read all but STREAM, DATAGRAM and PADDING."""
        self.kind = kind
        if not PACKETS[kind] & self._allowed:
            raise self._error(PROTOCOL_VIOLATION, f"a frame of type {kind:#x} in a packet of another kind")
        if not 1 << kind & _NOT_ELICITING:
            self.is_eliciting = True
        if not 1 << kind & _PROBING:
            self.is_probing = False
        if kind <= FRAME_ACK_ECN and kind != FRAME_PING:
            self.acks += 1
            self._ack(kind)
            return
        if kind != FRAME_CRYPTO:
            self.idle += 1
        if kind == FRAME_CRYPTO:
            self.offset = self._varint()
            self._skip(self._varint())
            if not self.length:
                self.idle += 1
            if self.offset + self.length > MAX_VARINT:
                raise self._error(FRAME_ENCODING_ERROR, "more than 2^62 octets of CRYPTO")
        elif FRAME_MAX_DATA <= kind <= FRAME_STREAMS_BLOCKED_UNI:
            self._credit(kind)
        elif kind >= FRAME_CONNECTION_CLOSE:
            self._end(kind)
        elif kind >= FRAME_NEW_CONNECTION_ID:
            self._path(kind)
        elif kind == FRAME_NEW_TOKEN:
            self._only_server("NEW_TOKEN")
            self.content = self._take(self._varint())
            if not self.content:
                raise self._error(FRAME_ENCODING_ERROR, "an empty token")
        elif kind != FRAME_PING:
            self.stream = self._varint()
            self.code = self._varint()
            if kind == FRAME_RESET_STREAM:
                self.value = self._varint()

    def _ack(self, kind: int) -> None:
        ranges = self.ranges
        ranges.clear()
        high = self._varint()
        self.delay = self._varint()
        count = self._varint()
        low = high - self._varint()
        ranges.append(high)
        ranges.append(low)
        read = 1
        while count > 0 and low >= 0:
            count -= 1
            high = low - 2 - self._varint()
            low = high - self._varint()
            # The frame is walked over whole, for others may follow; of its ranges so many count.
            if read < MAX_RANGES_READ:
                ranges.append(high)
                ranges.append(low)
                read += 1
        if low < 0:
            raise self._error(FRAME_ENCODING_ERROR, "an acknowledgement of a negative number")
        if kind == FRAME_ACK_ECN:
            self.ect0 = self._varint()
            self.ect1 = self._varint()
            self.ce = self._varint()

    def _credit(self, kind: int) -> None:
        if kind & 0xFB == FRAME_MAX_STREAM_DATA:
            self.stream = self._varint()
        self.value = self._varint()
        is_count = (
            FRAME_MAX_STREAMS_BIDI <= kind <= FRAME_MAX_STREAMS_UNI or kind >= FRAME_STREAMS_BLOCKED_BIDI
        )
        if is_count and self.value > _MOST_STREAMS:
            raise self._error(FRAME_ENCODING_ERROR, "more than 2^60 streams")

    def _path(self, kind: int) -> None:
        if kind == FRAME_NEW_CONNECTION_ID:
            self.sequence = self._varint()
            self.retire_prior_to = self._varint()
            length = self.data[self.at]
            self.at += 1
            if not 1 <= length <= MAX_CID:
                raise self._error(FRAME_ENCODING_ERROR, f"a connection ID of {length} octets")
            if self.retire_prior_to > self.sequence:
                raise self._error(FRAME_ENCODING_ERROR, "Retire Prior To is above the sequence number")
            self.content = self._take(length)
            self.token = self._take(16)
        elif kind == FRAME_RETIRE_CONNECTION_ID:
            self.sequence = self._varint()
        else:
            self.content = self._take(8)

    def _end(self, kind: int) -> None:
        if kind == FRAME_HANDSHAKE_DONE:
            self._only_server("HANDSHAKE_DONE")
            return
        self.code = self._varint()
        self.value = self._varint() if kind == FRAME_CONNECTION_CLOSE else 0
        self._skip(self._varint())
        self.content = self.data[self.start : self.start + min(self.length, MAX_REASON)]

    def _only_server(self, name: str) -> None:
        """Refuse what only servers send (sections 19.7, 19.20)."""
        if self.is_server:
            raise self._error(PROTOCOL_VIOLATION, f"{name} from a client")

    def _beyond(self, kind: int) -> None:
        """Read a DATAGRAM (RFC 9221 section 4), or refuse a type that we do not know."""
        if kind & 0xFE != FRAME_DATAGRAM:
            if kind >= 0x40:
                self.at -= 1
                at = self.at
                self.frame_type = self._varint()
                if size_of_varint(self.frame_type) < self.at - at:
                    raise self._error(PROTOCOL_VIOLATION, "a frame type in a longer form than it needs")
            raise self._error(FRAME_ENCODING_ERROR, f"unknown frame type {self.frame_type:#x}")
        self.kind = FRAME_DATAGRAM
        self.is_eliciting = True
        self.is_probing = False
        at = self.at
        self._skip(self._varint() if kind & 1 else len(self.data) - self.at)
        # RFC 9221 section 3: the limit counts type and length too; 0 says that we want none.
        if not self._allowed & _01 or 1 + self.at - at > self.max_datagram:
            raise self._error(PROTOCOL_VIOLATION, "a DATAGRAM that was not agreed on")


# Writers. Values are our own: what does not fit into 62 bits is a ValueError.

PING_FRAME: Final = b"\x01"
HANDSHAKE_DONE_FRAME: Final = b"\x1e"


def encode_ack(ranges: Sequence[int], delay: int, counts: tuple[int, int, int] | None, room: int) -> bytes:
    """Return an ACK frame of at most `room` octets, with as many ranges as fit; nothing when not one does.

    `ranges` are the largest and the smallest number of each range, highest first; `delay` is shifted already;
    `counts` are those of ECT(0), ECT(1) and CE.
    """
    largest, low = ranges[0], ranges[1]
    if len(ranges) == 2 and counts is None and largest < 0x4000_0000 and delay < 0x4000 and room >= 12:
        # One range and no marks, as nearly all: kind and largest, then delay, no more ranges and the first.
        span = largest - low
        begin = (0x02_8000_0000 | largest).to_bytes(5, "big")
        if span < 0x40:
            return begin + ((0x4000 | delay) << 16 | span).to_bytes(4, "big")
        return begin + ((0x4000 | delay) << 40 | 0x8000_0000 | span).to_bytes(7, "big")
    ecn = b"" if counts is None else b"".join([encode_varint(count) for count in counts])
    begin = encode_varint(largest) + encode_varint(delay)
    first = encode_varint(largest - low)
    pieces: list[bytes] = []
    # Kind and count: one octet, and up to two.
    left = room - 3 - len(begin) - len(first) - len(ecn)
    if left < 0:
        return b""
    for at in range(2, len(ranges), 2):
        high = ranges[at]
        piece = encode_varint(low - high - 2) + encode_varint(high - ranges[at + 1])
        left -= len(piece)
        if left < 0:
            break
        low = ranges[at + 1]
        pieces.append(piece)
    kind = b"\x02" if counts is None else b"\x03"
    return kind + begin + encode_varint(len(pieces)) + first + b"".join(pieces) + ecn


def stream_header(stream: int, offset: int, length: int, *, fin: bool) -> bytes:
    """Return what stands before the content of a STREAM frame; a length of -1: it reaches to the packet's end."""
    kind = FRAME_STREAM | (_FIN if fin else 0) | (_OFF if offset else 0) | (_LEN if length >= 0 else 0)
    if stream < 0x4000 and offset < 0x4000_0000:
        # All in one small number: it happens for each packet.
        if stream < 0x40:
            head, size = kind << 8 | stream, 2
        else:
            head, size = kind << 16 | 0x4000 | stream, 3
        if offset >= 0x4000:
            head, size = head << 32 | 0x8000_0000 | offset, size + 4
        elif offset >= 0x40:
            head, size = head << 16 | 0x4000 | offset, size + 2
        elif offset:
            head, size = head << 8 | offset, size + 1
        header = head.to_bytes(size, "big")
    else:
        header = kind.to_bytes(1, "big") + encode_varint(stream)
        if offset:
            header += encode_varint(offset)
    return header + encode_varint(length) if length >= 0 else header


def stream_header_size(stream: int, offset: int, length: int) -> int:
    """Return how long `stream_header` makes it."""
    size = 1 + size_of_varint(stream)
    if offset:
        size += size_of_varint(offset)
    return size + size_of_varint(length) if length >= 0 else size


def crypto_header(offset: int, length: int) -> bytes:
    """Return what stands before the content of a CRYPTO frame."""
    return b"\x06" + encode_varint(offset) + encode_varint(length)


def encode_reset_stream(stream: int, code: int, final_size: int) -> bytes:
    """Return a RESET_STREAM frame."""
    return b"\x04" + encode_varint(stream) + encode_varint(code) + encode_varint(final_size)


def encode_stop_sending(stream: int, code: int) -> bytes:
    """Return a STOP_SENDING frame."""
    return b"\x05" + encode_varint(stream) + encode_varint(code)


def encode_new_token(token: bytes) -> bytes:
    """Return a NEW_TOKEN frame; `token` is not empty."""
    return b"\x07" + encode_varint(len(token)) + token


def encode_credit(kind: int, value: int) -> bytes:
    """Return MAX_DATA, MAX_STREAMS_…, DATA_BLOCKED or STREAMS_BLOCKED_…."""
    return kind.to_bytes(1, "big") + encode_varint(value)


def encode_stream_credit(kind: int, stream: int, value: int) -> bytes:
    """Return MAX_STREAM_DATA or STREAM_DATA_BLOCKED."""
    return kind.to_bytes(1, "big") + encode_varint(stream) + encode_varint(value)


def encode_new_connection_id(
    sequence: int, retire_prior_to: int, connection_id: bytes, token: bytes
) -> bytes:
    """Return a NEW_CONNECTION_ID frame; `token` is the stateless reset token of the ID."""
    begin = b"\x18" + encode_varint(sequence) + encode_varint(retire_prior_to)
    return begin + len(connection_id).to_bytes(1, "big") + connection_id + token


def encode_retire_connection_id(sequence: int) -> bytes:
    """Return a RETIRE_CONNECTION_ID frame."""
    return b"\x19" + encode_varint(sequence)


def encode_path(kind: int, data: bytes) -> bytes:
    """Return PATH_CHALLENGE or PATH_RESPONSE; `data` has eight octets."""
    return kind.to_bytes(1, "big") + data


def encode_connection_close(code: int, frame_type: int, reason: bytes) -> bytes:
    """Return a CONNECTION_CLOSE frame of the transport; the reason is cut to `MAX_REASON`."""
    text = reason[:MAX_REASON]
    return b"\x1c" + encode_varint(code) + encode_varint(frame_type) + encode_varint(len(text)) + text


def encode_application_close(code: int, reason: bytes) -> bytes:
    """Return a CONNECTION_CLOSE frame of the application; the reason is cut to `MAX_REASON`."""
    text = reason[:MAX_REASON]
    return b"\x1d" + encode_varint(code) + encode_varint(len(text)) + text


def datagram_header(length: int) -> bytes:
    """Return what stands before the content of a DATAGRAM frame."""
    return b"\x31" + encode_varint(length)
