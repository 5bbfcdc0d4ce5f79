"""The client's end of a tunnel to a stream of HTTP/2 (`proxy/lane_tunnel`): its lane, or a socket that has left
HTTP/1.1 and is read and written octet by octet."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from mypy_extensions import trait

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange, Handler
from headgate.connection.stream_driver import StreamDriver
from headgate.counters import DOWNSTREAM_READ, DOWNSTREAM_WRITTEN
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.net.poller import READ, WRITE

if TYPE_CHECKING:
    from headgate.proxy.lane_tunnel import LaneTunnel


@trait
class ClientEnd:
    """The client's side of the tunnel."""

    def pass_on(self, data: bytes) -> bool:
        """Take octets of the origin; False: no more for now."""
        raise NotImplementedError

    def pass_end(self) -> None:
        """The origin has said all it has to say."""
        raise NotImplementedError

    def resume_client(self) -> None:
        """Read from the client again."""
        raise NotImplementedError

    def pause_client(self) -> None:
        """The origin takes no more for now."""
        raise NotImplementedError

    def waiting(self) -> int:
        """Return how many octets wait for the client."""
        raise NotImplementedError

    def wait_until(self, when: float) -> None:
        """Say `idle-timeout` at this loop time."""
        raise NotImplementedError

    def finish_client(self, reason: str) -> None:
        """End this side; `reason` "" is a proper end."""
        raise NotImplementedError


@final
class ClientLane(Handler, ClientEnd):
    """A client of HTTP/2 or HTTP/3."""

    def __init__(self, tunnel: LaneTunnel, exchange: Exchange, lane: DownstreamLane) -> None:
        self.tunnel = tunnel
        self.exchange = exchange
        self.lane = lane

    def pass_on(self, data: bytes) -> bool:
        self.lane.write(data)
        return self.lane.flush()

    def pass_end(self) -> None:
        self.lane.finish(None)
        self.lane.flush()

    def resume_client(self) -> None:
        self.exchange.accepting = True
        self.lane.resume()

    def pause_client(self) -> None:
        self.exchange.accepting = False

    def waiting(self) -> int:
        return 0  # its connection's

    def wait_until(self, when: float) -> None:
        self.lane.wait_until(when)

    def finish_client(self, reason: str) -> None:
        self.exchange.handler = None
        if reason:
            self.lane.abort(reason)
        else:
            self.lane.finish(None)
            self.lane.flush()

    # -- what the lane tells

    def handle(self, exchange: Exchange) -> None:
        return

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        if not self.tunnel.from_client(data):
            self.pause_client()

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        self.tunnel.client_end()

    def downstream_drained(self, exchange: Exchange) -> None:
        self.tunnel.client_drained()

    def downstream_closed(self, exchange: Exchange) -> None:
        self.tunnel.let_go()


@final
class ClientSocket(StreamDriver, ClientEnd):
    """A client whose connection has left HTTP/1.1: takes over the descriptor of its driver."""

    def __init__(self, tunnel: LaneTunnel, driver: DownstreamConnection) -> None:
        super().__init__(driver.transport, driver.poller)
        self.tunnel = tunnel
        self.driver: DownstreamConnection | None = driver
        self.values = driver.values
        self.ended = False
        self._is_shut = False  # once all that waits is written
        self._fd = driver._fd
        self._parked = driver._parked
        self._unsent = driver._unsent
        self._unsent_at = driver._unsent_at
        driver._unsent = b""  # held here from now on, and counted once
        driver._unsent_at = 0
        self._interest = -1
        if not self._parked:
            self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)

    # -- towards the client

    def pass_on(self, data: bytes) -> bool:
        driver = self.driver
        if driver is None:
            return True
        if driver.exchange is not None:
            driver.exchange.bytes_out += len(data)
        self.values[DOWNSTREAM_WRITTEN] += len(data)
        try:
            return self._write(data)
        except TransportError as error:
            self.tunnel.close(error.reason)
            return True

    def pass_end(self) -> None:
        self._is_shut = True
        if self.unsent == 0:
            self.transport.shutdown()

    def waiting(self) -> int:
        return self.unsent

    def wait_until(self, when: float) -> None:
        if self.driver is not None:
            self.driver.deadline = (
                when  # the sweep looks at the connection, whoever the descriptor belongs to
            )

    def resume_client(self) -> None:
        if not self.ended:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()

    def pause_client(self) -> None:
        self.pause_reading()

    def finish_client(self, reason: str) -> None:
        driver, self.driver = self.driver, None
        if driver is None:
            return
        exchange = driver.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
        if reason:
            self.transport.reset_on_close()
        self._unsent = b""
        self._unsent_at = 0
        self.closed = True
        driver.close()  # the same transport

    # -- being woken

    def on_readable(self) -> None:
        while self.tunnel.is_open and self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and pass it on; tell whether bytes are left that no readiness will announce."""
        tunnel = self.tunnel
        if self._interest & READ == 0:
            if self.ended:
                tunnel.close("hung-up")
            else:
                self.park()  # what it sent before is read when the origin takes it
            return False
        try:
            data = self._read()
        except TransportError as error:
            tunnel.close(error.reason)
            return False
        if data is None:
            return False
        if not data:
            self.ended = True
            self.pause_reading()
            tunnel.client_end()
            return False
        driver = self.driver
        if driver is not None and driver.exchange is not None:
            driver.exchange.bytes_in += len(data)
        self.values[DOWNSTREAM_READ] += len(data)
        if tunnel.from_client(data):
            return tunnel.is_open and self.transport.pending()
        self.pause_reading()
        return False

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self.tunnel.close(error.reason)
            return
        if not done:
            return
        if self._is_shut:
            self.transport.shutdown()
            self.tunnel.end_if_over()
        else:
            self.tunnel.client_drained()

    def on_crash(self, error: Exception) -> None:
        if self.driver is not None:
            self.driver.observer.crashed("tunnel", error)
        self.tunnel.close("internal")

    def on_deadline(self, now: float) -> None:
        self.tunnel.close("idle-timeout")

    def _write_failed(self, error: TransportError) -> None:
        self.tunnel.close(error.reason)

    def _stalled_late(self) -> None:
        self.tunnel.lane.pause_reading()
