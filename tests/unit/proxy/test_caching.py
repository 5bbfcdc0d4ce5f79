"""What all cached routes of a worker share."""

from headgate import counters
from headgate.cache.memory import MemoryStore
from headgate.cache.outcome import OUTCOMES
from headgate.cache.purges import KINDS
from headgate.counters import CACHE_HELD, CACHE_OUTCOMES, CACHE_PURGE_KINDS, TABLE
from headgate.proxy.caching import Cache


def test_the_counters_have_the_outcomes_in_their_order():
    assert CACHE_OUTCOMES == OUTCOMES
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
