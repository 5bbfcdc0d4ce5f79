"""Metrics in Prometheus text form, made from the shared counter pages of all slots.

The keeper renders them; the pages of dead processes are read like those of the living. The page knows buckets of
the latency histogram one by one, Prometheus wants them cumulative: that, the `headgate_` prefix and the `process`
label are all that is done here. What is no counter (staples by state and reason) comes as `Gauges` from its owner.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import CollectorRegistry

from headgate.counters import (
    LATENCY_BOUNDS,
    LATENCY_FIRST,
    LATENCY_MICROSECONDS,
    TABLE,
    CounterPage,
)

PREFIX: Final = "headgate_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LATENCY: Final = "request_seconds"
_BUCKETS: Final = range(LATENCY_FIRST, LATENCY_FIRST + len(LATENCY_BOUNDS) + 1)


# What the keeper adds from what it knows: name without prefix → labels, help.
KEEPER_GAUGES: Final = {
    "staple_state": ("certificate, state", "1 for the state of each certificate's staple."),
    "staple_next_update_seconds": ("certificate", "When each held staple ends, seconds since the epoch."),
    "child_starts": ("child, last_exit", "How often each child was started, with how it last ended."),
    "endpoint_up": ("upstream, endpoint", "The share of the workers in which an endpoint is up."),
    "endpoint_active": ("upstream, endpoint", "Requests at an endpoint now."),
    "endpoint_requests": (
        "upstream, endpoint",
        "Requests that ended at an endpoint; begins anew with a worker.",
    ),
    "endpoint_failures": ("upstream, endpoint", "Of those, the ones without a whole response."),
    "endpoint_server_errors": ("upstream, endpoint", "Of those, the ones with a 5xx."),
    "endpoint_probe_up": ("upstream, endpoint", "1 while probes say that an endpoint is up."),
    "endpoint_probe_milliseconds": ("upstream, endpoint", "How long the last probe of an endpoint took."),
    "scrape_time_seconds": ("", "When this page was made, seconds since the epoch."),
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """A family of gauges from outside the pages: a name without prefix, its help, and (labels, value) pairs."""

    name: str
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]] = field(default=())


@dataclass(frozen=True, slots=True)
class _Family:
    """The rows of the table that make one metric: all with the same label names."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    indices: tuple[int, ...]


def _families() -> tuple[_Family, ...]:
    found: dict[str, list[int]] = {}
    for index, row in enumerate(TABLE):
        if index not in _BUCKETS and index != LATENCY_MICROSECONDS:
            found.setdefault(row.name, []).append(index)
    return tuple(
        _Family(
            name,
            TABLE[rows[0]].kind,
            TABLE[rows[0]].help,
            tuple(key for key, _ in TABLE[rows[0]].labels),
            tuple(rows),
        )
        for name, rows in found.items()
    )


FAMILIES: Final = _families()


class _Collector:
    """Hands one scrape's values to the exposition library."""

    def __init__(self, values: Mapping[str, Sequence[int]], extra: Iterable[Gauges]) -> None:
        self._values = values
        self._extra = extra

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield self._family(family)
        yield self._latency()
        for gauges in self._extra:
            yield _gauges(gauges)

    def _family(self, family: _Family) -> Metric:
        make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = make(PREFIX + family.name, family.help, labels=("process", *family.labels))
        for process, values in self._values.items():
            for index in family.indices:
                labels = (process, *(value for _, value in TABLE[index].labels))
                metric.add_metric(labels, values[index])
        return metric

    def _latency(self) -> Metric:
        metric = HistogramMetricFamily(PREFIX + LATENCY, TABLE[LATENCY_FIRST].help, labels=("process",))
        for process, values in self._values.items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for index in _BUCKETS:
                total += values[index]
                bound = dict(TABLE[index].labels)["le"]
                buckets.append(("+Inf" if bound == "inf" else bound, total))
            metric.add_metric((process,), buckets, values[LATENCY_MICROSECONDS] / 1e6)
        return metric


def _gauges(gauges: Gauges) -> Metric:
    names = tuple(sorted({name for labels, _ in gauges.samples for name in labels}))
    metric = GaugeMetricFamily(PREFIX + gauges.name, gauges.help, labels=names)
    for labels, value in gauges.samples:
        metric.add_metric([labels.get(name, "") for name in names], value)
    return metric


def render(pages: Mapping[str, CounterPage], extra: Iterable[Gauges] = ()) -> bytes:
    """Return all metrics as Prometheus text, to be sent as CONTENT_TYPE.

    `pages` are named by process ("worker 0", "keeper"); names in `extra` must not be those of the table.
    """
    registry = CollectorRegistry(auto_describe=False)
    values = {process: page.load() for process, page in pages.items()}
    registry.register(_Collector(values, extra))
    return bytes(generate_latest(registry))


def describe() -> str:
    """Return docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "`[metrics] address` serves these as Prometheus text. Each has the label `process` (`worker 0`, `keeper`,",
        "`supervisor`): sum over it. Counters go on counting when a worker is restarted in its slot; gauges begin",
        "anew. This page is made from the tables in `src/headgate/counters/` and",
        "`src/headgate/telemetry/metrics.py`: `python -m headgate.telemetry.metrics_page > docs/metrics.md`.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    rows = [(f.name, f.kind, _labels(f), f.help) for f in FAMILIES]
    rows.append((LATENCY, "histogram", "", TABLE[LATENCY_FIRST].help))
    lines += [f"| `{PREFIX}{name}` | {kind} | {labels} | {help} |" for name, kind, labels, help in rows]
    lines += [
        "",
        "The keeper adds these, without `process`:",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{PREFIX}{name}` | gauge | {labels} | {help} |" for name, (labels, help) in KEEPER_GAUGES.items()
    ]
    return "\n".join(lines) + "\n"


def _labels(family: _Family) -> str:
    parts = []
    for position, name in enumerate(family.labels):
        values = dict.fromkeys(TABLE[index].labels[position][1] for index in family.indices)
        parts.append(f"{name}: " + ", ".join(f"`{value}`" for value in values))
    return "; ".join(parts)
