"""Pipes through which the kernel moves octets from one socket to another: splice(2), without copying them to us.

The pages that a socket received hang in a pipe and go out through another socket; their octets are never touched.
Two calls for each piece, as with read and write, so that it pays for much data and costs more for little: who relays
takes a pipe when a whole read was full, and gives it back as soon as it is empty. So pipes are held where data is
stuck in them, and nowhere else; those that are given back are kept for the next, because making one costs calls too.

A pipe is our memory in the kernel's hands: `MAX_PIPES` bounds how many there are, `PIPE_SIZE` what each holds. Who
gets none reads and writes as before. So does who finds that the kernel does not splice a kind of descriptor (EINVAL).

Size matters: through 1 MiB a gibibyte of loopback costs two thirds of reading and writing it, through 64 KiB more.
"""

import errno
import fcntl
import os
from typing import Final, final

PIPE_SIZE: Final = 1024 * 1024
# The least that is worth its calls.
LEAST_PIPE_SIZE: Final = 256 * 1024
# Pipes of one worker, two descriptors each, for directions of relays in which octets are stuck: the kernel lets an
# unprivileged user have 64 MiB in all (pipe-user-pages-soft). HAProxy makes them for a quarter of its connections.
MAX_PIPES: Final = 64
# Empty ones that are kept for the next.
MAX_SPARE_PIPES: Final = 16

_splice: Final = os.splice
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)

# What `fill` says beside a number of octets.
ENDED: Final = 0
NOTHING: Final = -1


@final
class Pipe:
    """Both ends of a pipe, and how many octets wait in it."""

    def __init__(self) -> None:
        """Raises `OSError` when there is no descriptor left."""
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        self.size = _grown(self._in)

    def __repr__(self) -> str:
        return f"<Pipe {self._out} {self.held} held>"

    def fill(self, source: int) -> int:
        """Take octets from a socket into the empty pipe; ENDED or NOTHING when there are none. Raises `OSError`."""
        try:
            got = _splice(source, self._in, self.size, None, None, _FLAGS)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return NOTHING
            raise
        self.held += got
        return got

    def drain(self, target: int) -> bool:
        """Let a socket have what is held; tell whether it took all. Raises `OSError`."""
        while self.held > 0:
            try:
                self.held -= _splice(self._out, target, self.held, None, None, _FLAGS)
            except OSError as error:
                if error.errno in _WOULD_BLOCK:
                    return False
                raise
        return True

    def take_back(self) -> bytes:
        """Return what is held, for a socket that does not take it from a pipe."""
        data = b""
        while self.held > 0:
            piece = os.read(self._out, self.held)
            self.held -= len(piece)
            data += piece
        return data

    def close(self) -> None:
        """Close both ends, and throw away what is held."""
        self.held = 0
        if self._out >= 0:
            os.close(self._out)
            os.close(self._in)
            self._out = self._in = -1


def _grown(fd: int) -> int:
    """Make a pipe as large as may be; return its size."""
    for size in (PIPE_SIZE, LEAST_PIPE_SIZE):
        try:
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            continue  # beyond what the user may have in all, or what one pipe may (pipe-max-size)
    return 0


@final
class Pipes:
    """All pipes of one process; `most` is lowered once the kernel grants no more."""

    def __init__(self, most: int = MAX_PIPES) -> None:
        self.made = 0
        self.most = most
        self._spare: list[Pipe] = []

    def __repr__(self) -> str:
        return f"<Pipes {self.made} made, {len(self._spare)} spare>"

    def take(self) -> Pipe | None:
        """Return an empty pipe; None: there are enough, or no descriptors."""
        if self._spare:
            return self._spare.pop()
        if self.made >= self.most:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        if pipe.size < LEAST_PIPE_SIZE:
            pipe.close()
            self.most = self.made
            return None
        self.made += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Have a pipe back; one that still holds octets is closed, for they are somebody's."""
        if pipe.held == 0 and len(self._spare) < MAX_SPARE_PIPES:
            self._spare.append(pipe)
        else:
            self.made -= 1
            pipe.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        for pipe in self._spare:
            pipe.close()
        self.made -= len(self._spare)
        self._spare.clear()


PIPES: Final = Pipes()
