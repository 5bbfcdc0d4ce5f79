"""A UDP socket under a `RawClient`: handshakes with a real server, and floods as fast as the kernel takes them.

    raw = RawSocket("127.0.0.1", 8443)
    raw.shake()
    raw.blast(raw.client.batch([b"\\x01"] * 50, 60), 60)
    raw.read()

Blocking with a deadline where an answer is waited for, never where something is sent: what the kernel does not take
at once is lost, as on a network.
"""

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, final

from headgate.engine.tls13.settings import ClientSettings
from headgate.net.udp import UDP_SEGMENT
from headgate.testing.quic_raw import RawClient, RawFrame

# What one call may carry: UDP_MAX_SEGMENTS of older kernels, and the length field of IP.
MOST_SEGMENTS: Final = 64
MOST_OCTETS: Final = 65_000
_QUEUE: Final = 4 * 1024 * 1024


def open_socket(host: str, port: int, local: str = "") -> socket.socket:
    """Return a connected UDP socket with large queues that never waits, bound to `local`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
    if local:
        sock.bind((local, 0))
    sock.connect((host, port))
    sock.setblocking(False)
    return sock


def blast(sock: socket.socket, data: bytes, segment: int) -> int:
    """Send datagrams end to end, each `segment` octets; return how many the kernel took."""
    step = min(MOST_SEGMENTS, MOST_OCTETS // segment) * segment
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment))]
    view = memoryview(data)
    sent = 0
    for at in range(0, len(data), step):
        part = view[at : at + step]
        try:
            sock.sendmsg([part], control if len(part) > segment else [])
        except OSError:
            continue
        sent += -(-len(part) // segment)
    return sent


@final
class RawSocket:
    """A raw client on its own port."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        local: str = "",
        settings: ClientSettings | None = None,
        parameters: Callable[[bytes], bytes] | None = None,
        tamper: Callable[[int, bytes], bytes] | None = None,
    ) -> None:
        self.sock = open_socket(host, port, local)
        self.client = RawClient(
            os.urandom, time.time(), settings=settings, parameters=parameters, tamper=tamper
        )

    def __repr__(self) -> str:
        return f"<RawSocket {self.client!r}>"

    def close(self) -> None:
        """Let go of the socket, without a word."""
        self.sock.close()

    def send(self, *datagrams: bytes) -> None:
        """Send these datagrams."""
        for datagram in datagrams:
            try:
                self.sock.send(datagram)
            except OSError:
                continue

    def blast(self, data: bytes, segment: int) -> int:
        """Send many at once."""
        return blast(self.sock, data, segment)

    def read(self, *, answers: bool = True) -> list[RawFrame]:
        """Take in what has come, without waiting, and answer what asks for it."""
        frames: list[RawFrame] = []
        while True:
            try:
                datagram = self.sock.recv(65_535)
            except OSError:
                break
            frames += self.client.receive(datagram)
        if answers:
            self.send(*self.client.flush())
        return frames

    def wait(self, ready: Callable[[RawClient], bool], seconds: float = 5.0) -> bool:
        """Read and answer until `ready`; False where that does not come in time."""
        end = time.monotonic() + seconds
        again = 0.2
        repeat_at = time.monotonic() + again
        self.send(*self.client.flush())
        while not ready(self.client):
            now = time.monotonic()
            if now >= end:
                return False
            self.await_datagram(min(end, repeat_at))
            self.read()
            if time.monotonic() >= repeat_at:  # something was lost
                again *= 2
                repeat_at += again
                self.send(*self.client.again())
        return True

    def await_datagram(self, until: float) -> None:
        """Wait until there is something to read, at most until then."""
        self.sock.settimeout(max(until - time.monotonic(), 0.001))
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return
        finally:
            self.sock.setblocking(False)

    def shake(self, seconds: float = 5.0) -> bool:
        """Shake hands; False where it is not confirmed, or refused, in time."""
        self.wait(lambda client: client.is_confirmed or client.close is not None, seconds)
        return self.client.is_confirmed and self.client.close is None

    def wait_closed(self, seconds: float = 5.0) -> bool:
        """Wait until the server closes."""
        return self.wait(lambda client: client.close is not None, seconds)
