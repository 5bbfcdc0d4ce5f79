"""Finding ports for the demo: the ones that were asked for, or the next that are free."""

import errno
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from headgate.errors import HeadgateError

# Ports tried above the one that was asked for, before the system picks any.
_NEAR: Final = 20
_ANY: Final = 20


class NoPortError(HeadgateError):
    """No port is free on all addresses."""


def loopback_hosts() -> list[str]:
    """Return the loopback addresses that this machine has."""
    return [host for host in ("127.0.0.1", "::1") if _bound(host, 0)]


def find_port(wanted: int, hosts: Sequence[str], used: Iterable[int] = ()) -> int:
    """Return `wanted` or the next port that is free on all `hosts` and not in `used`; 0 is any port.

    Raises `NoPortError`.
    """
    used = set(used)
    near = range(wanted, min(wanted + _NEAR, 65536)) if wanted else range(0)
    for port in near:
        if port not in used and all(_bound(host, port) for host in hosts):
            return port
    for _ in range(_ANY):
        port = _bound(hosts[0], 0)
        if port not in used and all(_bound(host, port) for host in hosts[1:]):
            return port
    raise NoPortError(f"no free port on {' and '.join(hosts)}")


def _bound(host: str, port: int) -> int:
    """Return the port that can be bound there, 0 for none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as exc:
        if exc.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return 0
        raise
