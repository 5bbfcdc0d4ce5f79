"""A TCP relay with faults, for tests: put one per address family in front of a server that has only one, or none.

The target is dialled only after the client's first byte: `openssl ocsp`, for one, spins when a connection closes
without a request. What the relay does can be changed while it runs, for connections accepted from then on.

    with Relay(("127.0.0.1", responder_port), host="::1") as relay:
        ...relay.port...
        relay.behaviour = Behaviour.SILENT

`BlackHole` is the network that swallows packets: its backlog is full, so that the kernel drops every SYN.
`bind_same_port` gives both families of one name the same port.
"""

import asyncio
import contextlib
import enum
import random
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headgate.testing.loop_thread import Acceptor, LoopThread

_CHUNK: Final = 64 * 1024
_FILLERS: Final = 8
_LINGER: Final = 5.0
_FIRST_PORT: Final = 20_000
_GIVEN: Final[set[int]] = set()  # by free_port, in this process


class Behaviour(enum.Enum):
    """What a relay does with a connection."""

    RELAY = "pass everything on, both ways"
    SILENT = "read, and never answer"
    TRICKLE = "pass the answer on a few bytes at a time"
    CLOSE = "close as soon as it is accepted"
    CLOSE_AFTER_REQUEST = "read the first bytes, then close"
    RESET_AFTER_REQUEST = "read the first bytes, then reset"
    ANSWER = "read the first bytes, send `answer`, then close"


def _socket_family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind(
    host: str, port: int = 0, kind: socket.SocketKind = socket.SOCK_STREAM, *, reuse: bool | None = None
) -> socket.socket:
    """Return a bound socket that does not listen yet; a given port is taken although old connections linger."""
    reuse = port != 0 if reuse is None else reuse
    sock = socket.socket(_socket_family(host), kind)
    try:
        # Only for a port that the caller wants back. With a port of the kernel's choice SO_REUSEADDR would let two
        # sockets that do not listen yet have the same one, and the second `listen` would fail.
        if kind == socket.SOCK_STREAM and reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bind_same_port(*hosts: str, attempts: int = 50) -> list[socket.socket]:
    """Return one bound stream socket for each of `hosts`, all with the same free port. Raises OSError."""
    for _ in range(attempts):
        socks = [bind(hosts[0])]
        try:
            for host in hosts[1:]:
                socks.append(bind(host, socks[0].getsockname()[1], reuse=False))
        except OSError:
            for sock in socks:
                sock.close()
            continue
        return socks
    raise OSError(f"no port is free on all of {', '.join(hosts)}")


def free_port(*hosts: str) -> int:
    """Return a port that is free now on all of `hosts`, in TCP and UDP, for a server that wants a number.

    It is none that the kernel gives to connections, nor to who asks for port 0, and it was never returned before in
    this process: what happens before the server binds it does not take it. Another process may, one time in
    thousands; for an address that refuses, `Refusing` is safe. Raises OSError."""
    ports = _asked_for_by_number()
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.choice(ports)
        if port in _GIVEN:
            continue
        try:
            with contextlib.ExitStack() as held:
                for host in hosts or ("127.0.0.1",):
                    held.enter_context(bind(host, port, reuse=False))
                    held.enter_context(bind(host, port, socket.SOCK_DGRAM))
        except OSError:
            continue
        _GIVEN.add(port)
        return port
    raise OSError(f"no port is free on all of {', '.join(hosts)}")


def _asked_for_by_number() -> range:
    """Return the ports that only who asks for them by number has; all, where a machine has too few of those."""
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    below = range(_FIRST_PORT, int(text.split()[0]))
    return below if len(below) > 4096 else range(_FIRST_PORT, 65_536)


