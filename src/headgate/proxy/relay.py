"""A relay: octets from one transport to another and back, without looking at them.

What a tunnel (RFC 9110 sections 7.8 and 9.3.6) and a listener of mode "tcp" are made of. Two halves, each woken by
its own descriptor. A half reads once and writes to the other; what the other does not take waits there, and reading
stops until it is gone, so a relay holds at most one read, or one pipe, for each direction. An end in one direction is
passed on. The relay is over when both have ended or when either breaks; then both sides are reset, for a plain end
would say that this was all. How long both may be silent is the owner's to decide: it hears of everything that moves.

Where both sides are plain sockets and much data comes (a read of `BULK` octets), the kernel moves it (net/pipe): a
half then splices up to `MAX_SPLICES` times for each wake-up, and what the other side does not take waits in the pipe.
A direction that brings little again is read and written as before: a pipe is worth its calls for much data only.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.connection.stream_driver import READ_MIN, StreamDriver
from headgate.counters import (
    DOWNSTREAM_READ,
    DOWNSTREAM_WRITTEN,
    RELAY_SPLICED,
    UPSTREAM_READ,
    UPSTREAM_WRITTEN,
)
from headgate.errors import TransportError
from headgate.net.pipe import ENDED, NOTHING, PIPES, Pipe
from headgate.net.poller import READ, WRITE, Poller
from headgate.net.tcp import TcpTransport, broken
from headgate.net.transport import Transport

# A read of so much says that a direction is busy: a smaller one is cheaper read and written.
BULK: Final = READ_MIN
# Splices of one wake-up, a mebibyte each at most: others want their turn.
MAX_SPLICES: Final = 2


@mypyc_attr(allow_interpreted_subclasses=True)
class RelayOwner:
    """Who relays: hears what becomes of it."""

    def relay_moved(self) -> None:
        """Octets moved, in either direction: the silence begins anew."""
        raise NotImplementedError

    def relay_over(self, reason: str) -> None:
        """Both sides are closed after this call; `reason` "" is a proper end of both directions."""
        raise NotImplementedError

    def relay_crashed(self, error: Exception) -> None:
        """A defect of ours; `relay_over` follows with "internal"."""
        raise NotImplementedError


@final
class RelayHalf(StreamDriver):
    """One side. `moved` counts what was read from it, `unsent` what waits for it.

    With a `driver` it takes over the descriptor of one that stops being one, and what that has not sent yet; without
    one, a transport that nobody polls.
    """

    def __init__(self, transport: Transport, poller: Poller, driver: StreamDriver | None = None) -> None:
        super().__init__(transport, poller)
        self.relay: Relay | None = None
        self.other: RelayHalf | None = None
        self.ended = False
        self.moved = 0
        self.read_counter = 0
        self.write_counter = 0
        self._driver = driver
        self._pipe: Pipe | None = None  # with octets for this side
        self._bulk = False
        if driver is not None:
            self._fd = driver._fd
            self._parked = driver._parked
            self._unsent = driver._unsent
            self._unsent_at = driver._unsent_at
            driver._unsent = b""  # held here from now on, and counted once
            driver._unsent_at = 0

    @property
    def held(self) -> int:
        """Octets that wait for this side."""
        pipe = self._pipe
        return self.unsent if pipe is None else self.unsent + pipe.held

    def begin(self, relay: Relay, other: RelayHalf) -> None:
        """Be woken from now on. Raises `OSError` when the kernel has no place for one more watch."""
        self.relay = relay
        self.other = other
        if self._driver is None:
            self.watch(READ)
            return
        self._interest = -1
        if not self._parked:
            self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)

    def end(self) -> None:
        """Close this side, and let go of everything: halves and relay refer to each other."""
        self.relay = None
        self.other = None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            PIPES.give_back(pipe)
        self._unsent = b""
        self._unsent_at = 0
        driver, self._driver = self._driver, None
        if driver is not None:
            self.closed = True
            driver.close()  # the same transport
        else:
            self.close_transport()

    # -- being woken

    def on_readable(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Move what is there; tell whether octets are left that no readiness will announce."""
        relay = self.relay
        other = self.other
        if relay is None or other is None:
            return False
        if self._interest & READ == 0:
            self._hung_up(relay)
            return False
        try:
            if self._bulk and relay.splices:
                pipe = PIPES.take()
                if pipe is not None:
                    self._splice(relay, other, pipe)
                    return False
            data = self._read()
            if data is None:
                return False
            if data:
                self._moved(relay, len(data))
                self._bulk = len(data) >= BULK
                if not other._write(data):
                    self.pause_reading()
                    return False
                return self.transport.pending()
        except TransportError as error:
            relay.close(error.reason)
            return False
        self._read_end(relay, other)
        return False

    def _moved(self, relay: Relay, size: int) -> None:
        self.moved += size
        values = relay.values
        values[self.read_counter] += size
        values[self.write_counter] += size
        relay.owner.relay_moved()

    def _read_end(self, relay: Relay, other: RelayHalf) -> None:
        self.ended = True
        self.pause_reading()
        if other.held == 0:
            other.transport.shutdown()
        relay.end_if_over()

    def _hung_up(self, relay: Relay) -> None:
        """The peer is gone for good, and nobody wants to read here."""
        if self.ended:
            relay.close("hung-up")  # nothing can be sent to it any more, and nothing more comes from it
        else:
            self.park()  # what it sent before is read when the other side takes it

    def on_writable(self) -> None:
        relay = self.relay
        other = self.other
        if relay is None or other is None:
            return
        try:
            done = self._drain(relay) if self._pipe is not None else self._write_unsent()
        except TransportError as error:
            relay.close(error.reason)
            return
        relay.owner.relay_moved()
        if not done:
            return
        if other.ended:
            self.transport.shutdown()
            relay.end_if_over()
            return
        other.resume_reading()
        if other.transport.pending():
            other.on_readable()

    def on_crash(self, error: Exception) -> None:
        relay = self.relay
        if relay is not None:
            relay.owner.relay_crashed(error)
            relay.close("internal")

    def on_deadline(self, now: float) -> None:
        relay = self.relay
        if relay is not None:
            relay.close("idle-timeout")

    # -- through a pipe

    def _splice(self, relay: Relay, other: RelayHalf, pipe: Pipe) -> None:
        """Let the kernel move what is there, through an empty pipe. Raises `TransportError`."""
        total = 0
        got = NOTHING
        try:
            for _ in range(MAX_SPLICES):
                got = pipe.fill(self._fd)
                if got <= 0:
                    break
                total += got
                if not pipe.drain(other._fd) or got < BULK:
                    break
        except OSError as error:
            if error.errno != errno.EINVAL:
                PIPES.give_back(pipe)
                raise broken("splice", error) from error
            relay.splices = False  # one of the two cannot: the next wake-up reads
        self._bulk = total >= BULK
        if total > 0:
            relay.values[RELAY_SPLICED] += total
            self._moved(relay, total)
        if pipe.held == 0:
            PIPES.give_back(pipe)
        elif not other._wait_with(relay, pipe):
            self.pause_reading()
        if got == ENDED:
            self._read_end(relay, other)

    def _wait_with(self, relay: Relay, pipe: Pipe) -> bool:
        """Keep a pipe until this side takes what is in it; tell whether it did at once. Raises `TransportError`."""
        if relay.splices:
            self._pipe = pipe
            self._want(self._interest | WRITE)
            return False
        data = pipe.take_back()
        PIPES.give_back(pipe)
        return self._write(data)

    def _drain(self, relay: Relay) -> bool:
        """Take what waits in the pipe; tell whether all is gone. Raises `TransportError`."""
        pipe = self._pipe
        if pipe is None:
            return True
        try:
            if not pipe.drain(self._fd):
                return False
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise broken("splice", error) from error
            relay.splices = False
            self._pipe = None
            return self._wait_with(relay, pipe)
        self._pipe = None
        PIPES.give_back(pipe)
        self._want(self._interest & ~WRITE)
        return True


