"""What is stored is none of the collector's business, and is freed all the same."""

import gc
import weakref

from headgate.cache.entry import Body, MemoryBody, StoredResponse
from headgate.cache.memory import MemoryStore
from headgate.cache.untracked import untrack
from headgate.http.fields import Fields


def response(number, size=100):
    fields = Fields([b"content-type"], [b"Content-Type: text/plain"])
    stored = StoredResponse(
        b"http://a/%d" % number, 200, b"OK", fields, MemoryBody([b"x" * size, b"y" * size])
    )
    stored.vary = ((b"accept", b"text/plain"),)
    stored.is_complete = True
    return stored


def test_a_list_is_taken_from_the_collector_once_and_twice():
    box = [[]]
    assert gc.is_tracked(box)
    untrack(box)
    assert not gc.is_tracked(box)
    untrack(box)
    box.append([])
    assert not gc.is_tracked(box)


def test_what_is_stored_is_not_tracked():
    store = MemoryStore(1 << 20)
    one, other = response(1, size=2000), response(1)
    other.vary = ()
    assert store.put(one)
    assert store.put(other)
    entry = store.get(one.key)
    assert not gc.is_tracked(one.body.more)
    assert not gc.is_tracked(one.body.starts)
    gc.collect()  # which lets go of tuples by itself
    assert not gc.is_tracked(one.vary)
    assert gc.is_tracked(entry.others) == gc.is_tracked(one)  # interpreted, the response itself is known


def test_a_million_would_cost_a_collection_nothing():
    """Compiled, no container of a stored response is known; interpreted, the two instances of each are."""
    store = MemoryStore(64 << 20)
    store.put(response(0))
    is_compiled = not gc.is_tracked(response(0))
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1000):
        store.put(response(number))
    gc.collect()
    assert len(gc.get_objects()) - before <= (50 if is_compiled else 2100)


def test_it_is_freed_with_its_last_reference():
    class Noted(Body):
        pass

    store = MemoryStore(1 << 20)
    one = response(1)
    one.body = Noted()
    gone = weakref.ref(one.body)
    store.put(one)
    store.remove(one.key)
    del one
    assert gone() is None
