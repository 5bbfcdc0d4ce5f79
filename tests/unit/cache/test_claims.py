"""Claims that processes share: never two for one key, none of a process that is dead."""

import errno
import os
import signal

import pytest

from headgate.cache.claims import FILES, MINE, NOBODY, PLACES, Claims


@pytest.fixture
def claims():
    made = Claims()
    yield made
    made.close()


KEYS = [b"http://site/%d" % number for number in range(3000)]


def forked(claims, slot, work):
    """A process that has this slot; returns its id, and what reads the line that `work` writes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            claims.belong(slot)
            os.write(writing, work(claims))
        finally:
            os._exit(0)
    os.close(writing)
    return pid, os.fdopen(reading, "rb")


def fetched(claims):
    """Go through all keys as a worker does; return how many were ours, and the sum of their numbers."""
    mine = [number for number, key in enumerate(KEYS) if fetch(claims, key)]
    return b"%d %d" % (len(mine), sum(mine))


def fetch(claims, key):
    if claims.take(key) != MINE:
        return False
    claims.hold(key)
    claims.give_back(key)
    return True


def test_each_key_is_fetched_by_one_of_four_whatever_they_do_at_the_same_moment(claims):
    workers = [forked(claims, slot, fetched) for slot in range(4)]
    counts = []
    for pid, line in workers:
        with line:
            counts.append([int(word) for word in line.read().split()])
        os.waitpid(pid, 0)
    assert sum(count for count, _ in counts) == len(KEYS)
    assert sum(total for _, total in counts) == sum(range(len(KEYS)))
    claims.belong(7)
    assert {claims.holder(key) for key in KEYS} <= {0, 1, 2, 3}


def test_a_worker_that_dies_has_no_claim_and_its_successor_nothing_in_memory(claims):
    ready, go = os.pipe()

    def work(claims):
        assert claims.take(b"k") == MINE
        claims.hold(b"held")
        os.write(go, b".")
        signal.pause()
        return b""

    pid, line = forked(claims, 1, work)
    assert os.read(ready, 1) == b"."
    claims.belong(0)
    assert claims.take(b"k") == 1
    assert claims.owner(b"k") == 1
    assert claims.take(b"held") == 1, "asked for what it has"
    assert claims.take(b"held", (1,)) == MINE, "it was asked in vain"
    claims.give_back(b"held")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    line.close()
    assert claims.take(b"k") == MINE
    assert claims.holder(b"held") == 1
    claims.belong(1)
    assert claims.holder(b"held") == NOBODY


def test_what_is_in_memory_is_told_until_it_is_gone(claims):
    claims.belong(3)
    assert claims.holder(b"k") == NOBODY
    claims.hold(b"k")
    assert (claims.holder(b"k"), claims.take(b"k")) == (3, MINE)
    claims.slot = 2
    claims.let_go(b"k")
    assert claims.holder(b"k") == 3, "another one's"
    claims.slot = 3
    claims.let_go(b"k")
    assert claims.holder(b"k") == NOBODY


@pytest.mark.parametrize("slot", [0, 254, 255, 300])
def test_slots_beyond_an_octet_claim_and_hold_nothing(claims, slot):
    pid, line = forked(
        claims, slot, lambda claims: b"%d" % claims.take(b"k") if not claims.hold(b"h") else b""
    )
    with line:
        assert line.read() == b"-1"
    os.waitpid(pid, 0)
    claims.belong(1)
    assert claims.holder(b"h") == (slot if slot < 255 else NOBODY)


def test_of_more_than_there_is_room_for_the_last_ones_are_known(claims):
    claims.belong(1)
    count = PLACES // 4
    keys = [b"%d" % number for number in range(count)]
    for key in keys:
        claims.hold(key)
    known = sum(claims.holder(key) == 1 for key in keys)
    assert known > 0.98 * count
    for number in range(count, count + 64 * FILES):
        key = b"%d" % number
        claims.hold(key)
        assert claims.holder(key) == 1


def test_what_another_worker_has_no_more_is_forgotten_and_no_other_workers(claims):
    claims.belong(3)
    claims.hold(b"k")
    claims.belong(1)
    claims.forget(b"k", 2)
    assert claims.holder(b"k") == 3
    claims.forget(b"k", 300)
    assert claims.holder(b"k") == 3
    claims.forget(b"k", 3)
    assert claims.holder(b"k") == NOBODY


def test_closed_it_keeps_no_file_and_claims_nothing():
    before = set(os.listdir("/proc/self/fd"))
    claims = Claims()
    claims.belong(0)
    assert claims.take(b"k") == MINE
    pid, line = forked(claims, 1, lambda claims: b"%d" % claims.take(b"other"))
    with line:
        assert line.read() == b"%d" % MINE
    os.waitpid(pid, 0)
    claims.close()
    claims.close()
    assert set(os.listdir("/proc/self/fd")) == before


def refused(claims):
    """Have the kernel refuse each lock: what is behind the claims' descriptors is no file that has any."""
    for descriptor in claims._files:
        nothing = os.open("/", os.O_PATH)
        os.dup2(nothing, descriptor)
        os.close(nothing)


def test_a_lock_that_is_taken_is_no_failure_and_one_that_is_refused_is_nobodys_and_counted(claims):
    claims.belong(0)
    pid, line = forked(claims, 1, lambda claims: b"%d" % claims.take(b"k"))
    with line:
        line.read()
    os.waitpid(pid, 0)
    assert claims.take(b"k") == MINE
    claims.give_back(b"k")
    assert claims.failures == 0
    refused(claims)
    assert claims.take(b"k") == NOBODY
    assert (claims.failures, claims.failure) == (2, errno.EBADF), "the lock, and the question whose it is"
    claims.give_back(b"k")
    assert claims.failures == 3
    assert claims.owner(b"k") == NOBODY


def test_of_a_key_with_variants_each_worker_that_has_one_is_known(claims):
    for slot in (0, 1, 1):
        claims.belong(slot) if slot == 0 else setattr(claims, "slot", slot)
        claims.hold(b"k", beside=True)
    assert claims.holder(b"k") == 0, "another one's rather than ours"
    assert claims.take(b"k", (0,)) == MINE
    claims.give_back(b"k")
    claims.slot = 2
    assert {claims.holder(b"k"), claims.holder(b"k", (0,))} <= {0, 1}
    assert (claims.holder(b"k", (0,)), claims.holder(b"k", (1,))) == (1, 0)
    assert claims.take(b"k", (0, 1)) == MINE
    claims.give_back(b"k")
    claims.forget(b"k", 1)
    assert claims.holder(b"k", (0,)) == 0, "the only one that is left"
    claims.hold(b"k")
    claims.slot = 3
    assert claims.holder(b"k", (2,)) == 2, "what has no variants one worker has"
