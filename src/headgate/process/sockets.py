"""Listening sockets: for each address and worker slot one of TCP with SO_REUSEPORT, and one of UDP for QUIC.

A slot's sockets are bound right before its fork and every other copy is closed right after, so that the
kernel takes a dead worker's socket out of the group at once: a copy left open would go on being handed
connections that nobody accepts. They are bound, not listening; the worker calls `listen()` when it is told
to. A UDP socket knows no such step: what clients send while its worker gets ready waits in the kernel's queue.

SO_REUSEPORT lets a second program of the same user share our port without a word. Therefore each address is
first bound once without it (`check_free`), which fails loudly when anybody holds the port.
"""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from headgate.errors import HeadgateError
from headgate.net.udp import RECEIVE_QUEUE, set_options
from headgate.process.parts import Events
from headgate.process.start import BoundAddress

# Precedent: listen(2) cuts it to net.core.somaxconn anyway, whose default is 4096 since Linux 5.4.
BACKLOG: Final = 4096
# Connections of one worker that clients of TCP Fast Open begin with data and have not confirmed; beyond it they shake
# hands as others do. ATS has 10,000; the kernel holds a socket for each, and who has no cookie makes none.
FAST_OPEN_QUEUE: Final = 1024
# Column 3 of /proc/net: a listening TCP socket, and a UDP socket that is not connected.
_STATES: Final = {"tcp": "0A", "udp": "07"}
_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
# Ports tried for a 0 until one is free for UDP as well as for TCP.
_TRIES: Final = 16
# socket(7): past net.core.rmem_max, for those who may (CAP_NET_ADMIN).
_SO_RCVBUFFORCE: Final = 33


class BindError(HeadgateError):
    """An address cannot be bound; the message names it, the errno and the likely cause."""

    def __init__(self, address: BoundAddress, number: int, cause: str, kind: str = "tcp") -> None:
        name = errno.errorcode.get(number, str(number))
        what = f"UDP {address}" if kind == "udp" else str(address)
        super().__init__(f"cannot bind {what}: {os.strerror(number)} ({name}, errno {number}): {cause}")
        self.address = address
        self.errno = number
        self.cause = cause


def _bind(address: BoundAddress, reuse_port: bool, kind: str = "tcp") -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, _KINDS[kind] | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if kind == "tcp":  # with UDP it would share the port with strangers
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # "0.0.0.0" and "[::]" stand side by side; neither takes the other's connections.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == "udp":
            # Datagrams may come before a worker looks: they must tell as much as those that come later.
            set_options(sock)
        sock.bind((address.host, address.port))
        if kind == "tcp" and address.fast_open:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, FAST_OPEN_QUEUE)
    except OSError as exc:
        if sock is not None:
            sock.close()
        number = exc.errno or errno.EINVAL
        raise BindError(address, number, likely_cause(address, number, kind), kind) from exc
    return sock


def check_free(addresses: Iterable[BoundAddress], lost: list[BindError] | None = None) -> list[BoundAddress]:
    """Prove that nobody holds any of the addresses; return them with port 0 replaced by a real port, which is
    the same for UDP.

    An address that should "try" QUIC and whose UDP cannot be bound comes back without it, and the error is
    added to `lost`. The port that was found for a 0 stays reserved only until this returns; that is good
    enough for tests and for `headgate serve`, and no configuration for production has a port 0.
    Raises `BindError`.
    """
    probes: list[socket.socket] = []
    resolved: list[BoundAddress] = []
    try:
        for address in addresses:
            if address.port == 0 and address.quic != "off":
                resolved.append(_find_pair(address, probes))
                continue
            probe = _bind(address, reuse_port=False)
            probes.append(probe)
            found = replace(address, port=probe.getsockname()[1])
            resolved.append(_with_datagrams(found, probes, lost if lost is not None else []))
    finally:
        for probe in probes:
            probe.close()
    return resolved


def _with_datagrams(
    address: BoundAddress, probes: list[socket.socket], lost: list[BindError]
) -> BoundAddress:
    """Try UDP beside TCP, where it is wanted."""
    if address.quic == "off":
        return address
    try:
        probes.append(_bind(address, reuse_port=False, kind="udp"))
    except BindError as exc:
        if address.quic == "must":
            raise
        lost.append(exc)
        return replace(address, quic="off")
    return address


def _find_pair(address: BoundAddress, probes: list[socket.socket]) -> BoundAddress:
    """Find a port that is free for TCP and for UDP."""
    for tried in range(_TRIES):
        probe = _bind(address, reuse_port=False)
        probes.append(probe)
        found = replace(address, port=probe.getsockname()[1])
        try:
            probes.append(_bind(found, reuse_port=False, kind="udp"))
        except BindError:
            if tried == _TRIES - 1:
                raise
            continue
        return found
    return address


