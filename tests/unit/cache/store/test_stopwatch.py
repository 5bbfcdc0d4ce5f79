"""How long a disk had us wait: on a machine that is busy with others it is not the disk's fault."""

import os
import signal
import time
import zlib

import pytest

from headgate.cache.store.bodies import SLOW
from headgate.cache.store.stopwatch import FRESH, Stopwatch


@pytest.fixture
def watch():
    made = Stopwatch()
    yield made
    made.close()


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_what_we_slept_is_waited(watch):
    begun = watch.begin()
    time.sleep(2 * SLOW)
    # What was asked before may be older, by FRESH, and we may have had no processor since.
    assert watch.waited(begun, SLOW) >= 2 * SLOW - FRESH - 0.02


def test_what_we_computed_is_not(watch):
    begun = watch.begin()
    burn(2 * SLOW)
    assert watch.now() - begun >= 2 * SLOW
    assert watch.waited(begun, SLOW) < SLOW


def test_what_is_quick_by_the_clock_is_taken_as_it_is():
    now = [100.0]
    watch = Stopwatch(lambda: now[0])
    begun = watch.begin()
    burn(0.01)
    now[0] += 0.049
    assert watch.waited(begun, SLOW) == pytest.approx(0.049)
    now[0] += 0.1
    assert watch.waited(begun, SLOW) < 0.14, "what was computed is taken off"
    watch.close()


def test_what_comes_between_the_clock_and_the_kernels_word_is_not_waited():
    ahead = [2 * SLOW]

    def now():
        read = time.monotonic()
        burn(ahead.pop() if ahead else 0.0)  # the processor is another's just then
        return read

    watch = Stopwatch(now)
    assert watch.waited(watch.begin(), 0.0) < SLOW
    watch.close()


def test_where_the_kernel_says_nothing_the_clock_decides(watch):
    watch._descriptor = os.open("/dev/null", os.O_RDONLY)
    begun = watch.begin()
    time.sleep(2 * SLOW)
    assert watch.waited(begun, SLOW) >= SLOW


def starved(path, count):
    """Read a file that is in memory, time and again, until that took as long as a slow disk so many times; return how
    long each of these waited."""
    watch = Stopwatch()
    block = bytearray(1 << 18)
    descriptor = os.open(path, os.O_RDONLY)
    seen = []
    end = time.monotonic() + 30.0
    while len(seen) < count and time.monotonic() < end:
        begun = watch.begin()
        os.preadv(descriptor, [block], 0)
        zlib.crc32(block)
        if watch.now() - begun >= SLOW:
            seen.append(watch.waited(begun, SLOW))
    return seen


def child(cpu, nice, work):
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {cpu})
            os.nice(nice)
            work()
        finally:
            os._exit(0)
    return pid


@pytest.mark.slow
def test_a_process_that_gets_no_processor_does_not_blame_the_disk(tmp_path):
    """Another one that computes all the time has the processor to itself, but for a moment now and then."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 18))
    cpu = min(os.sched_getaffinity(0))
    hog = child(cpu, 0, lambda: burn(40.0))
    reading, writing = os.pipe()
    try:
        report = child(cpu, 19, lambda: os.write(writing, " ".join(map(str, starved(path, 3))).encode()))
        os.close(writing)
        with os.fdopen(reading, "rb") as line:
            waited = [float(word) for word in line.read().split()]
        os.waitpid(report, 0)
    finally:
        os.kill(hog, signal.SIGKILL)
        os.waitpid(hog, 0)
    assert len(waited) == 3, "it was never starved"
    assert max(waited) < SLOW
