"""What happens between a fork and a child's main function.

A child is born with the supervisor's signal handlers and wake-up descriptor; both are taken away first.
Terminals and service managers send SIGINT and SIGTERM to whole groups: children ignore them, because the
supervisor tells them to drain. It never returns into the supervisor's stack: whatever happens ends in
`os._exit`.
"""

import gc
import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

CRASHED: Final = 70  # precedent: EX_SOFTWARE of sysexits.h
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE)


def reset_signals() -> None:
    """Forget the parent's handlers."""
    signal.set_wakeup_fd(-1)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def fork_child(name: str, main: Callable[[], int]) -> int:
    """Fork a child that runs `main`; return its process id. Raises `OSError`.

    Signals are held back across the fork, so that none meets the parent's handlers in the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (*_IGNORED, signal.SIGCHLD))
    try:
        pid = os.fork()
        if pid == 0:
            run_child(name, main)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def run_child(name: str, main: Callable[[], int]) -> NoReturn:
    """Run `main` as the whole life of this process and exit with what it returns."""
    status = CRASHED
    try:
        reset_signals()
        gc.enable()  # a supervisor that starts up does without
        status = main()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else CRASHED
    except BaseException:
        # One write of whole lines: others write to the same stderr.
        text = f"headgate {name} (process {os.getpid()}) crashed\n{traceback.format_exc()}"
        try:
            if stat.S_ISREG(os.fstat(2).st_mode):
                os.lseek(2, 0, os.SEEK_END)  # events are appended by others: this must not go over them
            os.write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def woken(number: int, frame: object) -> None:
    """A handler must exist for the wake-up descriptor to be written; the work is done in the supervisor's loop."""


def reap_ended() -> list[tuple[int, int]]:
    """Reap every child that has ended; return their process ids and wait statuses."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended  # there is none at all
        if pid == 0:
            return ended
        ended.append((pid, status))


def reap(pid: int) -> None:
    """Wait for a child that was ended."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
