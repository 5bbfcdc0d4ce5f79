"""A worker's connection with the process that writes the disk store: what goes there, waits, or is dropped.

Nothing waits for the writer. It stands still while a batch goes to the disk: what its socket does not take is kept
here for a while, and dropped where that is too much. One that has died is noticed, and the next one found.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Final, final

from headgate.cache.store import messages

# What waits for the writer while its socket is full.
MAX_WAITING: Final = 4 << 20
# What a worker asks without waiting for the answer, which begins with the same.
_QUESTION: Final = messages.sync(0)
_WRITTEN: Final = bytes((messages.WRITTEN,))


@final
class WriterLink:
    """One worker's connection with the writer that listens on the socket `address`; `now` is monotonic seconds."""

    def __init__(self, address: str, now: Callable[[], float] = time.monotonic) -> None:
        self.connections = 0  # one after the other
        self.sent = 0
        self.dropped = 0  # the writer did not take it, or is not there
        self.is_written = True  # what it is told gets to the disk, as far as it has said
        # What it was told by then is on the disk: it has said so (monotonic seconds).
        self.written_until = -1.0
        self._address = address
        self._now = now
        self._socket: socket.socket | None = None
        self._connect_at = 0.0
        self._asked_at = -1.0  # when it was asked whether all is written, and has not answered yet
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0

    def __repr__(self) -> str:
        return f"<WriterLink {self._address}: {len(self._waiting)} waiting>"

    def sync(self, timeout: float) -> tuple[int, int] | None:
        """Wait until all that was sent is in the index; return its octets and objects. For tests and tools."""
        connected = self._connected()
        if connected is None:
            return None
        token = time.monotonic_ns() & 0xFFFFFFFF
        connected.settimeout(timeout)
        try:
            self.send_waiting()
            connected.send(messages.sync(token))
            answered, octets, objects = -1, 0, 0
            while answered != token:
                packet = connected.recv(64)
                self._heed(packet)
                if packet[:1] != _WRITTEN:
                    answered, octets, objects = messages.SYNCED.unpack(packet[1:])
        except (OSError, struct.error):
            self.close()
            return None
        connected.setblocking(False)
        return octets, objects

    def _connected(self) -> socket.socket | None:
        if self._socket is not None:
            return self._socket
        if self._now() < self._connect_at:
            return None
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connecting.setblocking(False)
        try:
            connecting.connect(self._address)
        except OSError:
            connecting.close()
            self._connect_at = self._now() + 1.0
            return None
        self._socket = connecting
        self.connections += 1
        return connecting

    def look(self) -> None:
        """Notice that the writer has died, also while there is nothing to tell it; go to the next one."""
        connected = self._connected()
        if connected is None:
            return
        try:
            while packet := connected.recv(64, socket.MSG_DONTWAIT):
                self._heed(packet)
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()
        self._connected()

    def _heed(self, packet: bytes) -> None:
        """Take the writer's word."""
        if packet[:1] == _WRITTEN and len(packet) > 1:
            self.is_written = packet[1] != 0
        elif packet.startswith(_QUESTION):
            if self.is_written:
                self.written_until = max(self.written_until, self._asked_at)
            self._asked_at = -1.0

    def ask(self, now: float) -> None:
        """Have the writer say when all is written that it was told up to now: it may stand still for long. One
        question at a time; `now` is monotonic seconds."""
        if self._asked_at < 0.0 and self.send(_QUESTION):
            self._asked_at = now

    def close(self) -> None:
        self.is_written = True
        self._asked_at = -1.0
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._waiting_octets = 0

    def send(self, packet: bytes) -> bool:
        """Send a packet, or let it wait; False: it was dropped."""
        if len(packet) <= messages.MAX_PACKET and self._connected() is not None:
            if self.send_waiting() and self._send_now(packet):
                return True
            if self._socket is None and self._connected() is not None and self._send_now(packet):
                return True  # by the next writer
            if self._socket is not None and self._waiting_octets + len(packet) <= MAX_WAITING:
                self._waiting.append(packet)
                self._waiting_octets += len(packet)
                return True
        self.dropped += 1
        return False

    def _send_now(self, packet: bytes) -> bool:
        connected = self._socket
        if connected is None:
            return False
        try:
            connected.send(packet)
        except BlockingIOError:  # the writer is behind
            return False
        except OSError:
            self.close()
            return False
        if packet != _QUESTION:
            self.sent += 1
        return True

    def send_waiting(self) -> bool:
        """Send what waits; True: nothing does any more."""
        while self._waiting:
            if not self._send_now(self._waiting[0]):
                return False
            self._waiting_octets -= len(self._waiting.popleft())
        return True
