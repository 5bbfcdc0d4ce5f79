"""A machine that gives a worker no processor is not taken for a slow disk."""

import os
import signal
import time
import zlib

import pytest

from headgate.cache.store.bodies import SLOW
from headgate.cache.store.stopwatch import Stopwatch


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


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
