"""How many workers "as many as we may use" is: the CPU affinity, cut by the cgroup's quota."""

import math
import os
from pathlib import Path
from typing import Final

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def usable_cores(cgroup_file: Path = Path("/proc/self/cgroup"), cgroup_root: Path = _CGROUP_ROOT) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    A quota of 1.5 cores counts as 2: two workers share it better than one can use it.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _quota(cgroup_file, cgroup_root))))


def _quota(cgroup_file: Path, cgroup_root: Path) -> float:
    """Return the smallest quota on the way to the root of the cgroup tree (version 2), inf when there is
    none."""
    try:
        lines = cgroup_file.read_text().splitlines()
    except OSError:
        return math.inf
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return math.inf
    smallest = math.inf
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts), -1, -1):
        smallest = min(smallest, _quota_of(cgroup_root.joinpath(*parts[:depth]) / "cpu.max"))
    return smallest


def _quota_of(file: Path) -> float:
    try:
        quota, period = file.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file at the root; "max" is no number
        return math.inf
