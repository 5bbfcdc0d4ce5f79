"""A gibibyte through a tunnel or a TCP listener: CPU of the proxy for moving octets that it does not look at.

The octets are answers of the origin (1024 of 1 MiB, asked for at once on one connection), and a client that throws
them away in the kernel (MSG_TRUNC), so that neither end is what is measured.
"""

import socket
import time
from typing import Final

from bench import measure
from bench.lab import Lab, Lane, Sample
from bench.load import LoadError
from bench.proxies import Haproxy, Headgate, Profile, Proxy
from bench.rows.base import Row

MIB: Final = 1 << 20
REQUEST: Final = b"GET /1m HTTP/1.1\r\nHost: origin\r\n\r\n"
PATIENCE: Final = 30.0


def head_size(port: int) -> int:
    """Return how long the head of one answer of the origin is."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(REQUEST)
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(4096)
            if not more:
                raise LoadError(f"the origin closed after {len(data)} bytes")
            data += more
        return data.index(b"\r\n\r\n") + 4


def open_tunnel(sock: socket.socket, target: int) -> None:
    """Ask a forward proxy for a tunnel to a port of this host. Raises `LoadError`."""
    sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (target, target))
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(1)
        if not more:
            break
        head += more
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise LoadError(f"no tunnel: {head[:80]!r}")


def discard(sock: socket.socket, size: int) -> None:
    """Take so many bytes and look at none. Raises `LoadError` when there are fewer."""
    buffer = bytearray(MIB)
    while size > 0:
        got = sock.recv_into(buffer, min(size, MIB), socket.MSG_TRUNC)
        if not got:
            raise LoadError(f"the relay ended {size} bytes too early")
        size -= got


class Relay(Row):
    """One connection, 1 GiB towards the client: HAProxy relays TCP, Headgate the same or a tunnel of CONNECT."""

    unit = "ms"
    goal = 1.2
    max_rounds = 5
    count = 1024

    def __init__(self, name: str, title: str, relay: str) -> None:
        self.name = name
        self.title = title
        self.profile = Profile(relay=relay)

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        return [lane for lane in super().lanes(proxies) if isinstance(lane.proxy, Headgate | Haproxy)]

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._move(lab, lane, 64)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._move(lab, lane, self.count)

    def _move(self, lab: Lab, lane: Lane, count: int) -> Sample:
        running = lab.running(lane)
        origin = lab.origin.job.port
        size = count * (MIB + head_size(origin))
        pids = running.pids()
        before, began = measure.cpu_ns(pids), time.perf_counter()
        with socket.create_connection(("127.0.0.1", running.job.port), PATIENCE) as sock:
            if self.profile.relay == "connect" and isinstance(lane.proxy, Headgate):
                open_tunnel(sock, origin)
            sock.sendall(REQUEST * count)
            discard(sock, size)
        took = time.perf_counter() - began
        used = measure.cpu_ns(pids) - before
        return Sample(used / 1e6 * 1024 / count, rate=count / 1024 / took)
