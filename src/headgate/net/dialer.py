"""A connected socket for a host name: Happy Eyeballs version 2 (RFC 8305), for everything that Headgate dials.

Every address of both families is tried inside one deadline, and none of them can eat it. Attempts begin one after
the other, families taking turns: the next begins when the one before fails, or after `attempt_delay` without an
answer while the earlier ones go on; the first that connects wins and the others are closed. With many addresses
and little time the delay shrinks, so that the last attempt begins by half time. `prefer` says which family leads,
nothing more: "auto" leads with IPv6, as the RFC does. When the other family's addresses are known first, the
leading one gets `resolution_delay` to catch up. Addresses in `avoid` come last.

    addresses come in  ->  waiting (by family, avoided apart)  ->  open attempts  ->  one winner | DialError

Each attempt is remembered with address, errno and milliseconds; a failure lists them all. Attempts are bare
descriptors watched by the loop (`attempt.py`), not tasks.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar

from headgate.counters import DIAL_ERRORS, DIAL_FAILED_FIRST, Counters
from headgate.errors import HeadgateError
from headgate.http.fetch import DialAttempt
from headgate.net.addresses import IPV4, IPV6, UNIX, UNIX_PREFIX, Address, Family
from headgate.net.attempt import Attempt
from headgate.net.resolver import Lookup, ResolveError
from headgate.tasks import spawn

Prefer = Literal["auto", "ipv4", "ipv6"]

# RFC 8305 section 8: the recommended delays, and the least that may lie between two attempts.
ATTEMPT_DELAY: Final = 0.25
RESOLUTION_DELAY: Final = 0.05
MIN_ATTEMPT_DELAY: Final = 0.01
# The rest is for connecting, or for saying which nameserver kept us waiting.
RESOLVE_SHARE: Final = 0.95

_FAMILIES: Final[tuple[Family, ...]] = ("ipv4", "ipv6", "unix")
# What an operator should know beside the system's words.
_HINTS: Final[dict[tuple[Family, int], str]] = {
    ("ipv6", errno.EADDRNOTAVAIL): "this host has no IPv6 address to dial from",
    ("ipv6", errno.ENETUNREACH): "this host has no IPv6 route to it",
    ("ipv6", errno.EAFNOSUPPORT): "this host has IPv6 switched off",
    ("ipv4", errno.EADDRNOTAVAIL): "no local address or port is left to dial from",
}
_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)


class DialError(HeadgateError):
    """No connection. `reason` is a stable word: resolve, refused-address, timeout, connect, descriptors.

    `address` and `errno` are of the last attempt, "" and 0 when none was made; `attempts` are all of them."""

    def __init__(self, target: str, reason: str, detail: str, attempts: tuple[DialAttempt, ...] = ()) -> None:
        super().__init__(f"cannot connect to {target}: {detail}")
        self.target = target
        self.reason = reason
        self.detail = detail
        self.attempts = attempts
        self.address = attempts[-1].address if attempts else ""
        self.errno = attempts[-1].errno if attempts else 0


@dataclass(frozen=True, slots=True)
class Dialed:
    """A connected, non-blocking socket that now belongs to the caller, its address, and all attempts."""

    sock: socket.socket
    address: str
    attempts: tuple[DialAttempt, ...]


class Racing(Protocol):
    """An attempt at one address (`attempt.Attempt` is TCP's). It says once, to who made it, how it ended: 0
    connected, else the errno; `problem` has words where no errno has them."""

    address: Address
    text: str
    began: float
    problem: str

    def begin(self) -> None:
        """Start; the end may be told from within."""

    def close(self) -> None:
        """Let go of everything; twice does no harm."""


A = TypeVar("A", bound=Racing)
Ended = Callable[[A, int], None]
# Makes an attempt at an address and a port, which calls back when it has ended.
Make = Callable[[asyncio.AbstractEventLoop, Address, int, Ended[A]], A]


class Dialer:
    """Dials names, IP literals and "unix:/path" with one resolver; `counters` count what failed."""

    def __init__(
        self,
        resolver: Lookup,
        *,
        counters: Counters | None = None,
        prefer: Prefer = "auto",
        attempt_delay: float = ATTEMPT_DELAY,
        resolution_delay: float = RESOLUTION_DELAY,
    ) -> None:
        self._resolver = resolver
        self._counters = counters or Counters()
        self._prefer: Prefer = prefer
        self._attempt_delay = attempt_delay
        self._resolution_delay = resolution_delay

    def known(self, host: str) -> tuple[Address, ...]:
        """Return the addresses of `host` that are at hand, without asking anybody."""
        return self._resolver.known(host)

    async def dial(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
        prefer: Prefer | None = None,
        avoid: frozenset[str] = frozenset(),
        allow: Callable[[str], bool] | None = None,
    ) -> Dialed:
        """Connect to `host` within `timeout` seconds, name look-up and all addresses included.

        `avoid` has addresses as `DialAttempt.address` writes them, to be tried last; `allow(ip)` False removes an
        address before it is dialled. Raises `DialError`."""
        winner, attempts = await self.race(
            Attempt, host, port, timeout=timeout, prefer=prefer, avoid=avoid, allow=allow
        )
        return Dialed(winner.release(), winner.text, attempts)

    async def race(
        self,
        make: Make[A],
        host: str,
        port: int,
        *,
        timeout: float,
        prefer: Prefer | None = None,
        avoid: frozenset[str] = frozenset(),
        allow: Callable[[str], bool] | None = None,
    ) -> tuple[A, tuple[DialAttempt, ...]]:
        """Like `dial`, for attempts of any kind: return the one that won, now the caller's, and all attempts."""
        race = _Race(
            make,
            host,
            port,
            timeout,
            lead=IPV4 if (prefer or self._prefer) == "ipv4" else IPV6,
            avoid=avoid,
            allow=allow,
            attempt_delay=self._attempt_delay,
            resolution_delay=self._resolution_delay,
        )
        try:
            return await race.run(self._resolver)
        finally:
            race.close()
            self._count(race)

    def _count(self, race: "_Race[A]") -> None:
        for family, attempt in race.failures:
            name = (
                "overtaken"
                if attempt.errno == errno.ECANCELED
                else errno.errorcode.get(attempt.errno, "other")
            )
            name = "EMFILE" if name == "ENFILE" else name
            kind = DIAL_ERRORS.index(name if name in DIAL_ERRORS else "other")
            self._counters.values[DIAL_FAILED_FIRST + _FAMILIES.index(family) * len(DIAL_ERRORS) + kind] += 1


class _Race(Generic[A]):
    """One dial. `run` decides when the next attempt begins; answers and connects only note and wake it."""

    def __init__(
        self,
        make: Make[A],
        host: str,
        port: int,
        timeout: float,
        *,
        lead: Family,
        avoid: frozenset[str],
        allow: Callable[[str], bool] | None,
        attempt_delay: float,
        resolution_delay: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.host = host
        self.port = port
        self.failures: list[tuple[Family, DialAttempt]] = []
        self._timeout = timeout
        self._deadline = self.loop.time() + timeout
        self._turn: Family = lead
        self._lead = lead
        self._avoid = avoid
        self._allow = allow
        self._attempt_delay = attempt_delay
        self._resolution_delay = resolution_delay
        self._waiting: dict[Family, deque[Address]] = {"ipv6": deque(), "ipv4": deque(), "unix": deque()}
        self._avoided: deque[Address] = deque()
        self._refused: list[str] = []
        self._seen: set[Address] = set()
        self._make = make
        self._open: list[A] = []
        self._winner: A | None = None
        self._task: asyncio.Task[None] | None = None
        self._resolved = False
        self._lead_known = False
        self._first_known = 0.0
        self._next_start = 0.0
        self._problems: list[str] = []
        self._wake = asyncio.Event()

    async def run(self, resolver: Lookup) -> tuple[A, tuple[DialAttempt, ...]]:
        """Race until one attempt wins. Raises `DialError`."""
        if self.host.startswith(UNIX_PREFIX):
            self._found(UNIX, (Address(UNIX, self.host.removeprefix(UNIX_PREFIX)),))
            self._resolved = True
        else:
            self._task = spawn(f"dial {self.host}", self._resolve(resolver), self._resolve_broke)
        while (now := self.loop.time()) < self._deadline:
            if self._winner is not None:
                return self._result(self._winner)
            if self._may_start(now):
                self._start(now)
            elif self._resolved and not self._open and not self._left():
                raise self._error()
            else:
                await self._sleep(now)
        if self._winner is not None:
            return self._result(self._winner)
        for attempt in self._open[:]:
            self.ended(attempt, errno.ETIMEDOUT)
        raise self._error(timed_out=True)

    def ended(self, attempt: A, number: int) -> None:
        """Take note that an attempt connected (0), failed, or was given up."""
        self._wake.set()
        if attempt in self._open:
            self._open.remove(attempt)
        if number == 0 and self._winner is None:
            self._winner = attempt
            return
        attempt.close()
        # Two may connect in one turn of the loop; the second lost as if it had never answered.
        number = number or errno.ECANCELED
        if number == errno.ECANCELED:
            text = "still waiting when another address answered"
        else:
            text = attempt.problem or _HINTS.get((attempt.address.family, number), os.strerror(number))
        taken = (self.loop.time() - attempt.began) * 1000
        self.failures.append((attempt.address.family, DialAttempt(attempt.text, number, text, taken)))
        # Its failure is the next one's start (RFC 8305 section 5).
        self._next_start = 0.0

    def close(self) -> None:
        """Close whatever did not win; called on every way out, cancellation included."""
        if self._task is not None:
            self._task.cancel()
        for attempt in self._open:
            attempt.close()
        self._open.clear()
        if self._winner is not None:
            self._winner.close()

    # -- names

    async def _resolve(self, resolver: Lookup) -> None:
        try:
            timeout = self._timeout * RESOLVE_SHARE
            self._problems += await resolver.lookup(self.host, self._found, timeout=timeout)
        except ResolveError as error:
            self._problems.append(str(error))
        self._resolved = True
        self._wake.set()

    def _resolve_broke(self, name: str, error: BaseException) -> None:
        self._problems.append(f"the resolver broke: {error!r}")
        self._resolved = True
        self._wake.set()

    def _found(self, family: Family, addresses: tuple[Address, ...]) -> None:
        if not self._first_known and addresses:
            self._first_known = self.loop.time()
        self._lead_known = self._lead_known or family in (self._lead, UNIX)
        for address in addresses:
            if address in self._seen:
                continue
            self._seen.add(address)
            if self._allow is not None and address.family != UNIX and not self._allow(address.host):
                self._refused.append(address.text(self.port))
            elif address.text(self.port) in self._avoid:
                self._avoided.append(address)
            else:
                self._waiting[address.family].append(address)
        self._wake.set()

    # -- when and what to start

    def _left(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._avoided)

    def _held_back(self, now: float) -> bool:
        """Tell whether better addresses may still come: of the leading family, or any that are not avoided."""
        if self._resolved or now >= self._first_known + self._resolution_delay:
            return False
        return not (self._lead_known and any(self._waiting.values()))

    def _may_start(self, now: float) -> bool:
        return self._left() > 0 and not self._held_back(now) and now >= self._next_start

    def _start(self, now: float) -> None:
        attempt = self._make(self.loop, self._take(), self.port, self.ended)
        # At the latest at half time every address has had its start.
        spread = (self._deadline - self._timeout / 2 - now) / max(1, self._left())
        self._next_start = now + max(MIN_ATTEMPT_DELAY, min(self._attempt_delay, spread))
        self._open.append(attempt)
        attempt.begin()

    def _take(self) -> Address:
        for family in (self._turn, IPV6, IPV4, UNIX):
            if self._waiting[family]:
                self._turn = IPV4 if family == IPV6 else IPV6
                return self._waiting[family].popleft()
        return self._avoided.popleft()

    async def _sleep(self, now: float) -> None:
        until = self._deadline
        if self._left() and self._held_back(now):
            until = min(until, self._first_known + self._resolution_delay)
        elif self._left():
            until = min(until, self._next_start)
        self._wake.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass

    # -- how it ended

    def _attempts(self) -> tuple[DialAttempt, ...]:
        return tuple(attempt for _, attempt in self.failures)

    def _result(self, winner: A) -> tuple[A, tuple[DialAttempt, ...]]:
        taken = (self.loop.time() - winner.began) * 1000
        for attempt in self._open[:]:
            self.ended(attempt, errno.ECANCELED)
        self._winner = None
        won = DialAttempt(winner.text, 0, "", taken)
        return winner, (*self._attempts(), won)

    def _error(self, *, timed_out: bool = False) -> DialError:
        target = self.host if self.host.startswith(UNIX_PREFIX) else f"{self.host}:{self.port}"
        attempts = self._attempts()
        parts = [
            f"{a.address} {_errno_name(a.errno)} ({a.error}) after {a.milliseconds:.0f} ms" for a in attempts
        ]
        if left := [address.text(self.port) for queue in self._waiting.values() for address in queue]:
            parts.append("no time left for " + ", ".join(left))
        if self._refused:
            parts.append("not allowed: " + ", ".join(self._refused))
        parts += self._problems
        if timed_out:
            parts.append(f"gave up after {self._timeout:.1f} s")
        return DialError(target, self._reason(attempts, timed_out=timed_out), "; ".join(parts), attempts)

    def _reason(self, attempts: tuple[DialAttempt, ...], *, timed_out: bool) -> str:
        if any(attempt.errno in _DESCRIPTORS for attempt in attempts):
            return "descriptors"
        if attempts:
            return "timeout" if timed_out else "connect"
        return "refused-address" if self._refused else "resolve"


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")
