"""A short round of the fuzz target in every run, and that it would notice what it looks for."""

import pytest
from fuzz import qpack

from headgate.engine.h3.qpack_decoder import QpackDecoder
from headgate.engine.message.lines import Line


@pytest.mark.slow
def test_three_seconds_of_it_find_nothing():
    assert qpack.run(3.0, 20260101) > 500


def test_it_reads_more_than_refusals():
    traces = [
        qpack.one([instructions], section, 220, 2)
        for instructions in qpack.INSTRUCTIONS
        for section in qpack.SECTIONS
    ]
    assert any(trace.startswith("wait [") for trace in traces)
    assert any(trace.startswith("[") for trace in traces)
    assert any("error" in trace for trace in traces)
    assert any("too large" in trace for trace in traces)


def test_it_would_find_too_many_lines():
    with pytest.raises(qpack.Broken, match="200 lines"):
        qpack.check_lines(QpackDecoder(), [Line(b"x", b"1")] * 200)


def test_it_would_find_a_section_that_is_too_large():
    with pytest.raises(qpack.Broken, match="octets of fields"):
        qpack.check_lines(QpackDecoder(), [Line(b"x", b"1" * 70000)])


def test_it_would_find_what_does_not_come_back():
    line = Line(b"x", b"1")
    line.line = b"x: 2"
    with pytest.raises(qpack.Broken, match="came back"):
        qpack.check_lines(QpackDecoder(), [line])
