"""From samples to figures, and from figures to the table, the JSON file and the chart."""

import json
import xml.etree.ElementTree

import pytest
from bench.lab import Sample
from bench.report import Line, as_json, from_json, summarise, svg, table, verdict, write
from rich.console import Console


def samples(*values):
    return [Sample(value, rate=1000.0, p50=900.0, p99=4000.0) for value in values]


def line(goal=1.25, goal_is_ratio=True, unit="µs", headgate=(12, 14, 13), skipped=None):
    lanes = {"headgate": samples(*headgate), "haproxy": samples(10, 10, 100), "nginx": samples(9, 9, 9)}
    figures = summarise(lanes, lambda _: "haproxy")
    return Line("h1", "h1 <keep-alive>", unit, goal, goal_is_ratio, figures, skipped or {})


def test_a_figure_is_the_median_and_its_ratio_that_of_medians():
    headgate, haproxy, nginx = line().figures
    assert (headgate.value, headgate.ratio) == (13, 1.3)
    assert (haproxy.value, haproxy.ratio) == (10, 1.0)
    assert nginx.ratio == pytest.approx(0.9)
    assert haproxy.spread == pytest.approx(9.0)


def test_a_lane_without_rounds_has_no_figure_and_an_absent_baseline_no_ratio():
    figures = summarise({"headgate": samples(10), "haproxy": []}, lambda _: "haproxy")
    assert [(f.label, f.ratio) for f in figures] == [("headgate", None)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "missed"),
        ({"goal": 1.3}, "ok"),
        ({"goal": 36.0, "goal_is_ratio": False}, "ok"),
        ({"goal": 12.9, "goal_is_ratio": False}, "missed"),
        ({"goal": None}, ""),
    ],
)
def test_the_verdict_is_about_headgate_and_its_goal(options, said):
    of = line(**options)
    assert verdict(of, of.figures[0]) == said
    assert verdict(of, of.figures[1]) == ""


def test_a_row_compared_with_itself_judges_only_what_is_compared():
    lanes = {"headgate": samples(10), "headgate ×1000": samples(12)}
    figures = summarise(lanes, lambda label: label.removesuffix(" ×1000"))
    of = Line("routes", "routes", "µs", 1.1, True, figures, {})
    assert [verdict(of, figure) for figure in figures] == ["", "missed"]


def test_the_table_shows_every_figure_and_failure():
    console = Console(width=150, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        lines = [line(skipped={"nginx-new": "StartError: [alert] no [/such] root"})]
        console.print(table(lines, {"date": "today", "network": "the machine's own"}))
    shown = console.export_text()
    for text in ("h1 <keep-alive>", "13.00 µs", "1.30", "≤ 1.25 ×", "missed", "nginx-new", "failed"):
        assert text in shown
    assert "network: the machine's own" in shown
    assert "today" not in shown


def test_json_comes_back_as_it_was():
    lines = [line(), line(unit="KiB", skipped={"nginx": "gone"})]
    assert from_json(as_json(lines, {"date": "today"})) == (lines, {"date": "today"})


def test_the_chart_has_a_bar_for_each_figure(tmp_path):
    json_path, svg_path = write(tmp_path / "results", "quick", [line(), line()], {"haproxy": "<2.6>"})
    assert json.loads(json_path.read_text())["rows"][0]["figures"][0]["label"] == "headgate"
    root = xml.etree.ElementTree.fromstring(svg_path.read_text())
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("width") != "100%"]
    assert len(bars) == 6
    assert float(bars[0].get("width")) / float(bars[1].get("width")) == pytest.approx(1.3, rel=0.01)


def test_a_chart_of_nothing_is_still_a_chart():
    assert xml.etree.ElementTree.fromstring(svg([], {})) is not None
