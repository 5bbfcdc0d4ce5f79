"""A connected UDP socket with one QUIC connection on it: the client's side, towards an origin.

The kernel filters what other addresses send, and tells when nobody listens there (ICMP): then the connection ends at
once instead of being repeated into the void. One timer of the event loop per socket; it is moved only when a deadline
comes nearer, and looks again when it rings too early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from headgate.connection.quic_driver import NEVER, DriverOwner, QuicDriver
from headgate.connection.quic_upstream import QuicUpstream
from headgate.counters import UPSTREAM_READ, UPSTREAM_WRITTEN
from headgate.engine.quic.closing import State
from headgate.engine.quic.path import Batch
from headgate.errors import TransportError
from headgate.net.poller import READ, WRITE, Pollable, Poller
from headgate.net.udp import UdpSocket

# Full batches read for one wake-up, and one that is not: others have their turn then (CVE-2026-11352, curl).
MAX_READS: Final = 16
# A batch as large as this is one of several.
FULL: Final = 16 * 1024


class Timer(Protocol):
    """What `Timers.call_at` returns."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """The event loop's clock: `time` is the poller's, monotonic."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


@final
class QuicSocket(Pollable):
    """Takes over a connected socket; `begin` starts with a driver that has this as its owner's socket."""

    def __init__(
        self,
        sock: UdpSocket,
        poller: Poller,
        timers: Timers,
        buffer: bytearray,
        values: list[int],
    ) -> None:
        self.poller = poller
        self.error: TransportError | None = None  # what the network said
        self.owner = SocketOwner(self)
        self._sock = sock
        self._fd = sock.fileno()
        self._timers = timers
        self._buffer = buffer
        self._values = values
        self._driver: QuicUpstream | None = None
        self._interest = READ
        self._pending: Batch | None = None  # what the socket did not take yet
        self._pending_at = 0
        self._is_deferred = False
        self._timer: Timer | None = None
        self._timer_at: float = NEVER

    def __repr__(self) -> str:
        return f"<QuicSocket {self._sock!r} {self._driver!r}>"

    def begin(self, driver: QuicUpstream) -> None:
        """Send what the connection begins with. Raises `OSError` when the kernel watches no more descriptors."""
        self._driver = driver
        self.poller.add(self._fd, self, READ)
        self.write_deferred()

    # -- being woken

    def on_readable(self) -> None:
        driver = self._driver
        if driver is None:
            return
        for _ in range(MAX_READS):
            try:
                size = self._sock.receive(self._buffer)
            except TransportError as error:
                self._broken(error)
                return
            if size < 0:
                return
            self._values[UPSTREAM_READ] += size
            if size > 0:
                # Always on the one path that the socket is connected to: what it says of addresses is no news.
                data = bytes(memoryview(self._buffer)[:size])
                driver.receive(
                    data, self._sock.segment, driver.quic.path.peer, driver.quic.path.local, self._sock.ecn
                )
            if size < FULL or self._fd < 0:
                return  # most likely all there was: to ask costs a call, and the poller tells if it was not

    def _broken(self, error: TransportError) -> None:
        """Nobody listens there, or the way is gone: what was under way fails now."""
        self.error = error
        driver = self._driver
        if driver is not None and not driver.closed:
            driver.network_failed("closed", f"{error.detail} ({error.reason})")
        self.close()

    def on_writable(self) -> None:
        self._want(READ)
        self._transmit()

    def touched(self) -> None:
        """There may be something to send: at the end of the round, with what else comes to be said in it."""
        driver = self._driver
        if driver is not None and driver.closed and not self.poller.in_round:
            self._transmit()  # the last word: the loop may not come round any more
        elif not self._is_deferred:
            self._is_deferred = True
            if self.poller.in_round:
                self.poller.defer(self)
            else:
                self._arm(self._timers.time())

    def write_deferred(self) -> None:
        self._is_deferred = False
        self._transmit()

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        driver = self._driver
        if driver is None or self._fd < 0:
            return
        now = max(self._timers.time(), self.poller.now)
        self.poller.now = now
        self._is_deferred = True  # all is said at the end
        try:
            if now >= driver.quic.deadline():
                driver.on_timer()
            driver.keep_alive(now)
            driver.advance()
            self.write_deferred()
        except Exception as error:
            self.on_crash(error)

    # -- sending

    def _transmit(self) -> None:
        driver = self._driver
        if driver is None or self._fd < 0:
            return
        quic = driver.quic
        now = self.poller.now
        if self._pending is None:
            self._pending = quic.take_batch(now)
            self._pending_at = 0
        while self._pending is not None:
            batch = self._pending
            data = memoryview(batch.data)[self._pending_at :]
            done = self._sock.send(data, batch.segment, None, b"", batch.ecn)
            self._values[UPSTREAM_WRITTEN] += done
            if done < len(data):
                self._pending_at += done
                self._want(READ | WRITE)
                break
            self._pending = quic.take_batch(now)
            self._pending_at = 0
        if driver.closed or quic.state is not State.OPEN:
            # Nobody waits here for what a closing connection would repeat: the closed port says as much.
            if not driver.closed:
                driver.advance()
            self.close()
            return
        self._arm(min(quic.deadline(), driver.ping_at))

    def _want(self, interest: int) -> None:
        if interest != self._interest and self._fd >= 0:
            self._interest = interest
            self.poller.change(self._fd, interest)

    def _arm(self, at: float) -> None:
        if at >= self._timer_at or at == NEVER or self._fd < 0:
            return  # the timer rings before that, and looks again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._timers.call_at(at, self._on_timer)

    # -- ends

    def on_crash(self, error: Exception) -> None:
        driver = self._driver
        if driver is not None:
            driver.pool.crashed("upstream", error)
            driver.network_failed("internal", repr(error))
        self.close()

    def close(self) -> None:
        """Close the socket at once; may be called twice."""
        if self._fd >= 0:
            if self._driver is not None:
                self.poller.forget(self._fd)
                self._driver = None  # they refer to each other: nothing shall wait for the collector
            self._fd = -1
            self._sock.close()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


@final
class SocketOwner(DriverOwner):
    """What the driver knows of its socket."""

    def __init__(self, socket: QuicSocket) -> None:
        self._socket = socket

    def touched(self, driver: QuicDriver) -> None:
        self._socket.touched()
