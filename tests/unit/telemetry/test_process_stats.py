"""Memory and descriptors, as the kernel counts them."""

import os
import resource
import subprocess
import sys

from headgate.telemetry import process_stats


def test_memory_that_is_used_is_seen():
    before = process_stats.resident_bytes()
    held = bytearray(b"x" * (32 << 20))
    assert process_stats.resident_bytes() - before > 24 << 20
    del held


def test_open_files_are_counted():
    before = process_stats.open_files()
    pairs = [os.pipe() for _ in range(10)]
    try:
        assert process_stats.open_files() == before + 20
    finally:
        for fd in (fd for pair in pairs for fd in pair):
            os.close(fd)


def test_another_process_and_one_that_is_gone():
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        child.stdout.readline()
        assert process_stats.resident_bytes(child.pid) > 1 << 20
        assert process_stats.open_files(child.pid) >= 3
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)
    assert process_stats.resident_bytes(child.pid) == 0
    assert process_stats.open_files(child.pid) == 0


def test_limits():
    assert process_stats.open_files_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 << 20 < process_stats.memory_limit() <= machine
