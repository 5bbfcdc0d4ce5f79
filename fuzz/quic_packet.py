"""Fuzz target: what a datagram says before and behind its keys: headers, frames, transport parameters.

    python -m fuzz.quic_packet --seconds 10 --seed 1

Starts from one of each kind of packet, frame and parameter, and mutates them. Checked each time: only
`UnreadablePacketError` and `QuicError` come out, the latter with a code of the transport; what was read lies inside
its packet and keeps its bounds; what is read as frames and written again reads the same; and it costs little.
"""

import random
import sys
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, timed
from headgate.engine.quic import frames
from headgate.engine.quic.errors import (
    FRAME_ENCODING_ERROR,
    PROTOCOL_VIOLATION,
    TRANSPORT_PARAMETER_ERROR,
    QuicError,
    UnreadablePacketError,
)
from headgate.engine.quic.frames import FrameReader
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    MAX_CID,
    MAX_VERSIONS,
    NEGOTIATION,
    RETRY,
    UNKNOWN_VERSION,
    VERSION_1,
    VERSION_2,
    check_short_header,
    destination_of,
    encode_long_header,
    encode_retry_header,
    encode_version_negotiation,
    is_stateless_reset,
    parse_long_header,
)
from headgate.engine.quic.retry import is_genuine_retry
from headgate.engine.quic.sent_packets import MAX_RANGES_READ
from headgate.engine.quic.transport_parameters import (
    PreferredAddress,
    TransportParameters,
    decode_parameters,
    encode_parameters,
)
from headgate.engine.varint import MAX_VARINT
from headgate.testing.quic_raw import default_parameters, encode_crypto, encode_stream

CID: Final = b"8octets!"
MAX_DATAGRAM: Final = 1200
PACKETS: Final[tuple[bytes, ...]] = (
    *(
        encode_long_header(kind, version, CID, b"source", b"token", 7, 2, 40) + bytes(56)
        for kind in (INITIAL, EARLY, HANDSHAKE)
        for version in (VERSION_1, VERSION_2)
    ),
    encode_retry_header(VERSION_1, CID, b"source", 3) + b"a token" + bytes(16),
    encode_version_negotiation(CID, b"source", (VERSION_1, 0x0A0A0A0A), 9),
    b"\xc0\xff\x00\x00\x1d" + b"\x20" + bytes(32) + b"\x10" + bytes(16) + bytes(1200),
    b"\x41" + CID + bytes(40),
)
FRAMES: Final[tuple[bytes, ...]] = (
    b"\0\0\0\x01",
    frames.encode_ack([40, 38, 20, 20, 9, 0], 17, None, 100),
    frames.encode_ack([40, 38, 20, 20, 9, 0], 17, (1, 2, 3), 100),
    b"\x02\x45\x00\x00\x41\x00\x00" + b"\x00\x00" * 256,
    frames.encode_reset_stream(4, 0x10C, 1 << 20),
    frames.encode_stop_sending(4, 0x10C),
    encode_crypto(1 << 15, b"hello"),
    frames.encode_new_token(b"token"),
    encode_stream(8, 0, b""),
    encode_stream(8, 1 << 40, b"content", fin=True),
    frames.stream_header(8, 5, -1, fin=False) + b"to the end",
    *(frames.encode_credit(kind, 1 << 20) for kind in (0x10, 0x12, 0x13, 0x14, 0x16, 0x17)),
    *(frames.encode_stream_credit(kind, 4, 1 << 20) for kind in (0x11, 0x15)),
    frames.encode_new_connection_id(3, 2, CID, bytes(16)),
    frames.encode_retire_connection_id(1),
    frames.encode_path(0x1A, b"12345678"),
    frames.encode_path(0x1B, b"12345678"),
    frames.encode_connection_close(0x0A, 0x06, b"because"),
    frames.encode_application_close(0x0100, b"r" * 300),
    frames.HANDSHAKE_DONE_FRAME,
    frames.datagram_header(5) + b"12345",
    b"\x30to the end",
    b"\x40\x1c\x00",
)
PIECES: Final[tuple[bytes, ...]] = (
    b"\0", b"\x01" * 40, b"\x40", b"\x7f\xff", b"\xbf\xff\xff\xff", b"\xff" * 8, b"\xc0" + bytes(7), b"\x02",
    b"\x06\x00\x00", b"\x0f", b"\x30", b"\x31\x00", b"\x1e", b"\x80\0\0\1", bytes(300), b"\x06\xff" + bytes(7),
)  # fmt: skip


def _parameters() -> tuple[bytes, ...]:
    full = default_parameters(CID)
    full.original_destination_connection_id = full.retry_source_connection_id = CID
    full.stateless_reset_token = bytes(16)
    full.preferred_address = PreferredAddress(b"\x7f\0\0\1", 443, bytes(16), 0, CID, bytes(16))
    full.chosen_version, full.versions = VERSION_1, (VERSION_2, VERSION_1)
    full.disable_active_migration = full.grease_quic_bit = True
    full.max_datagram_frame_size = MAX_DATAGRAM
    return encode_parameters(full), encode_parameters(default_parameters(CID)), b""


PARAMETERS: Final = _parameters()


