"""Open files: the limit is raised towards what the listeners promise, or the promise is lowered.

A proxied connection takes two descriptors, one to each side. A promise that the kernel will not keep ends in
EMFILE at accept, which is worse for everybody than a refusal at a known number.
"""

import resource
from typing import Final

# Listening sockets, the loop's own, log files, spare connections to origins.
OVERHEAD: Final = 256


def wanted_files(connections: int) -> int:
    """Return how many descriptors a worker needs for so many connections."""
    return 2 * connections + OVERHEAD


def raise_file_limit(wanted: int) -> int:
    """Raise RLIMIT_NOFILE towards `wanted`; return what it is now. Children inherit it. Never lowers it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    # Beyond the hard limit only root may go, and only up to fs.nr_open.
    for target in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, target)
        except (ValueError, OSError):
            continue
        return target[0]
    return soft


def affordable(connections: int, files: int) -> int:
    """Return how many of `connections` a limit of `files` descriptors carries, at least 1."""
    return max(1, min(connections, (files - OVERHEAD) // 2))
