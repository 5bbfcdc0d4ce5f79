"""A UDP socket that moves datagrams in batches: one system call for up to 64 of them.

Sending: datagrams of one size to one peer lie in a row in one buffer, only the last may be shorter, and the kernel
cuts them apart as late as it can (UDP_SEGMENT, udp(7)). Receiving: the kernel hands over what arrived from one peer
in a row, with the size of the pieces (UDP_GRO). Measured over loopback, that is 0.1 us a datagram against 2.5.

Not every path can do it. A device without checksum offload answers EIO, other kernels EINVAL: then the same
datagrams go one by one, and, if that works, so does everything afterwards. What the network refuses for one peer
(no route, too large, a firewall) is no error of a socket that serves all of them: it is counted, and to QUIC it is
a loss.

Each datagram tells which local address it came to (PKTINFO) and how the network marked it (ECN, RFC 3168), and is
answered from there. Datagrams are never fragmented (DF, as RFC 9000 section 14 asks), so that a probe for a larger
size proves something.
"""

import errno
import socket
import struct
import sys
from typing import Final, final

from headgate.errors import LocalProtocolError
from headgate.net.tcp import broken

# Numbers of Linux that Python's socket module does not name: ip(7), ipv6(7), udp(7).
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IPV6_MTU_DISCOVER: Final = 23
PMTUDISC_PROBE: Final = 3  # DF on, and the kernel's own idea of the path is not asked
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

# UDP_MAX_SEGMENTS of kernels before 6.9; and what an IP packet's length can say, less its headers.
MAX_SEGMENTS: Final = 64
MAX_BATCH: Final = 65_000
# The largest batch that UDP_GRO hands over, and the room its four control messages need.
RECEIVE_BUFFER: Final = 65_535
_CONTROL: Final = 256
# "QUIC on the Highway" (arXiv 2309.16395) found the default, 208 KiB, too small by ten times.
RECEIVE_QUEUE: Final = 4 * 1024 * 1024

# As plain numbers: the socket module's own are members of enums, which cost a lookup each at every datagram.
_UDP: Final = int(socket.IPPROTO_UDP)
_IP: Final = int(socket.IPPROTO_IP)
_IPV6: Final = int(socket.IPPROTO_IPV6)
_TOS: Final = int(socket.IP_TOS)
_TCLASS: Final = int(socket.IPV6_TCLASS)
_PKTINFO6: Final = int(socket.IPV6_PKTINFO)
_TRUNC: Final = int(socket.MSG_TRUNC)

_NONE_4: Final = bytes(4)
_LINK_LOCAL: Final = 0xFE
# The traffic class of each ECN codepoint, as a control message wants it.
_MARKS: Final = tuple(struct.pack("=i", mark) for mark in range(4))
_AGAIN: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_CANNOT_SEGMENT: Final = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT)

Peer = tuple[str, int] | tuple[str, int, int, int]


