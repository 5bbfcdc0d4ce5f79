"""A QUIC client that shakes hands like any other and then sends whatever a test wants: any frame, or octets that are
none, at any level, with any number, any header bits, any size. Sans-I/O; `quic_raw_udp` puts a socket under it.

    raw = RawClient(os.urandom, time.time())
    send(raw.flush())            # again after each `receive`, until `raw.is_complete`
    raw.packet(APPLICATION, encode_stream(0, 1 << 40, b"x"))

Built from the pieces of the engine (handshake, keys, frames), but not from its connection: nothing here recovers what
is lost, controls congestion or minds a limit. It acknowledges what it reads unless told otherwise, and keeps of it
only what a test asks about: how the connection was closed, the IDs it was given, the streams' octets in order.

`tamper(level, octets)` may change what TLS says before it is sent. `batch` seals many packets of one size, ready for
one `sendmsg` with UDP_SEGMENT: that is how an attacker is faster than whom it attacks.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from headgate.engine.quic import frames
from headgate.engine.quic.crypto_buffer import CryptoBuffer
from headgate.engine.quic.errors import UnreadablePacketError
from headgate.engine.quic.frames import FrameReader
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    RETRY,
    TAG,
    VERSION_1,
    VERSIONS,
    check_short_header,
    encode_long_header,
    encode_short_header,
    long_header_size,
    parse_long_header,
)
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.transport_parameters import TransportParameters, encode_parameters
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings, Session

DATAGRAM: Final = 1200
CID: Final = 8
_NUMBER: Final = 2

Random = Callable[[int], bytes]
Tamper = Callable[[int, bytes], bytes]


@final
class RawFrame:
    """A frame that came; attributes are those of engine/quic/frames, `data` is its content."""

    __slots__ = ("code", "content", "data", "fin", "kind", "level", "offset", "sequence", "stream", "value")

    def __init__(self, level: int, reader: FrameReader) -> None:
        self.level = level
        self.kind = reader.kind
        self.stream = reader.stream
        self.offset = reader.offset
        self.fin = reader.fin
        self.code = reader.code
        self.value = reader.value
        self.sequence = reader.sequence
        self.content = reader.content
        self.data = reader.data[reader.start : reader.start + reader.length]

    def __repr__(self) -> str:
        return f"<RawFrame {self.kind:#x} at level {self.level}>"


@final
class Close:
    """A CONNECTION_CLOSE that came; `is_application` tells 0x1d from 0x1c."""

    __slots__ = ("code", "frame_type", "is_application", "reason")

    def __init__(self, frame: RawFrame) -> None:
        self.code = frame.code
        self.is_application = frame.kind == frames.FRAME_APPLICATION_CLOSE
        self.frame_type = frame.value
        self.reason = frame.content.decode("utf-8", "replace")

    def __repr__(self) -> str:
        kind = "application" if self.is_application else "transport"
        return f"<Close {kind} {self.code:#x} {self.reason!r}>"


def believe(chain: tuple[bytes, ...], name: bytes, staple: bytes) -> None:
    """Believe every certificate."""


def default_parameters(source: bytes) -> TransportParameters:
    """Return transport parameters that let the server send as much as it likes."""
    said = TransportParameters()
    said.max_idle_timeout = 60_000
    said.initial_max_data = 1 << 30
    said.initial_max_stream_data_bidi_local = 1 << 24
    said.initial_max_stream_data_bidi_remote = 1 << 24
    said.initial_max_stream_data_uni = 1 << 24
    said.initial_max_streams_bidi = 100
    said.initial_max_streams_uni = 100
    said.active_connection_id_limit = 8
    said.initial_source_connection_id = source
    return said


@final
class RawClient:
    """One connection; see the module.

    `parameters`: the whole content of the transport parameters, for what cannot be said with `TransportParameters`.
    `acknowledges`: whether `flush` answers packets. `keep`: whether frames and octets of streams are kept.
    `hello`: the octets of the ClientHello.
    """

    def __init__(
        self,
        random: Random,
        now_wall: float,
        *,
        settings: ClientSettings | None = None,
        parameters: Callable[[bytes], bytes] | None = None,
        tamper: Tamper | None = None,
        session: Session | None = None,
        version: int = VERSION_1,
    ) -> None:
        self.source: Final = random(CID)
        self.original: Final = random(CID)
        self.version: Final = version
        self.destination = self._first = self.original  # until the server says its own
        self.token = b""
        self.keys = [KeySet(level, version) for level in range(4)]
        self.numbers = [0, 0, 0, 0]
        self.received = [Ranges(1 << 16) for _ in range(4)]
        self.acknowledges = True
        self.keep = True
        self.close: Close | None = None
        self.is_confirmed = False
        self.ids: dict[int, tuple[bytes, bytes]] = {}
        self.frames: list[RawFrame] = []
        self.streams: dict[int, bytearray] = {}
        self.resets: dict[int, int] = {}
        self.unread = 0
        self.hello = b""
        self._tamper = tamper
        self._ack_due = [False] * 4
        self._crypto_in = [CryptoBuffer(1 << 24) for _ in range(4)]
        self._crypto_out: list[tuple[int, int, bytes]] = []
        self._crypto_at = [0, 0, 0, 0]
        self._said: list[tuple[int, int, bytes]] = []
        said = encode_parameters(default_parameters(self.source))
        if parameters is not None:
            said = parameters(self.source)
        if settings is None:
            settings = ClientSettings(
                server_name=b"localhost", verify=believe, groups=(X25519,), shares=(X25519,)
            )
        self.tls = ClientHandshake(settings, random, now_wall, transport_parameters=said, session=session)
        self._begin(self.original)
        self._follow_tls()

    def __repr__(self) -> str:
        stage = "confirmed" if self.is_confirmed else "complete" if self.is_complete else "in handshake"
        return f"<RawClient {self.source.hex()} {stage}, {self.close!r}>"

    @property
    def is_complete(self) -> bool:
        """Whether 1-RTT packets can be sent."""
        return self.tls.complete

    def _begin(self, destination: bytes) -> None:
        keys = KeySet(INITIAL, self.version)
        keys.install_initial(destination, is_client=True, is_write=True)
        keys.install_initial(destination, is_client=False, is_write=False)
        self.keys[INITIAL] = keys

    def _follow_tls(self) -> None:
        for secret in self.tls.take_secrets():
            self.keys[secret.level].install(secret.suite, secret.secret, is_write=secret.is_write)
        for level, data in self.tls.take_output():
            said = self._tamper(level, data) if self._tamper is not None else data
            self.hello = self.hello or said
            self._crypto_out.append((level, self._crypto_at[level], said))
            self._said.append((level, self._crypto_at[level], said))
            self._crypto_at[level] += len(said)

    # What goes out

    def packet(
        self,
        level: int,
        content: bytes,
        *,
        number: int = -1,
        number_length: int = _NUMBER,
        reserved: int = 0,
        size: int = 0,
        destination: bytes | None = None,
        source: bytes | None = None,
    ) -> bytes:
        """Return a sealed packet with these frames; padded to `size` octets, or to the least that can be sealed.

        `number` is the next one of its level unless given. `reserved` bits are set in the first octet.
        """
        self._seal(level, content, number, number_length, reserved, size, destination, source)
        return self.keys[level].take_sealed()

    def batch(self, contents: Sequence[bytes], size: int, level: int = APPLICATION) -> bytes:
        """Return packets end to end, each `size` octets."""
        for content in contents:
            self._seal(level, content, -1, _NUMBER, 0, size, None, None)
        return self.keys[level].take_sealed()

    def _seal(
        self,
        level: int,
        content: bytes,
        number: int,
        number_length: int,
        reserved: int,
        size: int,
        destination: bytes | None,
        source: bytes | None,
    ) -> None:
        if number < 0:
            number = self.numbers[level]
        self.numbers[level] = max(self.numbers[level], number + 1)
        keys = self.keys[level]
        to = self.destination if destination is None else destination
        if level == APPLICATION:
            overhead = 1 + len(to) + number_length + TAG
        else:
            from_ = self.source if source is None else source
            overhead = long_header_size(to, from_, self.token, level, number_length) + TAG
        content += bytes(max(size - overhead - len(content), 4 - number_length - len(content), 0))
        if level == APPLICATION:
            header = encode_short_header(to, keys.phase, 0, number, number_length)
        else:
            header = encode_long_header(
                level, self.version, to, from_, self.token, number, number_length, len(content)
            )
        header = bytes((header[0] | reserved,)) + header[1:]
        keys.seal(header, number_length, number, content)

    def initial(self, content: bytes) -> bytes:
        """Return a datagram of full size with one Initial packet."""
        return self.packet(INITIAL, content, size=DATAGRAM)

    def flush(self) -> list[bytes]:
        """Return the datagrams that the handshake and acknowledgements ask for."""
        if self.close is not None:
            return []
        datagrams: list[bytes] = []
        for level, offset, data in self.take_crypto():
            for at in range(0, len(data), 1100):
                piece = data[at : at + 1100]
                content = self._ack(level) + frames.crypto_header(offset + at, len(piece)) + piece
                size = DATAGRAM if level == INITIAL else 0
                datagrams.append(self.packet(level, content, size=size))
        for level in (INITIAL, HANDSHAKE, APPLICATION):
            ack = self._ack(level)
            if ack:
                size = DATAGRAM if level == INITIAL else 0
                datagrams.append(self.packet(level, ack, size=size))
        return datagrams

    def again(self) -> list[bytes]:
        """Return what was said in the handshake once more, in new packets: something may have been lost."""
        if self.is_confirmed or self.close is not None:
            return []
        said = [(level, offset, data) for level, offset, data in self._said if self.keys[level].can_write]
        self._crypto_out = said
        return self.flush()

    def take_crypto(self) -> list[tuple[int, int, bytes]]:
        """Take what the handshake would send next, (level, offset, octets), to send it in another way."""
        pieces, self._crypto_out = self._crypto_out, []
        return pieces

    def _ack(self, level: int) -> bytes:
        if not self._ack_due[level] or not self.acknowledges or not self.keys[level].can_write:
            return b""
        self._ack_due[level] = False
        return encode_ack_of(self.received[level])

    def update_keys(self) -> None:
        """Go on to the next write key, whether the server has allowed it or not."""
        self.keys[APPLICATION]._advance_write()

    # What comes in

    def receive(self, data: bytes) -> list[RawFrame]:
        """Take a datagram in; return the frames that were read."""
        found: list[RawFrame] = []
        at = 0
        while at < len(data):
            try:
                at = self._receive_packet(data, at, found)
            except UnreadablePacketError:
                self.unread += 1
                break
        if self.keep:
            self.frames += found
        return found

    def _receive_packet(self, data: bytes, at: int, found: list[RawFrame]) -> int:
        end = len(data)
        if data[at] < 0x80:
            check_short_header(data, at, end, CID)
            self._open(APPLICATION, data, at, at + 1 + CID, end, found)
            return end
        header = parse_long_header(data, at, end)
        if header.version not in VERSIONS:
            self.unread += 1
            return end
        if header.kind == RETRY:
            self._retry(header.source, header.token)
            return end
        if header.kind == INITIAL and self.destination in (self._first, b""):
            self.destination = header.source
        if header.kind != EARLY:
            self._open(header.kind, data, at, header.number_at, header.end, found)
        return header.end

    def _retry(self, source: bytes, token: bytes) -> None:
        """Begin again as the server asks; the same ClientHello goes out once more."""
        self.token = token
        self.destination = self._first = source
        self._begin(source)
        self._crypto_out = [(INITIAL, 0, self.hello)]

    def _open(
        self, level: int, data: bytes, start: int, number_at: int, end: int, found: list[RawFrame]
    ) -> None:
        keys = self.keys[level]
        if not keys.can_read:
            self.unread += 1
            return
        received = self.received[level]
        largest = received.ends[-1] - 1 if received.ends else -1
        masks = keys.masks(data, [number_at])
        content = keys.open(data, start, number_at, end, masks, 0, largest)
        if content is None:
            self.unread += 1
            return
        received.add(keys.number, keys.number + 1)
        reader = FrameReader(is_server=False, max_datagram=1 << 16)
        reader.begin(content, level)
        while reader.next():
            frame = RawFrame(level, reader)
            found.append(frame)
            self._take(frame)
        if reader.is_eliciting:
            self._ack_due[level] = True

    def _take(self, frame: RawFrame) -> None:
        kind = frame.kind
        if kind == frames.FRAME_CRYPTO:
            ready = self._crypto_in[frame.level].receive(frame.offset, frame.data)
            if ready:
                self.tls.receive(frame.level, bytes(ready))
                self._follow_tls()
        elif kind in (frames.FRAME_CONNECTION_CLOSE, frames.FRAME_APPLICATION_CLOSE):
            if self.close is None:
                self.close = Close(frame)
        elif kind == frames.FRAME_HANDSHAKE_DONE:
            self.is_confirmed = True
        elif kind == frames.FRAME_NEW_CONNECTION_ID:
            self.ids[frame.sequence] = (frame.content, b"")
        elif kind == frames.FRAME_RESET_STREAM:
            self.resets[frame.stream] = frame.code
        elif kind == frames.FRAME_STREAM and self.keep:
            held = self.streams.setdefault(frame.stream, bytearray())
            if frame.offset <= len(held) < frame.offset + len(frame.data):
                held += frame.data[len(held) - frame.offset :]


def encode_ack_of(received: Ranges) -> bytes:
    """Return an ACK frame of what was received, of its highest 32 ranges."""
    ranges: list[int] = []
    for at in range(len(received.starts) - 1, max(len(received.starts) - 33, -1), -1):
        ranges += (received.ends[at] - 1, received.starts[at])
    return frames.encode_ack(ranges, 0, None, 1000)


def encode_stream(stream: int, offset: int, data: bytes, *, fin: bool = False) -> bytes:
    """Return a STREAM frame."""
    return frames.stream_header(stream, offset, len(data), fin=fin) + data


def encode_crypto(offset: int, data: bytes) -> bytes:
    """Return a CRYPTO frame."""
    return frames.crypto_header(offset, len(data)) + data
