"""What slow readers hold counts until the last of them is done, wherever the store has let go of it."""

import pytest
from tests.unit.cache.test_memory import fill, key_of, response

from headgate.cache.entry import MemoryBody
from headgate.cache.memory import MemoryStore, cost_of
from headgate.cache.purges import EVERYTHING
from headgate.counters import CACHE_HELD, TABLE
from headgate.proxy.caching import Cache

BUDGET = 1 << 20
LARGE = 100_000


def lent(store, number, size=LARGE):
    """Store a response, and lend it to a slow reader."""
    variant = response(key_of(number), size, generation=store.generation)
    store.put(variant)
    store.lend(variant, 0)
    return variant


def replace(store, variant):
    store.put(response(variant.key, 10, generation=store.generation))


def give_way(store, variant):
    for kind in range(store.max_variants):
        store.put(response(variant.key, 10, [(b"x-kind", b"%d" % kind)], generation=store.generation))


def purge(store, variant):
    store.purge(EVERYTHING, b"")
    store.sweep(1000, 1.0)


WAYS = {
    "evicted": lambda store, variant: fill(store, range(100, 120), LARGE),
    "replaced": replace,
    "displaced": give_way,
    "purged": purge,
    "removed": lambda store, variant: store.remove(variant.key),
    "one-variant": lambda store, variant: store.remove_variant(variant),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_has_left_counts_until_its_last_reader_is_done(way):
    store = MemoryStore(BUDGET)
    variant = lent(store, 1)
    store.lend(variant, 0)
    assert store.loans.octets == 0
    WAYS[way](store, variant)
    entry = store.peek(variant.key)
    assert entry is None or variant not in entry.variants
    assert store.loans.octets == cost_of(variant) > LARGE
    store.loans.give_back(variant)
    assert store.loans.octets == cost_of(variant)
    store.loans.give_back(variant)
    assert (store.loans.octets, len(store.loans)) == (0, 0)


def test_what_is_stored_again_counts_once():
    store = MemoryStore(BUDGET)
    variant = lent(store, 1)
    store.remove(variant.key)
    assert store.loans.octets
    store.put(variant)
    assert store.loans.octets == 0
    store.loans.give_back(variant)
    assert (store.loans.octets, len(store.loans)) == (0, 0)


def test_what_is_refused_counts_at_once():
    store = MemoryStore(BUDGET)
    variant = lent(store, 1, store.max_object + 1)
    assert store.loans.octets == cost_of(variant)
    store.loans.give_back(variant)
    assert store.loans.octets == 0


def test_a_response_that_has_grown_counts_for_what_it_is_now():
    store = MemoryStore(BUDGET)
    variant = lent(store, 1, 1000)
    variant.body = MemoryBody([bytes(51_000)])
    store.resize(variant)
    store.remove(variant.key)
    assert store.loans.octets == cost_of(variant) > 50_000


@pytest.mark.parametrize("more", [0, 1])
def test_room_beside_what_slow_readers_hold_at_the_limit_and_one_more(more):
    values = [0] * len(TABLE)
    store = MemoryStore(BUDGET)
    cache = Cache(store, values, shows=True)
    variant = response(key_of(1), LARGE)
    store.put(variant)
    store.lend(variant, BUDGET // 4 + more)
    assert cache.has_room(BUDGET // 4)
    store.remove(variant.key)
    assert cache.has_room(0) is (more == 0)
    assert values[CACHE_HELD] == BUDGET // 4 + more
    store.loans.give_back(variant)
    cache.sweep(1.0)
    assert values[CACHE_HELD] == 0
    assert cache.has_room(BUDGET // 4)
