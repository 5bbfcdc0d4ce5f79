"""What an HTTP/2 engine may write, worked out from what it was given: a second opinion for the fuzz target.

`gave` takes the octets that the engine reads, `wrote` those that it writes, both as they come. Kept are windows of
the peer (RFC 9113 section 6.9), which streams have ended or were reset by whom (5.1), the last GOAWAY (6.8), and an
HPACK decoder. `wrote` raises `Broken` where the engine writes what it may not.
"""

from typing import Final

import hpack

from fuzz._common import Broken
from headgate.testing import h2_raw as raw

_FIRST: Final = 65_535
_INITIAL_WINDOW: Final = 4
_TABLE: Final = 1
_MAX_FRAME: Final = 16_384


class Ledger:
    """One connection, seen from outside."""

    def __init__(self, is_client: bool) -> None:
        self.is_client = is_client
        self._in = b""
        self._out = b""
        self._preface = not is_client
        self._initial = _FIRST
        self._window = _FIRST
        self._windows: dict[int, int] = {}
        self._dropped: set[int] = set()  # reset by the peer
        self._reset: set[int] = set()
        self._ended: set[int] = set()
        self._opened = 0
        self._goaway = 1 << 31
        self._over = False
        self._block: list[bytes] = []
        self._decoder = hpack.Decoder(1 << 20)
        self._decoder.max_allowed_table_size = 1 << 32

    def gave(self, octets: bytes) -> None:
        """Take what the engine was given."""
        self._in += octets
        if self._preface:
            if len(self._in) < len(raw.PREFACE):
                return
            self._in = self._in[len(raw.PREFACE) :]
            self._preface = False
        while (one := self._cut(self._in)) is not None:
            self._in = self._in[len(one) :]
            self._given(one[3], one[4], int.from_bytes(one[5:9], "big") & 0x7FFFFFFF, one[9:])

    @staticmethod
    def _cut(octets: bytes) -> bytes | None:
        size = 9 + int.from_bytes(octets[:3], "big")
        return octets[:size] if len(octets) >= max(9, size) else None

    def _given(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == raw.SETTINGS and not flags & raw.ACK:
            for at in range(0, len(payload) - 5, 6):
                number = int.from_bytes(payload[at : at + 2], "big")
                value = int.from_bytes(payload[at + 2 : at + 6], "big")
                if number == _INITIAL_WINDOW:
                    for key in self._windows:
                        self._windows[key] += value - self._initial
                    self._initial = value
        elif kind == raw.WINDOW_UPDATE and len(payload) == 4:
            increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream:
                self._windows[stream] = self._windows.get(stream, self._initial) + increment
            else:
                self._window += increment
        elif kind == raw.RST_STREAM:
            self._dropped.add(stream)

    def wrote(self, octets: bytes) -> None:
        """Look at what the engine wrote. Raises `Broken`."""
        self._out += octets
        if self.is_client and self._out.startswith(raw.PREFACE):
            self._out = self._out[len(raw.PREFACE) :]
        while (one := self._cut(self._out)) is not None:
            self._out = self._out[len(one) :]
            kind, flags, stream, payload = one[3], one[4], int.from_bytes(one[5:9], "big"), one[9:]
            if self._over:
                raise Broken(f"behind a GOAWAY of an error: {one.hex()}")
            if len(payload) > _MAX_FRAME:
                raise Broken(f"a frame of {len(payload)} octets")
            if self._block and kind != raw.CONTINUATION:
                raise Broken(f"inside a field block: {one.hex()}")
            if stream:
                self._of_stream(kind, flags, stream, payload)
            elif kind == raw.GOAWAY:
                self._left(payload)

    def _left(self, payload: bytes) -> None:
        last = int.from_bytes(payload[:4], "big")
        if last > self._goaway:
            raise Broken(f"GOAWAY with {last} behind {self._goaway}")
        self._goaway = last
        self._over = payload[4:8] != bytes(4)

    def _of_stream(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        # Heads may stand in line already when the peer's RST_STREAM is read: HPACK needs them to go out.
        if stream in self._reset or (stream in self._dropped and kind == raw.DATA):
            raise Broken(f"a frame {kind} of stream {stream}, which was reset")
        if stream in self._ended and kind not in (raw.WINDOW_UPDATE, raw.RST_STREAM, raw.CONTINUATION):
            raise Broken(f"a frame {kind} of stream {stream}, which we ended")
        if kind == raw.RST_STREAM:
            self._reset.add(stream)
        elif kind == raw.DATA:
            self._spend(stream, len(payload))
        elif kind in (raw.HEADERS, raw.CONTINUATION):
            self._section(kind, flags, stream, payload)
        if kind in (raw.DATA, raw.HEADERS) and flags & raw.END_STREAM:
            self._ended.add(stream)

    def _spend(self, stream: int, size: int) -> None:
        if size == 0:
            return
        left = self._windows.get(stream, self._initial) - size
        self._windows[stream] = left
        self._window -= size
        if left < 0 or self._window < 0:
            raise Broken(f"{size} octets on stream {stream} leave {left} of it and {self._window} of all")

    def _section(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == raw.HEADERS and self.is_client and stream not in self._windows:
            if stream % 2 == 0 or stream <= self._opened:
                raise Broken(f"stream {stream} behind {self._opened}")
            self._opened = stream
        self._windows.setdefault(stream, self._initial)
        self._block.append(payload)
        if flags & raw.END_HEADERS:
            self._decoder.decode(b"".join(self._block), raw=True)
            self._block = []
