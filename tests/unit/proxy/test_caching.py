"""What all cached routes of a worker share."""

import time

import pytest

from headgate import counters
from headgate.cache.entry import INVALIDATED, MemoryBody, StoredResponse
from headgate.cache.huge_pages import HugePages, are_allowed
from headgate.cache.memory import MemoryStore
from headgate.cache.outcome import OUTCOMES
from headgate.cache.purges import KINDS, MAX_INVALID, MAX_PURGES
from headgate.cache.purges import URL as URL_KIND
from headgate.counters import CACHE_HELD, CACHE_PURGE_KINDS, TABLE
from headgate.http.fields import Fields
from headgate.proxy.caching import (
    LIMIT_INVALIDATIONS,
    LIMIT_PURGES,
    LOOK_SECONDS,
    RETRY_SECONDS,
    Cache,
    Moments,
)

URL = b"http://a.example/x"


def test_the_counters_have_the_outcomes_in_their_order():
    assert CACHE_PURGE_KINDS == KINDS
    rows = TABLE[counters.CACHE_FIRST : counters.CACHE_FIRST + len(OUTCOMES)]
    assert [dict(row.labels)["outcome"] for row in rows] == [outcome.lower() for outcome in OUTCOMES]


def test_room_for_what_is_being_stored_at_the_limit_and_one_more():
    values = [0] * len(TABLE)
    cache = Cache(MemoryStore(1 << 20), values, shows=True)
    assert cache.has_room(1 << 18)
    assert not cache.has_room((1 << 18) + 1)
    values[CACHE_HELD] = 1 << 18
    assert cache.has_room(0)
    values[CACHE_HELD] += 1
    assert not cache.has_room(0)


def test_what_one_worker_knows_to_be_old_another_does_not_use_unconfirmed(tmp_path):
    """RFC 9111 section 4.4, with the parts that a key may have behind its URL."""
    one, other = (Cache(MemoryStore(1 << 20), [0] * len(TABLE), shows=True) for _ in range(2))
    one.moments, other.moments = (Moments(str(tmp_path / "moments")) for _ in range(2))
    for key in (URL, URL + b"\nslice:1"):
        stored = StoredResponse(key, 200, b"OK", Fields([], []), MemoryBody([b"x"]))
        stored.request_time = 100.0
        other.keep(stored)
        one.invalidate(URL, 100.5)
        found = other.find(key)
        assert found is not None
        assert found.variants == (stored,)
        assert found.invalid_before == 100.5
    one.invalidate(URL, 99.0)
    assert other.moments.of(URL) == 100.5


def test_moments_that_are_still_to_come_are_forgotten(tmp_path):
    """The clock was set back: what is asked for now would be old already."""
    path = str(tmp_path / "moments")
    before = Moments(path)
    now = time.time()
    before.set(URL, now + 1000.0)
    before.set(b"http://b.example/", now)
    before.set(b"http://c.example/", float("nan"))
    after = Moments(path)
    assert (after.of(URL), after.of(b"http://b.example/")) == (0.0, now)
    assert after.of(b"http://c.example/") == 0.0


def sharing(path):
    """A cache of a worker that shares moments at `path`, and what it tells."""
    cache, told = Cache(MemoryStore(1 << 20), [0] * len(TABLE), shows=True), []
    cache.moments = Moments(str(path))
    cache.warn = lambda word, detail: told.append((word, detail))
    return cache, told


def test_moments_whose_file_was_removed_are_shared_again(tmp_path):
    """Else a worker that starts anew has a table of its own, and serves what others know to be old."""
    path = tmp_path / "moments"
    (one, told), (other, _) = sharing(path), sharing(path)
    now = time.time()
    one.moments.set(URL, now)
    path.unlink()
    restarted, _ = sharing(path)
    restarted.moments.set(b"http://b.example/", now + 0.25)
    for cache in (one, other, restarted):
        cache.sweep(1000.0)
    one.moments.set(b"http://c.example/", now + 0.5)
    for cache in (one, other, restarted):
        found = [cache.moments.of(url) for url in (URL, b"http://b.example/", b"http://c.example/")]
        assert found == [now, now + 0.25, now + 0.5]
    detail = f"{path}: it was removed, and is shared again with all that is known here"
    assert told == [("cache-moments", detail)]
    one.sweep(1000.0 + LOOK_SECONDS)
    assert len(told) == 1


