"""TCP Fast Open in the race for a connection: one address is tried that way, and must answer to win.

    the address that answered last ── SYN with the first bytes ── a byte of the answer: won
                     └─ after `delay`, or when it fails ── the plain race of all addresses (net/dialer) beside it

TLS writes its ClientHello; the race is won by the first byte that comes back, a ServerHello's. A plain request goes
out only once the connection is handed over, so that a `SynTransport` has to see to the rest. Where the kernel has no
cookie yet, its SYN asks for one, and the connect is an ordinary one. `delay` is that of RFC 8305, or twice what the
address took to answer the last plain connect, where that is longer.

Each outcome is counted; an address where it did no good is left alone for ten minutes, which is told.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Callable
from typing import Final

from headgate.counters import FAST_OPEN_FIRST, UPSTREAM_TLS_FAILED
from headgate.errors import TransportError
from headgate.net.addresses import Address
from headgate.net.dialer import ATTEMPT_DELAY, Dialed, Dialer
from headgate.net.fast_open import (
    ACCEPTED,
    COOKIE,
    LEFT_ALONE,
    REFUSED,
    RETRIED,
    UNAVAILABLE,
    FastOpenMemory,
    SynTransport,
    ask,
    connect_now,
    failure,
    has_answered,
    outcome_of,
)
from headgate.net.transport import DONE, WANT_WRITE, Transport
from headgate.tls.transport import TlsTransport
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.health import Tell
from headgate.upstream.readiness import ready

# From a connected socket, and the address that it leads to, to a transport.
Wrap = Callable[[socket.socket, str], Transport]
_SYSCTL: Final = "net.ipv4.tcp_fastopen"


class FastOpen:
    """The Fast Open of one upstream."""

    def __init__(self, dialer: Dialer, memory: FastOpenMemory, values: list[int], tell: Tell) -> None:
        self._dialer = dialer
        self._memory = memory
        self._values = values
        self._tell = tell

    async def connect(self, endpoint: Endpoint, wrap: Wrap, deadline: float) -> Transport:
        """Return a transport that was answered, or a `SynTransport`. Raises `DialError` or `TransportError`."""
        address = self._candidate(endpoint)
        sock = self._socket(endpoint, address) if address is not None else None
        if address is None or sock is None:
            return await self.connect_plainly(endpoint, wrap, deadline)
        attempt = _Attempt(self, endpoint, address, sock, wrap, self._delay(endpoint))
        try:
            return await self._race(attempt, endpoint, wrap, deadline)
        finally:
            attempt.close()

    async def connect_plainly(self, endpoint: Endpoint, wrap: Wrap, deadline: float) -> Transport:
        """Race all addresses without Fast Open; the one that answers is remembered."""
        dialed = await self._dial(endpoint, deadline)
        return wrap(dialed.sock, dialed.address)

    async def _dial(self, endpoint: Endpoint, deadline: float) -> Dialed:
        timeout = max(0.0, deadline - asyncio.get_running_loop().time())
        dialed = await self._dialer.dial(endpoint.host, endpoint.port, timeout=timeout)
        if dialed.sock.family != socket.AF_UNIX:
            seconds = dialed.attempts[-1].milliseconds / 1000 if dialed.attempts else 0.0
            self._memory.answered(endpoint.host, endpoint.port, dialed.address, seconds)
        return dialed

    def _candidate(self, endpoint: Endpoint) -> Address | None:
        now = asyncio.get_running_loop().time()
        known = self._dialer.known(endpoint.host)
        return self._memory.candidate(endpoint.host, endpoint.port, known, now)

    def _socket(self, endpoint: Endpoint, address: Address) -> socket.socket | None:
        """Return a socket that connects with its first write, None when the kernel does not want to."""
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            sock = socket.socket(address.socket_family(), kind)
        except OSError:
            return None  # no descriptor: the plain dial says so
        if ask(sock):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock.close()
        self._values[FAST_OPEN_FIRST + UNAVAILABLE] += 1
        self._memory.switch_off(asyncio.get_running_loop().time())
        self._tell(
            "fast-open-unavailable",
            "warning",
            limit_key="fast-open-unavailable",
            endpoint=endpoint.url,
            reason=f"the kernel has it switched off: bit 0 of {_SYSCTL} is not set",
            next=f"plain connects; looked at again in {LEFT_ALONE:.0f} s",
        )
        return None

    def _delay(self, endpoint: Endpoint) -> float:
        return max(ATTEMPT_DELAY, 2 * self._memory.seconds(endpoint.host, endpoint.port))

    async def _race(self, attempt: _Attempt, endpoint: Endpoint, wrap: Wrap, deadline: float) -> Transport:
        loop = asyncio.get_running_loop()
        fast = loop.create_task(attempt.run())
        plain: asyncio.Task[Dialed] | None = None
        try:
            await asyncio.wait([fast], timeout=max(0.0, min(attempt.delay, deadline - loop.time())))
            if _came(fast):
                return attempt.win()
            plain = loop.create_task(self._dial(endpoint, deadline))
            waiting: set[asyncio.Task[None] | asyncio.Task[Dialed]] = {plain}
            if not fast.done():
                waiting.add(fast)
            while waiting and loop.time() < deadline:
                left = max(0.0, deadline - loop.time())
                _, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if _came(fast):
                    return attempt.win()
                if _came(plain):
                    break
            dialed = await plain  # within the deadline: the dialer has the same
            plain = None
            self.settle(endpoint, attempt.text, RETRIED, _problem(fast, attempt.delay))
            return wrap(dialed.sock, dialed.address)
        finally:
            await _drop(fast, plain)

    def settle(self, endpoint: Endpoint, address: str, outcome: int, detail: str) -> None:
        """Count how a connect came out; where it did no good, leave the address alone and say so."""
        self._values[FAST_OPEN_FIRST + outcome] += 1
        if outcome in (ACCEPTED, COOKIE):
            return
        self._memory.leave_alone(address, asyncio.get_running_loop().time())
        self._tell(
            "fast-open-refused" if outcome == REFUSED else "fast-open-retried",
            limit_key=address,
            endpoint=endpoint.url,
            address=address,
            detail=detail,
            next=f"plain connects to it for {LEFT_ALONE:.0f} s",
        )

    def count(self, counter: int) -> None:
        """Add one to a counter."""
        self._values[counter] += 1


class _Attempt:
    """One socket that connects with its first write. Whoever made it calls `close`, which spares what was won."""

    def __init__(
        self,
        owner: FastOpen,
        endpoint: Endpoint,
        address: Address,
        sock: socket.socket,
        wrap: Wrap,
        delay: float,
    ) -> None:
        self.text = address.text(endpoint.port)
        self.delay = delay
        self._owner = owner
        self._endpoint = endpoint
        self._address = address
        self._sock: socket.socket | None = sock
        self._wrap = wrap
        self._carries = False  # data in its SYN
        self._transport: Transport | None = None
        self._refusal: TransportError | None = None

    async def run(self) -> None:
        """Connect, until it is answered. Raises `TransportError`."""
        sock = self._sock
        if sock is None:
            raise ValueError("the attempt is over")
        number = connect_now(sock, self._address, self._endpoint.port)
        self._carries = number == 0
        if number == errno.EINPROGRESS:
            await ready(sock.fileno(), writing=True)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise failure(self.text, number)
        transport = self._wrap(sock, self.text)
        if isinstance(transport, TlsTransport):
            try:
                await self._first_byte(transport, sock)
            except TransportError as error:
                if not has_answered(sock):
                    raise
                self._refusal = error  # what the origin said is not to be believed: an answer as well
        elif self._carries:
            transport = self._in_the_syn(sock)
        self._transport = transport

    def _in_the_syn(self, sock: socket.socket) -> SynTransport:
        settle = functools.partial(self._owner.settle, self._endpoint, self.text)
        transport = SynTransport(sock, settle, asyncio.get_running_loop(), self.delay)
        transport.peer = self.text
        return transport

    async def _first_byte(self, transport: TlsTransport, sock: socket.socket) -> None:
        """Send the first flight, and wait for a byte of the answer."""
        while (wanted := transport.handshake()) != DONE:
            await ready(sock.fileno(), writing=wanted == WANT_WRITE)
            if self._is_answered(sock):
                return  # what it says is for the handshake to read, once this has won

    def _is_answered(self, sock: socket.socket) -> bool:
        try:
            if sock.recv(1, socket.MSG_PEEK):
                return True
        except BlockingIOError:
            return False
        except OSError as error:
            raise failure(self.text, error.errno or errno.EIO) from error
        raise TransportError("closed-in-handshake", 0, f"{self.text} closed without a byte")

    def win(self) -> Transport:
        """Return what was won, now the caller's. Raises `TransportError` when the answer ended the handshake."""
        transport, self._transport = self._transport, None
        sock, self._sock = self._sock, None
        if transport is None or sock is None:
            raise ValueError("the attempt has not won")
        if not self._carries:
            self._owner.settle(self._endpoint, self.text, COOKIE, "")
        elif isinstance(transport, TlsTransport):
            self._owner.settle(self._endpoint, self.text, *outcome_of(sock))
        refusal = self._refusal
        if refusal is not None:
            transport.close()
            self._owner.count(UPSTREAM_TLS_FAILED)
            raise TransportError(refusal.reason, refusal.errno, f"{self.text}: {refusal.detail}") from refusal
        return transport

    def close(self) -> None:
        """Close what was not won."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def _came(task: asyncio.Task[None] | asyncio.Task[Dialed]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _problem(fast: asyncio.Task[None], delay: float) -> str:
    if fast.done() and not fast.cancelled() and (error := fast.exception()) is not None:
        return str(error)
    return f"no byte came within {delay * 1000:.0f} ms, and a plain connect was answered first"


async def _drop(fast: asyncio.Task[None], plain: asyncio.Task[Dialed] | None) -> None:
    """Let go of what lost, or of everything."""
    tasks: list[asyncio.Task[None] | asyncio.Task[Dialed]] = [fast] if plain is None else [fast, plain]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if plain is not None and _came(plain):
        plain.result().sock.close()