@final
class Relay:
    """Both halves. `splices`: the kernel may move what comes."""

    def __init__(self, client: RelayHalf, origin: RelayHalf, owner: RelayOwner, values: list[int]) -> None:
        self.client = client
        self.origin = origin
        self.owner = owner
        self.values = values
        self.open = True
        self.splices = isinstance(client.transport, TcpTransport) and isinstance(
            origin.transport, TcpTransport
        )
        client.read_counter, client.write_counter = DOWNSTREAM_READ, UPSTREAM_WRITTEN
        origin.read_counter, origin.write_counter = UPSTREAM_READ, DOWNSTREAM_WRITTEN

    def __repr__(self) -> str:
        return f"<Relay {self.client.moved} up, {self.origin.moved} down{'' if self.open else ', over'}>"

    def begin(self, early: bytes = b"", late: bytes = b"") -> None:
        """Go: with what came from the client already, and from the origin."""
        client, origin = self.client, self.origin
        try:
            client.begin(self, origin)
            origin.begin(self, client)
            if early and not origin._write(early):
                client.pause_reading()
            if late and not client._write(late):
                origin.pause_reading()
        except TransportError as error:
            self.close(error.reason)
        except OSError as refused:
            self.owner.relay_crashed(refused)
            self.close("internal")
        for half in (client, origin):
            # Read along with what came before, and announced by nobody.
            if self.open and half.reading and half.transport.pending():
                half.on_readable()

    def end_if_over(self) -> None:
        """End properly once both sides have ended and everything is delivered."""
        client, origin = self.client, self.origin
        if client.ended and origin.ended and client.held == 0 and origin.held == 0:
            self.close("")

    def close(self, reason: str) -> None:
        """End both sides; `reason` "" is a proper end."""
        if self.open:
            self.open = False
            self.owner.relay_over(reason)
            if reason:
                self.origin.transport.reset_on_close()
                self.client.transport.reset_on_close()
            self.origin.end()
            self.client.end()
