"""Whom an attack goes to, and what attacks are made of: sockets, first Initials of nobody, requests in HTTP/3."""

import os
import socket
import time
from collections.abc import Callable
from typing import Final

from bench.attack.aim import Aim
from headgate.engine.h3.frames import HEADERS, SETTINGS, encode_frame
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import TAG, VERSION_1, encode_long_header, long_header_size
from headgate.engine.quic.protect import KeySet
from headgate.testing.quic_raw import RawClient, encode_crypto
from headgate.testing.quic_raw_udp import RawSocket, blast, open_socket

SIZE: Final = 1200
ROOM: Final = SIZE - 1 - 8 - 2 - TAG
BURST: Final = 40
LOCAL: Final = "127.0.0.3"


class Target(Aim):
    """Whom to attack over QUIC."""

    def open(
        self,
        parameters: Callable[[bytes], bytes] | None = None,
        *,
        local: str = LOCAL,
        patience: float = 0.0,
    ) -> RawSocket | None:
        """Return a connection with a confirmed handshake, None where none is to be had in time."""
        raw = RawSocket(self.host, self.port, local=local, parameters=parameters)
        raw.client.keep = False
        if raw.shake(patience or min(3.0, max(self.end - time.monotonic(), 0.1))):
            self.connections += 1
            return raw
        self.note(raw)
        self.failed += 1
        raw.close()
        time.sleep(0.01)
        return None

    def note(self, raw: RawSocket) -> None:
        """Count how a connection was closed."""
        close = raw.client.close
        if close is not None:
            kind = "H3" if close.is_application else "QUIC"
            self.closes[f"{kind} {close.code:#x}"] += 1

    def sources(self, count: int) -> list[socket.socket]:
        """Return sockets on many addresses and ports."""
        return [
            open_socket(self.host, self.port, f"127.{1 + at // 200}.0.{1 + at % 200}") for at in range(count)
        ]

    def storm(
        self,
        burst: Callable[[RawSocket, int], tuple[bytes, int]],
        *,
        begin: Callable[[RawSocket], None] | None = None,
        parameters: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send `burst(raw, round)`, packets end to end and the size of each, again and again."""
        while not self.is_over():
            raw = self.open(parameters)
            if raw is None:
                continue
            if begin is not None:
                begin(raw)
            turn = 0
            while raw.client.close is None and not self.is_over():
                data, size = burst(raw, turn)
                self.packets += raw.blast(data, size)
                raw.read()
                turn += 1
            self.note(raw)
            raw.close()

    def flood(self, make: Callable[[int], tuple[bytes, int]], *, sources: int = 64) -> None:
        """Send `make(round)` out of many ports, without a connection."""
        socks = self.sources(sources)
        turn = 0
        while not self.is_over():
            data, size = make(turn)
            self.packets += blast(socks[turn % len(socks)], data, size)
            turn += 1
            if turn % 256 == 0:
                for sock in socks:
                    drain(sock)
        for sock in socks:
            sock.close()


def drain(sock: socket.socket) -> None:
    """Throw away what has come."""
    try:
        for _ in range(64):
            sock.recv(2048)
    except OSError:
        return


def filled(frame: bytes) -> list[bytes]:
    """Packets full of one frame."""
    return [frame * (ROOM // len(frame))] * BURST


def same(contents: list[bytes], size: int = SIZE) -> Callable[[RawSocket, int], tuple[bytes, int]]:
    """Return a burst that is always the same."""
    return lambda raw, _turn: (raw.client.batch(contents, size), size)


class Forger:
    """Makes first datagrams of clients that do not exist, each with a genuine Initial of its own."""

    def __init__(self) -> None:
        client = RawClient(os.urandom, time.time())
        self.source = client.source
        self.hello = encode_crypto(0, client.hello)

    def initial(self, content: bytes) -> bytes:
        """Return a datagram with an Initial that opens."""
        destination = os.urandom(8)
        keys = KeySet(INITIAL, VERSION_1)
        keys.install_initial(destination, is_client=True, is_write=True)
        overhead = long_header_size(destination, self.source, b"", INITIAL, 2) + TAG
        content = content.ljust(SIZE - overhead, b"\0")
        header = encode_long_header(INITIAL, VERSION_1, destination, self.source, b"", 0, 2, len(content))
        keys.seal(header, 2, 0, content)
        return keys.take_sealed()


CONTROL: Final = b"\0" + encode_frame(SETTINGS, b"")


def section(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return an encoded field section."""
    return QpackEncoder().encode(
        0, [name for name, _ in pairs], [name + b": " + value for name, value in pairs]
    )


def head(method: bytes, path: bytes) -> bytes:
    """Return the HEADERS of a request."""
    pseudo = ((b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path))
    return encode_frame(HEADERS, section(*pseudo))
