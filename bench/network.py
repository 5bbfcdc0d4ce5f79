"""Where a benchmark runs: a network namespace of its own, whose loopback has the kernel's own congestion control.

A machine's default may be another one, and some cost the sender a timer for each piece: with bbr 1 MiB by sendfile
takes several times the CPU that it takes with cubic. In a namespace two machines measure the same, no port is
another's, and nothing that listens is reached from outside. Everything that is started inherits it. Where the kernel
does not let us, one line says so, and the run goes on in the machine's own network.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What Linux is built with, and what a machine has to which nobody gave another.
CONGESTION: Final = "cubic"
_SYSCTL: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_KNOWN: Final = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
# <sched.h>; Python has os.unshare() from 3.12 on
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
# <linux/sockios.h>, <linux/if.h>: struct ifreq has 40 octets, of which these are the name and the flags
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = "16sh22x"


class NetworkError(Exception):
    """What was asked for by name cannot be had."""


@dataclass(frozen=True)
class Network:
    """Where this process is, for whoever reads the figures."""

    name: str
    congestion: str

    @property
    def described(self) -> dict[str, str]:
        """What the JSON has of it."""
        return {"network": self.name, "congestion": self.congestion}


def host() -> Network:
    """Stay in the machine's own network."""
    return Network("the machine's own", _SYSCTL.read_text().strip())


def enter(tell: Callable[[str], object], congestion: str = "") -> Network:
    """Move this process into a network of its own, before it has threads; tell what could not be had.

    What was asked for by name must be had: a figure with another congestion control would be taken for it.
    """
    try:
        _unshare()
    except OSError as error:
        if congestion:
            raise NetworkError(f"{congestion}: no network namespace for it: {error.strerror}") from error
        here = host()
        tell(f"no network namespace ({error.strerror}): measured in {here.name}, with {here.congestion}")
        return here
    _raise_loopback()
    try:
        _SYSCTL.write_text(congestion or CONGESTION)
    except OSError as error:
        if congestion:
            known = _KNOWN.read_text().strip()
            raise NetworkError(f"{congestion}: {error.strerror}; this kernel has {known}") from error
        tell(f"no congestion control {CONGESTION} ({error.strerror}): measured with {host().congestion}")
    return Network("a namespace of its own", host().congestion)


def _unshare() -> None:
    """Leave the machine's network; who is not root becomes nobody else in a user namespace, which has that right."""
    try:
        _call_unshare(_CLONE_NEWNET)
    except OSError as error:
        if error.errno != errno.EPERM or os.geteuid() == 0:
            raise
        user, group = os.geteuid(), os.getegid()
        _call_unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")  # or the kernel takes no map of groups
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _call_unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", _IFF_UP))
