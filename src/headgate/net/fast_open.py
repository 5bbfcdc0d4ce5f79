"""TCP Fast Open towards origins (RFC 7413): the first bytes go in the SYN, which saves a round trip.

Linux does the work: with TCP_FASTOPEN_CONNECT, `connect` sends nothing where the kernel has the server's cookie, and
the first write becomes the data of the SYN; where it has none, an ordinary SYN goes out that asks for one. So such a
socket "connects" at once whoever is there, and a SYN with data may come twice, or be eaten by a middlebox. Hence:

    only towards an address that answered before and that the name still has (`FastOpenMemory`);
    only what may arrive twice: a ClientHello, or a request with a safe method (`SynTransport`);
    such a socket has won nothing before it is answered: `upstream/fast_open` has a plain connect beside it;
    an address where it did no good is left alone for a while.

Nothing of this is on the way of a socket that was not asked for it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Final, Protocol, final

from headgate.clock import Timer
from headgate.errors import TransportError
from headgate.net.addresses import Address
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport

# linux/tcp.h; Python 3.11's socket module has no name for it.
_FASTOPEN_CONNECT: Final = 30
_SYN_SENT: Final = 2
# In `tcpi_options` of struct tcp_info: the SYN's data was acknowledged with it.
_SYN_DATA: Final = 32
# `tcpi_bytes_received`, since Linux 4.1.
_RECEIVED: Final = 128
_INFO_SIZE: Final = 136

# How such a connect came out.
ACCEPTED: Final = 0  # the data in the SYN was taken
COOKIE: Final = 1  # a SYN without data asked for a cookie
REFUSED: Final = 2  # connected, and the data had to be sent again
RETRIED: Final = 3  # a plain connect took its place
UNAVAILABLE: Final = 4  # the kernel has it switched off
OUTCOMES: Final = ("accepted", "cookie", "refused", "retried", "unavailable")

# Hosts and ports whose last address is remembered in a worker, and addresses that are left alone.
MAX_PLACES: Final = 1024
# A server that lost its cookies has new ones at once, a middlebox stays. Linux waits an hour after a black hole.
LEFT_ALONE: Final = 600.0


class Timers(Protocol):
    """The event loop's clock."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


def ask(sock: socket.socket) -> bool:
    """Let a socket connect with its first write; False: the kernel has no Fast Open, or has it switched off."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_CONNECT, 1)
    except OSError:
        return False
    return True


def is_waiting(sock: socket.socket) -> bool:
    """Tell whether a connect has not been answered yet."""
    return _info(sock)[0] == _SYN_SENT


def is_data_taken(sock: socket.socket) -> bool:
    """Tell whether the server acknowledged the data of the SYN together with it."""
    return _info(sock)[5] & _SYN_DATA != 0


def outcome_of(sock: socket.socket) -> tuple[int, str]:
    """Return how data in a SYN that was answered came out, and in words what is wrong with that."""
    return (ACCEPTED, "") if is_data_taken(sock) else (REFUSED, "the data of the SYN had to be sent again")


def has_answered(sock: socket.socket) -> bool:
    """Tell whether bytes have come, read or not; an end of the stream counts as one."""
    return int.from_bytes(_info(sock)[_RECEIVED : _RECEIVED + 8], sys.byteorder) > 1


def _info(sock: socket.socket) -> bytes:
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE).ljust(_INFO_SIZE, b"\0")
    except OSError:
        return bytes(_INFO_SIZE)


@final
class FastOpenMemory:
    """What one worker remembers: which address of a host answered last, and which are left alone until when.

    Bounded; the one that was longest not heard of is forgotten."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, int], tuple[str, float]] = {}
        self._left_alone: dict[str, float] = {}
        self._off_until = 0.0

    def __repr__(self) -> str:
        return f"<FastOpenMemory {len(self._answered)} answered, {len(self._left_alone)} left alone>"

    def answered(self, host: str, port: int, address: str, seconds: float) -> None:
        """An address, as `Address.text` writes it, took so long to answer a connect."""
        self._answered.pop((host, port), None)
        self._answered[host, port] = (address, seconds)
        if len(self._answered) > MAX_PLACES:
            del self._answered[next(iter(self._answered))]

    def candidate(self, host: str, port: int, known: tuple[Address, ...], now: float) -> Address | None:
        """Return the address that answered last, if it is among those that the name has now and may be tried."""
        if now < self._off_until:
            return None
        last = self._answered.get((host, port))
        if last is None or self._left_alone.get(last[0], 0.0) > now:
            return None
        return next((one for one in known if one.text(port) == last[0]), None)

    def seconds(self, host: str, port: int) -> float:
        """Return how long that address took to answer."""
        last = self._answered.get((host, port))
        return last[1] if last is not None else 0.0

    def leave_alone(self, address: str, now: float) -> None:
        """Dial an address plainly for a while."""
        self._left_alone.pop(address, None)
        self._left_alone[address] = now + LEFT_ALONE
        if len(self._left_alone) > MAX_PLACES:
            del self._left_alone[next(iter(self._left_alone))]

    def switch_off(self, now: float) -> None:
        """The kernel refuses: dial everybody plainly for a while."""
        self._off_until = now + LEFT_ALONE


