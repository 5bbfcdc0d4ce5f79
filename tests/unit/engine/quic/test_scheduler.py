"""Whose turn it is: urgencies, both kinds of streams, fairness, and a cost that open streams do not share."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.scheduler import CONTROL_LEVEL, DEFAULT_URGENCY, NOBODY, Scheduler, level_of

LEVEL = level_of(DEFAULT_URGENCY)


def ready(*members):
    """Return a scheduler with members (stream, urgency, is_incremental) and what it was added with."""
    scheduler = Scheduler()
    for stream, urgency, is_incremental in members:
        scheduler.add(stream, level_of(urgency), is_incremental)
    return scheduler, {
        stream: (level_of(urgency), is_incremental) for stream, urgency, is_incremental in members
    }


def turns(scheduler, kinds, count):
    """Serve `count` pieces to streams that always have more."""
    served = []
    for _ in range(count):
        stream = scheduler.next()
        served.append(stream)
        scheduler.served(stream, *kinds[stream])
    return served


def test_rfc9218_10_lower_urgencies_go_first():
    scheduler, kinds = ready((0, 5, False), (4, 1, True), (8, 7, False), (12, 1, True))
    assert turns(scheduler, kinds, 4) == [4, 12, 4, 12]
    scheduler.remove(4, *kinds[4])
    assert turns(scheduler, kinds, 2) == [12, 12]
    scheduler.remove(12, *kinds[12])
    assert turns(scheduler, kinds, 2) == [0, 0]


def test_rfc9218_10_of_one_urgency_the_lowest_id_is_served_until_it_is_done():
    scheduler, kinds = ready((8, 3, False), (0, 3, False), (4, 3, False))
    assert turns(scheduler, kinds, 3) == [0, 0, 0]
    scheduler.remove(0, *kinds[0])
    assert turns(scheduler, kinds, 2) == [4, 4]


def test_rfc9218_10_incremental_streams_share():
    scheduler, kinds = ready((0, 3, True), (4, 3, True), (8, 3, True))
    assert turns(scheduler, kinds, 6) == [0, 4, 8, 0, 4, 8]


def test_where_both_kinds_meet_neither_starves():
    scheduler, kinds = ready((0, 3, False), (4, 3, False), (8, 3, True), (12, 3, True))
    assert turns(scheduler, kinds, 6) == [0, 8, 12, 0, 8, 12]


def test_short_answers_do_not_keep_the_turn_among_themselves():
    scheduler, kinds = ready((0, 3, False), (4, 3, False), (8, 3, True))
    assert scheduler.next() == 0
    scheduler.remove(0, *kinds[0])
    assert turns(scheduler, kinds, 2) == [8, 4]


def test_control_streams_go_before_every_urgency():
    scheduler, kinds = ready((0, 0, False))
    scheduler.add(3, CONTROL_LEVEL, False)
    kinds[3] = (CONTROL_LEVEL, False)
    assert turns(scheduler, kinds, 2) == [3, 3]


@pytest.mark.parametrize(("urgency", "level"), [(-1, 1), (0, 1), (7, 8), (8, 8)])
def test_urgencies_have_levels_behind_control(urgency, level):
    assert level_of(urgency) == level


def test_who_is_alone_and_who_is_gone():
    scheduler, kinds = ready((4, 3, True))
    assert repr(scheduler) == "<Scheduler 1 ready>"
    assert turns(scheduler, kinds, 2) == [4, 4]
    scheduler.remove(4, *kinds[4])
    assert scheduler.next() == NOBODY
    assert len(scheduler) == 0


@given(
    st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 7), st.booleans()), min_size=1),
    st.data(),
)
def test_shares_are_fair_and_nobody_is_served_before_a_lower_urgency(members, data):
    scheduler, kinds = ready(*((stream, *kind) for stream, kind in members.items()))
    gone = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=len(members) - 1))
    for stream in gone:
        scheduler.remove(stream, *kinds.pop(stream))
    first = min(level for level, _ in kinds.values())
    one_by_one = sorted(stream for stream, kind in kinds.items() if kind == (first, False))
    sharing = sorted(stream for stream, kind in kinds.items() if kind == (first, True))
    expected = {*one_by_one[:1], *sharing}
    shares = Counter(turns(scheduler, kinds, 10 * len(expected)))
    assert shares == dict.fromkeys(expected, 10)


def test_a_turn_costs_the_same_among_ten_thousand():
    """The queues hold ready streams only; and of those, too, a turn looks at one."""
    scheduler, kinds = ready(*((stream, 3, stream % 8 == 0) for stream in range(0, 40_000, 4)))
    before = scheduler.touched
    turns(scheduler, kinds, 100)
    assert scheduler.touched - before == 100
