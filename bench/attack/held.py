"""Attacks on what is held for somebody: handshakes that stand still, uploads nobody reads, gaps, queues."""

import os
import time
from collections.abc import Callable
from typing import Final

from bench.attack.target import CONTROL, LOCAL, SIZE, Forger, Target, drain, head
from headgate.engine.h3.errors import H3_NO_ERROR
from headgate.engine.h3.frames import DATA
from headgate.engine.quic import frames
from headgate.engine.quic.levels import APPLICATION, INITIAL
from headgate.engine.varint import encode_varint
from headgate.testing.quic_raw import encode_crypto, encode_stream
from headgate.testing.quic_raw_udp import RawSocket, blast, open_socket

# 20 streams of so many octets come just below the first window of a connection.
STREAMS: Final = 20
MOST: Final = 50_000
CONNECTIONS: Final = 4
ROUNDS: Final = 4
# For the heads of packet and frame, and the tag.
HEADS: Final = 50
# One client network, for what is counted by networks.
NETWORK: Final = "127.0.5.1"
FORGED: Final = 150
MOST_KEYS: Final = 200


def leave(raw: RawSocket) -> None:
    """Close a connection: what it holds is not to count for the attack that follows."""
    raw.send(raw.client.packet(APPLICATION, frames.encode_application_close(H3_NO_ERROR, b"")))
    raw.close()


# --- handshakes that stand still


class Stalled:
    """A handshake without its ClientHello, but with what the attack has instead."""

    def __init__(self, target: Target, local: str, patience: float) -> None:
        self.raw = RawSocket(target.host, target.port, local=local)
        self.raw.client.keep = False
        self.token: bytes | None = None
        self.is_answered = False
        self.until = time.monotonic() + patience

    def step(self, target: Target, contents: list[bytes], *, again: bool) -> bool:
        """Send, and read; tell whether it is over. A Retry wants all of it once more."""
        client = self.raw.client
        if again or client.token != self.token:
            self.token = client.token
            client.take_crypto()
            target.packets += self.raw.blast(client.batch(contents, SIZE, INITIAL), SIZE)
        self.raw.read(answers=False)
        if not self.is_answered and len(client.received[INITIAL]):
            self.is_answered = True
            target.connections += 1
        if client.close is None and time.monotonic() < self.until:
            return False
        target.failed += not self.is_answered
        target.note(self.raw)
        self.raw.close()
        return True


def on_handshakes(
    target: Target, contents: list[bytes], *, count: int, patience: float, again: bool = False
) -> None:
    """Send these Initials, once or again and again, in so many handshakes at a time until each is closed."""
    open_: list[Stalled] = []
    begun = 0
    while not target.is_over():
        while len(open_) < count:
            open_.append(Stalled(target, f"127.{1 + begun // 200 % 50}.0.{1 + begun % 200}", patience))
            begun += 1
        open_ = [one for one in open_ if not one.step(target, contents, again=again)]
        if not again:
            time.sleep(0.0005)


def sparse_crypto(target: Target) -> None:
    """First Initials with CRYPTO far behind the first octet, in one octet each, and then farther than may be."""
    near = b"".join(encode_crypto(4096 + 2 * at, b"x") for at in range(200))
    on_handshakes(target, [near, encode_crypto(1 << 30, b"x")], count=32, patience=1.0)


def crypto_storm(target: Target) -> None:
    """One handshake that goes on and on: Initials full of the same octet, far ahead of what has come."""
    storm = encode_crypto(16_000, b"x") * 200
    on_handshakes(target, [storm] * 40, count=1, patience=12.0, again=True)


def spoofed_network(target: Target) -> None:
    """First Initials in the name of a whole network; one who lives there must get in all the same."""
    forger = Forger()
    socks = [open_socket(target.host, target.port, NETWORK) for _ in range(50)]
    while not target.is_over():
        for turn in range(FORGED):
            target.packets += blast(socks[turn % len(socks)], forger.initial(forger.hello), SIZE)
        for sock in socks:
            drain(sock)
        raw = target.open(local=NETWORK, patience=5.0)
        if raw is not None:
            leave(raw)
        time.sleep(0.02)
    for sock in socks:
        sock.close()


# --- content that nobody reads


