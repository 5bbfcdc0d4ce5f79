"""The attacks: each sends at full speed until its time is over, and says how it was answered.

`Target` is whom to attack and until when. An attack that needs a connection opens another whenever one is closed,
and counts by which codes; one that needs none sends datagrams out of many ports. `ATTACKS` names them all, with the
code that ends each rightly (none: dropped or served within limits, nobody is closed) and the counter that moves.
Those whose point is what is held for them are in bench/attack/held.
"""

import os
import random
import time
from collections.abc import Callable
from typing import Final

from bench.attack import held
from bench.attack.aim import Attack
from bench.attack.target import (
    BURST,
    CONTROL,
    SIZE,
    Forger,
    Target,
    filled,
    head,
    same,
)
from headgate.engine.h3.frames import DATA, HEADERS, PRIORITY_UPDATE_REQUEST, encode_frame
from headgate.engine.quic import frames
from headgate.engine.quic.levels import APPLICATION, INITIAL
from headgate.engine.quic.packet import VERSION_1, encode_long_header
from headgate.engine.quic.transport_parameters import encode_parameters
from headgate.engine.varint import encode_varint
from headgate.testing.quic_raw import default_parameters, encode_stream
from headgate.testing.quic_raw_udp import RawSocket

# --- without a connection


def random_initials(target: Target) -> None:
    """Datagrams that look like first Initials and are noise."""
    noise = os.urandom(1 << 20)
    header = encode_long_header(INITIAL, VERSION_1, b"8octets!", b"8source!", b"", 0, 2, 1150)

    def make(turn: int) -> tuple[bytes, int]:
        chance = random.Random(turn)
        pieces = []
        for _ in range(BURST):
            at = chance.randrange(len(noise) - SIZE)
            pieces.append(header[:6] + noise[at : at + 8] + header[14:26] + noise[at : at + SIZE - 26])
        return b"".join(pieces), SIZE

    made = [make(turn) for turn in range(64)]
    target.flood(lambda turn: made[turn % 64])


def valid_initials(target: Target) -> None:
    """Genuine first Initials out of many ports, whose answers nobody reads."""
    forger = Forger()
    target.flood(lambda _turn: (forger.initial(forger.hello), SIZE), sources=200)


def empty_datagrams(target: Target) -> None:
    """UDP datagrams of no octets."""
    socks = target.sources(16)
    while not target.is_over():
        for sock in socks:
            for _ in range(32):
                try:
                    sock.send(b"")
                    target.packets += 1
                except OSError:
                    break


def unknown_connections(target: Target) -> None:
    """Short headers for connections that nobody knows: each could ask for a stateless reset."""
    noise = os.urandom(1 << 16)
    data = b"".join(b"\x41" + noise[at : at + 59] for at in range(0, 60 * 64, 60))
    target.flood(lambda _turn: (data, 60))


def unknown_versions(target: Target) -> None:
    """Long headers of versions that nobody speaks: each could ask for a Version Negotiation."""
    one = (b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(8) + b"\x08" + bytes(8)).ljust(SIZE, b"v")
    target.flood(lambda _turn: (one * BURST, SIZE))


# --- the transport


def sparse_streams(target: Target) -> None:
    """Octets of streams with gaps between them, far apart."""

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        chance = random.Random(turn)
        contents = [
            encode_stream(4 * chance.randrange(40), 64 + chance.randrange(25_000), b"x" * 20)
            for _ in range(BURST)
        ]
        return raw.client.batch(contents, 80), 80

    target.storm(burst)


def ack_flood(target: Target) -> None:
    """Packets full of ACK frames."""
    target.storm(same(filled(frames.encode_ack([0, 0], 0, None, 100))))


def lone_acks(target: Target) -> None:
    """ACK frames, one in each packet."""
    target.storm(same([frames.encode_ack([0, 0], 0, None, 100)] * 64, 40))


def optimistic_acks(target: Target) -> None:
    """A download whose packets are acknowledged before they come."""

    def begin(raw: RawSocket) -> None:
        raw.client.acknowledges = False
        raw.send(raw.client.packet(APPLICATION, encode_stream(0, 0, head(b"GET", b"/big"), fin=True)))

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        high = 20 * (turn + 1)
        return raw.client.packet(APPLICATION, frames.encode_ack([high, 0], 0, None, 100), size=60), 60

    target.storm(burst, begin=begin)


def path_challenges(target: Target) -> None:
    """PATH_CHALLENGE, one in each packet."""
    challenge = frames.encode_path(frames.FRAME_PATH_CHALLENGE, bytes(8))
    target.storm(same([challenge] * BURST, 60))


def retired_ids(target: Target) -> None:
    """RETIRE_CONNECTION_ID for everything that is given out, and NEW_CONNECTION_ID that retire all before."""

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        contents = []
        known = len(raw.client.ids)
        for at in range(10):
            number = 10 * turn + at + 1
            content = frames.encode_new_connection_id(number, number, os.urandom(8), bytes(16))
            if known:  # to retire number 0, which these packets are sent to, would be another fault
                content += frames.encode_retire_connection_id(min(number, known))
            contents.append(content)
        return raw.client.batch(contents, 100), 100

    target.storm(burst)


