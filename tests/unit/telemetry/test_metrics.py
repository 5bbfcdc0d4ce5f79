"""What Prometheus reads is what the processes counted."""

import os
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from headgate import counters
from headgate.counters import CounterPage, Counters
from headgate.telemetry.metrics import PREFIX, Gauges, describe, render


def samples(text):
    return {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
    }


def page_with(**values):
    page = CounterPage()
    counted = Counters(page)
    for name, value in values.items():
        counted.values[getattr(counters, name)] = value
    counted.publish()
    return page


def test_each_process_has_its_own_samples():
    text = render(
        {"worker-0": page_with(REQUESTS_2XX=3, CONNECTIONS_OPEN=2), "worker-1": page_with(REQUESTS_2XX=4)}
    )
    got = samples(text)
    assert got["headgate_requests_total", ("process", "worker-0"), ("status", "2xx")] == 3
    assert got["headgate_requests_total", ("process", "worker-1"), ("status", "2xx")] == 4
    assert got["headgate_requests_total", ("process", "worker-1"), ("status", "5xx")] == 0
    assert got["headgate_connections_open", ("process", "worker-0")] == 2


def test_how_often_figures_were_published_is_among_them_and_goes_on_in_a_successor():
    page = page_with()
    assert (
        samples(render({"worker 0": page}))["headgate_process_published_total", ("process", "worker 0")] == 1
    )
    Counters(page).publish()
    assert (
        samples(render({"worker 0": page}))["headgate_process_published_total", ("process", "worker 0")] == 2
    )


def test_latency_is_cumulative_and_its_sum_is_in_seconds():
    page = CounterPage()
    counted = Counters(page)
    for bucket, count in ((0, 5), (2, 7), (len(counters.LATENCY_BOUNDS), 1)):
        counted.values[counters.LATENCY_FIRST + bucket] = count
    counted.values[counters.LATENCY_MICROSECONDS] = 2_500_000
    counted.publish()
    got = samples(render({"worker-0": page}))
    process = ("process", "worker-0")

    def below(bound):
        return got["headgate_request_seconds_bucket", ("le", bound), process]

    assert [below(b) for b in ("0.0005", "0.001", "0.0025", "10.0", "+Inf")] == [5, 5, 12, 12, 13]
    assert got["headgate_request_seconds_count", process] == 13
    assert got["headgate_request_seconds_sum", process] == 2.5


def test_every_row_of_the_table_is_exported_once():
    text = render({"worker-0": CounterPage()}).decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert all(name.startswith(PREFIX) for name in names)
    exported = sum(
        1 for line in text.splitlines() if line.startswith(PREFIX) and "_request_seconds_count" not in line
    )
    assert exported == counters.SIZE


def test_rows_of_one_metric_agree_with_each_other():
    kinds = {}
    for row in counters.TABLE:
        shape = (row.kind, row.help, tuple(name for name, _ in row.labels))
        assert kinds.setdefault(row.name, shape) == shape, row.name
        assert (row.kind == "counter") == row.name.endswith(
            ("_total", "_seconds", "_sum")
        ) or row.kind == "gauge"


def test_gauges_from_outside_are_added_and_their_labels_escaped():
    extra = [
        Gauges(
            "upstream_endpoints", "Endpoints.", [({"state": 'a"b\\\n'}, 2), ({"state": "up", "name": "x"}, 1)]
        )
    ]
    got = samples(render({}, extra))
    assert got["headgate_upstream_endpoints", ("name", ""), ("state", 'a"b\\\n')] == 2
    assert got["headgate_upstream_endpoints", ("name", "x"), ("state", "up")] == 1


def test_the_page_in_docs_is_up_to_date():
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert page.read_text() == describe(), (
        "run: PYTHONPATH=src python -m headgate.telemetry.metrics_page > docs/metrics.md"
    )


def test_a_reader_never_sees_a_page_half_written():
    page = CounterPage()
    low, high = [0x0101010101010101] * counters.SIZE, [0x0202020202020202] * counters.SIZE
    page.store(low)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        while os.getppid() == parent:
            page.store(high)
            page.store(low)
        os._exit(0)
    try:
        end = time.monotonic() + 0.3
        seen = set()
        while time.monotonic() < end:
            seen.update(page.load())
        assert seen <= {low[0], high[0]}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
