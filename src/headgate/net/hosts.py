"""The two files that say how names are resolved here: hosts(5) and resolv.conf(5).

Both are read again when they change. What is compared is (mtime, size, inode): one `stat` a look-up, no watcher to
lose, and a file that appears, disappears or is replaced is noticed at the next name.
"""

import os
from dataclasses import dataclass
from typing import Final

from headgate.net.addresses import Address, parse_ip

_Stamp = tuple[int, int, int]

# Longer lists are cut like the C library cuts them; more servers than this only prolong a failure.
MAX_NAMESERVERS: Final = 8
MAX_SEARCH: Final = 6
MAX_NDOTS: Final = 15


def _stamp(path: str) -> _Stamp:
    stat = os.stat(path)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _lines(path: str) -> list[list[str]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [words for line in file if (words := line.partition("#")[0].split())]


class HostsFile:
    """hosts(5). A file that is missing or unreadable holds no names: other sources are asked then."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self.path = path
        self._stamp: _Stamp | None = None
        self._names: dict[str, list[Address]] = {}

    def lookup(self, name: str) -> tuple[Address, ...]:
        """Return every address of `name` in file order, () when the file does not know it."""
        try:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                self._names = self._read()
                self._stamp = stamp
        except OSError:
            self._names = {}
            self._stamp = None
        return tuple(self._names.get(name.rstrip(".").lower(), ()))

    def _read(self) -> dict[str, list[Address]]:
        names: dict[str, list[Address]] = {}
        for words in _lines(self.path):
            address = parse_ip(words[0])
            if address is None:
                continue
            for name in words[1:]:
                known = names.setdefault(name.rstrip(".").lower(), [])
                if address not in known:
                    known.append(address)
        return names


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What resolv.conf(5) says: servers as written, search domains, and how many dots make a name complete."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1


def parse_resolv_conf(lines: list[list[str]]) -> ResolvConf:
    """Read lines that are split into words. Of `search` and `domain` the last one counts; the unknown is skipped."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for keyword, *values in lines:
        if not values or keyword.startswith(";"):
            continue
        if keyword == "nameserver":
            nameservers.append(values[0])
        elif keyword == "search":
            search = tuple(values[:MAX_SEARCH])
        elif keyword == "domain":
            search = (values[0],)
        elif keyword == "options":
            for option in values:
                name, _, number = option.partition(":")
                if name == "ndots" and number.isdecimal():
                    ndots = min(int(number), MAX_NDOTS)
    return ResolvConf(tuple(nameservers[:MAX_NAMESERVERS]), search, ndots)


class ResolvConfFile:
    """resolv.conf(5), read again when it changes."""

    def __init__(self, path: str = "/etc/resolv.conf") -> None:
        self.path = path
        self._stamp: _Stamp | None = None
        self._parsed = ResolvConf()

    def load(self) -> ResolvConf:
        """Return what the file says now. Raises OSError when it cannot be read; the next call tries again."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._parsed = parse_resolv_conf(_lines(self.path))
            self._stamp = stamp
        return self._parsed