def set_options(sock: socket.socket) -> bool:
    """Ask for all that datagrams can tell; return whether the kernel joins them.

    Best before the socket is bound: what comes before tells less, not even the address that it came to.
    """
    if sock.family == socket.AF_INET6:
        level = socket.IPPROTO_IPV6
        sock.setsockopt(level, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(level, socket.IPV6_RECVTCLASS, 1)
        sock.setsockopt(level, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        level = socket.IPPROTO_IP
        sock.setsockopt(level, IP_PKTINFO, 1)
        sock.setsockopt(level, socket.IP_RECVTOS, 1)
        sock.setsockopt(level, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    # More than net.core.rmem_max is cut in silence: `receive_queue` tells what became of it. Who bound the socket may
    # have been allowed more.
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_QUEUE:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_QUEUE)
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


@final
class UdpSocket:
    """Takes over a bound, non-blocking UDP socket.

    After `receive` returned 0 or more: `segment` (the size of each datagram in the buffer but the last), `peer`,
    `local` (give it back to `send`) and `ecn` describe what was read. `unsegmented` counts batches that went one by
    one, `refused` datagrams that the network would not take, `truncated` datagrams larger than the buffer.
    """

    __slots__ = (
        "_is_v6",
        "_last_control",
        "_last_ecn",
        "_last_local",
        "_sock",
        "ecn",
        "has_gro",
        "has_gso",
        "local",
        "peer",
        "refused",
        "segment",
        "truncated",
        "unsegmented",
    )

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_v6 = sock.family == socket.AF_INET6
        self._last_control: list[tuple[int, int, bytes]] = []
        self._last_local = b""
        self._last_ecn = 0
        self.segment = 0
        self.peer: Peer = ("", 0)
        self.local = b""
        self.ecn = 0
        self.refused = 0
        self.truncated = 0
        self.unsegmented = 0
        self.has_gso = True
        self.has_gro = set_options(sock)

    def __repr__(self) -> str:
        batches = "".join((" gso" * self.has_gso, " gro" * self.has_gro))
        return f"<UdpSocket fd={self._sock.fileno()}{batches}, {self.refused} refused>"

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket; twice does no harm."""
        self._sock.close()

    def take_counts(self) -> tuple[int, int, int]:
        """Return `unsegmented`, `refused` and `truncated` since the last call."""
        counts = (self.unsegmented, self.refused, self.truncated)
        self.unsegmented = self.refused = self.truncated = 0
        return counts

    def receive_queue(self) -> int:
        """Return how many bytes the kernel keeps for us; it counts its own overhead, and doubles what was asked."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def receive(self, buffer: bytearray) -> int:
        """Read one batch into `buffer` (`RECEIVE_BUFFER` bytes); -1 when nothing waits.

        0 is an empty datagram, not the end. Raises `TransportError` when the socket itself is broken, or, if it is
        connected, when its peer is not there.
        """
        while True:
            try:
                size, control, flags, peer = self._sock.recvmsg_into([buffer], _CONTROL)
            except OSError as error:
                if error.errno in _AGAIN:
                    return -1
                raise broken("receive", error) from error
            if not flags & _TRUNC:
                break
            self.truncated += 1
        self.peer = peer
        self.segment = size
        self.ecn = 0
        self.local = b""
        for level, kind, value in control:
            self._read_control(level, kind, value)
        return size

    def _read_control(self, level: int, kind: int, value: bytes) -> None:
        if level == _UDP:
            if kind == UDP_GRO:
                self.segment = int.from_bytes(value[:4], "little")
        elif level == _IP:
            if kind == _TOS:
                self.ecn = value[0] & 3
            elif kind == IP_PKTINFO:
                # From the address, over whatever interface the way back leads.
                self.local = _NONE_4 + value[4:8] + _NONE_4
        elif kind == _TCLASS:
            self.ecn = value[0] & 3
        elif kind == _PKTINFO6:
            # A link-local address means something on its interface only.
            is_link_local = value[0] == _LINK_LOCAL and value[1] & 0xC0 == 0x80
            self.local = value if is_link_local else value[:16] + _NONE_4

    def send(self, data: memoryview, segment: int, peer: Peer | None, local: bytes, ecn: int) -> int:
        """Send `data`, cut every `segment` bytes, from `local` (b"": any address of ours) to `peer`.

        `peer` is None where the socket is connected. Returns how much of `data` is done with, less than all only
        where the socket takes no more for now; what the network refused counts as done with.
        """
        if segment <= 0:
            raise LocalProtocolError(f"segments of {segment} bytes")
        control = self._control(local, ecn)
        whole = len(data)
        step = max(min(MAX_SEGMENTS, MAX_BATCH // segment), 1) * segment
        done = 0
        while done < whole:
            part = data[done : done + step]
            sent = self._send_batch(part, segment, peer, control)
            done += sent
            if sent < len(part):
                break
        return done

    def _control(self, local: bytes, ecn: int) -> list[tuple[int, int, bytes]]:
        """Return the control messages that say where from and how marked; those of the last time are kept."""
        if local == self._last_local and ecn == self._last_ecn:
            return self._last_control
        control: list[tuple[int, int, bytes]] = []
        if local:
            control.append((_IPV6, _PKTINFO6, local) if self._is_v6 else (_IP, IP_PKTINFO, local))
        if ecn:
            control.append((_IPV6, _TCLASS, _MARKS[ecn]) if self._is_v6 else (_IP, _TOS, _MARKS[ecn]))
        self._last_local = local
        self._last_ecn = ecn
        self._last_control = control
        return control

    def _send_batch(
        self, data: memoryview, segment: int, peer: Peer | None, control: list[tuple[int, int, bytes]]
    ) -> int:
        """Send one batch by one call, or one by one where that cannot be."""
        if len(data) <= segment:
            return self._send_one(data, peer, control)
        if not self.has_gso:
            return self._send_each(data, segment, peer, control)
        cut = (_UDP, UDP_SEGMENT, segment.to_bytes(2, sys.byteorder))
        try:
            self._transmit(data, peer, [*control, cut])
        except OSError as error:
            if error.errno in _AGAIN:
                return 0
            if error.errno not in _CANNOT_SEGMENT:
                self.refused += -(-len(data) // segment)
                return len(data)
            refused = self.refused
            done = self._send_each(data, segment, peer, control)
            # Where the datagrams fail one by one too, it was not the cutting: try that again next time.
            if done > 0 and self.refused == refused:
                self.has_gso = False
            return done
        return len(data)

    def _send_each(
        self, data: memoryview, segment: int, peer: Peer | None, control: list[tuple[int, int, bytes]]
    ) -> int:
        self.unsegmented += 1
        done = 0
        while done < len(data):
            sent = self._send_one(data[done : done + segment], peer, control)
            if sent == 0:
                break
            done += sent
        return done

    def _send_one(self, data: memoryview, peer: Peer | None, control: list[tuple[int, int, bytes]]) -> int:
        """Send one datagram; 0 when the socket takes none for now."""
        try:
            self._transmit(data, peer, control)
        except OSError as error:
            if error.errno in _AGAIN:
                return 0
            self.refused += 1
        return len(data)

    def _transmit(self, data: memoryview, peer: Peer | None, control: list[tuple[int, int, bytes]]) -> None:
        if peer is None:
            self._sock.sendmsg([data], control)
        else:
            self._sock.sendmsg([data], control, 0, peer)
