"""From samples to a table, a JSON file and an SVG chart.

A lane's figure is the median of its rounds; its ratio is to the baseline lane of the same row and run.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.lab import Sample

COLOURS: Final = ("#1f6feb", "#9aa4af", "#c9a227", "#6e7781", "#b8860b", "#57606a")
# Of what is known about a run, what its table is not to be read without.
CAPTION: Final = {"network": "network", "congestion": "congestion control"}


@dataclass(frozen=True)
class Figure:
    """The median of one lane in one row; `ratio` is to the lane called `against`."""

    label: str
    against: str
    value: float
    ratio: float | None
    spread: float
    rate: float
    p50: float
    p99: float
    errors: int
    rounds: int


@dataclass(frozen=True)
class Line:
    """One row, measured. `skipped` names lanes that failed, with the reason."""

    name: str
    title: str
    unit: str
    goal: float | None
    goal_is_ratio: bool
    figures: list[Figure]
    skipped: dict[str, str]


def summarise(samples: dict[str, list[Sample]], baseline: Callable[[str], str]) -> list[Figure]:
    """Turn the rounds of each lane into its figure; `baseline` names what a label is compared with."""
    values = {
        label: statistics.median(s.value for s in rounds) for label, rounds in samples.items() if rounds
    }
    figures = []
    for label, value in values.items():
        rounds = samples[label]
        base = values.get(baseline(label))
        spread = (max(s.value for s in rounds) - min(s.value for s in rounds)) / value if value else 0.0
        figures.append(
            Figure(
                label,
                baseline(label),
                value,
                value / base if base else None,
                spread,
                statistics.median(s.rate for s in rounds),
                statistics.median(s.p50 for s in rounds),
                statistics.median(s.p99 for s in rounds),
                sum(s.errors for s in rounds),
                len(rounds),
            )
        )
    return figures


def verdict(line: Line, figure: Figure) -> str:
    """Say whether `figure`, if it is Headgate's, meets the goal: "", "ok" or "missed"."""
    if line.goal is None or not figure.label.startswith("headgate"):
        return ""
    reached = figure.ratio if line.goal_is_ratio else figure.value
    if reached is None or (line.goal_is_ratio and figure.label == figure.against):
        return ""
    return "ok" if reached <= line.goal else "missed"


def goal_text(line: Line) -> str:
    """Return the goal as people write it."""
    if line.goal is None:
        return ""
    return f"≤ {line.goal:g} ×" if line.goal_is_ratio else f"≤ {line.goal:g} {line.unit}"


def table(lines: list[Line], environment: dict[str, str]) -> Table:
    """Return the table for the terminal; its caption says what two machines may differ in."""
    caption = ", ".join(f"{word}: {environment[key]}" for key, word in CAPTION.items() if key in environment)
    shown = Table(title="CPU of the proxy per unit of work, medians (lower is better)", caption=caption)
    for heading in ("row", "proxy"):
        shown.add_column(heading)
    for heading in ("value", "ratio", "spread", "per s", "p50 ms", "p99 ms", "goal", ""):
        shown.add_column(heading, justify="right")
    for line in lines:
        for position, figure in enumerate(line.figures):
            shown.add_row(
                line.title if position == 0 else "",
                figure.label,
                f"{figure.value:.2f} {line.unit}",
                f"{figure.ratio:.2f}" if figure.ratio is not None else "–",
                f"{figure.spread:.0%}" if figure.rounds > 1 else "",
                f"{figure.rate:,.0f}" if figure.rate else "",
                f"{figure.p50 / 1000:.2f}" if figure.p50 else "",
                f"{figure.p99 / 1000:.2f}" if figure.p99 else "",
                goal_text(line) if figure.label.startswith("headgate") else "",
                verdict(line, figure) + (f" ({figure.errors} errors)" if figure.errors else ""),
            )
        for label in line.skipped:
            shown.add_row(line.title if not line.figures else "", label, "failed", style="red")
        shown.add_section()
    return shown


def as_json(lines: list[Line], environment: dict[str, str]) -> str:
    """Return everything as JSON text."""
    return json.dumps({"environment": environment, "rows": [asdict(line) for line in lines]}, indent=1) + "\n"


def from_json(text: str) -> tuple[list[Line], dict[str, str]]:
    """Read back what `as_json` wrote."""
    document = json.loads(text)
    lines = [Line(**{**row, "figures": [Figure(**f) for f in row["figures"]]}) for row in document["rows"]]
    return lines, document["environment"]


def svg(lines: list[Line], environment: dict[str, str]) -> str:
    """Draw ratios as bars, a group per row; the goal is a tick on its group."""
    drawn = [
        line for line in lines if any(f.ratio is not None for f in line.figures) and len(line.figures) > 1
    ]
    labels = list(dict.fromkeys(f.label for line in drawn for f in line.figures))
    longest = max((f.ratio or 0.0 for line in drawn for f in line.figures), default=1.0)
    unit = 420 / max(longest, 1.6)
    parts: list[str] = []
    y = 58
    for line in drawn:
        parts.append(f'<text x="250" y="{y + 12}" text-anchor="end">{escape(line.title)}</text>')
        top = y
        for figure in line.figures:
            parts.append(_bar(figure, line, y, unit, COLOURS[labels.index(figure.label) % len(COLOURS)]))
            y += 16
        if line.goal is not None and line.goal_is_ratio:
            x = 260 + line.goal * unit
            parts.append(f'<path d="M{x:.1f} {top - 2}V{y}" stroke="#d1242f" stroke-dasharray="3 2"/>')
        y += 10
    base = 260 + unit
    parts.append(f'<path d="M{base:.1f} 44V{y}" stroke="#24292f" stroke-width="0.6"/>')
    note = escape(" · ".join(f"{key} {value}" for key, value in environment.items()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{y + 30}" '
        f'viewBox="0 0 860 {y + 30}" font-family="sans-serif" font-size="11">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        '<text x="16" y="22" font-size="14">Headgate and rivals: CPU per unit of work as a ratio '
        "(shorter is better, dashed: goal)</text>\n"
        + "\n".join(parts)
        + f'\n<text x="16" y="{y + 18}" font-size="9" fill="#57606a">{note}</text>\n</svg>\n'
    )


def _bar(figure: Figure, line: Line, y: int, unit: float, colour: str) -> str:
    ratio = figure.ratio or 0.0
    text = f"{figure.label}  {ratio:.2f} ({figure.value:.1f} {line.unit})"
    return (
        f'<rect x="260" y="{y}" width="{ratio * unit:.1f}" height="13" fill="{colour}"/>'
        f'<text x="{266 + ratio * unit:.1f}" y="{y + 10}" font-size="10">{escape(text)}</text>'
    )


def write(directory: Path, stem: str, lines: list[Line], environment: dict[str, str]) -> list[Path]:
    """Write `stem`.json and `stem`.svg and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / f"{stem}.json", directory / f"{stem}.svg"]
    written[0].write_text(as_json(lines, environment))
    written[1].write_text(svg(lines, environment))
    return written
