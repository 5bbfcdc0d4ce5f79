"""Frames as octets, read by hand: what tests of a writer hold it to."""

from typing import NamedTuple

DATA, HEADERS, RST_STREAM, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 8, 9
END_STREAM, END_HEADERS = 1, 4


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frames_of(octets):
    """Return the frames that `octets` are made of, to the last octet."""
    found = []
    at = 0
    while at < len(octets):
        size = int.from_bytes(octets[at : at + 3], "big")
        frame = Frame(
            octets[at + 3],
            octets[at + 4],
            int.from_bytes(octets[at + 5 : at + 9], "big"),
            octets[at + 9 :][:size],
        )
        assert len(frame.payload) == size, "a frame that is cut short"
        found.append(frame)
        at += 9 + size
    return found


def content_of(frames, stream):
    """Return the content of a stream."""
    return b"".join(frame.payload for frame in frames if frame.kind == DATA and frame.stream == stream)
