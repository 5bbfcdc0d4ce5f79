"""What a full cache in memory lies in: pages of 2 MiB in place of 4 KiB, where the system has them (Linux 6.1).

A hit among a million touches a handful of objects, each in a page of its own, and the processor remembers where some
two thousand pages lie. For each other one it walks the page tables, which are not in its caches either. With pages of
2 MiB the tables of a gigabyte are two lines of a cache.

Python's allocator asks for 1 MiB at a time, so no page fault ever finds room for a large page. So memory is put
together afterwards (madvise with MADV_COLLAPSE), a little after each sweep: one page is a copy of 2 MiB, some 0.8 ms,
and some 8 ms where a machine that is itself virtual has never had that memory. So it is done by a thread, without
Python's lock: the loop waits only where it needs a new page of memory while one is copied.
Only memory that came since the worker began (what was there before is shared with other processes until somebody
writes to it), and of that only what is nearly all in use: so a process grows by a seventh of it at most.

The system's own word is obeyed: where transparent_hugepage/enabled says `never`, or prctl has them switched off,
nothing is done. A page that the kernel has no room for just now is asked for again in the next round; that this
happens is told once, for a hit among very many takes longer without.
"""

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, final

PAGE: Final = 2 << 20
_SMALL: Final = 4096
_MADV_COLLAPSE: Final = 25
# Of the small pages of one large one, so many may be missing.
_MAX_MISSING: Final = PAGE // _SMALL // 8
# Seconds of rest between two rounds when the last one has found something, or nothing. A round looks at each page,
# which is 10 us for what is large already.
_REST: Final = 2.0
_LONG_REST: Final = 60.0
# The thread takes this share of a processor, as long as there is something to do, and in one step no more than the
# share of so many seconds: a gigabyte whose pages cost 0.8 ms each is put together in eight.
_SHARE: Final = 0.05
_MOST_SAVED: Final = 1.0
# What the kernel says of a page that it does not make (madvise(2)), for an operator.
_MEANS: Final = {
    errno.EINVAL: "a kernel before Linux 6.1 does not know how, a later one has them switched off for this process",
    errno.ENOMEM: "it has no 2 MiB in one piece, or the control group is at its memory limit",
    errno.EAGAIN: "something else has hold of the page just now",
    errno.EBUSY: "something else has hold of the page just now",
}
_SWITCH: Final = "/sys/kernel/mm/transparent_hugepage/enabled"


def are_allowed(switch: str = _SWITCH) -> bool:
    """Tell whether the system has pages of 2 MiB, and gives them to who asks."""
    try:
        with open(switch, encoding="ascii") as file:
            return "[never]" not in file.read()
    except OSError:
        return False


def _ranges() -> list[int]:
    """Return where each whole large page of our own memory would begin."""
    found: list[int] = []
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        parts = line.split(None, 5)
        if parts[1] != "rw-p" or parts[4] != "0" or (len(parts) > 5 and parts[5].strip() != "[heap]"):
            continue
        start, _, end = parts[0].partition("-")
        found.extend(range(-(-int(start, 16) // PAGE) * PAGE, int(end, 16) - PAGE + 1, PAGE))
    return found


@final
class HugePages:
    """Puts the memory of this process together: what came after this was made."""

    def __init__(self, warn: Callable[[str, str], None] | None = None) -> None:
        self.done: set[int] = set()  # where pages have been made
        self.refused = 0  # for want of room, or because the kernel does not know how
        self._refusal = 0  # errno of the first
        self._warn = warn  # takes the word of an event, and what happened; None: it is told
        self._before: frozenset[int] = frozenset()
        self._libc: Any = None
        self._ranges: list[int] = []
        self._rests_until = 0.0
        self._credit = _SHARE * _MOST_SAVED  # seconds that it may take now
        self._stepped_at = 0.0
        self.thread: threading.Thread | None = None  # that puts together, or did last
        self._last = 0  # how many had been made before this round
        self._missing = ctypes.create_string_buffer(PAGE // _SMALL)
        if are_allowed():
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            self._libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
            self._before = frozenset(_ranges())

    def step_aside(self, now: float) -> None:
        """Have a thread go on, if none is at it and there is something to do; `now` is monotonic seconds."""
        if self._libc is None:
            return
        if self._refusal and self._warn is not None:
            self._warn("cache-huge-pages", self._told())
            self._warn = None
        if now >= self._rests_until and (self.thread is None or not self.thread.is_alive()):
            self.thread = threading.Thread(target=self.step, args=(now,), name="huge pages", daemon=True)
            self.thread.start()

    def _told(self) -> str:
        code = self._refusal
        means = _MEANS.get(code, "madvise with MADV_COLLAPSE")
        return (
            f"a page of 2 MiB was refused: {os.strerror(code)} (errno {code}): {means}; that part of the cache"
            " stays in small pages, where a hit among very many takes longer. Asked for again every"
            f" {_REST:g} to {_LONG_REST:g} s, told once"
        )

    def step(self, now: float) -> None:
        """Go on for the share of the time since the last step; `now` is monotonic seconds."""
        if self._libc is None or now < self._rests_until:
            return
        saved = self._credit + _SHARE * (now - self._stepped_at)
        self._credit = min(saved, _SHARE * _MOST_SAVED)
        self._stepped_at = now
        if not self._ranges:
            self._ranges = [at for at in _ranges() if at not in self._before]
            self.done.intersection_update(self._ranges)
            self._last = len(self.done)
        while self._ranges and self._credit > 0.0:
            begin = time.thread_time()  # to wait for a processor takes none
            self._collapse(self._ranges.pop())
            self._credit -= time.thread_time() - begin
        if not self._ranges:
            self._rests_until = now + (_REST if len(self.done) > self._last else _LONG_REST)

    def _collapse(self, at: int) -> None:
        """Make one page of what begins at `at`, if it is still there and in use."""
        if self._libc.mincore(at, PAGE, self._missing) != 0:
            return
        if self._missing.raw.count(b"\0") > _MAX_MISSING:
            return
        if self._libc.madvise(at, PAGE, _MADV_COLLAPSE) == 0:
            self.done.add(at)  # one that is large already is done at once
        else:
            self._refusal = self._refusal or ctypes.get_errno()
            self.refused += 1
