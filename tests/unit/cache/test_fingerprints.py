"""Keys of which one number is known."""

from headgate.cache.fingerprints import Ghosts, Marks


def test_a_ghost_is_taken_once():
    ghosts = Ghosts(1024)
    assert not ghosts.take(b"a", 64)
    ghosts.add(b"a")
    assert not ghosts.take(b"b", 64)
    assert ghosts.take(b"a", 64)
    assert not ghosts.take(b"a", 64)


def test_a_ghost_is_forgotten_after_so_many_departures():
    for later, is_known in ((63, True), (64, False)):
        ghosts = Ghosts(1 << 20)
        ghosts.add(b"a")
        for number in range(later):
            ghosts.add(b"%d" % number)
        assert ghosts.take(b"a", 64) is is_known


def test_a_mark_holds_until_it_is_cleared():
    marks = Marks(1024)
    marks.clear(b"a")
    assert marks.until(b"a") == 0
    marks.set(b"a", 60.5)
    marks.set(b"b", 1e12)
    assert (marks.until(b"a"), marks.until(b"b"), marks.until(b"c")) == (60, 0xFFFFFFFF, 0)
    marks.clear(b"c")
    marks.clear(b"a")
    assert (marks.until(b"a"), marks.until(b"b")) == (0, 0xFFFFFFFF)


def test_a_table_has_a_bound():
    """Of twice as many keys no more than its places are known."""
    marks = Marks(1)
    for number in range(2048):
        marks.set(b"%d" % number, 60.0)
    assert 0 < sum(marks.until(b"%d" % number) == 60 for number in range(2048)) <= 1024
