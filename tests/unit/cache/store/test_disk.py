"""The disk as workers see it, over a writer in a process of its own: found, missed, degraded, killed."""

import fcntl
import os
import signal
import time

import pytest
from tests.unit.cache.store.responses import WriterProcess, key_of, response, whole

from headgate.cache.entry import SOFT_PURGED, MemoryBody
from headgate.cache.memory import MemoryStore
from headgate.cache.pieces import (
    body_at,
)
from headgate.cache.purges import HOST, TAG
from headgate.cache.store import disk as module
from headgate.cache.store import link, messages
from headgate.cache.store.bodies import INCOMING, SLOW
from headgate.cache.store.disk import PAUSE, DiskStore
from headgate.counters import TABLE
from headgate.proxy.disk_tier import DiskTier

BUDGET = 64 << 20


@pytest.fixture
def writers(disk):
    """Return what starts writers, one after the other, on one root."""
    made = []

    def make(budget=BUDGET):
        made.append(WriterProcess(disk / "cache", disk / "writer.sock", budget))
        return made[-1]

    yield make
    for writer in made:
        if writer.process.poll() is None:
            writer.kill()


@pytest.fixture
def stores(disk):
    made = []

    def make(**more):
        warnings = []
        store = DiskStore(
            str(disk / "cache"),
            BUDGET,
            str(disk / "writer.sock"),
            lambda *words: warnings.append(words),
            **more,
        )
        store.warnings = warnings
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


def put(store, number, content=b"content", **more):
    stored = response(key_of(number), content, **more)
    assert store.store(stored)
    return stored


def put_large(store, number, content, **more):
    upload = store.upload()
    for at in range(0, len(content), 100_000):
        upload.write(content[at : at + 100_000])
    stored = response(key_of(number), b"", **more)
    stored.length = len(content)
    assert store.uploaded(stored, upload)
    upload.close()


def test_what_was_stored_is_found(writers, stores):
    writer, store = writers(), stores()
    assert store.get(key_of(1)) == []
    stored = put(store, 1, b"small", vary=[(b"accept", b"a")])
    put(store, 1, b"another", vary=[(b"accept", b"b")])
    put_large(store, 2, b"large" * 100_000)
    assert store.sync(10.0)[1] == 3
    found = store.get(key_of(1))
    assert [whole(variant.body) for variant in found] == [b"small", b"another"]
    assert found[0].vary == stored.vary
    assert found[0].fields.lines == stored.fields.lines
    assert whole(store.get(key_of(2))[0].body) == b"large" * 100_000
    assert (store.hits, store.misses) == (2, 1)
    assert os.listdir(f"{store.root}/{INCOMING}") == []
    assert writer.warnings() == store.warnings == []


def test_content_that_is_too_large_for_the_index_needs_a_file(writers, stores):
    writers()
    store = stores()
    assert not store.store(response(key_of(1), bytes(messages.SMALL_CONTENT + 1)))
    put(store, 2, bytes(messages.SMALL_CONTENT))
    assert store.sync(10.0)[1] == 1


def test_no_content_at_all(writers, stores):
    writers()
    store = stores()
    put(store, 1, b"")
    store.sync(10.0)
    assert whole(store.get(key_of(1))[0].body) == b""


def test_a_new_start_finds_everything(writers, stores):
    writer, store = writers(), stores()
    put(store, 1)
    put_large(store, 2, bytes(200_000))
    store.sync(10.0)
    writer.stop()
    store.close()
    writer.start()
    again = stores()
    assert again.get(key_of(1))
    assert whole(again.get(key_of(2))[0].body) == bytes(200_000)


def test_a_removed_key_is_gone(writers, stores):
    writers()
    store = stores()
    put(store, 1)
    assert store.remove(key_of(1), 5.0)
    put(store, 1, at=4.0)
    store.sync(10.0)
    assert store.get(key_of(1)) == []


def test_a_purge_is_obeyed_at_once_and_after_a_start(writers, stores):
    writer, store = writers(), stores()
    put(store, 1, tags=[b"news"])
    put(store, 2)
    store.sync(10.0)
    assert store.get(key_of(1))
    store.purge(TAG, b"news", False, 1)
    assert store.get(key_of(1)) == []
    store.purge(HOST, b"example.org", True, 2)
    assert store.get(key_of(2))[0].flags & SOFT_PURGED
    assert store.tell_purge(TAG, b"news", False, 1)
    assert store.tell_purge(HOST, b"example.org", True, 2)
    store.sync(10.0)
    writer.stop()
    store.close()
    writer.start()
    again = stores()
    assert again.generation == 2
    assert again.get(key_of(1)) == []
    assert again.get(key_of(2))[0].flags & SOFT_PURGED


def test_what_the_writer_has_forgotten_is_forgotten_here(writers, stores):
    now = [100.0]
    writers()
    store = stores(now=lambda: now[0])
    put(store, 1)
    store.sync(10.0)
    store.purge(TAG, b"a", False, 1)
    store.tell_purge(TAG, b"a", False, 1)
    store.purge(TAG, b"b", False, 2)  # the writer does not know of it yet
    store.sync(10.0)
    now[0] += 61.0
    store.tick()
    assert [purge[0] for purge in store.purges.listed()] == [1, 2]


