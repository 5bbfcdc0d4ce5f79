"""Kill -9, of the writer and of workers, at any moment: no wrong octet is ever found afterwards.

Every worker stores content that is made from its key, and reads what all have stored: it ends with status 3 when
anything is not what its key makes. The rounds share one root, and the index is walked through after each.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.cache.store.crash_worker import BUDGET, KEYS, is_right
from tests.unit.cache.store.responses import WriterProcess, key_of, whole

from headgate.cache.store.check import check_in_child
from headgate.cache.store.disk import DiskStore

LONG_ENOUGH = 20.0
ROOT = Path(__file__).parents[4]


def start_worker(root, address, seed):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.cache.store.crash_worker", root, address, str(seed)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def kill(process):
    """Kill a worker; see that it had found nothing wrong."""
    process.kill()
    process.stdout.close()
    assert process.wait() == -9


def wait(condition):
    deadline = time.monotonic() + LONG_ENOUGH
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def right_and_wrong(root, address):
    """Return how many keys are found with the right content; nothing may be wrong."""
    store = DiskStore(root, BUDGET, address, lambda *words: None)
    right = 0
    for number in range(KEYS):
        for variant in store.get(key_of(number)):
            assert is_right(number, whole(variant.body))
            right += 1
    assert store.corrupt == 0
    store.close()
    return right


def rounds():
    return 200 if os.environ.get("HEADGATE_SOAK") else 20


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_killed_at_any_moment_nothing_wrong_is_found(disk):
    root, address = str(disk / "cache"), str(disk / "writer.sock")
    chance = random.Random(7)
    writer = WriterProcess(root, address, BUDGET)
    workers = [start_worker(root, address, seed) for seed in range(2)]
    found = []
    try:
        for number in range(rounds()):
            before = os.stat(f"{root}/index/data.mdb").st_mtime_ns
            wait(lambda before=before: os.stat(f"{root}/index/data.mdb").st_mtime_ns > before)
            time.sleep(chance.random() * 0.1)  # no condition is waited for: any moment is the point
            if number % 2:
                writer.kill()
                check_in_child(root, BUDGET)
                found.append(right_and_wrong(root, address))
                writer.start()
            if number % 3 != 1:
                kill(workers.pop(0))
                workers.append(start_worker(root, address, 100 + number))
            assert [process.poll() for process in workers] == [None, None]
    finally:
        for process in workers:
            process.kill()
            process.stdout.close()
            process.wait()
        writer.kill()
    assert writer.warnings() == []
    assert max(found) > 20
