"""A short round of the fuzz target in every run, and that it would notice what it looks for."""

import pytest
from fuzz import h2
from fuzz._h2_ledger import Ledger
from fuzz.h2 import ANSWERS, REQUESTS, Trace, frames_of

from headgate.testing.h2_raw import (
    GOAWAY,
    PREFACE,
    data,
    frame,
    headers,
    rst_stream,
    settings,
    window_update,
)

START = PREFACE + settings()


def traced(*octets, is_client=False):
    return h2.trace(list(octets), is_client=is_client)


@pytest.mark.slow
def test_three_seconds_of_it_find_nothing():
    assert h2.run(3.0, 20260101) > 500


def test_it_reads_more_than_refusals():
    inputs = h2.Inputs(5)
    for _ in range(1500):
        inputs.run_one()
    assert inputs.outcomes[""] > 300
    assert {"error 0x1", "error 0x3", "error 0x6", "error 0x9"} <= set(inputs.outcomes)


def test_a_request_makes_its_lines():
    made, wrote = traced(START, REQUESTS[1])
    assert made.lines[1][0].startswith("<Request GET / body=7>")
    assert made.lines[1][1:] == [f"data {b'content'.hex()}", "end None"]
    assert [frame[6:8] for frame in wrote if frame[6:8] != "08"] == ["04", "04"]


def test_an_answer_makes_its_lines():
    made, _ = traced(settings(), ANSWERS[1], is_client=True)
    assert made.lines[1][0].startswith("<Response 200 body=7>")


def test_it_would_find_pieces_that_mean_something_else():
    whole, wrote = traced(START, REQUESTS[0])
    other, also = traced(START, REQUESTS[1])
    with pytest.raises(h2.Broken, match="stream 1"):
        h2.compare(whole, other, wrote, also)
    broken, also = traced(START, data(0, b""))
    with pytest.raises(h2.Broken, match="nothing in one piece, error 0x1 in many"):
        h2.compare(whole, broken, wrote, also)


def test_it_would_find_half_a_frame():
    made = Trace(False)
    made.written = b"\0\0\4\0"
    made.h2.take_output(1 << 20)
    with pytest.raises(h2.Broken, match="a part of a frame"):
        made.finish()


def test_it_would_find_events_without_end():
    made = Trace(False)
    made.events = 17
    with pytest.raises(h2.Broken, match="17 events"):
        made._check()


def test_it_would_find_a_queue_without_end():
    made = Trace(False)
    made.h2.control_queued = 5000
    with pytest.raises(h2.Broken, match="5000 octets queued"):
        made._check()


def test_frames_are_cut_where_they_end():
    octets = data(1, b"abc") + data(3, b"") + b"rest"
    assert frames_of(octets) == [data(1, b"abc"), data(3, b""), b"rest"]


HEAD = headers(1, h2.block((b":status", b"200")), end=False)


def goaway(last, code=0):
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (settings((4, 5)), HEAD + data(1, b"123456")),
        (settings((4, 5)) + window_update(1, 1), HEAD + data(1, b"1234567")),
        (settings((4, 70_000)), HEAD + data(1, bytes(16384)) * 4),
        (settings((4, 10)) + HEAD + settings((4, 3)), HEAD + data(1, b"1234")),
        (settings(), HEAD + data(1, bytes(16385))),
        (settings(), HEAD + data(1, b"", end=True) + data(1, b"x")),
        (settings(), HEAD + data(1, b"", end=True) + HEAD),
        (settings(), HEAD + rst_stream(1) + data(1, b"x")),
        (settings(), HEAD + rst_stream(1) + rst_stream(1)),
        (settings() + rst_stream(1), HEAD + data(1, b"x")),
        (settings(), headers(1, b"", last=False) + data(1, b"x")),
        (settings(), goaway(5) + goaway(7)),
        (settings(), goaway(5, 1) + HEAD),
    ],
)
def test_the_ledger_would_find_it(given, written):
    ledger = Ledger(False)
    ledger.gave(PREFACE + given)
    with pytest.raises(h2.Broken):
        ledger.wrote(written)


def test_the_ledger_lets_pass_what_is_right():
    ledger = Ledger(False)
    for octet in PREFACE + settings((4, 5)) + window_update(1, 2) + window_update(0, 5):
        ledger.gave(bytes((octet,)))
    ledger.wrote(
        HEAD + data(1, b"1234567", end=True) + window_update(1, 5) + rst_stream(1) + goaway(7) + goaway(1)
    )
    ledger.wrote(goaway(1, 2))


def test_the_ledger_holds_a_client_to_its_numbers():
    ledger = Ledger(True)
    ledger.gave(settings())
    ledger.wrote(PREFACE + settings() + headers(3, h2.block((b":method", b"GET"))))
    with pytest.raises(h2.Broken, match="stream 1 behind 3"):
        ledger.wrote(headers(1, h2.block((b":method", b"GET"))))