def test_one_recent_purge_too_many_purges_everything(writers, stores, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECENT", 2)
    writers()
    store = stores()
    put(store, 1)
    store.sync(10.0)
    for number in (1, 2):
        store.purge(TAG, b"%d" % number, False, number)
    assert store.get(key_of(1))
    store.purge(TAG, b"3", True, 3)
    assert (store.get(key_of(1)), len(store._recent), store.folded) == ([], 1, 1)
    put(store, 2, generation=store.generation)  # after it
    store.sync(10.0)
    assert store.get(key_of(2))


def damaged(store, number):
    """Return the path of the one file of a key."""
    return store.get(key_of(number))[0].body.path


@pytest.mark.parametrize("harm", ["short", "long", "gone"])
def test_a_file_that_is_not_as_long_as_it_was_is_a_miss(writers, stores, harm):
    writers()
    store = stores()
    put_large(store, 1, bytes(300_000))
    store.sync(10.0)
    path = damaged(store, 1)
    if harm == "gone":
        os.unlink(path)
    else:
        os.truncate(path, 299_999 if harm == "short" else 300_001)
    assert store.get(key_of(1)) == []
    assert store.corrupt == 1
    assert store.sync(10.0)[1] == 0  # it was removed for all
    assert [word for word, _ in store.warnings] == ["cache-disk-corrupt"]


def test_a_torn_file_is_never_read(writers, stores):
    writers()
    store = stores()
    put_large(store, 1, bytes(300_000))
    store.sync(10.0)
    with open(damaged(store, 1), "r+b") as file:
        file.seek(280_000)
        file.write(b"torn")
    body = store.get(key_of(1))[0].body
    assert body.read(0, 10) == bytes(10)
    with pytest.raises(OSError, match="not what was written"):
        whole(body)
    assert body.is_bad


def test_a_torn_record_is_a_miss_and_harms_no_other(writers, stores):
    writer, store = writers(), stores()
    needle = b"needle" * 500
    put(store, 1, needle)
    put(store, 2)
    store.sync(10.0)
    writer.stop()
    store.close()
    path = f"{store.root}/index/data.mdb"
    with open(path, "r+b") as file:
        octets = file.read()
        at = octets.rindex(needle)
        while at >= 0:
            file.seek(at + 100)
            file.write(b"torn")
            at = octets.rfind(needle, 0, at)
    writer.start()
    again = stores()
    assert again.get(key_of(1)) == []
    assert again.corrupt == 1
    assert whole(again.get(key_of(2))[0].body) == b"content"


def test_without_a_writer_nothing_is_stored_and_nobody_waits(disk, stores):
    store = stores()
    assert store.get(key_of(1)) == []
    assert not store.store(response(key_of(1)))
    assert store.upload() is None
    assert (store.link.dropped, store.warnings) == (1, [])


def test_a_writer_that_comes_later_is_found(disk, stores, writers):
    now = [100.0]
    store = stores(now=lambda: now[0])
    assert store.get(key_of(1)) == []
    assert not store.store(response(key_of(1)))
    writers()
    now[0] += 1.0
    put(store, 1)
    store.sync(10.0)
    assert store.get(key_of(1))


def test_a_writer_that_stands_still_costs_objects_not_time(writers, stores, monkeypatch):
    monkeypatch.setattr(link, "MAX_WAITING", 1 << 20)
    writer, store = writers(), stores()
    put(store, 0)
    store.sync(10.0)
    os.kill(writer.process.pid, 19)  # SIGSTOP
    begun = time.monotonic()
    for number in range(100):
        store.store(response(key_of(number), bytes(60_000)))
    assert time.monotonic() - begun < 5.0
    assert 0 < store.link.dropped < 100
    os.kill(writer.process.pid, 18)  # SIGCONT
    deadline = time.monotonic() + 20.0
    while store.link._waiting:
        store.tick()
        assert time.monotonic() < deadline
    assert store.sync(20.0)[1] == 100 - store.link.dropped


def test_an_index_made_anew_is_noticed(writers, stores):
    writer, store = writers(), stores()
    put(store, 1)
    store.sync(10.0)
    assert store.get(key_of(1))
    writer.kill()
    for name in os.listdir(f"{store.root}/index"):
        os.unlink(f"{store.root}/index/{name}")
    writer.start()
    store.tick()
    assert store.get(key_of(1)) == []
    other = stores()
    put(other, 2)
    other.sync(10.0)
    assert store.get(key_of(2))


def test_a_slow_disk_is_left_alone(writers, stores):
    """Three look-ups in a row that take too long: a pause, one warning; it is tried again later."""
    writers()
    now, step = [100.0], [0.0]

    def ticking():
        now[0] += step[0]
        return now[0]

    store = stores(now=ticking)
    put(store, 1)
    store.sync(10.0)
    assert store.get(key_of(1))
    step[0] = 2 * SLOW
    for _ in range(3):
        assert store.get(key_of(1))
    step[0] = 0.0
    assert not store.is_up
    assert store.get(key_of(1)) == []
    assert [word for word, _ in store.warnings] == ["cache-disk-unusable"]
    now[0] += PAUSE
    assert store.get(key_of(1))
    assert len(store.warnings) == 1


def test_a_disk_whose_files_are_read_slowly_is_left_alone(writers, stores):
    """Files too, which memory knows: their content is nowhere else."""
    writers()
    now, step = [100.0], [0.0]

    def ticking():
        now[0] += step[0]
        return now[0]

    store = stores(now=ticking)
    put_large(store, 1, bytes(1 << 20))
    store.sync(10.0)
    (stored,) = store.get(key_of(1))
    step[0] = 2 * SLOW
    for block in range(3):
        assert stored.body.read(block << 18, 10) == bytes(10)
    step[0] = 0.0
    assert (store.is_up, store.is_slow) == (True, False)
    store.tick()
    assert (store.is_up, store.is_slow) == (False, True)
    assert [word for word, _ in store.warnings] == ["cache-disk-unusable"]
    now[0] += PAUSE
    assert (store.is_up, store.is_slow) == (True, False)
    assert stored.body.read(3 << 18, 10) == bytes(10)
    store.fail(OSError(28, "No space left on device"))
    assert (store.is_up, store.is_slow) == (False, False)  # what is there can be read


def test_a_failed_upload_is_a_pause(writers, stores):
    writers()
    store = stores()
    put(store, 1)
    store.sync(10.0)
    store.fail(OSError(28, "No space left on device"))
    assert store.get(key_of(1)) == []
    assert store.upload() is None
    assert "No space left" in store.warnings[0][1]


def test_an_index_that_ends_too_early_is_a_warning_not_a_crash(writers, stores):
    writer, store = writers(), stores()
    for number in range(100):
        put(store, number, bytes(5000))
    store.sync(10.0)
    writer.kill()
    store.close()
    path = f"{store.root}/index/data.mdb"
    os.truncate(path, os.stat(path).st_size // 2)
    again = stores()
    assert again.get(key_of(1)) == []
    assert [word for word, _ in again.warnings] == ["cache-disk-unusable"]
    writer.start()
    assert [line.split()[0] for line in writer.warnings()] == ["cache-disk-damaged"]


def test_a_part_is_found_at_its_place_and_one_of_another_length_is_a_miss(writers, stores):
    writer, store = writers(), stores()
    for number, ranges in ((1, [(100, 107)]), (2, [(100, 108)]), (3, [(0, 3), (9, 13)])):
        stored = response(key_of(number), b"content")
        stored.body = body_at(100, MemoryBody([b"content"]))
        stored.ranges = ranges
        stored.is_complete = False
        assert store.store(stored)
    assert store.sync(10.0)[1] == 3
    (found,) = store.get(key_of(1))
    assert (found.ranges, found.body.size, found.body.read(102, 3)) == ([(100, 107)], 7, b"nte")
    assert (found.body.read(99, 3), found.body.read(107, 3)) == (b"", b"")
    assert store.get(key_of(2)) == store.get(key_of(3)) == []
    assert store.corrupt == 2
    assert [word for word, _ in store.warnings] == ["cache-disk-corrupt"]  # once, for a while
    writer.kill()


def test_what_was_invalidated_is_remembered_for_as_long_as_a_writer_stands_still(writers, stores):
    writer, store = writers(), stores()
    put(store, 1)
    assert store.sync(20.0)[1] == 1
    memory = MemoryStore(1 << 20)
    tier = DiskTier(store, memory, [0] * len(TABLE))
    assert tier.find(key_of(1)) is not None
    memory.remove(key_of(1))
    writer.process.send_signal(signal.SIGSTOP)  # as where its disk takes a minute to flush
    tier.remove(key_of(1), 100.0, time.time() + 1.0)
    tier.purge(HOST, b"other.example", False, 1, 100.0)
    for second in range(101, 160):
        tier.sweep(float(second))
    assert tier.find(key_of(1)) is None
    writer.process.send_signal(signal.SIGCONT)
    assert store.sync(20.0)[1] == 0
    tier.sweep(160.0)
    assert (tier._removing, tier._purging) == ({}, [])
    assert tier.find(key_of(1)) is None


@pytest.mark.parametrize("is_away", [False, True])
def test_a_worker_that_begins_while_nothing_can_be_written_believes_nothing_older(
    writers, stores, disk, is_away
):
    before = writers()
    store = stores()
    put(store, 1)
    assert store.sync(20.0)[1] == 1
    before.stop()
    with open(disk / "cache" / "lock", "rb") as lock:
        if is_away:
            fcntl.flock(lock, fcntl.LOCK_EX)
        writers()
        later = stores()
        tier = DiskTier(later, MemoryStore(1 << 20), [0] * len(TABLE))
        deadline = time.monotonic() + 20.0
        while tier._is_new:
            tier.sweep(time.monotonic())
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert later.link.is_written is not is_away
        assert (tier.find(key_of(1)) is None) is is_away