class Relay:
    """Accepts on `host`, talks to `target` ((host, port); None: never dials). Counts in `accepted` and `dialled`.

    `delay` is waited before the target is dialled (or the answer sent), in seconds; a trickle is `trickle_bytes`
    every `trickle_seconds`. `sock` is a bound socket to use instead of `host` and `port`."""

    def __init__(
        self,
        target: tuple[str, int] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
        behaviour: Behaviour = Behaviour.RELAY,
        delay: float = 0.0,
        trickle_bytes: int = 1,
        trickle_seconds: float = 0.05,
        answer: bytes = b"",
    ) -> None:
        self.target = target
        self.behaviour = behaviour
        self.delay = delay
        self.trickle_bytes = trickle_bytes
        self.trickle_seconds = trickle_seconds
        self.answer = answer
        self.accepted = 0
        self.dialled = 0
        self.requests: list[bytes] = []
        listening = sock or bind(host, port)
        self.host, self.port = listening.getsockname()[:2]
        self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self._thread = LoopThread(f"relay {self.address}")
        self._acceptor = Acceptor(self._thread, listening, self._handle)

    def __repr__(self) -> str:
        return f"<Relay {self.address} to {self.target}: {self.behaviour.name}, {self.accepted} accepted>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut every connection. May be called twice."""
        self._acceptor.close()
        self._thread.stop()

    async def _handle(self, client: socket.socket) -> None:
        self.accepted += 1
        try:
            await self._behave(self.behaviour, client)
        except OSError:
            pass  # One of the two went away: so does the other.

    async def _behave(self, behaviour: Behaviour, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if behaviour is Behaviour.CLOSE:
            return
        first = await loop.sock_recv(client, _CHUNK)
        if not first:
            return
        self.requests.append(first)
        await asyncio.sleep(self.delay)
        if behaviour is Behaviour.RESET_AFTER_REQUEST:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif behaviour in (Behaviour.RELAY, Behaviour.TRICKLE) and self.target is not None:
            await self._join(self.target, first, client, slowly=behaviour is Behaviour.TRICKLE)
        elif behaviour in (Behaviour.ANSWER, Behaviour.TRICKLE):
            await self._send(self.answer, client, slowly=behaviour is Behaviour.TRICKLE)
            client.shutdown(socket.SHUT_WR)
            await self._drain(client)
        elif behaviour in (Behaviour.SILENT, Behaviour.RELAY):
            while await loop.sock_recv(client, _CHUNK):
                pass

    async def _join(
        self, target: tuple[str, int], first: bytes, client: socket.socket, *, slowly: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(_socket_family(target[0]), socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as server:
            await loop.sock_connect(server, target)
            self.dialled += 1
            await loop.sock_sendall(server, first)
            upwards = loop.create_task(self._copy(client, server, slowly=False))
            try:
                await self._copy(server, client, slowly=slowly)
            finally:
                upwards.cancel()
                await asyncio.gather(upwards, return_exceptions=True)

    async def _copy(self, source: socket.socket, sink: socket.socket, *, slowly: bool) -> None:
        while data := await asyncio.get_running_loop().sock_recv(source, _CHUNK):
            await self._send(data, sink, slowly=slowly)
        sink.shutdown(socket.SHUT_WR)

    async def _send(self, data: bytes, sink: socket.socket, *, slowly: bool) -> None:
        loop = asyncio.get_running_loop()
        if not slowly:
            await loop.sock_sendall(sink, data)
            return
        for start in range(0, len(data), self.trickle_bytes):
            await loop.sock_sendall(sink, data[start : start + self.trickle_bytes])
            await asyncio.sleep(self.trickle_seconds)

    async def _drain(self, client: socket.socket) -> None:
        """Read on for a moment: closing with unread bytes would send a reset, which overtakes the answer."""
        try:
            async with asyncio.timeout(_LINGER):
                while await asyncio.get_running_loop().sock_recv(client, _CHUNK):
                    pass
        except TimeoutError:
            pass


class Refusing:
    """An address that refuses every connection: bound, so that nobody else can take it, but not listening."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> None:
        self._bound = sock or bind(host, port)
        self.host, self.port = self._bound.getsockname()[:2]
        self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Refusing {self.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the address back."""
        self._bound.close()


class BlackHole:
    """An address that answers no SYN: connecting to it hangs until the client gives up."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None) -> None:
        self._listening = sock or bind(host, port)
        self.host, self.port = self._listening.getsockname()[:2]
        self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self._listening.listen(0)
        self._fillers: Sequence[socket.socket] = self._fill()

    def __repr__(self) -> str:
        return f"<BlackHole {self.address}>"

    def _fill(self) -> list[socket.socket]:
        """Knock with more connections than the queue of one holds; nobody ever accepts them."""
        fillers = [
            socket.socket(self._listening.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            for _ in range(_FILLERS)
        ]
        for filler in fillers:
            filler.connect_ex((self.host, self.port))
        answered = select.select([], fillers, [], 5.0)[1]
        if not 0 < len(answered) < _FILLERS:
            for sock in (*fillers, self._listening):
                sock.close()
            raise OSError(
                f"{self.address} answered {len(answered)} of {_FILLERS} SYNs: its queue cannot be filled"
            )
        return fillers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the address back; it refuses connections from then on."""
        for sock in (*self._fillers, self._listening):
            sock.close()
