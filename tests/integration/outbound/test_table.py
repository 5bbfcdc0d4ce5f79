"""The fault table towards origins, over one running gate: that it serves all rows shows that none disturbs another.

Each row is asked for once; then everything that the gate has to say about it is held against the table, and whether a
request reached an origin more often than it may. After all rows the worker holds what it held before.
"""

import pytest
from tests.integration.gate import Gate, wait_for
from tests.integration.outbound.table import TABLE
from tests.integration.outbound.world import (
    Probe,
    World,
    assert_nothing_left,
    failures_of,
    line_of,
    wait_metric,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("outbound")) as world:
        for row in TABLE:
            row.make(world, row.name)
        yield world


@pytest.fixture(scope="module")
def probe(world):
    return Probe(world.folder)


@pytest.fixture(scope="module")
def gate(world, probe):
    with Gate(world.folder, world.configuration(), environ=probe.environ) as gate:
        gate.begin = probe.look(gate.worker_pids()[0])
        yield gate


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_row(row, world, gate):
    before = gate.metrics()
    seen = row.client(gate, row.name, world)
    assert (seen.status, seen.whole) == (row.status, row.whole), seen
    line = line_of(gate, seen)
    assert (line["status"], line.get("reason", "")) == (row.status, row.reason), line
    assert line.get("retries", 0) == row.retries
    if row.status >= 500:
        assert row.reason.encode() in seen.body
        assert b"127.0.0." not in seen.body, "addresses of the inside are nobody's business"
    if row.detail:
        event = wait_for("its event", lambda: failures_of(gate, row.name), 10)[-1]
        assert event["reason"] == (row.reason or "failed-over")
        assert event["endpoint"]
        for part in row.detail:
            assert part in event["detail"], event
    if row.counter:
        wait_metric(gate, row.counter, before.get(f"headgate_{row.counter}", 0.0) + 1)
    assert len(world.reached[seen.identifier]) == row.reached, world.reached[seen.identifier]


def test_nothing_is_left_of_all_that(gate, probe):
    assert_nothing_left(gate, probe, gate.begin)
