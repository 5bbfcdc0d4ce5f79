import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.h3.frames import (
    DATA,
    GOAWAY,
    HEAD,
    HEADERS,
    NOTHING,
    PAYLOAD,
    PIECE,
    PIECES,
    SKIP,
    WHOLE,
    FrameReader,
    decode_single,
    encode_frame,
)

HOW = {DATA: PIECES, HEADERS: WHOLE}


def read(pieces):
    """Return the frames of a stream: (type, payload), and what was skipped as None."""
    reader, frames = FrameReader(), []
    for piece in pieces:
        reader.feed(piece)
        while (met := reader.next()) != NOTHING:
            if met == HEAD:
                how = HOW.get(reader.type, SKIP)
                frames.append((reader.type, None if how == SKIP else b""))
                reader.take(how)
            else:
                assert met == (PIECE if HOW[reader.type] == PIECES else PAYLOAD)
                frames[-1] = (frames[-1][0], frames[-1][1] + reader.payload)
    return frames, reader


FRAMES = st.lists(
    st.tuples(st.sampled_from([DATA, HEADERS, GOAWAY, 0x21, 0x4000]), st.binary(max_size=80)), max_size=6
)


@given(FRAMES, st.lists(st.integers(0, 600), max_size=8))
def test_frames_survive_any_split(frames, cuts):
    data = b"".join(encode_frame(kind, payload) for kind, payload in frames)
    cuts = sorted(min(cut, len(data)) for cut in cuts)
    found, reader = read([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    assert found == [(kind, payload if kind in HOW else None) for kind, payload in frames]
    assert reader.between_frames
    assert reader.buffered == 0


@given(FRAMES.filter(bool), st.integers(1, 40))
def test_a_stream_that_ends_inside_a_frame_is_noticed(frames, cut):
    data = b"".join(encode_frame(kind, payload) for kind, payload in frames)
    last = encode_frame(*frames[-1])
    _, reader = read([data[: -min(cut, len(last) - 1)]])
    assert not reader.between_frames


def test_content_is_handed_out_at_once_and_not_held():
    reader = FrameReader()
    reader.feed(b"\x00\x80\x01\x00\x00abc")
    assert reader.next() == HEAD
    reader.take(PIECES)
    assert reader.length == 65536
    assert reader.next() == PIECE
    assert reader.payload == b"abc"
    assert reader.next() == NOTHING
    assert reader.buffered == 0


def test_a_payload_in_small_pieces_is_put_together_once():
    reader = FrameReader()
    payload = bytes(n % 251 for n in range(60_000))
    data = encode_frame(HEADERS, payload) + b"\x00\x01x"
    reader.feed(data[:20])
    assert reader.next() == HEAD
    reader.take(WHOLE)
    begun = reader._buffer
    for at in range(20, len(data), 17):
        assert reader.next() == NOTHING
        assert reader._buffer is begun
        reader.feed(data[at : at + 17])
        assert reader.buffered == min(at + 17, len(data)) - 5
        assert not reader.between_frames
    assert reader.next() == PAYLOAD
    assert reader.payload == payload
    assert reader.next() == HEAD


def test_what_waits_unread_is_put_together_once():
    reader = FrameReader()
    reader.feed(b"\x00\x28")
    begun = reader._buffer
    for _ in range(40):
        reader.feed(b"x")
        assert reader._buffer is begun
    assert reader.buffered == 42
    assert reader.next() == HEAD
    reader.take(PIECES)
    assert reader.next() == PIECE
    assert reader.payload == b"x" * 40
    assert reader.between_frames


def test_a_payload_of_nothing_is_a_payload():
    assert read([b"\x01\x00"])[0] == [(HEADERS, b"")]


@pytest.mark.parametrize(
    ("payload", "number"), [(b"\x04", 4), (b"\x40\x04", 4), (b"", -1), (b"\x40", -1), (b"\x04\x04", -1)]
)
def test_rfc9114_10_8_a_payload_that_is_one_integer(payload, number):
    assert decode_single(payload) == number
