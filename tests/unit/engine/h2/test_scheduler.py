"""Whose turn it is: urgencies, both kinds of streams, fairness, and a cost that open streams do not share."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.h2.scheduler import URGENCIES, Scheduler
from headgate.engine.h2.stream import H2Stream


def stream_of(number, urgency=3, incremental=False):
    stream = H2Stream(number, 0)
    stream.urgency = urgency
    stream.incremental = incremental
    return stream


def ready(*members):
    """Return a scheduler with members (stream, urgency, incremental), and its streams by number."""
    scheduler = Scheduler()
    streams = {member[0]: stream_of(*member) for member in members}
    for stream in streams.values():
        scheduler.add(stream)
    return scheduler, streams


def turns(scheduler, count):
    """Serve `count` frames to streams that always have more."""
    served = []
    for _ in range(count):
        stream = scheduler.next()
        served.append(stream.id)
        scheduler.served(stream)
    return served


def test_rfc9218_10_lower_urgencies_go_first():
    scheduler, streams = ready((1, 5, False), (3, 1, True), (5, 7, False), (7, 1, True))
    assert turns(scheduler, 4) == [3, 7, 3, 7]
    scheduler.remove(streams[3])
    assert turns(scheduler, 2) == [7, 7]
    scheduler.remove(streams[7])
    assert turns(scheduler, 2) == [1, 1]


def test_rfc9218_10_of_one_urgency_the_lowest_id_is_served_until_it_is_done():
    scheduler, streams = ready((9, 3, False), (1, 3, False), (5, 3, False))
    assert turns(scheduler, 3) == [1, 1, 1]
    scheduler.remove(streams[1])
    assert turns(scheduler, 2) == [5, 5]


def test_rfc9218_10_incremental_streams_share():
    scheduler, _ = ready((1, 3, True), (3, 3, True), (5, 3, True))
    assert turns(scheduler, 6) == [1, 3, 5, 1, 3, 5]


def test_where_both_kinds_meet_neither_starves():
    scheduler, _ = ready((1, 3, False), (3, 3, False), (5, 3, True), (7, 3, True))
    assert turns(scheduler, 7) == [5, 7, 1, 5, 7, 1, 5]


def test_short_answers_do_not_keep_the_turn_among_themselves():
    scheduler, streams = ready((1, 3, False), (3, 3, False), (5, 3, True))
    assert turns(scheduler, 1) == [5]
    assert scheduler.next().id == 1
    scheduler.remove(streams[1])
    assert turns(scheduler, 2) == [5, 3]


def test_an_incremental_stream_that_is_done_gives_its_turn_to_the_next():
    scheduler, streams = ready((1, 3, False), (3, 3, True), (5, 3, True))
    assert scheduler.next().id == 3
    scheduler.remove(streams[3])
    assert turns(scheduler, 3) == [5, 1, 5]


def test_who_is_alone_and_who_is_gone():
    scheduler, streams = ready((5, 3, True))
    assert turns(scheduler, 3) == [5, 5, 5]
    assert repr(scheduler) == "<Scheduler 1 ready>"
    scheduler.remove(streams[5])
    scheduler.remove(streams[5])
    assert (scheduler.next(), scheduler.size) == (None, 0)


def test_who_is_in_already_is_not_added_again():
    scheduler, streams = ready((1, 3, False), (3, 3, True))
    for stream in streams.values():
        scheduler.add(stream)
        assert stream.is_ready
    assert scheduler.size == 2


def test_another_priority_moves_a_stream_that_is_ready():
    scheduler, streams = ready((1, 3, False), (3, 3, False))
    scheduler.prioritise(streams[3], 0, False)
    assert turns(scheduler, 2) == [3, 3]
    scheduler.prioritise(streams[3], 3, True)
    assert Counter(turns(scheduler, 4)) == {1: 2, 3: 2}


def test_another_priority_of_a_stream_that_is_not_ready_waits_for_it():
    scheduler, _ = ready((1, 3, False))
    stream = stream_of(3)
    scheduler.prioritise(stream, 1, True)
    assert scheduler.size == 1
    scheduler.add(stream)
    assert turns(scheduler, 1) == [3]


def test_a_turn_costs_the_same_with_ten_and_with_ten_thousand_streams():
    costs = []
    for count in (10, 10_000):
        scheduler, _ = ready(*((2 * number + 1, 3, number & 1 == 1) for number in range(count)))
        before = scheduler.touched
        turns(scheduler, 100)
        costs.append(scheduler.touched - before)
    assert costs == [100, 100]


class Naive:
    """The same rules, by looking at everybody each time."""

    def __init__(self):
        self.ready = {}  # stream to when it was served last, or came
        self.time = 0

    def pick(self):
        """Return the ids that may be up."""
        urgency = min(stream.urgency for stream in self.ready)
        level = [stream for stream in self.ready if stream.urgency == urgency]
        alone = [stream.id for stream in level if not stream.incremental]
        sharing = [stream for stream in level if stream.incremental]
        first = {min(alone)} if alone else set()
        if sharing:
            first.add(min(sharing, key=lambda stream: self.ready[stream]).id)
        return first

    def stamp(self, stream):
        self.time += 1
        self.ready[stream] = self.time


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "serve", "serve", "serve", "remove", "move"]),
            st.integers(0, 15),
            st.integers(0, URGENCIES - 1),
            st.booleans(),
        ),
        max_size=200,
    )
)
def test_it_does_what_the_naive_one_does(steps):
    """Whoever is up is the one that the naive model allows, and where both kinds are, they alternate as told."""
    scheduler = Scheduler()
    naive = Naive()
    streams = [stream_of(2 * number + 1) for number in range(16)]
    for what, number, urgency, incremental in steps:
        stream = streams[number]
        if what == "add" and not stream.is_ready:
            stream.urgency = urgency
            stream.incremental = incremental
            scheduler.add(stream)
            naive.stamp(stream)
        elif what == "remove":
            scheduler.remove(stream)
            naive.ready.pop(stream, None)
        elif what == "move":
            scheduler.prioritise(stream, urgency, incremental)
            if stream in naive.ready:
                naive.stamp(stream)
        elif what == "serve" and naive.ready:
            up = scheduler.next()
            assert up.id in naive.pick()
            scheduler.served(up)
            naive.stamp(up)
        assert scheduler.size == len(naive.ready)
        assert (scheduler.next() is None) == (not naive.ready)


@given(st.integers(1, 6), st.integers(0, 6))
def test_in_every_round_each_incremental_stream_and_the_queue_have_one_turn(sharing, alone):
    members = [(2 * number + 1, 3, number < sharing) for number in range(sharing + alone)]
    scheduler, _ = ready(*members)
    size = sharing + (alone > 0)
    for _ in range(3):
        counted = Counter(turns(scheduler, size))
        assert set(counted.values()) == {1}
        assert len(counted) == size
