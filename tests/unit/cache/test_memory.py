"""The store in memory: who stays, who leaves, what is counted, what purges do."""

import pytest

from headgate.cache.cost import KEY_COST, cost_of
from headgate.cache.entry import INVALIDATED, SOFT_PURGED, FileBody, KeyEntry, MemoryBody, StoredResponse
from headgate.cache.memory import MemoryStore
from headgate.cache.pieces import (
    PartialBody,
)
from headgate.cache.purges import EVERYTHING, HOST, PREFIX, TAG, URL
from headgate.http.fields import Fields

BUDGET = 100_000


def response(key, size=100, vary=(), tags=(), generation=0, at=0.0):
    fields = Fields([b"content-type", b"etag"], [b"content-type: text/plain", b'etag: "%s"' % key[-8:]])
    stored = StoredResponse(key, 200, b"OK", fields, MemoryBody([bytes(size)]))
    stored.vary = tuple(vary)
    stored.tags = tuple(tags)
    stored.generation = generation
    stored.request_time = at
    return stored


def key_of(number):
    return b"https://example.org/%d" % number


def fill(store, numbers, size=100):
    for number in numbers:
        assert store.put(response(key_of(number), size, generation=store.generation))


def recounted(store, keys):
    """Return the octets and variants of what can be found, by counting."""
    octets = variants = 0
    for key in keys:
        entry = store.peek(key)
        if entry is not None:
            octets += KEY_COST + len(key) + sum(cost_of(variant) for variant in entry.variants)
            variants += len(entry.variants)
    return octets, variants


def test_what_was_put_is_found():
    store = MemoryStore(BUDGET)
    stored = response(key_of(1))
    assert store.get(key_of(1)) is None
    assert store.put(stored)
    assert store.get(key_of(1)).variants == (stored,)
    assert stored.size == cost_of(stored)
    assert (store.hits, store.misses, store.puts, len(store), store.variants) == (1, 1, 1, 1, 1)
    assert (store.octets, 1) == recounted(store, [key_of(1)])


def test_the_same_selecting_values_replace():
    store = MemoryStore(BUDGET)
    english, german = [(b"accept-language", b"en")], [(b"accept-language", b"de")]
    first, second, third = (response(key_of(1), vary=vary) for vary in (english, german, english))
    for stored in (first, second, third):
        assert store.put(stored)
    assert store.get(key_of(1)).variants == (second, third)
    assert (store.octets, 2) == recounted(store, [key_of(1)])
    assert store.put(second)
    assert store.get(key_of(1)).variants == (third, second)
    assert (store.octets, 2) == recounted(store, [key_of(1)])


def test_one_variant_too_many():
    store = MemoryStore(1_000_000, max_variants=3)
    stored = [response(key_of(1), vary=[(b"accept", b"%d" % number)]) for number in range(4)]
    for each in stored:
        assert store.put(each)
    assert store.get(key_of(1)).variants == tuple(stored[1:])
    assert (store.octets, 3) == recounted(store, [key_of(1)])


def test_fewer_variants_than_the_store_lets_a_key_have():
    store = MemoryStore(1_000_000)
    stored = [response(key_of(1), vary=[(b"accept", b"%d" % number)]) for number in range(4)]
    for each in stored:
        assert store.put(each)
    store.shorten(key_of(1), 4)
    assert store.displaced == 0
    store.shorten(key_of(1), 1)
    store.shorten(key_of(2), 1)
    assert store.get(key_of(1)).variants == (stored[3],)
    assert store.displaced == 3
    assert (store.octets, 1) == recounted(store, [key_of(1)])


def test_variants_of_one_key_have_a_quarter_of_the_budget():
    store = MemoryStore(BUDGET)
    for number in range(20):
        assert store.put(response(key_of(1), 9_000, vary=[(b"accept", b"%d" % number)]))
    assert store.variants == 2
    assert store.octets <= BUDGET // 4


