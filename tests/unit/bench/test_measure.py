"""CPU and memory of a process tree."""

import os
import subprocess
import sys

from bench import measure

# A parent that does nothing and a child that burns 0.2 s of CPU, then waits.
BURN = (
    "import time\n"
    "while time.process_time() < 0.2: pass\n"
    "held = bytearray(b'x' * (16 << 20))\n"
    "print('done', flush=True); input()\n"
)
TREE = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"


def test_the_whole_tree_is_measured():
    process = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"done\n"
        pids = measure.tree(process.pid)
        assert len(pids) == 2
        assert pids[0] == process.pid
        assert 0.19e9 < measure.cpu_ns(pids[1:]) < 5e9
        assert measure.cpu_ns(pids) > measure.cpu_ns(pids[1:])
        assert measure.pss_bytes(pids) > 16 << 20
        measure.settle(pids)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)
    assert measure.cpu_ns(pids) == 0
    assert measure.pss_bytes(pids) == 0


def test_parents_are_read_for_names_with_parentheses():
    assert measure.parents()[os.getpid()] == os.getppid()


# A thread that burns 0.2 s of CPU and ends, before the process waits.
THREAD = (
    "import threading, time\n"
    "def burn():\n"
    "    while time.thread_time() < 0.2: pass\n"
    "thread = threading.Thread(target=burn)\n"
    "thread.start(); thread.join()\n"
    "print('done', flush=True); input()\n"
)


def test_what_threads_have_used_that_are_gone_counts():
    process = subprocess.Popen([sys.executable, "-c", THREAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"done\n"
        assert measure.cpu_ns([process.pid]) > 0.2e9
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)
