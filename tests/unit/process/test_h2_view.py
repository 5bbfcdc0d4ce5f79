"""The keeper adds up what the workers counted of HTTP/2."""

from headgate.counters import (
    H2_ACCEPTED,
    H2_CLOSED_FIRST,
    H2_CODES,
    H2_OPEN,
    H2_REASONS,
    H2_RESET_FIRST,
    CounterPage,
    Counters,
)
from headgate.process.h2_view import describe_h2


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
