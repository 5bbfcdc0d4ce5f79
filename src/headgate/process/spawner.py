"""The spawner: a blank copy of the supervisor from which keepers and the processes of applications are forked.

The keeper talks to responders all over the world and must hold no private key, not even in a page of memory
that it inherited. The first keeper could be forked before any key is read, a restarted one could not. So
the supervisor forks this process at its very start; it never reads a key, a file or a peer, it only waits
for "start" with a control socket (SCM_RIGHTS), forks a child and answers with its process id.

An application may run anything, and holds no key for the same reason.

The fork is a double one: the child's parent exits at once, and the supervisor, which is a child subreaper
(PR_SET_CHILD_SUBREAPER), inherits the child. So the supervisor reaps all of its children in one place.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from headgate.errors import HeadgateError
from headgate.process.fork import fork_child, run_child

_PR_SET_CHILD_SUBREAPER: Final = 36
_REQUEST: Final = struct.Struct(">iI")  # which child (`Child.slot`), and its generation
_REPLY: Final = struct.Struct(">i")  # its process id, or minus the errno of the fork that failed
_NAMES: Final = {-1: "keeper", -2: "cache writer"}
# What a child does: its control socket, slot and generation; returns its exit status.
Life: TypeAlias = Callable[[socket.socket, int, int], int]
# Forking takes milliseconds; a machine that swaps may need seconds.
_ANSWER_TIMEOUT: Final = 10.0


class SpawnError(HeadgateError):
    """No child could be forked."""


def become_subreaper() -> None:
    """Make orphaned descendants our children. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Spawner:
    """The supervisor's handle. Make it before anything secret is read.

    `child` runs in a new child with its control socket, slot and generation; `forget` runs in the spawner and
    closes what it must not keep open.
    """

    def __init__(self, child: Life, forget: Callable[[], None]) -> None:
        become_subreaper()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def serve() -> int:
            ours.close()
            forget()
            return _serve(theirs, child)

        self.pid = fork_child("spawner", serve)
        theirs.close()
        self._socket = ours
        self._socket.settimeout(_ANSWER_TIMEOUT)

    def fork(self, control: socket.socket, slot: int, generation: int) -> int:
        """Fork a child that owns `control`; return its process id. Raises `SpawnError`."""
        try:
            socket.send_fds(self._socket, [_REQUEST.pack(slot, generation)], [control.fileno()])
            answer = self._socket.recv(_REPLY.size)
        except OSError as exc:
            raise SpawnError(f"the spawner (process {self.pid}) does not answer: {exc}") from exc
        if len(answer) != _REPLY.size:
            raise SpawnError(f"the spawner (process {self.pid}) is gone")
        (pid,) = _REPLY.unpack(answer)
        if pid < 0:
            raise SpawnError(f"fork: {os.strerror(-pid)} (errno {-pid})")
        return int(pid)

    def close(self) -> None:
        """End the spawner: it reads end of file and exits."""
        self._socket.close()


def _serve(requests: socket.socket, child: Life) -> int:
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(requests, _REQUEST.size, 1)
        if not data:
            return 0
        control = socket.socket(fileno=descriptors[0])
        slot, generation = _REQUEST.unpack(data)
        try:
            middle = os.fork()
        except OSError as exc:
            requests.send(_REPLY.pack(-(exc.errno or 1)))
        else:
            if middle == 0:
                _fork_spawned(requests, control, slot, generation, child)
            os.waitpid(middle, 0)
        control.close()


def _fork_spawned(
    requests: socket.socket,
    control: socket.socket,
    slot: int,
    generation: int,
    child: Life,
) -> NoReturn:
    """In the middle process: fork the child, report it, exit."""
    try:
        pid = os.fork()
    except OSError as exc:
        pid = -(exc.errno or 1)
    if pid == 0:
        requests.close()
        run_child(_NAMES.get(slot, "application"), lambda: child(control, slot, generation))
    requests.send(_REPLY.pack(pid))
    os._exit(0)