def read_header(data: bytes) -> str:
    """Read what a datagram begins with."""
    try:
        destination = destination_of(data, 0, len(data), 8)
        if data[0] < 0x80:
            check_short_header(data, 0, len(data), 8)
            is_stateless_reset(data, 0, len(data), [bytes(16)])
            return "short"
        header = parse_long_header(data, 0, len(data))
    except UnreadablePacketError as error:
        return error.reason
    if header.destination != destination or not 0 < header.end <= len(data) or header.number_at > header.end:
        raise Broken(f"{header!r} of {data.hex()}")
    longest = 255 if header.kind in (NEGOTIATION, UNKNOWN_VERSION) else MAX_CID
    if len(destination) > longest or len(header.source) > longest or len(header.versions) > MAX_VERSIONS:
        raise Broken(f"{header!r} of {data.hex()}")
    if header.kind == RETRY:
        is_genuine_retry(header.version, CID, data[: header.end])
    return repr(header.kind)


def _bounds(reader: FrameReader, data: bytes) -> None:
    inside = reader.start + reader.length <= len(data) and reader.at <= len(data)
    ordered = all(a >= b for a, b in zip(reader.ranges, reader.ranges[1:], strict=False))
    if not inside or not ordered or len(reader.ranges) > 2 * MAX_RANGES_READ:
        raise Broken(
            f"frame {reader.kind:#x} of {data.hex()}: {reader.start} {reader.length} {reader.ranges}"
        )
    if len(reader.content) > max(frames.MAX_REASON, len(data)) or reader.offset > MAX_VARINT:
        raise Broken(f"frame {reader.kind:#x} of {data.hex()}")


def read_frames(data: bytes, level: int, *, is_server: bool) -> list[str]:
    """Walk over the frames of a packet; return what they are."""
    reader = FrameReader(is_server=is_server, max_datagram=MAX_DATAGRAM)
    found: list[str] = []
    try:
        reader.begin(data, level)
        while reader.next():
            _bounds(reader, data)
            found.append(_again(reader, data))
            if len(found) > len(data):
                raise Broken(f"{len(found)} frames in {data.hex()}")
    except QuicError as error:
        if error.code not in (FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION):
            raise Broken(f"{error!r} of {data.hex()}") from error
        found.append(f"error {error.code:#x}")
    return found


def _again(reader: FrameReader, data: bytes) -> str:
    """Write a STREAM, CRYPTO or ACK frame again: it reads the same."""
    kind = reader.kind
    content = data[reader.start : reader.start + reader.length]
    if kind == frames.FRAME_STREAM:
        if reader.offset + len(content) > MAX_VARINT:
            raise Broken(f"a stream beyond its end: {data.hex()}")
        written = encode_stream(reader.stream, reader.offset, content, fin=reader.fin)
        said = (reader.stream, reader.offset, content, reader.fin)
        again = FrameReader(is_server=reader.is_server)
        again.begin(written, APPLICATION)
        again.next()
        if said != (again.stream, again.offset, written[again.start : again.start + again.length], again.fin):
            raise Broken(f"{said!r} comes back otherwise")
    elif kind == frames.FRAME_ACK:
        written = frames.encode_ack(reader.ranges, reader.delay, None, 1 << 20)
        again = FrameReader(is_server=reader.is_server)
        again.begin(written, APPLICATION)
        again.next()
        if again.ranges != reader.ranges:
            raise Broken(f"ranges {reader.ranges} come back as {again.ranges}")
    return f"{kind:#x}"


def read_parameters(data: bytes, *, from_client: bool) -> str:
    """Read transport parameters; what they say is said again."""
    try:
        said = decode_parameters(data, from_client=from_client)
    except QuicError as error:
        if error.code != TRANSPORT_PARAMETER_ERROR:
            raise Broken(f"{error!r} of {data.hex()}") from error
        return "error"
    again = decode_parameters(encode_parameters(said), from_client=from_client)
    if _values(said) != _values(again):
        raise Broken(f"{said!r} comes back as {again!r}")
    return "read"


def _values(said: TransportParameters) -> list[object]:
    names = [name for name in dir(said) if not name.startswith("_") and name != "preferred_address"]
    return [getattr(said, name) for name in names]


class Inputs:
    """Draws inputs, the corpus itself first."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drawn = 0

    def run_one(self) -> None:
        """Draw an input of each kind and check all of it. Raises `Broken`."""
        chance = self._chance
        packet, content, parameters = chance.choice(PACKETS), self._frames(), chance.choice(PARAMETERS)
        if self._drawn >= 100:
            packet = mutate(packet, PACKETS, PIECES, chance)
            content = mutate(content, FRAMES, PIECES, chance)
            parameters = mutate(parameters, PARAMETERS, PIECES, chance)
        self._drawn += 1
        level, is_server = (
            chance.choice((INITIAL, EARLY, HANDSHAKE, *(APPLICATION,) * 5)),
            chance.random() < 0.5,
        )

        def work() -> None:
            read_header(packet)
            read_frames(content, level, is_server=is_server)
            read_parameters(parameters, from_client=is_server)

        shown = f"{packet.hex()} {content.hex()} {level} {is_server} {parameters.hex()}"
        timed(shown, len(packet) + len(content) + len(parameters), work)

    def _frames(self) -> bytes:
        return b"".join(self._chance.choice(FRAMES) for _ in range(self._chance.randint(1, 4)))


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("quic_packet", __doc__, run))