class Uploads:
    """A connection whose streams carry content, each up to `MOST` octets."""

    def __init__(self, raw: RawSocket, start: int) -> None:
        self.raw = raw
        self.start = start
        self.offsets = {4 * at: start for at in range(STREAMS)}
        self.next = STREAMS
        self.renewed_at = 0.0

    def contents(self, size: int) -> list[bytes]:
        """Return the next packets' frames, some for each stream that may have more."""
        found = []
        data = bytes(size)
        for _ in range(ROUNDS):
            for stream, offset in self.offsets.items():
                if offset + size <= MOST:
                    found.append(encode_stream(stream, offset, data))
                    self.offsets[stream] = offset + size
        return found

    def replace(self) -> None:
        """Begin another stream for each that was reset, as far as the first limit goes."""
        for stream in [stream for stream in self.offsets if stream in self.raw.client.resets]:
            del self.offsets[stream]
            if self.next < 100:
                self.offsets[4 * self.next] = self.start
                self.next += 1

    def renew(self, now: float) -> list[bytes]:
        """Return the last octet of each stream once more, now and then; a PING where there is none."""
        if now < self.renewed_at + 0.25:
            return []
        self.renewed_at = now
        return [
            encode_stream(stream, offset - 1, b"\0") for stream, offset in self.offsets.items() if offset
        ] or [frames.PING_FRAME]


def upload(target: Target, begin: Callable[[RawSocket], int], size: int) -> None:
    """Send content on four connections, `size` octets in a packet, as much as windows allow.

    `begin(raw)` sends what comes first, and says at what offset content begins.
    """
    open_: list[Uploads] = []
    while not target.is_over():
        while len(open_) < CONNECTIONS:
            raw = target.open()
            if raw is None:
                break
            open_.append(Uploads(raw, begin(raw)))
        is_busy = False
        for one in list(open_):
            one.replace()
            contents = one.contents(size)
            is_busy = is_busy or bool(contents)
            contents = contents or one.renew(time.monotonic())
            if contents:
                target.packets += one.raw.blast(one.raw.client.batch(contents, size + HEADS), size + HEADS)
            one.raw.read()
            if one.raw.client.close is not None:
                target.note(one.raw)
                one.raw.close()
                open_.remove(one)
        time.sleep(0.0005 if is_busy else 0.01)
    for one in open_:
        leave(one.raw)


def ask(raw: RawSocket) -> int:
    """Send the heads of POST to an application that hangs; return how long each is."""
    request = head(b"POST", b"/sink") + encode_varint(DATA) + encode_varint(1 << 30)
    heads = [encode_stream(4 * at, 0, request) for at in range(STREAMS)]
    for content in (encode_stream(2, 0, CONTROL), *heads):
        raw.send(raw.client.packet(APPLICATION, content))
    return len(request)


def unread_windows(target: Target) -> None:
    """Uploads that the application behind never reads, as much as windows allow, on four connections."""
    upload(target, ask, 1100)


def held_pieces(target: Target) -> None:
    """The same in pieces of two octets, one in a packet, each of which would weigh more than it holds."""
    upload(target, ask, 2)


def gap_at_zero(target: Target) -> None:
    """Streams whose first octet never comes, full as they may be and renewed now and then."""
    upload(target, lambda raw: 1, 1100)


# --- queues


def backlog_keys(target: Target) -> None:
    """Full batches for as many connections as can be had, and for strangers, none of which opens."""
    noise = os.urandom(1 << 16)
    strangers = open_socket(target.host, target.port, LOCAL)
    unknown = b"".join(b"\x41" + noise[at : at + 999] for at in range(0, 64_000, 1000))
    raws: list[tuple[RawSocket, bytes]] = []
    while not target.is_over():
        for _ in range(4):
            if len(raws) == MOST_KEYS:
                break
            raw = target.open(local=f"127.6.0.{1 + len(raws)}")
            if raw is not None:
                to = b"\x41" + raw.client.destination
                parts = [to + noise[at : at + 1000 - len(to)] for at in range(0, 64_000, 1000)]
                raws.append((raw, b"".join(parts)))
        for raw, data in list(raws):
            target.packets += raw.blast(data, 1000) + blast(strangers, unknown, 1000)
            raw.read()
            if raw.client.close is not None:
                target.note(raw)
                raws.remove((raw, data))
    for raw, _ in raws:
        leave(raw)
