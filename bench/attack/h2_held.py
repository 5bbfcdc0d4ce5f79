"""Attacks over HTTP/2 on what is held for a client: answers nobody takes, uploads nobody reads, half requests."""

from typing import Final

from bench.attack.h2_target import H2Target, Windows, get, post
from headgate.testing import h2_raw as h2
from headgate.testing.h2_raw import RawH2

CONNECTIONS: Final = 4
STREAMS: Final = 100


def zero_windows(target: H2Target) -> None:
    """A hundred downloads on each of four connections, of which nothing is ever taken."""

    def begin(raw: RawH2) -> int:
        raw.start((h2.INITIAL_WINDOW_SIZE, 0))
        raw.send(*(get(one, b"/big") for one in range(1, 2 * STREAMS, 2)))
        return STREAMS

    def step(raw: RawH2) -> int:
        raw.read()
        return 0

    target.hold(CONNECTIONS, begin, step)


def slow_reads(target: H2Target) -> None:
    """A hundred downloads on each of two connections with all the window there may be, and sockets nobody reads.

    What has flowed into the sockets has made reads larger: an answer that stands holds two of a closed window's.
    """

    def begin(raw: RawH2) -> int:
        raw.start((h2.INITIAL_WINDOW_SIZE, (1 << 31) - 1))
        raw.send(h2.window_update(0, (1 << 31) - 1 - 65_535))
        raw.send(*(get(one, b"/big") for one in range(1, 2 * STREAMS, 2)))
        return STREAMS

    def step(raw: RawH2) -> int:
        raw.read(1)
        return 0

    target.hold(CONNECTIONS // 2, begin, step, receive_buffer=4096)


def unread_uploads(target: H2Target) -> None:
    """Uploads up to every window, on each of four connections, to an origin that reads nothing."""
    windows: dict[RawH2, Windows] = {}
    piece = bytes(8192)

    def begin(raw: RawH2) -> int:
        raw.start()
        raw.keep = True
        found = windows[raw] = Windows()
        for one in range(1, 2 * STREAMS, 2):
            found.open(one)
            raw.send(post(one))
        return STREAMS

    def step(raw: RawH2) -> int:
        found = windows[raw]
        found.take(raw)
        count = 0
        for one in list(found.streams):
            size = min(found.room(one), len(piece))
            if size > 0:
                raw.send(h2.data(one, piece[:size]))
                found.spend(one, size)
                count += 1
        return count

    target.hold(CONNECTIONS, begin, step)


def half_heads(target: H2Target) -> None:
    """Sections that never end, on each of 32 connections."""

    def begin(raw: RawH2) -> int:
        raw.start()
        raw.answers = False  # nothing may come in between
        section = h2.request_block() + h2.literal(b"x", bytes(16_000))
        raw.send(h2.headers(1, section, last=False), h2.continuation(1, h2.literal(b"y", bytes(16_000))))
        return 2

    def step(raw: RawH2) -> int:
        raw.read()
        return 0

    target.hold(8 * CONNECTIONS, begin, step)


def no_preface(target: H2Target) -> None:
    """Connections that begin with the preface and never end it."""

    def begin(raw: RawH2) -> int:
        raw.answers = False
        raw.send(h2.PREFACE[:10])
        return 1

    def step(raw: RawH2) -> int:
        raw.read()
        return 0

    target.hold(8 * CONNECTIONS, begin, step)
