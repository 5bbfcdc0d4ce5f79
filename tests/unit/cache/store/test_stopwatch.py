"""How long a disk had us wait: on a machine that is busy with others it is not the disk's fault."""

import os
import time

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
