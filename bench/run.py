"""The command: `python -m bench` measures Headgate beside its rivals and prints ratios.

Proxies run on one core, load generator and origin on another. Rounds alternate between the proxies, so that a
neighbour's bad second hits all alike; each figure is a median, each claim a ratio within the run. All of it runs in a
network namespace of its own, with the kernel's own congestion control (`bench/network`).
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress, TaskID

from bench import network, report
from bench.cache_rivals import TrafficServer, Varnish
from bench.h3_rivals import Aioquic, Caddy
from bench.lab import Lab, Lane, Sample
from bench.load import LoadError
from bench.proxies import Haproxy, Headgate, Nginx, Proxy, StartError
from bench.rows import ROWS
from bench.rows.base import Row

RESULTS: Final = Path(__file__).parent / "results"
NEEDED: Final = {"wrk": "wrk", "taskset": "util-linux", "nginx": "nginx"}


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s, without the slowest rows")
    parser.add_argument("--rounds", type=int, default=0, help="rounds per proxy (default 5)")
    parser.add_argument("--seconds", type=float, default=0.0, help="length of a round (default 3)")
    parser.add_argument("--rows", default="", help="comma-separated: " + ",".join(r.name for r in ROWS))
    parser.add_argument(
        "--only",
        default="",
        help="comma-separated proxies: headgate,haproxy,nginx,…-new,caddy,aioquic,trafficserver,varnish",
    )
    parser.add_argument(
        "--congestion", default="", help=f"TCP's congestion control (default {network.CONGESTION})"
    )
    parser.add_argument(
        "--network", choices=("own", "host"), default="own", help="a namespace of its own, or the machine's"
    )
    parser.add_argument("--headgate-cmd", default="", help=Headgate.__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--name", default="", help="name of those files (default: bench, or quick)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON and SVG files go")
    options = parser.parse_args(argv)
    if options.congestion and options.network == "host":
        parser.error("--congestion is for a network of its own; the machine's is not changed")
    return options


def joined(options: argparse.Namespace, console: Console) -> network.Network:
    """Go to the network that was asked for, before anything is started."""
    if options.network == "host":
        return network.host()
    try:
        return network.enter(console.print, options.congestion)
    except network.NetworkError as error:
        raise SystemExit(f"bench: {error}") from error


def rivals() -> Path | None:
    """Return the root of a newer Debian where the rivals are, None without one."""
    root = os.environ.get("HEADGATE_RIVALS", "")
    return Path(root) if root else None


def contenders(options: argparse.Namespace, console: Console) -> list[Proxy]:
    """Return the proxies that can take part; say by name why others cannot."""
    proxies: list[Proxy] = [Headgate("headgate", options.headgate_cmd), Haproxy("haproxy"), Nginx("nginx")]
    root = rivals()
    if root is not None:
        proxies += [Haproxy("haproxy-new", root), Nginx("nginx-new", root), Caddy("caddy", root)]
    proxies += [Aioquic("aioquic"), TrafficServer("trafficserver"), Varnish("varnish")]
    wanted = [name for name in options.only.split(",") if name]
    unknown = sorted(set(wanted) - {p.name for p in proxies})
    if unknown:
        raise SystemExit(f"bench: no such proxy: {', '.join(unknown)} (new ones need $HEADGATE_RIVALS)")
    present = []
    for proxy in proxies:
        if wanted and proxy.name not in wanted:
            continue
        reason = proxy.absent()
        if reason is None:
            present.append(proxy)
            if isinstance(proxy, Headgate) and (said := proxy.version()).endswith("pure"):
                console.print(f"[yellow]{said}: several times slower than compiled (is PYTHONPATH set?)[/]")
        else:
            console.print(f"[yellow]skipped: {proxy.name}: {reason}[/]")
    return present


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    """Return the rows that were asked for."""
    names = [name for name in options.rows.split(",") if name]
    unknown = sorted(set(names) - {row.name for row in ROWS})
    if unknown:
        raise SystemExit(
            f"bench: no such row: {', '.join(unknown)}; there are {', '.join(r.name for r in ROWS)}"
        )
    if names:
        return [row for row in ROWS if row.name in names]
    return [row for row in ROWS if row.in_quick or not options.quick]


def measure_row(row: Row, lanes: list[Lane], lab: Lab, rounds: int, progress: Progress) -> report.Line:
    """Warm every lane up, then go round them; a lane that fails leaves the row with its reason."""
    lab.keep_only([] if row.fresh else lanes)
    samples: dict[str, list[Sample]] = {lane.label: [] for lane in lanes}
    failed: dict[str, str] = {}
    rounds = min(rounds, row.max_rounds or rounds)
    task = progress.add_task(row.title, total=len(lanes) * (rounds + 1))
    for turn in range(rounds + 1):
        for lane in lanes:
            if lane.label not in failed:
                described = f"{row.title}: {lane.label}"
                progress.update(task, description=described)
                lab.tell = _teller(progress, task, described)
                try:
                    if turn == 0:
                        row.warm_up(lab, lane)
                    else:
                        samples[lane.label].append(row.measure(lab, lane))
                except (LoadError, StartError, OSError) as error:
                    failed[lane.label] = f"{type(error).__name__}: {error}"
            progress.advance(task)
    progress.update(task, description=row.title)
    figures = report.summarise(samples, row.baseline)
    return report.Line(row.name, row.title, row.unit, row.goal, row.goal_is_ratio, figures, failed)


def _teller(progress: Progress, task: TaskID, described: str) -> Callable[[str], None]:
    """Return what says of a row how far a long step of it is: to a terminal in place, else a line each 10 s."""
    said = [time.monotonic()]

    def tell(step: str) -> None:
        progress.update(task, description=f"{described}: {step}")
        if not progress.console.is_terminal and time.monotonic() >= said[0] + 10.0:
            said[0] = time.monotonic()
            progress.console.print(f"{described}: {step}", highlight=False, markup=False)

    return tell


def version(program: str, *flags: str) -> str:
    """Return the first line of what a program says about itself."""
    try:
        done = subprocess.run([program, *flags], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def environment(lab: Lab, rounds: int, where: network.Network) -> dict[str, str]:
    """Describe the machine and the run, for whoever reads the results later."""
    return {
        **where.described,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": f"proxy {lab.proxy_core}, load {lab.load_core}",
        "rounds": f"{rounds} × {lab.seconds:g} s",
        "haproxy": version("haproxy", "-v").removeprefix("HAProxy version ").partition(" ")[0],
        "nginx": version("nginx", "-v").rpartition("/")[2],
        "trafficserver": version("traffic_server", "-V").partition(" - ")[2],
        "varnish": version("varnishd", "-V").partition("-")[2].partition(" ")[0],
    }


def measure_all(
    rows: list[Row], proxies: list[Proxy], lab: Lab, rounds: int, console: Console
) -> list[report.Line]:
    """Measure every row, with progress."""
    lines = []
    with Progress(console=console, transient=not console.is_terminal) as progress:
        for row in rows:
            line = measure_row(row, row.lanes(proxies), lab, rounds, progress)
            lines.append(line)
            if not console.is_terminal:
                said = ", ".join(f"{f.label} {f.value:.2f} {line.unit}" for f in line.figures)
                console.print(f"{line.title}: {said or line.skipped}", highlight=False, markup=False)
    return lines


def main(argv: list[str]) -> int:
    """Run the benchmark; 0: measured, 1: Headgate failed in a row, 2: usage or a tool is missing."""
    options = arguments(argv)
    # Away from a terminal (CI, a file) the table gets the room that it needs.
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 150)
    missing = [
        f"{tool} (Debian: {package})" for tool, package in NEEDED.items() if shutil.which(tool) is None
    ]
    if missing:
        console.print(f"[red]bench: missing: {', '.join(missing)}[/]")
        return 2
    where = joined(options, console)
    rows, proxies = chosen_rows(options), contenders(options, console)
    rounds = options.rounds or (3 if options.quick else 5)
    for row in rows:
        if (reason := row.absent(rivals())) is not None:
            console.print(f"[yellow]skipped: {row.name}: {reason}[/]")
    rows = [row for row in rows if row.absent(rivals()) is None]
    lab = Lab(options.seconds or (1.0 if options.quick else 3.0), rivals())
    try:
        if lab.shared_core:
            console.print("[yellow]one core only: proxy and load share it; look at ratios alone[/]")
        about = environment(lab, rounds, where)
        lines = measure_all(rows, proxies, lab, rounds, console)
    finally:
        lab.close()
    if options.json:
        sys.stdout.write(report.as_json(lines, about))
    else:
        console.print(report.table(lines, about))
    for line in lines:
        for label, reason in line.skipped.items():
            console.print(f"{line.name}: {label} failed: {reason}", style="red", markup=False)
    for path in report.write(
        options.out, options.name or ("quick" if options.quick else "bench"), lines, about
    ):
        console.print(f"written: {path}", highlight=False)
    return 1 if any(label.startswith("headgate") for line in lines for label in line.skipped) else 0
