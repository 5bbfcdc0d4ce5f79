"""A UDP relay with weather, for tests: loss, delay, reordering, duplication, corruption, a narrow road, rebinding.

    with UdpRelay(("127.0.0.1", server_port), seed=7, up=Weather(loss=0.1), down=Weather(delay=0.02)) as relay:
        ...clients send to relay.address...
        relay.rebind(host="127.0.0.2")      # what a NAT does that has forgotten: new ports, perhaps a new address

Each client gets a socket of its own towards the server, as behind a NAT. `up` is the way to the server, `down` the
way back; both may be changed at any time. What becomes of a datagram is drawn from the seed and from how many went
the same way before: the same traffic meets the same fate, whatever the clock does.

One thread does everything. It takes what the kernel joined (UDP_GRO), decides on each datagram by itself, and joins
again what goes on together, so that fair weather costs little. ECN marks pass; `mark` sets CE, as a full router does.
`seen` tells what came by, for tests that look at the wire: versions, sizes, marks, phases of time.
"""

import heapq
import os
import random
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, final

from headgate.net.udp import RECEIVE_BUFFER, Peer, UdpSocket
from headgate.testing.relay import bind

_MAX_SEEN: Final = 200_000
# Enough of a datagram to read a long header and a version negotiation by.
_HEAD: Final = 64
_CE: Final = 3
_NOT_ECT: Final = 0
_JOINED: Final = 48
_UNREAD: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to datagrams that go one way. Chances are of one datagram, times in seconds.

    `reorder`: chance to be `late` seconds behind the others. `rate`: octets a second, 0 unlimited; `queue` octets may
    wait for that, more are lost. `largest`: what is longer is lost in silence, as where a path has a smaller MTU.
    `mark`: chance that an ECN-capable datagram is marked CE. `bleach`: all marks are taken off.
    `gap`: from which datagram to which, counted from 0 and from the relay's start, all are lost for certain.
    """

    loss: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    late: float = 0.02
    duplicate: float = 0.0
    corrupt: float = 0.0
    mark: float = 0.0
    bleach: bool = False
    rate: float = 0.0
    queue: int = 64 * 1024
    largest: int = 65_535
    gap: tuple[int, int] = (0, 0)


CLEAR: Final = Weather()


@dataclass(frozen=True, slots=True)
class Seen:
    """A datagram that came by. `fate` is "passed", "lost", "corrupted" or "twice"; `at` is monotonic time.

    `source` is the port that the server sees it come from, or is to send it to: it changes by rebinding.
    """

    at: float
    is_up: bool
    head: bytes
    size: int
    ecn: int
    fate: str
    source: int


@final
class _Way:
    """One direction: its weather, its luck, its road."""

    __slots__ = ("count", "free_at", "luck", "weather")

    def __init__(self, weather: Weather, seed: int) -> None:
        self.weather = weather
        self.luck = random.Random(seed)
        self.count = 0
        self.free_at = 0.0


def _bound(host: str) -> UdpSocket:
    sock = bind(host, kind=socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return UdpSocket(sock)


def _port(udp: UdpSocket) -> int:
    with socket.socket(fileno=os.dup(udp.fileno())) as other:
        return int(other.getsockname()[1])


@final
class _Flow:
    """One client, and the socket that stands for it at the server."""

    __slots__ = ("client", "port", "udp")

    def __init__(self, client: Peer, host: str) -> None:
        self.client = client
        self.bind(host)

    def bind(self, host: str) -> None:
        self.udp = _bound(host)
        self.port = _port(self.udp)


# When, in which order, whether up, whose, what, and its mark.
_Waiting = tuple[float, int, bool, _Flow, bytes, int]


@final
class UdpRelay:
    """Listens on a port of `host`, sends to `target` from `from_host` (default: `host`).

    `keep`: how many octets of each datagram `seen` has."""

    def __init__(
        self,
        target: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        from_host: str = "",
        seed: int = 1,
        keep: int = _HEAD,
        up: Weather = CLEAR,
        down: Weather = CLEAR,
    ) -> None:
        self.target = target
        self.seen: list[Seen] = []
        self.lost = 0
        self.passed = 0
        self._from_host = from_host or host
        self._keep = keep
        self._ways = {True: _Way(up, seed), False: _Way(down, seed + 1_000_003)}
        self._front = _bound(host)
        self.address: Final = (host, _port(self._front))
        self._flows: dict[Peer, _Flow] = {}
        self._waiting: list[_Waiting] = []
        self._order = 0
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front.fileno(), selectors.EVENT_READ, None)
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._woken)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"udp relay {self.address}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<UdpRelay {self.address} to {self.target}: {self.passed} passed, {self.lost} lost>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and close everything; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake.send(b"x")
        self._thread.join(10.0)
        for flow in self._flows.values():
            flow.udp.close()
        self._front.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    @property
    def up(self) -> Weather:
        """The weather on the way to the server."""
        return self._ways[True].weather

    @up.setter
    def up(self, weather: Weather) -> None:
        self._ways[True].weather = weather

    @property
    def down(self) -> Weather:
        """The weather on the way to the clients."""
        return self._ways[False].weather

    @down.setter
    def down(self, weather: Weather) -> None:
        self._ways[False].weather = weather

    def rebind(self, *, host: str = "") -> None:
        """Give every client a new port towards the server, and with `host` a new address.

        What the server still sends to the old ones is lost.
        """
        with self._lock:
            self._from_host = host or self._from_host
            for flow in self._flows.values():
                self._selector.unregister(flow.udp.fileno())
                old = flow.udp
                flow.bind(self._from_host)
                old.close()
                self._selector.register(flow.udp.fileno(), selectors.EVENT_READ, flow)

    def sources(self) -> list[int]:
        """Return the ports that the server saw clients come from, in the order of their first datagrams."""
        return list(dict.fromkeys(seen.source for seen in list(self.seen) if seen.is_up))

    def octets(self, *, is_up: bool) -> int:
        """Return how much came that way, before the weather."""
        return sum(seen.size for seen in list(self.seen) if seen.is_up is is_up)

    # The thread

    def _run(self) -> None:
        while not self._is_closed:
            timeout = max(self._waiting[0][0] - time.monotonic(), 0.0) if self._waiting else None
            ready = self._selector.select(timeout)
            with self._lock:
                for key, _ in ready:
                    if key.data is None:
                        self._read_front()
                    elif isinstance(key.data, _Flow):
                        self._read_flow(key.data)
                    else:
                        self._woken.recv(16)
                self._send_due(time.monotonic())

    def _read_front(self) -> None:
        for _ in range(_UNREAD):
            size = self._front.receive(self._buffer)
            if size < 0:
                return
            flow = self._flows.get(self._front.peer)
            if flow is None:
                flow = _Flow(self._front.peer, self._from_host)
                self._flows[flow.client] = flow
                self._selector.register(flow.udp.fileno(), selectors.EVENT_READ, flow)
            self._take(flow, self._front, size, is_up=True)

    def _read_flow(self, flow: _Flow) -> None:
        for _ in range(_UNREAD):
            size = flow.udp.receive(self._buffer)
            if size < 0:
                return
            self._take(flow, flow.udp, size, is_up=False)

    def _take(self, flow: _Flow, udp: UdpSocket, size: int, *, is_up: bool) -> None:
        now = time.monotonic()
        step = udp.segment or 1
        for at in range(0, max(size, 1), step):
            self._decide(flow, bytes(self._buffer[at : min(at + step, size)]), udp.ecn, now, is_up=is_up)

    def _decide(self, flow: _Flow, data: bytes, ecn: int, now: float, *, is_up: bool) -> None:
        """Draw what becomes of a datagram; always the same number of draws, so that chances stay independent."""
        way = self._ways[is_up]
        weather = way.weather
        luck = way.luck
        loss, late, twice, broken, mark = (luck.random() for _ in range(5))
        place = luck.random()
        is_in_gap = weather.gap[0] <= way.count < weather.gap[1]
        way.count += 1
        fate = "passed"
        due = self._road(way, len(data), now)
        if is_in_gap or loss < weather.loss or len(data) > weather.largest or due < 0:
            fate = "lost"
            self.lost += 1
        elif broken < weather.corrupt and data:
            fate = "corrupted"
            bit = int(place * len(data) * 8)
            data = data[: bit >> 3] + bytes((data[bit >> 3] ^ 1 << (bit & 7),)) + data[(bit >> 3) + 1 :]
        elif twice < weather.duplicate:
            fate = "twice"
        if len(self.seen) < _MAX_SEEN:
            self.seen.append(Seen(now, is_up, data[: self._keep], len(data), ecn, fate, flow.port))
        if fate == "lost":
            return
        if weather.bleach:
            ecn = _NOT_ECT
        elif ecn and mark < weather.mark:
            ecn = _CE
        if late < weather.reorder:
            due += weather.late
        for _ in range(2 if fate == "twice" else 1):
            self.passed += 1
            self._order += 1
            heapq.heappush(self._waiting, (due, self._order, is_up, flow, data, ecn))

    def _road(self, way: _Way, size: int, now: float) -> float:
        """Return when a datagram is through the narrow road and the delay, -1 where its queue is full."""
        weather = way.weather
        if weather.rate:
            way.free_at = max(way.free_at, now)
            if (way.free_at - now) * weather.rate > weather.queue:
                return -1.0
            way.free_at += size / weather.rate
            now = way.free_at
        return now + weather.delay

    def _send_due(self, now: float) -> None:
        """Send what is due; neighbours of one size that go the same way go together."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            _, _, is_up, flow, data, ecn = heapq.heappop(waiting)
            pieces = [data]
            segment = len(data)
            while waiting and waiting[0][0] <= now and segment and len(pieces) < _JOINED:
                _, _, other_up, other, piece, mark = waiting[0]
                if other is not flow or other_up is not is_up or mark != ecn or len(piece) > segment:
                    break
                heapq.heappop(waiting)
                pieces.append(piece)
                if len(piece) < segment:
                    break
            self._transmit(flow, b"".join(pieces), segment, ecn, is_up=is_up)

    def _transmit(self, flow: _Flow, data: bytes, segment: int, ecn: int, *, is_up: bool) -> None:
        """Send a run; a socket that takes no more now loses the rest, as a router does."""
        if is_up:
            flow.udp.send(memoryview(data), max(segment, 1), self.target, b"", ecn)
        else:
            self._front.send(memoryview(data), max(segment, 1), flow.client, b"", ecn)
