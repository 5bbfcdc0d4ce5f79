"""The keeper adds up what the workers counted of HTTP/2."""

from headgate.counters import (
    H2_ACCEPTED,
    H2_CLOSED_FIRST,
    H2_CODES,
    H2_OPEN,
    H2_REASONS,
    H2_RESET_FIRST,
    UPSTREAM_H2_CONNECTIONS,
    UPSTREAM_H2_OPEN,
    UPSTREAM_H2_RESET,
    CounterPage,
    Counters,
)
from headgate.process.h2_view import describe_h2, describe_h2_origins


def test_totals_are_summed_and_words_without_a_count_are_left_out():
    pages = {}
    for slot in range(2):
        counters = Counters(CounterPage())
        counters.values[H2_OPEN] = 3
        counters.values[H2_ACCEPTED] = 4
        counters.values[H2_CLOSED_FIRST + H2_REASONS.index("rapid-reset")] = 1
        counters.values[H2_RESET_FIRST + H2_CODES.index("cancel")] = 2
        counters.publish()
        pages[f"worker {slot}"] = counters.page
    assert describe_h2(pages) == {
        "connections": 6,
        "accepted": 8,
        "requests": 0,
        "streams_given_up": 0,
        "streams_reset": {"cancel": 4},
        "closed": {"rapid-reset": 2},
    }


def test_origins_are_told_apart():
    counters = Counters(CounterPage())
    counters.values[UPSTREAM_H2_OPEN] = 1
    counters.values[UPSTREAM_H2_CONNECTIONS] = 2
    counters.values[UPSTREAM_H2_RESET] = 3
    counters.publish()
    assert describe_h2_origins({"worker 0": counters.page}) == {
        "connections": 1,
        "opened": 2,
        "requests": 0,
        "declined": 0,
        "coalesced": 0,
        "misdirected": 0,
        "failed": {"reset": 3},
        "closed": {},
    }
