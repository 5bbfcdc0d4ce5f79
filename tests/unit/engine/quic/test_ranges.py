"""Intervals against a plain set of numbers, and what happens at their limit."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.ranges import Ranges

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 20)), max_size=40)


def built(*pairs, limit=64):
    ranges = Ranges(limit)
    for start, end in pairs:
        assert ranges.add(start, end)
    return ranges


def pairs(ranges):
    return list(zip(ranges.starts, ranges.ends, strict=True))


def runs(numbers):
    """Return the half-open intervals that make up a set of numbers."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return [tuple(pair) for pair in found]


@given(STEPS)
def test_it_holds_what_a_set_holds(steps):
    ranges, numbers = Ranges(1000), set()
    for is_added, start, length in steps:
        span = range(start, start + length)
        if is_added:
            assert ranges.add(start, start + length)
            numbers.update(span)
        else:
            assert ranges.subtract(start, start + length)
            numbers.difference_update(span)
        assert pairs(ranges) == runs(numbers)
        assert len(ranges) == len(runs(numbers))
    assert [n for n in range(90) if ranges.contains(n)] == sorted(numbers)
    assert ranges.holes(5, 70) == runs(set(range(5, 70)) - numbers)
    for n in range(90):
        assert ranges.end_of(n) == next((end for start, end in runs(numbers) if start <= n < end), n)


@given(STEPS, st.integers(0, 90))
def test_everything_below_a_number_is_forgotten(steps, value):
    ranges, numbers = Ranges(1000), set()
    for _, start, length in steps:
        ranges.add(start, start + length)
        numbers.update(range(start, start + length))
    ranges.forget_below(value)
    assert pairs(ranges) == runs({n for n in numbers if n >= value})


@given(st.integers(1, 4), STEPS)
def test_no_set_outgrows_its_limit_and_a_refusal_changes_nothing(limit, steps):
    ranges = Ranges(limit)
    for is_added, start, length in steps:
        before = pairs(ranges)
        step = ranges.add if is_added else ranges.subtract
        if not step(start, start + length):
            assert pairs(ranges) == before
            assert len(ranges) == limit
        assert len(ranges) <= limit


def test_one_interval_more_than_the_limit():
    ranges = built((0, 1), (2, 3), limit=2)
    assert not ranges.add(4, 5)
    assert pairs(ranges) == [(0, 1), (2, 3)]
    assert ranges.add(3, 5)
    assert ranges.add(1, 2)
    assert pairs(ranges) == [(0, 5)]
    assert ranges.add(10, 20)
    assert not ranges.subtract(12, 13)
    assert ranges.subtract(10, 13)


def test_room_is_made_at_the_low_end():
    ranges = built((0, 1), (5, 6), (9, 10), limit=3)
    ranges.drop_lowest()
    assert pairs(ranges) == [(5, 6), (9, 10)]
    ranges.close_lowest_hole()
    assert pairs(ranges) == [(5, 10)]
    ranges.close_lowest_hole()
    assert pairs(ranges) == [(5, 10)]
    ranges.drop_lowest()
    ranges.drop_lowest()
    assert pairs(ranges) == []


def test_they_print():
    assert repr(built((0, 3), (7, 9))) == "<Ranges 0..3 7..9>"
    assert repr(Ranges(1)) == "<Ranges empty>"
