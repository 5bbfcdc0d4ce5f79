"""A short round of the fuzz target in every run, and that it would notice what it looks for."""

import pytest
from fuzz import h3_streams
from fuzz.h3_streams import CONTENT, CONTROLS, END, GET, OPEN, REQUESTS, Trace, headers


def traced(*steps, cuts=None, is_client=False):
    return h3_streams.trace(list(steps), cuts, is_client=is_client, table=0)


@pytest.mark.slow
def test_three_seconds_of_it_find_nothing():
    assert h3_streams.run(3.0, 20260101) > 500


def test_it_reads_more_than_refusals():
    inputs = h3_streams.Inputs(5)
    for _ in range(1000):
        inputs.run_one()
    assert inputs.outcomes[""] > 100
    assert {"error 0x105", "error 0x106", "error 0x200"} <= set(inputs.outcomes)


def test_a_request_makes_its_lines():
    lines = traced((2, CONTROLS[0], OPEN), (0, REQUESTS[1], END)).lines[0]
    assert lines[0].startswith("<Request")
    assert lines[1:] == [f"data {b'content'.hex()}", "end None"]


def test_it_would_find_pieces_that_mean_something_else():
    whole = traced((2, CONTROLS[0], OPEN), (0, headers(*GET), END))
    other = traced((2, CONTROLS[0], OPEN), (0, headers(*GET, (b"a", b"b")), END))
    with pytest.raises(h3_streams.Broken, match="stream 0"):
        h3_streams.compare(whole, other)
    with pytest.raises(h3_streams.Broken, match="error 0x105 in one piece"):
        h3_streams.compare(traced((2, CONTROLS[0], OPEN), (0, CONTENT, OPEN)), whole)


def test_it_would_find_credit_given_twice():
    made = Trace(False, 0)
    made.given[0] = 5
    with pytest.raises(h3_streams.Broken, match="given back"):
        made._check()


def test_it_would_find_events_without_end():
    made = Trace(False, 0)
    made.events = 9
    with pytest.raises(h3_streams.Broken, match="9 events"):
        made._check()
