"""What the kernel says about a process: memory and open files, from two small reads in /proc.

Cheap enough for a worker's own sweep: descriptors are not listed but counted by the size of the directory (Linux
6.2 and later; older kernels say 0 there, and then they are listed).
"""

import os
import resource
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int | None = None) -> int:
    """Return the resident memory of `pid` (None: this process) in bytes; 0 when it is gone."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def open_files(pid: int | None = None) -> int:
    """Return how many descriptors `pid` (None: this process) has open; 0 when it is gone or not ours to see."""
    directory = f"/proc/{pid or 'self'}/fd"
    try:
        # Of ourselves, listing would count the descriptor that lists.
        return os.stat(directory).st_size or len(os.listdir(directory))
    except OSError:
        return 0


def open_files_limit() -> int:
    """Return how many descriptors this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory_limit() -> int:
    """Return the memory that this process may use, in bytes: the smaller of its cgroup's limit and the machine's."""
    machine = os.sysconf("SC_PHYS_PAGES") * PAGE
    try:
        with open("/proc/self/cgroup", encoding="ascii", errors="replace") as file:
            path = next(line[3:].strip() for line in file if line.startswith("0::"))
        limits = [machine]
        while True:
            limits += _cgroup_limit(f"/sys/fs/cgroup{path.rstrip('/')}/memory.max")
            if path in ("", "/"):
                return min(limits)
            path = os.path.dirname(path)
    except (OSError, StopIteration):
        return machine


def _cgroup_limit(path: str) -> list[int]:
    try:
        with open(path, encoding="ascii") as file:
            return [int(file.read())]
    except (OSError, ValueError):  # no such limit, or "max"
        return []
