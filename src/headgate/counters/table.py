"""The table of all metrics: a row for each slot, in the order in which the modules beside this one add them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """One slot: a Prometheus name without prefix, its kind ("counter" or "gauge"), its labels and its help."""

    name: str
    kind: str
    labels: tuple[tuple[str, str], ...]
    help: str


TABLE: Final[list[Metric]] = []


def counter(name: str, help: str, **labels: str) -> int:
    """Add a row for what only grows; return its slot."""
    TABLE.append(Metric(name, "counter", tuple(labels.items()), help))
    return len(TABLE) - 1


def gauge(name: str, help: str, **labels: str) -> int:
    """Add a row for what its owner sets; return its slot."""
    TABLE.append(Metric(name, "gauge", tuple(labels.items()), help))
    return len(TABLE) - 1
