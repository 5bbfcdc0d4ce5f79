"""What a process tree used: CPU in nanoseconds and memory, read from /proc.

CPU per unit of work is the figure that counts here: requests per second on a shared machine say more about
the neighbours than about the proxy. It is summed over the whole tree of every proxy alike (supervisors, workers,
threads), so that nobody can hide work in a second process.
"""

import time
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# What the scheduler counts of a process: the kernel's number of that clock, which clock_getcpuclockid(3) puts into an
# id.
_CPUCLOCK_SCHED: Final = 2


def parents() -> dict[int, int]:
    """Return the parent of every process that is alive."""
    found: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # gone meanwhile
            # The name in parentheses may hold spaces and parentheses of its own: count from the last one.
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def tree(root: int) -> list[int]:
    """Return `root` and all its descendants."""
    of = parents()
    members = [root]
    for member in members:
        members.extend(pid for pid, parent in of.items() if parent == member)
    return members


def cpu_ns(pids: list[int]) -> int:
    """Return the CPU time that all threads of `pids` have used so far, those that have ended too, in nanoseconds."""
    return sum(_process_cpu_ns(pid) for pid in pids)


def _process_cpu_ns(pid: int) -> int:
    clock = (~pid << 3) | _CPUCLOCK_SCHED
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return 0  # gone meanwhile


def pss_bytes(pids: list[int]) -> int:
    """Return the proportional set size of `pids`: what forked processes share is counted once."""
    return _rolled_up(pids, "Pss:")


def anonymous_bytes(pids: list[int]) -> int:
    """Return the proportional octets of `pids` that are in no file: maps of files are not counted."""
    return _rolled_up(pids, "Pss_Anon:")


def _rolled_up(pids: list[int], name: str) -> int:
    total = 0
    for pid in pids:
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith(name):
                total += int(line.split()[1]) * 1024
    return total


def settle(pids: list[int], quiet: float = 0.1, limit: float = 5.0) -> None:
    """Wait until `pids` have used under 2 % of a core for `quiet` seconds, at most `limit` seconds."""
    end = time.monotonic() + limit
    last = cpu_ns(pids)
    while time.monotonic() < end:
        time.sleep(quiet)
        used, last = cpu_ns(pids) - last, cpu_ns(pids)
        if used < quiet * 1e9 * 0.02:
            return