def test_an_object_beyond_its_share_is_refused_and_replaces_nothing():
    store = MemoryStore(BUDGET)
    assert store.put(response(key_of(1)))
    assert not store.put(response(key_of(1), BUDGET // 8))
    assert store.get(key_of(1)) is None
    assert (store.octets, store.variants, store.refused, len(store)) == (0, 0, 1, 0)


def test_content_in_files_costs_nothing():
    store = MemoryStore(BUDGET)
    stored = response(key_of(1))
    stored.body = FileBody("/nowhere", 0, 1 << 30)
    assert store.put(stored)
    assert store.octets < 2_000


def parts_of(key, pieces, size, gap=1, generation=0):
    """Content in memory with gaps, as many ranges of one object leave it."""
    stored = response(key, 0, generation=generation)
    body = PartialBody()
    for at in range(pieces):
        assert body.add(at * (size + gap), MemoryBody([bytes(size)]))
    stored.body = body
    stored.ranges = body.ranges()
    return stored


def test_content_with_gaps_is_counted():
    """Who asks for ranges of many large objects fills no more than the budget."""
    store = MemoryStore(BUDGET)
    for number in range(100):
        store.put(parts_of(key_of(number), 2, 2_000, generation=store.generation))
    assert 10 < store.variants < BUDGET // 4_000
    assert store.octets <= BUDGET
    assert not store.put(parts_of(key_of(1), 10, BUDGET // 80))


def test_content_of_which_little_is_used_is_counted_as_it_is_held_and_once():
    stored = parts_of(key_of(1), 2, 100, gap=10)
    before = cost_of(stored)
    # It fills the gap and what lies behind.
    assert stored.body.add(100, FileBody("/nowhere", 0, 120))
    large = MemoryBody([bytes(50_000)])
    assert stored.body.add(0, large)
    assert 50_000 - 220 <= cost_of(stored) - before < 51_000


def test_parts_that_come_later_are_counted():
    store = MemoryStore(BUDGET)
    stored = parts_of(key_of(1), 1, 1_000)
    assert store.put(stored)
    before = store.octets
    assert stored.body.add(5_000, MemoryBody([bytes(2_000)]))
    store.resize(stored)
    assert store.octets >= before + 2_000
    assert stored.body.add(10_000, MemoryBody([bytes(BUDGET // 8)]))
    store.resize(stored)
    assert (store.octets, store.variants, store.refused) == (0, 0, 1)


def test_the_budget_holds():
    store = MemoryStore(BUDGET)
    fill(store, range(1000), 500)
    assert store.octets <= BUDGET
    assert store.octets > BUDGET * 0.9
    assert store.evictions == 1000 - len(store)
    assert (store.octets, len(store)) == recounted(store, map(key_of, range(1000)))


def test_what_is_used_survives_a_scan():
    """The point of S3-FIFO: things asked for once pass through a tenth of the budget."""
    store = MemoryStore(BUDGET)
    popular = range(20)
    fill(store, popular)
    for _ in range(3):
        for number in popular:
            assert store.get(key_of(number)) is not None
    fill(store, range(1000, 3000))
    assert all(store.peek(key_of(number)) is not None for number in popular)


def test_what_comes_back_as_a_ghost_stays():
    store = MemoryStore(BUDGET)
    fill(store, range(200))
    gone = [number for number in range(200) if store.peek(key_of(number)) is None]
    back = gone[-10:]
    fill(store, back)
    fill(store, range(1000, 1100))
    # Not all: a ghost whose place another one takes is forgotten, and where that happens depends on the hash.
    assert sum(store.peek(key_of(number)) is not None for number in back) >= 6


def test_a_put_never_walks_everything():
    """With every node in use an eviction takes one all the same."""
    store = MemoryStore(BUDGET)
    for number in range(200):
        fill(store, [number])
        for _ in range(3):
            store.get(key_of(number))
    fill(store, range(1000, 1200), 2_000)
    assert store.octets <= BUDGET
    assert len(store) > 10


def test_a_response_that_changed_is_counted_anew():
    store = MemoryStore(BUDGET)
    stored = response(key_of(1))
    store.put(stored)
    fields = stored.fields
    fields.add(b"x-new", b"v" * 1000)
    stored.fields = fields
    store.resize(stored)
    assert (store.octets, 1) == recounted(store, [key_of(1)])
    stored.body = MemoryBody([])
    store.resize(stored)
    assert (store.octets, 1) == recounted(store, [key_of(1)])
    stored.body = MemoryBody([bytes(BUDGET)])
    store.resize(stored)
    assert (store.octets, len(store), store.refused) == (0, 0, 1)
    store.resize(stored)
    assert store.octets == 0


def test_a_variant_that_grows_beyond_the_share_of_its_key_pushes_others_out():
    store = MemoryStore(BUDGET)
    stored = [response(key_of(1), 4_000, vary=[(b"accept", b"%d" % number)]) for number in range(5)]
    for each in stored:
        store.put(each)
    stored[2].body = MemoryBody([bytes(11_000)])
    store.resize(stored[2])
    entry = store.peek(key_of(1))
    assert stored[2] in entry.variants
    assert store.octets <= BUDGET // 4
    assert (store.octets, len(entry.variants)) == recounted(store, [key_of(1)])


def test_removing():
    store = MemoryStore(BUDGET)
    first, second = (response(key_of(1), vary=[(b"accept", value)]) for value in (b"a", b"b"))
    store.put(first)
    store.put(second)
    assert store.remove_variant(first)
    assert not store.remove_variant(first)
    assert store.get(key_of(1)).variants == (second,)
    assert store.remove(key_of(1)) == 1
    assert store.remove(key_of(1)) == 0
    assert not store.remove_variant(second)
    assert (store.octets, store.variants, len(store)) == (0, 0, 0)


def test_the_last_variant_takes_its_key_along():
    store = MemoryStore(BUDGET)
    stored = response(key_of(1))
    store.put(stored)
    assert store.remove_variant(stored)
    assert (store.octets, len(store)) == (0, 0)


def test_an_uncacheable_key_is_remembered_until_something_is_stored():
    store = MemoryStore(BUDGET)
    store.mark_uncacheable(key_of(1), 60.0)
    entry = store.get(key_of(1))
    assert isinstance(entry, KeyEntry)
    assert (entry.uncacheable_until, entry.variants) == (60.0, ())
    store.put(response(key_of(1)))
    assert store.get(key_of(1)).uncacheable_until == 0.0


def test_keys_whose_answers_are_not_storable_take_no_room():
    store = MemoryStore(BUDGET)
    for number in range(5000):
        store.mark_uncacheable(key_of(number), 60.0)
    assert (store.octets, len(store)) == (0, 0)
    assert store.get(key_of(4999)).uncacheable_until == 60.0
    known = sum(store.peek(key_of(number)) is not None for number in range(5000))
    assert 500 < known <= 1024  # a table of 1024: the later one stays
    assert store.get(key_of(5000)) is None


def test_an_invalidated_key_refuses_what_was_asked_for_before():
    """RFC 9111 section 4.4: a response under way is older than the unsafe request, whenever it arrives."""
    store = MemoryStore(BUDGET)
    store.put(response(key_of(1), at=10.0))
    store.invalidate(key_of(1), 20.0)
    assert store.get(key_of(1)).invalid_before == 20.0
    assert not store.put(response(key_of(1), at=19.0))
    assert store.put(response(key_of(1), at=20.0))
    store.invalidate(key_of(1), 15.0)  # another worker's word, late
    assert not store.put(response(key_of(1), at=19.0))
    store.invalidate(key_of(2), 20.0)
    assert not store.put(response(key_of(2), at=19.0))


def test_a_key_that_is_too_long_is_not_remembered():
    store = MemoryStore(BUDGET)
    long = b"https://example.org/" + b"x" * (BUDGET // 8)
    store.mark_uncacheable(long, 60.0)
    store.invalidate(long, 60.0)
    assert not store.put(response(long))
    assert (store.octets, len(store)) == (0, 0)


PURGES = {
    "everything": (EVERYTHING, b""),
    "url": (URL, key_of(1)),
    "host": (HOST, b"example.org"),
    "prefix": (PREFIX, b"https://example.org/"),
    "tag": (TAG, b"news"),
}


@pytest.mark.parametrize("kind", PURGES)
def test_a_purge_is_for_what_was_stored_before(kind):
    store = MemoryStore(BUDGET)
    store.put(response(key_of(1), tags=[b"news"]))
    assert store.purge(*PURGES[kind]) == 1
    assert store.get(key_of(1)) is None
    assert (store.octets, store.purged, store.misses) == (0, 1, 1)
    assert store.put(response(key_of(1), tags=[b"news"], generation=store.generation))
    assert store.get(key_of(1)) is not None


@pytest.mark.parametrize("kind", PURGES)
def test_a_purge_meets_what_is_under_way(kind):
    store = MemoryStore(BUDGET)
    under_way = response(key_of(1), tags=[b"news"], generation=store.generation)
    store.purge(*PURGES[kind])
    assert not store.put(under_way)
    soft = response(key_of(1), tags=[b"news"], generation=store.generation)
    store.purge(*PURGES[kind], True)
    assert store.put(soft)
    assert store.get(key_of(1)).variants[0].flags & SOFT_PURGED


@pytest.mark.parametrize("kind", PURGES)
def test_a_soft_purge_keeps_and_marks(kind):
    store = MemoryStore(BUDGET)
    stored = response(key_of(1), tags=[b"news"])
    other = response(b"https://other.example/1", tags=[b"sports"])
    store.put(stored)
    store.put(other)
    store.purge(*PURGES[kind], True)
    assert store.get(key_of(1)).variants == (stored,)
    assert stored.flags & SOFT_PURGED
    assert store.get(other.key).variants == (other,)
    assert bool(other.flags & SOFT_PURGED) == (kind == "everything")


def test_a_tag_meets_variants_one_by_one():
    store = MemoryStore(BUDGET)
    tagged = response(key_of(1), vary=[(b"accept", b"a")], tags=[b"news"])
    other = response(key_of(1), vary=[(b"accept", b"b")])
    store.put(tagged)
    store.put(other)
    store.purge(TAG, b"news")
    assert store.get(key_of(1)).variants == (other,)
    assert (store.octets, 1) == recounted(store, [key_of(1)])


def test_a_sweep_frees_what_nobody_asks_for():
    store = MemoryStore(10_000_000)
    fill(store, range(100))
    kept = response(key_of(1000), tags=[b"sports"])
    store.put(kept)
    for number in range(100):
        store.purge(URL, key_of(number))
    assert store.variants == 101
    assert store.sweep(60, 0.0)
    assert not store.sweep(60, 0.0)
    assert (store.variants, len(store), store.purged) == (1, 1, 100)
    assert not store.sweep(60, 59.0)
    assert len(store.purges) == 100
    assert not store.sweep(60, 60.0)
    assert len(store.purges) == 0
    assert store.get(kept.key).variants == (kept,)
    # What left before a forgotten purge cannot be judged any more.
    assert not store.put(response(key_of(2000), generation=50))
    assert store.put(response(key_of(2000), generation=100))


def test_a_purge_during_a_sweep_starts_another():
    store = MemoryStore(10_000_000)
    fill(store, range(10))
    store.purge(EVERYTHING, b"")
    assert store.sweep(5, 0.0)
    fill(store, range(100, 110))
    store.purge(HOST, b"example.org")
    assert store.sweep(5, 0.0)
    assert not store.sweep(20, 0.0)
    assert len(store) == 0


def test_purges_are_forgotten_although_others_come_all_the_time():
    """Else a steady stream of them ends as a purge of everything."""
    store = MemoryStore(BUDGET)
    fill(store, range(10))
    for second in range(200):
        store.invalidate_url(b"https://example.org/none/%d" % second)
        store.sweep(100, float(second))
    assert len(store.purges) <= 130


def test_purging_everything_takes_no_longer_with_more():
    store = MemoryStore(10_000_000)
    fill(store, range(1000))
    store.purge(EVERYTHING, b"")
    assert store.variants == 1000  # nothing was walked
    assert store.get(key_of(5)) is None
    assert store.variants == 999


def test_eviction_leaves_readers_their_content():
    store = MemoryStore(BUDGET)
    stored = response(key_of(1), 5_000)
    store.put(stored)
    fill(store, range(100, 200), 5_000)
    assert store.peek(key_of(1)) is None
    assert stored.body.read(0, 5_000) == bytes(5_000)


def test_an_invalidated_url_keeps_its_keys_for_confirming():
    """RFC 9111 section 4.4, for keys of more than a URI: what is there is marked, what is under way is refused."""
    store = MemoryStore(BUDGET)
    key = key_of(1) + b"\nfield:x=1"
    assert store.put(response(key))
    assert store.put(response(key_of(2)))
    under_way = response(key, generation=store.generation)
    store.invalidate_url(key_of(1))
    assert [variant.flags for variant in store.get(key).variants] == [INVALIDATED]
    assert [variant.flags for variant in store.get(key_of(2)).variants] == [0]
    assert not store.put(under_way)
    assert store.put(response(key, generation=store.generation))
    assert [variant.flags for variant in store.get(key).variants] == [0]
