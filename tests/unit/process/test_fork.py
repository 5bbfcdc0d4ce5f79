"""A child's frame: its signals, its exit status, its last words."""

import os
import signal

import pytest

from headgate.process.fork import CRASHED, fork_child


def status_of(main):
    return os.waitstatus_to_exitcode(os.waitpid(fork_child("test", main), 0)[1])


def exits(code):
    raise SystemExit(code)


@pytest.mark.parametrize(
    ("main", "status"),
    [(lambda: 0, 0), (lambda: 5, 5), (lambda: exits(4), 4), (lambda: exits("words"), CRASHED)],
)
def test_exit_status(main, status):
    assert status_of(main) == status


def test_crash_is_printed_whole_and_ends_the_process(capfd):
    assert status_of(lambda: 1 // 0) == CRASHED
    error = capfd.readouterr().err
    assert error.startswith("headgate test (process ")
    assert "ZeroDivisionError" in error


def test_a_crash_goes_behind_what_others_appended(tmp_path):
    path = tmp_path / "stderr"
    kept = os.dup(2)
    try:
        with path.open("wb") as stderr:
            os.dup2(stderr.fileno(), 2)  # as a shell does for `2> file`: no O_APPEND
        with path.open("ab") as other:
            other.write(b"an event\n")
        assert status_of(lambda: 1 // 0) == CRASHED
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert path.read_text().startswith("an event\nheadgate test (process ")


def test_children_ignore_the_signals_of_the_group():
    def main():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        return 7

    assert status_of(main) == 7


def test_a_signal_during_the_fork_meets_no_handler_of_the_parent():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(os.getpid()))
    try:

        def main():
            os.kill(os.getpid(), signal.SIGUSR1)
            return len(seen)

        assert status_of(main) == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [os.getpid()]
    finally:
        signal.signal(signal.SIGUSR1, before)