def key_updates(target: Target) -> None:
    """New keys with every packet."""

    def burst(raw: RawSocket, _turn: int) -> tuple[bytes, int]:
        packets = []
        for _ in range(4):
            raw.client.update_keys()
            packets.append(raw.client.packet(APPLICATION, frames.PING_FRAME, size=40))
        return b"".join(packets), 40

    target.storm(burst)


def small_pieces(target: Target) -> None:
    """Streams of one octet in each packet."""
    request = head(b"POST", b"/") + encode_varint(DATA) + encode_varint(1 << 30)

    def begin(raw: RawSocket) -> None:
        raw.send(
            raw.client.packet(APPLICATION, encode_stream(2, 0, CONTROL)),
            raw.client.packet(APPLICATION, encode_stream(0, 0, request)),
        )

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        start = len(request) + turn * 64
        contents = [encode_stream(0, start + at, b"x") for at in range(64)]
        return raw.client.batch(contents, 60), 60

    target.storm(burst, begin=begin)


def pings(target: Target) -> None:
    """Packets full of PING."""
    target.storm(same(filled(frames.PING_FRAME)))


def lone_pings(target: Target) -> None:
    """PING, one in each packet."""
    target.storm(same([frames.PING_FRAME] * 64, 40))


def credit(target: Target) -> None:
    """Packets full of MAX_DATA, MAX_STREAMS and their like."""
    kinds = (frames.FRAME_MAX_DATA, frames.FRAME_MAX_STREAMS_BIDI, frames.FRAME_DATA_BLOCKED)
    target.storm(same(filled(b"".join(frames.encode_credit(kind, 1 << 20) for kind in kinds))))


def streams_beyond(target: Target) -> None:
    """Streams beyond the limit."""
    target.storm(same([encode_stream(4 * 5000, 0, b"x")], 60))


def datagrams(target: Target) -> None:
    """DATAGRAM frames that were not agreed on."""
    target.storm(same([frames.datagram_header(40) + bytes(40)] * BURST, 100))


def zero_windows(target: Target) -> None:
    """A hundred downloads on each of four connections, of which nothing is ever taken."""

    def parameters(source: bytes) -> bytes:
        said = default_parameters(source)
        said.initial_max_stream_data_bidi_local = 0
        return encode_parameters(said)

    raws: list[RawSocket] = []
    while not target.is_over():
        while len(raws) < 4:
            raw = target.open(parameters)
            if raw is None:
                break
            request = head(b"GET", b"/big")
            contents = [encode_stream(4 * at, 0, request, fin=True) for at in range(100)]
            target.packets += raw.blast(raw.client.batch(contents, 100), 100)
            raws.append(raw)
        time.sleep(0.05)
        for raw in list(raws):
            raw.read()
            raw.send(raw.client.packet(APPLICATION, frames.PING_FRAME))
            if raw.client.close is not None:
                target.note(raw)
                raws.remove(raw)


# --- HTTP/3


class Requests:
    """Numbers of request streams within what the server allows."""

    def __init__(self, raw: RawSocket) -> None:
        self.raw = raw
        self.next = 0
        self.limit = 100
        raw.send(raw.client.packet(APPLICATION, encode_stream(2, 0, CONTROL)))

    def take(self, most: int) -> list[int]:
        """Return up to `most` streams that may be opened now."""
        for frame in self.raw.read():
            if frame.kind == frames.FRAME_MAX_STREAMS_BIDI:
                self.limit = max(self.limit, frame.value)
        count = min(most, self.limit - self.next)
        numbers = [4 * at for at in range(self.next, self.next + count)]
        self.next += count
        return numbers


def on_requests(target: Target, contents_of: Callable[[int], list[bytes]], size: int) -> None:
    """Send for each new request stream the packets that `contents_of(stream)` says."""
    while not target.is_over():
        raw = target.open()
        if raw is None:
            continue
        requests = Requests(raw)
        while raw.client.close is None and not target.is_over():
            contents = [content for stream in requests.take(20) for content in contents_of(stream)]
            if contents:
                target.packets += raw.blast(raw.client.batch(contents, size), size)
            else:
                time.sleep(0.0005)
        target.note(raw)
        raw.close()


def rapid_reset(target: Target) -> None:
    """Requests given up as soon as they are made."""
    request = head(b"GET", b"/big")
    on_requests(
        target,
        lambda stream: [
            encode_stream(stream, 0, request)
            + frames.encode_reset_stream(stream, 0x10C, len(request))
            + frames.encode_stop_sending(stream, 0x10C)
        ],
        100,
    )


