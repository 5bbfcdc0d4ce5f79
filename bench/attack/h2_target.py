"""Whom an attack over HTTP/2 goes to: connections over TLS, and what a raw client may send on them."""

import time
from collections.abc import Callable
from typing import Final

from bench.attack.aim import Aim
from headgate.testing import h2_raw
from headgate.testing.h2_raw import RawFrame, RawH2, request_block

LOCAL: Final = "127.0.0.3"
# What waits for the kernel before an attack pauses.
MOST_UNSENT: Final = 256 * 1024
BURST: Final = 16 * 1024

Burst = Callable[[RawH2, int], tuple[bytes, int]]


class H2Target(Aim):
    """Whom to attack over HTTP/2."""

    def open(
        self, *pairs: tuple[int, int], start: bool = True, keep: bool = False, receive_buffer: int = 0
    ) -> RawH2 | None:
        """Return a connection whose preface was sent, None where none is to be had."""
        try:
            raw = RawH2.connect(
                self.host,
                self.port,
                tls=True,
                local=LOCAL,
                keep=keep,
                receive_buffer=receive_buffer,
                seconds=min(3.0, max(self.end - time.monotonic(), 0.1)),
            )
        except OSError:
            self.failed += 1
            time.sleep(0.01)
            return None
        self.connections += 1
        if start:
            raw.start(*pairs)
        return raw

    def note(self, raw: RawH2) -> None:
        """Count how a connection was closed."""
        if raw.goaway is not None:
            self.closes[f"GOAWAY {raw.goaway[0]:#x}"] += 1
        elif raw.closed:
            self.closes["without a word"] += 1

    def storm(
        self,
        burst: Burst,
        *,
        begin: Callable[[RawH2], None] | None = None,
        pairs: tuple[tuple[int, int], ...] = (),
        reads_each: float = 0.0,
        keep: bool = False,
    ) -> None:
        """Send `burst(raw, round)`, octets and how many frames they are, again and again; read now and then."""
        while not self.is_over():
            raw = self.open(*pairs, keep=keep)
            if raw is None:
                continue
            if begin is not None:
                begin(raw)
            turn = 0
            read_at = time.monotonic() + reads_each
            while raw.goaway is None and not raw.closed and not self.is_over():
                if raw.unsent < MOST_UNSENT:
                    octets, count = burst(raw, turn)
                    raw.send(octets)
                    self.packets += count
                    turn += 1
                else:
                    raw.pause(0.05)
                    raw.send()
                if time.monotonic() >= read_at:
                    raw.read()
                    read_at = time.monotonic() + reads_each
            raw.read()
            self.note(raw)
            raw.close()

    def hold(
        self,
        count: int,
        begin: Callable[[RawH2], int],
        step: Callable[[RawH2], int],
        receive_buffer: int = 0,
    ) -> None:
        """Keep `count` connections open, each begun with `begin` and kept with `step`, which say how many frames."""
        raws: list[RawH2] = []
        while not self.is_over():
            while len(raws) < count and not self.is_over():
                raw = self.open(start=False, receive_buffer=receive_buffer)
                if raw is None:
                    break
                self.packets += begin(raw)
                raws.append(raw)
            time.sleep(0.02)
            for raw in list(raws):
                self.packets += step(raw)
                if raw.goaway is not None or raw.closed:
                    self.note(raw)
                    raw.close()
                    raws.remove(raw)
        for raw in raws:
            raw.close()


class Windows:
    """What may be sent on a connection and its streams, by SETTINGS and WINDOW_UPDATE of the server."""

    def __init__(self) -> None:
        self.connection = 65_535
        self.initial = 65_535
        self.streams: dict[int, int] = {}

    def take(self, raw: RawH2) -> None:
        """Take in what has come; `raw` keeps frames."""
        raw.read()
        frames, raw.frames = raw.frames, []
        for one in frames:
            if one.kind == h2_raw.WINDOW_UPDATE:
                self._widen(one)
            elif one.kind == h2_raw.SETTINGS and not one.flags & h2_raw.ACK:
                self._settings(one.payload)
            elif one.kind == h2_raw.RST_STREAM:
                self.streams.pop(one.stream, None)

    def _widen(self, one: RawFrame) -> None:
        more = int.from_bytes(one.payload, "big")
        if one.stream == 0:
            self.connection += more
        elif one.stream in self.streams:
            self.streams[one.stream] += more

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == h2_raw.INITIAL_WINDOW_SIZE:
                value = int.from_bytes(payload[at + 2 : at + 6], "big")
                for stream in self.streams:
                    self.streams[stream] += value - self.initial
                self.initial = value

    def open(self, stream: int) -> None:
        """A stream begins."""
        self.streams[stream] = self.initial

    def room(self, stream: int) -> int:
        """How many octets may be sent."""
        return min(self.connection, self.streams.get(stream, 0))

    def spend(self, stream: int, count: int) -> None:
        """So many were sent."""
        self.connection -= count
        self.streams[stream] -= count


def same(one: bytes, size: int = BURST) -> Burst:
    """Return a burst of one frame, again and again."""
    count = max(size // len(one), 1)
    octets = one * count
    return lambda _raw, _turn: (octets, count)


def numbers(turn: int, count: int) -> range:
    """The streams of a round that opens `count`, behind stream 1."""
    return range(3 + 2 * turn * count, 3 + 2 * (turn + 1) * count, 2)


def get(stream: int, path: bytes = b"/hello") -> bytes:
    """Return a GET."""
    return h2_raw.headers(stream, request_block(path))


def post(stream: int, path: bytes = b"/sink", *fields: tuple[bytes, bytes]) -> bytes:
    """Return the head of a POST."""
    return h2_raw.headers(stream, request_block(path, b"POST", *fields), end=False)