def bind_slot(addresses: Sequence[BoundAddress], kind: str = "tcp") -> list[tuple[int, socket.socket]]:
    """Bind the sockets of one slot, of the `kind` "tcp" or, where QUIC is spoken, "udp": (index of the
    listener, socket). Raises `BindError` and leaves none open."""
    sockets: list[tuple[int, socket.socket]] = []
    try:
        for address in addresses:
            if kind == "udp" and address.quic == "off":
                continue
            sock = _bind(address, reuse_port=True, kind=kind)
            sockets.append((address.listener, sock))
            if kind == "udp":
                ask_for_queue(sock)
    except BindError:
        close_all(sockets)
        raise
    return sockets


def ask_for_queue(sock: socket.socket) -> int:
    """Give a UDP socket the receive queue that QUIC wants, past the system's limit where we may; return how
    many bytes it has got."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_QUEUE)
        except OSError:
            continue  # not ours to force
        break
    # The kernel doubles what it is asked for, and counts its own overhead in it.
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def has_fast_open() -> bool:
    """Tell whether the kernel lets servers take data in a SYN (bit 1 of the sysctl)."""
    try:
        return int(Path("/proc/sys/net/ipv4/tcp_fastopen").read_text()) & 2 != 0
    except (OSError, ValueError):
        return False


def queue_of(address: BoundAddress) -> int:
    """Return the receive queue, in bytes, that a UDP socket at an address gets. Raises `BindError`."""
    sock = _bind(address, reuse_port=True, kind="udp")
    try:
        return ask_for_queue(sock)
    finally:
        sock.close()


def probe(addresses: Sequence[BoundAddress], events: Events) -> Sequence[BoundAddress]:
    """Prove that the addresses are free, and say what of the system makes them worse than they could be.

    A UDP port that is not free costs QUIC there, unless it was asked for. Raises `BindError`.
    """
    lost: list[BindError] = []
    free = check_free(addresses, lost)
    for problem in lost:
        events.event(
            "quic-not-bound",
            "warning",
            address=str(problem.address),
            reason=str(problem),
            next="HTTP/3 is not offered there; everything else is",
        )
    early = next((address for address in free if address.fast_open), None)
    if early is not None and not has_fast_open():
        events.event(
            "fast-open-unavailable",
            "warning",
            address=str(early),
            reason="bit 1 of the sysctl net.ipv4.tcp_fastopen is not set",
            next="clients connect as ever; sysctl -w net.ipv4.tcp_fastopen=3 mends it",
        )
    first = next((address for address in free if address.quic != "off"), None)
    if first is not None and (size := queue_of(first)) < RECEIVE_QUEUE:
        events.event(
            "udp-queue-small",
            "warning",
            bytes=size,
            wanted=RECEIVE_QUEUE,
            reason="the system's limit (net.core.rmem_max) cuts the receive queue of UDP sockets",
            next=f"bursts are lost and sent again; sysctl -w net.core.rmem_max={RECEIVE_QUEUE} mends it",
        )
    return free


def close_all(sockets: Iterable[tuple[int, socket.socket]]) -> None:
    """Close a slot's sockets."""
    for _listener, sock in sockets:
        sock.close()


def likely_cause(address: BoundAddress, number: int, kind: str = "tcp") -> str:
    """Say in words what an operator should look at."""
    if number == errno.EACCES and address.port < _first_free_port():
        return (
            f"ports below {_first_free_port()} need root (or CAP_NET_BIND_SERVICE); "
            'start as root and set user = "…", or take a higher port'
        )
    if number == errno.EADDRINUSE:
        holder = find_holder(address.port, kind)
        return f"the port is held by {holder}" if holder else "another program holds the port"
    if number == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address"
    if number == errno.EAFNOSUPPORT:
        return "this kernel runs without " + ("IPv6" if ":" in address.host else "IPv4")
    return "see the error"


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def find_holder(port: int, kind: str = "tcp") -> str:
    """Name a process that listens on `port` as "name (process N)", "" when it cannot be known (another
    user's)."""
    inodes = _listening_inodes(port, kind)
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f"{name} (process {process.name})"
        except OSError:
            continue
    return ""


def _listening_inodes(port: int, kind: str) -> set[str]:
    """Return "socket:[inode]" of every socket that listens on `port`."""
    found: set[str] = set()
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _STATES[kind] and int(columns[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{columns[9]}]")
    return found