def qpack_bombs(target: Target) -> None:
    """Field sections of some KiB that would decode to MiBs."""
    bomb = encode_frame(HEADERS, b"\0\0" + b"\xed" * 16_000)

    def contents(stream: int) -> list[bytes]:
        step = 1100
        return [
            encode_stream(stream, at, bomb[at : at + step], fin=at + step >= len(bomb))
            for at in range(0, len(bomb), step)
        ]

    on_requests(target, contents, SIZE)


def qpack_instructions(target: Target) -> None:
    """The encoder stream of QPACK, full of instructions."""
    octets = b"\x02" + b"\x20" * 1_000_000

    def begin(raw: RawSocket) -> None:
        raw.send(raw.client.packet(APPLICATION, encode_stream(2, 0, CONTROL)))

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        contents = [
            encode_stream(6, at, octets[at : at + 1100])
            for at in range(turn * 44_000, (turn + 1) * 44_000, 1100)
        ]
        return raw.client.batch(contents, SIZE), SIZE

    target.storm(burst, begin=begin)


def h3_control(target: Target) -> None:
    """The control stream of HTTP/3, full of priorities and unknown frames."""
    update = encode_frame(PRIORITY_UPDATE_REQUEST, encode_varint(40) + b"u=1") + encode_frame(0x21, b"")
    octets = CONTROL + update * 100_000

    def burst(raw: RawSocket, turn: int) -> tuple[bytes, int]:
        contents = [
            encode_stream(2, at, octets[at : at + 1100])
            for at in range(turn * 44_000, (turn + 1) * 44_000, 1100)
        ]
        return raw.client.batch(contents, SIZE), SIZE

    target.storm(burst)


def dropped(reason: str) -> str:
    """Return the counter of datagrams that were dropped for a reason."""
    return f'quic_dropped_total{{reason="{reason}"}}'


def answered(kind: str) -> str:
    """Return the counter of answers without a connection."""
    return f'quic_answers_total{{kind="{kind}"}}'


def closed(code: str) -> str:
    """Return the counter of connections that a code ended."""
    return f'quic_closed_total{{code="{code}"}}'


GAPS: Final = 'quic_packets_dropped_total{reason="gaps"}'
HELD: Final = 'held_bytes{limit="downstream-buffer"}'
HEADS: Final = 'refused_total{limit="head"}'
LATE_HEADS: Final = 'refused_total{limit="head-timeout"}'
LOAD: Final = ("H3 0x107", closed("h3-excessive-load"))

ATTACKS: Final[dict[str, Attack]] = {
    "random-initials": Attack(random_initials, counter=dropped("bad-initial"), connects=False),
    "valid-initials": Attack(valid_initials, counter=answered("retry"), connects=False),
    "spoofed-network": Attack(held.spoofed_network, counter=answered("retry"), gets_in=True),
    "sparse-crypto": Attack(held.sparse_crypto, "QUIC 0xd", closed("crypto-buffer-exceeded")),
    "crypto-storm": Attack(held.crypto_storm, "QUIC 0xa", closed("protocol-violation")),
    "empty-datagrams": Attack(empty_datagrams, counter=dropped("malformed"), connects=False),
    "unknown-connections": Attack(unknown_connections, counter=dropped("answer-rate"), connects=False),
    "unknown-versions": Attack(unknown_versions, counter=answered("version-negotiation"), connects=False),
    "backlog-keys": Attack(held.backlog_keys, counter=dropped("queue-full")),
    "sparse-streams": Attack(sparse_streams, counter=GAPS),
    "gap-at-zero": Attack(held.gap_at_zero, counter=LATE_HEADS, takes=15.0),
    "unread-windows": Attack(held.unread_windows),
    "held-pieces": Attack(held.held_pieces),
    "zero-windows": Attack(zero_windows, counter=HELD),
    "ack-flood": Attack(ack_flood, *LOAD),
    "lone-acks": Attack(lone_acks),
    "optimistic-acks": Attack(optimistic_acks, "QUIC 0xa", closed("protocol-violation")),
    "path-challenges": Attack(path_challenges, *LOAD),
    "retired-ids": Attack(retired_ids, "QUIC 0x9", closed("connection-id-limit-error")),
    "key-updates": Attack(key_updates, "QUIC 0xe", closed("key-update-error")),
    "small-pieces": Attack(small_pieces, "QUIC 0x3", must=False),
    "pings": Attack(pings, *LOAD),
    "lone-pings": Attack(lone_pings, *LOAD),
    "credit": Attack(credit, *LOAD),
    "streams-beyond": Attack(streams_beyond, "QUIC 0x4", closed("stream-limit-error")),
    "datagrams": Attack(datagrams, "QUIC 0xa", closed("protocol-violation")),
    "rapid-reset": Attack(rapid_reset, LOAD[0], must=False),
    "qpack-bombs": Attack(qpack_bombs, counter=HEADS),
    "qpack-instructions": Attack(qpack_instructions, *LOAD),
    "h3-control": Attack(h3_control, *LOAD),
}
