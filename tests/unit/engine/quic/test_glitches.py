"""Frames for nothing: how they are counted in a packet, and how many there may be."""

import pytest
from tests.unit.engine.h3.peers import GET, headers

from headgate.engine.h3.errors import H3_EXCESSIVE_LOAD
from headgate.engine.h3.frames import DATA
from headgate.engine.quic import frames
from headgate.engine.quic.frames import FrameReader
from headgate.engine.quic.glitches import IDLE_FRAME_SECONDS, MAX_IDLE_FRAMES, Glitches
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.varint import encode_varint
from headgate.errors import RemoteProtocolError
from headgate.testing.quic_memory import Duel
from headgate.testing.quic_raw import encode_crypto, encode_stream


def counted(content):
    reader = FrameReader(is_server=True)
    reader.begin(content, APPLICATION)
    while reader.next():
        pass
    return reader.idle, reader.acks, reader.tiny


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (bytes(100), (0, 0, 0)),
        (b"\x01" * 100, (100, 0, 0)),
        (frames.encode_credit(frames.FRAME_MAX_DATA, 5) * 3, (3, 0, 0)),
        (frames.encode_reset_stream(0, 1, 2) + frames.encode_stop_sending(0, 1), (2, 0, 0)),
        (frames.encode_new_connection_id(1, 0, b"12345678", bytes(16)), (1, 0, 0)),
        (frames.encode_path(frames.FRAME_PATH_CHALLENGE, bytes(8)) * 2, (2, 0, 0)),
        (frames.encode_ack([5, 0], 0, None, 100) * 3, (0, 3, 0)),
        (encode_crypto(0, b"x") + encode_crypto(0, b""), (1, 0, 0)),
        (encode_stream(0, 0, bytes(16)) + encode_stream(0, 16, b"x", fin=True), (0, 0, 0)),
        (encode_stream(0, 0, bytes(15)) + encode_stream(4, 0, b""), (0, 0, 2)),
        (encode_stream(0, 0, bytes(15)) * 4 + b"\x01", (1, 0, 4)),
    ],
)
def test_what_counts(content, counts):
    assert counted(content) == counts


def test_a_packet_begins_anew():
    reader = FrameReader(is_server=True)
    reader.begin(b"\x01\x01", APPLICATION)
    while reader.next():
        pass
    reader.begin(b"\x01", APPLICATION)
    reader.next()
    assert reader.idle == 1


def test_a_window_ends():
    glitches = Glitches()
    glitches.spend(MAX_IDLE_FRAMES, 0, 5.0)
    glitches.spend(MAX_IDLE_FRAMES, 0, 5.0 + IDLE_FRAME_SECONDS)
    with pytest.raises(RemoteProtocolError, match="glitches"):
        glitches.spend(1, 0, 5.0 + IDLE_FRAME_SECONDS)


@pytest.mark.parametrize(
    "frame",
    [
        frames.PING_FRAME,
        frames.encode_credit(frames.FRAME_MAX_DATA, 5),
        frames.encode_credit(frames.FRAME_DATA_BLOCKED, 5),
        frames.encode_credit(frames.FRAME_MAX_STREAMS_BIDI, 5),
        encode_crypto(0, b""),
    ],
    ids=["PING", "MAX_DATA", "DATA_BLOCKED", "MAX_STREAMS", "CRYPTO"],
)
def test_idle_frames_at_the_limit_and_one_more(frame):
    duel = Duel().shake()
    duel.send(*(frame * 100,) * (MAX_IDLE_FRAMES // 100))
    assert duel.raw.close is None
    duel.send(frame)
    close = duel.closed()
    assert (close.code, close.is_application) == (H3_EXCESSIVE_LOAD, True)
    assert "frames for nothing" in close.reason


@pytest.mark.parametrize(
    "pieces",
    [
        [frames.encode_ack([0, 0], 0, None, 100)] * 101,
        [encode_stream(0, at, b"x") for at in range(101)],
        [encode_stream(0, 0, b"")] * 101,
    ],
    ids=["ACK", "octets", "empty"],
)
def test_many_in_each_packet_end_it_and_one_in_each_does_not(pieces):
    duel = Duel().shake()
    duel.send(*(pieces * 20))
    assert duel.raw.close is None
    duel.send(*(b"".join(pieces),) * 10)
    assert duel.raw.close is None
    duel.send(b"".join(pieces))
    assert duel.closed().code == H3_EXCESSIVE_LOAD


def upload(duel, size, at=0):
    """Send so much content of one long request, from `at` on."""
    head = headers((b":method", b"POST"), *GET[1:]) + encode_varint(DATA) + encode_varint(1 << 30)
    duel.server.answers = False
    if at == 0:
        duel.send(encode_stream(0, 0, head))
    for offset in range(at, at + size, 1024):
        duel.send(encode_stream(0, len(head) + offset, bytes(1024)))
        duel.now += 0.001  # for the pacer: credit is sent like anything else


def test_content_allows_more_idle_frames():
    duel = Duel().shake()
    upload(duel, 1 << 17)  # before the window begins: it earns nothing
    duel.send(*(b"\x01" * 100,) * 10)
    upload(duel, 1 << 17, at=1 << 17)
    duel.send(b"\x01" * 120)
    assert duel.raw.close is None
    duel.send(b"\x01" * 9)
    assert duel.closed().code == H3_EXCESSIVE_LOAD
