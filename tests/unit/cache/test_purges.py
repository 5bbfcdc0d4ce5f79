"""Purges: what each kind meets, and what comes later than it."""

import pytest

from headgate.cache import purges as module
from headgate.cache.purges import EVERYTHING, GONE, HOST, INVALID, KEEP, KINDS, PREFIX, SOFT, TAG, URL, Purges

KEY = b"https://example.org:8443/a/b?c=d\nx-part=1"
TAGS = (b"news", b"front")


@pytest.mark.parametrize(
    ("kind", "pattern", "meets"),
    [
        (EVERYTHING, b"", True),
        (HOST, b"example.org", True),
        (HOST, b"example.org:8443", True),
        (HOST, b"example.org:443", False),
        (HOST, b"example", False),
        (HOST, b"org", False),
        (PREFIX, b"https://example.org:8443/a/", True),
        (PREFIX, b"https://example.org:8443/a/c", False),
        (PREFIX, b"http://example.org:8443/a/", False),
        (PREFIX, b"", True),
        (URL, b"https://example.org:8443/a/b?c=d", True),
        (URL, KEY, False),
        (URL, b"https://example.org:8443/a/b", False),
        (TAG, b"news", True),
        (TAG, b"front", True),
        (TAG, b"new", False),
    ],
)
@pytest.mark.parametrize("is_soft", [False, True])
def test_what_each_kind_meets(kind, pattern, meets, is_soft):
    purges = Purges()
    assert purges.add(kind, pattern, is_soft) == 1
    found = SOFT if is_soft else GONE
    assert purges.judge(KEY, TAGS, 0) == (found if meets else KEEP)
    assert purges.judge(KEY, TAGS, 1) == KEEP


@pytest.mark.parametrize(
    ("key", "authority", "name"),
    [
        (b"https://[2001:db8::1]/", b"[2001:db8::1]", b"[2001:db8::1]"),
        (b"https://[2001:db8::1]:8443/", b"[2001:db8::1]:8443", b"[2001:db8::1]"),
        (b"http://host", b"host", b"host"),
        (b"not a key", b"", b""),
    ],
)
def test_authorities(key, authority, name):
    assert module.authority_of(key) == authority
    assert module.name_of(authority) == name


def test_the_harder_of_two_purges_counts():
    purges = Purges()
    purges.add(TAG, b"news")
    purges.add(TAG, b"news", is_soft=True)
    assert purges.judge(KEY, TAGS, 0) == GONE
    assert purges.judge(KEY, TAGS, 1) == SOFT
    assert purges.judge(KEY, TAGS, 2) == KEEP


def test_generations_only_grow():
    purges = Purges()
    assert purges.add(TAG, b"a", generation=7) == 7
    assert purges.add(TAG, b"b", generation=3) == 8
    assert purges.add(TAG, b"c") == 9


def test_what_is_older_than_what_was_forgotten_cannot_be_kept():
    purges = Purges()
    purges.add(TAG, b"other")
    purges.add(HOST, b"example.org", is_soft=True)
    assert purges.judge(KEY, TAGS, 0) == SOFT
    purges.forget(1)
    assert len(purges) == 1
    assert purges.judge(KEY, TAGS, 0) == GONE
    assert purges.judge(KEY, TAGS, 1) == SOFT
    purges.forget(2)
    assert len(purges) == 0
    assert purges.judge(KEY, TAGS, 2) == KEEP


def test_a_list_makes_the_same_purges_again():
    purges = Purges()
    for kind, pattern in (
        (HOST, b"h"),
        (PREFIX, b"https://e"),
        (URL, b"u"),
        (TAG, b"news"),
        (EVERYTHING, b""),
    ):
        purges.add(kind, pattern, is_soft=kind in (TAG, EVERYTHING), generation=10 * kind + 10)
    again = Purges()
    for generation, kind, is_soft, pattern in purges.listed():
        again.add(kind, pattern, is_soft, generation)
    assert again.listed() == purges.listed()
    for since in range(0, 60, 5):
        assert again.judge(KEY, TAGS, since) == purges.judge(KEY, TAGS, since)
    assert len(KINDS) == 5


def test_one_purge_too_many_purges_everything():
    purges = Purges()
    for number in range(module.MAX_PURGES):
        purges.add(URL, b"%d" % number)
    assert (len(purges), purges.folded) == (module.MAX_PURGES, 0)
    before = purges.generation
    assert purges.judge(KEY, TAGS, 0) == KEEP
    after = purges.add(URL, b"one more")
    assert (len(purges), purges.folded) == (0, 1)
    assert purges.judge(KEY, TAGS, before) == GONE
    assert purges.judge(KEY, TAGS, after) == KEEP


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("is_soft", [False, True])
def test_a_purge_is_known_by_its_number(kind, is_soft):
    purges = Purges()
    purges.add(kind, b"x", is_soft, 7)
    assert purges.knows(kind, b"x", is_soft, 7)
    assert not purges.knows(kind, b"x", is_soft, 8)
    assert not purges.knows(kind, b"x", not is_soft, 7)
    assert not purges.knows(kind, b"x", is_soft, 0)


def test_an_invalidated_url_is_invalid_with_all_parts():
    purges = Purges()
    purges.add(EVERYTHING, is_soft=True)
    assert purges.invalidate(b"https://example.org:8443/a/b?c=d") == 2
    assert purges.judge(KEY, TAGS, 0) == INVALID
    assert purges.judge(KEY, TAGS, 1) == INVALID
    assert purges.judge(KEY, TAGS, 2) == KEEP
    assert purges.judge(b"https://example.org:8443/a/b", TAGS, 1) == KEEP
    purges.forget(2)
    assert len(purges) == 0


def test_one_invalidation_too_many_has_everything_confirmed_and_nothing_go():
    purges = Purges()
    for number in range(module.MAX_INVALID):
        purges.invalidate(b"%d" % number)
    before = purges.generation
    assert purges.judge(KEY, TAGS, 0) == KEEP
    after = purges.invalidate(b"one more")
    assert (len(purges), purges.folded, purges.folded_invalid) == (0, 0, 1)
    assert purges.judge(KEY, TAGS, before) == INVALID
    assert purges.judge(KEY, TAGS, after) == KEEP


def test_as_many_invalidations_leave_room_for_as_many_purges():
    """Clients cause the ones, an operator the others."""
    purges = Purges()
    purges.add(URL, b"one")
    for number in range(module.MAX_INVALID):
        purges.invalidate(b"%d" % number)
    assert (len(purges), purges.folded, purges.folded_invalid) == (module.MAX_INVALID + 1, 0, 0)
