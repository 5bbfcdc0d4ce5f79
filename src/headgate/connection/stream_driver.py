"""What both drivers of a stream connection share: reading, writing what the kernel does not take at once, interest.

A driver owns one transport. It is woken by the poller, moves bytes between transport and engine, and goes back to
sleep; it never waits. At most one read's worth of input and one turn's worth of output is held: output that the
socket does not take is kept in `_unsent`, and whoever produces it is told to stop.

Small output is deferred to the end of the poller's round (net/poller.py has the reasons): it lies in `_unsent` too,
marked by `_deferred`, and counts as written. Should the socket not take it then after all, `_stalled_late` stops
whoever went on meanwhile.
"""

from typing import Final

from headgate.errors import TransportError
from headgate.net.poller import READ, WRITE, Pollable, Poller
from headgate.net.transport import Transport

# A read begins small, grows while the peer fills it, and shrinks again: big bodies cost few calls, small ones no
# memory. 16 KiB is a TLS record; beyond 128 KiB a call is no longer the cost, and the allocator keeps more of what
# passed through it (3 MiB after 5 GiB with reads of 256).
READ_MIN: Final = 16 * 1024
READ_MAX: Final = 128 * 1024
NEVER: Final = float("inf")
# More than this is written at once: what is big is worth a call of its own, and should not be held by many at a time.
DEFER_MAX: Final = 16 * 1024
# Pieces of content that wait are glued while they fit into this: one of two octets alone would weigh twenty times as
# much, and only octets are counted.
GLUE: Final = 2048


class StreamDriver(Pollable):
    """Base of the downstream and the upstream driver. `deadline` is the loop time after which `on_deadline` comes."""

    def __init__(self, transport: Transport, poller: Poller) -> None:
        self.transport = transport
        self.poller = poller
        self.deadline: float = NEVER
        self.closed = False
        self._interest = 0
        self._fd = -1
        self._parked = False
        self._read_size = READ_MIN
        self._unsent = b""
        self._unsent_at = 0
        self._deferred = False

    def watch(self, interest: int) -> None:
        """Begin to be woken."""
        self._fd = self.transport.fileno()
        self._interest = interest
        self.poller.add(self._fd, self, interest)

    def _want(self, interest: int) -> None:
        """Change what wakes this driver."""
        if interest != self._interest and not self.closed:
            self._interest = interest
            if self._parked:
                self._parked = False
                self.poller.add(self._fd, self, interest)
            else:
                self.poller.change(self._fd, interest)

    def park(self) -> None:
        """Leave the poller until interest changes.

        A hang-up cannot be masked: a peer that broke the connection while nobody reads would wake us for ever.
        """
        if not self._parked:
            self._parked = True
            self.poller.remove(self._fd)

    def pause_reading(self) -> None:
        """Take no more from the peer for now."""
        self._want(self._interest & ~READ)

    def resume_reading(self) -> None:
        """Take bytes from the peer again."""
        self._want(self._interest | READ)

    @property
    def reading(self) -> bool:
        """Whether the peer's bytes wake this driver."""
        return self._interest & READ != 0

    def _read(self) -> bytes | None:
        """Read once, adapting the size; raises `TransportError`."""
        size = self._read_size
        if size > READ_MIN and self.poller.is_short:
            size = self._read_size = READ_MIN
        data = self.transport.read(size)
        if data is not None:
            got = len(data)
            if got == size:
                if size < READ_MAX and not self.poller.is_short:
                    self._read_size = size * 2
            elif got * 4 < size and size > READ_MIN:
                self._read_size = size // 2
        return data

    @property
    def unsent(self) -> int:
        """Bytes that the socket did not take yet, or was not offered yet."""
        return len(self._unsent) - self._unsent_at

    def _send(self, data: bytes) -> bool:
        """Write `data` now or at the end of the round; False when the socket is full. Raises `TransportError`."""
        if self._deferred:
            if len(self._unsent) + len(data) > DEFER_MAX:
                return self._write(data)
            self._unsent = self._unsent + data
            return True
        if len(data) > DEFER_MAX or not self.poller.in_round or self._unsent_at < len(self._unsent):
            return self._write(data)
        self._unsent = data
        self._deferred = True
        self.poller.defer(self)
        return True

    def write_deferred(self) -> None:
        if not self._deferred:
            return  # written meanwhile, together with more
        try:
            done = self._write(b"")
        except TransportError as error:
            self._write_failed(error)
            return
        if not done:
            self._stalled_late()

    def _write(self, data: bytes) -> bool:
        """Write `data` now and keep what the socket does not take; tell whether all went. Raises `TransportError`."""
        if self._deferred:
            self._deferred = False
            data = self._unsent + data if data else self._unsent
            self._unsent = b""
        if self._unsent_at < len(self._unsent):
            if data:
                self._unsent = self._unsent[self._unsent_at :] + data
                self._unsent_at = 0
            return False
        taken = self.transport.write(data)
        if taken == len(data):
            return True
        self._unsent = data
        self._unsent_at = taken
        self._want(self._interest | WRITE)
        return False

    def _send_file(self, data: bytes, descriptor: int, at: int, size: int) -> int:
        """Write `data` now, and behind it octets [at, at + size) of a file as far as the socket takes them.

        Returns how many of those, or NOT_SENT. Who has more to send wants WRITE. Raises `TransportError`.
        """
        if self._deferred:
            self._deferred = False
            data = self._unsent + data
            self._unsent = b""
        elif self._unsent_at < len(self._unsent):
            self._unsent = self._unsent[self._unsent_at :] + data
            self._unsent_at = 0
            return 0
        if data:
            taken = self.transport.write_more(data)
            if taken < len(data):
                self._unsent = data
                self._unsent_at = taken
                return 0
        return self.transport.send_file(descriptor, at, size) if size > 0 else 0

    def _write_unsent(self) -> bool:
        """Go on writing what was kept; tell whether all is gone. Raises `TransportError`."""
        data = self._unsent
        at = self._unsent_at
        while at < len(data):
            taken = self.transport.write(data if at == 0 else data[at : at + READ_MAX])
            if taken == 0:
                break
            at += taken
        if at < len(data):
            self._unsent_at = at
            return False
        self._unsent = b""
        self._unsent_at = 0
        self._want(self._interest & ~WRITE)
        return True

    def close_transport(self) -> None:
        """Close at once and let go of what is held. May be called twice."""
        if not self.closed:
            if self._deferred:
                try:
                    self._write(b"")
                except TransportError:
                    pass  # the peer is gone already: there is nobody left to tell
            self.closed = True
            self.deadline = NEVER
            if self._fd >= 0:
                self.poller.forget(self._fd)
            self.transport.close()
            self._unsent = b""
            self._unsent_at = 0

    def close(self) -> None:
        """Close, and tell whoever has to know."""
        self.close_transport()

    def on_deadline(self, now: float) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def _write_failed(self, error: TransportError) -> None:
        """The transport broke on output that counted as written."""
        raise NotImplementedError

    def _stalled_late(self) -> None:
        """The socket did not take all of the output that counted as written: `on_writable` comes when it does."""
        raise NotImplementedError
