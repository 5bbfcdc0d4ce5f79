"""Memory is put together into large pages: what is in use, and nothing that was there before."""

import mmap
import subprocess
import sys

import pytest

from headgate.cache.huge_pages import PAGE, HugePages, are_allowed

STEPS = """
import mmap, re, sys
from headgate.cache.huge_pages import PAGE, HugePages

def large():
    said = open("/proc/self/smaps_rollup").read()
    return int(re.search(r"AnonHugePages: +([0-9]+) kB", said)[1]) * 1024 // PAGE

def mapped(share):
    made = mmap.mmap(-1, 9 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, int(len(made) * share), 4096):
        made[at] = 1
    return made

before = mapped(1.0)
huge = HugePages()
after = [mapped(float(share)) for share in sys.argv[1:]]
first = large()
now = 0.0
for _ in range(200):
    huge.step_aside(now)
    if huge.thread is not None:
        huge.thread.join(30.0)
    now += 60.0
assert all(made[0] == 1 for made in after)
print(large() - first, len(huge.done), huge.refused)
"""


def stepped(*shares):
    """Return how many large pages a process has more, has made and was refused."""
    command = [sys.executable, "-c", STEPS, *map(str, shares)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return [int(number) for number in said.split()]


@pytest.mark.parametrize(("shares", "least", "most"), [((1.0,), 8, 12), ((0.05,), 0, 3), ((), 0, 3)])
def test_pages_in_use_become_large_ones(shares, least, most):
    """Nine of 2 MiB, of which eight are whole; the process's own memory may make some more. A kernel before 6.1, or
    one with no room, refuses them."""
    more, done, refused = stepped(*shares)
    if not are_allowed():
        least = most = 0
    assert done <= most
    assert more <= most
    assert done + refused >= least
    assert refused or more >= least


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("always [madvise] never\n", True),
        ("[always] madvise never\n", True),
        ("always madvise [never]\n", False),
    ],
)
def test_the_switch_of_the_system_is_obeyed(tmp_path, said, allowed):
    switch = tmp_path / "enabled"
    switch.write_text(said)
    assert are_allowed(str(switch)) is allowed


def test_a_system_without_large_pages(tmp_path):
    assert not are_allowed(str(tmp_path / "enabled"))


def test_what_comes_later_is_found_in_a_later_round():
    huge = HugePages()
    for second in range(200):
        huge.step(float(second))
    made = mmap.mmap(-1, 9 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(made), 4096):
        made[at] = 1
    done = len(huge.done) + huge.refused
    huge.step(199.0)  # it rests
    assert len(huge.done) + huge.refused == done
    for second in range(300, 500):
        huge.step(float(second))
    assert len(huge.done) + huge.refused >= done + (8 if are_allowed() else 0)
    made.close()


SWEPT = """
import mmap, time
from headgate.cache.huge_pages import PAGE, HugePages

huge = HugePages()
made = mmap.mmap(-1, 65 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(made), 4096):
    made[at] = 1
steps = 0
begun = time.process_time()
while len(huge.done) + huge.refused < 64 and steps < 2000:
    huge.step(0.5 * steps)
    steps += 1
print(len(huge.done) + huge.refused, (time.process_time() - begun) / (0.5 * steps))
"""


def test_a_step_for_each_sweep_takes_its_share_of_a_processor():
    """Not a hundredth of it: a step of a millisecond each half second left a gigabyte in small pages for minutes."""
    said = subprocess.run(
        [sys.executable, "-c", SWEPT], capture_output=True, text=True, timeout=120, check=True
    )
    made, share = map(float, said.stdout.split())
    if are_allowed():
        assert made >= 64
        assert share >= 0.01
    assert share <= 0.2  # it began with the share of a second


REFUSED = """
import mmap
from headgate.cache.huge_pages import PAGE, HugePages

told = []
huge = HugePages(lambda word, detail: told.append((word, detail)))
made = mmap.mmap(-1, 9 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(made), 4096):
    made[at] = 1
made.madvise(mmap.MADV_NOHUGEPAGE)
for second in range(200):
    huge.step_aside(60.0 * second)
    if huge.thread is not None:
        huge.thread.join(30.0)
print(huge.refused)
for word, detail in told:
    print(word, detail)
"""


def test_a_page_that_is_refused_is_told_once():
    """By a real refusal: of memory that is not to be in large pages."""
    command = [sys.executable, "-c", REFUSED]
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout.splitlines()
    if not are_allowed():
        assert said == ["0"]
        return
    assert int(said[0]) >= 8
    assert len(said) == 2
    assert said[1].startswith("cache-huge-pages a page of 2 MiB was refused: Invalid argument (errno 22): ")
