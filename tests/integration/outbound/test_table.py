"""The fault table towards origins, over one running gate: that it serves all rows shows that none disturbs another.

Each row is asked for once; then everything that the gate has to say about it is held against the table, and whether a
request reached an origin more often than it may. After all rows the worker holds what it held before.
"""

import re
from pathlib import Path

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

ROOT = Path(__file__).parents[3]
SECTION = "## Towards origins"


def shown() -> dict[str, str]:
    """The rows of docs/faults.md about origins, by what they say in their last cell."""
    section = (ROOT / "docs/faults.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    rows = [line.strip("| ").rsplit(" | ", 1) for line in section.splitlines() if line.startswith("| ")]
    return {test: rest for rest, test in rows if test not in ("test", "---")}


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


def test_the_page_shows_the_table():
    """Each row of the table with its status, its reason and its counter; and no row that nobody tests."""
    page = shown()
    for row in TABLE:
        said = page.pop(f"`{row.name}`")
        assert ("cut short" if not row.whole else str(row.status)) in said, row.name
        for word in (row.reason, row.counter):
            assert not word or f"`{word}`" in said, (row.name, word)
        assert ("`retries`" in said) == bool(row.retries), row.name
    for test in page:
        file, _, name = test.strip("`").partition("::")
        names = re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE)
        assert any(found.startswith(name.rstrip("…")) for found in names), test
