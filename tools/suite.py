"""Runs the test suite twice, over the compiled package and over the plain sources: `make test`.

The compiled run is the whole suite. The pure run repeats what a compiler could change the meaning of: unit,
property and conformance tests but for slow ones and those of packages without a compiled module, and a few
integration files that take a real gate through its life. Each run says by HEADGATE_EXPECT what it is, and
tests/conftest.py refuses to start when that is not so.

The pure run goes side by side with what of the compiled one it repeats, where there are two cores: hardly a test of
that looks at a clock. Other integration tests have the machine to themselves. `plan` says what the parts are.

Integration tests run against real clocks, sockets and processes on machines that others use too: among thousands, one
that the machine held up for a second must not refuse a change. So where at most MAX_UNSTEADY of them failed, and
nothing else did, those are run once more, in a fresh process, when nothing runs beside it. Who fails there too fails
the run. Who passes is named behind all other output, `UNSTEADY: …`, with its failure above as pytest showed it: a
race of the product shows there, and whoever reads it mends the test or the product, so that the list stays empty.
Everything else counts at once: unit, property, conformance and parity tests, which have no such excuse, collection,
crashes, and what a test finds while it tidies up, such as a defect that a gate has logged, which is the finding of
all tests of its file.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
MODE_FILE: Final = Path(sys.prefix) / "headgate-mode"
# pytest's code for "no tests were selected"
NOTHING_SELECTED: Final = 5
IN_BOTH: Final = ("tests/unit", "tests/property", "tests/parity", "tests/conformance")
# Packages that run as they are written in both runs: no module of theirs is compiled.
PLAIN: Final = ("admin", "cli", "config", "demo", "ocsp", "process", "testing")
# Not again: rules about sources, which are the same for both, what is plain in both, and long rounds of chance.
NOT_AGAIN: Final = (
    "--ignore=tests/unit/test_house.py",
    "--ignore=tests/unit/test_suite.py",
    "--ignore=tests/unit/bench",
    *(f"--ignore=tests/unit/{name}" for name in PLAIN),
    "-m",
    "not slow",
)
# What may be run once more, and how many of them.
AGAIN: Final = "tests/integration/"
MAX_UNSTEADY: Final = 2
# Where pytest, with this file as a plugin, leaves what failed and what passed.
REPORT: Final = "HEADGATE_SUITE_REPORT"
TESTS_FAILED: Final = 1
SMOKE: Final = (
    "tests/integration/process/test_gate.py",
    "tests/integration/tls/test_protocol.py",
    "tests/integration/tls/test_resumption.py",
    "tests/integration/proxy/test_messages.py",
    "tests/integration/proxy/test_rewriting.py",
    "tests/integration/proxy/test_rfc9112.py",
    "tests/integration/quic/test_pages.py",
)


class Recorder:
    """The plugin's part: notes how each test ended, by its node ID."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failed: dict[str, list[str]] = {}  # by test: in which phases
        self.passed: list[str] = []
        self.is_whole = True  # nobody stopped it before the last test

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.setdefault(report.nodeid, []).append(report.when)
        elif report.passed and report.when == "call":
            self.passed.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        is_whole = not session.shouldstop and not session.shouldfail
        told = {"failed": self.failed, "passed": self.passed, "is_whole": is_whole}
        self.path.write_text(json.dumps(told))


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest, which is started with `-p tools.suite`."""
    if REPORT in os.environ:
        # What tests start themselves reports to nobody.
        config.pluginmanager.register(Recorder(Path(os.environ.pop(REPORT))))


@dataclass(frozen=True)
class Part:
    """Tests of one mode that one pytest runs."""

    mode: str
    name: str
    arguments: list[str]


def run_tests(
    arguments: list[str], root: Path, environment: dict[str, str], output: IO[bytes] | None = None
) -> tuple[int, Recorder]:
    """Run pytest from a root; return its exit code, and how tests ended as far as it came to tell."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "report")
        # `-m pytest` puts the root on the path, for bench and fuzz; src/ is not below a path entry.
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tools.suite", *arguments]
        environment = {**environment, REPORT: str(recorder.path)}
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            check=False,
        )
        if recorder.path.exists():
            told = json.loads(recorder.path.read_text())
            recorder.failed, recorder.passed = told["failed"], told["passed"]
            recorder.is_whole = told["is_whole"]
    return done.returncode, recorder


def may_be_repeated(code: int, ended: Recorder) -> list[str]:
    """Return the tests whose failures are all that went wrong, and may have been the machine's; none otherwise."""
    failed = ended.failed
    if code != TESTS_FAILED or not ended.is_whole or not 1 <= len(failed) <= MAX_UNSTEADY:
        return []
    excused = all(name.startswith(AGAIN) and "teardown" not in failed[name] for name in failed)
    return list(failed) if excused else []


