"""Listening sockets: one SO_REUSEPORT socket for each address and worker slot.

A slot's sockets are bound right before its fork and every other copy is closed right after, so that the
kernel takes a dead worker's socket out of the group at once: a copy left open would go on being handed
connections that nobody accepts. They are bound, not listening; the worker calls `listen()` when it is told
to.

SO_REUSEPORT lets a second program of the same user share our port without a word. Therefore each address is
first bound once without it (`check_free`), which fails loudly when anybody holds the port.
"""

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from headgate.errors import HeadgateError
from headgate.process.start import BoundAddress

# Precedent: listen(2) cuts it to net.core.somaxconn anyway, whose default is 4096 since Linux 5.4.
BACKLOG: Final = 4096
_LISTEN_STATE: Final = "0A"


class BindError(HeadgateError):
    """An address cannot be bound; the message names it, the errno and the likely cause."""

    def __init__(self, address: BoundAddress, number: int, cause: str) -> None:
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"cannot bind {address}: {os.strerror(number)} ({name}, errno {number}): {cause}")
        self.address = address
        self.errno = number
        self.cause = cause


def _bind(address: BoundAddress, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # "0.0.0.0" and "[::]" stand side by side; neither takes the other's connections.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as exc:
        if sock is not None:
            sock.close()
        number = exc.errno or errno.EINVAL
        raise BindError(address, number, likely_cause(address, number)) from exc
    return sock


def check_free(addresses: Iterable[BoundAddress]) -> list[BoundAddress]:
    """Prove that nobody holds any of the addresses; return them with port 0 replaced by a real port.

    The port that was found for a 0 stays reserved only until this returns; that is good enough for tests
    and for `headgate serve`, and no configuration for production has a port 0. Raises `BindError`.
    """
    probes: list[socket.socket] = []
    resolved: list[BoundAddress] = []
    try:
        for address in addresses:
            probe = _bind(address, reuse_port=False)
            probes.append(probe)
            resolved.append(BoundAddress(address.listener, address.host, probe.getsockname()[1]))
    finally:
        for probe in probes:
            probe.close()
    return resolved


def bind_slot(addresses: Sequence[BoundAddress]) -> list[tuple[int, socket.socket]]:
    """Bind the sockets of one slot: (index of the listener, socket). Raises `BindError` and leaves none
    open."""
    sockets: list[tuple[int, socket.socket]] = []
    try:
        sockets.extend((address.listener, _bind(address, reuse_port=True)) for address in addresses)
    except BindError:
        close_all(sockets)
        raise
    return sockets


def close_all(sockets: Iterable[tuple[int, socket.socket]]) -> None:
    """Close a slot's sockets."""
    for _listener, sock in sockets:
        sock.close()


def likely_cause(address: BoundAddress, number: int) -> str:
    """Say in words what an operator should look at."""
    if number == errno.EACCES and address.port < _first_free_port():
        return (
            f"ports below {_first_free_port()} need root (or CAP_NET_BIND_SERVICE); "
            'start as root and set user = "…", or take a higher port'
        )
    if number == errno.EADDRINUSE:
        holder = find_holder(address.port)
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


def find_holder(port: int) -> str:
    """Name a process that listens on `port` as "name (process N)", "" when it cannot be known (another
    user's)."""
    inodes = _listening_inodes(port)
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


def _listening_inodes(port: int) -> set[str]:
    """Return "socket:[inode]" of every listening TCP socket on `port`."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN_STATE and int(columns[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{columns[9]}]")
    return found