@final
class SynTransport(Transport):
    """A plain socket that connects with its first write, which must be one that may arrive twice.

    `ended(outcome, detail)` is told once. When the SYN is not answered `delay` seconds after the first write, or the
    connection ends before a byte has come, the transport is broken with the reason "closed": whoever uses it sends
    the request again, on a connection that was dialled plainly.
    """

    def __init__(
        self, sock: socket.socket, ended: Callable[[int, str], None], timers: Timers, delay: float
    ) -> None:
        self.early = True
        self._sock = sock
        self._tcp = TcpTransport(sock)
        self._ended = ended
        self._timers = timers
        self._delay = delay
        self._timer: Timer | None = None
        self._has_begun = False
        self._is_over = False
        self._problem = ""

    def __repr__(self) -> str:
        return f"<SynTransport {self._tcp!r}>"

    def fileno(self) -> int:
        return self._tcp.fileno()

    def read(self, limit: int) -> bytes | None:
        if self._is_over:
            return self._tcp.read(limit)
        if self._problem:
            raise TransportError("closed", errno.ETIMEDOUT, self._problem)
        try:
            data = self._tcp.read(limit)
        except TransportError as error:
            self._over(RETRIED, error.detail)
            raise TransportError("closed", error.errno, error.detail) from error
        if data is not None:
            outcome, detail = outcome_of(self._sock) if data else (RETRIED, "it ended without a byte")
            self._over(outcome, detail)
        return data

    def write(self, data: bytes) -> int:
        if not self._has_begun:
            self._has_begun = True
            self._timer = self._timers.call_at(self._timers.time() + self._delay, self._late)
        return self._tcp.write(data)

    def _late(self) -> None:
        """Give up a SYN that nobody answers: it is as if the connection had been closed, for whoever waits too."""
        self._timer = None
        if not self._is_over and is_waiting(self._sock):
            self._problem = f"a SYN with data was not answered within {self._delay * 1000:.0f} ms"
            self._ended(RETRIED, self._problem)
            self._tcp.shutdown()  # which wakes whoever reads

    def _over(self, outcome: int, detail: str) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ended(outcome, detail)

    def shutdown(self) -> None:
        self._tcp.shutdown()

    def reset_on_close(self) -> None:
        self._tcp.reset_on_close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tcp.close()


def connect_now(sock: socket.socket, address: Address, port: int) -> int:
    """Begin a connect: 0 (with the first write), EINPROGRESS (a SYN is under way), or what is wrong."""
    try:
        return sock.connect_ex(address.socket_address(port))
    except (OSError, ValueError, OverflowError) as error:
        return getattr(error, "errno", None) or errno.EINVAL


def failure(address: str, number: int) -> TransportError:
    """Return the error for a connect that failed."""
    name = errno.errorcode.get(number, str(number))
    return TransportError(name.lower(), number, f"{address} {name} ({os.strerror(number)})")
