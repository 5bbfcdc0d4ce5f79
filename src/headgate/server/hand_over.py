"""Hand-over: datagrams that the kernel gave to one worker, and that belong to a connection of another.

All sockets of one port share its datagrams by a hash of addresses and ports. A client whose port changes (a NAT
forgot it, it moved to another network) is another hash, and so is everybody after a worker has died and its
successor's socket stands elsewhere in the group. The connection ID still names the worker, so whoever reads such a
datagram puts it, with all that the socket told about it, into the mailbox of that slot.

A mailbox is a pair of Unix datagram sockets, made before any fork and kept by the supervisor: the successor of a dead
worker reads what was meant for it, finds no such connection, and answers with a stateless reset, as it would have at
its own socket. What is in a mailbox is bounded by the kernel (the sender's SO_SNDBUF, about 200 KiB); beyond that
datagrams are dropped and counted, which to QUIC is a loss. Nothing is handed over twice.

    place (1)  ecn (1)  segment (2)  port (2)  flow (4)  scope (4)  sizes of host and local (1, 1)  host  local  data

`place` is that of the UDP socket among those of its worker, which is the same in all of them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS, QUIC_HANDED_OVER, QUIC_TAKEN_OVER
from headgate.net.poller import READ, Pollable, Poller
from headgate.net.udp import RECEIVE_BUFFER, Peer

# Batches taken in one wake-up: more would make those who came to their own socket wait.
MAX_READS: Final = 16
_HEAD: Final = struct.Struct(">BBHHIIBB")
_FULL: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("hand-over-full")
_MALFORMED: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("hand-over-malformed")


class Receiver(Protocol):
    """Who takes what was meant for it (`QuicEndpoint`)."""

    def receive_forwarded(self, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int) -> None: ...


class MailRoom:
    """The mailboxes of all slots. The supervisor makes it; a worker keeps its own box, and what leads to others."""

    def __init__(self, slots: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(slots)]
        self.boxes = [pair[0] for pair in pairs]
        self.slots = [pair[1] for pair in pairs]
        for sock in (*self.boxes, *self.slots):
            sock.setblocking(False)

    def __repr__(self) -> str:
        return f"<MailRoom of {len(self.boxes)} slots>"

    def take(self, slot: int) -> socket.socket:
        """In a worker: return its own box, and close those of others."""
        for number, box in enumerate(self.boxes):
            if number != slot:
                box.close()
        return self.boxes[slot]

    def close(self) -> None:
        """Close everything that is still open."""
        for sock in (*self.boxes, *self.slots):
            sock.close()


@final
class Mailbox(Pollable):
    """The box of one worker, and its way to others. `receivers` are its endpoints in the order of their sockets."""

    def __init__(
        self,
        room: MailRoom,
        slot: int,
        poller: Poller,
        values: list[int],
        crashed: Callable[[str, Exception], None],
    ) -> None:
        self.receivers: list[Receiver] = []
        self._slot = slot
        self._box = room.take(slot)
        self._slots: Sequence[socket.socket] = room.slots
        self._poller = poller
        self._values = values
        self._crashed = crashed
        self._open = False

    def __repr__(self) -> str:
        return f"<Mailbox of slot {self._slot} of {len(self._slots)}>"

    def start(self) -> None:
        """Begin to read."""
        self._poller.add(self._box.fileno(), self, READ)
        self._open = True

    def send(
        self, place: int, slot: int, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int
    ) -> bool:
        """Put datagrams into another worker's box; False: there is no such worker."""
        if slot == self._slot or slot >= len(self._slots):
            return False
        host = peer[0].encode("ascii", "replace")
        flow, scope = (peer[2], peer[3]) if len(peer) == 4 else (0, 0)
        head = _HEAD.pack(place, ecn, segment, peer[1], flow, scope, len(host), len(local))
        count = -(-len(data) // segment) if segment else 1
        try:
            self._slots[slot].send(b"".join((head, host, local, data)))
        except OSError:  # full, or nobody is left to read it: on the way datagrams get lost anyway
            self._values[_FULL] += count
        else:
            self._values[QUIC_HANDED_OVER] += count
        return True

    def on_readable(self) -> None:
        for _ in range(MAX_READS):
            try:
                message = self._box.recv(_HEAD.size + 512 + RECEIVE_BUFFER)
            except OSError:
                return
            if not self._deliver(message):
                self._values[_MALFORMED] += 1

    def _deliver(self, message: bytes) -> bool:
        """Give one message to its endpoint; False: it is none. Its writer is a worker: it stands on the network."""
        if len(message) < _HEAD.size:
            return False
        place, ecn, segment, port, flow, scope, host_size, local_size = _HEAD.unpack_from(message)
        local_at = _HEAD.size + host_size
        data_at = local_at + local_size
        if place >= len(self.receivers) or data_at > len(message) or segment == 0:
            return False
        host = message[_HEAD.size : local_at].decode("ascii", "replace")
        peer: Peer = (host, port, flow, scope) if ":" in host else (host, port)
        data = message[data_at:]
        self._values[QUIC_TAKEN_OVER] += -(-len(data) // segment)
        self.receivers[place].receive_forwarded(data, segment, peer, message[local_at:data_at], ecn)
        return True

    def on_writable(self) -> None:
        return

    def on_crash(self, error: Exception) -> None:
        self._crashed("hand-over", error)

    def close(self) -> None:
        """Read nothing more."""
        if self._open:
            self._open = False
            self._poller.remove(self._box.fileno())
        self._box.close()
        for sock in self._slots:
            sock.close()


@final
class Forwarder:
    """What an endpoint hands datagrams on with: it knows the place of its socket."""

    __slots__ = ("_mailbox", "_place")

    def __init__(self, mailbox: Mailbox, place: int) -> None:
        self._mailbox = mailbox
        self._place = place

    def __call__(self, slot: int, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int) -> bool:
        """Hand datagrams over. Whether their connection is still there, that worker sees itself."""
        return self._mailbox.send(self._place, slot, data, segment, peer, local, ecn)
