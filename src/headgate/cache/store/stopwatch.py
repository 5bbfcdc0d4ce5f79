"""How long a disk had us wait: what the clock says, less what we computed, and were ready to without a processor.

On a machine that gives us too little of its processors everything takes long, and no disk is to blame. The kernel
says how long a thread waited to be run (second number of /proc/thread-self/schedstat), and how long it ran; what is
left of the time that something took, it slept. To ask costs some microseconds, so the answer may be a little older
than what is measured: up to that much is taken off a disk's account too.
"""

import os
import time
from collections.abc import Callable
from typing import Final, final

_SCHEDSTAT: Final = "/proc/thread-self/schedstat"
# How old what the kernel has said may be, in seconds: a fraction of what is slow.
FRESH: Final = 0.01


@final
class Stopwatch:
    """Measures for one thread, the one that calls it first; `now` is monotonic seconds."""

    __slots__ = ("_asked_at", "_busy", "_descriptor", "now")

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._descriptor = -1
        self._busy = 0
        self._asked_at = -1.0

    def begin(self) -> float:
        """Return when something begins, for `waited`."""
        now = self.now()
        if self._asked_at < 0.0 or now - self._asked_at >= FRESH:
            self._busy = self._ask()
            # Once more: in between the processor may have been another's, and no disk is to blame for that.
            now = self.now()
            self._asked_at = now
        return now

    def waited(self, begun: float, limit: float) -> float:
        """Return for how long we have waited since something has begun; the kernel is asked where that is `limit` or
        more by the clock."""
        seconds = self.now() - begun
        if seconds < limit:
            return seconds
        return max(seconds - (self._ask() - self._busy) / 1e9, 0.0)

    def _ask(self) -> int:
        """Return for how many nanoseconds this thread has run, or was ready to."""
        delayed = 0
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
            delayed = int(os.pread(self._descriptor, 96, 0).split()[1])
        except (OSError, IndexError, ValueError):
            pass  # a kernel that does not say: what it took is what is known
        return time.thread_time_ns() + delayed

    def close(self) -> None:
        """Close what it has open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
