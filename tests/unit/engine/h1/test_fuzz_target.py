"""A short round of the fuzz target in every run, and that it would notice what it looks for."""

import pytest
from fuzz import h1

from headgate.engine.h1.chunked import ChunkedReader


@pytest.mark.slow
def test_five_seconds_of_it_find_nothing():
    assert h1.run(5.0, 20260101) > 1000


def test_the_same_seed_draws_the_same_inputs():
    one, other = h1.Inputs(7), h1.Inputs(7)
    assert [one.draw() for _ in range(200)] == [other.draw() for _ in range(200)]


def test_every_role_is_drawn():
    source = h1.Inputs(1)
    assert {source.draw()[0] for _ in range(300)} == {"server", "client", "client-head", "client-connect"}


def test_it_reads_more_than_refusals():
    source = h1.Inputs(2)
    drawn = [source.draw() for _ in range(400)]
    traces = [h1.server_trace([data]) for role, data, _, _ in drawn if role == "server"]
    assert sum(trace[0].startswith("request") for trace in traces) > len(traces) / 5


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_it_would_find_another_exception():
    with pytest.raises(h1.Broken, match="TypeError"):
        h1.one("server", "text", [GET], 512)  # what a defect in the engine would look like


def test_it_would_find_pieces_that_mean_something_else():
    with pytest.raises(h1.Broken, match="in one piece"):
        h1.one("server", GET, [GET, GET], 512)


def test_it_would_find_what_is_held_for_too_long():
    engine = h1.ServerEngine(48)
    trace = h1._Trace(engine)
    engine.receive(b"x" * 5000)
    with pytest.raises(h1.Broken, match="5000 octets held"):
        trace.check_held(10)


def test_it_would_find_a_refusal_that_leaves_the_engine_open():
    trace = h1._Trace(h1.ServerEngine())
    with pytest.raises(h1.Broken, match="IDLE"):
        trace.fail(h1.RemoteProtocolError(400, "x"))


def test_refusals_may_drop_what_came_just_before_them():
    whole = ["request", "error 400 x", "<FAILED>"]
    assert h1.same(whole, ["request", "data b'a'", "error 400 x", "<FAILED>"])
    assert not h1.same(whole, ["request", "end -", "error 400 x", "<FAILED>"])
    assert not h1.same(whole, ["request", "data b'a'", "end -", "closed", "<CLOSED>"])


def test_the_chunked_reader_alone_stops_where_its_message_does():
    reader = ChunkedReader(100)
    assert reader.feed(b"1\r\nx\r\n0\r\n\r\nGET", 0) == b"x"
    assert reader.position == 11