def run_again(code: int, again: list[str], root: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run tests that may be repeated, after a run that ended with `code`; return the exit code of both, and the tests
    that passed then."""
    if not again:
        return code, []
    print(f"== headgate: once more, alone: {', '.join(again)} ==", flush=True)
    second, ended = run_tests(again, root, environment)
    if second == 0 and sorted(ended.passed) == sorted(again):
        return 0, again
    return code, []


def run_steadily(arguments: list[str], root: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run tests, and those once more that may be repeated; return the exit code, and the tests that passed then."""
    code, ended = run_tests(arguments, root, environment)
    return run_again(code, may_be_repeated(code, ended), root, environment)


def tell_unsteady(tests: list[str]) -> None:
    """Print what failed once, at the very end, where nobody overlooks it."""
    for test in tests:
        print(f"UNSTEADY: {test} failed once and passed alone", flush=True)


def environment_of(part: Part) -> dict[str, str]:
    """Return the environment of a part's mode."""
    environment = {**os.environ, "HEADGATE_EXPECT": part.mode}
    environment.pop("PYTHONPATH", None)
    if part.mode == "pure":
        environment["PYTHONPATH"] = str(ROOT / "src")
    return environment


def run_part(part: Part, output: IO[bytes] | None = None) -> tuple[int, list[str]]:
    """Run a part once; return its exit code, and the tests that may be repeated."""
    print(f"== headgate: {part.name}, {part.mode} ==", flush=True)
    began = time.monotonic()
    code, ended = run_tests(["--durations=8", *part.arguments], ROOT, environment_of(part), output)
    words = "passed" if code == 0 else f"FAILED with code {code}"
    print(
        f"== headgate: {part.name}, {part.mode}: {words} in {time.monotonic() - began:.0f} s ==", flush=True
    )
    return code, may_be_repeated(code, ended)


def run_beside(parts: list[Part]) -> list[tuple[int, list[str]]]:
    """Run parts at the same time: the first one's output at once, that of the others behind it. What is repeated runs
    when all have ended: alone. Returns of each the exit code, and the tests that failed once and passed alone."""
    with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        running = []
        for place, part in enumerate(parts[1:]):
            output = (Path(folder) / str(place)).open("w+b")
            # Two that write to one cache of pytest's would leave that of neither.
            quiet = Part(part.mode, part.name, ["-p", "no:cacheprovider", *part.arguments])
            running.append((part, output, pool.submit(run_part, quiet, output)))
        try:
            ended = [run_part(parts[0])]
        finally:
            # Where somebody stops it, too: what has failed so far is to be seen.
            wait([future for _, _, future in running])
            for part, output, _ in running:
                print_output(part, output)
        ended += [future.result() for _, _, future in running]
    return [
        run_again(code, again, ROOT, environment_of(part))
        for part, (code, again) in zip(parts, ended, strict=True)
    ]


def print_output(part: Part, output: IO[bytes]) -> None:
    """Print what a part has printed that another one ran beside."""
    print(f"== headgate: printed by {part.name}, {part.mode}: ==", flush=True)
    with output:
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
        sys.stdout.flush()


def present(paths: tuple[str, ...]) -> list[str]:
    """Leave out rooms that do not exist yet."""
    return [path for path in paths if (ROOT / path).exists()]


def plan(given: list[str], is_compiled: bool, cores: int) -> list[list[Part]]:
    """Return what runs one after the other, and in each step what runs side by side."""
    if not is_compiled:
        return [[Part("pure", "the suite", given)]]
    if given:
        return [[Part(mode, "the suite", given)] for mode in ("compiled", "pure")]
    both = present(IN_BOTH)
    beside = [
        Part("compiled", "what both modes have", both),
        Part("pure", "the suite", [*NOT_AGAIN, *present(IN_BOTH + SMOKE)]),
    ]
    # By what it is not: a room that is new is in it.
    rest = Part("compiled", "the rest", [f"--ignore={room}" for room in both])
    return [*([beside] if cores > 1 else [[part] for part in beside]), [rest]]


def main() -> int:
    """Run both modes, or pure alone where nothing could be compiled; return the worst exit code."""
    built = MODE_FILE.read_text() if MODE_FILE.exists() else "pure: run `make setup` first"
    is_compiled = built.startswith("compiled")
    if not is_compiled:
        print(f"== headgate: ONLY THE PURE SUITE RUNS: {built} ==", flush=True)
    steps = plan(sys.argv[1:], is_compiled, len(os.sched_getaffinity(0)))
    ended = [one for step in steps for one in run_beside(step)]
    tell_unsteady([test for _, unsteady in ended for test in unsteady])
    codes = [code for code, _ in ended]
    return next((code for code in codes if code not in (0, NOTHING_SELECTED)), max(codes))


if __name__ == "__main__":
    sys.exit(main())
