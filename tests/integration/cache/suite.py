"""The public suite of HTTP caches (http-cache-tests of npm): installed, served, run through a proxy, scored.

tests/integration/cache/compare.py is the command for it.

The suite is no part of this repository. `installed` lets npm put the pinned version below build/, once; npm takes it
from where npm is told to. The suite's own server is the origin, its own client goes through the proxy, and its own
function gives the score (score.mjs). Its configuration comes in by variables of the environment, as npm would set
them: an `id` that is left over from somebody's shell would run one test alone, so it is set to nothing.
"""

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.integration.cache import peers
from tests.integration.gate import wait_for

ROOT: Final = Path(__file__).resolve().parents[3]
VERSION: Final = "0.4.5"
FOLDER: Final = ROOT / "build" / f"http-cache-tests-{VERSION}"
# Tests of the draft before RFC 9213; run and told, and no part of the three scores.
SURROGATE: Final = "surrogate-control"
GOOD: Final = ("pass", "yes")
# A run takes about 40 s: most of it is the suite's own pauses of three seconds.
RUN_LIMIT: Final = 300.0

Row = dict[str, str]


def environment() -> dict[str, str]:
    """The environment of everything of the suite's: nothing of npm's configuration leaks in."""
    return {**os.environ, "npm_config_id": "", "npm_package_config_id": ""}


def installed(folder: Path = FOLDER) -> Path:
    """Let npm install the pinned suite if it is not there; return the folder. Fails with npm's words."""
    if (folder / "node_modules" / "http-cache-tests" / "cli.mjs").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Installed beside, then renamed: a killed install never looks like a whole one.
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        made = Path(beside) / "suite"
        made.mkdir()
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            f"http-cache-tests@{VERSION}",
        ]
        done = subprocess.run(
            command, cwd=made, env=environment(), capture_output=True, text=True, timeout=240, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr[-2000:]}")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


@contextmanager
def origin(suite: Path, scratch: Path) -> Iterator[int]:
    """The suite's own server on a free port; yields the port."""
    log = scratch / "origin.log"
    settings = {
        "npm_config_protocol": "http",
        "npm_config_port": "0",
        "npm_config_pidfile": str(scratch / "origin.pid"),
    }
    program = suite / "node_modules" / "http-cache-tests" / "server" / "server.mjs"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["node", "--no-warnings", str(program)],
            cwd=scratch,
            env={**environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        line = wait_for("the suite's server", lambda: next(iter(log.read_text().splitlines()), ""))
        yield int(line.rstrip("/").rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(20)


def score(suite: Path, port: int, *ids: str) -> list[Row]:
    """Run the tests (all without `ids`) through what listens on `port`; return a row per test with its state."""
    program = Path(__file__).with_name("score.mjs")
    done = subprocess.run(
        ["node", "--no-warnings", str(program), str(suite), f"http://127.0.0.1:{port}", *ids],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the suite's client exited with {done.returncode}: {done.stderr[-2000:]}")
    rows: list[Row] = json.loads(done.stdout)
    return rows


def totals(rows: list[Row], *, surrogate: bool = False) -> dict[str, str]:
    """What is reached by kind, as "151/157"."""
    chosen = [row for row in rows if (row["suite"] == SURROGATE) == surrogate]
    good = Counter(row["kind"] for row in chosen if row["state"] in GOOD)
    every = Counter(row["kind"] for row in chosen)
    return {kind: f"{good[kind]}/{every[kind]}" for kind in ("required", "optimal", "check")}


def reached(rows: list[Row], kind: str) -> int:
    """How many tests of a kind are passed, without the surrogate suite."""
    return sum(row["state"] in GOOD for row in rows if row["kind"] == kind and row["suite"] != SURROGATE)


def by_suite(rows: list[Row]) -> dict[str, dict[str, str]]:
    """The totals of each part of the suite."""
    found: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(row["suite"] for row in rows):
        part = [row for row in rows if row["suite"] == name]
        found[name] = {
            kind: words
            for kind, words in totals(part, surrogate=name == SURROGATE).items()
            if not words.endswith("/0")
        }
    return found


def missed(rows: list[Row], *kinds: str) -> list[Row]:
    """The tests of these kinds that were not passed."""
    return [row for row in rows if row["kind"] in kinds and row["state"] not in GOOD]


def report(rows: list[Row], version: str) -> dict[str, Any]:
    """One peer's part of the results file."""
    return {
        "version": version,
        "totals": totals(rows),
        "surrogate": totals(rows, surrogate=True),
        "suites": by_suite(rows),
        "missed": [
            {key: row[key] for key in ("suite", "id", "kind", "state", "detail")}
            for row in missed(rows, "required", "optimal")
        ],
        "checks": {row["id"]: row["state"] for row in rows if row["kind"] == "check"},
    }


def table(rows: list[Row]) -> str:
    """The result for eyes: a line per part, then each miss with what the suite said."""
    parts = {**by_suite(rows), "all but surrogate": totals(rows)}
    lines = [f"{'suite':20} {'required':>9} {'optimal':>9} {'check':>7}"]
    for name, part in parts.items():
        required, optimal, check = (part.get(kind, "") for kind in ("required", "optimal", "check"))
        lines.append(f"{name:20} {required:>9} {optimal:>9} {check:>7}")
    lines.extend(
        f"{row['kind']:9} {row['state']:13} {row['suite']}/{row['id']}: {row['detail']}"
        for row in missed(rows, "required", "optimal")
    )
    return "\n".join(lines)


@functools.cache
def both() -> dict[str, list[Row]]:
    """The suite through a gate and through nginx at the same time, once for all tests: most of it is pauses."""
    with ThreadPoolExecutor() as pool:
        rows = pool.map(run, (peers.gate, peers.nginx))
        return dict(zip(("headgate", "nginx"), rows, strict=True))


def run(start: Callable[[Path, int], Any], *ids: str) -> list[Row]:
    """The suite once through what `start(folder, origin port)` starts, in a scratch folder."""
    suite = installed()
    with tempfile.TemporaryDirectory(prefix="cache-suite-") as scratch:
        folder = Path(scratch)
        # Programs that give up root must come in.
        folder.chmod(0o755)
        with origin(suite, folder) as origin_port, start(folder, origin_port) as port:
            return score(suite, port, *ids)