def test_moments_that_cannot_be_shared_again_are_kept_and_tried_later(tmp_path):
    path = tmp_path / "moments"
    cache, told = sharing(path)
    now = time.time()
    cache.moments.set(URL, now)
    path.unlink()
    path.mkdir()
    cache.sweep(1000.0)
    ((word, detail),) = told
    assert word == "cache-moments"
    assert f"{path}: it was removed: Is a directory (errno 21)" in detail
    assert cache.moments.of(URL) == now
    path.rmdir()
    cache.sweep(1000.0 + RETRY_SECONDS - 0.1)
    assert not path.exists()
    cache.sweep(1000.0 + RETRY_SECONDS)
    assert Moments(str(path)).of(URL) == now


def test_moments_are_in_a_file_of_their_own(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="link"):
        Moments(str(tmp_path / "link"))
    assert not (tmp_path / "other").exists()


def test_moments_have_all_their_room_from_the_start(tmp_path):
    """A page without room on a full disk would end the process that writes to it."""
    path = tmp_path / "moments"
    path.touch()
    Moments(str(path))
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 8 << 18
    with path.open("r+b") as file:
        file.truncate(1 << 20)  # of a gate of another version, or whoever
    Moments(str(path))
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 8 << 18


def told_of(cache):
    told = []
    cache.warn = lambda word, detail: told.append((word, detail))
    cache.keep(StoredResponse(URL, 200, b"OK", Fields([], []), MemoryBody([b"x"])))
    return told


def test_one_invalidation_too_many_is_counted_and_told():
    """Keys have further parts, so that an unsafe request is a note that is kept until all was looked at."""
    values = [0] * len(TABLE)
    cache = Cache(MemoryStore(1 << 20), values, shows=True)
    told = told_of(cache)
    cache.has_parts = True
    counted = counters.CACHE_LIMITED_FIRST + LIMIT_INVALIDATIONS
    for number in range(MAX_INVALID):
        cache.invalidate(b"http://a.example/%d" % number, 100.0)
    cache.sweep(1.0)
    assert (values[counted], told) == (0, [])
    cache.invalidate(b"http://a.example/one-more", 100.0)
    for now in (2.0, 3.0):
        cache.sweep(now)
    assert values[counted] == 1
    ((word, detail),) = told
    assert word == "cache-limit"
    assert detail.startswith("unsafe requests for more than 65536 URLs")
    entry = cache.find(URL)
    assert entry is not None
    assert [variant.flags & INVALIDATED for variant in entry.variants] == [INVALIDATED]


def test_one_purge_too_many_is_counted_and_told():
    values = [0] * len(TABLE)
    cache = Cache(MemoryStore(1 << 20), values, shows=True)
    told = told_of(cache)
    counted = counters.CACHE_LIMITED_FIRST + LIMIT_PURGES
    for number in range(MAX_PURGES):
        cache.purge(URL_KIND, b"http://a.example/%d" % number, False, 0)
    cache.sweep(1.0)
    assert (values[counted], told) == (0, [])
    assert cache.find(URL) is not None
    cache.purge(URL_KIND, b"http://a.example/one-more", False, 0)
    for now in (2.0, 3.0):
        cache.sweep(now)
    assert values[counted] == 1
    ((word, detail),) = told
    assert word == "cache-limit"
    assert detail.startswith("more than 65536 purges")
    assert cache.find(URL) is None


@pytest.mark.parametrize("count", [500, 1200])
def test_a_store_of_more_than_64_mib_has_its_memory_put_together(count):
    cache = Cache(MemoryStore(1 << 30), [0] * len(TABLE), shows=True)
    huge = cache.huge_pages = HugePages()
    for number in range(count):
        body = MemoryBody([b"x" * 65_536])
        cache.keep(StoredResponse(b"http://a/%d" % number, 200, b"OK", Fields([], []), body))
    for second in range(20):
        cache.sweep(float(second))
        if huge.thread is not None:
            huge.thread.join(30.0)
    assert bool(len(huge.done) + huge.refused) is (count == 1200 and are_allowed())
