"""Readiness: which descriptor wakes which object.

The worker's uvloop runs timers and the few tasks there are (dialling, DNS). Connections are not its business: they
sit in one epoll set of their own, which is a single descriptor to uvloop. A wake-up then costs one lookup and
one native method call instead of a libuv handle, a Python `Handle` and a context switch: some 0.6 us less for each
event, and a request has at least two of them.

Level-triggered: whoever does not read is woken again, so a `Pollable` that wants no more takes its interest back.

A round reads first and writes last. What owners have to write while the events of a round are handed out, they may
`defer` to its end: all reading, parsing and routing then runs in a row, and so does all writing, each with its code
still in the processor's caches; several small writes to one socket become one; and a peer on this machine is woken
once for many answers instead of falling asleep between any two. Measured over 64 connections: a quarter of the
CPU of a proxied request.

Timers and tasks run between rounds. Who defers something there begins one: `_alarm` is always readable, and watched
once for each time that it is needed.
"""

import os
import select
import time
from typing import Final

from mypy_extensions import mypyc_attr

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
# Events for one wake-up: enough to pay for the wake-up, few enough that timers and tasks get their turn.
MAX_EVENTS: Final = 256
# Owners that wait for the end of a round: nobody's answer waits for more than so many other requests.
MAX_DEFERRED: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True)
class Pollable:
    """Something that owns a descriptor. An exception from here closes this one object and nobody else."""

    def on_readable(self) -> None:
        """Bytes, the end of the stream or an error wait on the descriptor."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """The descriptor takes bytes again."""
        raise NotImplementedError

    def write_deferred(self) -> None:
        """The round for whose end this owner asked is over."""
        raise NotImplementedError

    def on_crash(self, error: Exception) -> None:
        """One of the three above raised: a defect of ours. Close, tell, and leave everybody else alone."""
        raise NotImplementedError


class Poller:
    """One epoll set. `now` is the loop time (monotonic seconds) of the current wake-up: read it, never ask again."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Pollable] = {}
        self._deferred: list[Pollable] = []
        self._alarm: int = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._alarm, 0)
        self.in_round = False
        self.is_short = False  # of memory: reads stay small
        self.now: float = time.monotonic()

    def __repr__(self) -> str:
        return f"<Poller {len(self._owners)} descriptors>"

    def __len__(self) -> int:
        return len(self._owners)

    def fileno(self) -> int:
        """Return the descriptor that is readable while any registered one is ready."""
        return self._epoll.fileno()

    def add(self, fd: int, owner: Pollable, interest: int) -> None:
        """Watch `fd`. Raises `OSError` when the kernel refuses (its limit of watches)."""
        self._epoll.register(fd, interest)
        self._owners[fd] = owner

    def replace(self, fd: int, owner: Pollable) -> None:
        """Give a watched descriptor to another owner: the same connection in another role."""
        self._owners[fd] = owner

    def change(self, fd: int, interest: int) -> None:
        """Change what wakes the owner of `fd`; 0 leaves only errors and hang-ups."""
        self._epoll.modify(fd, interest)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`, which stays open."""
        if self._owners.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`, which is closed next: the kernel then takes it out of the set by itself."""
        self._owners.pop(fd, None)

    def defer(self, owner: Pollable) -> None:
        """Call `owner.write_deferred()` at the end of this round, or of the next, which then begins at once."""
        if not self.in_round and not self._deferred:
            self._epoll.modify(self._alarm, READ | select.EPOLLONESHOT)
        self._deferred.append(owner)

    def dispatch(self) -> None:
        """Wake the owners of everything that is ready now, then those that asked for the end of the round."""
        self.now = time.monotonic()
        owners = self._owners
        self.in_round = True
        for fd, mask in self._epoll.poll(0, MAX_EVENTS):
            owner = owners.get(fd)
            if owner is None:
                continue  # closed by an earlier event of this round
            try:
                if mask & ~WRITE:
                    owner.on_readable()
                if mask & WRITE and owners.get(fd) is owner:
                    owner.on_writable()
            except Exception as error:
                owner.on_crash(error)
            if len(self._deferred) >= MAX_DEFERRED:
                self._end_round()
        self.in_round = False
        if self._deferred:
            self._end_round()

    def _end_round(self) -> None:
        deferred = self._deferred
        self._deferred = []
        for owner in deferred:
            try:
                owner.write_deferred()
            except Exception as error:
                owner.on_crash(error)

    def close(self) -> None:
        """Close the set; the descriptors in it are their owners' business."""
        self._epoll.close()
        if self._alarm >= 0:
            os.close(self._alarm)
            self._alarm = -1
